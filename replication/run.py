"""Collect the episodes of a study: `python -m replication.run study=controlled`.

What is stored is kept; when nothing is missing no engine is started. One engine serves all checkpoints of one
architecture, one after the other, and each plays all its benchmarks, scaffolds and probes in one pool. On a machine with
idle cores `engine.processes` engines share the checkpoints.
"""

import json
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from replication import schemas
from replication.cli import entry
from replication.records import Json
from replication.store import Store

if TYPE_CHECKING:
    from replication import config, runner

    Work = list[tuple[config.Served, list[runner.Job]]]


def main(cfg: schemas.Root) -> None:
    """Play what is missing, grade, and write the study's index."""
    from replication import config

    models = config.served(cfg)
    if not models:
        print("run: this study serves no model")
        return
    work = [(model, [*config.jobs(cfg, model), *config.probe_jobs(cfg, model)]) for model in models]
    collect(cfg, work)
    _write_index(cfg, _store(cfg), work)


def collect(cfg: schemas.Root, work: "Work") -> None:
    """Play and grade what is missing of these runs; nothing is started when they are complete."""
    from replication import runner

    store, todo = _store(cfg), []
    for model, jobs in work:
        if any(runner.missing(store, job) for job in jobs):
            todo.append((model, jobs))
        else:
            for job in jobs:
                runner.regrade(store, job)
    if not todo:
        print(f"run: all {sum(len(jobs) for _, jobs in work)} runs are complete")
        return
    started = time.monotonic()
    # Sorted by architecture, so that weights are swapped within one engine before another is started.
    todo.sort(key=lambda item: item[0].ref.architecture)
    shares = _shares(todo, min(cfg.engine.processes, len(todo)))
    if len(shares) == 1:
        n_played = _play(cfg, shares[0], 0)
    else:
        with ProcessPoolExecutor(len(shares), get_context("spawn")) as pool:
            n_played = sum(pool.map(_play, [cfg] * len(shares), shares, range(len(shares))))
    print(f"run: {n_played} episodes in {time.monotonic() - started:.0f} s")


def _shares(todo: "Work", n: int) -> "list[Work]":
    # Every n-th checkpoint: each share gets its part of every architecture, whose sizes differ in speed.
    return [todo[i::n] for i in range(n)]


def _play(cfg: schemas.Root, todo: "Work", line: int) -> int:
    from replication import config, runner

    store, n_played = _store(cfg), 0
    engine = config.engine(cfg)
    try:
        for model, jobs in todo:
            engine.load(model.ref)
            n_played += runner.collect(
                store, engine, jobs, concurrency=cfg.engine.concurrency, title=model.ref.name, line=line
            )
    finally:
        engine.close()
    return n_played


def _store(cfg: schemas.Root) -> Store:
    return Store(Path(cfg.paths.results) / "store")


def _write_index(cfg: schemas.Root, store: Store, work: "Work") -> None:
    from replication import config, runner
    from replication.training.loop import write_json

    specs = [job.spec for _, jobs in work for job in jobs]
    run_ids = [spec.run_id for spec in specs]
    training: list[dict[str, Json]] = []
    for run in config.training_runs(cfg):
        folder = config.training_folder(cfg, run)
        training.append(json.loads((folder / "training.json").read_text()) | {"curve": str(folder / "curve.csv")})
    checks = {run_id: store.manifest(run_id)["checks"]["repeats"] for run_id in run_ids}
    folder = Path(cfg.paths.results) / "studies"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(
        folder / f"{cfg.study.name}.json",
        {
            "study": cfg.study.name, "kind": cfg.study.kind, "scope": cfg.study.scope,
            "deviations": [*cfg.study.deviations, *runner.engine_differences(store, run_ids)],
            "comparisons": cfg.study.comparisons,
            "domains": {name: choice.domain for name, choice in sorted(cfg.benchmarks.items())},
            "levels": {
                scale: {name: list(config.levels(cfg, name, scale)) for name in sorted(cfg.benchmarks)}
                for scale in sorted(cfg.scales)
            },
            "run_ids": sorted(spec.run_id for spec in specs if spec.scaffold != "probe"),
            "probe_run_ids": sorted(spec.run_id for spec in specs if spec.scaffold == "probe"),
            "training": training, "manifest": store.manifest(run_ids[0])["sessions"][-1]["engine"],
            "repeat_checks": checks,
        },
    )  # fmt: skip
    wrong = [run_id for run_id, check in checks.items() if not check["as_expected"]]
    if wrong:
        print(
            f"run: WARNING, repeated trials do not behave as sampled: {', '.join(wrong)}; see the index's repeat_checks"
        )


if __name__ == "__main__":
    entry(main)()
