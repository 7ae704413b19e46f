"""Collect the episodes of a study: `python -m replication.run study=controlled`.

What is stored is kept; when nothing is missing no engine is started. One engine serves all checkpoints of one
architecture, one after the other, and each plays all its benchmarks and scaffolds in one pool.
"""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING

from replication import schemas
from replication.cli import entry
from replication.records import Json
from replication.store import Store

if TYPE_CHECKING:
    from replication import config, runner


def main(cfg: schemas.Root) -> None:
    """Play what is missing, grade, and write the study's index."""
    from replication import config, runner

    models = config.served(cfg)
    if not models:
        print("run: this study serves no model")
        return
    store = Store(Path(cfg.paths.results) / "store")
    work = [(model, config.jobs(cfg, model)) for model in models]
    todo = []
    for model, jobs in work:
        if any(runner.missing(store, job) for job in jobs):
            todo.append((model, jobs))
        else:
            for job in jobs:
                runner.regrade(store, job)
    if todo:
        _collect(cfg, store, todo)
    else:
        print(f"run: all {sum(len(jobs) for _, jobs in work)} runs are complete")
    _write_index(cfg, store, work)


def _collect(cfg: schemas.Root, store: Store, todo: "list[tuple[config.Served, list[runner.Job]]]") -> None:
    from replication import config, runner

    started = time.monotonic()
    n_played = 0
    engine = config.engine(cfg)
    try:
        # Sorted by architecture, so that weights are swapped within one engine before another is started.
        for model, jobs in sorted(todo, key=lambda item: item[0].ref.architecture):
            engine.load(model.ref)
            n_played += runner.collect(store, engine, jobs, concurrency=cfg.engine.concurrency, title=model.ref.name)
    finally:
        engine.close()
    print(f"run: {n_played} episodes in {time.monotonic() - started:.0f} s")


def _write_index(cfg: schemas.Root, store: Store, work: "list[tuple[config.Served, list[runner.Job]]]") -> None:
    from replication import config, runner
    from replication.training.loop import write_json

    run_ids = [job.spec.run_id for _, jobs in work for job in jobs]
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
            "run_ids": sorted(run_ids), "training": training,
            "manifest": store.manifest(run_ids[0])["sessions"][-1]["engine"],
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
