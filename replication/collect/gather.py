"""Write the index of a study from its store, after a check that every planned run is complete."""

from collections.abc import Sequence
from pathlib import Path

from replication import settings
from replication.collect import build, checks, monitoring
from replication.collect.monitoring import StoppingRule
from replication.collect.serve import Assignment, store_of
from replication.collect.training.runs import CURVE, read_finished
from replication.errors import StoreError
from replication.records import TrainedRun
from replication.store import Store, index


def gather(cfg: settings.Root, assignments: Sequence[Assignment], rule: StoppingRule | None) -> None:
    """Write the index of a study; with a stopping rule, its runs end at the stops that were recorded."""
    stops: list[str] = []
    if rule is not None:
        assignments, stops = monitoring.after_monitoring(cfg, assignments, rule)
    store = store_of(cfg)
    runs = [index.planned_run(job.spec, job.tasks, job.n_trials) for _, jobs in assignments for job in jobs]
    runs += [index.ingested_run(job.run.spec) for job in build.harness_jobs(cfg)]
    index.require_complete(store, cfg.study.name, runs)
    _require_current(store, cfg, assignments)
    study_index = index.build_index(
        store,
        cfg.study,
        runs,
        deviations=[
            *cfg.study.deviations,
            *_of_protocols(cfg),
            *stops,
            *checks.engine_differences(store, [run.run_id for run in runs]),
        ],
        domains={name: choice.suite.domain for name, choice in sorted(cfg.benchmarks.items()) if choice.suite},
        levels={
            scale: {name: build.levels(cfg, name, scale) for name in sorted(cfg.benchmarks)}
            for scale in sorted(cfg.scales)
        },
        training=_training(cfg),
    )
    path = index.write_index(Path(cfg.paths.results), study_index)
    print(f"gather: {path}")
    unexpected = [run_id for run_id, check in study_index.repeat_checks.items() if not check.as_expected]
    if unexpected:
        print(
            f"gather: WARNING, repeated trials do not behave as sampled: {', '.join(unexpected)}; see `repeat_checks` "
            f"in the index"
        )


def _of_protocols(cfg: settings.Root) -> list[str]:
    """List where the official harnesses of a study differ from the protocol of the original."""
    ingested = {source.benchmark for source in cfg.ingest.values()}
    chosen = {name: choice.protocol for name, choice in settings.published(cfg).items() if name in ingested}
    return [
        f"{name}: {deviation}" for name, protocol in chosen.items() if protocol for deviation in protocol.deviations
    ]


def _require_current(store: Store, cfg: settings.Root, work: Sequence[Assignment]) -> None:
    """Raise StoreError if conf/ gives a stored run other labels or tasks than it was stored with."""
    for job in [job for _, jobs in work for job in jobs]:
        manifest = store.manifest(job.spec.run_id)
        stored = {task_id: entry.hash for task_id, entry in manifest.tasks.items()}
        same = {"labels": manifest.labels == job.labels, "tasks": stored == {t.id: t.content_hash for t in job.tasks}}
        if not all(same.values()):
            raise StoreError(
                f"run `{job.spec.run_id}` is stored with other {' and '.join(name for name in same if not same[name])} "
                f"than conf/ states now. Update it with `python -m replication run study={cfg.study.name}`, which keeps "
                f"all stored episodes."
            )
    for ingested in build.harness_jobs(cfg):
        if store.manifest(ingested.run.spec.run_id).labels != ingested.labels:
            raise StoreError(
                f"run `{ingested.run.spec.run_id}` is stored with other labels than conf/ states now. Update it with "
                f"`python -m replication ingest study={cfg.study.name}`."
            )


def _training(cfg: settings.Root) -> list[TrainedRun]:
    runs = []
    for run in build.training_runs(cfg):
        folder = build.training_folder(cfg, run)
        record = read_finished(run, folder)
        assert record is not None, run.name  # `serve.assignments` raises ConfigError for an untrained study
        runs.append(TrainedRun(record=record, curve=str(folder / CURVE)))
    return runs
