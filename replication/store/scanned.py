"""What an earlier scan of a file of lines found, so that a long run is opened by one checksum of the file.

    episodes.scan, scores.scan      one line of JSON, `Header`, and the rows of columns.py as bytes

They save time and hold nothing else: one that is missing, damaged, of another version or not of these lines is not used, and
all lines are read. Only the writer of a run, which has locked it, writes them.
"""

from __future__ import annotations

import contextlib
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from msgspec import MsgspecError, Struct
from msgspec.json import Decoder

from replication.files import write_bytes
from replication.store.lines import BLOCK, encode

if TYPE_CHECKING:
    import numpy as np

VERSION = 1
"""Increased when lines are read in another way, such as a stop reason in the words of today."""


class Header(Struct):
    """First line of a scan."""

    version: int
    run_id: str
    dtype: str
    n_rows: int
    size: int
    """Bytes of the file of lines that were scanned; the end of a line."""
    crc: int
    """CRC-32 of these bytes."""
    tasks: list[tuple[str, str]]
    texts: list[str]
    rows_crc: int


class Scan(NamedTuple):
    """A part of a file of lines, from its start, that need not be read again."""

    tasks: list[tuple[str, str]]
    texts: list[str]
    rows: np.ndarray
    size: int


def scan_path(path: Path) -> Path:
    """Return the path of the scan of a file of lines."""
    return path.with_suffix(".scan")


def load(path: Path, run_id: str, dtype: np.dtype) -> Scan | None:
    """Read the scan of a file of lines; None if there is none, or the file has changed other than at its end."""
    import numpy as np

    with contextlib.suppress(OSError), scan_path(path).open("rb") as file:
        header = _header(file.readline(), run_id, dtype)
        if header is None or header.size > path.stat().st_size or _crc(path, header.size) != header.crc:
            return None
        data = file.read()
        if zlib.crc32(data) == header.rows_crc and len(data) == header.n_rows * dtype.itemsize:
            return Scan(header.tasks, header.texts, np.frombuffer(data, dtype), header.size)
    return None


def n_rows(path: Path) -> int:
    """Return how many lines the scan of a file has; 0 if there is none."""
    with contextlib.suppress(OSError, MsgspecError, UnicodeDecodeError), scan_path(path).open("rb") as file:
        return Decoder(Header).decode(file.readline()).n_rows
    return 0


def save(path: Path, run_id: str, scan: Scan) -> None:
    """Write the scan of a file of lines."""
    data = scan.rows.tobytes()
    header = {
        "version": VERSION, "run_id": run_id, "dtype": str(scan.rows.dtype.descr), "n_rows": len(scan.rows),
        "size": scan.size, "crc": _crc(path, scan.size), "tasks": [list(task) for task in scan.tasks],
        "texts": list(scan.texts), "rows_crc": zlib.crc32(data),
    }  # fmt: skip
    with contextlib.suppress(OSError):  # a full disk: the next start takes longer, nothing is lost
        write_bytes(scan_path(path), encode(header) + b"\n" + data)


def _header(line: bytes, run_id: str, dtype: np.dtype) -> Header | None:
    try:
        header = Decoder(Header).decode(line)
    except (MsgspecError, UnicodeDecodeError):  # damaged, or a task id with lone surrogates
        return None
    expected = (VERSION, run_id, str(dtype.descr))
    return header if (header.version, header.run_id, header.dtype) == expected else None


def _crc(path: Path, size: int) -> int:
    crc = 0
    with path.open("rb") as file:
        while size > 0 and (block := file.read(min(BLOCK, size))):
            crc = zlib.crc32(block, crc)
            size -= len(block)
    return crc
