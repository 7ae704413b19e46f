"""The audit of a table of published scores in three calls: read it, audit two arms, lay out the report.

Example
-------
>>> own = audit(read(Path("mine.csv")), treatment="new", control="old")  # doctest: +SKIP
>>> print(report(own))  # doctest: +SKIP

`own.answers.rows` has each row over every assumption, `own.audit.tables()` every table of the reanalysis.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from replication.analyse import analysis_settings, own_table
from replication.analyse.analysis_settings import AnalysisSettings
from replication.analyse.claims import load_claims
from replication.analyse.own_table import OwnAudit
from replication.analyse.reanalysis import table_grid
from replication.analyse.table_audit import Grid
from replication.errors import AnalysisError
from replication.publish.audit_report import text
from replication.settings import CONF


def read(path: Path) -> pd.DataFrame:
    """Read a table of scores.

    Parameters
    ----------
    path : Path
        CSV file with the columns that `python -m replication audit --help` explains.

    Returns
    -------
    pandas.DataFrame
        One row per arm and benchmark: benchmark, arm, value (fraction), value_percent (text, as printed), n_tasks,
        n_clusters, runs (NaN where not stated), score_type and more, as `evidence.load_scores` documents.

    Raises
    ------
    EvidenceError
        The table is malformed; the message names row and column.
    """
    return own_table.load_table(path)


def audit(
    scores: pd.DataFrame, treatment: str | None = None, control: str | None = None, *, name: str = "the table"
) -> OwnAudit:
    """Audit treatment minus control.

    Parameters
    ----------
    scores : pandas.DataFrame
        As `read` returns it.
    treatment, control : str, optional
        The arms, both or neither; neither: the table has exactly two, and the second to appear is the treatment.
    name : str
        Of the table, in error messages.

    Returns
    -------
    OwnAudit
        `answers` (over every assumption: each row, all rows, the means, parity), `audit` (every table of the reanalysis),
        `prints` (tests of the printed digits), `left_out` and `warnings` (texts). Fractions throughout.

    Raises
    ------
    AnalysisError, EvidenceError
        An arm is missing or named alone, or the two arms cannot be compared.
    """
    if (treatment is None) != (control is None):
        raise AnalysisError(f"name both arms, or none; got {treatment or control}. {own_table.ORDER}")
    arms = () if treatment is None or control is None else (treatment, control)
    fixed = _fixed()
    return own_table.audit_table(scores, arms, fixed.grid, fixed.settings, name=name)


def report(own: OwnAudit) -> str:
    """Lay out the report that `make audit` prints.

    Parameters
    ----------
    own : OwnAudit
        As `audit` returns it.

    Returns
    -------
    str
        Lines of at most 120 columns, without a newline at the end.
    """
    return text(own, sesoi())


def sesoi() -> float:
    """Return the smallest effect of interest of the claims, a fraction."""
    return _fixed().sesoi


class _Fixed(NamedTuple):
    settings: AnalysisSettings
    grid: Grid
    sesoi: float


@cache
def _fixed() -> _Fixed:
    """Read what conf/ fixes for every audit."""
    claims, settings = load_claims(CONF / "claim"), analysis_settings.default()
    smallest = next(claim.parameters["sesoi"] for claim in claims if "sesoi" in claim.parameters)
    return _Fixed(settings, table_grid(claims, settings), float(smallest))
