"""What earlier scans of a file of lines found, so that a long run is opened by one checksum of the file.

    episodes.scan, scores.scan      parts: each one line of JSON, `Header`, and the rows of columns.py as bytes

The writer of a run, which has locked it, adds a part whenever enough lines are new, so a killed one leaves few of them to
read. Parts save time and hold nothing else: from the first one on that is missing, damaged, of another version or not of
these lines, all lines are read.
"""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Mapping
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from msgspec import MsgspecError, Struct
from msgspec.json import Decoder

from replication.errors import StoreError
from replication.store.lines import BLOCK, is_sealed, seal
from replication.store.locking import AppendFile

if TYPE_CHECKING:
    import numpy as np

VERSION = 2
"""Increased when lines are read in another way, such as a stop reason in the words of today."""


class Header(Struct):
    """First line of a part."""

    version: int
    run_id: str
    dtype: str
    n_rows: int
    start: int
    """First byte of the lines that were scanned: the end of the part before."""
    end: int
    lines_crc: int
    """CRC-32 of these lines."""
    tasks: list[tuple[str, str]]
    """That no earlier part has."""
    texts: list[str]
    """That no earlier part has."""
    rows_crc: int


class Extent(NamedTuple):
    """How far a scan reaches."""

    n_rows: int = 0
    n_tasks: int = 0
    n_texts: int = 0
    size: int = 0
    """Of the lines, bytes; the end of a line."""
    end: int = 0
    """Of the last part in the file of the scan, bytes."""


class Scan(NamedTuple):
    """Lines of a file, from its start, that need not be read again."""

    tasks: list[tuple[str, str]]
    texts: list[str]
    parts: list[np.ndarray]
    extent: Extent


def scan_path(path: Path) -> Path:
    """Return the path of the scan of a file of lines."""
    return path.with_suffix(".scan")


def load(path: Path, run_id: str, dtype: np.dtype) -> Scan:
    """Read the parts of the scan that are of these lines; each is compared with them by a checksum."""
    import numpy as np

    scan = Scan([], [], [], Extent())
    with contextlib.suppress(OSError), scan_path(path).open("rb") as parts, path.open("rb") as lines:
        while header := _header(parts.readline(), run_id, dtype):
            data = parts.read(header.n_rows * dtype.itemsize)
            is_whole = len(data) == header.n_rows * dtype.itemsize and zlib.crc32(data) == header.rows_crc
            if not is_whole or not _is_of(header, lines):
                break
            scan.tasks.extend(header.tasks)
            scan.texts.extend(header.texts)
            scan.parts.append(np.frombuffer(data, dtype))
            n_rows = scan.extent.n_rows + header.n_rows
            extent = Extent(n_rows, len(scan.tasks), len(scan.texts), header.end, parts.tell())
            scan = scan._replace(extent=extent)
    return scan


class ScanWriter:
    """Extends the scan of a file of lines while its writer appends to it.

    A scan that cannot be written is not extended any further: the next start takes longer, nothing is lost.

    Parameters
    ----------
    file : the lines, of which the last one is complete.
    tasks, texts : codes in the rows, by what they stand for; in the order of the codes, and may grow.
    rows : of all lines in the file.
    extent : of the scan from which the first ones of them are.
    every : lines that make a part.
    """

    def __init__(
        self, file: AppendFile, run_id: str, tasks: Mapping[tuple[str, str], int], texts: Mapping[str, int],
        rows: np.ndarray, extent: Extent, *, every: int,
    ):  # fmt: skip
        self._path, self._run_id, self._every = file.path, run_id, every
        self._tasks, self._texts, self._dtype = tasks, texts, rows.dtype
        self._extent, self._size = extent, file.size()
        new = rows[extent.n_rows :]
        self._n_new, self._is_on = len(new), True
        with self._path.open("rb") as lines:
            lines.seek(extent.size)
            self._crc = _crc(lines, self._size - extent.size)
        if self._n_new >= every:
            self._add_part(new.data.cast("B"))  # no copy: there may be a million
        else:
            self._rows = bytearray(new)

    def add(self, row: bytes, line: bytes, offset: int) -> None:
        """Take note of a line that was appended at this offset."""
        self._is_on = self._is_on and offset == self._size  # not so: an append was interrupted before it came here
        if self._is_on:
            self._rows += row
            self._crc = zlib.crc32(line, self._crc)
            self._size += len(line)
            self._n_new += 1
            if self._n_new >= self._every:
                self._add_part(self._rows)

    def _add_part(self, data: bytearray | memoryview) -> None:
        old = self._extent
        tasks, texts = list(islice(self._tasks, old.n_tasks, None)), list(islice(self._texts, old.n_texts, None))
        header = Header(
            VERSION, self._run_id, str(self._dtype.descr), self._n_new, old.size, self._size, self._crc, tasks, texts,
            zlib.crc32(data),
        )  # fmt: skip
        try:
            with AppendFile(scan_path(self._path)) as file:
                file.truncate(old.end)
                self._is_on = file.size() == old.end
                if self._is_on:
                    file.append(seal(header).line)
                    file.append(data)
                end = file.size()
        except (OSError, StoreError):
            self._is_on = False
        if self._is_on:
            n_rows, n_tasks = old.n_rows + self._n_new, old.n_tasks + len(tasks)
            self._extent = Extent(n_rows, n_tasks, old.n_texts + len(texts), self._size, end)
        self._rows, self._n_new, self._crc = bytearray(), 0, 0


def _header(line: bytes, run_id: str, dtype: np.dtype) -> Header | None:
    try:
        header = Decoder(Header).decode(line) if is_sealed(line) else None
    except (MsgspecError, UnicodeDecodeError):  # of another version, or a task id with lone surrogates
        return None
    if header is None or (header.version, header.run_id, header.dtype) != (VERSION, run_id, str(dtype.descr)):
        return None
    return header


def _is_of(header: Header, lines: BinaryIO) -> bool:
    """Tell whether a part is of the lines that follow in an open file, and read on to their end."""
    return (
        header.start == lines.tell()
        and header.lines_crc == _crc(lines, header.end - header.start)
        and header.end == lines.tell()
    )


def _crc(lines: BinaryIO, n_bytes: int) -> int:
    """Return the CRC-32 of the next bytes of an open file, or of those that are left."""
    crc = 0
    while n_bytes > 0 and (block := lines.read(min(BLOCK, n_bytes))):
        crc = zlib.crc32(block, crc)
        n_bytes -= len(block)
    return crc
