"""The audit of one table of published scores: computed once, read by verdict rules, the reanalysis and `make audit`."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from replication.analyse.analysis_settings import AnalysisSettings
from replication.analyse.stats.printed import audit_model, designs, digits, families, row_tests
from replication.analyse.stats.printed.rows import compare
from replication.analyse.tables.summaries import POOLED, estimate_row, pooled_published
from replication.records import Claim, Estimate, Target

STATED = "stated runs"
"""Name of the tipping design at the stated runs, in conf/analysis."""
N_TIPPING_STEPS = 401
"""Points of the drawn tipping curve."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The assumptions that a claim names for the table it is about."""

    alpha: float
    """Two-sided; intervals have level 1 - alpha."""
    iccs: tuple[float, ...]
    rhos: tuple[float, ...]

    def of(self, claim: Claim) -> "Grid":
        """Return this grid with the values that the parameters of a claim fix."""
        own = claim.parameters
        return Grid(
            alpha=own.get("alpha", self.alpha),
            iccs=tuple(own.get("icc", self.iccs)),
            rhos=tuple(own.get("rho", self.rhos)),
        )


@dataclass(frozen=True, kw_only=True)
class TableAudit:
    """Everything that is computed of one published table and one pair of arms; fractions throughout.

    The tables from `one_run` to `denominators` are those of `stats.printed`, which documents their columns.
    """

    treatment: str
    control: str
    grid: Grid
    settings: AnalysisSettings
    rows: pd.DataFrame
    """As `rows.compare` returns them."""
    estimates: pd.DataFrame
    """Each row for T1 and T2 and as one unpaired run, and pooled for T2, at the icc and rho of the settings."""
    turning_all: dict[float, float | None]
    """Per icc, the task correlation from which all rows are above 0 together; None where no correlation below 1 does."""
    one_run: pd.DataFrame
    every_cell: pd.DataFrame
    """Each row over icc, runs and rho; T2."""
    stated: pd.DataFrame
    """Each row at its stated runs over icc and rho, high ones included; T2."""
    outcome: pd.DataFrame
    same_tasks: pd.DataFrame
    """Each row over icc and runs; T1."""
    scenarios: pd.DataFrame
    scenario_rows: pd.DataFrame
    family: pd.DataFrame
    """All rows together over icc and rho, high ones included; T2."""
    family_same_tasks: pd.DataFrame
    """All rows together over icc; T1."""
    turning: pd.DataFrame
    tipping: pd.DataFrame
    tipping_curve: pd.DataFrame
    required: pd.DataFrame
    replication: pd.DataFrame
    digits: pd.DataFrame
    rounded_runs: pd.DataFrame
    denominators: pd.DataFrame
    fragility_map: pd.DataFrame
    """Each row over a fine rectangle of icc and rho, T2, stated runs."""
    tipping_steps: pd.DataFrame
    """As `tipping_curve`, in fine steps, until every row has tipped (3 to 20 points)."""

    @property
    def level(self) -> float:
        """Level of the intervals."""
        return 1 - self.grid.alpha

    def claimed_family(self) -> pd.DataFrame:
        """Return the tests of all rows in the cells of the claim's grid: T1 over icc (rho does not enter), then T2."""
        same, like = self.family_same_tasks, self.family
        cells = [same[same["icc"].isin(self.grid.iccs)], like[like["rho"].isin(self.grid.rhos)]]
        return pd.concat(cells, ignore_index=True)[["target", "icc", "rho", "n_raw", "n_holm", "iut_p"]]

    def differences(self, target: Target, icc: float | None = None, rho: float | None = None) -> list[Estimate]:
        """Estimate each row at an icc and a rho; without them, at those of the settings."""
        icc, rho = self.settings.icc if icc is None else icc, self.settings.rho if rho is None else rho
        return [
            audit_model.difference(
                row.p_a, row.p_b, row.n, row.k, icc=icc, rho=rho, target=target, level=self.level
            )
            for row in self.rows.itertuples()
        ]  # fmt: skip

    def together(self, target: Target) -> families.Counts:
        """Test all rows together at the icc and rho of the settings."""
        p = [estimate.p_one_sided for estimate in self.differences(target)]
        return families.counts(np.array(p, float), alpha=self.grid.alpha)

    def tables(self) -> dict[str, pd.DataFrame]:
        """Return every table by the name of its CSV file; a table without columns has no data."""
        named = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        frames = {name: value for name, value in named.items() if isinstance(value, pd.DataFrame)}
        frames["grid"] = frames.pop("every_cell")
        return frames


class PublishedTable:
    """A table of published scores with its audits, each of which is computed when it is first needed."""

    def __init__(self, scores: pd.DataFrame, benchmarks: pd.DataFrame, grid: Grid, settings: AnalysisSettings) -> None:
        self.scores = scores
        self.benchmarks = benchmarks
        self.grid = grid
        """Of the audit, where a claim does not name another."""
        self.settings = settings
        self._audits: dict[tuple[str, str, Grid], TableAudit] = {}

    def audit(self, treatment: str, control: str, grid: Grid | None = None) -> TableAudit:
        """Return the audit of two arms."""
        key = (treatment, control, grid or self.grid)
        if key not in self._audits:
            rows = compare(self.scores, self.benchmarks, treatment, control, self.settings.unstated_runs)
            self._audits[key] = audit_rows(rows, *key, self.settings)
        return self._audits[key]


def audit_rows(rows: pd.DataFrame, treatment: str, control: str, grid: Grid, settings: AnalysisSettings) -> TableAudit:
    """Audit the rows of one pair of arms.

    rows : as `rows.compare` returns them; without printed digits (printed_a, printed_b, score_type, n_tasks) the tables of
        digits are empty.
    """
    chosen, alpha, level = settings.audit, grid.alpha, 1 - grid.alpha
    point = {"icc": settings.icc, "rho": settings.rho}
    rhos, ks = sorted({*grid.rhos, *chosen.high_rhos}), sorted({*chosen.runs, *rows["k"]})
    under = families.scenarios(rows, chosen.scenarios, alpha=alpha)
    tipping = families.tipping_table(rows, chosen.tipping, icc=settings.icc, alpha=alpha)
    binary = rows[rows["score_type"] == "binary"] if "score_type" in rows else rows.iloc[:0]
    same = families.family_grid(rows, (*chosen.same_task_iccs, *grid.iccs), [0.0], target="T1", alpha=alpha)
    return TableAudit(
        treatment=treatment, control=control, grid=grid, settings=settings, rows=rows,
        estimates=published_estimates(rows, **point, level=level),
        turning_all=families.turning_points_of_all(rows, grid.iccs, alpha=alpha),
        one_run=row_tests.one_run(rows, level=level, fraction=chosen.winners_curse),
        every_cell=row_tests.grid(rows, grid.iccs, grid.rhos, ks, level=level),
        stated=row_tests.grid(rows, grid.iccs, rhos, level=level),
        outcome=row_tests.outcome_grid(rows, grid.rhos, level=level),
        same_tasks=row_tests.grid(rows, grid.iccs, [0.0], ks, target="T1", level=level),
        scenarios=under.families, scenario_rows=under.rows,
        family=families.family_grid(rows, grid.iccs, rhos, alpha=alpha), family_same_tasks=same,
        turning=row_tests.turning_points(rows, sorted({*grid.iccs, settings.icc}), alpha=alpha),
        tipping=tipping,
        tipping_curve=families.tipping_curve(rows, chosen.taus, **point, alpha=alpha),
        required=designs.required(
            rows, icc=settings.icc, rhos=(0.0, settings.rho), powers=chosen.powers, fractions=chosen.fractions, ks=ks,
            alpha=alpha,
        ),
        replication=designs.replication(rows, **point, goal=settings.power, level=level),
        digits=digits.digits(rows, sorted({*chosen.digit_runs, *rows["k"]})) if "printed_a" in rows else pd.DataFrame(),
        rounded_runs=digits.rounded_runs(binary, chosen.rounded_runs), denominators=digits.denominators(binary),
        fragility_map=row_tests.grid(rows, _points(chosen.map_iccs), _points(chosen.map_rhos), level=level),
        tipping_steps=tipping_steps(rows, float(tipping[STATED].max()), settings, alpha),
    )  # fmt: skip


def published_estimates(rows: pd.DataFrame, *, icc: float, rho: float, level: float) -> pd.DataFrame:
    """Estimate each row for T1 and T2 and as one unpaired run, and their random-effects mean for T2, if every row varies.

    Columns: benchmark, interval (T1, T2 or unpaired), then the fields of `Estimate`.
    """
    table, like = [], []
    for row in rows.itertuples():
        for target in ("T1", "T2"):
            estimate = audit_model.difference(
                row.p_a, row.p_b, row.n, row.k, icc=icc, rho=rho, target=target, level=level
            )  # fmt: skip
            table.append({"benchmark": row.name, "interval": target, **estimate_row(estimate)})
        like.append(estimate)
        single = audit_model.unpaired_single_run(row.p_a, row.p_b, row.n, level=level)
        table.append({"benchmark": row.name, "interval": "unpaired", **estimate_row(single)})
    if len(like) > 1 and all(estimate.se for estimate in like):
        mean = pooled_published(like, level=level).estimate
        table.append({"benchmark": POOLED, "interval": "T2", **estimate_row(mean)})
    return pd.DataFrame(table)


def _points(first_last_number: Sequence[float]) -> NDArray[np.float64]:
    first, last, number = first_last_number
    return np.linspace(first, last, int(number))


def tipping_steps(rows: pd.DataFrame, farthest: float, settings: AnalysisSettings, alpha: float) -> pd.DataFrame:
    """Compute the tipping curve in fine steps, to beyond `farthest`, the checkpoint SD at which the last row tips."""
    last = min(max(0.03, 1.15 * farthest), 0.2)
    taus = np.linspace(0, last, N_TIPPING_STEPS)
    return families.tipping_curve(rows, taus, icc=settings.icc, rho=settings.rho, alpha=alpha)
