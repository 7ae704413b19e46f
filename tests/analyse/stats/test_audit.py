"""The audited table itself: pairing, printed digits, composites; against the expected numbers of the audit."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from expected_audit_numbers import BFCL, GRIM, PUBLISHED

from replication.analyse.evidence import load_benchmarks, load_scores
from replication.analyse.stats.printed import audit, audit_model, grim
from replication.errors import AnalysisError

PARTS = {
    "web search": "web_search", "memory": "memory", "multi-turn": "multi_turn", "non-live": "non_live", "live": "live",
    "hallucination": "hallucination",
}  # fmt: skip
NON_LIVE_ITEMS = 860


@pytest.fixture(scope="module")
def scores():
    return load_scores()


@pytest.fixture(scope="module")
def rows(scores):
    return audit.compare(scores, load_benchmarks(), "sft_lwm_rl", "sft", unstated_runs=1)


@pytest.fixture(scope="module")
def report(rows):
    return audit.report(rows)


def points(expected):
    return pytest.approx(np.asarray(expected, float) / 100, rel=1e-3, abs=2e-5)


def chance(expected):
    return pytest.approx(np.asarray(expected, float), rel=1e-3, abs=1e-12)


def test_rows_are_the_published_ones(rows):
    for row, (name, a, b, delta, n, k, kind) in zip(rows.itertuples(), PUBLISHED["rows"], strict=True):
        assert row.name == name.removesuffix(" item-F1")
        assert (float(row.printed_a), float(row.printed_b), row.n, row.k, row.score_type) == (a, b, n, k, kind)
        assert row.p_b - row.p_a == points(delta)
        assert grim.difference_is_consistent(row.printed_a, row.printed_b, f"{delta:.2f}")
        assert row.upper_bound == (kind != "binary")


@pytest.mark.parametrize("name", GRIM["rows"])
def test_totals_that_print_as_published(report, name):
    table = report.digits[report.digits["name"] == name]
    a, b = (table[table["arm"] == arm].set_index("k") for arm in "ab")
    for k, size, *lists, p0 in GRIM["rows"][name]:
        got = [one.loc[k, rule] for rule in ("half_up", "truncated") for one in (a, b)]
        assert [list(totals) for totals in got] == lists
        assert [list(one.loc[k, "half_even"]) for one in (a, b)] == lists[:2]
        assert size == k * a.loc[k, "n_tasks"] and a.loc[k, "p0"] == b.loc[k, "p0"] == chance(p0)


def test_digits_corroborate_the_stated_runs(report):
    summary = GRIM["stated_runs_summary"]
    binary = report.digits.query("stated and score_type == 'binary'")
    assert len(binary) == summary["of"]
    assert (binary["half_up"].str.len() > 0).sum() == summary["half_up_consistent"]
    assert ((binary["half_up"].str.len() > 0) | (binary["truncated"].str.len() > 0)).all()
    joint = binary.groupby("name", sort=False)["p0"].prod()
    assert joint.to_numpy() == chance(summary["joint_P0"])
    # The one denominator that fits all printed rows is not of fewer runs, under either rule.
    fewer = report.digits.query("score_type == 'binary' and k == 1")
    assert (fewer[["half_up", "half_even", "truncated"]].map(len) == 0).all(axis=None)


@pytest.mark.parametrize("name", GRIM["mean_of_rounded_runs"]["rows"])
def test_mean_of_rounded_runs(report, name):
    table = report.rounded_runs[report.rounded_runs["name"] == name].set_index(["k", "run_decimals", "arm"])
    for k, *expected in GRIM["mean_of_rounded_runs"]["rows"][name]:
        assert [table.loc[(k, d, arm), "possible"] for d in (1, 2) for arm in "ab"] == expected
    if name == "Terminal-Bench 2.0":
        row = table.loc[(5, 2, "a")]
        assert (row["spread_tasks"], round(row["spread_points"])) == (25, 28)


@pytest.mark.parametrize("name", GRIM["smaller_denominators"]["rows"])
def test_smaller_denominators(report, name):
    expected = GRIM["smaller_denominators"]["rows"][name]
    (row,) = report.denominators[report.denominators["name"] == name].itertuples()
    assert sorted(map(list, row.hits)) == sorted(expected["hits"]) and row.n_hits == len(expected["hits"])
    assert row.expected_hits == chance(expected["expected_by_chance"])


def test_composite_taken_apart(scores):
    got = audit.composite(scores, "bfcl_v4", "sft_lwm_rl", "sft", items={"non_live": NON_LIVE_ITEMS})
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
        ({"rho": 1.1}, "`rho` in"),
        ({"rho": float("nan")}, "`rho` in"),
        ({"tau": -0.1}, "`tau` must be at least 0"),
        ({"m": 0}, "`m` at least 1"),
        ({"scale": 1.1}, "`scale` in"),
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
    rows = audit.compare(made_up_scores(), BENCHMARKS, "new", "old", unstated_runs=4)
    # SE^2 of the weighted mean: .0625 (.09 + .21)/50 + .5625 (.25 + .25)/400, one proportion .4 to .45 with as much.
    variance = 0.0625 * 0.30 / 50 + 0.5625 * 0.5 / 400
    assert rows["n"].tolist() == [50, round((0.24 + 0.2475) / variance)]
    assert rows["k"].tolist() == [2, 4] and rows["runs_stated"].tolist() == [True, False]
    report = audit.report(
        rows, iccs=(0.4,), rhos=(0.2,), high_rhos=(0.9,), ks=(2,), taus=(0.0, 0.05), digit_runs=(1, 2)
    )
    assert report.digits["name"].unique().tolist() == ["Q"]
    assert report.digits.query("k == 2")["half_up"].tolist() == [(40,), (55,)]
    assert report.digits["stated"].tolist() == [False, True] * 2
    assert report.digits["p0"].tolist() == pytest.approx([51 / 1001, 101 / 1001] * 2)
    assert len(report.grid) == 2 and len(report.tipping_curve) == 2 and len(report.denominators) == 1
    apart = audit.composite(made_up_scores(), "w", "new", "old", "all")
    assert apart.se_clusters == pytest.approx(np.sqrt(variance)) and apart.printed_fit
    assert apart.se_items == pytest.approx(np.sqrt(0.0625 * 0.30 / 100 + 0.5625 * 0.5 / 400))
    assert apart.parts["share"].tolist() == pytest.approx([1.0, 0.0])
    assert apart.parts["p_items"].tolist() == pytest.approx([2.6073e-4, 1.0], rel=1e-3)


def test_a_wrong_weighted_mean_is_noticed():
    table = made_up_scores()
    table.loc[7, ["value_percent", "value"]] = ["45.02", 0.4502]
    assert not audit.composite(table, "w", "new", "old", "all").printed_fit


def test_parts_without_variance_or_gain_get_defined_values():
    table = made_up_scores()
    table.loc[[2, 3], ["value_percent", "value"]] = ["0.00", 0.0]
    apart = audit.composite(table, "w", "new", "old", "all")
    assert apart.parts["p_items"].tolist() == [1.0, 1.0] and apart.parts["share"].isna().all()
    table.loc[3, ["value_percent", "value"]] = ["100.00", 1.0]
    assert audit.composite(table, "w", "new", "old", "all").parts["p_items"].tolist() == [0.0, 1.0]


def test_report_is_a_named_tuple_of_tables(report):
    assert all(isinstance(part, pd.DataFrame) and not part.empty for part in report)
    assert not dataclasses.is_dataclass(report) and report._fields[:3] == ("rows", "one_run", "grid")


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda s: audit.composite(s, "bfcl_v4", "general", "sft"), "no metric `overall` for both `general` and `sft`"),
        (lambda s: audit.composite(s, "claw_eval", "sft_lwm_rl", "sft", "score"), "needs parts with a `weight`"),
        (
            lambda s: audit.composite(s.query("metric != 'live'"), "bfcl_v4", "sft_lwm_rl", "sft"),
            "5 parts and sum to 1",
        ),
        (
            lambda s: audit.compare(s, load_benchmarks().assign(primary_metric="none"), "sft_lwm_rl", "sft", 1),
            "no benchmark has a primary metric",
        ),
        (
            lambda s: audit.composite(made_up_scores().assign(value=1.0), "w", "new", "old", "all"),
            "every part is at 0 or 1 in both arms",
        ),
    ],
)
def test_wrong_input_is_one_clear_error(scores, call, message):
    with pytest.raises(AnalysisError, match=message):
        call(scores)
