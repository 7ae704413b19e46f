"""The score table, one row per episode: the only part of collected runs that the analysis reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from replication.errors import AnalysisError, StoreError

if TYPE_CHECKING:
    import pandas as pd

    from replication.store.store import Store

LABELS = (
    "unit",
    "arm",
    "pair",
    "base",
    "family",
    "scale",
    "params_b",
    "active_b",
    "training_seed",
    "model",
    "revision",
)
"""Columns that describe the checkpoint."""

COLUMNS = (
    "run_id", *LABELS, "benchmark", "scaffold", "seed", "task_id", "task_hash", "level", "trial", "value", "grader",
    "stop_reason", "n_turns", "n_malformed", "n_prompt_tokens", "n_completion_tokens",
)  # fmt: skip
"""Of the score table, in order. No wall times: an interrupted and resumed run gives the identical table."""

ATTEMPT = ("unit", "benchmark", "scaffold", "seed", "task_id", "trial")
"""Identity of a row: one attempt of one checkpoint."""

_FLOATS = ("params_b", "active_b", "value")
_NULLABLE = ("training_seed", "level")


def dtype(column: str) -> str:
    """Return the pandas type of a column of the score table: text is object, with None or NaN for missing."""
    if column in _FLOATS:
        return "float64"
    if column in _NULLABLE:
        return "Int64"
    return "int64" if column in ("seed", "trial") or column.startswith("n_") else "object"


def score_table(
    store: Store, run_ids: Iterable[str], *, grader: str | None = None, details: Sequence[str] = ()
) -> pd.DataFrame:
    """Build the score table of some runs; see `Store.score_table`."""
    import pandas as pd

    rows: list[tuple] = []
    graders: set[str] = set()
    for run_id in run_ids:
        manifest = store.manifest(run_id)
        spec, labels, tasks = manifest.spec, manifest.labels, manifest.tasks
        lines = store.current_lines(run_id)
        by_grader = store.scores_by_grader(run_id, latest=grader is None)
        graders.update(by_grader)
        name = grader if grader is not None else next(iter(by_grader), None)
        scores = by_grader.get(name, {}) if name else {}
        head = (run_id, *(getattr(labels, column) for column in LABELS), spec.benchmark, spec.scaffold, spec.seed)
        for key in sorted(lines):
            episode, score = lines[key].record, scores.get(key)
            scored = (None, None) if score is None else (score["value"], name)
            counts = (episode[c] for c in ("n_turns", "n_malformed", "n_prompt_tokens", "n_completion_tokens"))
            more = (score["details"].get(c) if score else None for c in details)
            level = tasks[key[0]].level
            rows.append((*head, key[0], key[1], level, key[2], *scored, episode["stop_reason"], *counts, *more))
    if grader is not None and graders and grader not in graders:
        raise StoreError(
            f"no score by grader `{grader}` in these runs; they have {', '.join(f'`{g}`' for g in sorted(graders))}. "
            f"Name one of those, or run the study again to grade with it."
        )
    names = (*COLUMNS, *details)
    columns: Mapping[str, Sequence] = dict.fromkeys(names, ())
    if rows:
        columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    types = {c: "float64" if c in details else dtype(c) for c in names}
    return pd.DataFrame({c: pd.Series(list(values), dtype=types[c]) for c, values in columns.items()})


def require_unique_attempts(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the table; AnalysisError if it has two rows for one attempt of one checkpoint (`ATTEMPT`).

    Two such rows would count as two trials. They come from a study that lists two runs of one checkpoint which differ
    only in a setting, or from a table that was concatenated twice.
    """
    key = [column for column in ATTEMPT if column in scores.columns]
    repeated = scores.duplicated(key, keep=False)
    if repeated.any():
        rows = scores[repeated]
        first = rows.iloc[0]
        same = rows[(rows[key] == first[key]).all(axis=1)]
        runs = sorted(set(same["run_id"])) if "run_id" in same else []
        raise AnalysisError(
            f"{len(rows)} rows share their attempt with another row; the first: checkpoint `{first['unit']}`, task "
            f"`{first['task_id']}`, trial {first['trial']}, {len(same)} rows"
            f"{' of ' + ', '.join(f'`{run}`' for run in runs) if runs else ''}. Each attempt counts once: remove all but "
            f"one of these runs from the study, or distinguish the checkpoints by `model` and `revision`."
        )
    return scores


def validated(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the table; AnalysisError if rows are repeated, or if two rows contradict each other about a checkpoint.

    A checkpoint has one description, a training run one checkpoint, and a run belongs to one checkpoint. A checkpoint has
    one run per benchmark, scaffold and seed: parts of two, which differ in a setting, are not one sample.
    """
    require_unique_attempts(scores)
    described = scores[[column for column in LABELS if column in scores.columns]].drop_duplicates()
    _one_each(described, ["unit"], "unit", "checkpoint", "descriptions")
    if {"model", "revision"} <= set(described.columns):
        _one_each(described, ["model", "revision"], "unit", "model and revision", "checkpoints")
    trained = described[described["training_seed"].notna()]
    _one_each(trained, ["arm", "scale", "training_seed"], "unit", "training run", "checkpoints")
    if "run_id" in scores.columns:
        runs = scores[["run_id", "unit", "benchmark", "scaffold", "seed"]].drop_duplicates()
        _one_each(runs, ["run_id"], "unit", "run", "checkpoints, benchmarks, scaffolds or seeds")
        _one_each(
            runs, ["unit", "benchmark", "scaffold", "seed"], "run_id", "checkpoint, benchmark, scaffold and seed", "runs"
        )  # fmt: skip
    return scores


def _one_each(rows: pd.DataFrame, key: list[str], shown: str, owner: str, things: str) -> None:
    repeated = rows[rows.duplicated(key, keep=False)]
    if repeated.empty:
        return
    same = repeated[(repeated[key] == repeated.iloc[0][key]).all(axis=1)]
    differ = [column for column in same.columns if same[column].nunique(dropna=False) > 1]
    name = ", ".join(str(value) for value in same.iloc[0][key])
    raise AnalysisError(
        f"the scores have {len(same)} {things} of one {owner}, `{name}`: {', '.join(f'`{c}`' for c in differ)} differ; "
        f"`{shown}` is {', '.join(f'`{value}`' for value in sorted(set(same[shown])))}. Remove all but one from the study, "
        f"or run it again, so that every run has the labels of conf/."
    )
