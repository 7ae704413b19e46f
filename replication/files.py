"""Atomic writing of bytes, text, JSON and CSV, and reading of CSV with declared types: no reader sees a partial file."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from replication.records import Json

if TYPE_CHECKING:
    import pandas as pd

DIGITS = 10
"""Significant digits of the numbers in published data: equal on every CPU, finer than any printed value."""
MAX_EXACT = 2.0**53
"""Below it a float without decimals can be an exact count; from it on every float has no decimals."""
DECIMALS = 14
"""Most decimals of a number whose digits are limited; smaller values are the CPU's rounding error of a zero."""


def write_bytes(path: Path, data: bytes, *, fsync: bool = False) -> Path:
    """Replace a file in one step, creating its folder if needed, and return its path.

    fsync : wait until the file and its folder are on the disk, so that a power cut does not undo the write.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not the pid alone, which processes on two machines or in two containers can have in common.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            if fsync:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:
            error.filename = str(path)  # a write to a full disk fails without it
        raise
    if fsync:
        for folder in (path.parent, path.parent.parent):
            _sync_folder(folder)
    return path


def remove_temporary(folder: Path) -> None:
    """Remove what killed processes left of unfinished writes; only for a folder that this process has locked."""
    for path in folder.glob(".*.tmp"):
        path.unlink(missing_ok=True)


def write_text(path: Path, text: str, *, fsync: bool = False) -> Path:
    """Write UTF-8 text as `write_bytes` does; lone surrogates are kept."""
    return write_bytes(path, text.encode("utf-8", "surrogatepass"), fsync=fsync)


def write_json(path: Path, value: Json, *, digits: int | None = None, fsync: bool = False) -> Path:
    """Write JSON with sorted keys, the same bytes for equal values; NaN and infinities raise ValueError.

    digits : significant digits of floats; None writes the shortest text that reads back exactly.
    """
    import msgspec

    rounded = value if digits is None else significant(value, digits)
    text = json.dumps(rounded, sort_keys=True, ensure_ascii=False, allow_nan=False)
    try:
        text = msgspec.json.format(text, indent=1)  # twice as fast as `json`, whose encoder in C does not indent
    except UnicodeEncodeError:  # a lone surrogate
        text = json.dumps(rounded, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return write_text(path, text + "\n", fsync=fsync)


def write_csv(path: Path, table: pd.DataFrame, *, digits: int | None = None) -> Path:
    """Write a table without its index and with Unix line ends, the same bytes for equal tables.

    digits : significant digits of floats; None writes the shortest text that reads back exactly.
    """
    if digits is not None:
        table = table.assign(**{str(name): _rounded(table[name], digits) for name in table})
    return write_text(path, table.to_csv(index=False, lineterminator="\n"))


def read_csv(path: Path, types: Mapping[str, str]) -> pd.DataFrame:
    """Read a table of ours; only an empty cell is missing, and a column of type `object` holds text as it was written.

    types : pandas type by column. A column without one is read as float64, because an unstated type would turn the names
    `007`, `1e5` and `true` into other values, and the names `NA` and `null` into missing ones.
    """
    import pandas as pd

    columns = pd.read_csv(path, nrows=0).columns
    return pd.read_csv(
        path, dtype={column: types.get(column, "float64") for column in columns}, keep_default_na=False, na_values=[""]
    )


def _rounded(column: pd.Series[Any], digits: int) -> pd.Series[Any]:
    """Round the floats of a column; one of mixed objects keeps its other values and its type."""
    if column.dtype.kind not in "fO":
        return column
    values = [_significant(value, digits) if isinstance(value, float) else value for value in column]
    return type(column)(values, index=column.index, dtype=column.dtype)


def significant(value: Json, digits: int = DIGITS) -> Json:
    """Round every float of a JSON value to this many significant digits."""
    if isinstance(value, float):
        return _significant(value, digits)
    if isinstance(value, Mapping):
        return {key: significant(inner, digits) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [significant(inner, digits) for inner in value]
    return value


def _significant(value: float, digits: int) -> float:
    if not math.isfinite(value) or (float(value).is_integer() and abs(value) < MAX_EXACT):
        return value + 0.0  # counts are exact, and 0 has no sign
    return round(float(f"{value:.{digits}g}"), DECIMALS) + 0.0


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
