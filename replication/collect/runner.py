"""RunSpec -> missing episodes and scores -> store: what is there is kept, what is missing is played, then graded.

One call plays all runs of one checkpoint in one pool, so that the batch stays full across benchmarks, scaffolds and
trials. The order of work is fixed; results do not depend on the order of completion.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from replication.collect import progress
from replication.collect.episodes import play
from replication.collect.interfaces import Benchmark, Engine, Scaffold
from replication.errors import ConfigError, EngineError
from replication.records import UNSCORED_REASONS, Episode, Json, RunSpec, Task, canonical_json
from replication.store.store import RunWriter, Store

RETRIES = 2
"""Further attempts of one turn when the engine refused it; the same request with the same seed."""


Scores = Mapping[str, list[list[float | None]]]
"""By run_id: per task, in the order of the task list, the scores of its trials; None is unscored."""

Stop = Callable[[str, Scores], str]
"""Looks at a group's scores so far: `continue`, or why to stop. Must say the same about the same scores."""


@dataclass(frozen=True, kw_only=True)
class Job:
    """One run of one checkpoint: which tasks, how often, with which parts."""

    spec: RunSpec
    labels: Mapping[str, Json]
    benchmark: Benchmark
    scaffold: Scaffold
    tasks: Sequence[Task]
    n_trials: int


@dataclass(frozen=True, kw_only=True)
class Item:
    """One episode to play."""

    job: Job
    task: Task
    trial: int


def missing(store: Store, job: Job) -> list[tuple[Task, int]]:
    """List what is still to be played, in fixed order; empty means the run is complete."""
    finished = store.finished(job.spec.run_id)
    return [
        (task, trial)
        for trial in range(job.n_trials)
        for task in job.tasks
        if (task.id, task.content_hash, trial) not in finished
    ]


def collect(store: Store, engine: Engine, jobs: Sequence[Job], *, concurrency: int, title: str, line: int = 0) -> int:
    """Play and grade what is missing of all jobs on an engine that serves their checkpoint; returns the number played.

    Raises EngineError when the engine is lost; everything finished by then is stored, and the same call goes on.
    `line` is the place of the progress bar among those of other processes.
    """
    with contextlib.ExitStack() as stack:
        writers = {
            job.spec.run_id: stack.enter_context(
                store.writer(job.spec, labels=job.labels, manifest=engine.describe(), tasks=job.tasks)
            )
            for job in jobs
        }
        items = [Item(job=job, task=task, trial=trial) for job in jobs for task, trial in missing(store, job)]
        _grade_old(jobs, writers)
        n_played = asyncio.run(_play_all(engine, items, writers, concurrency, title, line))
    for job in jobs:
        _check_repeats(store, job)
    return n_played


def collect_in_blocks(
    store: Store,
    groups: Mapping[str, Sequence[Job]],
    *,
    block: int,
    play_part: Callable[[list[Job]], int],
    stop: Stop,
) -> dict[str, int]:
    """Play groups of jobs by blocks of tasks until `stop` says so or tasks are out; returns how many each group was due.

    groups : by name, the jobs that are looked at together, all with the same tasks in the same order.
    play_part : plays and stores what is missing of these jobs, as `collect` does, swapping weights between checkpoints;
        called once per block with the jobs of all open groups that miss something, not at all when none does.
    stop : called for every open group after each block, also for blocks played earlier: the looks are made again from
        what is stored, so an interrupted run gives the identical ones.

    A job's tasks are those up to the end of the block, so tasks after the stop are in no manifest and no score table:
    they were never due, which is not unscored. A look waits for failures of the engine to be played again (EngineError);
    what broke in the environment is passed on as None.
    """
    _check_groups(groups, block)
    due = dict.fromkeys(groups, 0)
    still = list(groups)
    while still:
        parts = {name: [replace(job, tasks=job.tasks[: due[name] + block]) for job in groups[name]] for name in still}
        todo = [job for jobs in parts.values() for job in jobs if missing(store, job)]
        if todo:
            play_part(todo)
        for name, jobs in parts.items():
            due[name] = len(jobs[0].tasks)
            decision = stop(name, {job.spec.run_id: scores_so_far(store, job) for job in jobs})
            if decision != "continue" or due[name] == len(groups[name][0].tasks):
                still.remove(name)
    return due


def scores_so_far(store: Store, job: Job) -> list[list[float | None]]:
    """Read the scores of a job's tasks and trials by its present grader; raises EngineError where one was not played."""
    table = store.score_table([job.spec.run_id])
    if (table["value"].notna() & (table["grader"] != job.benchmark.grader)).any():
        regrade(store, job)
        table = store.score_table([job.spec.run_id], grader=job.benchmark.grader)
    rows = table[table["stop_reason"] != "engine_error"]
    keys = zip(rows["task_id"], rows["task_hash"], rows["trial"], strict=True)
    found = {key: None if value != value else float(value) for key, value in zip(keys, rows["value"], strict=True)}
    wanted = [[(task.id, task.content_hash, trial) for trial in range(job.n_trials)] for task in job.tasks]
    n_lacking = sum(key not in found for trials in wanted for key in trials)
    if n_lacking:
        raise EngineError(
            f"{n_lacking} episodes of run `{job.spec.run_id}` failed in the engine, and a look needs all of a block. "
            f"What was finished is stored; the same command plays the rest."
        )
    return [[found[key] for key in trials] for trials in wanted]


def _check_groups(groups: Mapping[str, Sequence[Job]], block: int) -> None:
    if block < 1:
        raise ConfigError(f"a block must have at least 1 task; got {block}.")
    for name, jobs in groups.items():
        orders = {tuple((task.id, task.content_hash) for task in job.tasks) for job in jobs}
        if len(orders) != 1 or () in orders:
            raise ConfigError(
                f"the jobs of group `{name}` must have the same tasks in the same order, at least one; got {len(orders)} "
                f"different lists."
            )


def regrade(store: Store, job: Job) -> None:
    """Grade the episodes of a complete run that have no score by the benchmark's present grader; needs no engine."""
    manifest = store.manifest(job.spec.run_id)["sessions"][-1]["engine"]
    with store.writer(job.spec, labels=job.labels, manifest=manifest, tasks=job.tasks) as writer:
        _grade_old([job], {job.spec.run_id: writer})
    if "repeats" not in store.manifest(job.spec.run_id)["checks"]:  # killed between the last episode and the check
        _check_repeats(store, job)


def _check_repeats(store: Store, job: Job) -> None:
    check = repeat_check(store, job.spec.run_id, job.spec.sampling.temperature)
    store.record_check(job.spec.run_id, "repeats", check)


def _grade_old(jobs: Sequence[Job], writers: Mapping[str, RunWriter]) -> None:
    for job in jobs:
        by_id = {task.id: task for task in job.tasks}
        writer = writers[job.spec.run_id]
        for episode in list(writer.unscored(job.benchmark.grader)):
            writer.append_score(job.benchmark.grade(by_id[episode.task_id], episode))


async def _play_all(
    engine: Engine, items: list[Item], writers: Mapping[str, RunWriter], concurrency: int, title: str, line: int
) -> int:
    queue: Iterator[Item] = iter(items)
    played = failed = n_tokens = 0
    started = time.monotonic()
    lost: EngineError | None = None

    with progress.bar(len(items), title, "episode", position=line) as bar:

        async def work() -> None:
            nonlocal played, failed, n_tokens, lost
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
                    # A few refused requests are data; an engine that fails for everyone is gone.
                    if failed > max(10, played // 2):
                        lost = EngineError(
                            f"{failed} of {played} episodes failed in the engine, the last with: {episode.error} "
                            f"What was finished is stored; the same command plays the rest."
                        )
                if lost is not None:
                    return

        await asyncio.gather(*(work() for _ in range(min(concurrency, len(items)))))
    if lost is not None:
        raise lost
    return played


async def _play_one(engine: Engine, item: Item) -> Episode:
    job = item.job
    turns = play(job.spec, item.task, item.trial, job.benchmark.start(item.task), job.scaffold)
    try:
        request = next(turns)
        while True:
            for attempt in range(RETRIES + 1):
                try:
                    reply = await engine.generate(request)
                    break
                except EngineError as error:
                    if attempt == RETRIES:
                        request = turns.throw(error)
            else:
                continue
            request = turns.send(reply)
    except StopIteration as end:
        return end.value


def repeat_check(store: Store, run_id: str, temperature: float) -> dict[str, Json]:
    """Say whether repeated trials of a task differ when sampling and agree when greedy, and whether seeds are distinct.

    A harness that sends one seed for all repeats reports no run-to-run noise at all; this is the check for it.
    """
    by_task: dict[str, list[str]] = {}
    seeds: list[int] = []
    for episode in store.episodes(run_id, trajectories=True):
        if episode.stop_reason in UNSCORED_REASONS:
            continue
        said = "\x00".join(m.content for m in episode.trajectory if m.role == "assistant")
        by_task.setdefault(episode.task_id, []).append(said)
        seeds += episode.seeds
    repeated = [texts for texts in by_task.values() if len(texts) > 1]
    n_differ = sum(len(set(texts)) > 1 for texts in repeated)
    return {
        "n_tasks_repeated": len(repeated),
        "n_tasks_where_trials_differ": n_differ,
        "n_seeds": len(seeds),
        "n_distinct_seeds": len(set(seeds)),
        "as_expected": not repeated or (n_differ == 0 if temperature == 0 else n_differ > 0),
    }


def engine_differences(store: Store, run_ids: Sequence[str]) -> list[str]:
    """List what differed between the engines that took part in these runs: a version or a default that changed on the way.

    They stand among the deviations next to each verdict; empty when one set-up collected everything.
    """
    seen: dict[str, set[str]] = {}
    sessions = [session["engine"] for run_id in run_ids for session in store.manifest(run_id)["sessions"]]
    settings = [dict(_flat(engine)) for engine in sessions]
    for key in {key for one in settings for key in one}:
        seen[key] = {one.get(key, "absent") for one in settings}
    return [
        f"engine `{key}` was not the same in all runs: {', '.join(sorted(values))}"
        for key, values in sorted(seen.items())
        if len(values) > 1
    ]


def _flat(value: Json, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix, canonical_json(value)
