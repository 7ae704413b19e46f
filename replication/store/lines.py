"""The format of a run's lines: records to bytes with a checksum, and back."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING, Generic, NamedTuple, NoReturn, TypeVar, cast

from msgspec import MsgspecError, Raw, Struct, convert, defstruct
from msgspec.json import Decoder, Encoder
from msgspec.structs import asdict

from replication.errors import StoreError
from replication.records import Episode, Json, Score, StopReason, canonical_json

if TYPE_CHECKING:
    import numpy as np

EPISODES, SCORES, FRAMES = "episodes.jsonl", "scores.jsonl", "trajectories.bin"

Key = tuple[str, str, int]
"""Identity of an episode within its run: (task_id, task_hash, trial)."""

EPISODE_FIELDS = tuple(f.name for f in dataclasses.fields(Episode) if f.name != "trajectory")
_SCORE_FIELDS = tuple(f.name for f in dataclasses.fields(Score) if f.name != "details")
_episode_values, _score_values = attrgetter(*EPISODE_FIELDS), attrgetter(*_SCORE_FIELDS)
# Structs and not dicts: the encoder writes one in half the time, and none is seen by the garbage collector.
_EpisodeLine = defstruct("_EpisodeLine", [*EPISODE_FIELDS, "frame"], gc=False)
_ScoreLine = defstruct("_ScoreLine", [*_SCORE_FIELDS, "details", "attempt"], gc=False)
BLOCK = 1 << 23
"""Bytes that are read at once."""
_TAIL = len(b',"crc":"00000000"}')
_NEWLINE = ord("\n")
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
    """Place, length and CRC-32 of the trajectory; see frames.py."""


class Grade(Struct, gc=False):
    """A line of scores.jsonl without its details, which `read_details` reads."""

    task_id: str
    task_hash: str
    trial: int
    value: float | None
    grader: str
    attempt: str
    """Checksum of the graded line of episodes.jsonl, eight hex digits."""


class _Seeds(Struct, gc=False):
    """The seeds of a line of episodes.jsonl."""

    seeds: list[int]


L = TypeVar("L", Attempt, Grade)


class Block(NamedTuple, Generic[L]):
    """Complete lines that follow each other in a file; the arrays have one value per line."""

    records: list[L]
    first: int
    """Number of its first line, from 1."""
    offsets: np.ndarray
    """Of the lines in the file, bytes."""
    checksums: np.ndarray
    """Of the lines; identify the attempts."""


class Place(NamedTuple):
    """A line of episodes.jsonl, with all that its trajectory is found by."""

    number: int
    """From 1."""
    offset: int
    """Of the line in the file, bytes."""
    frame_place: int
    frame_length: int
    frame_crc: int


class Sealed(NamedTuple):
    """A line as it is written."""

    line: bytes
    crc: int


_fast_encoder, _sorting_encoder = Encoder(), Encoder(order="sorted")
_encoder = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), check_circular=False)


def encode(value: Json) -> bytes:
    """Return a value as JSON bytes; lone surrogates, NaN and large integers are kept."""
    fast = encode_finite(value)
    return encode_any(value) if fast is None or b"null" in fast else fast  # null: NaN is written so


def encode_finite(value: object, encoder: Encoder = _fast_encoder) -> bytes | None:
    """Return a value without NaN as JSON bytes; None if it has lone surrogates, large integers or unknown types."""
    try:
        return encoder.encode(value)
    except (UnicodeEncodeError, OverflowError, TypeError):
        return None


def encode_any(value: Json) -> bytes:
    return _encoder.encode(value).encode("utf-8", "surrogatepass")


def seal(record: Struct) -> Sealed:
    """Return the line of a record; a value that may hold NaN is encoded before, as `Raw`."""
    fast = encode_finite(record)
    body = (encode_any({k: _plain(v) for k, v in asdict(record).items()}) if fast is None else fast)[:-1]
    crc = zlib.crc32(body)
    return Sealed(b'%s,"crc":"%08x"}\n' % (body, crc), crc)


def is_sealed(line: bytes) -> bool:
    """Tell whether a line ends in its checksum."""
    return line[-_TAIL - 1 :] == b',"crc":"%08x"}\n' % zlib.crc32(line[: -_TAIL - 1])


def read_blocks(path: Path, run_id: str, kind: type[L], *, offset: int, first: int) -> Iterator[Block[L]]:
    """Read the complete lines of a file; a partial last line, without newline, is left out. Without a file there are none.

    Each step is one call of C code per block of lines, because runs of a million episodes are read at each start.

    offset, first : byte and number of the line to begin with; 0 and 1 at the start of the file.
    """
    import numpy as np

    decoder, start = Decoder(kind), b'{"run_id":%s,' % encode(run_id)
    number, partial = first, b""
    with contextlib.suppress(FileNotFoundError), path.open("rb") as file:
        file.seek(offset)
        while block := file.read(BLOCK):
            block = partial + block if partial else block
            end = block.rfind(b"\n") + 1
            block, partial = block[:end], block[end:]
            if not block:
                continue
            records: Sequence[L | None]
            try:
                records = decoder.decode_lines(block)
            except (MsgspecError, UnicodeDecodeError):
                records = [_decoded(raw, kind) for raw in block[:-1].split(b"\n")]  # None: not a line of this store
            ends = np.flatnonzero(np.frombuffer(block, np.uint8) == _NEWLINE)
            starts = np.concatenate([[0], ends[:-1] + 1])
            checksums = _checksums(block, starts, ends)
            is_sound = block.startswith(start) and block.count(b"\n" + start) == len(ends) - 1
            if checksums is None or not is_sound or len(records) != len(ends) or None in records:
                _raise_problem(path, block[:-1].split(b"\n"), number, run_id, kind)
            sound = cast(list[L], records)
            if kind is Attempt and b'"context_overflow"' in block:
                _update_reasons(sound, block[:-1].split(b"\n"))
            yield Block(sound, number, starts + offset, checksums)
            number += len(ends)
            offset += len(block)


def _checksums(block: bytes, starts: np.ndarray, ends: np.ndarray) -> np.ndarray | None:
    """Compute the CRC-32 of each line; None if one does not end in its own."""
    import numpy as np

    if (ends - starts < _TAIL).any():
        return None
    view, spans = memoryview(block), zip(starts.tolist(), (ends - _TAIL).tolist(), strict=True)
    crcs = np.fromiter(map(zlib.crc32, [view[start:end] for start, end in spans]), np.uint32, len(ends))
    stated = np.frombuffer(block, np.uint8)[ends[:, None] + np.arange(-_TAIL, 0)]
    expected = np.tile(np.frombuffer(b',"crc":"00000000"}', np.uint8), (len(ends), 1))
    digits = np.frombuffer(b"0123456789abcdef", np.uint8)
    expected[:, -10:-2] = digits[crcs[:, None] >> np.arange(28, -4, -4).astype(np.uint32) & np.uint32(15)]
    return crcs if np.array_equal(stated, expected) else None


def _update_reasons(records: Sequence[L], lines: Sequence[bytes]) -> None:
    for attempt, raw in zip(records, lines, strict=True):
        if isinstance(attempt, Attempt) and attempt.stop_reason == "context_overflow" and attempt.n_turns == 1:
            attempt.stop_reason = reason_of(read_json(raw))


def _decoded(raw: bytes, kind: type[L]) -> L | None:
    # Texts with lone surrogates are no UTF-8, which the fast decoder requires.
    try:
        return convert(read_json(raw), kind)
    except ValueError:  # MsgspecError is one
        return None


def reason_of(episode: Mapping[str, Json]) -> str:
    """Return the stop reason of an episode in the words of today.

    A first request without room for its reply was once stored as a context_overflow of the model, and scored 0. The
    episodes of an official harness have no seeds and keep its reasons.
    """
    is_first = episode["stop_reason"] == "context_overflow" and len(episode["seeds"]) == 1
    return "prompt_too_long" if is_first else str(episode["stop_reason"])


def read_json(raw: bytes) -> Json:
    return json.loads(raw.decode("utf-8", "surrogatepass"))


def _raise_problem(path: Path, lines: Sequence[bytes], first: int, run_id: str, kind: type[L]) -> NoReturn:
    """Raise StoreError for the first line of a block that has a problem.

    first : number of the first line.
    """
    for number, raw in enumerate(lines, first):
        problem = None
        if raw[-_TAIL:-10] != b',"crc":"' or not raw.endswith(b'"}'):
            problem = "is not a line of this store"
        elif raw[-10:-2] != b"%08x" % zlib.crc32(raw[:-_TAIL]):
            problem = "does not match its checksum"
        elif (owner := read_json(raw)["run_id"]) != run_id:
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


def _plain(value: Json) -> Json:
    return read_json(bytes(value)) if isinstance(value, Raw) else value


def seal_episode(episode: Episode, frame: tuple[int, int, int]) -> Sealed:
    """Return the line of an episode.

    frame : place, length and CRC-32 of its trajectory.
    """
    return seal(_EpisodeLine(*_episode_values(episode), frame))


def seal_score(score: Score, attempt: int) -> Sealed:
    """Return the line of a score of the attempt with this checksum; ValueError if its value is out of range."""
    *key, value, grader = _score_values(score)
    if value is not None:
        value = float(value)
        if not 0 <= value <= 1:  # also false for NaN
            raise ValueError(f"`Score.value` must be in [0, 1] or None for unscored; got {score.value!r}.")
    details = Raw(_encode_sorted(score.details)) if score.details else {}
    return seal(_ScoreLine(*key, value, grader, details, f"{attempt:08x}"))


def _encode_sorted(details: Mapping[str, Json]) -> bytes:
    fast = encode_finite(details, _sorting_encoder)
    if fast is None or b"null" in fast:  # NaN, as in `encode`
        return canonical_json(details).encode("utf-8", "surrogatepass")
    return fast


def current_reason(episode: Episode) -> StopReason:
    """Return the stop reason with which an episode will be read; see `reason_of`."""
    if episode.stop_reason != "context_overflow" or episode.n_turns != 1 or len(episode.seeds) != 1:
        return episode.stop_reason
    return "prompt_too_long"


def read_details(path: Path, offsets: Iterable[int]) -> Iterator[dict[str, Json]]:
    """Read the details of the lines of scores.jsonl at these offsets; empty for a negative offset."""
    with path.open("rb") as file:
        for offset in offsets:
            details: dict[str, Json] = {}
            if offset >= 0:
                file.seek(offset)
                details = read_json(file.readline())["details"]
            yield details


def read_seeds(path: Path, offsets: Iterable[int]) -> Iterator[list[int]]:
    """Read the seeds of the lines of episodes.jsonl at these offsets."""
    decoder = Decoder(_Seeds)
    with path.open("rb") as file:
        for offset in offsets:
            file.seek(offset)
            line = file.readline()
            try:
                yield decoder.decode(line).seeds
            except (MsgspecError, UnicodeDecodeError):  # as in `_decoded`
                yield read_json(line)["seeds"]
