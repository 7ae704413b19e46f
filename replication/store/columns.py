"""The lines of a run by column, which resuming and the score table read: a million episodes take 85 MB."""

from __future__ import annotations

import itertools
import math
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, overload

from replication.records import UNSCORED_REASONS, Episode, Score, Task, TaskEntry
from replication.store import scanned
from replication.store.lines import Attempt, Grade, Key, Place, current_reason, read_blocks

if TYPE_CHECKING:
    import numpy as np

COUNTS = ("n_turns", "n_malformed", "n_prompt_tokens", "n_completion_tokens")
ATTEMPT = [
    ("task", "i4"), ("reason", "i1"), ("trial", "i8"), *((name, "i8") for name in COUNTS), ("frame", "i8", 3),
    ("number", "i8"), ("offset", "i8"), ("checksum", "u4"),
]  # fmt: skip
GRADE = [("task", "i4"), ("grader", "i4"), ("trial", "i8"), ("value", "f8"), ("attempt", "u4"), ("offset", "i8")]
# A row each, as numpy stores it.
_pack_attempt, _pack_grade = struct.Struct("=ib10qI").pack, struct.Struct("=iiqdIq").pack


class Codes(dict[str, int]):
    """Numbers texts from 0, in the order in which it is first asked for them."""

    def __missing__(self, text: str) -> int:
        self[text] = len(self)
        return len(self) - 1


class TaskCodes(dict[tuple[str, str], int]):
    """Numbers pairs (task_id, task_hash) from 0, in the order in which it is first asked for them."""

    def __missing__(self, task: tuple[str, str]) -> int:
        self[task] = len(self)
        return len(self) - 1


class Attempts(NamedTuple):
    """Lines of episodes.jsonl."""

    tasks: TaskCodes
    reasons: Codes
    rows: np.ndarray
    """(n_lines,), a record of `ATTEMPT` each: codes of task and stop reason, and the fields of the line."""
    extent: scanned.Extent
    """Of the scan that the first rows are from."""

    @classmethod
    def read(cls, path: Path, run_id: str) -> Attempts:
        """Read the complete lines, in the order of the file; none if there is no file."""
        import numpy as np

        tasks, reasons, parts, extent = _scanned(path, run_id, np.dtype(ATTEMPT))
        for block in read_blocks(path, run_id, Attempt, offset=extent.size, first=1 + extent.n_rows):
            lines = block.records
            rows = np.empty(len(lines), ATTEMPT)
            rows["task"] = [tasks[line.task_id, line.task_hash] for line in lines]
            rows["reason"] = [reasons[line.stop_reason] for line in lines]
            for name in ("trial", *COUNTS):
                rows[name] = np.fromiter(map(attrgetter(name), lines), np.int64, len(lines))
            frames = itertools.chain.from_iterable(map(attrgetter("frame"), lines))
            rows["frame"] = np.fromiter(frames, np.int64, 3 * len(lines)).reshape(-1, 3)
            rows["number"] = np.arange(block.first, block.first + len(lines))
            rows["offset"], rows["checksum"] = block.offsets, block.checksums
            parts.append(rows)
        return cls(tasks, reasons, np.concatenate(parts), extent)

    def row(self, episode: Episode, frame: tuple[int, int, int], number: int, offset: int, checksum: int) -> bytes:
        """Return the row of a line that is about to be appended."""
        return _pack_attempt(
            self.tasks[episode.task_id, episode.task_hash], self.reasons[current_reason(episode)], episode.trial,
            episode.n_turns, episode.n_malformed, episode.n_prompt_tokens, episode.n_completion_tokens, *frame, number,
            offset, checksum,
        )  # fmt: skip

    def take(self, rows: np.ndarray) -> Attempts:
        """Return these rows, in this order."""
        return self._replace(rows=self.rows[rows])

    def last(self) -> Attempts:
        """Return the last line of each episode, which is the one that counts."""
        import numpy as np

        if not len(self.rows):
            return self
        order = np.lexsort((self.rows["trial"], self.rows["task"]))  # stable: later lines of an episode stay later
        task, trial = self.rows["task"][order], self.rows["trial"][order]
        is_last = np.append((task[1:] != task[:-1]) | (trial[1:] != trial[:-1]), True)
        return self.take(order[is_last])

    def current(self, tasks: Mapping[str, TaskEntry]) -> Attempts:
        """Return the rows of these tasks with their present content, sorted by task and trial."""
        import numpy as np

        place = {(task, tasks[task].hash): at for at, task in enumerate(sorted(tasks))}
        rank = np.array([place.get(task, -1) for task in self.tasks], np.int64)[self.rows["task"]]
        rows = np.flatnonzero(rank >= 0)
        return self.take(rows[np.lexsort((self.rows["trial"][rows], rank[rows]))])

    def failed(self) -> np.ndarray:
        """Return whether the set-up, not the model, ended each episode."""
        import numpy as np

        return np.array([reason in UNSCORED_REASONS for reason in self.reasons], bool)[self.rows["reason"]]

    def keys(self) -> Iterator[Key]:
        """Return the identity of each row's episode."""
        tasks, codes = list(self.tasks), self.rows["task"].tolist()
        return ((*tasks[code], trial) for code, trial in zip(codes, self.rows["trial"].tolist(), strict=True))

    def places(self) -> Iterator[Place]:
        """Return where the lines and their frames are."""
        for row in self.rows:
            yield Place(int(row["number"]), int(row["offset"]), *row["frame"].tolist())


class Graded(NamedTuple):
    """What one grader has graded."""

    row: np.ndarray
    """(n_attempts,): of the last line that grades each attempt; -1 if there is none."""
    first: int
    """Row of its first line that counts."""
    last: int


class Grades(NamedTuple):
    """Lines of scores.jsonl."""

    tasks: TaskCodes
    graders: Codes
    rows: np.ndarray
    """(n_lines,), a record of `GRADE` each: codes of task and grader, and the fields of the line; NaN is unscored."""
    extent: scanned.Extent
    """Of the scan that the first rows are from."""

    @classmethod
    def read(cls, path: Path, run_id: str) -> Grades:
        """Read the complete lines, in the order of the file; none if there is no file."""
        import numpy as np

        tasks, graders, parts, extent = _scanned(path, run_id, np.dtype(GRADE))
        for block in read_blocks(path, run_id, Grade, offset=extent.size, first=1 + extent.n_rows):
            lines = block.records
            rows = np.empty(len(lines), GRADE)
            rows["task"] = [tasks[line.task_id, line.task_hash] for line in lines]
            rows["grader"] = [graders[line.grader] for line in lines]
            rows["trial"] = np.fromiter(map(attrgetter("trial"), lines), np.int64, len(lines))
            rows["value"] = np.array([line.value for line in lines], np.float64)
            rows["attempt"] = np.fromiter([int(line.attempt, 16) for line in lines], np.uint32, len(lines))
            rows["offset"] = block.offsets
            parts.append(rows)
        return cls(tasks, graders, np.concatenate(parts), extent)

    def row(self, score: Score, attempt: int, offset: int) -> bytes:
        """Return the row of a line that is about to be appended; it grades the attempt with this checksum."""
        value = math.nan if score.value is None else float(score.value)
        task = self.tasks[score.task_id, score.task_hash]
        return _pack_grade(task, self.graders[score.grader], score.trial, value, attempt, offset)

    def by_grader(self, attempts: Attempts) -> dict[str, Graded]:
        """Return by grader the grades of these attempts; failed ones are unscored, and graders without a grade left out.

        attempts : one row per episode.
        """
        import numpy as np

        n = len(attempts.rows)
        if not n:
            return {}
        # One integer per key: codes of the trials, so that no trial number is too large.
        trials = np.concatenate([attempts.rows["trial"], self.rows["trial"]])
        distinct, trials = np.unique(trials, return_inverse=True)
        codes = np.array([attempts.tasks.get(task, -1) for task in self.tasks], np.int64)  # -1: without an attempt
        keys = np.concatenate([attempts.rows["task"], codes[self.rows["task"]]]) * np.int64(len(distinct)) + trials
        order = np.argsort(keys[:n], kind="stable")
        at = order[np.minimum(np.searchsorted(keys[:n], keys[n:], sorter=order), n - 1)]
        is_used = (keys[at] == keys[n:]) & (attempts.rows["checksum"][at] == self.rows["attempt"])
        used = np.flatnonzero(is_used & ~attempts.failed()[at])
        found = {}
        for grader, code in self.graders.items():
            own = used[self.rows["grader"][used] == code]
            if len(own):
                row = np.full(n, -1)
                row[at[own]] = own  # of several lines the last one is kept
                found[grader] = Graded(row, int(own[0]), int(own[-1]))
        return found


class _Start(NamedTuple):
    tasks: TaskCodes
    texts: Codes
    parts: list[np.ndarray]
    extent: scanned.Extent


def _scanned(path: Path, run_id: str, dtype: np.dtype) -> _Start:
    """Return what an earlier scan of a file found; its lines need not be read again."""
    import numpy as np

    found = scanned.load(path, run_id, dtype)
    tasks, texts = TaskCodes(), Codes()
    tasks.update({task: code for code, task in enumerate(found.tasks)})
    texts.update({text: code for code, text in enumerate(found.texts)})
    return _Start(tasks, texts, [np.empty(0, dtype), *found.parts], found.extent)


class Missing(Sequence[tuple[Task, int]]):
    """The (task, trial) without a finished episode, trial by trial; 8 bytes each.

    A study may plan a million episodes: they are numbers until they are played.
    """

    def __init__(self, attempts: Attempts, tasks: Sequence[Task], n_trials: int):
        import numpy as np

        self._tasks = tasks
        is_missing = np.ones((n_trials, len(tasks)), bool)
        if len(attempts.rows) and tasks:
            place = {(task.id, task.content_hash): at for at, task in enumerate(tasks)}
            at = np.array([place.get(task, -1) for task in attempts.tasks], np.int64)[attempts.rows["task"]]
            trial = attempts.rows["trial"]
            done = (at >= 0) & (trial >= 0) & (trial < n_trials) & ~attempts.failed()
            is_missing[trial[done], at[done]] = False
        self._places = np.flatnonzero(is_missing)
        """Of the episode: trial * n_tasks + position of the task."""

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, at: int) -> tuple[Task, int]: ...
    @overload
    def __getitem__(self, at: slice) -> list[tuple[Task, int]]: ...
    def __getitem__(self, at: int | slice) -> tuple[Task, int] | list[tuple[Task, int]]:
        if isinstance(at, slice):
            return [self._item(place) for place in self._places[at]]
        return self._item(self._places[at])

    def _item(self, place: int) -> tuple[Task, int]:
        trial, task = divmod(int(place), len(self._tasks))
        return self._tasks[task], trial

    def by(self, rank: Callable[[Task], float]) -> Iterator[tuple[Task, int]]:
        """Iterate over the (task, trial) by ascending rank of the task; those of one rank in their order, 8 bytes each."""
        import numpy as np

        ranks = np.array([rank(task) for task in self._tasks])
        for value in np.unique(ranks):
            places = self._places[(ranks == value)[self._places % len(ranks)]]
            yield from map(self._item, places)

    def tasks(self) -> list[Task]:
        """Return the tasks with a missing episode, each once, in their order."""
        import numpy as np

        return [self._tasks[at] for at in np.unique(self._places % max(len(self._tasks), 1))]
