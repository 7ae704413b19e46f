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
from replication.store.lines import (
    EPISODES,
    FRAMES,
    SCORES,
    Attempt,
    Grade,
    Key,
    read_episodes,
    read_frame,
    read_lines,
)
from replication.store.locking import AppendFile, as_store_error, locked
from replication.store.reader import read_record
from replication.store.writer import RunWriter

if TYPE_CHECKING:
    import pandas as pd

MANIFEST = "manifest.json"
_RUN_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")


class Store:
    """All runs under one folder. Reading needs no lock and may happen while a run is written."""

    def __init__(self, root: Path | str):
        self.root = Path(root)
        self._parsed: dict[str, tuple[tuple[int, int, int], dict[Key, Attempt]]] = {}
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
                opened = [stack.enter_context(AppendFile(folder / name)) for name in (EPISODES, SCORES, FRAMES)]
                episodes, scores, frames = opened
                writer = RunWriter(spec.run_id, entries, episodes=episodes, scores=scores, frames=frames)
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

    def record_check(self, run_id: str, name: str, result: RepeatCheck) -> None:
        """Write the result of a check of a run into its manifest, under `checks`; takes the run's lock."""
        if self.manifest(run_id).checks.get(name) == result:
            return
        folder = self._folder(run_id)
        with as_store_error(folder), locked(folder):
            manifest = self.manifest(run_id)
            self._write_manifest(dataclasses.replace(manifest, checks={**manifest.checks, name: result}))

    def record_collected(self, run_id: str, taken: Collected) -> None:
        """Add what a command took to a run's manifest, under `collected`; takes the run's lock."""
        folder = self._folder(run_id)
        with as_store_error(folder), locked(folder):
            manifest = self.manifest(run_id)
            entries = (*manifest.collected, taken)
            if len(entries) > 1 and entries[-2].same_circumstances(taken):
                entries = (*entries[:-2], entries[-2].plus(taken))
            self._write_manifest(dataclasses.replace(manifest, collected=entries))

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
        path = self._folder(run_id) / EPISODES
        if not path.exists():
            return set()
        return {key for key, line in self._last_lines(run_id, path).items() if not line.failed}

    def episodes(self, run_id: str, trajectories: bool = False) -> Iterator[Episode]:
        """Read the episodes of the current tasks, sorted by task and trial.

        trajectories : read the messages too; otherwise `Episode.trajectory` is empty.
        """
        lines = self.current_lines(run_id)
        if lines:
            yield from read_episodes(self._folder(run_id), (lines[key] for key in sorted(lines)), trajectories)

    def trajectory(self, run_id: str, task_id: str, trial: int) -> tuple[Message, ...]:
        """Read the messages of one episode: one frame, not the file."""
        task = self.manifest(run_id).tasks.get(task_id)
        line = self.current_lines(run_id).get((task_id, task.hash, trial)) if task else None
        if line is None:
            raise StoreError(
                f"run `{run_id}` has no episode of task `{task_id}`, trial {trial}, under the task's present content. "
                f"Run the study again to play it."
            )
        return read_frame(self._folder(run_id), line)

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

    def current_lines(self, run_id: str) -> dict[Key, Attempt]:
        """Return the last line of each episode of the manifest's tasks; parsed once per change of the file."""
        tasks = self.manifest(run_id).tasks
        path = self._folder(run_id) / EPISODES
        if not path.exists():
            return {}
        return {
            key: line
            for key, line in self._last_lines(run_id, path).items()
            if key[0] in tasks and tasks[key[0]].hash == key[1]
        }

    def _last_lines(self, run_id: str, path: Path) -> dict[Key, Attempt]:
        signature = _signature(path)
        if self._parsed.get(run_id, (None,))[0] != signature:
            self._parsed[run_id] = (signature, {line.key: line for line in read_lines(path, run_id, Attempt)})
        return self._parsed[run_id][1]

    def scores_by_grader(self, run_id: str, *, latest: bool) -> dict[str, dict[Key, Grade]]:
        """Return score lines by grader, the latest grader first, without those of replaced or failed attempts.

        latest : raise StoreError where graders alternate, so that none is the latest.
        """
        lines = self.current_lines(run_id)
        path = self._folder(run_id) / SCORES
        scores: dict[str, dict[Key, Grade]] = {}
        first: dict[str, int] = {}
        last: dict[str, int] = {}
        for line in read_lines(path, run_id, Grade) if path.exists() else ():
            attempt = lines.get(line.key)
            if attempt is None or attempt.checksum != int(line.attempt, 16) or attempt.failed:
                continue
            scores.setdefault(line.grader, {})[line.key] = line
            first.setdefault(line.grader, line.number)
            last[line.grader] = line.number
        order = sorted(last, key=last.__getitem__, reverse=True)
        if latest and any(last[other] > first[order[0]] for other in order[1:]):
            raise StoreError(
                f"run `{run_id}` was graded by {', '.join(f'`{g}`' for g in sorted(order))} in turns, so none is the "
                f"latest. Name the scores to read: `score_table(grader=...)`."
            )
        return {grader: scores[grader] for grader in order}


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
