"""The format of a run's lines and frames: records to bytes with a checksum, and back."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn, TypeVar, cast

from msgspec import MsgspecError, Raw, Struct, convert
from msgspec.json import Decoder

from replication.errors import StoreError
from replication.records import UNSCORED_REASONS, Call, Episode, Json, Message, Score, to_json

EPISODES, SCORES, FRAMES = "episodes.jsonl", "scores.jsonl", "trajectories.bin"

Key = tuple[str, str, int]
"""Identity of an episode within its run: (task_id, task_hash, trial)."""

EPISODE_FIELDS = tuple(f.name for f in dataclasses.fields(Episode) if f.name != "trajectory")
_SCORE_FIELDS = tuple(f.name for f in dataclasses.fields(Score) if f.name != "details")
BLOCK = 1 << 23
"""Bytes that are read at once."""
_TAIL = len(b',"crc":"00000000"}')
_RECOVERY = {
    EPISODES: "that episode is played again, all others are kept",
    SCORES: "that episode is graded again without a model, all others are kept",
}


class Attempt(Struct, gc=False):
    """A line of episodes.jsonl as resuming and the score table read it; `read_episodes` reads all of it."""

    task_id: str
    task_hash: str
    trial: int
    stop_reason: str
    n_turns: int
    n_malformed: int
    n_prompt_tokens: int
    n_completion_tokens: int
    frame: tuple[int, int, int]
    """Offset, length and CRC-32 of the trajectory in trajectories.bin."""
    number: int = 0
    """Of the line, 1-based."""
    offset: int = 0
    """Of the line in the file, bytes."""
    checksum: int = 0
    """Of the line; identifies the attempt."""
    key: Key = ("", "", 0)
    """Identity of the episode."""

    @property
    def failed(self) -> bool:
        """Whether the set-up, not the model, ended the episode."""
        return self.stop_reason in UNSCORED_REASONS


class Grade(Struct, gc=False):
    """A line of scores.jsonl."""

    task_id: str
    task_hash: str
    trial: int
    value: float | None
    grader: str
    attempt: str
    """Checksum of the graded line of episodes.jsonl, eight hex digits."""
    details: Raw
    """JSON."""
    number: int = 0
    offset: int = 0
    checksum: int = 0
    key: Key = ("", "", 0)
    """Identity of the episode that was graded."""


L = TypeVar("L", Attempt, Grade)


class Sealed(NamedTuple):
    """A line as it is written."""

    line: bytes
    crc: int


_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)


def encode(value: Json) -> bytes:
    """Return a value as JSON bytes; lone surrogates are kept."""
    return _encoder.encode(value).encode("utf-8", "surrogatepass")


def seal(record: Mapping[str, Json]) -> Sealed:
    """Return the line of a record, with its checksum at the end, and that checksum."""
    body = encode(record)[:-1]
    crc = zlib.crc32(body)
    return Sealed(b'%s,"crc":"%08x"}\n' % (body, crc), crc)


def read_lines(path: Path, run_id: str, kind: type[L]) -> Iterator[L]:
    """Read the complete lines of a file; a partial last line, without newline, is left out.

    Works on blocks of lines with one call of C code per step, because runs of a million episodes are read at each start.
    """
    decoder, known, start = Decoder(kind), _Texts(), b'{"run_id":%s,' % encode(run_id)
    number, offset, partial = 0, 0, b""
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            block = partial + block
            end = block.rfind(b"\n") + 1
            partial = block[end:]
            lines = block[:end].split(b"\n")[:-1]
            records: Sequence[L | None]
            try:
                records = decoder.decode_lines(block[:end])
            except (MsgspecError, UnicodeDecodeError):
                records = [_decoded(raw, kind) for raw in lines]  # None: not a line of this store
            crcs = [zlib.crc32(raw[:-_TAIL]) for raw in lines]
            sound = len(records) == len(lines) and None not in records and all(raw.startswith(start) for raw in lines)
            if not (
                sound and b"".join([raw[-_TAIL:] for raw in lines]) == b"".join([b',"crc":"%08x"}' % c for c in crcs])
            ):
                _raise_problem(path, lines, number, run_id, kind)
            for record, crc, raw in zip(cast(list[L], records), crcs, lines, strict=True):
                number += 1
                record.task_id, record.task_hash = task, content = known[record.task_id], known[record.task_hash]
                record.key = (task, content, record.trial)
                record.number, record.offset, record.checksum = number, offset, crc
                if isinstance(record, Attempt) and record.stop_reason == "context_overflow" and record.n_turns == 1:
                    record.stop_reason = _current_reason(_json(raw))
                offset += len(raw) + 1
                yield record


class _Texts(dict[str, str]):
    """Keeps one copy of each text: the lines of a run repeat few task ids, hashes and graders."""

    def __missing__(self, text: str) -> str:
        self[text] = text
        return text


def _decoded(raw: bytes, kind: type[L]) -> L | None:
    # Texts with lone surrogates are no UTF-8, which the fast decoder requires.
    try:
        record = _json(raw)
        if kind is Grade:
            record["details"] = Raw(encode(record["details"]))
        return convert(record, kind)
    except (ValueError, TypeError, KeyError):  # MsgspecError is a ValueError
        return None


def _current_reason(episode: Mapping[str, Json]) -> str:
    """Return the stop reason of an episode in the words of today.

    A first request without room for its reply was once stored as a context_overflow of the model, and scored 0. The
    episodes of an official harness have no seeds and keep its reasons.
    """
    is_first = episode["stop_reason"] == "context_overflow" and len(episode["seeds"]) == 1
    return "prompt_too_long" if is_first else str(episode["stop_reason"])


def _json(raw: bytes) -> Json:
    return json.loads(raw.decode("utf-8", "surrogatepass"))


def _raise_problem(path: Path, lines: Sequence[bytes], before: int, run_id: str, kind: type[L]) -> NoReturn:
    """Raise StoreError for the first line of a block that has a problem.

    before : lines of the file before the block.
    """
    for number, raw in enumerate(lines, before + 1):
        problem = None
        if raw[-_TAIL:-10] != b',"crc":"' or not raw.endswith(b'"}'):
            problem = "is not a line of this store"
        elif raw[-10:-2] != b"%08x" % zlib.crc32(raw[:-_TAIL]):
            problem = "does not match its checksum"
        elif (owner := _json(raw)["run_id"]) != run_id:
            problem = f"belongs to run `{owner}`"
        elif _decoded(raw, kind) is None:
            problem = "has not the fields of this version"
        if problem:
            raise StoreError(
                f"`{path}`, line {number}, {problem}. Delete that line (`sed -i.bak {number}d '{path}'`) and run "
                f"the same command again: {_RECOVERY[path.name]}."
            )
    raise AssertionError("a block without a problem")


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


def score_record(score: Score, attempt: int) -> dict[str, Json]:
    """Return the record of a score of the attempt with this checksum; ValueError if its value is out of range."""
    record = {name: getattr(score, name) for name in _SCORE_FIELDS}
    if score.value is not None:
        record["value"] = float(score.value)
        if not 0 <= record["value"] <= 1:  # also false for NaN
            raise ValueError(f"`Score.value` must be in [0, 1] or None for unscored; got {score.value!r}.")
    record["details"] = to_json(score.details) if score.details else {}
    record["attempt"] = f"{attempt:08x}"
    return record


def read_episodes(folder: Path, attempts: Iterable[Attempt], trajectories: bool) -> Iterator[Episode]:
    """Read the episodes of these lines, with their trajectories on request."""
    with (folder / EPISODES).open("rb") as file:
        for attempt in attempts:
            file.seek(attempt.offset)
            record = _json(file.readline())
            fields = {name: record[name] for name in EPISODE_FIELDS}
            fields["seeds"], fields["stop_reason"] = tuple(fields["seeds"]), _current_reason(record)
            yield Episode(**fields, trajectory=read_frame(folder, attempt) if trajectories else ())


def read_frame(folder: Path, attempt: Attempt) -> tuple[Message, ...]:
    """Read the messages of a line's episode."""
    offset, length, crc = attempt.frame
    path = folder / FRAMES
    frame = b""
    with contextlib.suppress(FileNotFoundError), path.open("rb", buffering=0) as file:
        file.seek(offset)
        frame = file.read(length)
    if len(frame) != length or zlib.crc32(frame) != crc:
        raise StoreError(
            f"`{path}` is damaged at byte {offset} or missing, trajectory of `{attempt.task_id}` "
            f"trial {attempt.trial}. Restore the file, or delete line {attempt.number} of "
            f"`{folder / EPISODES}` and run the same command again: that episode is played again."
        )
    return tuple(_to_message(m) for m in _json(zlib.decompress(frame)))


def message_record(message: Message) -> dict[str, Json]:
    """Return the record of a message as it is stored in a frame."""
    record: dict[str, Json] = {"role": message.role, "content": message.content}
    if message.calls:
        record["calls"] = [[call.name, dict(call.arguments)] for call in message.calls]
    if message.answer is not None:
        record["answer"] = message.answer
    if message.thinking:
        record["thinking"] = message.thinking
    return record


def _to_message(record: Mapping[str, Json]) -> Message:
    calls = tuple(Call(name=name, arguments=arguments) for name, arguments in record.get("calls", ()))
    return Message(
        role=record["role"], content=record["content"], calls=calls, answer=record.get("answer"),
        thinking=record.get("thinking", ""),
    )  # fmt: skip
