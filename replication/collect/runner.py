"""Play and grade the missing episodes of runs; existing results are kept.

One call plays all runs of one checkpoint in one pool, so that the batch stays full across benchmarks, scaffolds and
trials. The order of work is fixed; results do not depend on the order of completion.
"""

import asyncio
import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from replication.collect import progress
from replication.collect.checks import repeat_check
from replication.collect.episodes import play
from replication.collect.interfaces import Benchmark, Engine, Scaffold
from replication.errors import EngineError, RequestRefused
from replication.records import UNSCORED_REASONS, Episode, Labels, Reply, Request, RunSpec, Task
from replication.store import Store
from replication.store.writer import RunWriter

RETRIES = 2
"""Retries of a turn after an EngineError, with the same request and seed."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run of one checkpoint: its identity, tasks, trials and parts."""

    spec: RunSpec
    labels: Labels
    benchmark: Benchmark
    scaffold: Scaffold
    tasks: Sequence[Task]
    n_trials: int
    episode_s: float | None = None
    """Time limit of an episode; one that takes longer fails as if the engine had. None: no limit."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """One episode to play."""

    job: Job
    task: Task
    trial: int


def missing(store: Store, job: Job) -> list[tuple[Task, int]]:
    """List the (task, trial) without a finished episode, in fixed order; empty if the run is complete."""
    finished = store.finished(job.spec.run_id)
    return [
        (task, trial)
        for trial in range(job.n_trials)
        for task in job.tasks
        if (task.id, task.content_hash, trial) not in finished
    ]


def collect(
    store: Store, engine: Engine, jobs: Sequence[Job], *, concurrency: int, title: str, position: int = 0
) -> int:
    """Play and grade the missing episodes of all jobs on an engine that serves their checkpoint; returns the number played.

    Raises EngineError if most episodes fail in the engine; finished episodes are stored, and the same call resumes.

    position : row of the progress bar among those of other processes.
    """
    with contextlib.ExitStack() as stack:
        writers = {
            job.spec.run_id: stack.enter_context(
                store.writer(job.spec, labels=job.labels, engine=engine.describe(), tasks=job.tasks)
            )
            for job in jobs
        }
        items = [Item(job=job, task=task, trial=trial) for job in jobs for task, trial in missing(store, job)]
        _grade_ungraded(jobs, writers)
        n_played = asyncio.run(_play_all(engine, items, writers, concurrency, title, position))
    for job in jobs:
        _check_repeats(store, job)
    return n_played


def regrade(store: Store, job: Job) -> None:
    """Grade the episodes of a complete run without a score by the benchmark's current grader; needs no engine."""
    engine = store.manifest(job.spec.run_id).sessions[-1].engine
    with store.writer(job.spec, labels=job.labels, engine=engine, tasks=job.tasks) as writer:
        _grade_ungraded([job], {job.spec.run_id: writer})
    if "repeats" not in store.manifest(job.spec.run_id).checks:  # killed between the last episode and the check
        _check_repeats(store, job)


def _check_repeats(store: Store, job: Job) -> None:
    check = repeat_check(store, job.spec.run_id, job.spec.sampling.temperature)
    store.record_check(job.spec.run_id, "repeats", check)


def _grade_ungraded(jobs: Sequence[Job], writers: Mapping[str, RunWriter]) -> None:
    for job in jobs:
        by_id = {task.id: task for task in job.tasks}
        writer = writers[job.spec.run_id]
        for episode in list(writer.unscored(job.benchmark.grader)):
            writer.append_score(job.benchmark.grade(by_id[episode.task_id], episode))


async def _play_all(
    engine: Engine, items: list[Item], writers: Mapping[str, RunWriter], concurrency: int, title: str, position: int
) -> int:
    queue: Iterator[Item] = iter(items)
    played = failed = n_tokens = 0
    started = time.monotonic()
    failure: EngineError | None = None

    with progress.bar(len(items), title, "episode", position=position) as bar:

        async def work() -> None:
            nonlocal played, failed, n_tokens, failure
            for item in queue:  # shared by all workers: each takes the next one when it is free
                episode = await _play_one(engine, item)
                score = None
                if episode.stop_reason not in UNSCORED_REASONS:
                    score = item.job.benchmark.grade(item.task, episode)
                writers[item.job.spec.run_id].append(episode, score)
                played += 1
                n_tokens += episode.n_completion_tokens
                rate = n_tokens / (time.monotonic() - started)
                bar.set_postfix_str(
                    f"{rate:,.0f} new tokens/s" + (f", {failed} failed" if failed else ""), refresh=False
                )
                bar.update()
                if episode.stop_reason == "engine_error":
                    failed += 1
                    # Single failures are recorded and the run continues; if most episodes fail, the engine is down.
                    if failed > max(10, played // 2):
                        failure = EngineError(
                            f"{failed} of {played} episodes failed in the engine, the last with: {episode.error} "
                            f"Finished episodes are stored; the same command plays the rest."
                        )
                if failure is not None:
                    return

        await asyncio.gather(*(work() for _ in range(min(concurrency, len(items)))))
    if failure is not None:
        raise failure
    return played


async def _play_one(engine: Engine, item: Item) -> Episode:
    job = item.job
    turns = play(job.spec, item.task, item.trial, job.benchmark.start(item.task), job.scaffold)
    deadline = None if job.episode_s is None else asyncio.get_running_loop().time() + job.episode_s
    try:
        request = next(turns)
        while True:
            try:
                async with asyncio.timeout_at(deadline):
                    reply = await _generate(engine, request)
            except EngineError as error:
                request = turns.throw(error)
            except TimeoutError:
                request = turns.throw(EngineError(f"it took longer than `engine.episode_s`, {job.episode_s:g} s."))
            else:
                request = turns.send(reply)
    except StopIteration as end:
        return end.value


async def _generate(engine: Engine, request: Request) -> Reply:
    """Generate a reply; an EngineError is raised after `RETRIES` retries, a RequestRefused at once."""
    for _ in range(RETRIES):
        try:
            return await engine.generate(request)
        except RequestRefused:
            raise
        except EngineError:
            continue
    return await engine.generate(request)
