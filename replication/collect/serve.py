"""Serve checkpoints and play all their runs: one process plays one checkpoint, or several in turn."""

import functools
import os
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import NamedTuple

from replication import processes, settings
from replication.collect import build, checkpoints, ordering, parallel, preflight, runner
from replication.collect.interfaces import Place
from replication.errors import EngineError
from replication.settings.engine_options import parallel_size
from replication.store import Store


class Assignment(NamedTuple):
    """A checkpoint and all runs that it plays."""

    model: build.ServedModel
    jobs: list[runner.Job]


def assignments(cfg: settings.Root, only: Sequence[str] = ()) -> list[Assignment]:
    """List the checkpoints of a study with their runs, agents and probes; those named in `only`, or all if it is empty."""
    return [
        Assignment(model, [*build.jobs(cfg, model), *build.probe_jobs(cfg, model)])
        for model in build.served_models(cfg, only)
    ]  # fmt: skip


class Part(NamedTuple):
    """Checkpoints that engines of one size serve, with the settings of these engines."""

    cfg: settings.Root
    planned: list[Assignment]


def by_parallel_size(cfg: settings.Root, planned: Sequence[Assignment]) -> list[Part]:
    """Split the checkpoints by the number of GPUs that each needs, the smallest first."""
    parts: dict[int, Part] = {}
    for item in planned:
        of_size = parallel.sized(cfg, item.model.ref.name)
        size = parallel_size(of_size.engine)
        parts.setdefault(size, Part(of_size, [])).planned.append(item)
    return [parts[size] for size in sorted(parts)]


def store_of(cfg: settings.Root) -> Store:
    """Open the store of a configuration; one object per folder, so that unchanged files are parsed once."""
    return _store(Path(cfg.paths.results) / "store")


@functools.cache
def _store(root: Path) -> Store:
    return Store(root)


def require_weights(cfg: settings.Root, planned: Sequence[Assignment]) -> None:
    """Raise ConfigError that names all models of the hub with episodes to play which are neither here nor to be had."""
    store = store_of(cfg)
    of_hub = [item for item in planned if item.model.ref.files_sha256 is None]  # the files of others were read
    todo = [item.model.ref.name for item in of_hub if any(runner.missing(store, job) for job in item.jobs)]
    if todo:
        build.require_weights(cfg, todo)


def play_missing(cfg: settings.Root, planned: Sequence[Assignment]) -> None:
    """Play and grade the missing episodes of these checkpoints; no engine is started if there are none.

    `engine.processes` engines share the checkpoints. Raises EngineError or EnvironmentFault at
    the end if episodes failed: those runs are incomplete.
    """
    store = store_of(cfg)
    todo: list[Assignment] = []
    for model, jobs in planned:
        if any(runner.missing(store, job) for job in jobs):
            todo.append(Assignment(model, jobs))
        else:
            for job in jobs:
                runner.regrade(store, job)
    if not todo:
        print(f"run: all {sum(len(jobs) for _, jobs in planned)} runs are complete")
        return
    for job in [job for _, jobs in todo for job in jobs]:
        store.require_unlocked(job.spec.run_id)
    started = time.monotonic()
    # Sorted so that weights are swapped within one engine before another is started.
    todo.sort(key=lambda item: checkpoints.group(item.model.ref.path))
    shares = _shares(todo, min(cfg.engine.processes, len(todo)))
    places = build.places(cfg, len(shares))
    if len(shares) == 1:
        played = _play_share(cfg, shares[0], 0, places[0])
    else:
        played = _play_side_by_side(cfg, shares, places)
    print(f"run: {played.n_episodes} episodes in {time.monotonic() - started:.0f} s")
    for line in played.summary().splitlines():
        print(f"run: {line}")
    if played.n_ungraded:
        print(f"run: WARNING, {played.n_ungraded} of them could not be graded and have no score")
    if played.failures:
        raise played.failure()


def _shares(todo: Sequence[Assignment], n: int) -> list[Sequence[Assignment]]:
    # Every n-th checkpoint: each share gets its part of every scale, which differ in speed.
    return [todo[i::n] for i in range(n)]


def _play_side_by_side(
    cfg: settings.Root, shares: Sequence[Sequence[Assignment]], places: Sequence[Place]
) -> runner.Played:
    """Play each share in a process; if one fails, the others are played to their end before the error is raised."""
    with processes.workers(len(shares)) as pool:
        futures = [
            pool.submit(processes.call, _play_share, cfg, share, at, place)
            for at, (share, place) in enumerate(zip(shares, places, strict=True))
        ]
        wait(futures)
        try:
            return sum((future.result() for future in futures), runner.Played())
        except BrokenProcessPool:
            raise EngineError(
                f"one of {len(shares)} engine processes was killed, for example for lack of memory. Finished episodes are "
                f"stored; the same command plays the rest. Lower `engine.processes` or `engine.concurrency` if it recurs."
            ) from None


def _play_share(cfg: settings.Root, share: Iterable[Assignment], position: int, place: Place) -> runner.Played:
    """Play these checkpoints on one engine."""
    os.environ.update(place.environment)
    store, played = store_of(cfg), runner.Played()
    order = ordering.by_length(store) if cfg.engine.order == "longest_first" else None
    engine = build.engine(cfg)
    try:
        for model, jobs in share:
            engine.load(model.ref)
            preflight.check(store, engine, jobs)
            played += runner.collect(
                store, engine, jobs, concurrency=cfg.engine.concurrency, title=model.ref.name, position=position,
                limit=build.failure_limit(cfg), prices=build.prices(cfg), is_shared=place.is_shared, order=order,
            )  # fmt: skip
    finally:
        engine.close()
    return played
