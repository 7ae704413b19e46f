"""Play and grade the missing episodes of runs; existing results are kept.

One call plays all runs of one checkpoint in one pool, so that the batch stays full across benchmarks, scaffolds and
trials. The order of work is fixed; results do not depend on the order of completion.
"""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from replication.collect import progress
from replication.collect.accounting import Account, Prices
from replication.collect.checks import repeat_check
from replication.collect.episodes import play
from replication.collect.interfaces import Benchmark, Engine, Scaffold
from replication.errors import (
    ConfigError,
    EngineError,
    EnvironmentFault,
    EpisodeTimeout,
    ReplicationError,
    RequestRefused,
    StoreError,
)
from replication.records import UNSCORED_REASONS, Episode, Labels, RepeatCheck, Reply, Request, RunSpec, Score, Task
from replication.store import Store
from replication.store.columns import Missing
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
    """Time limit of an episode; one that takes longer is unscored. None: no limit."""
    tool_syntax: str | None = None
    """Parser of tool calls, of scaffold native; None for all others."""


@dataclass(frozen=True, kw_only=True)
class FailureLimit:
    """Share of failed episodes at which a run stops, since the set-up is down."""

    share: float = 0.5
    """Of the episodes played so far; a larger share stops the run."""
    least: int = 10
    """Failures that never stop a run."""

    def is_exceeded(self, n_failed: int, n_episodes: int) -> bool:
        """Tell whether a run with these counts stops."""
        return n_failed > max(self.least, self.share * n_episodes)


@dataclass(frozen=True, kw_only=True)
class Item:
    """One episode to play."""

    job: Job
    task: Task
    trial: int


class Left(NamedTuple):
    """Episodes of a run that are to be played."""

    job: Job
    episodes: Missing


Order = Callable[[Sequence[Left]], Iterator[Item]]
"""Returns the episodes of all runs of a pool in the order in which they start."""


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
    stops: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By scaffold and stop reason."""
    stopped: str = ""
    """Why the run was stopped before its end; empty if it was not."""

    def add(self, scaffold: str, episode: Episode, score: Score | None) -> None:
        """Count an episode with its score."""
        self.n_episodes += 1
        self.stops[scaffold, episode.stop_reason] += 1
        if episode.stop_reason in UNSCORED_REASONS:
            self.failures[episode.stop_reason] += 1
            self.error = episode.error
        elif score is None or score.value is None:
            self.n_ungraded += 1

    def __add__(self, other: "Played") -> "Played":
        """Return the counts of both."""
        return Played(
            n_episodes=self.n_episodes + other.n_episodes, failures=self.failures + other.failures,
            error=other.error or self.error, n_ungraded=self.n_ungraded + other.n_ungraded, stops=self.stops + other.stops,
            stopped=other.stopped or self.stopped,
        )  # fmt: skip

    def summary(self) -> str:
        """Write the counts by stop reason, in one line per scaffold: `compact: 56 answer, 3 turn_limit`."""
        by_scaffold: dict[str, Counter[str]] = {}
        for (scaffold, reason), n in sorted(self.stops.items()):
            by_scaffold.setdefault(scaffold, Counter())[reason] = n
        return "\n".join(
            f"{scaffold}: {', '.join(f'{n:,} {reason}' for reason, n in reasons.most_common())}"
            for scaffold, reasons in by_scaffold.items()
        )

    def failure(self) -> ReplicationError:
        """Return the error that reports the failed episodes."""
        kind = EnvironmentFault if set(self.failures) == {"environment_error"} else EngineError
        reasons = ", ".join(f"{n} {reason}" for reason, n in self.failures.most_common())
        return kind(
            f"{self.failures.total()} of {self.n_episodes} episodes failed and have no score ({reasons}), the last with: "
            f"{(self.error or '').rstrip('.')}. {self.stopped}Finished episodes are stored; the same command plays the rest."
        )


def missing(store: Store, job: Job) -> Missing:
    """List the (task, trial) without a finished episode, in fixed order; empty if the run is complete."""
    return store.missing(job.spec.run_id, job.tasks, job.n_trials)


def collect(
    store: Store,
    engine: Engine,
    jobs: Sequence[Job],
    *,
    concurrency: int,
    title: str,
    position: int = 0,
    limit: FailureLimit = FailureLimit(),
    prices: Prices | None = None,
    is_shared: bool = False,
    order: Order | None = None,
) -> Played:
    """Play and grade the missing episodes of all jobs on an engine that serves their checkpoint; returns their counts.

    Raises ConfigError, before anything is stored, if a task does not fit into the context, and EngineError (or
    EnvironmentFault) if most or all episodes fail; finished episodes are stored, and the same call resumes. What the
    episodes took is added to the manifests of their runs, also after an error.

    position : row of the progress bar among those of other processes.
    prices : for the cost in the manifests; None: no cost.
    is_shared : whether other engines of this command may be on the same cards.
    order : of the episodes; None: tasks within trials within jobs, as listed.
    """
    require_room(store, engine, jobs)
    description = engine.describe()
    account = Account(
        [job.spec.run_id for job in jobs], device=description.get("device"), is_shared=is_shared, prices=prices
    )
    # The account is written last, when the writers have released their locks.
    with _recorded(store, jobs, account), contextlib.ExitStack() as stack:
        writers = {
            job.spec.run_id: stack.enter_context(
                store.writer(job.spec, labels=job.labels, engine=description, tasks=job.tasks)
            )
            for job in jobs
        }
        todo = [Left(job, missing(store, job)) for job in jobs]
        # Made when a worker takes it, because there may be a million.
        items = (Item(job=job, task=task, trial=trial) for job, left in todo for task, trial in left)
        _grade_ungraded(jobs, writers)
        account.start()
        pool = _Pool(engine, writers, account, limit)
        n_items, ordered = sum(len(left) for _, left in todo), items if order is None else order(todo)
        played = asyncio.run(pool.play(ordered, n_items, concurrency, title, position))
    return played


@contextlib.contextmanager
def _recorded(store: Store, jobs: Sequence[Job], account: Account) -> Iterator[None]:
    """Add to the manifests what the block took, and check the repeats of complete runs.

    An error of the block is raised rather than one of this.
    """
    try:
        yield
    except BaseException as error:
        try:
            _record(store, jobs, account, are_complete=False)
        except StoreError as second:
            error.add_note(str(second))
        raise
    _record(store, jobs, account, are_complete=True)


def _record(store: Store, jobs: Sequence[Job], account: Account, *, are_complete: bool) -> None:
    taken, repeats = account.collected({job.spec.run_id: job.tool_syntax for job in jobs}), {}
    try:
        for job in jobs if are_complete else ():
            repeats[job.spec.run_id] = _repeats(store, job)
    finally:  # a damaged file, too
        for job in jobs:
            store.record(job.spec.run_id, taken.get(job.spec.run_id), repeats.get(job.spec.run_id))


def require_room(store: Store, engine: Engine, jobs: Sequence[Job]) -> None:
    """Raise ConfigError if the first prompt and reply of a task that is still to be played exceed the context.

    Such a task could not be solved by any model: its score would be about the context.
    """
    for job in jobs:
        room = job.spec.context - job.spec.sampling.max_tokens
        lengths: dict[str, int] = {}
        for task in missing(store, job).tasks():
            with contextlib.suppress(RequestRefused):  # its episode will say why
                lengths[task.id] = engine.n_prompt_tokens(first_request(job, task))
        too_long = [task_id for task_id, length in lengths.items() if length > room]
        if too_long:
            worst = max(too_long, key=lengths.__getitem__)
            raise ConfigError(
                f"{len(too_long)} of {len(lengths)} tasks of `{job.spec.benchmark}` do not fit into the context with "
                f"scaffold `{job.spec.scaffold}`: the first prompt of `{worst}` has {lengths[worst]} tokens and its "
                f"reply may have {job.spec.sampling.max_tokens}; `engine.context` is {job.spec.context}. Set it "
                f"to at least {lengths[worst] + job.spec.sampling.max_tokens}, or lower `sampling.max_tokens`."
            )


def first_request(job: Job, task: Task) -> Request:
    """Return the request of the first turn of an episode."""
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
        store.record(job.spec.run_id, repeats=_repeats(store, job))


def _repeats(store: Store, job: Job) -> RepeatCheck:
    return repeat_check(store, job.spec.run_id, job.spec.sampling.temperature)


def _grade_ungraded(jobs: Sequence[Job], writers: Mapping[str, RunWriter]) -> None:
    for job in jobs:
        by_id = {task.id: task for task in job.tasks}
        writer = writers[job.spec.run_id]
        for episode in writer.unscored(job.benchmark.grader):
            writer.append_score(_grade(job, by_id[episode.task_id], episode))


def _grade(job: Job, task: Task, episode: Episode) -> Score:
    """Grade an episode; one whose grader fails while it repeats the attempt is unscored."""
    try:
        return job.benchmark.grade(task, episode)
    except EnvironmentFault as fault:
        return Score.of(episode, job.benchmark.grader, None, {"error": str(fault)})


class _Pool(NamedTuple):
    """Plays episodes side by side on one engine."""

    engine: Engine
    writers: Mapping[str, RunWriter]
    account: Account
    limit: FailureLimit

    async def play(self, queue: Iterator[Item], n_items: int, concurrency: int, title: str, position: int) -> Played:
        """Play, grade and store all items, unless too many fail."""
        played, n_tokens, is_down = Played(), 0, False
        started = time.monotonic()

        with progress.bar(n_items, title, "episode", position=position) as bar:

            async def work() -> None:
                nonlocal n_tokens, is_down
                for item in queue:  # shared by all workers: each takes the next one when it is free
                    episode = await _play_one(self.engine, item)
                    score = None
                    if episode.stop_reason not in UNSCORED_REASONS:
                        score = _grade(item.job, item.task, episode)
                    self.writers[item.job.spec.run_id].append(episode, score)
                    self.account.add(episode)
                    played.add(item.job.spec.scaffold, episode, score)
                    n_tokens += episode.n_completion_tokens
                    n_failed = played.failures.total()
                    rate = n_tokens / (time.monotonic() - started)
                    bar.set_postfix_str(
                        f"{rate:,.0f} new tokens/s" + (f", {n_failed} failed" if n_failed else ""), refresh=False
                    )
                    bar.update()
                    # Single failures are recorded and the run continues; if most episodes fail, the set-up is down.
                    if episode.stop_reason in UNSCORED_REASONS:
                        is_down |= self.limit.is_exceeded(n_failed, played.n_episodes)
                    if is_down:
                        return

            await asyncio.gather(*(work() for _ in range(min(concurrency, n_items))))
        if is_down:
            played.stopped = (
                f"The run was stopped: more than {self.limit.share:.0%} and more than {self.limit.least} failed, the limits "
                f"`engine.max_failed` and `engine.min_failures`. "
            )
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
                request = turns.throw(EpisodeTimeout(f"it took longer than `engine.episode_s`, {job.episode_s:g} s."))
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
