"""Scores per task in, the numbers of `evidence/outcome_facts.csv` out: icc, rho and the icc of groups of tasks."""

from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from replication.analyse.evidence.reading import check_columns, line_of, read_text
from replication.analyse.stats.estimates.agreement import latent_correlation, one_way
from replication.errors import AnalysisError, EvidenceError

REQUIRED = ("arm", "task", "score")
OPTIONAL = ("group",)


def load_outcomes(path: Path) -> pd.DataFrame:
    """Read scores per task: arm, task, score (a number per trial; empty: no score), optionally group (of the task)."""
    name, cells = read_text(path)
    check_columns(name, cells, REQUIRED, OPTIONAL)
    cells = cells.apply(lambda column: column.str.strip())
    for column in cells:
        empty = cells[column] == ""
        if column != "score" and empty.any():
            raise EvidenceError(f"{name}, row {line_of(empty)}, column `{column}`: must not be empty.")
    table = cells.assign(score=pd.to_numeric(cells["score"], errors="coerce"))
    wrong = (table["score"].isna() & (cells["score"] != "")) | ~table["score"].fillna(0).between(0, 1)
    if wrong.any():
        got = cells["score"][wrong].iloc[0]
        raise EvidenceError(
            f"{name}, row {line_of(wrong)}, column `score`: must be a number from 0 to 1 or empty; got {got!r}."
        )
    if "group" in table:
        several = table.groupby("task")["group"].transform("nunique") > 1
        if several.any():
            raise EvidenceError(f"{name}, row {line_of(several)}, column `group`: a task has one group in all rows.")
    return table


def derive(table: pd.DataFrame) -> pd.DataFrame:
    """Derive the facts of scores per task, as `load_outcomes` returns them; trials without a score are left out.

    Columns: statistic, arm_a, arm_b, n_tasks, trials (mean number per task), value. icc per arm and rho per pair of arms
    where tasks have several trials; outcome_correlation of the task means; group_icc of the task differences.
    """
    scored = table.dropna(subset="score")
    arms = {str(arm): part for arm, part in scored.groupby("arm", sort=False)}
    rows = [row for name, part in arms.items() for row in _of_arm(name, part)]
    for (a, first), (b, second) in combinations(arms.items(), 2):
        rows += _of_pair(a, b, first, second)
    if not rows:
        raise AnalysisError(
            "nothing can be derived: each arm needs several trials of its tasks, or two arms shared tasks."
        )
    return pd.DataFrame(rows, columns=["statistic", "arm_a", "arm_b", "n_tasks", "trials", "value"])


def _of_arm(name: str, part: pd.DataFrame) -> list[dict[str, object]]:
    n = part["task"].nunique()
    found = {"arm_a": name, "arm_b": "", "n_tasks": n, "trials": len(part) / n}
    repeated = 1 < n < len(part)
    return [{"statistic": "icc", **found, "value": one_way(part["score"], part["task"]).icc}] if repeated else []


def _of_pair(a: str, b: str, first: pd.DataFrame, second: pd.DataFrame) -> list[dict[str, object]]:
    shared = sorted(set(first["task"]) & set(second["task"]))
    if len(shared) < 2:
        return []
    x, y = (part[part["task"].isin(shared)] for part in (first, second))
    found = {"arm_a": a, "arm_b": b, "n_tasks": len(shared), "trials": min(len(x), len(y)) / len(shared)}
    means = [part.groupby("task")["score"].mean().loc[shared] for part in (x, y)]
    rows = []
    if min(len(x), len(y)) > len(shared):
        rows.append({"statistic": "rho", "value": latent_correlation(x["score"], x["task"], y["score"], y["task"])})
    if all(mean.std() > 0 for mean in means):
        rows.append({"statistic": "outcome_correlation", "value": float(np.corrcoef(*means)[0, 1])})
    if "group" in x:
        group = x.groupby("task")["group"].first().loc[shared]
        if 1 < group.nunique() < len(shared):
            rows.append({"statistic": "group_icc", "value": one_way(means[1] - means[0], group).icc})
    return [{**found, **row} for row in rows]
