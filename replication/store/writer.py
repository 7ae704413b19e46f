"""Appending episodes and scores to one run."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator, Mapping, Set

from replication.errors import StoreError
from replication.records import UNSCORED_REASONS, Episode, Score, TaskEntry
from replication.store.columns import Attempts, Grades
from replication.store.frames import FrameWriter, first_beyond, frame_of, read_episodes
from replication.store.lines import Key, seal_episode, seal_score, size_of_complete_lines
from replication.store.locking import AppendFile
from replication.store.scanned import ScanWriter

FSYNC_S = 1.0
"""A power cut, but not a killed process, may lose the lines of this many seconds."""


class RunWriter:
    """Appends to one run; created by `Store.writer`, usable inside its `with` block, from any thread."""

    def __init__(
        self,
        run_id: str,
        tasks: Mapping[str, TaskEntry],
        *,
        episodes: AppendFile,
        scores: AppendFile,
        frames: AppendFile,
        raw: AppendFile,
        scan_lines: int,
    ):
        self.run_id = run_id
        self.n_lines = 0
        """Lines in episodes.jsonl, replaced attempts included."""
        self._tasks = tasks
        self._files = (frames, episodes, scores)
        _, self._episodes, self._scores = self._files
        self._attempts: dict[Key, int] = {}
        """By key: CRC of the last line, which counts."""
        self._finished: set[Key] = set()
        self._graded: dict[str, set[Key]] = {}
        """By grader: keys whose last attempt has a score that is not None."""
        self._mutex = threading.Lock()
        self._synced_s = time.monotonic()
        self._dirty = False
        self._load(frames, raw, scan_lines)

    @property
    def finished(self) -> Set[Key]:
        """Keys (task_id, task_hash, trial) of episodes that the model ended, not a failure of engine or environment.

        It follows the appends; only this writer changes it.
        """
        return self._finished

    def unscored(self, grader: str) -> Iterator[Episode]:
        """Read the finished episodes of the current tasks, with trajectories, that this grader has not scored."""
        with self._mutex:
            graded = self._graded.get(grader, set())
            todo = {key for key in self._finished if key not in graded and self._is_current(key)}
        if todo:
            path = self._episodes.path
            attempts = Attempts.read(path, self.run_id).last().current(self._tasks)
            places = zip(attempts.keys(), attempts.places(), strict=True)
            yield from read_episodes(path.parent, (place for key, place in places if key in todo), trajectories=True)

    def append(self, episode: Episode, score: Score | None = None) -> None:
        """Store an attempt and its grade. It replaces an earlier attempt under the same key.

        A full disk raises StoreError and leaves the files unchanged up to the last complete line.
        """
        whole_key = episode.key
        key = self._check_key(whole_key)
        unscored = episode.stop_reason in UNSCORED_REASONS
        if score is not None and score.key != whole_key:
            raise ValueError(f"`score` grades {score.key}, but the episode is {whole_key}.")
        if score is not None and unscored and score.value is not None:
            raise ValueError(
                f"an episode that ended in `{episode.stop_reason}` is unscored; got value={score.value!r}. Use None."
            )
        frame = frame_of(episode.trajectory)
        with self._mutex:
            # everything is serialised before a line is written
            offset, place = self._episodes.size(), self._frames.append(frame)
            try:
                line, crc = seal_episode(episode, place)
                row = self._lines.row(episode, place, self.n_lines + 1, offset, crc)
                score_line = None if score is None else seal_score(score, crc).line
                self._episodes.append(line)
            except BaseException:
                self._frames.undo(place)
                raise
            self.n_lines += 1
            self._dirty = True
            if key in self._attempts:  # replaced
                self._finished.discard(key)
                for graded in self._graded.values():
                    graded.discard(key)
            self._attempts[key] = crc
            if not unscored:
                self._finished.add(key)
            self._scan.add(row, line, offset)
            if score is not None and score_line is not None:
                self._append_grade(key, score, crc, score_line)
            self._sync_if_due()

    def append_score(self, score: Score) -> None:
        """Store another grade of a stored episode. It replaces an earlier one by the same grader."""
        key = self._check_key(score.key)
        with self._mutex:
            if key not in self._attempts:
                raise ValueError(f"`score` grades {score.key}, of which no episode is stored. Append that first.")
            if score.value is not None and key not in self._finished:
                raise ValueError(f"{score.key} failed and is unscored; got value={score.value!r}. Use None.")
            attempt = self._attempts[key]
            self._append_grade(key, score, attempt, seal_score(score, attempt).line)
            self._dirty = True
            self._sync_if_due()

    def flush(self) -> None:
        """Wait until all appended data is on the disk; called at least once per `FSYNC_S` and on leaving the block."""
        if self._dirty:
            self._frames.complete()
            for file in self._files:  # frames first: no line on disk before its frame
                file.sync()
            self._dirty = False
        self._synced_s = time.monotonic()

    def _load(self, frames: AppendFile, raw: AppendFile, scan_lines: int) -> None:
        import numpy as np

        attempts = Attempts.read(self._episodes.path, self.run_id)
        beyond = first_beyond(frames.path, attempts.rows["frame"])
        if beyond is not None:
            raise StoreError(
                f"`{frames.path}` ends at byte {frames.size()}, but `{self._episodes.path}` points beyond "
                f"what can be read of it from line {beyond + 1} on (power cut, damage, or an incomplete copy). Restore the "
                f"file, or delete line {beyond + 1} and all after it and run the same command again: those episodes are "
                f"played again."
            )
        self.n_lines = len(attempts.rows)
        last = attempts.last()
        keys = list(last.keys())
        self._attempts = dict(zip(keys, last.rows["checksum"].tolist(), strict=True))
        self._finished = set(itertools.compress(keys, (~last.failed()).tolist()))
        grades = Grades.read(self._scores.path, self.run_id)
        for grader, graded in grades.by_grader(last).items():
            has_value = (graded.row >= 0) & ~np.isnan(grades.rows["value"][graded.row])
            self._graded[grader] = set(itertools.compress(keys, has_value.tolist()))
        # nothing is truncated before every line has been read and verified
        self._frames = FrameWriter(frames, raw, attempts.rows["frame"])
        for file in (self._episodes, self._scores):
            file.truncate(size_of_complete_lines(file.path))
        # without their rows, which may be a million
        self._lines = attempts._replace(rows=np.empty(0, attempts.rows.dtype))
        self._grades = grades._replace(rows=np.empty(0, grades.rows.dtype))
        self._scan, self._scan_of_grades = (
            ScanWriter(file, self.run_id, tasks, texts, rows, extent, every=scan_lines)
            for file, (tasks, texts, rows, extent) in ((self._episodes, attempts), (self._scores, grades))
        )

    def _check_key(self, whole: tuple[str, str, str, int]) -> Key:
        key = whole[1:]
        if whole[0] != self.run_id or not self._is_current(key):
            raise ValueError(f"{whole} is of another run or task than this writer was opened for (`{self.run_id}`).")
        return key

    def _is_current(self, key: Key) -> bool:
        task = self._tasks.get(key[0])
        return task is not None and task.hash == key[1]

    def _append_grade(self, key: Key, score: Score, attempt: int, line: bytes) -> None:
        offset = self._scores.size()
        row = self._grades.row(score, attempt, offset)
        self._scores.append(line)
        self._scan_of_grades.add(row, line, offset)
        graded = self._graded.get(score.grader)
        if graded is None:
            graded = self._graded[score.grader] = set()
        if score.value is None:
            graded.discard(key)
        else:
            graded.add(key)

    def _sync_if_due(self) -> None:
        if time.monotonic() - self._synced_s >= FSYNC_S:
            self.flush()
