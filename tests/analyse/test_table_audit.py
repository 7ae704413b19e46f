"""The audit of a published table against the expected numbers of the analysis plan: rows, digits, composites, families."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from expected_audit_numbers import (
    BEYOND,
    BFCL,
    CLAW_EVAL_300,
    GRIM,
    ONE_RUN,
    OUTCOME,
    PAIRED,
    PUBLISHED,
    REPLICATION,
    REQUIRED,
    SAME_TASKS,
    SCENARIOS,
    STATED,
    T1_ICC_0,
    TIPPING,
)

from replication.analyse import analysis_settings
from replication.analyse.evidence import load_benchmarks, load_scores
from replication.analyse.stats.printed import audit_model, row_tests
from replication.analyse.stats.printed.composite import composite
from replication.analyse.stats.printed.rows import compare
from replication.analyse.table_audit import Grid, PublishedTable, audit_rows, published_estimates
from replication.analyse.tables.summaries import POOLED
from replication.errors import AnalysisError

PARTS = {
    "web search": "web_search", "memory": "memory", "multi-turn": "multi_turn", "non-live": "non_live", "live": "live",
    "hallucination": "hallucination",
}  # fmt: skip
NON_LIVE_ITEMS = 860
NAMES = list(ONE_RUN)
SETTINGS = analysis_settings.default()
GRID = Grid(alpha=0.05, iccs=(0.35, 0.5, 0.7), rhos=(0.0, 0.3, 0.5, 0.7))


@pytest.fixture(scope="module")
def scores():
    return load_scores()


@pytest.fixture(scope="module")
def rows(scores):
    return compare(scores, load_benchmarks(), "sft_lwm_rl", "sft", unstated_runs=1)


@pytest.fixture(scope="module")
def audit(rows):
    return audited(rows)


def audited(rows, grid=GRID):
    return audit_rows(rows, "treatment", "control", grid, SETTINGS)


def points(expected):
    return pytest.approx(np.asarray(expected, float) / 100, rel=1e-3, abs=2e-5)


def chance(expected):
    return pytest.approx(np.asarray(expected, float), rel=1e-3, abs=1e-12)


def relative(expected):
    return pytest.approx(np.asarray(expected, float), rel=1e-3, abs=0)


def by_name(table, name):
    return table[table["name"] == name.removesuffix(" item-F1")]


def test_an_icc_outside_the_grid_of_the_claim_has_turning_points_too(rows):
    settings = dataclasses.replace(SETTINGS, icc=0.6)
    turning = audit_rows(rows, "treatment", "control", GRID, settings).turning
    assert sorted(set(turning["icc"])) == [0.35, 0.5, 0.6, 0.7]
    expected = row_tests.turning_points(rows, [0.6], alpha=0.05)["rho"]
    np.testing.assert_array_equal(turning[turning["icc"] == 0.6]["rho"], expected)


def test_rows_are_the_published_ones(rows):
    for row, (name, a, b, delta, n, k, kind) in zip(rows.itertuples(), PUBLISHED["rows"], strict=True):
        assert row.name == name.removesuffix(" item-F1")
        assert (float(row.printed_a), float(row.printed_b), row.n, row.k, row.score_type) == (a, b, n, k, kind)
        assert row.p_b - row.p_a == points(delta)
        assert row.upper_bound == (kind != "binary")


@pytest.mark.parametrize("name", GRIM["rows"])
def test_totals_that_print_as_published(audit, name):
    table = audit.digits[audit.digits["name"] == name]
    a, b = (table[table["arm"] == arm].set_index("k") for arm in "ab")
    for k, size, *lists, p0 in GRIM["rows"][name]:
        got = [one.loc[k, rule] for rule in ("half_up", "truncated") for one in (a, b)]
        assert [list(totals) for totals in got] == lists
        assert [list(one.loc[k, "half_even"]) for one in (a, b)] == lists[:2]
        assert size == k * a.loc[k, "n_tasks"] and a.loc[k, "p0"] == b.loc[k, "p0"] == chance(p0)


def test_digits_corroborate_the_stated_runs(audit):
    summary = GRIM["stated_runs_summary"]
    binary = audit.digits.query("stated and score_type == 'binary'")
    assert len(binary) == summary["of"]
    assert (binary["half_up"].str.len() > 0).sum() == summary["half_up_consistent"]
    assert ((binary["half_up"].str.len() > 0) | (binary["truncated"].str.len() > 0)).all()
    joint = binary.groupby("name", sort=False)["p0"].prod()
    assert joint.to_numpy() == chance(summary["joint_P0"])
    # The one denominator that fits all printed rows is not of fewer runs, under either rule.
    fewer = audit.digits.query("score_type == 'binary' and k == 1")
    assert (fewer[["half_up", "half_even", "truncated"]].map(len) == 0).all(axis=None)


@pytest.mark.parametrize("name", GRIM["mean_of_rounded_runs"]["rows"])
def test_mean_of_rounded_runs(audit, name):
    table = audit.rounded_runs[audit.rounded_runs["name"] == name].set_index(["k", "run_decimals", "arm"])
    for k, *expected in GRIM["mean_of_rounded_runs"]["rows"][name]:
        assert [table.loc[(k, d, arm), "possible"] for d in (1, 2) for arm in "ab"] == expected
    if name == "Terminal-Bench 2.0":
        row = table.loc[(5, 2, "a")]
        assert (row["spread_tasks"], round(row["spread_points"])) == (25, 28)


@pytest.mark.parametrize("name", GRIM["smaller_denominators"]["rows"])
def test_smaller_denominators(audit, name):
    expected = GRIM["smaller_denominators"]["rows"][name]
    (row,) = audit.denominators[audit.denominators["name"] == name].itertuples()
    assert sorted(map(list, row.hits)) == sorted(expected["hits"]) and row.n_hits == len(expected["hits"])
    assert row.expected_hits == chance(expected["expected_by_chance"])


def test_composite_taken_apart(scores):
    got = composite(scores, "bfcl_v4", "sft_lwm_rl", "sft", items={"non_live": NON_LIVE_ITEMS})
    parts = got.parts.set_index("part")
    for expected in BFCL["parts"]:
        part = parts.loc[PARTS[expected["part"]]]
        assert [part["p_a"], part["p_b"], part["delta"]] == points([expected[k] for k in ("A", "B", "delta")])
        assert [part["weight"], part["n_items"], part["n_clusters"]] == [
            expected[k] for k in ("weight", "items", "clusters")
        ]
        numbers = [expected[k] for k in ("p_items", "p_clusters", "share_of_overall_gain")]
        assert part[["p_items", "p_clusters", "share"]].tolist() == chance(numbers)
    assert (got.se_items, got.se_clusters) == points([BFCL["overall_se_items"], BFCL["overall_se_clusters"]])
    assert (got.n_eff_items, got.n_eff_clusters) == chance([BFCL["n_eff_items"], BFCL["n_eff_clusters"]])
    assert (got.weighted_a, got.weighted_b) == points([BFCL["weighted_mean_A"], BFCL["weighted_mean_B"]])
    assert got.printed_fit and got.delta == points(8.96)
    assert parts["share"].sum() == pytest.approx(1) and parts.loc[["web_search", "multi_turn"], "share"].sum() > 0.78
    # 135 and 166 of 200 web questions; 60.38 is 483.04 of 800 multi-turn items, so 483, which prints 60.38.
    assert parts.loc[["web_search", "multi_turn"], ["fits_a", "fits_b"]].all(axis=None)


def test_one_task_is_the_smallest_design():
    assert audit_model.standard_error(0.5, 0.5, 1, 1, icc=1.0, rho=-1.0) == pytest.approx(1.0)
    assert audit_model.weighted_standard_error([[0.5], [0.5]], [1], [1.0]) == pytest.approx(np.sqrt(0.5))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"icc": 1.1}, "`icc` must lie in"),
        ({"icc": -0.1}, "`icc` must lie in"),
        ({"rho": 1.1}, "`rho` must lie in"),
        ({"rho": float("nan")}, "`rho` must lie in"),
        ({"tau": -0.1}, "`tau` must be at least 0"),
        ({"m": 0}, "`m` must be at least 1"),
        ({"scale": 1.1}, "`scale` must lie in"),
    ],
)
def test_assumptions_outside_their_range_are_refused(change, message):
    with pytest.raises(AnalysisError, match=message):
        audit_model.standard_error(0.4, 0.5, 50, 2, **({"icc": 0.5, "rho": 0.5} | change))


@pytest.mark.parametrize(
    "parts, items, message",
    [([[0.5, 0.5]], [9, 9], "need `parts`"), ([[0.5, 2], [0.5, 0.5]], [9, 9], "fractions"),
     ([[0.5, 0.5], [0.5, 0.5]], [9], "need `parts`"), ([[0.5, 0.5], [0.5, 0.5]], [9, 0], "at least 1 item")],
)  # fmt: skip
def test_wrong_parts_are_refused(parts, items, message):
    with pytest.raises(AnalysisError, match=message):
        audit_model.weighted_standard_error(parts, items, [0.5, 0.5])


def test_items_that_an_unweighted_mean_of_sub_sets_is_worth():
    # Non-live: simple (itself the mean of 400, 100 and 50 items), multiple, parallel, parallel multiple (200 each).
    sizes, weights = [400, 100, 50, 200, 200, 200], [1 / 12] * 3 + [1 / 4] * 3
    assert round(audit_model.effective_items(0.8, 0.8, np.full((2, 6), 0.8), sizes, weights)) == NON_LIVE_ITEMS


def made_up_scores():
    """Two benchmarks of another paper: a pass rate and a weighted mean of two parts."""
    common = {"table": "t", "params_b": 7.0, "source": "s", "date_read": "2026-01-01", "certainty": "read", "note": ""}
    cells = [
        ("old", "q", "pass", "binary", "40.0", 50, 50, 2, np.nan), ("new", "q", "pass", "binary", "55.0", 50, 50, 2, np.nan),
        ("old", "w", "one", "binary", "10.00", 100, 50, 1, 0.25), ("new", "w", "one", "binary", "30.00", 100, 50, 1, 0.25),
        ("old", "w", "two", "binary", "50.00", 400, 400, 1, 0.75), ("new", "w", "two", "binary", "50.00", 400, 400, 1, 0.75),
        ("old", "w", "all", "composite", "40.00", 500, np.nan, 1, np.nan),
        ("new", "w", "all", "composite", "45.00", 500, np.nan, np.nan, np.nan),
    ]  # fmt: skip
    names = ["arm", "benchmark", "metric", "score_type", "value_percent", "n_tasks", "n_clusters", "runs", "weight"]
    table = pd.DataFrame(cells, columns=names).assign(**common)
    return table.assign(value=table["value_percent"].astype(float) / 100)


BENCHMARKS = pd.DataFrame({"id": ["q", "w"], "name": ["Q", "W"], "primary_metric": ["pass", "all"]})


def test_another_table_from_scores_to_report():
    rows = compare(made_up_scores(), BENCHMARKS, "new", "old", unstated_runs=4)
    # SE^2 of the weighted mean: .0625 (.09 + .21)/50 + .5625 (.25 + .25)/400, one proportion .4 to .45 with as much.
    variance = 0.0625 * 0.30 / 50 + 0.5625 * 0.5 / 400
    assert rows["n"].tolist() == [50, round((0.24 + 0.2475) / variance)]
    assert rows["k"].tolist() == [2, 4] and rows["runs_stated"].tolist() == [True, False]
    chosen = dataclasses.replace(SETTINGS.audit, runs=(2,), digit_runs=(1,), taus=(0.0, 0.05))
    audit = audit_rows(
        rows, "new", "old", Grid(alpha=0.05, iccs=(0.4,), rhos=(0.2,)), dataclasses.replace(SETTINGS, audit=chosen)
    )
    assert audit.digits["name"].unique().tolist() == ["Q"]
    assert audit.digits.query("k == 2")["half_up"].tolist() == [(40,), (55,)]
    assert audit.digits["k"].tolist() == [1, 2, 4] * 2  # every stated number of runs is added
    assert audit.digits["stated"].tolist() == [False, True, False] * 2
    assert audit.digits["p0"].tolist() == pytest.approx([51 / 1001, 101 / 1001, 201 / 1001] * 2)
    assert len(audit.every_cell) == 4 and len(audit.tipping_curve) == 2 and len(audit.denominators) == 1
    apart = composite(made_up_scores(), "w", "new", "old", "all")
    assert apart.se_clusters == pytest.approx(np.sqrt(variance)) and apart.printed_fit
    assert apart.se_items == pytest.approx(np.sqrt(0.0625 * 0.30 / 100 + 0.5625 * 0.5 / 400))
    assert apart.parts["share"].tolist() == pytest.approx([1.0, 0.0])
    assert apart.parts["p_items"].tolist() == pytest.approx([2.6073e-4, 1.0], rel=1e-3)


def test_a_wrong_weighted_mean_is_noticed():
    table = made_up_scores()
    table.loc[7, ["value_percent", "value"]] = ["45.02", 0.4502]
    assert not composite(table, "w", "new", "old", "all").printed_fit


def test_parts_without_variance_or_gain_get_defined_values():
    table = made_up_scores()
    table.loc[[2, 3], ["value_percent", "value"]] = ["0.00", 0.0]
    apart = composite(table, "w", "new", "old", "all")
    assert apart.parts["p_items"].tolist() == [1.0, 1.0] and apart.parts["share"].isna().all()
    table.loc[3, ["value_percent", "value"]] = ["100.00", 1.0]
    assert composite(table, "w", "new", "old", "all").parts["p_items"].tolist() == [0.0, 1.0]


def test_every_table_of_the_record_has_rows_and_the_record_is_frozen(audit):
    assert all(len(table) for table in audit.tables().values())
    with pytest.raises(dataclasses.FrozenInstanceError):
        audit.rows = audit.rows


def test_claim_reads_its_own_cells_of_the_family_tests(audit):
    cells = audit.claimed_family()
    assert cells["target"].tolist() == ["T1"] * 3 + ["T2"] * 12
    assert set(cells["rho"]) == {0.0, 0.3, 0.5, 0.7} and set(cells["icc"]) == {0.35, 0.5, 0.7}
    at = cells.query("target == 'T2' and icc == 0.5 and rho == 0.5").iloc[0]
    assert (at["n_raw"], at["n_holm"], at["iut_p"]) == pytest.approx(
        (audit.together("T2").n_raw, audit.together("T2").n_holm, audit.together("T2").iut_p)
    )


def test_correlation_from_which_all_rows_hold_is_the_largest_of_the_rows(audit, rows):
    by_icc = audit.turning.groupby("icc")["rho"].max()
    assert audit.turning_all == pytest.approx(by_icc.to_dict())
    at = audit_rows(rows, "t", "c", dataclasses.replace(GRID, rhos=(audit.turning_all[0.5],)), SETTINGS)
    assert at.claimed_family().query("target == 'T2' and icc == 0.5")["iut_p"].item() == pytest.approx(0.025)
    worse = rows.assign(p_b=rows["p_b"].where(rows.index > 0, 0.2))
    assert audited(worse).turning_all == {0.35: None, 0.5: None, 0.7: None}  # one row below 0 is never above it


def test_audit_is_computed_once_per_pair_of_arms_and_grid(scores):
    table = PublishedTable(scores, load_benchmarks(), GRID, SETTINGS)
    once = table.audit("sft_lwm_rl", "sft")
    assert table.audit("sft_lwm_rl", "sft", GRID) is once
    assert table.audit("sft_lwm_rl", "sft", dataclasses.replace(GRID, alpha=0.1)) is not once


def test_pooled_row_of_the_estimates_is_left_out_for_a_single_row(rows):
    assert set(published_estimates(rows, icc=0.5, rho=0.5, level=0.95)["benchmark"]) == {*rows["name"], POOLED}
    one = published_estimates(rows.iloc[:1], icc=0.5, rho=0.5, level=0.95)
    assert one["interval"].tolist() == ["T1", "T2", "unpaired"]


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda s: composite(s, "bfcl_v4", "general", "sft"), "no metric `overall` for both `general` and `sft`"),
        (lambda s: composite(s, "claw_eval", "sft_lwm_rl", "sft", "score"), "needs parts with a `weight`"),
        (
            lambda s: composite(s.query("metric != 'live'"), "bfcl_v4", "sft_lwm_rl", "sft"),
            "5 parts and sum to 1",
        ),
        (
            lambda s: compare(s, load_benchmarks().assign(primary_metric="none"), "sft_lwm_rl", "sft", 1),
            "no benchmark has a primary metric",
        ),
        (
            lambda s: composite(made_up_scores().assign(value=1.0), "w", "new", "old", "all"),
            "every part is at 0 or 1 in both arms",
        ),
    ],
)
def test_wrong_input_is_one_clear_error(scores, call, message):
    with pytest.raises(AnalysisError, match=message):
        call(scores)


# Every table of the record against the expected numbers.


@pytest.mark.parametrize("name", NAMES)
def test_one_unpaired_run(audit, name):
    expected, (row,) = ONE_RUN[name], by_name(audit.one_run, name).itertuples()
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
    (row,) = row_tests.one_run(later, fraction=0.5).itertuples()
    assert row.se == points(CLAW_EVAL_300["se"]) and row.p_two_sided == chance(CLAW_EVAL_300["p"])


@pytest.mark.parametrize("name", NAMES)
def test_paired_grid_for_tasks_like_these(audit, name):
    got = by_name(audit.every_cell, name)
    expected = np.array(PAIRED["rows"][name])
    assert got[["icc", "k", "rho"]].to_numpy().tolist() == expected[:, :3].tolist()
    assert got[["se", "low", "high", "mde80", "mde90"]].to_numpy() == points(expected[:, [3, 5, 6, 8, 9]])
    assert got[["p_two_sided", "power"]].to_numpy() == chance(expected[:, [4, 7]])
    assert len(got) == 36


@pytest.mark.parametrize("name", NAMES)
def test_grid_for_these_tasks(audit, name):
    got, expected = by_name(audit.same_tasks, name), np.array(SAME_TASKS["rows"][name])
    assert got[["icc", "k"]].to_numpy().tolist() == expected[:, :2].tolist()
    assert got[["se", "low", "high"]].to_numpy() == points(expected[:, [2, 4, 5]])
    assert got["p_two_sided"].to_numpy() == chance(expected[:, 3])


@pytest.mark.parametrize("name", NAMES)
def test_grid_over_the_outcome_correlation(audit, name):
    got, expected = by_name(audit.outcome, name), np.array(OUTCOME["rows"][name])
    assert got["rho_outcome"].tolist() == expected[:, 0].tolist()
    assert got[["se", "low", "high", "mde80"]].to_numpy() == points(expected[:, [1, 3, 4, 6]])
    assert got[["p_two_sided", "power"]].to_numpy() == chance(expected[:, [2, 5]])


@pytest.mark.parametrize("name", NAMES)
def test_stated_runs(audit, name):
    got = by_name(audit.stated, name).query("icc == 0.5 and rho <= 0.7")
    expected = np.array(STATED["rows"][name])
    assert got["rho"].tolist() == expected[:, 0].tolist()
    assert got[["se", "low", "high"]].to_numpy() == points(expected[:, [1, 3, 4]])
    assert got["p_two_sided"].to_numpy() == chance(expected[:, 2])


@pytest.mark.parametrize("name", NAMES)
def test_tasks_and_runs_each_row_would_have_needed(audit, name):
    got, expected = by_name(audit.required, name), REQUIRED["rows"][name]
    assert got[["fraction", "rho", "power"]].to_numpy().tolist() == [row[:3] for row in expected]
    counts = got[["n_at_k1", "n_at_k3", "n_at_k5", "runs_at_own_n"]].astype(object)
    assert counts.where(counts.notna(), None).to_numpy().tolist() == [row[3:7] for row in expected]
    assert got["mde_floor"].to_numpy() == points([row[7] for row in expected])


@pytest.mark.parametrize("number", range(len(SCENARIOS["rows"])))
def test_all_rows_together(audit, number):
    expected = SCENARIOS["rows"][number]
    got, setting = audit.scenarios.iloc[number], expected["setting"]
    assert got["scenario"] == expected["name"]
    assert [got[k] for k in ("target", "icc", "rho", "partial_scale")] == [
        setting[k] for k in ("target", "icc", "rho", "partial_credit_variance_scale")
    ]
    assert 100 * got["tau"] == setting["tau"]
    assert np.isnan(got["k"]) if setting["k"] == "stated" else got["k"] == setting["k"]
    member = audit.scenario_rows[audit.scenario_rows["scenario"] == expected["name"]]
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


def test_one_scenario_beside_the_others_at_icc_0(audit):
    (row,) = audit.family_same_tasks.query("icc == 0").itertuples()
    assert row.iut_p == chance(T1_ICC_0["iut_p_one_sided"])
    assert (row.n_raw, row.n_holm) == (T1_ICC_0["n_p05_raw"], T1_ICC_0["n_p05_holm"])


def test_verdict_beyond_a_task_correlation_of_point_seven(audit):
    for icc, rho, p, raw, adjusted in BEYOND["rows"]:
        cell = (audit.family["icc"] == icc) & (audit.family["rho"] == rho)
        (row,) = audit.family[cell].itertuples()
        assert row.iut_p == chance(p) and (row.n_raw, row.n_holm) == (raw, adjusted)
    for icc, *rhos in BEYOND["rho_at_which_each_row_reaches_p05"]["rows"]:
        assert audit.turning.loc[audit.turning["icc"] == icc, "rho"].to_numpy() == chance(rhos)


def test_checkpoint_spread_that_tips_each_row(audit):
    for name, expected in TIPPING["rows"].items():
        (row,) = by_name(audit.tipping, name)[list(SETTINGS.audit.tipping)].to_numpy()
        assert row == points(expected)
    expected = TIPPING["significant_rows_vs_checkpoint_sd"]["rows"]
    curve = audit.tipping_curve
    assert (100 * curve["tau"]).tolist() == pytest.approx([row[0] for row in expected])
    assert curve[["n_raw", "n_holm"]].to_numpy().tolist() == [row[1:3] for row in expected]
    assert curve["iut_p"].to_numpy() == chance([row[3] for row in expected])


@pytest.mark.parametrize("name", NAMES)
def test_size_and_power_of_a_replication(audit, name):
    expected, (row,) = REPLICATION["rows"][name], by_name(audit.replication, name).itertuples()
    assert (row.se, row.shrunk, row.theta_33) == points([expected[k] for k in ("se_o", "eb_shrunk_effect", "theta33")])
    assert (row.repeat_low, row.repeat_high) == points(expected["pi95_equal_sized_repeat"])
    assert row.z == chance(expected["z_o"]) and row.possible == expected["golden_success_possible"]
    for got, key in ((row.d_min, "d_min_at_c1"), (row.c_for_goal, "c_for_80_percent_predictive_power")):
        assert np.isnan(got) if expected[key] is None else got == chance(expected[key])
    limits = [expected[k] for k in ("predictive_power_limit_large_c", "max_predictive_power_over_c")]
    assert (row.power_limit, row.max_power) == chance(limits)
