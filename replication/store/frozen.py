"""Frozen studies: a collected study as CSV and JSON under paper/data/<study>, from which the paper is built."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from replication.errors import AnalysisError
from replication.files import read_csv, write_bytes, write_csv, write_json
from replication.records import StudyIndex, TrainedRun, to_json
from replication.store.index import index_path, read_index, require_names, validated_index
from replication.store.reader import read_record
from replication.store.store import Store
from replication.store.table import COLUMNS, dtype, validated

if TYPE_CHECKING:
    import pandas as pd


class Frozen(NamedTuple):
    """A study as frozen under paper/data/<study>."""

    scores: pd.DataFrame
    """The score table of agents; the probe has a separate table."""
    training: pd.DataFrame
    """One row per training run, columns `TRAINING`."""
    curves: pd.DataFrame
    """Loss curves, columns `CURVE_KEY` and `CURVE`."""
    about: StudyIndex
    """manifest.json: the index, whose training runs are in `training` and `curves`."""
    probe: pd.DataFrame | None
    """Observation predictions, columns `PROBE`; None where the study has no probe."""


FILES = ("scores.csv", "training.csv", "curves.csv", "manifest.json")
"""Every frozen study has these; one with an observation probe also has probe.csv."""
PROBE = (
    "unit", "arm", "scale", "params_b", "training_seed", "benchmark", "task_id", "trial", "value", "token_f1"
)  # fmt: skip
CURVE_KEY = ("arm", "scale", "training_seed")
CURVE = ("step", "phase", "n_tokens", "loss", "lr", "wall_s", "reward")
TRAINING = (
    "arm", "scale", "training_seed", "training_run", "params_b", "n_parameters", "weights_sha256", "n_tokens",
    "n_sampled_tokens", "flops", "wall_s", "joules", "device",
)  # fmt: skip
_FLOATS = ("params_b", "flops", "wall_s", "joules", "loss", "lr", "reward")
_INTEGERS = ("training_seed", "n_parameters", "n_tokens", "n_sampled_tokens", "step")


def is_frozen(study: str, data: Path) -> bool:
    """Whether `data`/`study` holds a frozen study."""
    return all((data / study / name).exists() for name in FILES)


def take_frozen(study: str, results: Path, source: Path, data: Path) -> list[Path]:
    """Copy a study that is frozen in another folder, unless it was collected or is frozen here; returns the copies."""
    if index_path(results, study).exists() or is_frozen(study, data) or not is_frozen(study, source):
        return []
    return copy_frozen(study, source, data)


def copy_frozen(study: str, source: Path, data: Path) -> list[Path]:
    """Copy a study that is frozen in another folder; returns the copies."""
    return [write_bytes(data / study / path.name, path.read_bytes()) for path in sorted((source / study).iterdir())]


def freeze(study: str, results: Path, data: Path) -> list[Path]:
    """Copy a collected study from the store to `data`/`study`.

    Scores are exact, not rounded to digits, because tests by sign flips count ties.
    Without an index nothing is written; AnalysisError if the study is not frozen already.
    """
    folder = data / study
    if not index_path(results, study).exists():
        if is_frozen(study, data):
            return []
        raise AnalysisError(
            f"study `{study}` has been neither collected ({index_path(results, study)} is missing) nor frozen ({folder} "
            f"is incomplete). Collect it with `make replicate STUDY={study}`, or read published numbers only with "
            f"STUDY=reanalysis."
        )
    import pandas as pd

    index, store = read_index(results, study), Store(results / "store")
    scores = validated(store.score_table(index.run_ids))
    if scores.empty:
        raise AnalysisError(f"study `{study}` has no episodes in the store under {results}; collect it again.")
    absent = sorted(set(index.run_ids) - set(scores["run_id"]))
    if absent:
        raise AnalysisError(
            f"{len(absent)} of {len(index.run_ids)} runs of study `{study}` have no episode in the store under {results}, "
            f"such as `{absent[0]}`; collect it again."
        )
    runs = pd.DataFrame([dataclasses.asdict(run.record) for run in index.training], columns=list(TRAINING))
    tables = {
        "scores.csv": scores,
        "training.csv": runs.sort_values(list(CURVE_KEY)),
        "curves.csv": _curves(index.training),
    }
    if index.probe_run_ids:
        probe = validated(store.score_table(index.probe_run_ids, details=("token_f1",)))
        tables["probe.csv"] = probe[list(PROBE)]
    else:
        (folder / "probe.csv").unlink(missing_ok=True)
    written = [write_csv(folder / name, table) for name, table in tables.items()]
    return [*written, write_json(folder / "manifest.json", to_json(dataclasses.replace(index, training=())))]


def _curves(runs: Sequence[TrainedRun]) -> pd.DataFrame:
    """Join the curves of the training runs; a run without phases (the base itself) has an empty curve."""
    import pandas as pd

    types = {column: _type(column, CURVE) for column in CURVE}
    curves = ((run.record, read_csv(Path(run.curve), types)) for run in runs)
    parts = [curve.assign(**{key: getattr(record, key) for key in CURVE_KEY}) for record, curve in curves if len(curve)]
    joined = pd.concat(parts or [pd.DataFrame(columns=[*CURVE_KEY, *CURVE])], ignore_index=True)
    return joined.reindex(columns=[*CURVE_KEY, *CURVE]).sort_values([*CURVE_KEY, "step"])


def read_frozen(study: str, data: Path) -> Frozen:
    """Read a frozen study; AnalysisError if another version of the package froze it or a table is damaged."""
    folder = data / study
    remedy = f"Freeze it again with `python -m replication paper study={study}` where its results are."
    about = read_record(folder / "manifest.json", StudyIndex, remedy=remedy, error=AnalysisError)
    validated_index(about, study, folder / "manifest.json", remedy=remedy, error=AnalysisError)
    scores = validated(_read(folder / "scores.csv", COLUMNS, remedy))
    if set(scores["run_id"]) != set(about.run_ids):
        differ = sorted(set(scores["run_id"]) ^ set(about.run_ids))
        raise AnalysisError(
            f"`{folder}` has scores.csv and manifest.json of different runs: {len(differ)} are in one only, such as "
            f"`{differ[0]}`. {remedy}"
        )
    named = [scores[column] for column in ("arm", "scale", "benchmark", "scaffold")]
    require_names(
        itertools.chain.from_iterable(column.unique() for column in named),
        folder / "scores.csv",
        remedy=remedy,
        error=AnalysisError,
    )
    probe = folder / "probe.csv"
    return Frozen(
        scores=scores,
        training=_read(folder / "training.csv", TRAINING, remedy, key=CURVE_KEY),
        curves=_read(folder / "curves.csv", (*CURVE_KEY, *CURVE), remedy, key=(*CURVE_KEY, "step")),
        about=about,
        probe=validated(_read(probe, PROBE, remedy)) if about.probe_run_ids else None,
    )


def _read(path: Path, columns: Sequence[str], remedy: str, *, key: Sequence[str] = ()) -> pd.DataFrame:
    """Read a table with these columns and their types; `key` names columns that no two rows share."""
    import pandas as pd

    types = {column: _type(column, columns) for column in columns}
    try:
        found = tuple(pd.read_csv(path, nrows=0).columns)
        table = read_csv(path, types) if found == tuple(columns) else None
    except (OSError, TypeError, ValueError) as problem:
        raise AnalysisError(f"`{path}` cannot be read as a table of this version ({problem}). {remedy}") from None
    if table is None:
        differ = sorted(set(columns) ^ set(found)) or ["their order"]
        raise AnalysisError(
            f"`{path}` does not have the columns of this version; `{'`, `'.join(differ)}` differ. {remedy}"
        )
    infinite = [name for name in table.select_dtypes("float") if (table[name].abs() == float("inf")).any()]
    if infinite:
        raise AnalysisError(f"`{path}` has infinite numbers in `{'`, `'.join(infinite)}`. {remedy}")
    if key and table.duplicated(list(key)).any():
        row = table[table.duplicated(list(key))].iloc[0]
        raise AnalysisError(f"`{path}` has two rows for {', '.join(f'{name} {row[name]}' for name in key)}. {remedy}")
    return table


def _type(column: str, columns: Sequence[str]) -> str:
    if "unit" in columns:
        return "float64" if column == "token_f1" else dtype(column)
    return "float64" if column in _FLOATS else "int64" if column in _INTEGERS else "object"
