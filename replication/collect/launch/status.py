"""The state of each line of a sweep: how much the store has of its checkpoint, and what its last attempt and queue say."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from replication import settings
from replication.collect import build, serve
from replication.collect.launch import manifest as manifests
from replication.collect.launch.manifest import Attempt, Line, Manifest, Waiting
from replication.errors import ConfigError, ReplicationError, StoreError, one_line
from replication.store import index

INTERRUPTED = (129, 130, 138, 143)
"""Exit codes after SIGHUP, SIGINT, SIGUSR1 and SIGTERM."""
OPEN = ("not started", "interrupted", "killed", "failed", "incomplete")
"""States of a line that a sweep starts again; the others are queued, running and done."""


@dataclass(frozen=True, kw_only=True)
class Progress:
    """How much the store has of one checkpoint."""

    n_planned: int
    """Episodes and predictions."""
    n_done: int = 0
    n_official: int = 0
    """Attempts at items of official harnesses; they are not among the episodes."""
    n_official_done: int = 0
    """Those of runs that are stored: a harness stores its run at its end."""
    n_failed: int = 0
    """Episodes that the set-up ended, not the model; they are played again."""
    complete: bool = False
    """Whether every run has all episodes and the check of its repeats, as `gather` requires, and harnesses stored theirs."""
    problem: str = ""
    """Why the checkpoint cannot be read; empty if it can, or is not trained yet."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """The state of one line."""

    line: Line
    state: str
    """done, running, queued, or one of `OPEN`."""
    progress: Progress
    attempt: Attempt | None
    left_s: float | None
    """Seconds until it ends at the rate of this attempt; None if that is unknown."""
    note: str


def progress(cfg: settings.Root, checkpoint: str) -> Progress:
    """Count the planned, finished and failed episodes of one checkpoint; it may be untrained."""
    n_official = build.n_harness_items(cfg, checkpoint)
    n_planned = (
        cfg.study.n_trials
        * len(cfg.scaffolds)
        * sum(choice.n_tasks for choice in cfg.benchmarks.values() if choice.protocol is None)
    )
    n_planned += cfg.probe.n_tasks * sum(choice.suite is not None for choice in cfg.benchmarks.values())
    try:
        if any(
            build.organism_name(run) == checkpoint and not _is_trained(cfg, run) for run in build.training_runs(cfg)
        ):
            return Progress(n_planned=n_planned, n_official=n_official)
        ((_, jobs),) = serve.assignments(cfg, [checkpoint])
        store, n_done, n_failed = serve.store_of(cfg), 0, 0
        stored = set(store.runs())
        planned = [index.planned_run(job.spec, job.tasks, job.n_trials) for job in jobs]
        ingested = [job.run for job in build.harness_jobs(cfg, [checkpoint])]
        n_official_done = sum(run.n_tasks * run.n_trials for run in ingested if run.spec.run_id in stored)
        for run in planned:
            n_done += len(run.tasks) * run.n_trials - len(store.missing(run.run_id, run.tasks, run.n_trials))
            if run.run_id in stored:
                n_failed += int(store.current_attempts(run.run_id).failed().sum())
    except ReplicationError as error:
        return Progress(n_planned=n_planned, n_official=n_official, problem=one_line(error))
    try:
        index.require_complete(store, cfg.study.name, [*planned, *(index.ingested_run(run.spec) for run in ingested)])
        complete = True
    except StoreError:
        complete = False
    n_planned = sum(len(run.tasks) * run.n_trials for run in planned)
    return Progress(
        n_planned=n_planned, n_done=n_done, n_official=n_official, n_official_done=n_official_done, n_failed=n_failed,
        complete=complete,
    )  # fmt: skip


def _is_trained(cfg: settings.Root, run: build.TrainingRun) -> bool:
    return build.read_finished(run, build.training_folder(cfg, run)) is not None


def rows(cfg: settings.Root, manifest: Manifest, queue: Mapping[int, Waiting]) -> list[Row]:
    """Return the state of every line.

    queue : by line, what a scheduler says of the jobs that wait for it.
    """
    return [_row(cfg, manifest, line, queue.get(line.line)) for line in manifest.lines]


def _row(cfg: settings.Root, manifest: Manifest, line: Line, queued: Waiting | None) -> Row:
    folder = manifest.folder_of(line)
    is_running = manifests.is_running(folder)  # before the store is read: a line that ends meanwhile is done
    attempt, counted = manifests.read_attempt(folder), progress(cfg, line.checkpoint)
    state, note = _state(attempt, counted, is_running, queued)
    if state == "failed":
        note = last_error(folder / manifests.LOG) or note
    left = None
    if state == "running" and attempt and counted.n_done > attempt.n_before and attempt.stage == "run":
        rate = (counted.n_done - attempt.n_before) / max(1e-3, time.time() - attempt.stage_started)
        left = (counted.n_planned - counted.n_done) / rate
    return Row(line=line, state=state, progress=counted, attempt=attempt, left_s=left, note=note or counted.problem)


def _state(attempt: Attempt | None, counted: Progress, is_running: bool, queued: Waiting | None) -> tuple[str, str]:
    if counted.complete and not is_running:
        return "done", ""
    if is_running and attempt:
        return "running", f"{attempt.stage or 'starting'} on {attempt.host}, job {attempt.job}"
    if is_running:
        return "running", "starting"
    if queued is not None:
        return "running" if queued.is_running else "queued", queued.note
    if attempt is None:
        return "not started", ""
    if attempt.ended is None:
        return "killed", f"job {attempt.job} on {attempt.host} ended without a word"
    if attempt.exit_code in INTERRUPTED:
        return "interrupted", f"{attempt.stage}, exit code {attempt.exit_code}"
    if attempt.exit_code:
        return "failed", f"{attempt.stage}, exit code {attempt.exit_code}"
    return "incomplete", "the study has changed since the job ended"


def last_error(log: Path) -> str:
    """Return the message of the last attempt in a line's log; empty if it left none."""
    if not log.exists():
        return ""
    for text in reversed(log.read_text(encoding="utf-8", errors="replace").splitlines()):
        if found := re.search(r"error \([A-Z]\w+\): .*", text):  # perhaps behind a progress bar, which ends no line
            return found[0]
        if text.startswith("line: "):  # the first line of the attempt
            return ""
    return ""


def report(manifest: Manifest, found: list[Row]) -> str:
    """Write the states as a table with a summary."""
    names = max((len(row.line.checkpoint) for row in found), default=0)
    has_official = any(row.progress.n_official for row in found)
    head = f"line  {'checkpoint':{names}}  {'state':11}  {'episodes':>15}  {'failed':>6}  {'left':>8}"
    head += f"  {'official items':>14}" if has_official else ""
    body = [
        f"{row.line.line:4}  {row.line.checkpoint:{names}}  {row.state:11}  "
        f"{f'{row.progress.n_done:,}/{row.progress.n_planned:,}':>15}  {row.progress.n_failed:6,}  {_time(row.left_s):>8}"
        + (f"  {f'{row.progress.n_official_done:,}/{row.progress.n_official:,}':>14}" if has_official else "")
        + (f"  {row.note}" if row.note else "")
        for row in found
    ]
    states = [row.state for row in found]
    counts = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    n_done, n_planned = (sum(getattr(row.progress, name) for row in found) for name in ("n_done", "n_planned"))
    total = f"{len(found)} lines: {counts}; {n_done:,} of {n_planned:,} episodes; time left {_time(left(found))}"
    if has_official:
        done, planned = (sum(getattr(row.progress, f"n_official{end}") for row in found) for end in ("_done", ""))
        total += f", without the official items, of which {done:,} of {planned:,} are stored"
    return "\n".join([str(manifest.path), head, *body, total])


def left(found: list[Row]) -> float | None:
    """Estimate the seconds until all lines are done from the mean time of those that ended well; None without one."""
    times = [
        row.attempt.ended - row.attempt.started
        for row in found
        if row.attempt and row.attempt.ended and row.attempt.exit_code == 0
    ]
    todo = sum(row.state != "done" for row in found)
    if not todo:
        return 0.0
    if not times:
        return None
    return todo * sum(times) / len(times) / max(1, sum(row.state == "running" for row in found))


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "unknown"
    for unit, size in (("s", 1), ("min", 60)):
        if seconds < 120 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds / 3600:.1f} h"


def require_trained(cfg: settings.Root) -> None:
    """Raise ConfigError, which names them, if checkpoints of the study are not trained or cannot be read."""
    runs = build.training_runs(cfg)
    lacking: list[str] = []
    reasons: list[str] = []
    for run in runs:
        try:
            if not _is_trained(cfg, run):
                lacking.append(f"`{run.name}`")
        except ReplicationError as error:
            lacking.append(f"`{build.organism_name(run)}`, which cannot be read")
            reasons.append(str(error))
    if lacking:
        listed = lacking[: index.MAX_LISTED]
        more = [f"and {len(lacking) - index.MAX_LISTED} more"] if len(lacking) > index.MAX_LISTED else []
        raise ConfigError(
            f"study `{cfg.study.name}` is incomplete: {len(lacking)} of {len(runs)} training runs are not finished: "
            f"{', '.join([*listed, *more])}. {reasons[0] + ' ' if reasons else ''}Train them with `python -m replication "
            f"train study={cfg.study.name}`, or as jobs with `python -m replication sweep study={cfg.study.name}`."
        )
