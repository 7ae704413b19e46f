"""The audit of a table of scores that a user provides."""

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from replication.analyse.analysis_settings import AnalysisSettings
from replication.analyse.evidence import TextTable, load_scores
from replication.analyse.evidence.reading import check_columns, line_of, read_text
from replication.analyse.stats.printed.rows import compare
from replication.analyse.table_audit import Grid, TableAudit, audit_rows
from replication.errors import AnalysisError, EvidenceError
from replication.text import plain

REQUIRED = ("benchmark", "arm", "value_percent", "n_tasks", "runs")
OPTIONAL = ("n_clusters", "score_type", "source", "date_read")
METRIC = "score"
"""Name of the only metric of a benchmark in a short table."""


class OwnAudit(NamedTuple):
    """The audit of a user's table."""

    audit: TableAudit
    left_out: tuple[str, ...]
    """Rows of the table that were not compared, and why."""


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
    return load_scores(TextTable(table.name, _in_full(path, table.cells)))


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
    return OwnAudit(audit_rows(rows, treatment, control, grid, settings), left_out)


def _arms(present: list[str], named: list[str], name: str) -> _Arms:
    listed = ", ".join(f"`{arm}`" for arm in present)
    if len(present) < 2:
        raise EvidenceError(f"{name}, column `arm`: an audit compares two arms; got only {listed}.")
    if not named and len(present) == 2:
        return _Arms(present[1], present[0])
    if not named:
        raise EvidenceError(
            f"{name}, column `arm`: {len(present)} arms ({listed}); name two: TABLE.csv treatment control."
        )
    if len(named) != 2 or named[0] == named[1]:
        raise AnalysisError(f"name two different arms, treatment and control, or none; got {' '.join(named)}.")
    for arm in named:
        if arm not in present:
            raise EvidenceError(f"{name}, column `arm`: no arm `{arm}`; there are {listed}.")
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
        _check_scores(shared[shared["metric"] == metric], str(benchmark), name)
        if len(composite):
            _check_parts(part, str(benchmark), name)
        chosen.append({"id": benchmark, "name": benchmark, "primary_metric": metric})
        others = [other for other in dict.fromkeys(part["metric"]) if other != metric]
        if others and not len(composite):
            left_out.append(f"{benchmark}: {', '.join(others)} (compared: {metric})")
    if not chosen:
        raise EvidenceError(f"{name}, column `benchmark`: `{treatment}` and `{control}` have none in common.")
    return _Chosen(pd.DataFrame(chosen), tuple(left_out))


def _check_scores(own: pd.DataFrame, benchmark: str, name: str) -> None:
    """Check the two scores of a benchmark that are compared."""
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
    if own["value"].isin([0, 1]).all():
        raise EvidenceError(
            f"{name}, rows {own.index[0] + 2} and {own.index[1] + 2}, column `value_percent`: {benchmark} is at 0 or "
            f"100 in both arms, which leaves no variance to judge a difference by; leave these rows out."
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
