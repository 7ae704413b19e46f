"""Play and grade the missing episodes of runs; existing results are kept.

One call plays all runs of one checkpoint in one pool, so that the batch stays full across benchmarks, scaffolds and
trials. The order of work is fixed; results do not depend on the order of completion.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from replication.collect import progress
from replication.collect.checks import repeat_check
from replication.collect.episodes import play
from replication.collect.interfaces import Benchmark, Engine, Scaffold
from replication.errors import ConfigError, EngineError, EnvironmentFault, ReplicationError, RequestRefused
from replication.records import UNSCORED_REASONS, Episode, Labels, Reply, Request, RunSpec, Score, Task
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


@dataclass(kw_only=True)
class Played:
    """Counts of the episodes that were played."""

    n_episodes: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    """By stop reason: episodes that the set-up ended, not the model. They are unscored and played again."""
    error: str | None = None
    """Text of the last failure."""
    n_ungraded: int = 0
    """Episodes that the model ended and the grader could not score."""

    def add(self, episode: Episode, score: Score | None) -> None:
        """Count an episode with its score."""
        self.n_episodes += 1
        if episode.stop_reason in UNSCORED_REASONS:
            self.failures[episode.stop_reason] += 1
            self.error = episode.error
        elif score is None or score.value is None:
            self.n_ungraded += 1

    def __add__(self, other: "Played") -> "Played":
        """Return the counts of both."""
        return Played(
            n_episodes=self.n_episodes + other.n_episodes, failures=self.failures + other.failures,
            error=other.error or self.error, n_ungraded=self.n_ungraded + other.n_ungraded,
        )  # fmt: skip

    def failure(self) -> ReplicationError:
        """Return the error that reports the failed episodes."""
        kind = EnvironmentFault if set(self.failures) == {"environment_error"} else EngineError
        reasons = ", ".join(f"{n} {reason}" for reason, n in self.failures.most_common())
        return kind(
            f"{self.failures.total()} of {self.n_episodes} episodes failed and have no score ({reasons}), the last with: "
            f"{(self.error or '').rstrip('.')}. Finished episodes are stored; the same command plays the rest."
        )


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
) -> Played:
    """Play and grade the missing episodes of all jobs on an engine that serves their checkpoint; returns their counts.

    Raises ConfigError, before anything is stored, if a task does not fit into the context, and EngineError (or
    EnvironmentFault) if most or all episodes fail; finished episodes are stored, and the same call resumes.

    position : row of the progress bar among those of other processes.
    """
    require_room(store, engine, jobs)
    with contextlib.ExitStack() as stack:
        writers = {
            job.spec.run_id: stack.enter_context(
                store.writer(job.spec, labels=job.labels, engine=engine.describe(), tasks=job.tasks)
            )
            for job in jobs
        }
        items = [Item(job=job, task=task, trial=trial) for job in jobs for task, trial in missing(store, job)]
        _grade_ungraded(jobs, writers)
        played = asyncio.run(_play_all(engine, items, writers, concurrency, title, position))
    for job in jobs:
        _check_repeats(store, job)
    return played


def require_room(store: Store, engine: Engine, jobs: Sequence[Job]) -> None:
    """Raise ConfigError if the first prompt and reply of a task that is still to be played exceed the context.

    Such a task could not be solved by any model: its score would be about the context.
    """
    for job in jobs:
        room = job.spec.context - job.spec.sampling.max_tokens
        tasks = {task.id: task for task, _ in missing(store, job)}.values()
        lengths: dict[str, int] = {}
        for task in tasks:
            with contextlib.suppress(RequestRefused):  # its episode will say why
                lengths[task.id] = engine.n_prompt_tokens(_first_request(job, task))
        too_long = [task_id for task_id, length in lengths.items() if length > room]
        if too_long:
            worst = max(too_long, key=lengths.__getitem__)
            raise ConfigError(
                f"{len(too_long)} of {len(lengths)} tasks of `{job.spec.benchmark}` do not fit into the context with "
                f"scaffold `{job.spec.scaffold}`: the first prompt of `{worst}` has {lengths[worst]} tokens and its "
                f"reply may have {job.spec.sampling.max_tokens}; `engine.context` is {job.spec.context}. Set it "
                f"to at least {lengths[worst] + job.spec.sampling.max_tokens}, or lower `sampling.max_tokens`."
            )


def _first_request(job: Job, task: Task) -> Request:
    turns = play(job.spec, task, 0, job.benchmark.start(task), job.scaffold)
    request = next(turns)
    turns.close()
    return request


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
            writer.append_score(_grade(job, by_id[episode.task_id], episode))


def _grade(job: Job, task: Task, episode: Episode) -> Score:
    """Grade an episode; one whose grader fails while it repeats the attempt is unscored."""
    try:
        return job.benchmark.grade(task, episode)
    except EnvironmentFault as fault:
        return Score.of(episode, job.benchmark.grader, None, {"error": str(fault)})


async def _play_all(
    engine: Engine, items: list[Item], writers: Mapping[str, RunWriter], concurrency: int, title: str, position: int
) -> Played:
    queue: Iterator[Item] = iter(items)
    played, n_tokens, is_down = Played(), 0, False
    started = time.monotonic()

    with progress.bar(len(items), title, "episode", position=position) as bar:

        async def work() -> None:
            nonlocal n_tokens, is_down
            for item in queue:  # shared by all workers: each takes the next one when it is free
                episode = await _play_one(engine, item)
                score = None
                if episode.stop_reason not in UNSCORED_REASONS:
                    score = _grade(item.job, item.task, episode)
                writers[item.job.spec.run_id].append(episode, score)
                played.add(episode, score)
                n_tokens += episode.n_completion_tokens
                n_failed = played.failures.total()
                rate = n_tokens / (time.monotonic() - started)
                bar.set_postfix_str(
                    f"{rate:,.0f} new tokens/s" + (f", {n_failed} failed" if n_failed else ""), refresh=False
                )
                bar.update()
                # Single failures are recorded and the run continues; if most episodes fail, the set-up is down.
                if episode.stop_reason in UNSCORED_REASONS and n_failed > max(10, played.n_episodes // 2):
                    is_down = True
                if is_down:
                    return

        await asyncio.gather(*(work() for _ in range(min(concurrency, len(items)))))
    if is_down or 0 < played.n_episodes == played.failures.total():
        raise played.failure()
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
