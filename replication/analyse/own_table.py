"""The audit of a table of scores that a user provides: reading, checks, and the audit of two arms."""

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from replication.analyse.analysis_settings import AnalysisSettings
from replication.analyse.evidence import TextTable, load_scores
from replication.analyse.evidence.reading import check_columns, line_of, read_text
from replication.analyse.stats.printed.rows import compare
from replication.analyse.table_answers import MEAN, Answers, answer, shown
from replication.analyse.table_audit import Grid, TableAudit, audit_rows
from replication.analyse.table_prints import printed_digits, warnings_of
from replication.analyse.tables.summaries import POOLED
from replication.errors import AnalysisError, EvidenceError
from replication.text import plain

REQUIRED = ("benchmark", "arm", "value_percent", "n_tasks", "runs")
OPTIONAL = ("n_clusters", "score_type", "sd_percent", "delta_percent", "source", "date_read")
PRINTED = ("sd_percent", "delta_percent")
"""Columns that only the digits are tested of; text, empty where nothing is printed."""
MOST_TASKS = 1_000_000
ORDER = "Arms are named after the table in the order: treatment control."
"""Ends every error about arms."""
METRIC = "score"
"""Name of the only metric of a benchmark in a short table."""


class OwnAudit(NamedTuple):
    """The audit of a user's table."""

    audit: TableAudit
    left_out: tuple[str, ...]
    """Rows of the table that were not compared, and why."""
    answers: Answers
    prints: pd.DataFrame
    """As `printed_digits` returns it."""
    warnings: tuple[str, ...]
    """What in the table limits or contradicts the results."""


class _Arms(NamedTuple):
    treatment: str
    control: str


class _Chosen(NamedTuple):
    benchmarks: pd.DataFrame
    """id, name and primary_metric of each benchmark that is compared."""
    left_out: tuple[str, ...]


def load_table(path: Path) -> pd.DataFrame:
    """Read a table of scores in the short or the full schema; columns as of `evidence.load_scores`.

    A malformed table raises `EvidenceError` that names the row (line of the file) and the column.
    """
    table = read_text(path)
    if {"table", "metric"} & set(table.cells):
        return load_scores(table)
    check_columns(*table, REQUIRED, OPTIONAL, otherwise=" (or all columns of `evidence.load_scores`)")
    printed = {column: _printed(table, column) for column in PRINTED if column in table.cells}
    rest = table.cells.drop(columns=list(printed))
    return load_scores(TextTable(table.name, _in_full(path, rest))).assign(**printed)


def _printed(table: TextTable, column: str) -> "pd.Series[str]":
    """Check and unify the digits of a printed SD or difference; a difference may have a sign."""
    cells = table.cells[column].str.strip().str.removesuffix("%").str.strip().str.replace("\N{MINUS SIGN}", "-")
    pattern = r"(\d+(\.\d*)?|\.\d+)?" if column == "sd_percent" else r"([+-]?(\d+(\.\d*)?|\.\d+))?"
    wrong = ~cells.str.fullmatch(pattern)
    if wrong.any():
        raise EvidenceError(
            f"{table.name}, row {line_of(wrong)}, column `{column}`: must be a number of points as printed, or empty; got "
            f"{table.cells[column][wrong].iloc[0]!r}."
        )
    return cells.str.removeprefix("+")


def _in_full(path: Path, cells: pd.DataFrame) -> pd.DataFrame:
    """Add the columns of the full schema to a short table, still as text."""
    saved = datetime.date.fromtimestamp(path.stat().st_mtime).isoformat()
    full = cells.apply(lambda column: column.str.strip())
    for column, text in {"score_type": "binary", "source": f"own table {path.name}", "date_read": saved}.items():
        full[column] = full[column].where(full[column] != "", text) if column in full else text
    composite = full["score_type"] == "composite"
    if composite.any():
        raise EvidenceError(
            f"{path.name}, row {line_of(composite)}, column `score_type`: a composite needs its parts and their weights, so "
            f"use all columns of `evidence.load_scores`, or write `bounded`; got 'composite'."
        )
    clusters = full.get("n_clusters", full["n_tasks"])
    full["n_clusters"] = clusters.where(clusters != "", full["n_tasks"])
    return full.assign(table=path.stem, params_b="", metric=METRIC, weight="", certainty="read", note="")


def audit_table(
    scores: pd.DataFrame, arms: Sequence[str], grid: Grid, settings: AnalysisSettings, *, name: str = "the table"
) -> OwnAudit:
    """Audit two arms of a table as `load_table` returns it.

    arms : treatment, control; empty where the table has exactly two, the second to appear being the treatment. Of a
    benchmark with several metrics its composite is compared, else the first that both arms have.
    name : of the table, in error messages.
    """
    treatment, control = _arms(list(dict.fromkeys(scores["arm"])), list(arms), name)
    both = scores[scores["arm"].isin([treatment, control])]
    benchmarks, left_out = _benchmarks(both, treatment, control, name)
    rows = compare(both, benchmarks, treatment, control, settings.unstated_runs)
    audit = audit_rows(rows, treatment, control, grid, settings)
    prints = printed_digits(audit, both)
    answers = answer(rows, grid, audit.turning)
    return OwnAudit(shown(audit, answers.small), left_out, answers, prints, warnings_of(rows, prints))


def _arms(present: list[str], named: list[str], name: str) -> _Arms:
    listed = ", ".join(f"`{arm}`" for arm in present)
    if len(present) < 2:
        raise EvidenceError(f"{name}, column `arm`: an audit compares two arms; got only {listed}. {ORDER}")
    if not named and len(present) == 2:
        return _Arms(present[1], present[0])
    if not named:
        raise EvidenceError(f"{name}, column `arm`: {len(present)} arms ({listed}); name two of them. {ORDER}")
    if len(named) != 2 or named[0] == named[1]:
        raise AnalysisError(f"name two different arms, or none; got {' '.join(named)}. {ORDER}")
    for arm in named:
        if arm not in present:
            raise EvidenceError(f"{name}, column `arm`: no arm `{arm}`; there are {listed}. {ORDER}")
    return _Arms(*named)


def _benchmarks(scores: pd.DataFrame, treatment: str, control: str, name: str) -> _Chosen:
    """Choose the metric of each benchmark, and reject differences between the arms that `compare` would not notice."""
    repeated = scores.duplicated(["arm", "benchmark", "metric"])
    if repeated.any():
        row = scores[repeated].iloc[0]
        raise EvidenceError(
            f"{name}, columns `arm`, `benchmark`, `metric`: {row.arm}, {row.benchmark}, {row.metric} is in several "
            f"tables; keep one."
        )
    chosen, left_out = [], []
    for benchmark, part in scores.groupby("benchmark", sort=False):
        arms = part.groupby("metric", sort=False)["arm"].nunique()
        shared = part[part["metric"].isin(arms[arms == 2].index)]
        if shared.empty:
            left_out.append(f"{benchmark}: no metric for both `{treatment}` and `{control}`")
            continue
        composite = shared[shared["score_type"] == "composite"]
        metric = (composite if len(composite) else shared)["metric"].iloc[0]
        own = shared[shared["metric"] == metric]
        _check_scores(own, str(benchmark), name)
        if own["value"].nunique() == 1 and own["value"].iloc[0] in (0, 1):
            left_out.append(
                f"{benchmark}: both arms at {plain(100 * own['value'].iloc[0])}, so no task tells them apart"
            )
            continue
        if len(composite):
            _check_parts(part, str(benchmark), name)
        chosen.append({"id": benchmark, "name": benchmark, "primary_metric": metric})
        others = [other for other in dict.fromkeys(part["metric"]) if other != metric]
        if others and not len(composite):
            left_out.append(f"{benchmark}: {', '.join(others)} (compared: {metric})")
    if not chosen:
        why = "; ".join(left_out)
        raise EvidenceError(
            f"{name}, column `benchmark`: `{treatment}` and `{control}` have none in common that can differ ({why}). {ORDER}"
        )
    return _Chosen(pd.DataFrame(chosen), tuple(left_out))


def _check_scores(own: pd.DataFrame, benchmark: str, name: str) -> None:
    """Check the two scores of a benchmark that are compared."""
    if benchmark in (MEAN, POOLED):
        raise EvidenceError(
            f"{name}, row {own.index[0] + 2}, column `benchmark`: {benchmark!r} is the name of a mean; rename it."
        )
    for column in ("n_tasks", "n_clusters", "runs", "score_type"):
        if own[column].nunique(dropna=False) > 1:
            raise EvidenceError(
                f"{name}, row {own.index[1] + 2}, column `{column}`: {benchmark} has {own[column].iloc[1]} here and "
                f"{own[column].iloc[0]} in row {own.index[0] + 2}; the audit needs the same in both arms (if the arms "
                f"differ, write the smaller number in both)."
            )
    if (own["n_clusters"] > own["n_tasks"]).any():
        at = own.index[own["n_clusters"] > own["n_tasks"]][0] + 2
        raise EvidenceError(f"{name}, row {at}, column `n_clusters`: must be at most `n_tasks`.")
    if (own["n_tasks"] > MOST_TASKS).any():
        at = own.index[own["n_tasks"] > MOST_TASKS][0] + 2
        raise EvidenceError(f"{name}, row {at}, column `n_tasks`: must be at most {MOST_TASKS}.")
    for column in set(PRINTED) & set(own):
        if column == "delta_percent" and own[column].ne("").all() and own[column].nunique() > 1:
            raise EvidenceError(
                f"{name}, row {own.index[1] + 2}, column `delta_percent`: {benchmark} has {own[column].iloc[1]} here and "
                f"{own[column].iloc[0]} in row {own.index[0] + 2}; a difference is printed once, treatment minus control."
            )


def _check_parts(part: pd.DataFrame, benchmark: str, name: str) -> None:
    """Check the weighted parts of a composite."""
    for arm, rows in part.dropna(subset="weight").groupby("arm"):
        without = rows["n_clusters"].isna()
        if without.any():
            raise EvidenceError(
                f"{name}, row {rows.index[without][0] + 2}, column `n_clusters`: needed of a weighted part."
            )
        if abs(rows["weight"].sum() - 1) > 1e-6:
            raise EvidenceError(
                f"{name}, column `weight`: the parts of {benchmark} in `{arm}` sum to {plain(rows['weight'].sum())}, not 1."
            )
    weighted = part.dropna(subset="weight")
    if weighted.empty or weighted.groupby("metric")["arm"].nunique().min() < 2:
        raise EvidenceError(
            f"{name}, column `weight`: the composite {benchmark} needs the same weighted parts in both arms."
        )
