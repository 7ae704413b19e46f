"""The published table under observed assumptions: the evidence has what its derivation found, and the audit follows it."""

import math

import numpy as np
import pandas as pd
import pytest

from replication.analyse import analysis_settings, empirical, reanalysis
from replication.analyse.claims import load_claims
from replication.analyse.evidence import FOLDER, load_facts, load_groups, load_spreads
from replication.analyse.outcomes import derive, load_outcomes
from replication.analyse.stats.estimates.agreement import weighted_size
from replication.commands.evidence import main
from replication.errors import EvidenceError
from replication.settings import CONF

CLAIMS = load_claims(CONF / "claim")
DATA = reanalysis.study_data(CLAIMS, analysis_settings.default())
AUDIT = DATA.published.audit("sft_lwm_rl", "sft")
FOUND = empirical.examine(AUDIT, empirical.load())


def test_facts_are_those_of_the_derivation():
    # A second derivation from the same files (a review of this package) has the same numbers, to its two digits.
    rho = load_facts().query("statistic == 'rho' and relation == 'same_scaffold'")["value"]
    assert sorted(rho.round(2)) == [0.65, 0.66, 0.84, 0.87, 0.87, 0.9, 0.97]
    assert [round(x, 2) for x in FOUND.ranges["icc"]] == [0.49, 0.72, 0.86, 13]
    assert [round(x, 2) for x in FOUND.ranges["group_se_ratio"]] == [0.82, 1.5, 2.73, 36]


def test_repositories_hold_the_tasks_of_their_benchmarks():
    sizes = load_groups().groupby("benchmark")["n_tasks"]
    assert sizes.sum().to_dict() == {"swe_bench_pro": 730, "swe_bench_verified": 500}
    assert sizes.count().to_dict() == {"swe_bench_pro": 11, "swe_bench_verified": 12}
    assert sizes.apply(weighted_size).to_dict() == pytest.approx(
        {"swe_bench_pro": 73.175, "swe_bench_verified": 129.2}, abs=1e-3
    )


@pytest.mark.parametrize("claim", ["P", "A1"])
def test_grid_of_the_claims_reaches_what_was_observed_to_the_nearest_twentieth(claim):
    grid = next(c for c in CLAIMS if c.id == claim).parameters
    for name in ("icc", "rho"):
        low, _, high, _ = FOUND.ranges[name]
        assert min(grid[name]) <= low and max(grid[name]) >= round(high / 0.05) * 0.05 - 1e-9


def test_single_rows_are_summarised_and_a_printed_range_is_taken_as_it_is():
    table = load_facts()
    assert empirical.observed_range(table, "rho", "same_scaffold") == (0.646, 0.867, 0.966, 7)
    row = table.query("statistic == 'group_icc' and relation == 'within_10_points'").iloc[0]
    assert FOUND.ranges["group_icc"] == (row["low"], row["value"], row["high"], row["n_values"])


def test_table_would_be_established_at_the_median_observed_correlation_but_not_for_other_repositories():
    cells = FOUND.cells.set_index(["icc", "rho"])["iut_p"]
    assert cells[0.718, 0.867] == pytest.approx(0.0125, abs=1e-4) and cells[0.718, 0.646] > 0.025
    at_median = FOUND.grouped_family.query("group_icc == 0.012")
    assert len(at_median) == 28 and at_median["iut_p"].min() > 0.025


def test_median_spread_between_training_runs_by_hand():
    # T2 error of the mean 1.3217 points (interval +-2.590); 36 SDs, median 3.6: sqrt(1.3217^2 + 2 3.6^2/7) = 2.335 points,
    # and sqrt(1.3217^2 + 2 3.6^2) = 5.260.
    row = FOUND.checkpoints.set_index("which").loc["median"]
    assert (row["tau"], row["n"], row["n_holm"]) == (pytest.approx(0.036), 36, 0)
    assert row["separate_high"] - row["mean"] == pytest.approx(1.959964 * 0.02335, abs=2e-5)
    assert row["shared_high"] - row["mean"] == pytest.approx(1.959964 * 0.05260, abs=2e-5)
    assert row["shared_low"] < 0 < row["separate_low"]


def test_mean_for_tasks_of_other_repositories_by_hand():
    # Verified: SE^2 3.7270e-4 at 3 runs, 6.7081e-4 at 1; + 6.7081e-4 x .012 x (129.2 - 1). Pro: 2.8114e-4, 5.0605e-4, and
    # groups of 73.175 x 731/730. The mean of seven rows has the error 1.3217 points with independent tasks.
    verified, pro = 3.7270e-4 + 6.7081e-4 * 0.012 * 128.2, 2.8114e-4 + 5.0605e-4 * 0.012 * 72.2756
    assert (FOUND.grouped["se_grouped"].iloc[:2] ** 2).tolist() == pytest.approx([verified, pro], rel=1e-4)
    row = FOUND.grouped_mean.iloc[0]
    error = math.sqrt((7 * 0.013217) ** 2 - 3.7270e-4 - 2.8114e-4 + verified + pro) / 7
    assert row["high"] - row["mean"] == pytest.approx(1.959964 * error, rel=1e-3)


def test_spreads_between_evaluation_runs_are_compared_with_those_of_the_model():
    row = FOUND.run_sds.set_index("benchmark").loc["swe_bench_verified"]
    assert row["sd"] == pytest.approx(math.sqrt((0.01**2 + 0.018**2) / 2))
    single = (0.204 * 0.796 + 0.223 * 0.777) / 2 / 500
    assert [row["assumed_low"], row["assumed_high"]] == pytest.approx(
        [math.sqrt(0.15 * single), math.sqrt(0.65 * single)]
    )


def test_published_spread_of_the_training_runs_alone_enters_the_checkpoints():
    only = empirical.checkpoints(AUDIT, load_spreads().query("level == 'training' and sd > 0.06"))
    assert only["tau"].tolist() == [0.067] * 3


@pytest.mark.parametrize(
    "column, value, message",
    [
        ("low", "", "row 2, columns `low`, `high`: are needed unless `limits` is none"),
        ("value", "0.99", "row 2, column `value`: must lie from `low` to `high`"),
        ("statistic", "kappa", "row 2, column `statistic`: must be one of icc, rho"),
        ("relation", "cousins", "row 2, column `relation`: must be one of one, same_scaffold"),
        ("estimator", "", "row 2, column `estimator`: must not be empty"),
        ("row", "002", "columns `row`: repeats an earlier row"),
    ],
)
def test_malformed_fact_is_refused_by_row_and_column(tmp_path, column, value, message):
    table = pd.read_csv(FOLDER / "outcome_facts.csv", dtype=str, keep_default_na=False)
    table.loc[0, column] = value
    table.to_csv(tmp_path / "mine.csv", index=False)
    with pytest.raises(EvidenceError, match=message):
        load_facts(tmp_path / "mine.csv")


OUTCOMES = """arm,task,score,group
a,1,1,x
a,1,1,x
a,2,1,x
a,2,0,x
a,3,0,y
a,3,0,y
a,4,0,y
a,4,0,y
b,1,1,x
b,1,1,x
b,2,1,x
b,2,1,x
b,3,1,y
b,3,0,y
b,4,0,y
b,4,0,y
b,4,,y
"""


def written(tmp_path, text):
    path = tmp_path / "scores.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_facts_of_a_file_by_hand(tmp_path, capsys):
    found = derive(load_outcomes(written(tmp_path, OUTCOMES))).set_index(["statistic", "arm_a"])["value"]
    # MS between .4583, within .125: icc = .3333/(.4583 + .125); rho as in test_agreement.
    assert found["icc", "a"] == found["icc", "b"] == pytest.approx((11 / 24 - 1 / 8) / (11 / 24 + 1 / 8))
    assert found["rho", "a"] == pytest.approx(1.125)
    assert found["outcome_correlation", "a"] == pytest.approx(0.5625 / 0.6875)
    # Differences of task means 0, .5, .5, 0 in groups of two: MS between 0, within .125, n0 2.
    assert found["group_icc", "a"] == pytest.approx(-1.0)
    main(["derive", str(tmp_path / "scores.csv")])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["statistic", "arm", "other", "arm", "tasks", "trials", "value"]
    assert "rho" in lines[3] and lines[3].endswith("1.125") and len(lines) == 6


def test_single_trials_have_a_correlation_of_outcomes_only(tmp_path):
    single = "arm,task,score\na,1,1\na,2,0\na,3,0\nb,1,1\nb,2,1\nb,3,0\nc,9,1\n"
    found = derive(load_outcomes(written(tmp_path, single)))
    assert found["statistic"].tolist() == ["outcome_correlation"]
    assert found["value"].iloc[0] == pytest.approx(np.corrcoef([1, 0, 0], [1, 1, 0])[0, 1])


@pytest.mark.parametrize(
    "text, message",
    [
        ("arm,task\na,1\n", "column `score` is missing"),
        ("arm,task,score,seed\na,1,1,0\n", "column `seed` is unknown"),
        ("arm,task,score\na,1,pass\n", "row 2, column `score`: must be a number from 0 to 1 or empty; got 'pass'"),
        ("arm,task,score\na,1,1\na,2,47\n", "row 3, column `score`: must be a number from 0 to 1 or empty; got '47'"),
        ("arm,task,score\na,,1\n", "row 2, column `task`: must not be empty"),
        ("arm,task,score,group\na,1,1,x\nb,1,1,y\n", "row 2, column `group`: a task has one group"),
    ],
)
def test_malformed_scores_are_refused_by_row_and_column(tmp_path, text, message):
    with pytest.raises(EvidenceError, match=message):
        load_outcomes(written(tmp_path, text))


def test_verdicts_say_what_the_observed_values_would_make_of_them():
    from replication.analyse.verdicts import decide

    verdicts = {(v.claim_id, v.target): v for v in decide([c for c in CLAIMS if c.id in ("P", "A1")], DATA)}
    p = verdicts["P", "T2"]
    assert p.outcome == "not_established" and p.criteria["observed"]["other_groups"]["n_established"] == 0
    assert (
        "in 6 of 9 cells; for tasks of other repositories, at the median icc of repositories (0.012), in 0 of 28"
        in p.reason
    )
    assert "observed" not in verdicts["P", "T1"].criteria
    assert "at an SD of 3.6 points, the median of 36 published ones, the mean would be +8.2 [+3.7, +12.8]" in (
        verdicts["A1", "T3"].reason
    )
