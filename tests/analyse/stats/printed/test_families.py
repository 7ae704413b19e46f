"""Rows and families of any published table: limiting cases, closed forms and simulation."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from replication.analyse import analysis_settings
from replication.analyse.evidence import load_benchmarks, load_scores
from replication.analyse.stats.printed import audit_model, designs, families, row_tests
from replication.analyse.stats.printed.families import Scenario
from replication.analyse.stats.printed.rows import compare, standard_errors
from replication.analyse.table_audit import Grid, audit_rows
from replication.errors import AnalysisError

SETTINGS = analysis_settings.default()
GRID = Grid(alpha=0.05, iccs=(0.35, 0.5, 0.7), rhos=(0.0, 0.3, 0.5, 0.7))


def audited(rows):
    return audit_rows(rows, "treatment", "control", GRID, SETTINGS)


@pytest.fixture(scope="module")
def rows():
    return compare(load_scores(), load_benchmarks(), "sft_lwm_rl", "sft", unstated_runs=1)


@pytest.fixture
def made_up():
    """Another table: one negative row, one row without a difference, one at an odd number of runs."""
    return pd.DataFrame(
        {
            "benchmark": ["x", "y", "z"], "name": ["X", "Y", "Z"], "p_a": [0.5, 0.3, 0.2], "p_b": [0.42, 0.3, 0.5],
            "n": [50, 400, 64], "k": [2, 1, 4], "upper_bound": [False, True, True],
        }
    )  # fmt: skip


def test_another_table_is_audited_by_the_same_functions(made_up):
    audit = audited(made_up)
    assert audit.one_run["p_one_sided"].to_numpy()[:2] == pytest.approx([0.7896, 0.5], abs=5e-4)
    assert len(audit.every_cell) == 3 * 3 * 4 * 5  # rows, icc, rho, runs: 1, 3, 5 and the stated 2 and 4
    assert len(audit.digits) == len(audit.rounded_runs) == len(audit.denominators) == 0
    flat = audit.required[audit.required["name"] == "Y"]
    assert flat[["n_at_k1", "n_at_k3", "n_at_k5", "runs_at_own_n"]].isna().all(axis=None)
    assert audit.tipping.loc[:1, list(SETTINGS.audit.tipping)].to_numpy().tolist() == [[0.0] * 4] * 2
    assert (audit.family["iut_p"] > 0.5).all() and not audit.scenarios["n_holm"].gt(1).any()
    # Down by 8 points is as far from zero as up by 8 points.
    up = made_up.assign(p_a=made_up["p_b"], p_b=made_up["p_a"])
    assert row_tests.one_run(up, fraction=0.5)["p_two_sided"].to_numpy() == pytest.approx(
        audit.one_run["p_two_sided"].to_numpy()
    )
    assert row_tests.one_run(up, fraction=0.5)["exaggeration"][0] == pytest.approx(audit.one_run["exaggeration"][0])


def test_standard_errors_of_the_three_targets_by_hand(made_up):
    row = made_up.iloc[[2]]
    v_a, v_b = 0.16, 0.25
    between, noise = 0.4 * (v_a + v_b - 2 * 0.3 * 0.2), 0.6 * (v_a + v_b) / 4
    how = {"icc": 0.4, "rho": 0.3}
    assert standard_errors(row, **how, target="T1") == pytest.approx([np.sqrt(noise / 64)])
    t2 = (between + noise) / 64
    assert standard_errors(row, **how) == pytest.approx([np.sqrt(t2)])
    t3 = standard_errors(row, **how, target="T3", tau=0.05, m=2, partial_scale=0.5)
    assert t3 == pytest.approx([np.sqrt(t2 / 2 + 0.05**2)])
    # Half the variance is for partial credit only.
    binary = row.assign(upper_bound=False)
    assert standard_errors(binary, **how, partial_scale=0.5) == pytest.approx([np.sqrt(t2)])


def test_tipping_spread_brings_p_to_alpha_and_infinite_runs_leave_the_tasks(rows):
    for m in (1, 4):
        tau = families.tipping_points(rows, icc=0.5, rho=0.5, k=5, m=m)
        se = standard_errors(rows, icc=0.5, rho=0.5, k=5)
        z = (rows["p_b"] - rows["p_a"]) / np.sqrt(se**2 + 2 * tau**2 / m)
        assert 2 * stats.norm.sf(z[tau > 0]) == pytest.approx(0.05)
    limit = standard_errors(rows, icc=0.5, rho=0.2, k=np.inf)
    assert limit == pytest.approx(standard_errors(rows, icc=0.5, rho=0.2, k=1e12))


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
    alike = families.pool([0.05, 0.05, 0.05], [0.02, 0.02, 0.02])
    assert (alike.mean, alike.se, alike.tau_between, alike.q, alike.i2) == pytest.approx(
        (0.05, 0.02 / np.sqrt(3), 0.0, 0.0, 0.0)
    )
    assert alike.stouffer_p == pytest.approx(stats.norm.sf(2.5 * np.sqrt(3)))
    assert alike.shrunk_all_positive == pytest.approx(stats.norm.cdf(2.5 * np.sqrt(3)))
    # Far apart: tau is huge against the errors, and nothing is shared.
    delta, se = np.array([0.02, 0.01, 50.0]), np.array([0.02, 0.02, 0.02])
    wide = families.pool(delta, se)
    assert wide.tau_between == pytest.approx(np.std(delta, ddof=1), rel=1e-4) and wide.i2 > 0.9999
    assert wide.shrunk_all_positive == pytest.approx(stats.norm.cdf(delta / se).prod(), rel=1e-3)


def test_empirical_bayes_chance_agrees_with_simulation():
    rng = np.random.default_rng(5)
    delta, se = np.array([0.02, 0.10, 0.30]), np.array([0.06, 0.05, 0.04])
    pooled = families.pool(delta, se)
    mu = pooled.mean + pooled.se * rng.standard_normal((200_000, 1))
    share = pooled.tau_between**2 / (pooled.tau_between**2 + se**2)
    theta = mu + share * (delta - mu) + np.sqrt(share) * se * rng.standard_normal((200_000, 3))
    assert pooled.tau_between > 0.05
    assert pooled.shrunk_all_positive == pytest.approx((theta > 0).all(axis=1).mean(), abs=0.004)


def test_a_p_value_of_exactly_alpha_counts():
    # Two-sided .0625 each, exact in binary: Holm doubles the first, Hommel leaves equal ones alone.
    assert families.counts([1 / 32], alpha=1 / 16) == (1, 1, 1, 1 / 32)
    assert families.counts([1 / 32] * 2, alpha=1 / 16) == (2, 0, 2, 1 / 32)
    assert families.counts([31 / 32], alpha=1 / 16).n_raw == 1  # significantly worse is significant, two-sided


def test_repeat_and_flat_chances_of_one_row_are_the_textbook_ones(made_up):
    read = families.scenarios(made_up.iloc[[2]], [Scenario("only", "T2", icc=0.4, rho=0.1)])
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
    audit = audited(fixed)
    assert audit.one_run["p_two_sided"].tolist() == [0.0, 1.0]
    assert audit.one_run["power"].tolist() == pytest.approx([1.0, 0.05])
    assert audit.scenarios["mean"].isna().sum() == sum(s.target != "T3" for s in SETTINGS.audit.scenarios)
    assert audit.replication["theta_33"].isna().all() and audit.replication["possible"].tolist() == [True, False]
    assert audit.one_run["exaggeration"].isna().all()


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda t: t.drop(columns="p_b"), "lacks the column `p_b`; required are benchmark, name"),
        (lambda t: t.iloc[:0], "`rows` is empty"),
        (lambda t: t.assign(n=[1, np.nan, 3]), "column `n` of `rows` has missing values"),
        (lambda t: t.assign(p_a=[50, 30, 20]), "fractions in"),
    ],
)
def test_wrong_tables_are_one_clear_error(made_up, change, message):
    for function in (
        lambda t: row_tests.one_run(t, fraction=0.5), lambda t: row_tests.grid(t, [0.5], [0.5]),
        lambda t: families.scenarios(t, [Scenario("s", "T2", 0.5, 0.5)]),
        lambda t: designs.replication(t, icc=0.5, rho=0.5, goal=0.8),
        lambda t: designs.required(t, icc=0.5, rhos=[0.5], powers=[0.8], fractions=[1.0], ks=[1]),
        lambda t: families.tipping_curve(t, [0.0], icc=0.5, rho=0.5), lambda t: row_tests.outcome_grid(t, [0.5]),
    ):  # fmt: skip
        with pytest.raises(AnalysisError, match=message):
            function(change(made_up))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda t: row_tests.grid(t, [0.5], [0.5], level=1.0), "`level` must lie between 0 and 1; got 1.0"),
        (lambda t: row_tests.grid(t, [], [0.5]), "no cells"),
        (lambda t: row_tests.turning_points(t, [0.0]), "`icc` must lie in"),
        (lambda t: families.pool([0.1], [0.1]), "at least 2 differences"),
        (lambda t: families.pool([0.1, np.nan], [0.1, 0.1]), "finite differences"),
        (lambda t: families.pool([0.1, 0.2], [0.1, 0.0]), "standard errors above 0"),
        (lambda t: standard_errors(t, icc=0.5, rho=0.5, k=0), "`k` runs must be at least 1"),
    ],
)
def test_wrong_arguments_are_one_clear_error(made_up, call, message):
    with pytest.raises(AnalysisError, match=message):
        call(made_up)
