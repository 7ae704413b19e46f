"""The score table, one row per episode: the only part of collected runs that the analysis reads."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from replication.errors import AnalysisError, StoreError

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from replication.store.lines import Grade, Key
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

COUNTS = ("n_turns", "n_malformed", "n_prompt_tokens", "n_completion_tokens")
COLUMNS = (
    "run_id", *LABELS, "benchmark", "scaffold", "seed", "task_id", "task_hash", "level", "trial", "value", "grader",
    "stop_reason", *COUNTS,
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
    import numpy as np
    import pandas as pd

    names = (*COLUMNS, *details)
    parts: list[dict[str, np.ndarray]] = []
    graders: set[str] = set()
    for run_id in run_ids:
        by_grader = store.scores_by_grader(run_id, latest=grader is None)
        graders.update(by_grader)
        name = grader if grader is not None else next(iter(by_grader), None)
        parts.append(_columns(store, run_id, by_grader.get(name, {}) if name else {}, details))
    if grader is not None and graders and grader not in graders:
        raise StoreError(
            f"no score by grader `{grader}` in these runs; they have {', '.join(f'`{g}`' for g in sorted(graders))}. "
            f"Name one of those, or run the study again to grade with it."
        )
    types = {c: "float64" if c in details else dtype(c) for c in names}
    joined = {c: np.concatenate([part[c] for part in parts]) if parts else np.empty(0, object) for c in names}
    # Nullable integers come from floats, in which missing is NaN and every integer in use is exact.
    return pd.DataFrame({c: pd.Series(joined[c], dtype=types[c]) for c in names})


def _columns(store: Store, run_id: str, scores: Mapping[Key, Grade], details: Sequence[str]) -> dict[str, np.ndarray]:
    """Build the columns of one run, sorted by task and trial.

    Column by column: a million rows as tuples would take most of the time and memory.

    scores : by key, of one grader.
    """
    import numpy as np

    manifest = store.manifest(run_id)
    spec, labels = manifest.spec, manifest.labels
    lines = store.current_lines(run_id)
    tasks = sorted(manifest.tasks)
    rank = {task: at for at, task in enumerate(tasks)}
    n = len(lines)
    place = np.fromiter((rank[line.task_id] for line in lines.values()), np.int64, n)
    trial = np.fromiter((line.trial for line in lines.values()), np.int64, n)
    order = np.lexsort((trial, place))
    place, attempts = place[order], _objects(lines.values())[order]
    graded = [scores.get(line.key) for line in attempts]

    def of_task(values: Sequence[object], kind: type) -> np.ndarray:
        return np.array(values, dtype=kind)[place] if n else np.empty(0, kind)

    constant = {
        "run_id": run_id, **{column: getattr(labels, column) for column in LABELS},
        "benchmark": spec.benchmark, "scaffold": spec.scaffold, "seed": spec.seed,
    }  # fmt: skip
    columns = {
        column: np.full(
            n, value, np.float64 if column in (*_FLOATS, *_NULLABLE) else np.int64 if column == "seed" else object
        )
        for column, value in constant.items()
    }
    columns |= {
        "task_id": of_task(tasks, object),
        "task_hash": of_task([manifest.tasks[task].hash for task in tasks], object),
        "level": of_task([manifest.tasks[task].level for task in tasks], float),
        "trial": trial[order],
        "value": np.array([None if grade is None else grade.value for grade in graded], np.float64),
        "grader": _objects(None if grade is None else grade.grader for grade in graded),
        "stop_reason": _objects(line.stop_reason for line in attempts),
    }
    for column in COUNTS:
        columns[column] = np.fromiter((getattr(line, column) for line in attempts), np.int64, n)
    if details:
        found = [{} if grade is None else json.loads(bytes(grade.details)) for grade in graded]
        columns |= {column: np.array([one.get(column) for one in found], np.float64) for column in details}
    return columns


def _objects(values: Iterable[object]) -> np.ndarray:
    import numpy as np

    items = list(values)
    array = np.empty(len(items), object)
    array[:] = items
    return array


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
