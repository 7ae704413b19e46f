"""Reading a CSV table column by column, with an error that names row and column of the first invalid cell."""

import datetime
import io
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from replication.errors import EvidenceError

Convert = Callable[[str], Any]
"""Converts the text of a cell; raises ValueError with the rule that the text breaks."""


class TextTable(NamedTuple):
    """A table in memory whose cells are all text, to be checked as a file is."""

    name: str
    """In error messages."""
    cells: pd.DataFrame


CERTAINTIES = ("read", "inferred")


def name_of(source: Path | TextTable) -> str:
    """Return the name of a table in error messages."""
    return source.name


def read_text(path: Path) -> TextTable:
    """Read a CSV file without converting its cells.

    A byte order mark, spaces around column names and empty rows are dropped. The index counts the rows of the file from 0
    after the header, empty ones included, so that errors name the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
        lead = len(text) - len(text.lstrip("\r\n"))
        cells = pd.read_csv(io.StringIO(text[lead:]), dtype=str, keep_default_na=False, skip_blank_lines=False)
    except (OSError, ValueError) as error:  # the parser's errors and a wrong encoding are ValueErrors
        reason = str(error).rpartition("C error: ")[2]
        raise EvidenceError(f"{path} cannot be read as a CSV table: {reason}") from error
    for separator, name in ((";", "semicolons"), ("\t", "tabs")):
        if len(cells.columns) == 1 and separator in cells.columns[0]:
            raise EvidenceError(
                f"{path.name}: columns are separated by {name}; save it with commas, and decimals with points."
            )
    if not isinstance(cells.index, pd.RangeIndex):
        raise EvidenceError(f"{path.name}: rows have more fields than the header has columns; quote texts with commas.")
    cells.index += text[:lead].count("\n")
    filled = cells.ne("").any(axis=1)
    return TextTable(path.name, cells[filled].rename(columns=str.strip))


def read(source: Path | TextTable, key: list[str], columns: Mapping[str, Convert]) -> pd.DataFrame:
    """Read and convert a table that has exactly these columns; `key` columns identify a row.

    Raises EvidenceError that names the table, the row (line of the file) and the column.
    """
    name, cells = source if isinstance(source, TextTable) else read_text(source)
    check_columns(name, cells, required=tuple(columns))
    if cells.empty:
        raise EvidenceError(f"{name}: the table has no rows.")
    table = pd.DataFrame(
        {column: _converted(name, cells[column], columns[column]) for column in columns}, index=cells.index
    )
    repeated = table.duplicated(key)
    if repeated.any():
        raise EvidenceError(
            f"{name}, row {line_of(repeated)}, columns `{'`, `'.join(key)}`: repeats an earlier row."
        )  # fmt: skip
    return table


def check_columns(
    name: str, cells: pd.DataFrame, required: tuple[str, ...], optional: tuple[str, ...] = (), otherwise: str = ""
) -> None:
    """Validate the column names of a table; `otherwise` is appended to the error."""
    listed = f"{', '.join(required)}, optional {', '.join(optional)}" if optional else ", ".join(required)
    for column in required:
        if column not in cells:
            raise EvidenceError(f"{name}: column `{column}` is missing; needed are {listed}{otherwise}.")
    for column in cells:
        if column not in required + optional:
            allowed = ", ".join(required + optional)
            raise EvidenceError(f"{name}: column `{column}` is unknown; allowed are {allowed}{otherwise}.")


def _converted(name: str, column: "pd.Series[str]", convert: Convert) -> list[Any]:
    values = []
    for at, cell in column.items():
        try:
            values.append(convert(cell.strip()))
        except ValueError as error:
            raise EvidenceError(f"{name}, row {at + 2}, column `{column.name}`: {error}; got {cell!r}.") from None
    return values


def line_of(wrong: "pd.Series[bool]") -> int:
    """Return the line of the file with the first row marked as wrong."""
    return int(wrong.index[wrong.to_numpy().argmax()]) + 2


def text(cell: str) -> str:
    """Accept any printable text but none: a control character would make a figure invalid."""
    if not cell:
        raise ValueError("must not be empty")
    if not cell.isprintable():
        raise ValueError("must have printable characters only")
    return cell


def one_of(allowed: tuple[str, ...]) -> Callable[[str], str]:
    """Return a converter that accepts these texts."""

    def convert(cell: str) -> str:
        if cell not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return cell

    return convert


def or_missing(convert: Callable[[str], float]) -> Callable[[str], float]:
    """Return a converter that turns an empty cell into NaN."""
    return lambda cell: convert(cell) if cell else float("nan")


def or_empty(convert: Callable[[str], str]) -> Callable[[str], str]:
    """Return a converter that accepts an empty cell too."""
    return lambda cell: convert(cell) if cell else ""


def positive(cell: str) -> float:
    """Convert a finite number above 0."""
    try:
        number = float(cell)
    except ValueError:
        raise ValueError("must be a number") from None
    if not 0 < number < float("inf"):
        raise ValueError("must be a finite number above 0")
    return number


def count(cell: str) -> int:
    """Convert a whole number above 0."""
    number = positive(cell)
    if number != int(number):
        raise ValueError("must be a whole number")
    return int(number)


def percent(cell: str) -> str:
    """Return the printed digits; a value between 0 and 1 is taken for a fraction unless it has a percent sign."""
    bare = cell.removesuffix("%").strip()
    number = 0.0 if re.fullmatch(r"0+(\.0*)?|\.0+", bare) else positive(bare)
    if not re.fullmatch(r"[0-9]+(\.[0-9]*)?|\.[0-9]+", bare):
        raise ValueError("must be written in digits with a decimal point, as printed")
    if 0 < number < 1 and bare == cell:
        raise ValueError("must be a percentage, this looks like a fraction (below one percent, write the sign: 0.50%)")
    if number > 100:
        raise ValueError("must be at most 100")
    return bare


def number(cell: str) -> str:
    """Return the text of a finite number."""
    try:
        finite = abs(float(cell)) < float("inf")
    except ValueError:
        finite = False
    if not finite:
        raise ValueError("must be a finite number or empty")
    return cell


def date(cell: str) -> str:
    """Return a date as YYYY-MM-DD."""
    try:
        return datetime.date.fromisoformat(cell).isoformat()
    except ValueError:
        raise ValueError("must be a date YYYY-MM-DD") from None


ORIGIN: Mapping[str, Convert] = {"source": text, "date_read": date, "certainty": one_of(CERTAINTIES), "note": str}
"""The last columns of every table."""
