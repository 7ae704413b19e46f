"""Loaders of what public results per task say about the assumptions of the audit, with the meaning of every column.

The results themselves are not in the package: each row is a number derived from them by the functions that `estimator`
names (`analyse.stats.estimates.agreement`). `python -m replication evidence derive FILE.csv` derives them from a file.
"""

from pathlib import Path

import pandas as pd

from replication.analyse.evidence.reading import (
    ORIGIN,
    TextTable,
    count,
    line_of,
    name_of,
    number,
    one_of,
    or_empty,
    read,
    text,
)
from replication.errors import EvidenceError

FOLDER = Path(__file__).parent

STATISTICS = (
    "icc", "rho", "outcome_correlation", "run_variance_ratio", "group_icc", "group_icc_of_scores", "group_se_ratio",
)  # fmt: skip
"""icc: share of a single trial's variance that is between tasks. rho: correlation of two arms' success probabilities over
tasks. outcome_correlation: of single trials, icc times rho. run_variance_ratio: variance of the means of runs over that of
independent trials. group_icc: share of the variance of the arms' difference that is between groups of tasks
(group_icc_of_scores: of one arm's score). group_se_ratio: standard error with groups as clusters over that without."""

RELATIONS = ("one", "same_scaffold", "same_model", "same_family", "within_10_points", "all")
"""The arms: one arm; two models in one scaffold; one model in two scaffolds; two models of one maker in one set-up; means
that differ by less than 10 points; every arm or pair."""

LIMITS = ("interval", "range", "none")


def load_facts(source: Path | TextTable = FOLDER / "outcome_facts.csv") -> pd.DataFrame:
    """Read numbers derived from public results per task, one per row.

    Columns of the file
    -------------------
    row : identifies the fact
    benchmark, statistic : what was derived of what; one of STATISTICS
    arm_a, arm_b : the arms, empty where the row is about several
    relation : of the arms, one of RELATIONS
    n_values : number of arms or pairs; value is the median over them, or a pooled estimate where `note` says so
    n_tasks, trials : tasks, and trials of each
    value, low, high : the number; limits says what low and high are: a 95 % interval (bootstrap over tasks, or as the
        estimator says), the range over the n_values, or none
    estimator : how it was computed

    Added: `value`, `low` and `high` as numbers, NaN where empty.
    """
    table = read(
        source,
        key=["row"],
        columns={
            "row": text, "benchmark": text, "statistic": one_of(STATISTICS), "arm_a": str, "arm_b": str,
            "relation": one_of(RELATIONS), "n_values": count, "n_tasks": count, "trials": count, "value": number,
            "low": or_empty(number), "high": or_empty(number), "limits": one_of(LIMITS), "estimator": text, **ORIGIN,
        },
    )  # fmt: skip
    for column in ("value", "low", "high"):
        table[column] = pd.to_numeric(table[column])
    lacking = (table["limits"] != "none") & table[["low", "high"]].isna().any(axis=1)
    if lacking.any():
        raise EvidenceError(
            f"{name_of(source)}, row {line_of(lacking)}, columns `low`, `high`: are needed unless `limits` is none."
        )
    outside = (table["low"] > table["value"]) | (table["high"] < table["value"])
    if outside.any():
        raise EvidenceError(
            f"{name_of(source)}, row {line_of(outside)}, column `value`: must lie from `low` to `high`."
        )
    return table


def load_groups(source: Path | TextTable = FOLDER / "task_groups.csv") -> pd.DataFrame:
    """Read the groups that the tasks of a benchmark come in, such as repositories: benchmark, group, n_tasks."""
    return read(
        source, key=["benchmark", "group"], columns={"benchmark": text, "group": text, "n_tasks": count, **ORIGIN}
    )
