"""The results store: append, resume, read -> score table; nothing else knows the disk layout.

    <root>/<run_id>/manifest.json       what was run: spec, labels, tasks, and every engine that took part
                    episodes.jsonl      one line per attempt: all but the trajectory, and where its frame lies
                    scores.jsonl        one line per grade, tied to the attempt it grades
                    trajectories.bin    one zlib frame per attempt: the messages as JSON
                    lock                held by the one writer

Lines are only ever appended and the last line for a key counts, so a kill at any moment costs the episode in flight.
Each line ends in a CRC32 of what stands before it: damage is reported with its line number, never skipped.
Text is UTF-8 with `surrogatepass`, not `\\u` escapes: a high and a low lone surrogate side by side would come back
from escapes as one character.

Not covered: protection against someone who forges a CRC; compaction of replaced attempts; writing on Windows.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import re
import threading
import time
import weakref
import zlib
from collections.abc import Iterable, Iterator, KeysView, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from replication.errors import StoreError
from replication.records import (
    SCHEMA_VERSION,
    UNSCORED_REASONS,
    Call,
    Episode,
    Json,
    Message,
    RunSpec,
    Score,
    Task,
    to_json,
)

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "run_id", "arm", "scale", "params_b", "training_seed", "model", "revision", "benchmark", "scaffold", "seed",
    "task_id", "task_hash", "level", "trial", "value", "grader", "stop_reason",
    "n_turns", "n_malformed", "n_prompt_tokens", "n_completion_tokens",
)  # fmt: skip
"""Of the score table, in order. No wall times: an interrupted and resumed run gives the identical table."""

FSYNC_S = 1.0
"""A power cut (not a kill) may cost what was appended in this many seconds."""

Key = tuple[str, str, int]
"""Identity of an episode within its run: (task_id, task_hash, trial)."""

_RUN_ID = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}")
_EPISODE_FIELDS = tuple(f.name for f in dataclasses.fields(Episode) if f.name != "trajectory")
_SCORE_FIELDS = tuple(f.name for f in dataclasses.fields(Score) if f.name != "details")
_LABELS = ("arm", "scale")
_NUMERIC_LABELS = ("params_b", "training_seed")
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_COST = {
    "episodes.jsonl": "that episode is played again, all others are kept",
    "scores.jsonl": "that episode is graded again without a model, all others are kept",
}


class Store:
    """All runs under one folder. Reading needs no lock and may happen while a run is written."""

    def __init__(self, root: Path | str):
        self.root = Path(root)
        self._parsed: dict[str, tuple[tuple[int, int, int], dict[Key, _Line]]] = {}

    # writing

    @contextlib.contextmanager
    def writer(
        self,
        spec: RunSpec,
        labels: Mapping[str, Json],
        manifest: Mapping[str, Json],
        tasks: Sequence[Task],
    ) -> Iterator[RunWriter]:
        """Open a run for appending: lock it, mend a torn tail, bring its manifest up to date.

        labels : arm, scale, params_b, training_seed and the like; not part of the run's identity.
        manifest : engine, versions and resolved flags. Kept as a new session when it differs from the last one.
        tasks : the run's tasks from now on. Stored episodes of other tasks, or of these with other content, stay on
            disk but are no longer shown. They come back when their tasks do.
        """
        folder = self._folder(spec.run_id)
        current = _task_table(tasks)
        _check_labels(labels)
        with contextlib.ExitStack() as stack:
            with _explained(folder):
                folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(_locked(folder))
                episodes = stack.enter_context(_File(folder / "episodes.jsonl"))
                scores = stack.enter_context(_File(folder / "scores.jsonl"))
                frames = stack.enter_context(_File(folder / "trajectories.bin"))
                writer = RunWriter(spec.run_id, current, episodes, scores, frames)
                self._write_manifest(spec, labels, manifest, current, n_lines=writer.n_lines)
            try:
                yield writer
            except BaseException as error:
                try:
                    writer.flush()
                except StoreError as second:
                    error.add_note(str(second))
                raise
            writer.flush()

    def _write_manifest(self, spec, labels, engine, tasks, *, n_lines: int) -> None:
        path = self._folder(spec.run_id) / "manifest.json"
        old = self.manifest(spec.run_id) if path.exists() else {"sessions": []}
        sessions = list(old["sessions"])
        if not sessions or sessions[-1]["engine"] != to_json(engine):
            sessions.append({"first_line": n_lines + 1, "engine": to_json(engine)})
        new = {
            "schema_version": SCHEMA_VERSION,
            "run_id": spec.run_id,
            "spec": to_json(spec),
            "labels": to_json(labels),
            "tasks": tasks,
            "sessions": sessions,
            "checks": old.get("checks", {}),
        }
        if new != old:
            _write_atomically(path, _manifest_text(new))

    def record_check(self, run_id: str, name: str, result: Mapping[str, Json]) -> None:
        """Write the result of a check of a run into its manifest, under `checks`; takes the run's lock."""
        manifest = self.manifest(run_id)
        if manifest["checks"].get(name) == to_json(result):
            return
        folder = self._folder(run_id)
        with _explained(folder), _locked(folder):
            manifest = self.manifest(run_id)
            manifest["checks"][name] = to_json(result)
            _write_atomically(folder / "manifest.json", _manifest_text(manifest))

    # reading

    def runs(self) -> list[str]:
        """List the run_ids, sorted."""
        return sorted(p.parent.name for p in self.root.glob("*/manifest.json") if _RUN_ID.fullmatch(p.parent.name))

    def manifest(self, run_id: str) -> dict[str, Json]:
        """Read what was run: schema_version, run_id, spec, labels, tasks, sessions and checks.

        tasks : {task_id: {"hash", "level"}}.
        sessions : one entry per engine that took part, oldest first; `first_line` is the first line of episodes.jsonl
            that it may have written. More than one entry means that a version or flag changed between openings.
        """
        path = self._folder(run_id) / "manifest.json"
        try:
            manifest = json.loads(path.read_bytes().decode("utf-8", "surrogatepass"))
            version, owner = manifest["schema_version"], manifest["run_id"]
        except FileNotFoundError:
            known = self.runs()
            raise StoreError(
                f"no run `{run_id}` in the store `{self.root}`, which holds "
                f"{len(known)} runs{': ' if known else ''}{', '.join(f'`{r}`' for r in known[:5])}"
                f"{', ...' if len(known) > 5 else ''}. Collect it first, or name another store."
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise StoreError(
                f"`{path}` is not a manifest of this store ({error!r}). Delete it and run the same command again: "
                f"it is written anew and no episode is lost."
            ) from None
        if version != SCHEMA_VERSION:
            raise StoreError(
                f"`{path}` has schema version {version!r}; this package reads {SCHEMA_VERSION}. "
                f"Read it with the package version that wrote it, or collect into another store."
            )
        if owner != run_id:
            raise StoreError(f"`{path}` belongs to run `{owner}`. Give the folder that name again.")
        return manifest

    def finished(self, run_id: str) -> set[Key]:
        """Read which episodes need no model; empty for a run that was never started. Needs no lock."""
        path = self._folder(run_id) / "episodes.jsonl"
        if not path.exists():
            return set()
        return {key for key, line in self._last_lines(run_id, path).items() if not _failed(line)}

    def episodes(self, run_id: str, trajectories: bool = False) -> Iterator[Episode]:
        """Read the episodes of the current tasks, sorted by task and trial.

        trajectories : read the messages too; otherwise `Episode.trajectory` is empty.
        """
        lines = self._current(run_id, self.manifest(run_id))
        for key in sorted(lines):
            yield _episode(lines[key], self._folder(run_id) if trajectories else None)

    def trajectory(self, run_id: str, task_id: str, trial: int) -> tuple[Message, ...]:
        """Read the messages of one episode: one frame, not the file."""
        manifest = self.manifest(run_id)
        task = manifest["tasks"].get(task_id, {"hash": ""})
        line = self._current(run_id, manifest).get((task_id, task["hash"], trial))
        if line is None:
            raise StoreError(
                f"run `{run_id}` has no episode of task `{task_id}`, trial {trial}, under the task's present content. "
                f"Run the study again to play it."
            )
        return _read_frame(self._folder(run_id), line)

    def score_table(
        self, run_ids: Iterable[str] | None = None, grader: str | None = None, details: Sequence[str] = ()
    ) -> pd.DataFrame:
        """Make the table that every analysis starts from: one row per episode, played out or failed.

        run_ids : all runs when None.
        grader : whose scores to show. None takes each run's latest grader; two graders are never mixed in one run, so
            an episode that this grader has not seen is unscored.
        details : numbers of `Score.details` to show too, one further column each; NaN where a score has none.

        Returns the columns `COLUMNS`, sorted by run_id, task_id, trial, whatever the order of completion. `value` is
        NaN for unscored; `grader` is None where there is no such score. Text columns are objects with None for
        missing; `params_b` and `training_seed` are floats with NaN for missing; counts are int64.
        """
        import pandas as pd

        rows: list[tuple] = []
        graders: set[str] = set()
        for run_id in sorted(self.runs() if run_ids is None else set(run_ids)):
            manifest = self.manifest(run_id)
            spec, labels, tasks = manifest["spec"], manifest["labels"], manifest["tasks"]
            lines = self._current(run_id, manifest)
            by_grader = self._scores(run_id, lines, ask=grader is None)
            graders.update(by_grader)
            name = grader if grader is not None else next(iter(by_grader), None)
            scores = by_grader.get(name, {}) if name else {}
            head = (run_id, *(labels.get(c) for c in (*_LABELS, *_NUMERIC_LABELS)),
                    *(spec[c] for c in ("model", "revision", "benchmark", "scaffold", "seed")))  # fmt: skip
            for key in sorted(lines):
                e, score = lines[key].record, scores.get(key)
                scored = (None, None) if score is None else (score["value"], name)
                counts = (e[c] for c in ("n_turns", "n_malformed", "n_prompt_tokens", "n_completion_tokens"))
                more = (score["details"].get(c) if score else None for c in details)
                rows.append(
                    (*head, key[0], key[1], tasks[key[0]]["level"], key[2], *scored, e["stop_reason"], *counts, *more)
                )
        if grader is not None and graders and grader not in graders:
            raise StoreError(
                f"no score by grader `{grader}` in these runs; they hold "
                f"{', '.join(f'`{g}`' for g in sorted(graders))}. Name one of those, "
                f"or run the study again to grade with it."
            )
        names = (*COLUMNS, *details)
        columns = dict(zip(names, zip(*rows, strict=True), strict=True)) if rows else dict.fromkeys(names, ())
        types = {c: "float64" if c in details else _dtype(c) for c in names}
        return pd.DataFrame({c: pd.Series(list(v), dtype=types[c]) for c, v in columns.items()})

    def _folder(self, run_id: str) -> Path:
        if not isinstance(run_id, str) or not _RUN_ID.fullmatch(run_id):
            raise StoreError(
                f"`run_id` becomes a folder name: letters, digits, `.`, `_` and `-` of ASCII, no dot at the start, "
                f"at most 200; got {run_id!r}. Take it from `RunSpec.run_id`, or rename the model."
            )
        return self.root / run_id

    def _current(self, run_id: str, manifest: Mapping[str, Json]) -> dict[Key, _Line]:
        """Last line of each episode of the manifest's tasks; parsed once per change of the file."""
        path = self._folder(run_id) / "episodes.jsonl"
        if not path.exists():
            return {}
        tasks = manifest["tasks"]
        return {
            key: line
            for key, line in self._last_lines(run_id, path).items()
            if key[0] in tasks and tasks[key[0]]["hash"] == key[1]
        }

    def _last_lines(self, run_id: str, path: Path) -> dict[Key, _Line]:
        stat = path.stat()
        signature = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        if self._parsed.get(run_id, (None,))[0] != signature:
            self._parsed[run_id] = (signature, {_key(line.record): line for line in _lines(path, run_id)})
        return self._parsed[run_id][1]

    def _scores(self, run_id: str, lines: Mapping[Key, _Line], ask: bool) -> dict[str, dict[Key, dict[str, Json]]]:
        """Score lines by grader, the latest grader first; scores of replaced or failed attempts are left out."""
        path = self._folder(run_id) / "scores.jsonl"
        scores: dict[str, dict[Key, dict[str, Json]]] = {}
        first: dict[str, int] = {}
        last: dict[str, int] = {}
        for line in _lines(path, run_id) if path.exists() else ():
            key, grader = _key(line.record), line.record["grader"]
            attempt = lines.get(key)
            if attempt is None or attempt.crc != line.record["attempt"] or _failed(attempt):
                continue
            scores.setdefault(grader, {})[key] = line.record
            first.setdefault(grader, line.number)
            last[grader] = line.number
        order = sorted(last, key=last.__getitem__, reverse=True)
        if ask and any(last[other] > first[order[0]] for other in order[1:]):
            raise StoreError(
                f"run `{run_id}` was graded by {', '.join(f'`{g}`' for g in sorted(order))} in turns, so none is the "
                f"latest. Say which scores to read: `score_table(grader=...)`."
            )
        return {grader: scores[grader] for grader in order}


class RunWriter:
    """Appends to one run; made by `Store.writer`, usable inside its `with` block, from any thread."""

    def __init__(self, run_id: str, tasks: Mapping[str, Json], episodes: _File, scores: _File, frames: _File):
        self.run_id = run_id
        self.n_lines = 0
        """Lines in episodes.jsonl, replaced attempts included."""
        self._tasks = tasks
        self._files = (frames, episodes, scores)
        self._frames, self._episodes, self._scores = self._files
        self._attempts: dict[Key, str] = {}
        """CRC of the line that counts."""
        self._finished: dict[Key, None] = {}
        self._graded: set[tuple[Key, str, str]] = set()
        """(key, CRC of the attempt, grader) with a value."""
        self._mutex = threading.Lock()
        self._synced_s = time.monotonic()
        self._dirty = False
        self._load()

    @property
    def finished(self) -> KeysView[Key]:
        """Keys (task_id, task_hash, trial) that need no model: played, and ended by the model, not by our failure.

        A live, read-only, set-like view; membership costs nothing.
        """
        return self._finished.keys()

    def unscored(self, grader: str) -> Iterator[Episode]:
        """Read the finished episodes of the current tasks, with trajectories, that this grader has given no value."""
        with self._mutex:
            todo = [
                key
                for key in sorted(self._finished)
                if self._is_current(key) and (key, self._attempts[key], grader) not in self._graded
            ]
        if todo:
            path = self._episodes.path
            lines = {_key(line.record): line for line in _lines(path, self.run_id)}
            for key in todo:
                yield _episode(lines[key], path.parent)

    def append(self, episode: Episode, score: Score | None = None) -> None:
        """Store an attempt and its grade. It replaces an earlier attempt under the same key.

        A full disk raises StoreError and leaves the files as they were, up to the last whole line.
        """
        key = self._checked(episode)
        failed = episode.stop_reason in UNSCORED_REASONS
        if score is not None and score.key != episode.key:
            raise ValueError(f"`score` grades {score.key}, but the episode is {episode.key}.")
        if score is not None and failed and score.value is not None:
            raise ValueError(
                f"an episode that ended in `{episode.stop_reason}` is unscored; got value={score.value!r}. Use None."
            )
        frame = zlib.compress(_encode([_message_record(m) for m in episode.trajectory]))
        record = {name: getattr(episode, name) for name in _EPISODE_FIELDS}
        with self._mutex:
            # everything is serialised before anything is written
            record["frame"] = [self._frames.size(), len(frame), zlib.crc32(frame)]
            line, crc = _seal(record)
            score_line = None if score is None else _seal(_score_record(score, crc))[0]
            self._frames.append(frame)
            try:
                self._episodes.append(line)
            except BaseException:
                self._frames.cut(record["frame"][0])
                raise
            self.n_lines += 1
            self._dirty = True
            self._attempts[key] = crc
            self._finished.pop(key, None)
            if not failed:
                self._finished[key] = None
            if score is not None and score_line is not None:
                self._scores.append(score_line)
                self._note(key, crc, score.grader, score.value)
            self._sync_if_due()

    def append_score(self, score: Score) -> None:
        """Store another grade of a stored episode. It replaces an earlier one by the same grader."""
        key = self._checked(score)
        with self._mutex:
            if key not in self._attempts:
                raise ValueError(f"`score` grades {score.key}, of which no episode is stored. Append that first.")
            if score.value is not None and key not in self._finished:
                raise ValueError(f"{score.key} failed and is unscored; got value={score.value!r}. Use None.")
            self._scores.append(_seal(_score_record(score, self._attempts[key]))[0])
            self._dirty = True
            self._note(key, self._attempts[key], score.grader, score.value)
            self._sync_if_due()

    def flush(self) -> None:
        """Wait until all that was appended has reached the disk; done at least once per `FSYNC_S` and on leaving."""
        if self._dirty:
            for file in self._files:  # frames first: no line on disk before what it points to
                file.sync()
            self._dirty = False
        self._synced_s = time.monotonic()

    def _load(self) -> None:
        end, first_lost = 0, None
        for line in _lines(self._episodes.path, self.run_id):
            key = _key(line.record)
            self.n_lines = line.number
            self._attempts[key] = line.crc
            self._finished.pop(key, None)
            if not _failed(line):
                self._finished[key] = None
            offset, length, _ = line.record["frame"]
            end = max(end, offset + length)
            if first_lost is None and offset + length > self._frames.size():
                first_lost = line.number
        if first_lost is not None:
            raise StoreError(
                f"`{self._frames.path}` ends at byte {self._frames.size()}, but `{self._episodes.path}` points beyond "
                f"it from line {first_lost} on (power cut, or not copied whole). Restore the file, or delete line "
                f"{first_lost} and all after it and run the same command again: those episodes are played again."
            )
        for line in _lines(self._scores.path, self.run_id):
            self._note(_key(line.record), line.record["attempt"], line.record["grader"], line.record["value"])
        # nothing is cut before every line has been read and found whole
        self._frames.cut(end)
        for file in (self._episodes, self._scores):
            file.cut(_whole(file.path))

    def _checked(self, item: Episode | Score) -> Key:
        key = item.key[1:]
        if item.run_id != self.run_id or not self._is_current(key):
            raise ValueError(f"{item.key} is of another run or task than this writer was opened for (`{self.run_id}`).")
        return key

    def _is_current(self, key: Key) -> bool:
        task = self._tasks.get(key[0])
        return task is not None and task["hash"] == key[1]

    def _note(self, key: Key, attempt: str, grader: str, value: float | None) -> None:
        if value is None:
            self._graded.discard((key, attempt, grader))
        else:
            self._graded.add((key, attempt, grader))

    def _sync_if_due(self) -> None:
        if time.monotonic() - self._synced_s >= FSYNC_S:
            self.flush()


# lines


class _Line(NamedTuple):
    number: int
    """1-based."""
    crc: str
    """Eight hex digits; identifies the attempt."""
    record: dict[str, Json]


_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)


def _encode(value: Json) -> bytes:
    return _encoder.encode(value).encode("utf-8", "surrogatepass")


def _seal(record: Mapping[str, Json]) -> tuple[bytes, str]:
    body = _encode(record)[:-1]
    crc = f"{zlib.crc32(body):08x}"
    return b'%s,"crc":"%s"}\n' % (body, crc.encode()), crc


def _lines(path: Path, run_id: str) -> Iterator[_Line]:
    """Read the whole lines of a file; a last one without newline is torn and is left out."""
    with path.open("rb") as file:
        for number, raw in enumerate(file, 1):
            if not raw.endswith(b"\n"):
                return
            body, mark, crc = raw[:-19], raw[-19:-11], raw[-11:-3]
            problem = None
            if mark != b',"crc":"' or raw[-3:] != b'"}\n':
                problem = "is not a line of this store"
            elif crc != b"%08x" % zlib.crc32(body):
                problem = "does not match its checksum"
            else:
                record = json.loads((body + b"}").decode("utf-8", "surrogatepass"))
                if record["run_id"] != run_id:
                    problem = f"belongs to run `{record['run_id']}`"
            if problem:
                raise StoreError(
                    f"`{path}`, line {number}, {problem}. Delete that line (`sed -i.bak {number}d '{path}'`) and run "
                    f"the same command again: {_COST[path.name]}."
                )
            yield _Line(number, crc.decode(), record)


def _whole(path: Path) -> int:
    """Size of a file up to its last newline."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 65536)
            file.seek(start)
            found = file.read(end - start).rfind(b"\n")
            if found >= 0:
                return start + found + 1
            end = start
    return 0


def _key(record: Mapping[str, Json]) -> Key:
    return (record["task_id"], record["task_hash"], record["trial"])


def _failed(line: _Line) -> bool:
    return line.record["stop_reason"] in UNSCORED_REASONS


def _score_record(score: Score, attempt: str) -> dict[str, Json]:
    record = {name: getattr(score, name) for name in _SCORE_FIELDS}
    if score.value is not None:
        record["value"] = float(score.value)
        if not 0 <= record["value"] <= 1:  # also false for NaN
            raise ValueError(f"`Score.value` must be in [0, 1] or None for unscored; got {score.value!r}.")
    record["details"] = to_json(score.details) if score.details else {}
    record["attempt"] = attempt
    return record


def _episode(line: _Line, folder: Path | None) -> Episode:
    fields = {name: line.record[name] for name in _EPISODE_FIELDS}
    fields["seeds"] = tuple(fields["seeds"])
    return Episode(**fields, trajectory=() if folder is None else _read_frame(folder, line))


def _read_frame(folder: Path, line: _Line) -> tuple[Message, ...]:
    offset, length, crc = line.record["frame"]
    path = folder / "trajectories.bin"
    frame = b""
    with contextlib.suppress(FileNotFoundError), path.open("rb", buffering=0) as file:
        file.seek(offset)
        frame = file.read(length)
    if len(frame) != length or zlib.crc32(frame) != crc:
        raise StoreError(
            f"`{path}` is damaged at byte {offset} or missing, trajectory of `{line.record['task_id']}` "
            f"trial {line.record['trial']}. Restore the file, or delete line {line.number} of "
            f"`{folder / 'episodes.jsonl'}` and run the same command again: that episode is played again."
        )
    return tuple(_message(m) for m in json.loads(zlib.decompress(frame).decode("utf-8", "surrogatepass")))


def _message_record(message: Message) -> dict[str, Json]:
    record: dict[str, Json] = {"role": message.role, "content": message.content}
    if message.calls:
        record["calls"] = [[call.name, dict(call.arguments)] for call in message.calls]
    if message.answer is not None:
        record["answer"] = message.answer
    return record


def _message(record: Mapping[str, Json]) -> Message:
    calls = tuple(Call(name=name, arguments=arguments) for name, arguments in record.get("calls", ()))
    return Message(role=record["role"], content=record["content"], calls=calls, answer=record.get("answer"))


def _dtype(column: str) -> str:
    if column in ("value", *_NUMERIC_LABELS):
        return "float64"
    if column in ("seed", "level", "trial") or column.startswith("n_"):
        return "int64"
    return "object"


def _task_table(tasks: Sequence[Task]) -> dict[str, dict[str, Json]]:
    table = {task.id: {"hash": task.content_hash, "level": task.attributes.get("level")} for task in tasks}
    if len(table) != len(tasks):
        raise ValueError(f"`tasks` must have distinct ids; got {len(tasks)} tasks with {len(table)} ids.")
    return table


def _check_labels(labels: Mapping[str, Json]) -> None:
    for name in _NUMERIC_LABELS:
        value = labels.get(name)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise StoreError(f"label `{name}` must be a number or absent; got {value!r}. Mend it in `conf/`.")


# files


class _File(contextlib.AbstractContextManager):
    """A file without user-space buffer that is cut back to where it was when a write fails."""

    def __init__(self, path: Path):
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        _open_files.add(self)

    def size(self) -> int:
        return os.fstat(self._open_fd()).st_size

    def append(self, data: bytes) -> None:
        size = self.size()
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self.fd, rest) :]
        except BaseException as error:
            os.ftruncate(self.fd, size)
            if isinstance(error, OSError):
                raise _explain(error, self.path) from error
            raise

    def cut(self, size: int) -> None:
        if size < self.size():
            os.ftruncate(self._open_fd(), size)

    def sync(self) -> None:
        with _explained(self.path):
            os.fsync(self._open_fd())

    def __exit__(self, *_: Any) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _open_fd(self) -> int:
        if self.fd < 0:
            raise StoreError(f"`{self.path}` is closed. Append inside the `with store.writer(...)` block.")
        return self.fd


_open_files: weakref.WeakSet[_File] = weakref.WeakSet()


def _close_in_child() -> None:
    """Leave a forked child (an engine's worker) without our files.

    Else it would hold the lock after the writer was killed, or let go of it when the child ends.
    """
    for file in list(_open_files):
        file.__exit__()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold the run for this process; the lock goes with the process, however it ends."""
    try:
        import fcntl
    except ImportError:
        raise StoreError("writing to the store needs Linux, macOS or WSL; reading works everywhere.") from None
    with _File(folder / "lock") as file:
        try:
            fcntl.flock(file.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                f"run `{folder.name}` is being written by {_holder(file.fd)}. Two writers would mix their episodes: "
                f"wait until it ends, or stop it, and then run the same command again; it resumes."
            ) from None
        except OSError as error:
            raise StoreError(
                f"`{file.path}` cannot be locked: {error.strerror}. Its file system has no locks; "
                f"put the store on a local disk or on NFS with locking."
            ) from error
        os.ftruncate(file.fd, 0)
        holder = {"pid": os.getpid(), "host": os.uname().nodename, "since": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        file.append(json.dumps(holder).encode())
        try:
            yield
        finally:
            if file.fd >= 0:  # a forked child has let go already; unlocking there would unlock for the writer too
                fcntl.flock(file.fd, fcntl.LOCK_UN)


def _holder(fd: int) -> str:
    try:
        holder = json.loads(os.pread(fd, 4096, 0))
        return f"process {holder['pid']} on `{holder['host']}` since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "a process that is just starting"


def _manifest_text(manifest: Mapping[str, Json]) -> bytes:
    return json.dumps(manifest, indent=1, ensure_ascii=False).encode("utf-8", "surrogatepass")


def _write_atomically(path: Path, data: bytes) -> None:
    temporary = path.with_name(path.name + ".tmp")
    with _explained(path):
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
        for folder in (path.parent, path.parent.parent):
            fd = os.open(folder, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise _explain(error, Path(error.filename) if isinstance(error.filename, str) else path) from error


def _explain(error: OSError, path: Path) -> StoreError:
    remedy = "Free space" if error.errno in _NO_SPACE else "Mend that"
    return StoreError(
        f"cannot write `{path}`: {error.strerror}. Nothing that was stored is lost. {remedy} and run the same command "
        f"again: it resumes."
    )
