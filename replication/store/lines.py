"""The format of a run's lines and frames: records to bytes with a checksum, and back."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from replication.errors import StoreError
from replication.records import UNSCORED_REASONS, Call, Episode, Json, Message, Score, to_json

EPISODES, SCORES, FRAMES = "episodes.jsonl", "scores.jsonl", "trajectories.bin"

Key = tuple[str, str, int]
"""Identity of an episode within its run: (task_id, task_hash, trial)."""

EPISODE_FIELDS = tuple(f.name for f in dataclasses.fields(Episode) if f.name != "trajectory")
_SCORE_FIELDS = tuple(f.name for f in dataclasses.fields(Score) if f.name != "details")
_RECOVERY = {
    EPISODES: "that episode is played again, all others are kept",
    SCORES: "that episode is graded again without a model, all others are kept",
}


class Line(NamedTuple):
    """A line as it is read."""

    number: int
    """1-based."""
    crc: str
    """Eight hex digits; identifies the attempt."""
    record: dict[str, Json]


class Sealed(NamedTuple):
    """A line as it is written."""

    line: bytes
    crc: str
    """Eight hex digits."""


_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)


def encode(value: Json) -> bytes:
    """Return a value as JSON bytes; lone surrogates are kept."""
    return _encoder.encode(value).encode("utf-8", "surrogatepass")


def seal(record: Mapping[str, Json]) -> Sealed:
    """Return the line of a record, with its checksum at the end, and that checksum."""
    body = encode(record)[:-1]
    crc = f"{zlib.crc32(body):08x}"
    return Sealed(b'%s,"crc":"%s"}\n' % (body, crc.encode()), crc)


def read_lines(path: Path, run_id: str) -> Iterator[Line]:
    """Read the complete lines of a file; a partial last line, without newline, is left out."""
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
                record = _current(json.loads((body + b"}").decode("utf-8", "surrogatepass")))
                if record["run_id"] != run_id:
                    problem = f"belongs to run `{record['run_id']}`"
            if problem:
                raise StoreError(
                    f"`{path}`, line {number}, {problem}. Delete that line (`sed -i.bak {number}d '{path}'`) and run "
                    f"the same command again: {_RECOVERY[path.name]}."
                )
            yield Line(number, crc.decode(), record)


def _current(record: dict[str, Json]) -> dict[str, Json]:
    """Return a record with the stop reasons of today.

    A first request without room for its reply was once stored as a context_overflow of the model, and scored 0. The
    episodes of an official harness have no seeds and keep its reasons.
    """
    if record.get("stop_reason") == "context_overflow" and len(record["seeds"]) == 1:
        return {**record, "stop_reason": "prompt_too_long"}
    return record


def size_of_complete_lines(path: Path) -> int:
    """Return the size of a file up to its last newline, bytes."""
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while end > 0:
            start = max(0, end - 65536)
            file.seek(start)
            newline = file.read(end - start).rfind(b"\n")
            if newline >= 0:
                return start + newline + 1
            end = start
    return 0


def key_of(record: Mapping[str, Json]) -> Key:
    """Return the key of a line's episode."""
    return (record["task_id"], record["task_hash"], record["trial"])


def failed(line: Line) -> bool:
    """Return whether the engine or the environment, not the model, ended the episode."""
    return line.record["stop_reason"] in UNSCORED_REASONS


def score_record(score: Score, attempt: str) -> dict[str, Json]:
    """Return the record of a score of the attempt with this checksum; ValueError if its value is out of range."""
    record = {name: getattr(score, name) for name in _SCORE_FIELDS}
    if score.value is not None:
        record["value"] = float(score.value)
        if not 0 <= record["value"] <= 1:  # also false for NaN
            raise ValueError(f"`Score.value` must be in [0, 1] or None for unscored; got {score.value!r}.")
    record["details"] = to_json(score.details) if score.details else {}
    record["attempt"] = attempt
    return record


def to_episode(line: Line, folder: Path | None) -> Episode:
    """Return the episode of a line, with its trajectory if the folder of the frames is given."""
    fields = {name: line.record[name] for name in EPISODE_FIELDS}
    fields["seeds"] = tuple(fields["seeds"])
    return Episode(**fields, trajectory=() if folder is None else read_frame(folder, line))


def read_frame(folder: Path, line: Line) -> tuple[Message, ...]:
    """Read the messages of a line's episode."""
    offset, length, crc = line.record["frame"]
    path = folder / FRAMES
    frame = b""
    with contextlib.suppress(FileNotFoundError), path.open("rb", buffering=0) as file:
        file.seek(offset)
        frame = file.read(length)
    if len(frame) != length or zlib.crc32(frame) != crc:
        raise StoreError(
            f"`{path}` is damaged at byte {offset} or missing, trajectory of `{line.record['task_id']}` "
            f"trial {line.record['trial']}. Restore the file, or delete line {line.number} of "
            f"`{folder / EPISODES}` and run the same command again: that episode is played again."
        )
    return tuple(_to_message(m) for m in json.loads(zlib.decompress(frame).decode("utf-8", "surrogatepass")))


def message_record(message: Message) -> dict[str, Json]:
    """Return the record of a message as it is stored in a frame."""
    record: dict[str, Json] = {"role": message.role, "content": message.content}
    if message.calls:
        record["calls"] = [[call.name, dict(call.arguments)] for call in message.calls]
    if message.answer is not None:
        record["answer"] = message.answer
    return record


def _to_message(record: Mapping[str, Json]) -> Message:
    calls = tuple(Call(name=name, arguments=arguments) for name, arguments in record.get("calls", ()))
    return Message(role=record["role"], content=record["content"], calls=calls, answer=record.get("answer"))
