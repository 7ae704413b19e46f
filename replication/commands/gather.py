"""Write the index of a study from the store: `python -m replication gather study=controlled`.

conf/ states the runs of the study; their episodes may have been collected by any number of processes or machines. A study
that is incomplete is refused with a list of what is missing.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from replication import settings
from replication.records import TrainedRun

if TYPE_CHECKING:
    from replication.collect.monitoring import StoppingRule
    from replication.collect.serve import Assignment


def main(cfg: settings.Root) -> None:
    """Check that every run of the study is complete and write its index."""
    from replication.collect import serve

    work = serve.assignments(cfg)
    if not work:
        print("gather: this study serves no model")
        return
    write(cfg, work)


def write(cfg: settings.Root, work: "Sequence[Assignment]") -> None:
    """Write the index of these runs; after monitoring, of the tasks up to the stop."""
    from replication.collect import build, checks, monitoring, serve
    from replication.store import index

    stops: list[str] = []
    if cfg.monitor.enabled:
        work, stops = monitoring.after_monitoring(cfg, work, stopping_rule(cfg))
    store = serve.store_of(cfg)
    runs = [index.planned_run(job.spec, job.tasks, job.n_trials) for _, jobs in work for job in jobs]
    runs += [index.ingested_run(store, job.run.spec, cfg.study.name) for job in build.harness_jobs(cfg)]
    index.require_complete(store, cfg.study.name, runs)
    gathered = index.gathered(
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
    path = index.write_index(Path(cfg.paths.results), gathered)
    print(f"gather: {path}")
    unexpected = [run_id for run_id, check in gathered.repeat_checks.items() if not check["as_expected"]]
    if unexpected:
        print(
            f"gather: WARNING, repeated trials do not behave as sampled: {', '.join(unexpected)}; see `repeat_checks` "
            f"in the index"
        )


def stopping_rule(cfg: settings.Root) -> "StoppingRule":
    """Build the stopping rule of the study."""
    from replication.analyse.stats.design import monitor
    from replication.collect.monitoring import StoppingRule

    chosen = cfg.monitor
    rule = monitor.Rule(alpha=chosen.alpha, sesoi=chosen.sesoi, block=chosen.block, min_blocks=chosen.min_blocks)
    return StoppingRule(
        dataclasses.asdict(rule), lambda differences: monitor.to_records(monitor.trajectory(differences, rule))
    )


def _training(cfg: settings.Root) -> list[TrainedRun]:
    from replication.collect import build
    from replication.collect.training.runs import CURVE, finished

    runs = []
    for run in build.training_runs(cfg):
        folder = build.training_folder(cfg, run)
        record = finished(run, folder)
        assert record is not None, run.name  # serve.assignments has refused a study that is not trained
        runs.append(TrainedRun(record=record, curve=str(folder / CURVE)))
    return runs
