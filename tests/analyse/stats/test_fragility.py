"""How the published table depends on what it does not print: every expected number of the audit, and limiting cases."""

import numpy as np
import pandas as pd
import pytest
from expected_audit_numbers import (
    BEYOND,
    CLAW_EVAL_300,
    ONE_RUN,
    OUTCOME,
    PAIRED,
    REPLICATION,
    REQUIRED,
    SAME_TASKS,
    SCENARIOS,
    STATED,
    T1_ICC_0,
    TIPPING,
)  # fmt: skip
from scipy import stats

from replication.analyse.evidence import load_benchmarks, load_scores
from replication.analyse.stats.printed import audit, audit_model, fragility
from replication.analyse.stats.printed.fragility import Scenario
from replication.errors import AnalysisError

NAMES = list(ONE_RUN)


@pytest.fixture(scope="module")
def rows():
    return audit.compare(load_scores(), load_benchmarks(), "sft_lwm_rl", "sft", unstated_runs=1)


@pytest.fixture(scope="module")
def report(rows):
    return audit.report(rows)


@pytest.fixture
def made_up():
    """Another table: one negative row, one row without a difference, one at an odd number of runs."""
    return pd.DataFrame(
        {
            "benchmark": ["x", "y", "z"], "name": ["X", "Y", "Z"], "p_a": [0.5, 0.3, 0.2], "p_b": [0.42, 0.3, 0.5],
            "n": [50, 400, 64], "k": [2, 1, 4], "upper_bound": [False, True, True],
        }
    )  # fmt: skip


def points(expected):
    """Fractions of ours against points of the plan, within its tolerance."""
    return pytest.approx(np.asarray(expected, float) / 100, rel=1e-3, abs=2e-5)


def chance(expected):
    return pytest.approx(np.asarray(expected, float), rel=1e-3, abs=1e-12)


def relative(expected):
    return pytest.approx(np.asarray(expected, float), rel=1e-3, abs=0)


def by_name(table, name):
    return table[table["name"] == name.removesuffix(" item-F1")]


@pytest.mark.parametrize("name", NAMES)
def test_one_unpaired_run(report, name):
    expected, (row,) = ONE_RUN[name], by_name(report.one_run, name).itertuples()
    assert (row.se, row.low, row.high) == points([expected["se"], *expected["wald95"]])
    assert (row.newcombe_low, row.newcombe_high) == points(expected["newcombe95"])
    assert (row.mde80, row.mde90) == points([expected["mde80"], expected["mde90"]])
    assert (row.z, row.p_two_sided, row.power) == chance([expected[k] for k in ("z", "p", "power_at_estimate")])
    assert np.isnan(row.fisher_p) if expected["fisher_p"] is None else row.fisher_p == chance(expected["fisher_p"])
    rhos = [expected["outcome_rho_for_p05"], expected["outcome_rho_for_p01"]]
    assert (row.rho_outcome_p05, row.rho_outcome_p01) == chance(rhos)
    half = expected["if_truth_is_half"]
    assert (row.power_fraction, row.type_s, row.exaggeration) == chance(
        [half[k] for k in ("power", "type_s", "exaggeration")]
    )
    assert row.p_is_upper_bound == expected["p_is_upper_bound"]


def test_claw_eval_with_the_tasks_of_its_later_version(rows):
    later = rows[rows["benchmark"] == "claw_eval"].assign(n=300)
    (row,) = fragility.one_run(later).itertuples()
    assert row.se == points(CLAW_EVAL_300["se"]) and row.p_two_sided == chance(CLAW_EVAL_300["p"])


@pytest.mark.parametrize("name", NAMES)
def test_paired_grid_for_tasks_like_these(report, name):
    got = by_name(report.grid, name)
    expected = np.array(PAIRED["rows"][name])
    assert got[["icc", "k", "rho"]].to_numpy().tolist() == expected[:, :3].tolist()
    assert got[["se", "low", "high", "mde80", "mde90"]].to_numpy() == points(expected[:, [3, 5, 6, 8, 9]])
    assert got[["p_two_sided", "power"]].to_numpy() == chance(expected[:, [4, 7]])
    assert len(got) == 36


@pytest.mark.parametrize("name", NAMES)
def test_grid_for_these_tasks(report, name):
    got, expected = by_name(report.same_tasks, name), np.array(SAME_TASKS["rows"][name])
    assert got[["icc", "k"]].to_numpy().tolist() == expected[:, :2].tolist()
    assert got[["se", "low", "high"]].to_numpy() == points(expected[:, [2, 4, 5]])
    assert got["p_two_sided"].to_numpy() == chance(expected[:, 3])


@pytest.mark.parametrize("name", NAMES)
def test_grid_over_the_outcome_correlation(report, name):
    got, expected = by_name(report.outcome, name), np.array(OUTCOME["rows"][name])
    assert got["rho_outcome"].tolist() == expected[:, 0].tolist()
    assert got[["se", "low", "high", "mde80"]].to_numpy() == points(expected[:, [1, 3, 4, 6]])
    assert got[["p_two_sided", "power"]].to_numpy() == chance(expected[:, [2, 5]])


@pytest.mark.parametrize("name", NAMES)
def test_stated_runs(report, name):
    got = by_name(report.stated, name).query("icc == 0.5 and rho <= 0.7")
    expected = np.array(STATED["rows"][name])
    assert got["rho"].tolist() == expected[:, 0].tolist()
    assert got[["se", "low", "high"]].to_numpy() == points(expected[:, [1, 3, 4]])
    assert got["p_two_sided"].to_numpy() == chance(expected[:, 2])


@pytest.mark.parametrize("name", NAMES)
def test_tasks_and_runs_each_row_would_have_needed(report, name):
    got, expected = by_name(report.required, name), REQUIRED["rows"][name]
    assert got[["fraction", "rho", "power"]].to_numpy().tolist() == [row[:3] for row in expected]
    counts = got[["n_at_k1", "n_at_k3", "n_at_k5", "runs_at_own_n"]].astype(object)
    assert counts.where(counts.notna(), None).to_numpy().tolist() == [row[3:7] for row in expected]
    assert got["mde_floor"].to_numpy() == points([row[7] for row in expected])


@pytest.mark.parametrize("number", range(len(SCENARIOS["rows"])))
def test_all_rows_together(report, number):
    expected = SCENARIOS["rows"][number]
    got, setting = report.scenarios.iloc[number], expected["setting"]
    assert got["scenario"] == expected["name"]
    assert [got[k] for k in ("target", "icc", "rho", "partial_scale")] == [
        setting[k] for k in ("target", "icc", "rho", "partial_credit_variance_scale")
    ]
    assert 100 * got["tau"] == setting["tau"]
    assert np.isnan(got["k"]) if setting["k"] == "stated" else got["k"] == setting["k"]
    member = report.scenario_rows[report.scenario_rows["scenario"] == expected["name"]]
    for column, key in (("z", "z"), ("p_two_sided", "p_two"), ("holm", "holm"), ("hommel", "hommel")):
        assert member[column].to_numpy() == chance(expected[key])
    counts = ["n_p05_raw", "n_p05_holm", "n_p05_hommel"]
    assert got[["n_raw", "n_holm", "n_hommel"]].tolist() == [expected[k] for k in counts]
    chances = {
        "iut_p": "iut_p_one_sided", "flat_all_positive": "flat_posterior_all_positive",
        "repeat_all_positive": "repeat_all_positive", "repeat_all_significant": "repeat_all_significant",
        "power_all": "power_all_if_truth_is_estimate", "power_all_half": "power_all_if_truth_is_half",
        "stouffer_p": "stouffer_p_one_sided", "fisher_p": "fisher_p", "q": "Q", "q_p": "Q_p", "i2": "I2",
    }  # fmt: skip
    assert got[list(chances)].to_numpy(float) == relative([expected[k] for k in chances.values()])
    assert got[["mean", "se", "tau_between"]].to_numpy(float) == points(
        [expected[k] for k in ("re_mean", "re_se", "re_tau")]
    )
    assert round(got["shrunk_all_positive"], 3) >= 0.999  # analysis plan, section 4.4


def test_one_scenario_beside_the_others_at_icc_0(report):
    (row,) = report.family_same_tasks.query("icc == 0").itertuples()
    assert row.iut_p == chance(T1_ICC_0["iut_p_one_sided"])
    assert (row.n_raw, row.n_holm) == (T1_ICC_0["n_p05_raw"], T1_ICC_0["n_p05_holm"])


def test_verdict_beyond_a_task_correlation_of_point_seven(report):
    for icc, rho, p, raw, adjusted in BEYOND["rows"]:
        cell = (report.family["icc"] == icc) & (report.family["rho"] == rho)
        (row,) = report.family[cell].itertuples()
        assert row.iut_p == chance(p) and (row.n_raw, row.n_holm) == (raw, adjusted)
    for icc, *rhos in BEYOND["rho_at_which_each_row_reaches_p05"]["rows"]:
        assert report.turning.loc[report.turning["icc"] == icc, "rho"].to_numpy() == chance(rhos)


def test_checkpoint_spread_that_tips_each_row(report):
    for name, expected in TIPPING["rows"].items():
        (row,) = by_name(report.tipping, name)[list(audit.TIPPING)].to_numpy()
        assert row == points(expected)
    expected = TIPPING["significant_rows_vs_checkpoint_sd"]["rows"]
    curve = report.tipping_curve
    assert (100 * curve["tau"]).tolist() == pytest.approx([row[0] for row in expected])
    assert curve[["n_raw", "n_holm"]].to_numpy().tolist() == [row[1:3] for row in expected]
    assert curve["iut_p"].to_numpy() == chance([row[3] for row in expected])


@pytest.mark.parametrize("name", NAMES)
def test_what_a_replication_could_show(report, name):
    expected, (row,) = REPLICATION["rows"][name], by_name(report.replication, name).itertuples()
    assert (row.se, row.shrunk, row.theta_33) == points([expected[k] for k in ("se_o", "eb_shrunk_effect", "theta33")])
    assert (row.repeat_low, row.repeat_high) == points(expected["pi95_equal_sized_repeat"])
    assert row.z == chance(expected["z_o"]) and row.possible == expected["golden_success_possible"]
    for got, key in ((row.d_min, "d_min_at_c1"), (row.c_for_goal, "c_for_80_percent_predictive_power")):
        assert np.isnan(got) if expected[key] is None else got == chance(expected[key])
    limits = [expected[k] for k in ("predictive_power_limit_large_c", "max_predictive_power_over_c")]
    assert (row.power_limit, row.max_power) == chance(limits)


# Below: any table, and limiting cases.


def test_another_table_is_audited_by_the_same_functions(made_up):
    report = audit.report(made_up)
    assert report.one_run["p_one_sided"].to_numpy()[:2] == pytest.approx([0.7896, 0.5], abs=5e-4)
    assert (
        len(report.grid) == 3 * 36 and len(report.digits) == len(report.rounded_runs) == len(report.denominators) == 0
    )
    flat = report.required[report.required["name"] == "Y"]
    assert flat[["n_at_k1", "n_at_k3", "n_at_k5", "runs_at_own_n"]].isna().all(axis=None)
    assert report.tipping.loc[:1, list(audit.TIPPING)].to_numpy().tolist() == [[0.0] * 4] * 2
    assert (report.family["iut_p"] > 0.5).all() and not report.scenarios["n_holm"].gt(1).any()
    # Down by 8 points is as far from zero as up by 8 points.
    up = made_up.assign(p_a=made_up["p_b"], p_b=made_up["p_a"])
    assert fragility.one_run(up)["p_two_sided"].to_numpy() == pytest.approx(report.one_run["p_two_sided"].to_numpy())
    assert fragility.one_run(up)["exaggeration"][0] == pytest.approx(report.one_run["exaggeration"][0])


def test_standard_errors_of_the_three_targets_by_hand(made_up):
    row = made_up.iloc[[2]]
    v_a, v_b = 0.16, 0.25
    between, noise = 0.4 * (v_a + v_b - 2 * 0.3 * 0.2), 0.6 * (v_a + v_b) / 4
    how = {"icc": 0.4, "rho": 0.3}
    assert fragility.standard_errors(row, **how, target="T1") == pytest.approx([np.sqrt(noise / 64)])
    t2 = (between + noise) / 64
    assert fragility.standard_errors(row, **how) == pytest.approx([np.sqrt(t2)])
    t3 = fragility.standard_errors(row, **how, target="T3", tau=0.05, m=2, partial_scale=0.5)
    assert t3 == pytest.approx([np.sqrt(t2 / 2 + 0.05**2)])
    # Half the variance is for partial credit only.
    binary = row.assign(upper_bound=False)
    assert fragility.standard_errors(binary, **how, partial_scale=0.5) == pytest.approx([np.sqrt(t2)])


def test_tipping_spread_brings_p_to_alpha_and_infinite_runs_leave_the_tasks(rows):
    for m in (1, 4):
        tau = fragility.tipping_points(rows, icc=0.5, rho=0.5, k=5, m=m)
        se = fragility.standard_errors(rows, icc=0.5, rho=0.5, k=5)
        z = (rows["p_b"] - rows["p_a"]) / np.sqrt(se**2 + 2 * tau**2 / m)
        assert 2 * stats.norm.sf(z[tau > 0]) == pytest.approx(0.05)
    limit = fragility.standard_errors(rows, icc=0.5, rho=0.2, k=np.inf)
    assert limit == pytest.approx(fragility.standard_errors(rows, icc=0.5, rho=0.2, k=1e12))


def test_needed_correlations_bring_p_to_alpha():
    for k, icc in ((1, 0.9), (4, 0.6)):
        rho = float(audit_model.correlation_needed(0.5, 0.56, 150, k, icc=icc, alpha=0.1))
        assert 0.1 < rho < 0.9
        assert audit_model.difference(0.5, 0.56, 150, k, icc=icc, rho=rho).p_two_sided == pytest.approx(0.1)
    rho = float(audit_model.outcome_correlation_needed(0.5, 0.58, 150))
    se = float(audit_model.outcome_standard_error(0.5, 0.58, 150, rho=rho))
    assert 2 * stats.norm.sf(0.08 / se) == pytest.approx(0.05)
    assert np.isnan(
        audit_model.correlation_needed(0.5, 0.5, 100, 1, icc=0.5)
    )  # nothing makes no difference significant
    assert audit_model.correlation_needed(0.1, 0.9, 100, 1, icc=0.5) == 0.0
    assert np.isnan(audit_model.correlation_needed(0.0, 0.001, 10, 1, icc=0.5))  # without variance nothing to share


def test_outcome_correlation_is_the_paired_variance_of_one_run():
    # p_a = .5, p_b = .7, phi .4: cells by hand; variance of the paired difference.
    both = 0.35 + 0.4 * np.sqrt(0.25 * 0.21)
    b_only, a_only = 0.7 - both, 0.5 - both
    variance = b_only + a_only - 0.2**2
    assert audit_model.outcome_standard_error(0.5, 0.7, 80, rho=0.4) == pytest.approx(np.sqrt(variance / 80))


def test_pooling_shares_strength_and_agrees_with_closed_forms():
    alike = fragility.pool([0.05, 0.05, 0.05], [0.02, 0.02, 0.02])
    assert (alike.mean, alike.se, alike.tau_between, alike.q, alike.i2) == pytest.approx(
        (0.05, 0.02 / np.sqrt(3), 0.0, 0.0, 0.0)
    )
    assert alike.stouffer_p == pytest.approx(stats.norm.sf(2.5 * np.sqrt(3)))
    assert alike.shrunk_all_positive == pytest.approx(stats.norm.cdf(2.5 * np.sqrt(3)))
    # Far apart: tau is huge against the errors, and nothing is shared.
    delta, se = np.array([0.02, 0.01, 50.0]), np.array([0.02, 0.02, 0.02])
    wide = fragility.pool(delta, se)
    assert wide.tau_between == pytest.approx(np.std(delta, ddof=1), rel=1e-4) and wide.i2 > 0.9999
    assert wide.shrunk_all_positive == pytest.approx(stats.norm.cdf(delta / se).prod(), rel=1e-3)


def test_empirical_bayes_chance_agrees_with_simulation():
    rng = np.random.default_rng(5)
    delta, se = np.array([0.02, 0.10, 0.30]), np.array([0.06, 0.05, 0.04])
    pooled = fragility.pool(delta, se)
    mu = pooled.mean + pooled.se * rng.standard_normal((200_000, 1))
    share = pooled.tau_between**2 / (pooled.tau_between**2 + se**2)
    theta = mu + share * (delta - mu) + np.sqrt(share) * se * rng.standard_normal((200_000, 3))
    assert pooled.tau_between > 0.05
    assert pooled.shrunk_all_positive == pytest.approx((theta > 0).all(axis=1).mean(), abs=0.004)


def test_a_p_value_of_exactly_alpha_counts():
    # Two-sided .0625 each, exact in binary: Holm doubles the first, Hommel leaves equal ones alone.
    assert fragility.counts([1 / 32], alpha=1 / 16) == {"n_raw": 1, "n_holm": 1, "n_hommel": 1, "iut_p": 1 / 32}
    assert fragility.counts([1 / 32] * 2, alpha=1 / 16) == {"n_raw": 2, "n_holm": 0, "n_hommel": 2, "iut_p": 1 / 32}
    assert fragility.counts([31 / 32], alpha=1 / 16)["n_raw"] == 1  # significantly worse is significant, two-sided


def test_repeat_and_flat_chances_of_one_row_are_the_textbook_ones(made_up):
    read = fragility.scenarios(made_up.iloc[[2]], [Scenario("only", icc=0.4, rho=0.1)])
    z, row = read.rows["z"].item(), read.families.iloc[0]
    assert row["flat_all_positive"] == pytest.approx(stats.norm.cdf(z))
    assert row["repeat_all_positive"] == pytest.approx(stats.norm.cdf(z, scale=np.sqrt(2)))
    assert row["repeat_all_significant"] == pytest.approx(stats.norm.sf(stats.norm.isf(0.025) - z, scale=np.sqrt(2)))
    assert np.isnan(row["mean"])  # one row cannot be pooled


def test_rows_without_variance_get_defined_values():
    fixed = pd.DataFrame(
        {"benchmark": ["x", "y"], "name": ["X", "Y"], "p_a": [0.0, 1.0], "p_b": [1.0, 1.0], "n": [10, 10], "k": [1, 1],
         "upper_bound": [False, False]}
    )  # fmt: skip
    report = audit.report(fixed)
    assert report.one_run["p_two_sided"].tolist() == [0.0, 1.0]
    assert report.one_run["power"].tolist() == pytest.approx([1.0, 0.05])
    assert report.scenarios["mean"].isna().sum() == sum(s.target != "T3" for s in audit.SCENARIOS)
    assert report.replication["theta_33"].isna().all() and report.replication["possible"].tolist() == [True, False]
    assert report.one_run["exaggeration"].isna().all()


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t.drop(columns="p_b"), "lacks the column `p_b`; needed are benchmark, name"),
        (lambda t: t.iloc[:0], "`rows` is empty"),
        (lambda t: t.assign(n=[1, np.nan, 3]), "column `n` of `rows` has missing values"),
        (lambda t: t.assign(p_a=[50, 30, 20]), "fractions in"),
    ],
)
def test_wrong_tables_are_one_clear_error(made_up, change, message):
    for function in (
        fragility.one_run, lambda t: fragility.grid(t, [0.5], [0.5]), lambda t: fragility.scenarios(t, [Scenario("s")]),
        lambda t: fragility.replication(t, icc=0.5, rho=0.5), lambda t: fragility.required(t, icc=0.5, rhos=[0.5]),
        lambda t: fragility.tipping_curve(t, [0.0], icc=0.5, rho=0.5), lambda t: fragility.outcome_grid(t, [0.5]),
    ):  # fmt: skip
        with pytest.raises(AnalysisError, match=message):
            function(change(made_up))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda t: fragility.grid(t, [0.5], [0.5], level=1.0), "`level` must lie between 0 and 1; got 1.0"),
        (lambda t: fragility.grid(t, [], [0.5]), "no cells"),
        (lambda t: fragility.turning_points(t, [0.0]), "`icc` must lie in"),
        (lambda t: fragility.pool([0.1], [0.1]), "at least 2 differences"),
        (lambda t: fragility.pool([0.1, np.nan], [0.1, 0.1]), "finite differences"),
        (lambda t: fragility.pool([0.1, 0.2], [0.1, 0.0]), "standard errors above 0"),
        (lambda t: fragility.standard_errors(t, icc=0.5, rho=0.5, k=0), "`k` runs must be at least 1"),
    ],
)
def test_wrong_arguments_are_one_clear_error(made_up, call, message):
    with pytest.raises(AnalysisError, match=message):
        call(made_up)
