"""The trajectories of a run: frames, one per episode, compressed in blocks as soon as several are complete.

    trajectories.bin    zlib streams one after the other: blocks of frames, or single frames of earlier versions
    trajectories.raw    frames of the next block, not compressed, so that a killed process loses none

A line states the place of its frame, and length and CRC-32 of its bytes. Below 2**62 it is an offset in trajectories.bin, of
a compressed frame of an earlier version; else 2**62 + offset of the block * 2**20 + start of the frame within it, which
earlier versions take for a frame beyond the end, and refuse. A block costs half of what its frames would, one by one.
Whatever is synchronised to the disk is in blocks.
"""

from __future__ import annotations

import contextlib
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Struct

from replication.errors import StoreError
from replication.records import Call, Episode, Json, Message
from replication.store.lines import (
    EPISODE_FIELDS,
    EPISODES,
    FRAMES,
    Place,
    encode_any,
    encode_finite,
    read_json,
    reason_of,
)
from replication.store.locking import AppendFile

try:
    from isal.isal_zlib import compress  # the streams of zlib, in a third of the time and 10 % smaller
except ImportError:  # it has no wheel for every machine
    from zlib import compress

if TYPE_CHECKING:
    import numpy as np

RAW = "trajectories.raw"
LEVEL = 1
"""Of compression."""
BLOCK_BYTES = 1 << 15
"""Of frames after which a block is complete; what reading one frame has to decompress."""
_SHIFT = 20
"""Bits of the start of a frame within its block, which is at most `BLOCK_BYTES`."""
_IN_BLOCK = 1 << 62
_READ_BYTES = 1 << 13
_WITHOUT_NAN = frozenset((str, int, bool, type(None)))


class _Stored(Struct, omit_defaults=True, gc=False):
    """A message as it is stored in a frame."""

    role: str
    content: str
    calls: Sequence[tuple[str, Mapping[str, Json]]] = ()
    answer: str | None = None
    thinking: str = ""


class Frame(NamedTuple):
    """What a line states of its frame."""

    place: int
    length: int
    crc: int


class FrameWriter:
    """Appends frames; created when the lines of the run have been read.

    Parameters
    ----------
    blocks, raw : trajectories.bin and trajectories.raw.
    frames : (n_lines, 3) of all lines in the order of the file: place, length, CRC-32.
    """

    def __init__(self, blocks: AppendFile, raw: AppendFile, frames: np.ndarray):
        self._blocks, self._raw = blocks, raw
        self._pending = bytearray()
        """Frames of the next block: what is in trajectories.raw."""
        if len(frames) and frames[-1, 0] >= _IN_BLOCK:
            self._continue(frames)
        else:
            blocks.truncate(int(_ends(frames).max(initial=0)))
            raw.truncate(0)

    def _continue(self, frames: np.ndarray) -> None:
        """Continue the block of the last line if it is not complete; its frames are then in trajectories.raw."""
        offset, _ = _block_and_start(int(frames[-1, 0]))
        last = frames[frames[:, 0] >= _IN_BLOCK + (offset << _SHIFT)]
        content = self._raw.path.read_bytes()
        end = 0
        for place, length, crc in last.tolist():
            start = _block_and_start(place)[1]
            end = start + length
            if end > len(content) or zlib.crc32(content[start:end]) != crc:
                break  # trajectories.raw has been emptied since
        else:
            self._blocks.truncate(offset)
            self._raw.truncate(end)
            self._pending += content[:end]
            return
        with self._blocks.path.open("rb") as file:
            block = _read_block(file.fileno(), offset)
        if block is not None:
            self._blocks.truncate(block.end)
            self._raw.truncate(0)

    def append(self, frame: bytes) -> Frame:
        """Append a frame, or nothing and raise StoreError; `undo` takes it back."""
        if len(self._pending) >= BLOCK_BYTES:
            self.complete()
        start = len(self._pending)
        self._raw.truncate(start)  # longer only if an append was interrupted
        self._raw.append(frame)
        self._pending += frame
        return Frame(_IN_BLOCK + (self._blocks.size() << _SHIFT | start), len(frame), zlib.crc32(frame))

    def undo(self, frame: Frame) -> None:
        """Take back the frame that was appended last."""
        _, start = _block_and_start(frame.place)
        del self._pending[start:]
        self._raw.truncate(start)

    def complete(self) -> None:
        """Write the block that has begun."""
        if self._pending:
            self._blocks.append(compress(self._pending, LEVEL))
            self._pending.clear()
            self._raw.truncate(0)


class _Block(NamedTuple):
    content: bytes
    end: int
    """In trajectories.bin, bytes."""


def _block_and_start(place: int) -> tuple[int, int]:
    code = place - _IN_BLOCK
    return code >> _SHIFT, code & ((1 << _SHIFT) - 1)


def _read_block(fd: int, offset: int) -> _Block | None:
    """Read a block; None if it is not complete or damaged."""
    stream, parts = zlib.decompressobj(), []
    while not stream.eof:
        data = os.pread(fd, _READ_BYTES, offset)
        if not data:
            return None
        try:
            parts.append(stream.decompress(data))
        except zlib.error:
            return None
        offset += len(data)
    return _Block(b"".join(parts), offset - len(stream.unused_data))


def first_beyond(path: Path, frames: np.ndarray) -> int | None:
    """Return the row of the first frame that is neither in trajectories.bin nor in trajectories.raw; None if all are.

    Of those in blocks only the last block is read.

    path : trajectories.bin. frames : as for `FrameWriter`.
    """
    import numpy as np

    beyond = np.flatnonzero(_ends(frames) > path.stat().st_size)
    within = frames[: beyond[0]] if len(beyond) else frames
    if len(within) and within[-1, 0] >= _IN_BLOCK:
        offset, _ = _block_and_start(int(within[-1, 0]))
        with contextlib.closing(FrameReader(path.parent)) as reader:
            for row in np.flatnonzero(within[:, 0] >= _IN_BLOCK + (offset << _SHIFT)):
                if reader.read(Frame(*within[row].tolist())) is None:
                    return int(row)
    return int(beyond[0]) if len(beyond) else None


def _ends(frames: np.ndarray) -> np.ndarray:
    """Return the least size of trajectories.bin that each frame needs, bytes; of one in a block where its block begins."""
    import numpy as np

    is_in_block = frames[:, 0] >= _IN_BLOCK
    return np.where(is_in_block, (frames[:, 0] - _IN_BLOCK) >> _SHIFT, frames[:, 0] + frames[:, 1])


class FrameReader:
    """Reads frames, also while they are written."""

    def __init__(self, folder: Path):
        self._raw_path, self._fd = folder / RAW, -1
        with contextlib.suppress(FileNotFoundError):
            self._fd = os.open(folder / FRAMES, os.O_RDONLY)
        self._offset, self._content = -1, b""
        """Of the block that was read last."""

    def close(self) -> None:
        """Close the file."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def read(self, frame: Frame) -> bytes | None:
        """Return a frame, decompressed; None if it is damaged or missing."""
        if self._fd < 0:
            return None
        if frame.place < _IN_BLOCK:
            data = os.pread(self._fd, frame.length, frame.place)
            is_whole = len(data) == frame.length and zlib.crc32(data) == frame.crc
            return zlib.decompress(data) if is_whole else None
        offset, start = _block_and_start(frame.place)
        # Twice: the block may be completed, and trajectories.raw emptied, between the two.
        for _ in range(2):
            for content in self._contents(offset):
                data = content[start : start + frame.length]
                if len(data) == frame.length and zlib.crc32(data) == frame.crc:
                    return data
        return None

    def _contents(self, offset: int) -> Iterator[bytes]:
        if offset != self._offset and (block := _read_block(self._fd, offset)) is not None:
            self._offset, self._content = offset, block.content
        if offset == self._offset:
            yield self._content
        else:
            with contextlib.suppress(FileNotFoundError):
                yield self._raw_path.read_bytes()


def read_episodes(folder: Path, places: Iterable[Place], trajectories: bool) -> Iterator[Episode]:
    """Read the episodes of these lines, with their trajectories on request."""
    with contextlib.ExitStack() as stack:
        lines = stack.enter_context((folder / EPISODES).open("rb"))
        frames = stack.enter_context(contextlib.closing(FrameReader(folder))) if trajectories else None
        for place in places:
            lines.seek(place.offset)
            record = read_json(lines.readline())
            fields = {name: record[name] for name in EPISODE_FIELDS}
            fields["seeds"], fields["stop_reason"] = tuple(fields["seeds"]), reason_of(record)
            if frames is None:
                yield Episode(**fields, trajectory=())
                continue
            frame = frames.read(Frame(place.frame_place, place.frame_length, place.frame_crc))
            if frame is None:
                at = place.frame_place if place.frame_place < _IN_BLOCK else _block_and_start(place.frame_place)[0]
                raise StoreError(
                    f"`{folder / FRAMES}` is damaged at byte {at} or missing, trajectory of "
                    f"`{record['task_id']}` trial {record['trial']}. Restore the file, or delete line {place.number} of "
                    f"`{folder / EPISODES}` and run the same command again: that episode is played again."
                )
            yield Episode(**fields, trajectory=tuple(_to_message(m) for m in read_json(frame)))


def frame_of(trajectory: Sequence[Message]) -> bytes:
    """Return the frame of an episode's messages, not compressed."""
    stored = [
        _Stored(m.role, m.content, [(call.name, call.arguments) for call in m.calls], m.answer, m.thinking)
        if m.calls
        else _Stored(m.role, m.content, (), m.answer, m.thinking)
        for m in trajectory
    ]
    fast = encode_finite(stored)
    if fast is None or (_may_hold_nan(trajectory) and b"null" in fast):  # NaN is written so
        fast = encode_any([message_record(message) for message in trajectory])
    return fast


def _may_hold_nan(trajectory: Sequence[Message]) -> bool:
    for message in trajectory:
        for call in message.calls:
            for value in call.arguments.values():
                if type(value) not in _WITHOUT_NAN:
                    return True
    return False


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
