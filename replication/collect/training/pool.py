"""Training runs side by side in worker processes, with one progress bar."""

import contextlib
import functools
import os
import sys
import time
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_context
from multiprocessing.queues import Queue
from pathlib import Path
from threading import Thread
from typing import NamedTuple

from replication import files, processes, settings
from replication.collect import processor, progress
from replication.collect.training import tracking
from replication.collect.training.curricula import Progress
from replication.collect.training.documents import Counts, add_counts
from replication.collect.training.runs import (
    TrainingRun,
    execute,
    execute_stack,
    read_documents,
    read_finished,
    state_file,
)
from replication.errors import ReplicationError, TrainingError
from replication.store.locking import locked

REPORT_S = 0.2
"""Least time between two reports of a run."""

POLL_S = 0.5
"""Time between two looks for the state that a run waits for."""

_worker_queue: "Queue | None" = None
"""In a worker: queue for its progress reports. A queue cannot be sent with a task, only be inherited when the process is
spawned, so `_initialize` sets it once per worker. None in the main process."""


class Summary(NamedTuple):
    """Outcome of `train_all`."""

    n_runs: int
    """All runs of the list, including those that were finished before."""
    n_trained: int
    wall_s: float
    documents: Counts
    """Of all runs together."""

    def text(self) -> str:
        """Describe the outcome in one line."""
        if not self.n_runs:
            return "nothing to train in this study"
        if not self.n_trained:
            return f"all {self.n_runs} training runs are finished"
        return f"{self.n_trained} training runs in {self.wall_s:.0f} s"

    def left_out(self) -> list[str]:
        """Describe each corpus of which documents were too long."""
        return [
            f"WARNING, {n['too_long']:,} of {n['drawn']:,} documents of `{name}` ({n['too_long'] / n['drawn']:.1%}) are "
            f"longer than `engine.context`, or their replies than `max_new_tokens`, and were left out"
            for name, n in sorted(self.documents.items())
            if n["too_long"]
        ]


def train_all(
    runs: list[tuple[TrainingRun, Path]],
    *,
    workers: int,
    tracked: settings.Tracking,
    results: Path,
    stack: int = 1,
    text_workers: int = 0,
) -> Summary:
    """Execute the unfinished runs of this list, each in its folder, and log them to wandb.

    A run whose first phases are all phases of another run in the list continues from that run's checkpoint, after that
    run has finished. One that differs from a longer run in the budget of its last phase only resumes from a state that
    the longer one saves. Finished runs are recognised by identity and are not trained again. The first failure stops
    all, and so does a run that another process is training.

    workers : processes side by side. stack : runs in one process at most, where the implementation can stack them.
    text_workers : processes that make texts for a stack. tracked, results : see `tracking.log_training`.
    """
    tracking.check(tracked)
    todo = [(run, folder) for run, folder in runs if read_finished(run, folder) is None]
    started = time.monotonic()
    if todo:
        tracking.note_unlogged(tracked, [folder for _, folder in todo])
        _train(todo, {run.identity: folder for run, folder in runs}, workers, stack, text_workers)
    tracking.log_unlogged(tracked, results, [folder for _, folder in runs])
    documents: Counts = {}
    for _, folder in runs:
        for counts in read_documents(folder):
            add_counts(documents, counts)
    return Summary(len(runs), len(todo), time.monotonic() - started, documents)


def _train(
    todo: list[tuple[TrainingRun, Path]], folders: dict[str, Path], workers: int, stack: int, text_workers: int
) -> None:
    for advice in sorted({processor.advice(run.device, run.recipe.precision) for run, _ in todo} - {""}):
        print(f"WARNING: {advice}", file=sys.stderr, flush=True)
    if any(run.recipe.threads > 1 for run, _ in todo):
        # Read by the workers' OpenMP: threads that spin while they wait slow each other down where cores are shared.
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    queue: Queue = get_context("spawn").Queue()
    bar = Thread(target=_show_progress, args=(queue, [run for run, _ in todo]), daemon=True)
    bar.start()
    try:
        with processes.workers(min(workers, len(todo)), _initialize, (queue,)) as pool:
            _execute_in_order(pool, todo, folders, workers, stack, text_workers)
    except BaseException:
        queue.cancel_join_thread()  # a killed worker may hold the lock of the queue for ever
        raise
    queue.put(None)
    bar.join()


class Item(NamedTuple):
    """A run to train."""

    run: TrainingRun
    folder: Path
    start: Path | None
    """Folder of the run that it continues."""
    branches: tuple[tuple[TrainingRun, Path], ...] = ()
    """Runs, and their folders, that it saves a state for; see `TrainingRun.is_branch_of`."""


def _execute_in_order(
    pool: ProcessPoolExecutor,
    todo: list[tuple[TrainingRun, Path]],
    folders: dict[str, Path],
    workers: int,
    stack: int,
    text_workers: int,
) -> None:
    """Give the workers a run each, in the order of `_by_seed`, those that continue another once that is finished.

    A run that takes the same steps as a longer one until it decays begins when that one has saved the state for it.

    folders : by identity, of all runs that may be continued.
    """
    prefixes = {folder: run.longest_prefix(folders) for run, folder in todo}
    longer = _longer(todo, prefixes)
    starts = {folder: folders[prefix.identity] if prefix else None for folder, prefix in prefixes.items()}
    # By folder: two arms of the same phases have one identity.
    unfinished = {folder for _, folder in todo}
    waiting = _by_seed(todo, prefixes, longer)
    branches = {path: tuple((run, own) for run, own in waiting if longer.get(own) == path) for _, path in todo}

    def is_ready(run: TrainingRun, folder: Path) -> bool:
        branches_off = longer.get(folder) in unfinished and not state_file(run, folder).exists()
        return starts[folder] not in unfinished and not branches_off

    futures: dict[Future, list[Item]] = {}
    while waiting or futures:
        ready = [Item(run, path, starts[path], branches[path]) for run, path in waiting if is_ready(run, path)]
        for items in _stacks(ready, stack)[: workers - len(futures)]:
            futures[pool.submit(processes.call, _work, items, text_workers)] = items
            begun = {item.folder for item in items}
            waiting = [item for item in waiting if item[1] not in begun]
        idle = len(futures) < workers and any(folder in longer for _, folder in waiting)
        for future in wait(futures, POLL_S if idle else None, FIRST_COMPLETED).done:
            items = futures.pop(future)
            _check(future, ", ".join(item.run.name for item in items))
            unfinished.difference_update(item.folder for item in items)


def _longer(todo: list[tuple[TrainingRun, Path]], prefixes: Mapping[Path, TrainingRun | None]) -> dict[Path, Path]:
    """Return for each run that waits for the state of a longer one the folder of that one; by folder.

    The longer run takes all steps up to that state itself: it does not resume, neither from its own state nor from that of
    one that is longer still, and does not start from a checkpoint behind it.
    """

    def passes(run: TrainingRun, longer: TrainingRun, folder: Path) -> bool:
        prefix = prefixes[folder]
        starts_behind = prefix is not None and len(prefix.phases) >= len(run.phases)
        return run.is_branch_of(longer) and not starts_behind and not state_file(longer, folder).exists()

    candidates = {folder: [item for item in todo if passes(run, *item)] for run, folder in todo}
    found = {}
    for folder, others in candidates.items():
        unbranched = [item for item in others if not candidates[item[1]]]
        if unbranched:
            found[folder] = min(unbranched, key=lambda item: len(item[0].phases))[1]
    return found


def _by_seed(
    todo: list[tuple[TrainingRun, Path]], prefixes: Mapping[Path, TrainingRun | None], longer: Mapping[Path, Path]
) -> list[tuple[TrainingRun, Path]]:
    """Sort by seed, so that a study that is stopped early has all arms of the first seeds.

    Of a seed, runs that others wait for come first, then those that take long, so that a short one finishes last.

    prefixes : by folder, what each run continues. longer : see `_longer`.
    """
    continued = {prefix.identity for prefix in prefixes.values() if prefix}
    awaited = {folder for run, folder in todo if run.identity in continued} | set(longer.values())

    def key(item: tuple[TrainingRun, Path]) -> tuple[int, bool, float]:
        (run, folder), shape = item, item[0].shape
        prefix = prefixes[folder]
        budgets = [phase.n_tokens for phase in run.phases[len(prefix.phases) if prefix else 0 :]]
        left = run.recipe.decay_share * budgets[-1] if folder in longer else sum(budgets)
        # Seconds are about in proportion to this.
        return run.training_seed, folder not in awaited, -left * shape.layers * shape.hidden**2

    return sorted(todo, key=key)


def _stacks(ready: list[Item], n: int) -> list[list[Item]]:
    """Divide runs into stacks of at most `n` of one shape and recipe, in their order; others are alone."""
    stacks: list[list[Item]] = []
    open_stacks: dict[object, list[Item]] = {}
    for item in ready:
        run = item.run
        key = (run.shape, run.device, run.recipe, run.base is None) if run.is_stackable else run.name
        own = open_stacks.get(key)
        if own is None or len(own) >= n:
            own = open_stacks[key] = []
            stacks.append(own)
        own.append(item)
    return stacks


def _check(future: Future, names: str) -> None:
    try:
        future.result()
    except ReplicationError as error:
        raise type(error)(f"training run `{names}` failed: {error}") from error
    except OSError:
        raise
    except BrokenProcessPool:
        raise TrainingError(
            f"the process that trained `{names}`, or one beside it, was killed, for example for lack of memory. The same "
            f"command resumes. Lower `training.workers` if it recurs."
        ) from None
    except Exception as error:
        raise TrainingError(f"training run `{names}` failed: {type(error).__name__}: {error}") from error


def _initialize(queue: Queue) -> None:
    global _worker_queue
    _worker_queue = queue


def _work(items: list[Item], text_workers: int) -> None:
    """Train a run, or several in a stack."""
    queue = _worker_queue
    assert queue is not None  # `_initialize` ran in this process.

    latest: dict[str, float] = {}

    def report(run: TrainingRun, progress: Progress) -> None:
        """Send what the bar shows; a small model takes sixty steps per second."""
        now = time.monotonic()
        is_end = progress.n_tokens >= sum(phase.n_tokens for phase in run.phases)
        if is_end or now - latest.get(run.name, 0.0) >= REPORT_S:
            latest[run.name] = now
            queue.put((run.name, progress))

    with contextlib.ExitStack() as held:
        for item in items:
            held.enter_context(locked(item.folder))
            files.remove_temporary(item.folder)
        # Another command may have trained it since this one started.
        missing = [item for item in items if read_finished(item.run, item.folder) is None]
        if missing and missing[0].run.is_stackable:
            execute_stack([item[:3] for item in missing], report, text_workers)
        elif missing:
            run, folder, start, branches = missing[0]
            execute(run, folder, functools.partial(report, run), start, branches)


def _show_progress(queue: Queue, runs: list[TrainingRun]) -> None:
    """Draw the bar from reports of (run name, progress) until a None arrives."""
    total = sum(phase.n_tokens for run in runs for phase in run.phases)
    latest: dict[str, Progress] = {}
    with progress.bar(total, f"train {len(runs)} runs", "token", scale=True) as bar:
        while (item := queue.get()) is not None:
            name, report = item
            latest[name] = report
            bar.n = min(total, sum(p.n_tokens for p in latest.values()))
            bar.set_postfix_str(f"{name.rsplit('-', 1)[0]} {report.phase} loss {report.loss:.3f}", refresh=False)
            bar.update(0)
        bar.refresh()
