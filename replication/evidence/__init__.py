"""Published numbers as CSV files, each row with its source, and the loader that refuses doubtful rows.

`published_scores.csv`  one row per table, arm, benchmark and metric, as printed
`benchmarks.csv`        the benchmarks those rows speak about

A table of one's own is read by the same loader: `load_scores(Path("mine.csv"))`. Not checked: whether a source says
what the row says it does; that is for a reader.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import pandas as pd

from replication.errors import EvidenceError

FOLDER = Path(__file__).parent

SCORE_TYPES = ("binary", "bounded", "composite")
CERTAINTIES = ("read", "inferred")


def load_scores(path: Path = FOLDER / "published_scores.csv") -> pd.DataFrame:
    """Read a table of published scores.

    Columns of the file
    -------------------
    table, arm, benchmark, metric : what was measured on what; together the key of a row
    params_b : size of the model in billions of parameters, may be empty
    score_type : binary, bounded (any value in [0, 1] per task), composite (weighted mean of the rows with a `weight`)
    value_percent : the number as printed, with its decimals; a fraction is refused
    n_tasks, n_clusters : items, and independent items among them; `n_clusters` is empty for a composite
    runs : independent runs averaged; empty where the source does not say
    weight : share of this row in the composite of its benchmark, empty elsewhere
    source, date_read, certainty : where the number was read, when (YYYY-MM-DD), and `read` or `inferred`
    note : anything a reader must know

    Added: `value` (fraction) and `decimals` (as printed).
    """
    table = _read(
        path,
        key=["table", "arm", "benchmark", "metric"],
        columns={
            "table": _text, "arm": _text, "params_b": _optional(_positive), "benchmark": _text, "metric": _text,
            "score_type": _one_of(SCORE_TYPES), "value_percent": _percent, "n_tasks": _count,
            "n_clusters": _optional(_count), "runs": _optional(_count), "weight": _optional(_positive),
            "source": _text, "date_read": _date, "certainty": _one_of(CERTAINTIES), "note": str,
        },
    )  # fmt: skip
    printed = table["value_percent"]
    table["value"] = printed.astype(float) / 100
    table["decimals"] = printed.str.partition(".")[2].str.len()
    return table


def load_benchmarks(path: Path = FOLDER / "benchmarks.csv") -> pd.DataFrame:
    """Read the table of benchmarks: id, name, n_tasks, primary_metric, runs_in_paper, protocol facts, source."""
    return _read(
        path,
        key=["id"],
        columns={
            "id": _text, "name": _text, "n_tasks": _count, "primary_metric": _text, "runs_in_paper": _optional(_count),
            "resources_in_paper": str, "judge": str, "source": _text, "date_read": _date,
            "certainty": _one_of(CERTAINTIES), "note": str,
        },
    )  # fmt: skip


def _read(path: Path, key: list[str], columns: Mapping[str, Callable]) -> pd.DataFrame:
    """Read a CSV file as text and convert it column by column; an error names row (line of the file) and column."""
    try:
        raw = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise EvidenceError(f"{path} cannot be read as a CSV table: {error}") from error
    missing = [column for column in columns if column not in raw]
    if missing:
        raise EvidenceError(f"{path.name}: column `{missing[0]}` is missing; needed are {', '.join(columns)}.")
    unknown = [column for column in raw if column not in columns]
    if unknown:
        raise EvidenceError(f"{path.name}: column `{unknown[0]}` is unknown; allowed are {', '.join(columns)}.")
    if raw.empty:
        raise EvidenceError(f"{path.name}: the table has no rows.")
    converted = {}
    for column, convert in columns.items():
        values = []
        for line, text in enumerate(raw[column], start=2):
            try:
                values.append(convert(text.strip()))
            except ValueError as error:
                message = f"{path.name}, row {line}, column `{column}`: {error}; got {text!r}."
                raise EvidenceError(message) from None
        converted[column] = values
    table = pd.DataFrame(converted)
    repeated = table.duplicated(key)
    if repeated.any():
        line = int(repeated.to_numpy().argmax()) + 2
        raise EvidenceError(f"{path.name}, row {line}, columns `{'`, `'.join(key)}`: repeats an earlier row.")
    return table


def _text(text: str) -> str:
    if not text:
        raise ValueError("must not be empty")
    return text


def _one_of(allowed: tuple[str, ...]) -> Callable[[str], str]:
    def convert(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return text

    return convert


def _optional(convert: Callable[[str], float]) -> Callable[[str], float]:
    return lambda text: convert(text) if text else float("nan")


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError("must be a number") from None
    if not 0 < number < float("inf"):
        raise ValueError("must be a finite number above 0")
    return number


def _count(text: str) -> int:
    number = _positive(text)
    if number != int(number):
        raise ValueError("must be a whole number")
    return int(number)


def _percent(text: str) -> str:
    """Keep the printed digits; a value between 0 and 1 is taken for a fraction, which is what it nearly always is."""
    number = _positive(text) if text not in ("0", "0.0", "0.00") else 0.0
    if 0 < number < 1:
        raise ValueError("must be a percentage, this looks like a fraction")
    if number > 100:
        raise ValueError("must be at most 100")
    return text


def _date(text: str) -> str:
    import datetime

    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        raise ValueError("must be a date YYYY-MM-DD") from None
