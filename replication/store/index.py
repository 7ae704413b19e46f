"""The index of a study: its runs, training runs and deviations."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from replication.errors import ReplicationError, StoreError
from replication.files import write_json
from replication.masking import masked
from replication.records import Json, Manifest, RunSpec, StudyIndex, Task, TrainedRun, to_json
from replication.settings import Study
from replication.settings.limits import PATTERNS, RULES
from replication.store.locking import as_store_error
from replication.store.reader import read_record
from replication.store.store import Store

MAX_LISTED = 10
"""Most incomplete runs that an error message lists."""


class PlannedRun(NamedTuple):
    """A run of the study as conf/ plans it."""

    run_id: str
    is_probe: bool
    tasks: Sequence[Task]
    n_trials: int
    is_ingested: bool = False
    """Whether an official harness collects it, all at once."""


def planned_run(spec: RunSpec, tasks: Sequence[Task], n_trials: int) -> PlannedRun:
    """Describe a run by its planned episodes."""
    return PlannedRun(spec.run_id, spec.scaffold == "probe", tasks, n_trials)


def ingested_run(spec: RunSpec) -> PlannedRun:
    """Describe a run of an official harness, which is complete if it is stored: `ingest` stores no incomplete run."""
    return PlannedRun(spec.run_id, False, (), 0, is_ingested=True)


def require_complete(store: Store, study: str, runs: Sequence[PlannedRun]) -> None:
    """Raise StoreError, which lists incomplete runs, unless each run has all episodes and the check of their repeats."""
    stored = set(store.runs())
    incomplete, remedies = [], dict[str, None]()
    for run in runs:
        n_missing = len(store.missing(run.run_id, run.tasks, run.n_trials))
        if n_missing:
            n = len(run.tasks) * run.n_trials
            incomplete.append(f"`{run.run_id}` lacks {n_missing} of {n} episodes")
        elif run.is_ingested and run.run_id not in stored:
            incomplete.append(f"`{run.run_id}` of an official harness is not there")
        elif run.run_id not in stored or "repeats" not in store.manifest(run.run_id).checks:
            incomplete.append(f"`{run.run_id}` was interrupted before its repeats were checked")
        else:
            continue
        remedies["official" if run.is_ingested else "run"] = None
    if incomplete:
        more = [f"and {len(incomplete) - MAX_LISTED} more"] if len(incomplete) > MAX_LISTED else []
        raise StoreError(
            f"study `{study}` is incomplete: {len(incomplete)} of {len(runs)} runs in `{store.root}` are not finished: "
            f"{'; '.join([*incomplete[:MAX_LISTED], *more])}. Play them with "
            f"{' and '.join(f'`python -m replication {stage} study={study}`' for stage in sorted(remedies, reverse=True))}."
        )


def build_index(
    store: Store,
    study: Study,
    runs: Sequence[PlannedRun],
    *,
    deviations: Sequence[str],
    domains: Mapping[str, str],
    levels: Mapping[str, Mapping[str, tuple[int, ...]]],
    training: Sequence[TrainedRun],
) -> StudyIndex:
    """Build the index of complete runs; checks and engine come from the store."""
    manifests = {run.run_id: store.manifest(run.run_id) for run in runs}
    return StudyIndex(
        study=study.name,
        kind=study.kind,
        scope=study.scope,
        deviations=tuple(deviations),
        comparisons=tuple((treatment, control) for treatment, control in study.comparisons),
        domains=domains,
        levels=levels,
        run_ids=tuple(sorted(run.run_id for run in runs if not run.is_probe)),
        probe_run_ids=tuple(sorted(run.run_id for run in runs if run.is_probe)),
        training=tuple(training),
        engine=masked(_engine_alone(manifests[runs[0].run_id])),
        repeat_checks={run_id: manifest.checks["repeats"] for run_id, manifest in manifests.items()},
        clusters=_clusters(manifests.values()),
    )


def _clusters(manifests: Iterable[Manifest]) -> dict[str, dict[str, str]] | None:
    clusters: dict[str, dict[str, str]] = {}
    for manifest in manifests:
        of_run = {task: entry.cluster for task, entry in manifest.tasks.items() if entry.cluster is not None}
        if of_run:
            clusters.setdefault(manifest.spec.benchmark, {}).update(of_run)
    return clusters or None


def _engine_alone(manifest: Manifest) -> dict[str, Json]:
    """Return the last engine of a run without the files that it served, which are those of one run only."""
    return {key: value for key, value in manifest.sessions[-1].engine.items() if key != "checkpoint"}


def index_path(results: Path, study: str) -> Path:
    """Return the path of a study's index."""
    return results / "studies" / f"{study}.json"


def write_index(results: Path, index: StudyIndex) -> Path:
    """Write the index of a study."""
    path = index_path(results, index.study)
    with as_store_error(path):
        return write_json(path, to_json(index))


def read_index(results: Path, study: str) -> StudyIndex:
    """Read the index of a study; FileNotFoundError if it was not gathered."""
    path, remedy = index_path(results, study), f"Write it again with `python -m replication gather study={study}`."
    return validated_index(read_record(path, StudyIndex, remedy=remedy), study, path, remedy=remedy)


def require_names(names: Iterable[object], path: Path, *, remedy: str, error: type[ReplicationError]) -> None:
    """Raise `error` unless each is a name as conf/ may have it: anything else could break a file name or a table."""
    for name in dict.fromkeys(names):
        if not isinstance(name, str) or not re.fullmatch(PATTERNS["name"], name):
            raise error(f"`{path}` has the name {name!r}; {RULES['name']}. Rename it in conf/. {remedy}")


def validated_index(
    index: StudyIndex, study: str, path: Path, *, remedy: str, error: type[ReplicationError] = StoreError
) -> StudyIndex:
    """Return the index; `error` if it is of another study, lists a run twice, or has a name that conf/ would refuse."""
    if index.study != study:
        raise error(f"`{path}` is of study `{index.study}`, not of `{study}`. {remedy}")
    levels = [name for by_benchmark in index.levels.values() for name in by_benchmark]
    named = [study, *(arm for pair in index.comparisons for arm in pair), *index.domains, *index.levels, *levels]
    require_names(named, path, remedy=remedy, error=error)
    runs = [*index.run_ids, *index.probe_run_ids]
    twice = sorted({run for run in runs if runs.count(run) > 1}) if len(set(runs)) < len(runs) else []
    if twice:
        raise error(f"`{path}` lists {', '.join(f'`{run}`' for run in twice[:MAX_LISTED])} more than once. {remedy}")
    return index
