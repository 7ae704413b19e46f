"""Results of any harness as one file `results.csv` with a line per attempt at an item; nothing is launched.

    task_id,trial,score,stop_reason,n_prompt_tokens,n_completion_tokens
    django__django-11099,0,1,answer,20411,1804
    django__django-11099,1,0,turn_limit,90311,8020
    astropy__astropy-6938,0,,environment_error,0,0

task_id, trial  item of the benchmark, and attempt at it from 0
score           in [0, 1]; empty if no score could be assigned, for example because a server was down: never 0
stop_reason     optional, see `records.StopReason`; default: answer, and environment_error where the score is empty
error           optional text
n_turns, n_prompt_tokens, n_completion_tokens, wall_s   optional numbers, 0 where they are not reported
judge           optional, the model that graded
"""

import csv
import math
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, cast, get_args

from replication.collect.interfaces import HarnessRun, ItemResult
from replication.errors import HarnessError
from replication.records import UNSCORED_REASONS, StopReason

FILE = "results.csv"
REQUIRED = ("task_id", "trial", "score")
COUNTS = ("n_turns", "n_prompt_tokens", "n_completion_tokens")
OPTIONAL = ("stop_reason", "error", *COUNTS, "wall_s", "judge")


class CsvResults:
    """Reads results that a harness wrote elsewhere."""

    name = "csv"
    version = "1"

    def prepare(self, run: HarnessRun) -> None:
        """Check that the file exists."""
        if not (run.folder / FILE).is_file():
            raise HarnessError(
                f"no file `{FILE}` in `{run.folder}`. Put the results of {run.spec.benchmark} there, one line per attempt; "
                f"the columns are {', '.join(REQUIRED)}, and optionally {', '.join(OPTIONAL)}."
            )

    def launch(self, run: HarnessRun) -> None:
        """Launch nothing: the results exist."""

    def validate(self, run: HarnessRun) -> list[str]:
        """Return the problems of the header and the lines, with line numbers."""
        return _read(run.folder / FILE).problems

    def ingest(self, run: HarnessRun) -> list[ItemResult]:
        """Return the lines as results."""
        return _read(run.folder / FILE).results


def build() -> CsvResults:
    """Build the adapter."""
    return CsvResults()


class _Parsed(NamedTuple):
    results: list[ItemResult]
    problems: list[str]


def _read(path: Path) -> _Parsed:
    parsed = _Parsed([], [])
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            header = list(reader.fieldnames or ())
            if wrong := _header_problem(header):
                parsed.problems.append(f"{FILE}, line 1: {wrong}")
                return parsed
            for row in reader:
                try:
                    if None in row or None in row.values():
                        raise ValueError(f"the line must have {len(header)} values, like the header")
                    parsed.results.append(_result(row, f"{FILE}, line {reader.line_num}"))
                except ValueError as error:
                    parsed.problems.append(f"{FILE}, line {reader.line_num}: {error}")
    except (UnicodeDecodeError, csv.Error) as error:
        parsed.problems.append(f"{FILE} is not a CSV file in UTF-8: {error}")
    return parsed


def _header_problem(header: list[str]) -> str:
    missing = [name for name in REQUIRED if name not in header]
    unknown = [name for name in header if name not in REQUIRED + OPTIONAL]
    if not missing and not unknown and len(set(header)) == len(header):
        return ""
    return (
        f"the columns are {', '.join(header) or 'none'}; each at most once, required are {', '.join(REQUIRED)}, allowed "
        f"are {', '.join(OPTIONAL)}"
    )


def _result(row: Mapping[str, str], source: str) -> ItemResult:
    if not row["task_id"].strip():
        raise ValueError("`task_id` is empty")
    value = _number("score", row["score"], 1.0) if row["score"].strip() else None
    reason = row.get("stop_reason", "").strip() or ("environment_error" if value is None else "answer")
    if reason not in get_args(StopReason):
        raise ValueError(f"`stop_reason` is {reason!r}; allowed: {', '.join(get_args(StopReason))}")
    if value is not None and reason in UNSCORED_REASONS:
        raise ValueError(f"an attempt that ended in {reason} has no score; got {row['score']!r}, leave it empty")
    judge = row.get("judge", "").strip()
    n_turns, n_prompt_tokens, n_completion_tokens = (_integer(name, row.get(name) or "0") for name in COUNTS)
    return ItemResult(
        task_id=row["task_id"].strip(), trial=_integer("trial", row["trial"]), value=value,
        stop_reason=cast(StopReason, reason), error=row.get("error", "").strip() or None, n_turns=n_turns,
        n_prompt_tokens=n_prompt_tokens, n_completion_tokens=n_completion_tokens,
        wall_s=_number("wall_s", row.get("wall_s") or "0", math.inf), details={"judge": judge} if judge else {},
        source=source,
    )  # fmt: skip


def _integer(name: str, text: str) -> int:
    if not (text.strip().isascii() and text.strip().isdigit()):
        raise ValueError(f"`{name}` must be an integer from 0; got {text!r}")
    return int(text)


def _number(name: str, text: str, high: float) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (0 <= value <= high and math.isfinite(value)):
        raise ValueError(f"`{name}` must be a number in [0, {high:g}]; got {text!r}")
    return value
