"""The score table, one row per episode: the only part of collected runs that the analysis reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from replication.errors import AnalysisError, StoreError
from replication.store.columns import COUNTS

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

    from replication.records import Manifest
    from replication.store.columns import Attempts, Graded, Grades
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
        attempts = store.current_attempts(run_id)
        grades = store.grades(run_id)
        by_grader = grades.by_grader(attempts)
        graders.update(by_grader)
        name = grader if grader is not None else _latest(run_id, by_grader)
        graded = by_grader.get(name) if name is not None else None
        scores = _scores(store, run_id, grades, name, graded, len(attempts.rows), details)
        parts.append({**_columns(run_id, store.manifest(run_id), attempts), **scores})
    if grader is not None and graders and grader not in graders:
        raise StoreError(
            f"no score by grader `{grader}` in these runs; they have {', '.join(f'`{g}`' for g in sorted(graders))}. "
            f"Name one of those, or run the study again to grade with it."
        )
    types = {c: "float64" if c in details else dtype(c) for c in names}
    columns = {}
    for c in names:  # one after the other: each is freed before the next is joined
        joined = np.concatenate([part.pop(c) for part in parts]) if parts else np.empty(0, object)
        # Nullable integers come from floats, in which missing is NaN and every integer in use is exact.
        columns[c] = pd.Series(joined, dtype=types[c])
    return pd.DataFrame(columns, copy=False)


def _latest(run_id: str, by_grader: Mapping[str, Graded]) -> str | None:
    """Return the latest grader of a run; StoreError where graders alternate, so that none is."""
    if not by_grader:
        return None
    latest = max(by_grader, key=lambda name: by_grader[name].last)
    if any(other.last > by_grader[latest].first for name, other in by_grader.items() if name != latest):
        raise StoreError(
            f"run `{run_id}` was graded by {', '.join(f'`{g}`' for g in sorted(by_grader))} in turns, so none is the "
            f"latest. Name the scores to read: `score_table(grader=...)`."
        )
    return latest


def _columns(run_id: str, manifest: Manifest, attempts: Attempts) -> dict[str, np.ndarray]:
    """Build the columns of one run but those of its scores.

    Column by column: a million rows as tuples would take most of the time and memory.

    attempts : of the manifest's tasks, sorted by task and trial.
    """
    import numpy as np

    spec, labels, rows = manifest.spec, manifest.labels, attempts.rows
    n = len(rows)
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

    def coded(values: Iterable[object], code: np.ndarray, kind: type = object) -> np.ndarray:
        return np.array([*values, None], dtype=kind)[code]  # None: an array of texts, never one of characters

    levels = [entry.level if (entry := manifest.tasks.get(task)) else None for task, _ in attempts.tasks]
    return columns | {
        "task_id": coded((task for task, _ in attempts.tasks), rows["task"]),
        "task_hash": coded((content for _, content in attempts.tasks), rows["task"]),
        "level": coded(levels, rows["task"], float),
        "trial": rows["trial"],
        "stop_reason": coded(attempts.reasons, rows["reason"]),
        **{column: rows[column] for column in COUNTS},
    }


def _scores(
    store: Store, run_id: str, grades: Grades, grader: str | None, graded: Graded | None, n: int, details: Sequence[str]
) -> dict[str, np.ndarray]:
    """Build the columns of the scores of one run by one grader; without a grade they are empty."""
    import numpy as np

    value, names, offset = np.full(n, np.nan), np.full(n, None, object), np.full(n, -1)
    if graded is not None:
        has = graded.row >= 0
        value[has], names[has] = grades.rows["value"][graded.row[has]], grader
        offset[has] = grades.rows["offset"][graded.row[has]]
    columns = {"value": value, "grader": names}
    if details:
        read = store.details(run_id, offset.tolist()) if graded is not None else ()
        kept = [[one.get(name) for name in details] for one in read]
        found = np.array(kept, np.float64) if kept else np.full((n, len(details)), np.nan)
        columns |= {name: found[:, at] for at, name in enumerate(details)}
    return columns


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
