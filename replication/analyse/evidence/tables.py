"""Loaders of the tables of published numbers, one per kind of table, with the meaning of every column."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import get_args

import pandas as pd

from replication.analyse.evidence.literature import load_spreads, load_tests, load_tuned_pairs, load_world_models
from replication.analyse.evidence.outcomes import load_facts, load_groups
from replication.analyse.evidence.reading import (
    ORIGIN,
    TextTable,
    count,
    date,
    line_of,
    name_of,
    number,
    one_of,
    or_empty,
    or_missing,
    percent,
    positive,
    read,
    text,
)
from replication.errors import EvidenceError
from replication.records import Proposition

FOLDER = Path(__file__).parent

SCORE_TYPES = ("binary", "bounded", "composite")
BASES = ("read", "inferred", "alternative", "unknown")
"""Evidence that the general model of a pair is the base of the agent-tuned one: `alternative` is a second candidate,
`unknown` none."""

STATED = ("yes", "partly", "no")
DRIFTS = ("kept", "widened", "changed", "mixed up", "reversed", "invented")


def load_scores(source: Path | TextTable = FOLDER / "published_scores.csv") -> pd.DataFrame:
    """Read a table of published scores.

    Columns of the file
    -------------------
    table, arm, benchmark, metric : what was measured on which benchmark; together the key of a row
    params_b : size of the model in billions of parameters, may be empty
    score_type : binary, bounded (any value in [0, 1] per task), composite (weighted mean of the rows with a `weight`)
    value_percent : the number as printed, with its decimals; not a fraction
    n_tasks, n_clusters : items, and independent items among them; `n_clusters` is empty for a composite
    runs : independent runs averaged; empty where the source does not say
    weight : share of this row in the composite of its benchmark, empty elsewhere
    source, date_read, certainty : where the number was read, when (YYYY-MM-DD), and whether it was read or inferred
    note : remarks

    Added: `value` (fraction) and `decimals` (as printed).
    """
    table = read(
        source,
        key=["table", "arm", "benchmark", "metric"],
        columns={
            "table": text, "arm": text, "params_b": or_missing(positive), "benchmark": text, "metric": text,
            "score_type": one_of(SCORE_TYPES), "value_percent": percent, "n_tasks": count,
            "n_clusters": or_missing(count), "runs": or_missing(count), "weight": or_missing(positive),
            **ORIGIN,
        },
    )  # fmt: skip
    return _with_fractions(table, {"value_percent": "value"})


def load_benchmarks(source: Path | TextTable = FOLDER / "benchmarks.csv") -> pd.DataFrame:
    """Read the table of benchmarks: id, name, n_tasks, primary_metric, runs_in_paper, protocol facts, source."""
    return read(
        source,
        key=["id"],
        columns={
            "id": text, "name": text, "n_tasks": count, "primary_metric": text, "runs_in_paper": or_missing(count),
            "resources_in_paper": str, "judge": str, **ORIGIN,
        },
    )  # fmt: skip


def load_tables(source: Path | TextTable = FOLDER / "paper_tables.csv") -> pd.DataFrame:
    """Read the paper's other tables: as `load_scores`, with `experiment` and `start` (the model it began from).

    n_tasks, n_clusters and runs are empty where no source states them. Added: `value` (fraction), `decimals`.
    """
    table = read(
        source,
        key=["table", "start", "arm", "benchmark", "metric"],
        columns={
            "table": text, "experiment": text, "start": str, "arm": text, "benchmark": text, "metric": text,
            "value_percent": percent, "n_tasks": or_missing(count), "n_clusters": or_missing(count),
            "runs": or_missing(count), **ORIGIN,
        },
    )  # fmt: skip
    return _with_fractions(table, {"value_percent": "value"})


def load_public(source: Path | TextTable = FOLDER / "public_scores.csv") -> pd.DataFrame:
    """Read scores of a public model and those of the paper's two arms.

    `published_in` names the publication; the same score may be in several. `sft_percent`, `lwm_rl_percent` are empty
    where the paper prints no such metric. Added: `value`, `sft`, `lwm_rl` (fractions) and `decimals`.
    """
    table = read(
        source,
        key=["model", "benchmark", "metric", "published_in"],
        columns={
            "model": text, "benchmark": text, "metric": text, "value_percent": percent,
            "sft_percent": or_empty(percent), "lwm_rl_percent": or_empty(percent), "n_tasks": count,
            "runs": or_missing(count),
            "published_in": text, **ORIGIN,
        },
    )  # fmt: skip
    return _with_fractions(table, {"value_percent": "value", "sft_percent": "sft", "lwm_rl_percent": "lwm_rl"})


def load_pairs(source: Path | TextTable = FOLDER / "pairs.csv") -> pd.DataFrame:
    """Read scores of an agent-tuned model and of a general model of the same base, one row per benchmark and metric.

    Columns of the file
    -------------------
    pair, family : name of the pair, and of the series of agent-tuned models it belongs to
    agent, general, general_mode : the two models; FC or Prompt for the general one, may be empty
    base_identity : evidence that the general model is the base: read, inferred, alternative (a second candidate for the same
        agent), unknown (no base, or a comparator that is not one)
    params_b, active_b : size, and active parameters of a mixture of experts, billions
    agent_percent, general_percent : as printed; one of them may be empty, not both
    n_tasks, n_clusters : items, and independent items they are worth; empty where unknown
    runs : empty where the source does not say
    agent_date, general_date : dates of the leaderboard update, both set and unequal where they differ

    Added: `p_agent`, `p_general` (fractions) and `same_update` (both values are in one publication or update).
    `n_clusters` of a composite is 1/sum(w^2/n) over its parts, which takes the parts' variances as equal.
    """
    table = read(
        source,
        key=["pair", "benchmark", "metric", "agent_date", "general_date", "measured_by"],
        columns={
            "pair": text, "family": text, "agent": str, "general": str, "general_mode": str,
            "base_identity": one_of(BASES), "params_b": positive, "active_b": or_missing(positive), "licence": str,
            "benchmark": text, "metric": text, "agent_percent": or_empty(percent), "general_percent": or_empty(percent),
            "n_tasks": or_missing(count), "n_clusters": or_missing(count), "runs": or_missing(count),
            "agent_date": or_empty(date), "general_date": or_empty(date), "measured_by": text, **ORIGIN,
        },
    )  # fmt: skip
    empty = (table["agent_percent"] == "") & (table["general_percent"] == "")
    if empty.any():
        raise EvidenceError(
            f"{name_of(source)}, row {line_of(empty)}, columns `agent_percent`, `general_percent`: one of the two is needed."
        )
    table = _with_fractions(table, {"agent_percent": "p_agent", "general_percent": "p_general"})
    table["same_update"] = (table["agent_date"] == table["general_date"]) & (table["general_percent"] != "")
    return table.drop(columns="decimals")


def load_general(source: Path | TextTable = FOLDER / "general.csv") -> pd.DataFrame:
    """Read scores of general models: model, family, params_b, active_b, mode, measured_by, date, benchmark, metric, value.

    Added: `value` (fraction), `decimals`.
    """
    table = read(
        source,
        key=["model", "mode", "measured_by", "date", "benchmark", "metric"],
        columns={
            "model": text, "family": text, "params_b": positive, "active_b": or_missing(positive), "mode": str,
            "measured_by": text, "date": or_empty(date), "benchmark": text, "metric": text, "value_percent": percent,
            "n_tasks": count, "n_clusters": count, "runs": or_missing(count), "licence": str, **ORIGIN,
        },
    )  # fmt: skip
    return _with_fractions(table, {"value_percent": "value"})


def load_attempts(source: Path | TextTable = FOLDER / "attempts.csv") -> pd.DataFrame:
    """Read measurements by others: attempt, date, model, setup, benchmark, value and comparator_value in `unit`, finding.

    Values keep their text and may be empty; `date` is free text, since some span days or give the month only.
    `replicates_table9` is yes where the attempt repeats the paper's experiment.
    """
    return read(
        source,
        key=["attempt", "benchmark", "setup"],
        columns={
            "attempt": text, "date": str, "model": str, "setup": text, "benchmark": str, "value": or_empty(number),
            "comparator": str, "comparator_value": or_empty(number), "unit": str, "n_tasks": or_missing(count),
            "runs": or_missing(count), "replicates_table9": one_of(("yes", "no")), "finding": text, **ORIGIN,
        },
    )  # fmt: skip


def load_drift(source: Path | TextTable = FOLDER / "drift.csv") -> pd.DataFrame:
    """Read sentences of the paper as the press retold them, one row per sentence, paraphrased.

    `claim` is the proposition; `drift` is one of DRIFTS; `needed` is the evidence that the sentence in the press would
    need, `exists` the evidence there is.
    """
    return read(
        source,
        key=["id"],
        columns={
            "id": text, "claim": one_of(get_args(Proposition)), "paper": text, "press": text, "outlet": text,
            "drift": one_of(DRIFTS), "needed": str, "exists": text, **ORIGIN,
        },
    )  # fmt: skip


def load_unspecified(source: Path | TextTable = FOLDER / "unspecified.csv") -> pd.DataFrame:
    """Read settings that the paper does not state: benchmark, setting, stated, known, nearest (public value)."""
    return read(
        source,
        key=["benchmark", "setting"],
        columns={
            "benchmark": text, "setting": text, "stated": one_of(STATED), "known": str, "nearest": str, **ORIGIN,
        },
    )  # fmt: skip


def _with_fractions(table: pd.DataFrame, columns: Mapping[str, str]) -> pd.DataFrame:
    """Add fractions of printed percentages, NaN where empty, and the printed decimals of the first column."""
    for printed, name in columns.items():
        table[name] = pd.to_numeric(table[printed]) / 100
    table["decimals"] = table[next(iter(columns))].str.partition(".")[2].str.len()
    return table


TABLES: Mapping[str, tuple[str, Callable[..., pd.DataFrame]]] = {
    "scores": ("published_scores.csv", load_scores),
    "benchmarks": ("benchmarks.csv", load_benchmarks),
    "paper_tables": ("paper_tables.csv", load_tables),
    "public": ("public_scores.csv", load_public),
    "pairs": ("pairs.csv", load_pairs),
    "other_pairs": ("other_pairs.csv", load_pairs),
    "general": ("general.csv", load_general),
    "attempts": ("attempts.csv", load_attempts),
    "drift": ("drift.csv", load_drift),
    "unspecified": ("unspecified.csv", load_unspecified),
    "world_models": ("world_models.csv", load_world_models),
    "run_spreads": ("run_spreads.csv", load_spreads),
    "tuned_pairs": ("tuned_pairs.csv", load_tuned_pairs),
    "independent_tests": ("independent_tests.csv", load_tests),
    "outcome_facts": ("outcome_facts.csv", load_facts),
    "task_groups": ("task_groups.csv", load_groups),
}
"""Every table by name: its file in this folder and its loader."""
