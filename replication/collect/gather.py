"""Write the index of a study from its store, after a check that every planned run is complete."""

from collections.abc import Sequence
from pathlib import Path

from replication import settings
from replication.collect import build, checks, monitoring
from replication.collect.monitoring import StoppingRule
from replication.collect.serve import Assignment, store_of
from replication.collect.training.runs import CURVE, read_finished
from replication.records import TrainedRun
from replication.store import index


def gather(cfg: settings.Root, assignments: Sequence[Assignment], rule: StoppingRule | None) -> None:
    """Write the index of a study; with a stopping rule, its runs end at the stops that were recorded."""
    stops: list[str] = []
    if rule is not None:
        assignments, stops = monitoring.after_monitoring(cfg, assignments, rule)
    store = store_of(cfg)
    runs = [index.planned_run(job.spec, job.tasks, job.n_trials) for _, jobs in assignments for job in jobs]
    runs += [index.ingested_run(store, job.run.spec, cfg.study.name) for job in build.harness_jobs(cfg)]
    index.require_complete(store, cfg.study.name, runs)
    study_index = index.build_index(
        store,
        cfg.study,
        runs,
        deviations=[*cfg.study.deviations, *stops, *checks.engine_differences(store, [run.run_id for run in runs])],
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


def _training(cfg: settings.Root) -> list[TrainedRun]:
    runs = []
    for run in build.training_runs(cfg):
        folder = build.training_folder(cfg, run)
        record = read_finished(run, folder)
        assert record is not None, run.name  # `serve.assignments` raises ConfigError for an untrained study
        runs.append(TrainedRun(record=record, curve=str(folder / CURVE)))
    return runs
