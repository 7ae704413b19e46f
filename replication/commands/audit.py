"""Audit tables of published scores: a report, tables and figures on the conclusions that the numbers support.

python -m replication audit TABLE.csv [MORE.csv ...] [treatment control]
python -m replication audit TABLE [MORE ...] -- treatment control

The first argument is a table, and so is each next one that ends in .csv; what follows are the two arms, in the order
treatment control. With `--`, everything before it is a table and the arms follow. Without arms every table must have exactly
two: the second to appear is the treatment. With arms every table needs both.

A table has one row per arm and benchmark, either with the columns of `replication.analyse.evidence.load_scores` or short:

    benchmark, arm    the benchmark and the model, or any two things that are compared
    value_percent     the number as printed, with its decimals: 33.25, not 0.3325
    n_tasks, runs     items; independent runs averaged (empty where not stated: one is assumed)
    n_clusters        optional: independent items, where several of the n_tasks are variants of one
    score_type        optional: binary (pass or fail; assumed) or bounded (any value between 0 and 100 per task)
    sd_percent        optional: printed SD between runs, in points; only its digits are tested
    delta_percent     optional: printed difference, treatment minus control, in points; only its digits are tested
    source, date_read optional

Everything is written to outputs/audit/<name of the file>/, of all tables or of none. The same in a program: `read`, `audit`
and `report` of replication/publish/audits.py. Not covered: printed standard errors, tests and seeds, relative differences,
more than two arms at once.
"""

import os
import re
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from replication.errors import AnalysisError

if TYPE_CHECKING:
    from replication.analyse.own_table import OwnAudit

FOLDER = Path("outputs/audit")


class Request(NamedTuple):
    """What a command line asks for."""

    tables: tuple[Path, ...]
    arms: tuple[str, ...]
    """Treatment and control, or none."""


def write(own: "OwnAudit", sesoi: float, folder: Path) -> list[Path]:
    """Write report.txt, tables and figures; all are complete before the first one replaces its earlier version."""
    from replication.analyse import table_answers
    from replication.files import write_csv, write_text
    from replication.publish.audit_report import figures, text
    from replication.publish.figures.style import save

    tables = own.audit.tables() | table_answers.tables(own.answers) | {"prints": own.prints}
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".staged-") as name:
        staged = Path(name)
        files = [write_text(staged / "report.txt", text(own, sesoi) + "\n")]
        files += [write_csv(staged / f"{name}.csv", table) for name, table in tables.items() if len(table.columns)]
        files += [save(figure, staged / f"{name}.svg") for name, figure in figures(own.audit, sesoi).items()]
        for outdated in {"tipping.svg", *(f"{name}.csv" for name in tables)} - {path.name for path in files}:
            (folder / outdated).unlink(missing_ok=True)
        return [path.replace(folder / path.name) for path in files]


def request(arguments: Sequence[str]) -> Request:
    """Tell tables and arms apart."""
    if "--" in arguments:
        at = list(arguments).index("--")
        tables, arms = list(arguments[:at]), list(arguments[at + 1 :])
    else:
        n = 1
        while n < len(arguments) and arguments[n].lower().endswith(".csv"):
            n += 1
        tables, arms = list(arguments[:n]), list(arguments[n:])
    if not tables or len(arms) not in (0, 2):
        raise AnalysisError(
            "give tables, and two arms or none in the order treatment control: python -m replication audit TABLE.csv "
            "[MORE.csv ...] [treatment control] (make audit TABLE='a.csv b.csv' ARGS='treatment control'; put `--` before "
            f"the arms if a table does not end in .csv); got {len(tables)} table{'s' * (len(tables) != 1)} and {len(arms)} "
            "of 2 arms."
        )
    paths = tuple(path for argument in tables for path in _paths(argument))
    repeated = [str(path) for i, path in enumerate(paths) if path in paths[:i]]
    if repeated:
        raise AnalysisError(f"`{repeated[0]}` is given twice; name each table once.")
    return Request(paths, tuple(arms))


def _paths(argument: str) -> list[Path]:
    """Return the tables that an argument names: itself if it is a file, else each of its words, for `make`'s TABLE."""
    if Path(argument).is_file() or not argument.strip():
        return [Path(argument)]
    try:
        words = shlex.split(argument)
    except ValueError:  # a quotation mark in a name
        return [Path(argument)]
    return [Path(word) for word in words] if all(Path(word).is_file() for word in words[:-1]) else [Path(argument)]


def folder_names(paths: Sequence[Path]) -> list[str]:
    """Derive a folder from each file: letters, digits, dot, dash and underscore; alike ones get that of their folder."""
    names: list[str] = []
    for path in paths:
        name = _plain(path.stem) or "table"
        if name in names:
            name = f"{_plain(path.resolve().parent.name)}-{name}"
        free, number = name, 1
        while free in names:
            number += 1
            free = f"{name}-{number}"
        names.append(free)
    return names


def _plain(name: str) -> str:
    return re.sub(r"[^\w.-]+", "-", name, flags=re.ASCII).strip("-.")


def main(arguments: Sequence[str]) -> None:
    """Read and audit every table, write everything, print the reports."""
    asked = request(arguments)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy: its threads would spin, with nothing to multiply
    from replication.publish import audits
    from replication.publish.audit_report import headline
    from replication.publish.glyphs import missing_characters

    done = [audits.audit(audits.read(path), *asked.arms, name=path.name) for path in asked.tables]
    sesoi = audits.sesoi()
    for path, own, folder in zip(asked.tables, done, folder_names(asked.tables), strict=True):
        written = write(own, sesoi, FOLDER / folder)
        report = audits.report(own)
        print(f"{path}\n{report}")
        lacking = missing_characters(report)
        if lacking:
            print(f"\nWARNING, boxes stand for the characters {lacking} in the figures, whose font lacks them")
        print(f"\nwritten to {written[0].parent}: {len(written)} files")
        drawn = ", ".join(file.name for file in written if file.suffix != ".csv")
        print(f"  {drawn}, and the tables as CSV" + "\n" * (len(done) > 1))
    if len(done) > 1:
        print("\n".join(f"{path}: {headline(own)}" for path, own in zip(asked.tables, done, strict=True)))
