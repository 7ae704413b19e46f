"""Published numbers load with their printed digits, and a malformed table is refused by row and column."""

import pandas as pd
import pytest

from replication.analyse.evidence import FOLDER, load_benchmarks, load_scores
from replication.errors import EvidenceError

SCORES = FOLDER / "published_scores.csv"


def edited(tmp_path, edit):
    table = pd.read_csv(SCORES, dtype=str, keep_default_na=False)
    table = edit(table)
    path = tmp_path / "mine.csv"
    table.to_csv(path, index=False)
    return path


def set_cell(column, value, row=3):
    def edit(table):
        table.loc[row, column] = value
        return table

    return edit


def test_printed_decimals_are_kept():
    row = load_scores().set_index(["arm", "benchmark", "metric"]).loc[("sft", "claw_eval", "score")]
    assert row["value_percent"] == "53.60"
    assert row["decimals"] == 2
    assert row["value"] == pytest.approx(0.536, abs=1e-15)


def test_runs_that_the_source_does_not_state_are_missing_not_one():
    table = load_scores()
    assert table.loc[table["benchmark"] == "widesearch", "runs"].isna().all()


def test_weighted_parts_of_bfcl_give_the_printed_overall():
    table = load_scores().query("benchmark == 'bfcl_v4'")
    for arm, printed in (("sft", 62.29), ("sft_lwm_rl", 71.25)):  # arXiv 2606.24597v1, table 9
        parts = table[(table["arm"] == arm) & table["weight"].notna()]
        assert 100 * (parts["value"] * parts["weight"]).sum() == pytest.approx(printed, abs=0.006)


def test_primary_metrics_and_task_counts_agree_between_the_two_tables():
    scores, benchmarks = load_scores(), load_benchmarks()
    merged = benchmarks.merge(scores, left_on=["id", "primary_metric"], right_on=["benchmark", "metric"])
    assert len(merged) == 2 * len(benchmarks)
    assert (merged["n_tasks_x"] == merged["n_tasks_y"]).all()


@pytest.mark.parametrize(
    "edit, message",
    [
        (lambda t: t.drop(columns="source"), "column `source` is missing"),
        (lambda t: t.assign(scource="x"), "column `scource` is unknown"),
        (lambda t: t.iloc[:0], "the table has no rows"),
        (set_cell("source", ""), "row 5, column `source`: must not be empty"),
        (set_cell("value_percent", "about 40"), "row 5, column `value_percent`: must be a number; got 'about 40'"),
        (set_cell("value_percent", "0.3338"), "row 5, column `value_percent`: .* looks like a fraction"),
        (set_cell("value_percent", "133.38"), "row 5, column `value_percent`: must be at most 100"),
        (set_cell("value_percent", "nan"), "row 5, column `value_percent`: must be a finite number"),
        (set_cell("n_tasks", "0"), "row 5, column `n_tasks`: must be a finite number above 0"),
        (set_cell("n_tasks", "20.5"), "row 5, column `n_tasks`: must be a whole number"),
        (set_cell("date_read", "yesterday"), "row 5, column `date_read`: must be a date"),
        (set_cell("certainty", "sure"), "row 5, column `certainty`: must be one of read, inferred"),
        (lambda t: pd.concat([t, t.iloc[[0]]]), "row 30, columns .*: repeats an earlier row"),
    ],
)  # fmt: skip
def test_malformed_table_is_refused_by_row_and_column(tmp_path, edit, message):
    with pytest.raises(EvidenceError, match=message):
        load_scores(edited(tmp_path, edit))


def test_file_that_is_no_table_is_refused(tmp_path):
    with pytest.raises(EvidenceError, match="cannot be read as a CSV table"):
        load_scores(tmp_path / "absent.csv")
