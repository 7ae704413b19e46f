"""Tables as users bring them: known cases, odd ones that are valid, and malformed ones."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from replication.analyse.claims import load_claims
from replication.analyse.table_answers import MEAN
from replication.analyse.tables.summaries import POOLED
from replication.commands import audit as command
from replication.errors import AnalysisError, EvidenceError
from replication.publish.audits import audit, read, report
from replication.settings import CONF

HEAD = "benchmark,arm,value_percent,n_tasks,runs"
PUBLISHED = [
    ("SWE-bench Verified (agentic)", "38.8", "65.8", 500, 1), ("SWE-bench Verified (agentless)", "36.6", "51.8", 500, 1),
    ("SWE-bench Multilingual", "25.8", "47.3", 300, 1), ("TerminalBench (Terminus)", "16.3", "25.0", 80, 1),
    ("Aider-Polyglot", "55.1", "60.0", 225, 1), ("Tau2 retail", "69.1", "70.6", 114, 4),
    ("Tau2 airline", "39.0", "56.5", 50, 4), ("Tau2 telecom", "32.5", "65.8", 114, 4),
    ("AIME 2025", "46.7", "49.5", 30, 64), ("GPQA-Diamond", "68.4", "75.1", 198, 8),
]  # fmt: skip
"""Ten rows of the README of Kimi-K2, DeepSeek-V3-0324 and Kimi-K2-Instruct; runs as used here."""
GRID = next(claim.parameters for claim in load_claims(CONF / "claim") if claim.id == "P")
N_CELLS = len(GRID["icc"]) * len(GRID["rho"])


@pytest.fixture
def audited(tmp_path):
    def of(*lines, head=HEAD, arms=()):
        path = tmp_path / "mine.csv"
        path.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
        return audit(read(path), *arms, name=path.name)

    return of


def both(name, a, b, n, k):
    return f"{name},x,{a},{n},{k}", f"{name},y,{b},{n},{k}"


def words(own):
    """Return the report on one line, after checking its width."""
    lines = report(own).splitlines()
    assert max(map(len, lines)) <= 120
    assert not any("nan" in line or "inf" in line.replace("information", "") for line in lines)
    return " ".join(" ".join(lines).split())


# --- known cases ------------------------------------------------------------------------------------------------------


def test_one_of_five_against_four_of_five_is_not_established(audited):
    own = audited(*both("AIME", "20.0", "80.0", 5, 1))
    text = words(own)
    assert "better tasks like these (T2): not established; one-sided p = .062 to .073, needed .025" in text
    assert "these very tasks (T1): not established" in text
    fisher = stats.fisher_exact([[1, 4], [4, 1]]).pvalue
    assert f"AIME e: Fisher {fisher:.3f}".replace("0.", ".") in text and "at best .250" in text
    # The exact test at the assumptions shown: three tasks for the treatment, none for the control, half of the last table.
    p = own.audit.estimates.set_index("interval").loc["T2", "p_two_sided"]
    assert p == pytest.approx(stats.binomtest(3, 3).pvalue / 2)


def test_effects_of_opposite_signs_with_extreme_p_are_audited(audited):
    own = audited(*both("MMLU", "60.0", "85.0", 14042, 1), *both("HellaSwag", "88.0", "82.0", 10042, 1))
    z = [e.value / e.se for e in own.audit.differences("T2")]
    stouffer = own.audit.scenarios.set_index("scenario").loc["stated runs, rho .5", "stouffer_p"]
    assert stouffer == pytest.approx(stats.norm.sf(sum(z) / np.sqrt(2)), rel=1e-9)
    text = words(own)
    assert "better on all 2 tasks like these (T2): not established" in text
    assert "contradicted by HellaSwag, below 0 everywhere" in text and f"{N_CELLS} of {N_CELLS} below" in text


def test_ten_published_rows_fit_one_screen_and_stay_distinct(audited):
    own = audited(*(line for row in PUBLISHED for line in both(*row)))
    lines = report(own).splitlines()
    assert len(lines) <= 50 and max(map(len, lines)) <= 120
    starts = [line[:24].strip() for line in lines if line.startswith("SWE-bench V")]
    assert len(starts) == 4 and len(set(starts)) == 2 and any("agentless" in start for start in starts)
    text = words(own)
    assert "better on all 10 tasks like these (T2): not established; 4 of 10 rows are above 0 everywhere" in text
    assert (
        "SWE-bench Multilingual: no whole count of 300 tasks and 1 run prints as this score; 2-10 runs would fit"
        in text
    )


# --- the questions ----------------------------------------------------------------------------------------------------


def test_means_of_normal_rows_are_those_of_the_formulas(audited):
    own = audited(
        *both("a", "40.0", "48.0", 200, 1), *both("b", "50.0", "52.0", 300, 2), *both("c", "61.0", "66.0", 150, 3)
    )
    rows = own.audit.differences("T2", 0.35, 0.3)
    cell = own.answers.means.query("icc == .35 and rho == .3").set_index("mean").loc[MEAN]
    value, se = np.mean([r.value for r in rows]), np.sqrt(sum(r.se**2 for r in rows)) / 3
    assert (cell["value"], cell["low"], cell["high"]) == pytest.approx(
        (value, value - stats.norm.ppf(0.975) * se, value + stats.norm.ppf(0.975) * se)
    )
    assert (cell["low_par"], cell["high_par"]) == pytest.approx(
        (value - stats.norm.ppf(0.95) * se, value + stats.norm.ppf(0.95) * se)
    )
    assert set(own.answers.means["mean"]) == {MEAN, POOLED} and len(own.answers.means) == 2 * N_CELLS


def test_parity_holds_at_a_margin_if_two_one_sided_tests_reject_in_every_cell(audited):
    own = audited(*both("a", "50.0", "50.5", 5000, 1), *both("b", "70.0", "70.5", 5000, 4))
    row = own.answers.rows.set_index("benchmark").loc["a"]
    worst = max(own.audit.differences("T2", icc, 0.0)[0].se for icc in GRID["icc"])
    assert row["margin"] == pytest.approx(0.005 + stats.norm.ppf(0.95) * worst)
    text = words(own)
    assert "on par within 3 mean of these 2 established (smallest margin that holds: 1.6)" in text
    assert "2 of 2 rows, by column `par`" in text


def test_established_needs_every_cell_of_the_grid(audited):
    weak = audited(*both("a", "50.0", "60.0", 160, 1))
    held = weak.answers.rows["n_above"].iloc[0]
    cells = weak.answers.cells.query("target == 'T2'")
    by_hand = [
        stats.norm.sf(d.value / d.se) <= 0.025
        for d in (weak.audit.differences("T2", c.icc, c.rho)[0] for c in cells.itertuples())
    ]
    assert held == sum(by_hand) and 0 < held < N_CELLS
    assert "better tasks like these (T2): not established" in words(weak)


def test_holm_is_needed_to_contradict(audited):
    # One of ten rows is below 0, at rho 0 with p .02: not after Holm, since the others show nothing.
    rows = [both(f"b{i}", "50.0", "51.0", 400, 1) for i in range(9)] + [both("low", "50.0", "41.8", 400, 1)]
    own = audited(*(line for row in rows for line in row))
    assert own.answers.rows.set_index("benchmark").loc["low", "n_below"] == N_CELLS
    assert "contradicted" not in words(own)


# --- digits -----------------------------------------------------------------------------------------------------------


def test_printed_deviations_and_differences_are_tested(audited):
    head = HEAD + ",sd_percent,delta_percent"
    lines = ("a,x,53.00,100,3,3.61,", "a,y,60.00,100,3,3.70,+7.00", "b,x,40.00,80,5,,6.5", "b,y,46.25,80,5,,")
    prints = audited(*lines, head=head).prints.set_index("benchmark")
    assert prints.loc["a", ["sd_a", "sd_b", "delta"]].tolist() == ["fits", "no", "fits"]
    assert prints.loc["b", ["sd_a", "sd_b", "delta"]].tolist() == ["", "", "no"]
    text = words(audited(*lines, head=head))
    assert "WARNING a: the printed treatment's SD does not come from these scores, tasks and runs." in text
    assert "WARNING b: the printed difference does not come from these scores, tasks and runs." in text
    single = audited("a,x,53.00,100,1,3.61,", "a,y,60.00,100,1,,", head=head)
    assert single.prints["sd_a"].tolist() == ["void"]  # an SD between runs of one run


def test_runs_that_fit_are_suggested_where_none_are_stated(audited):
    own = audited("a,x,33.33,100,", "a,y,50.00,100,")
    assert own.prints["runs"].iloc[0] == (3, 6, 9)
    text = words(own)
    assert "1 run (assumed: none stated) prints as this score; 3, 6, 9 runs would fit" in text
    assert "?: runs not stated, 1 assumed" in text


# --- odd but valid ----------------------------------------------------------------------------------------------------


def test_a_single_task_is_warned_of_and_shows_nothing(audited):
    own = audited(*both("a", "0", "100", 1, 1))
    text = words(own)
    assert "WARNING a: n = 1; one independent task says nothing about tasks like it" in text
    assert "better tasks like these (T2): not established" in text
    at = own.audit.estimates.set_index("interval")
    assert at.loc["T1", "p_two_sided"] == at.loc["T2", "p_two_sided"] == pytest.approx(0.5)  # mid-p of one coin


def test_figures_show_small_rows_by_their_own_tests(audited, tmp_path):
    normal = both("wide", "40.0", "50.0", 200, 1)
    mixed = audited(*both("a", "20.0", "80.0", 5, 1), *normal, *both("b", "0.0", "100.0", 8, 1))
    command.write(mixed, 0.03, tmp_path / "out")
    assert mixed.audit.tipping["name"].tolist() == ["wide"] and mixed.audit.tipping_steps["n_raw"].max() == 1
    cells = mixed.audit.fragility_map.query("benchmark == 'a'")
    assert cells["p_two_sided"].min() >= 0.125 - 1e-12
    pooled = mixed.audit.estimates.set_index("benchmark").loc[POOLED]
    cell = mixed.answers.means.query("icc == .5 and rho == .5").set_index("mean").loc[POOLED]
    assert pooled["value"] == pytest.approx(cell["value"]) and pooled["n_tasks"] == 213
    command.write(audited(*both("a", "20.0", "80.0", 5, 1)), 0.03, tmp_path / "out")
    assert not (tmp_path / "out/tipping.svg").exists() and not (tmp_path / "out/tipping_steps.csv").exists()


def test_all_against_none_is_exact(audited):
    own = audited(*both("a", "0.0", "100.0", 8, 1))
    assert own.audit.estimates.set_index("interval").loc["T2", "p_two_sided"] == pytest.approx(2 * 0.5**8 / 2)
    assert "better tasks like these (T2): established" in words(own)


def test_a_row_at_the_floor_in_both_arms_is_left_out_and_named(audited):
    own = audited(*both("a", "0", "0.0", 50, 1), *both("b", "40.0", "50.0", 50, 1))
    assert own.audit.rows["benchmark"].tolist() == ["b"]
    assert "left out: a: both arms at 0, so no task tells them apart" in words(own)


def test_equal_scores_show_no_difference(audited):
    own = audited(*both("a", "50.0", "50.0", 40, 1), *both("b", "2.5", "2.5", 40, 1))
    at = own.audit.estimates.set_index(["benchmark", "interval"])
    assert at.loc[("a", "T2"), "p_two_sided"] == at.loc[("b", "T2"), "p_two_sided"] == pytest.approx(1)
    assert set(own.answers.turning.values()) == {None}
    words(own)


def test_names_that_start_alike_stay_apart_in_report_and_figures(audited, tmp_path):
    names = ["long name of a benchmark, part one", "long name of a benchmark, part two", "x" * 40, "x" * 41]
    own = audited(*(line for n in names for line in both(f'"{n}"', "40.00", "50.00", 100, 1)))
    starts = [line.split("  ")[0] for line in report(own).splitlines() if line.startswith(("long", "xxx"))]
    assert len(starts) == 8 and len(set(starts)) == 4
    files = command.write(own, 0.03, tmp_path / "out")
    drawn = (tmp_path / "out/grim.svg").read_text(encoding="utf-8")
    assert len(files) > 20 and "part one" in drawn and "part two" in drawn


@pytest.mark.parametrize("lines", [
    both("a", "50", "50", 100, 1), both("a", "0", "50", 100, 1), both("a", "100", "0.50%", 1, 1),
    both("a", "50.123456", "40.00", 1319, 12), both("a", ".5%", "99.", 1000000, 64), both("a", "0.000", "0.001%", 10, ""),
    both("a", "50.0", "40.0", 2, 1000), both('"commas, and ""quotes"""', "50.0", "60.0", 10, 1),
])  # fmt: skip
def test_unusual_rows_are_audited_without_a_warning(audited, lines, tmp_path):
    own = audited(*lines)
    words(own)
    assert len(command.write(own, 0.03, tmp_path / "out")) > 10


def test_partial_credit_of_few_items_takes_the_variance_bound(audited):
    own = audited("a,x,20.0,5,1,bounded", "a,y,80.0,5,1,bounded", head=HEAD + ",score_type")
    exact = audited(*both("a", "20.0", "80.0", 5, 1))
    assert own.answers.cells["p_one_sided"].tolist() == exact.answers.cells["p_one_sided"].tolist()
    assert own.prints["fit_a"].tolist() == ["void"] and "a* e" in words(own)


def test_few_runs_of_few_tasks_count_as_fewer_than_their_product(audited):
    # N = 6/(.5 + .5/4) = 9.6 independent tasks, phi = .25 x 9.6/6 = .4.
    own = audited(*both("a", "25.00", "75.00", 6, 4))
    a_only = 9.6 * max(0.25 * 0.25 - 0.4 * 0.1875, 0)
    size = a_only + 9.6 * 0.5
    at = own.audit.estimates.set_index("interval").loc["T2"]
    tails = [stats.beta.cdf(0.5, size, a_only + 1), 0.0]  # no task for the control alone
    assert at["p_one_sided"] == pytest.approx(sum(tails) / 2)


def test_spaces_empty_rows_signs_and_a_mark_do_not_matter(audited):
    plain = audited(*both("a", "50.0", "60.0", 100, 1))
    messy = audited(
        "", " a , x , 50.0% , 100 , 1 ", ",,,,", "", "a,y,60.0,100,1", ",,,,", head="\ufeff" + HEAD.replace(",", " , ")
    )
    pd.testing.assert_frame_equal(plain.answers.cells, messy.answers.cells)


def test_named_arms_are_treatment_then_control(audited):
    lines = (*both("a", "50.0", "60.0", 100, 1), "a,z,90.0,100,1")
    own = audited(*lines, arms=("z", "x"))
    assert (own.audit.treatment, own.audit.control) == ("z", "x")
    assert own.answers.cells["value"].unique() == pytest.approx([0.4])
    with pytest.raises(AnalysisError, match=r"name both arms, or none; got z.*order: treatment control"):
        audited(*lines, arms=("z",))


# --- malformed --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lines, message", [
    (["a,x,50.0,100,1", "", "", "a,y,sixty,100,1"], "row 5, column `value_percent`: must be a number; got 'sixty'"),
    (["a,x,5e1,100,1"], "row 2, column `value_percent`: must be written in digits with a decimal point, as printed"),
    (["a,x,50.0,100,1", "a,y,-3,100,1"], "row 3, column `value_percent`: must be a finite number above 0; got '-3'"),
    (["a,x,0.5,100,1"], "row 2, column `value_percent`: .*fraction"),
    (['a,x,"50,5",100,1'], "row 2, column `value_percent`: must be a number; got '50,5'"),
    (["a,x,nan,100,1"], "row 2, column `value_percent`: must be a finite number"),
    (["a,x,50.0,,1"], "row 2, column `n_tasks`: must be a number"),
    (["a,x,50.0,1e400,1"], "row 2, column `n_tasks`: must be a finite number"),
    (["a,x,50.0,100,2.5"], "row 2, column `runs`: must be a whole number"),
    (["a,x,50.0,100,1", ",,,,", "a,x ,50.0,100,1"], "row 4, columns .*repeats an earlier row"),
    (["a,,50.0,100,1"], "row 2, column `arm`: must not be empty"),
    (["a,x,50.0,100,1", ",,,,", "a,y,60.0,90,1"], "row 4, column `n_tasks`: a has 90 here and 100 in row 2"),
    (["a,x,50.0,100,1,7"], "more fields than the header"),
])  # fmt: skip
def test_malformed_rows_are_refused_with_row_and_column(audited, lines, message):
    with pytest.raises(EvidenceError, match=message):
        audited(*lines)


@pytest.mark.parametrize("column, cell, message", [
    ("sd_percent", "-1.2", "row 3, column `sd_percent`: must be a number of points as printed, or empty; got '-1.2'"),
    ("sd_percent", "about 1", "row 3, column `sd_percent`"), ("delta_percent", "ten", "row 3, column `delta_percent`"),
    ("delta_percent", "+-3", "row 3, column `delta_percent`"),
    ("n_clusters", "200", "row 3, column `n_clusters`: a has 200"),
    ("standard_error", "1", "column `standard_error` is unknown"),
])  # fmt: skip
def test_malformed_optional_columns_are_refused_with_row_and_column(audited, column, cell, message):
    with pytest.raises(EvidenceError, match=message):
        audited("a,x,50.0,100,1,", f"a,y,60.0,100,1,{cell}", head=f"{HEAD},{column}")


def test_two_different_printed_differences_of_a_row_are_refused(audited):
    with pytest.raises(EvidenceError, match="row 3, column `delta_percent`: a has 10 here and 11 in row 2"):
        audited("a,x,50.0,100,1,11", "a,y,60.0,100,1,+10", head=HEAD + ",delta_percent")


def test_tabs_and_semicolons_are_named(audited):
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        with pytest.raises(EvidenceError, match=f"separated by {name}"):
            audited("a;x;50,0;100;1".replace(";", separator), head=HEAD.replace(",", separator))
