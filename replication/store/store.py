"""A folder of runs: open a run for writing; read episodes, trajectories and scores."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from replication import files
from replication.errors import StoreError
from replication.records import (
    Collected,
    Episode,
    Json,
    Labels,
    Manifest,
    Message,
    RepeatCheck,
    RunSpec,
    Session,
    Task,
    TaskEntry,
    to_json,
)
from replication.store import table
from replication.store.columns import Attempts, Grades, Missing
from replication.store.frames import RAW, read_episodes
from replication.store.lines import EPISODES, FRAMES, SCORES, Key, read_details, read_seeds
from replication.store.locking import AppendFile, as_store_error, locked
from replication.store.reader import read_record
from replication.store.writer import RunWriter

if TYPE_CHECKING:
    import pandas as pd

MANIFEST = "manifest.json"
SCAN_LINES = 20_000
"""New lines of a run after which its writer adds a part to the scan: most that are read again after it was killed."""
_RUN_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")


class Store:
    """All runs under one folder. Reading needs no lock and may happen while a run is written."""

    def __init__(self, root: Path | str, *, scan_lines: int = SCAN_LINES):
        self.root = Path(root)
        self._scan_lines = scan_lines
        self._parsed: dict[str, tuple[tuple[int, int, int], Attempts]] = {}
        self._manifests: dict[str, tuple[tuple[int, int, int], Manifest]] = {}

    @contextlib.contextmanager
    def writer(
        self, spec: RunSpec, labels: Labels, engine: Mapping[str, Json], tasks: Sequence[Task]
    ) -> Iterator[RunWriter]:
        """Open a run for appending: lock it, truncate a partial last line, update its manifest.

        labels : labels of the checkpoint; model and revision must be those of `spec`.
        engine : engine, versions and resolved flags; recorded as a new session if they differ from the last one.
        tasks : the run's tasks from now on. Stored episodes of other tasks, or of these with other content, stay on
            disk but are not read until their tasks return.
        """
        if (labels.model, labels.revision) != (spec.model, spec.revision):
            raise StoreError(
                f"the labels are of `{labels.model}` at `{labels.revision}`, the run of `{spec.model}` at "
                f"`{spec.revision}`. Give both the same model and revision."
            )
        folder = self._folder(spec.run_id)
        entries = _task_entries(tasks)
        with contextlib.ExitStack() as stack:
            with as_store_error(folder):
                folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(locked(folder))
                files.remove_temporary(folder)
                opened = [stack.enter_context(AppendFile(folder / name)) for name in (EPISODES, SCORES, FRAMES, RAW)]
                episodes, scores, frames, raw = opened
                writer = RunWriter(
                    spec.run_id,
                    entries,
                    episodes=episodes,
                    scores=scores,
                    frames=frames,
                    raw=raw,
                    scan_lines=self._scan_lines,
                )
                self._update_manifest(spec, labels, engine, entries, n_lines=writer.n_lines)
            try:
                yield writer
            except BaseException as error:
                try:
                    writer.flush()
                except StoreError as second:
                    error.add_note(str(second))
                raise
            writer.flush()

    def require_unlocked(self, run_id: str) -> None:
        """Raise StoreError if another process is writing this run; asked before an engine is started for it."""
        folder = self._folder(run_id)
        if folder.exists():
            with as_store_error(folder), locked(folder):
                pass

    def _update_manifest(
        self,
        spec: RunSpec,
        labels: Labels,
        engine: Mapping[str, Json],
        tasks: Mapping[str, TaskEntry],
        *,
        n_lines: int,
    ) -> None:
        exists = (self._folder(spec.run_id) / MANIFEST).exists()
        old = self.manifest(spec.run_id) if exists else None
        sessions = old.sessions if old else ()
        if not sessions or sessions[-1].engine != to_json(engine):
            sessions = (*sessions, Session(first_line=n_lines + 1, engine=to_json(engine)))
        new = Manifest(
            run_id=spec.run_id, spec=spec, labels=labels, tasks=tasks, sessions=sessions,
            checks=old.checks if old else {}, collected=old.collected if old else (),
        )  # fmt: skip
        if new != old:
            self._write_manifest(new)

    def _write_manifest(self, manifest: Manifest) -> None:
        path = self._folder(manifest.run_id) / MANIFEST
        with as_store_error(path):
            files.write_json(path, to_json(manifest), fsync=True)

    def record(self, run_id: str, taken: Collected | None = None, repeats: RepeatCheck | None = None) -> None:
        """Write what a command took, under `collected`, and the check of repeats, under `checks`, into a run's manifest.

        Takes the run's lock, unless there is nothing new.
        """
        new_checks = {} if repeats is None else {"repeats": repeats}
        if taken is None and new_checks.items() <= self.manifest(run_id).checks.items():
            return
        folder = self._folder(run_id)
        with as_store_error(folder), locked(folder):
            manifest = self.manifest(run_id)
            entries = manifest.collected if taken is None else (*manifest.collected, taken)
            if taken is not None and len(entries) > 1 and entries[-2].same_circumstances(taken):
                entries = (*entries[:-2], entries[-2].plus(taken))
            checks = {**manifest.checks, **new_checks}
            self._write_manifest(dataclasses.replace(manifest, checks=checks, collected=entries))

    def runs(self) -> list[str]:
        """List the run_ids, sorted."""
        return sorted(p.parent.name for p in self.root.glob(f"*/{MANIFEST}") if _RUN_ID.fullmatch(p.parent.name))

    def manifest(self, run_id: str) -> Manifest:
        """Read the manifest of a run: spec, labels, tasks, engines and checks."""
        path = self._folder(run_id) / MANIFEST
        try:
            signature = _signature(path)
            if self._manifests.get(run_id, (None,))[0] != signature:
                remedy = "Run the study again with another `paths.results`, or move this run's folder away."
                self._manifests[run_id] = (signature, read_record(path, Manifest, remedy=remedy))
        except FileNotFoundError:
            runs = self.runs()
            raise StoreError(
                f"no run `{run_id}` in the store `{self.root}`, which has "
                f"{len(runs)} runs{': ' if runs else ''}{', '.join(f'`{r}`' for r in runs[:5])}"
                f"{', ...' if len(runs) > 5 else ''}. Collect it first, or name another store."
            ) from None
        manifest = self._manifests[run_id][1]
        if manifest.run_id != run_id:
            raise StoreError(f"`{path}` belongs to run `{manifest.run_id}`. Rename the folder to it.")
        return manifest

    def finished(self, run_id: str) -> set[Key]:
        """Read the keys of the episodes that are not played again; empty for a run that was never started. Needs no lock."""
        attempts = self._last_attempts(run_id)
        return set(attempts.take(~attempts.failed()).keys())

    def missing(self, run_id: str, tasks: Sequence[Task], n_trials: int) -> Missing:
        """List the (task, trial) without a finished episode, trial by trial. Needs no lock."""
        return Missing(self._last_attempts(run_id), tasks, n_trials)

    def episodes(self, run_id: str, trajectories: bool = False) -> Iterator[Episode]:
        """Read the episodes of the current tasks, sorted by task and trial.

        trajectories : read the messages too; otherwise `Episode.trajectory` is empty.
        """
        attempts = self.current_attempts(run_id)
        if len(attempts.rows):
            yield from read_episodes(self._folder(run_id), attempts.places(), trajectories)

    def seeds(self, run_id: str) -> Iterator[list[int]]:
        """Read the seeds of the finished episodes of the current tasks, sorted by task and trial."""
        attempts = self.current_attempts(run_id)
        finished = attempts.take(~attempts.failed())
        if len(finished.rows):
            yield from read_seeds(self._folder(run_id) / EPISODES, finished.rows["offset"].tolist())

    def trajectory(self, run_id: str, task_id: str, trial: int) -> tuple[Message, ...]:
        """Read the messages of one episode: one frame, not the file."""
        task, attempts = self.manifest(run_id).tasks.get(task_id), self._last_attempts(run_id)
        code = attempts.tasks.get((task_id, task.hash), -1) if task else -1
        found = attempts.take((attempts.rows["task"] == code) & (attempts.rows["trial"] == trial))
        if not len(found.rows):
            raise StoreError(
                f"run `{run_id}` has no episode of task `{task_id}`, trial {trial}, under the task's present content. "
                f"Run the study again to play it."
            )
        (episode,) = read_episodes(self._folder(run_id), found.places(), trajectories=True)
        return episode.trajectory

    def score_table(
        self, run_ids: Iterable[str] | None = None, grader: str | None = None, details: Sequence[str] = ()
    ) -> pd.DataFrame:
        """Build the table that every analysis starts from: one row per episode, finished or failed.

        run_ids : all runs when None.
        grader : grader whose scores to read; None means each run's latest. Graders are never mixed in one run, so an
            episode that this grader has not graded is unscored.
        details : numbers of `Score.details` to add, one further column each; NaN where a score has none.

        Returns the columns `table.COLUMNS`, sorted by run_id, task_id and trial; the order of completion does not matter.
        `value` is NaN for unscored; `grader` is None where there is no such score. Text columns are objects with None for
        missing; `training_seed` and `level` are Int64 with NA for missing; counts are int64.
        """
        selected = self.runs() if run_ids is None else sorted(set(run_ids))
        return table.score_table(self, selected, grader=grader, details=details)

    def _folder(self, run_id: str) -> Path:
        if not isinstance(run_id, str) or not _RUN_ID.fullmatch(run_id):
            raise StoreError(
                f"`run_id` becomes a folder name: letters, digits, `.`, `_` and `-` of ASCII, no dot at the start, "
                f"at most 200; got {run_id!r}. Take it from `RunSpec.run_id`, or rename the model."
            )
        return self.root / run_id

    def current_attempts(self, run_id: str) -> Attempts:
        """Return the last attempt at each episode of the manifest's tasks, sorted by task and trial."""
        return self._last_attempts(run_id).current(self.manifest(run_id).tasks)

    def has_repeats(self, run_id: str) -> bool:
        """Tell whether a task of a run has several trials."""
        task = self.current_attempts(run_id).rows["task"]  # sorted by task
        return bool((task[1:] == task[:-1]).any())

    def _last_attempts(self, run_id: str) -> Attempts:
        """Return the last attempt at each episode; parsed once per change of the file."""
        path = self._folder(run_id) / EPISODES
        signature = _signature(path) if path.exists() else (0, 0, 0)
        if self._parsed.get(run_id, (None,))[0] != signature:
            self._parsed.pop(run_id, None)
            self._parsed[run_id] = (signature, Attempts.read(path, run_id).last())
        return self._parsed[run_id][1]

    def grades(self, run_id: str) -> Grades:
        """Read all grades of a run, in the order in which they were given."""
        return Grades.read(self._folder(run_id) / SCORES, run_id)

    def details(self, run_id: str, offsets: Iterable[int]) -> Iterator[Mapping[str, Json]]:
        """Read the details of scores at these offsets; empty for offset -1."""
        return read_details(self._folder(run_id) / SCORES, offsets)


def _signature(path: Path) -> tuple[int, int, int]:
    stat = path.stat()
    return (stat.st_ino, stat.st_size, stat.st_mtime_ns)


def _task_entries(tasks: Sequence[Task]) -> dict[str, TaskEntry]:
    entries = {task.id: _task_entry(task) for task in tasks}
    if len(entries) != len(tasks):
        raise ValueError(f"`tasks` must have distinct ids; got {len(tasks)} tasks with {len(entries)} ids.")
    return entries


def _task_entry(task: Task) -> TaskEntry:
    attributes = task.attributes
    return TaskEntry(hash=task.content_hash, level=attributes.get("level"), cluster=attributes.get("cluster"))
