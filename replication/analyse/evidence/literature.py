"""Loaders of the tables about what others published on the propositions, with the meaning of every column."""

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
    or_missing,
    percent,
    positive,
    read,
    text,
)
from replication.errors import EvidenceError

FOLDER = Path(__file__).parent

DESIGNS = (
    "standalone", "warmup_then_agentic", "joint_with_rl", "joint_with_sft", "joint_with_sft_then_rl",
    "joint_with_distillation", "midtraining_then_agentic",
)  # fmt: skip
"""When next states are predicted: alone, which is the design of table 9; before training as an agent; in the same phase as
it, by kind of phase; in mid-training."""

POOLS = ("primary", "sensitivity", "outlier", "adjacent", "placebo")
DOMAINS = ("in", "near", "held_out")


def load_world_models(source: Path | TextTable = FOLDER / "world_models.csv") -> pd.DataFrame:
    """Read comparisons of an agent that was trained on next observations with a control, one per benchmark.

    Columns of the file
    -------------------
    row : identifies the comparison
    paper, model, params_b, benchmark, metric : who measured what
    n_tasks, n_tasks_certainty : tasks, and whether the paper states them; empty where nobody does
    treatment_percent, control_percent : as printed; both empty where only difference_points was printed
    runs, runs_level : runs averaged, and whether they repeat the evaluation or the training; empty where not stated
    spread_kind : what treatment_sd and control_sd (points) are: sd over the runs, se of the mean, unspecified (taken as sd)
    design : one of DESIGNS. training : how the treatment was trained
    matched_control : yes (same start, data and updates), partly (the treatment has more data or updates), no (untrained)
    controls : whose control runs they are; papers that share them are not independent
    placebo_control : yes where as much of another training replaces the prediction of next observations
    pool : primary (one per model, benchmark and treatment), sensitivity (ablations), outlier (the control collapsed),
        adjacent (not next-observation prediction), placebo

    Added: `p_treatment`, `p_control` (fractions) and `value` (difference, fraction).
    """
    table = read(
        source,
        key=["row"],
        columns={
            "row": text, "paper": text, "model": text, "params_b": or_missing(positive), "benchmark": text,
            "metric": text, "n_tasks": or_missing(count), "n_tasks_certainty": or_empty(one_of(("read", "inferred"))),
            "treatment": text, "treatment_percent": or_empty(percent), "control": text,
            "control_percent": or_empty(percent), "difference_points": or_empty(number), "runs": or_missing(count),
            "runs_level": or_empty(one_of(("evaluation", "training"))),
            "spread_kind": or_empty(one_of(("sd", "se", "unspecified"))), "treatment_sd": or_missing(positive),
            "control_sd": or_missing(positive), "training": text, "design": one_of(DESIGNS),
            "matched_control": one_of(("yes", "partly", "no")), "controls": text,
            "placebo_control": one_of(("yes", "partly", "no")), "in_domain": one_of(("yes", "no")),
            "pool": one_of(POOLS), **ORIGIN,
        },
    )  # fmt: skip
    both = (table["treatment_percent"] != "") & (table["control_percent"] != "")
    without = ~both & (table["difference_points"] == "")
    if without.any():
        raise EvidenceError(
            f"{name_of(source)}, row {line_of(without)}, columns `treatment_percent`, `control_percent`: both are needed, "
            "or `difference_points`."
        )
    unclear = (table["treatment_sd"].notna() | table["control_sd"].notna()) & (table["spread_kind"] == "")
    if unclear.any():
        raise EvidenceError(
            f"{name_of(source)}, row {line_of(unclear)}, column `spread_kind`: is needed where an SD is given."
        )
    table["p_treatment"] = pd.to_numeric(table["treatment_percent"]) / 100
    table["p_control"] = pd.to_numeric(table["control_percent"]) / 100
    printed = pd.to_numeric(table["difference_points"]) / 100
    table["value"] = (table["p_treatment"] - table["p_control"]).where(both, printed)
    return table


def load_spreads(source: Path | TextTable = FOLDER / "run_spreads.csv") -> pd.DataFrame:
    """Read standard deviations between runs of one arm, points; `level` says what was repeated, training or evaluation.

    Added: `sd` (fraction).
    """
    table = read(
        source,
        key=["row"],
        columns={
            "row": text, "paper": text, "benchmark": text, "n_tasks": or_missing(count), "model": text,
            "params_b": or_missing(positive), "training": text, "level": one_of(("evaluation", "training")),
            "runs": or_missing(count), "mean_percent": or_empty(percent), "sd_points": positive, **ORIGIN,
        },
    )  # fmt: skip
    table["sd"] = table["sd_points"] / 100
    return table


def load_tuned_pairs(source: Path | TextTable = FOLDER / "tuned_pairs.csv") -> pd.DataFrame:
    """Read scores of an agent-tuned model and of its base or a general control, one row per benchmark.

    `domain` : in (the tuning aimed at it), near, held_out. `controls` : whose runs they are, as in `load_world_models`.
    Added: `p_agent`, `p_base` (fractions) and `value` (base minus agent, fraction: claim B predicts more than 0).
    """
    table = read(
        source,
        key=["row"],
        columns={
            "row": text, "agent": text, "base": text, "params_b": or_missing(positive), "active_b": or_missing(positive),
            "training": text, "benchmark": text, "metric": text, "n_tasks": or_missing(count), "agent_percent": percent,
            "base_percent": percent, "domain": one_of(DOMAINS), "runs": or_missing(count), "measured_by": text,
            "controls": text, **ORIGIN,
        },
    )  # fmt: skip
    table["p_agent"] = pd.to_numeric(table["agent_percent"]) / 100
    table["p_base"] = pd.to_numeric(table["base_percent"]) / 100
    table["value"] = table["p_base"] - table["p_agent"]
    return table


def load_tests(source: Path | TextTable = FOLDER / "independent_tests.csv") -> pd.DataFrame:
    """Read tests of the released model by others: value and comparator_value in `unit`; `role` is agent or simulator."""
    return read(
        source,
        key=["test", "benchmark", "metric"],
        columns={
            "test": text, "model": text, "comparator": text, "benchmark": text,
            "role": one_of(("agent", "simulator")), "metric": text, "unit": text, "value": number,
            "comparator_value": number, "n_tasks": or_missing(count), "runs": or_missing(count), "spread": str,
            "replicates_table9": one_of(("yes", "no")), **ORIGIN,
        },
    )  # fmt: skip
