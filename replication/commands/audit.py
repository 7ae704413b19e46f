"""Audit a table of published scores: a report, tables and figures on the conclusions that its numbers support.

python -m replication audit TABLE.csv [treatment control]

TABLE.csv has one row per arm and benchmark, either with the columns of `replication.analyse.evidence.load_scores` or short:

    benchmark, arm    the benchmark and the model, or any two things that are compared
    value_percent     the number as printed, with its decimals: 33.25, not 0.3325
    n_tasks, runs     items; independent runs averaged (empty where not stated: one is assumed)
    n_clusters        optional: independent items, where several of the n_tasks are variants of one
    score_type        optional: binary (pass or fail; assumed) or bounded (any value between 0 and 100 per task)
    source, date_read optional

Without the names of two arms the file must have exactly two: the second to appear is the treatment. Everything is written
to outputs/audit/<name of the file>/. Not covered: columns with standard errors, tests, seeds, more than two arms at once.
"""

import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from replication.errors import AnalysisError
from replication.settings import CONF

if TYPE_CHECKING:
    from replication.analyse.own_table import OwnAudit

FOLDER = Path("outputs/audit")


def write(own: "OwnAudit", sesoi: float, folder: Path) -> list[Path]:
    """Write report.txt, tables and figures; all are complete before the first one replaces its earlier version."""
    from replication.files import write_csv, write_text
    from replication.publish.audit_report import figures, text
    from replication.publish.figures.style import save

    tables = own.audit.tables()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".staged-") as name:
        staged = Path(name)
        files = [write_text(staged / "report.txt", text(own) + "\n")]
        files += [write_csv(staged / f"{name}.csv", table) for name, table in tables.items() if len(table.columns)]
        files += [save(figure, staged / f"{name}.svg") for name, figure in figures(own.audit, sesoi).items()]
        for outdated in {f"{name}.csv" for name in tables} - {path.name for path in files}:
            (folder / outdated).unlink(missing_ok=True)
        return [path.replace(folder / path.name) for path in files]


def folder_name(path: Path) -> str:
    """Derive the name of a folder from that of a file: letters, digits, dot, dash and underscore."""
    return re.sub(r"[^\w.-]+", "-", path.stem, flags=re.ASCII).strip("-.") or "table"


def main(arguments: Sequence[str]) -> None:
    """Read the table, write everything, print the report."""
    if len(arguments) not in (1, 3):
        raise AnalysisError(
            f"give a table, and two arms or none: python -m replication audit TABLE.csv [treatment control] "
            f"(make audit TABLE=mine.csv); got {len(arguments)} argument{'s' * (len(arguments) != 1)}."
        )
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before NumPy: its threads would spin, with nothing to multiply
    from replication.analyse import analysis_settings, own_table
    from replication.analyse.claims import load_claims
    from replication.analyse.reanalysis import table_grid
    from replication.publish.audit_report import text
    from replication.publish.glyphs import missing_characters

    path = Path(arguments[0])
    claims, settings = load_claims(CONF / "claim"), analysis_settings.default()
    sesoi = next(claim.parameters["sesoi"] for claim in claims if "sesoi" in claim.parameters)
    scores = own_table.load_table(path)
    own = own_table.audit_table(scores, arguments[1:], table_grid(claims, settings), settings, name=path.name)
    written = write(own, sesoi, FOLDER / folder_name(path))
    print(f"{path}\n{text(own)}")
    lacking = missing_characters(text(own))
    if lacking:
        print(f"\nWARNING, boxes stand for the characters {lacking} in the figures, whose font lacks them")
    print(f"\nwritten to {written[0].parent}: {len(written)} files")
    print("  " + ", ".join(file.name for file in written if file.suffix != ".csv") + ", and the tables as CSV")
