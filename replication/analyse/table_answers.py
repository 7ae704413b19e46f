"""What a published table says about three questions, over every assumption that it leaves open.

Do all rows improve, does their mean, and are the arms on par? A table prints neither `icc` nor `rho`, so each question is
answered in every cell of their grid; "established" means in all of them.
"""

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from replication.analyse.stats.distributions import normal_isf, t_ppf
from replication.analyse.stats.families.meta import RandomEffects, random_effects
from replication.analyse.stats.families.multiplicity import holm
from replication.analyse.stats.printed import small_rows
from replication.analyse.stats.printed.rows import check_rows, deltas
from replication.analyse.stats.printed.small_rows import RowTests
from replication.analyse.table_audit import STATED, Grid, TableAudit, tipping_steps
from replication.analyse.tables.summaries import FLOOR_BELOW, POOLED, estimate_row, pooled_published
from replication.records import Target

MEAN = "mean of these"
"""Name of the mean over exactly these rows; that over benchmarks like these is `POOLED`."""


class Counts(NamedTuple):
    """All rows tested together at one assumption."""

    n_raw: int
    """Rows with two-sided p <= alpha."""
    n_holm: int
    iut_p: float
    """One-sided p-value of "not all rows are above 0" (intersection-union)."""


@dataclass(frozen=True, kw_only=True)
class Answers:
    """The answers of one table and one pair of arms; fractions throughout."""

    grid: Grid
    small: NDArray[np.bool_]
    """Rows whose tests are mid-p, (n_rows,)."""
    cells: pd.DataFrame
    """Each row in each cell: target, icc, rho, benchmark, value, low, high, low_par, high_par (limits at 1 - 2 alpha, which
    decide on parity), p_one_sided, p_two_sided, holm. T1 has rho 0: it does not enter."""
    means: pd.DataFrame
    """`MEAN` and `POOLED` in each T2 cell: mean, icc, rho, value, low, high, low_par, high_par; empty for one row."""
    rows: pd.DataFrame
    """Each row over the cells of T2: benchmark, n_cells, n_above, n_below (0 outside of the interval), n_below_holm, margin
    (smallest x for "on par within x" in every cell)."""
    turning_rows: pd.DataFrame
    """Task correlation from which each row has two-sided p <= alpha: benchmark, icc, rho (0: already at 0; NaN: at none)."""
    turning: dict[float, float | None]
    """Per icc, the task correlation from which all rows are above 0 together; None where no correlation below 1 does."""

    def family(self, target: Target) -> pd.DataFrame:
        """Test all rows together in each cell: icc, rho and the fields of `Counts`."""
        cells = self.cells[self.cells["target"] == target].groupby(["icc", "rho"], sort=False)
        counted = {cell: counts(part, self.grid.alpha) for cell, part in cells}
        return pd.DataFrame([{"icc": icc, "rho": rho, **c._asdict()} for (icc, rho), c in counted.items()])

    def n_all_above(self, target: Target) -> int:
        """Count the cells in which every row is above 0."""
        cells = self.cells[self.cells["target"] == target]
        return int((cells["low"] > 0).groupby([cells["icc"], cells["rho"]]).all().sum())

    def margin(self, mean: str) -> float:
        """Find the smallest x for which a mean is on par within x in every cell."""
        return _margin(self.means[self.means["mean"] == mean])


def answer(rows: pd.DataFrame, grid: Grid, turning: pd.DataFrame) -> Answers:
    """Answer for the rows of one pair of arms.

    rows : as `rows.compare` returns them, without rows at 0 or at 1 in both arms. turning : as `row_tests.turning_points`
    returns it for these rows, at least at the iccs of the grid.
    """
    check_rows(rows)
    small = small_rows.is_small(rows)
    points = _turning_rows(rows, small, turning, grid.alpha)
    like = [(icc, rho) for icc in grid.iccs for rho in grid.rhos]
    tables = [_cells(rows, "T1", [(icc, 0.0) for icc in grid.iccs], grid.alpha), _cells(rows, "T2", like, grid.alpha)]
    return Answers(
        grid=grid, small=small, cells=pd.concat(tables, ignore_index=True),
        means=_means(tables[1], grid.alpha) if len(rows) > 1 else pd.DataFrame(),
        rows=_rows(tables[1], grid.alpha), turning_rows=points, turning=_turning(rows, points, grid),
    )  # fmt: skip


def shown(audit: TableAudit, small: NDArray[np.bool_]) -> TableAudit:
    """Replace the normal tests of small rows where the report and the figures show them.

    In `estimates` and `fragility_map` they are those of `small_rows`; `tipping` and `tipping_steps`, which have no such
    test, leave small rows out. The other tables of the audit keep the normal model.
    """
    if not small.any():
        return audit
    few, settings = audit.rows[small], audit.settings
    estimates, cells = audit.estimates.set_index(["benchmark", "interval"]), audit.fragility_map
    for target in ("T1", "T2"):
        tests = small_rows.evaluate(few, icc=settings.icc, rho=settings.rho, target=target, level=audit.level)
        at = pd.MultiIndex.from_product([few["name"], [target]])
        estimates.loc[at, list(tests._fields)] = np.column_stack(tests)
        estimates.loc[at, "method"] = "effective counts, McNemar mid-p, Newcombe's paired interval"
    estimates = estimates.reset_index()
    if len(audit.rows) > 1:
        like = estimates[(estimates["interval"] == "T2") & (estimates["benchmark"] != POOLED)]
        errors = _errors(like["low"], like["high"], audit.grid.alpha)
        rows = [dataclasses.replace(e, se=se) for e, se in zip(audit.differences("T2"), errors, strict=True)]
        mean = estimate_row(pooled_published(rows, level=audit.level).estimate)
        pooled = pd.DataFrame([{"benchmark": POOLED, "interval": "T2", **mean}])
        estimates = pd.concat([estimates[estimates["benchmark"] != POOLED], pooled], ignore_index=True)
    icc, rho = (cells.loc[cells["benchmark"] == few["benchmark"].iloc[0], axis] for axis in ("icc", "rho"))
    over = small_rows.evaluate(few, icc=icc.to_numpy()[:, None], rho=rho.to_numpy()[:, None], level=audit.level)
    cells = cells.copy()
    for i, benchmark in enumerate(few["benchmark"]):
        own = cells["benchmark"] == benchmark
        for name, values in over._asdict().items():
            cells.loc[own, name] = values[:, i]
    normal, tipping, steps = audit.rows[~small], audit.tipping[~small], pd.DataFrame()
    if len(normal):
        steps = tipping_steps(normal, float(tipping[STATED].max()), settings, audit.grid.alpha)
    return dataclasses.replace(
        audit, estimates=estimates, fragility_map=cells, tipping=tipping.reset_index(drop=True), tipping_steps=steps
    )


def together(
    rows: pd.DataFrame, *, icc: float, rho: float, target: Target, k: float | None = None, alpha: float
) -> Counts:
    """Test all rows together at one assumption."""
    tests = small_rows.evaluate(rows, icc=icc, rho=rho, target=target, k=k, level=1 - alpha)
    return counts(_columns(tests), alpha)


def counts(tests: pd.DataFrame, alpha: float) -> Counts:
    """Count the rows with two-sided p <= alpha, raw and after Holm; columns p_one_sided and p_two_sided."""
    two_sided = tests["p_two_sided"].to_numpy()
    return Counts(
        n_raw=int((two_sided <= alpha).sum()),
        n_holm=int((holm(two_sided) <= alpha).sum()),
        iut_p=float(tests["p_one_sided"].max()),
    )


def _columns(tests: RowTests) -> pd.DataFrame:
    return pd.DataFrame({name: values.ravel() for name, values in tests._asdict().items()})


def _cells(rows: pd.DataFrame, target: Target, cells: list[tuple[float, float]], alpha: float) -> pd.DataFrame:
    icc, rho = (np.array(axis, float)[:, None] for axis in zip(*cells, strict=True))
    tests = small_rows.evaluate(rows, icc=icc, rho=rho, target=target, level=1 - alpha)
    wide = small_rows.evaluate(rows, icc=icc, rho=rho, target=target, level=1 - 2 * alpha)
    n = len(rows)
    return pd.DataFrame(
        {
            "target": target, "icc": np.repeat(icc, n), "rho": np.repeat(rho, n),
            "benchmark": np.tile(rows["benchmark"], len(cells)), "value": np.tile(deltas(rows), len(cells)),
        }
    ).assign(
        low=tests.low.ravel(), high=tests.high.ravel(), low_par=wide.low.ravel(), high_par=wide.high.ravel(),
        p_one_sided=tests.p_one_sided.ravel(), p_two_sided=tests.p_two_sided.ravel(),
        holm=np.concatenate([holm(p) for p in tests.p_two_sided]),
    )  # fmt: skip


def _means(cells: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Average the rows in each cell.

    Exactly these: limits by square-and-add of the rows' limits (Zou & Donner 2008), which for normal rows is the usual
    error of a mean. Benchmarks like these: random effects; half the width of a row's interval over the normal quantile is
    its standard error.
    """
    table = []
    for (icc, rho), part in cells.groupby(["icc", "rho"], sort=False):
        d, n = part["value"].to_numpy(), len(part)
        ends = [part[name].to_numpy() for name in ("low", "high", "low_par", "high_par")]
        spans = [np.sqrt(((end - d) ** 2).sum()) / n * sign for end, sign in zip(ends, (-1, 1, -1, 1), strict=True)]
        table.append([MEAN, icc, rho, d.mean(), *(d.mean() + spans)])
        fit = _like_these(d, ends[0], ends[1], alpha)
        half = float(t_ppf(1 - alpha, fit.df)) * fit.se
        limits = np.clip([fit.low, fit.high, fit.mean - half, fit.mean + half], -1, 1)  # no difference is larger
        table.append([POOLED, icc, rho, fit.mean, *limits])
    return pd.DataFrame(table, columns=["mean", "icc", "rho", "value", "low", "high", "low_par", "high_par"])


def _like_these(
    value: NDArray[np.float64], low: NDArray[np.float64], high: NDArray[np.float64], alpha: float
) -> RandomEffects:
    return random_effects(value, _errors(low, high, alpha), level=1 - alpha, floor=value.size < FLOOR_BELOW)


def _errors(low: ArrayLike, high: ArrayLike, alpha: float) -> NDArray[np.float64]:
    return np.subtract(high, low) / (2 * float(normal_isf(alpha / 2)))


def _rows(cells: pd.DataFrame, alpha: float) -> pd.DataFrame:
    table = []
    for benchmark, part in cells.groupby("benchmark", sort=False):
        below = part["high"] < 0
        table.append(
            {
                "benchmark": benchmark, "n_cells": len(part), "n_above": int((part["low"] > 0).sum()),
                "n_below": int(below.sum()), "n_below_holm": int((below & (part["holm"] <= alpha)).sum()),
                "margin": _margin(part),
            }
        )  # fmt: skip
    return pd.DataFrame(table)


def _margin(limits: pd.DataFrame) -> float:
    return float(limits[["low_par", "high_par"]].abs().to_numpy().max())


def _turning_rows(rows: pd.DataFrame, small: NDArray[np.bool_], turning: pd.DataFrame, alpha: float) -> pd.DataFrame:
    """Replace the turning points of small rows by those of their own tests."""
    points = turning[["benchmark", "icc", "rho"]].copy()
    few = {row["benchmark"].iloc[0]: row for row in (rows.iloc[[i]] for i in np.flatnonzero(small))}
    own = points["benchmark"].isin(few)
    points.loc[own, "rho"] = [
        small_rows.turning_point(few[point.benchmark], icc=point.icc, alpha=alpha) for point in points[own].itertuples()
    ]
    return points


def _turning(rows: pd.DataFrame, points: pd.DataFrame, grid: Grid) -> dict[float, float | None]:
    above = bool((deltas(rows) > 0).all())
    largest = {icc: float(points[points["icc"] == icc]["rho"].max(skipna=False)) for icc in grid.iccs}
    return {icc: rho if above and rho < 1 else None for icc, rho in largest.items()}


def tables(answers: Answers) -> dict[str, pd.DataFrame]:
    """Return every table by the name of its CSV file; a table without columns has no data."""
    named = {field.name: getattr(answers, field.name) for field in dataclasses.fields(answers)}
    return {f"answers_{name}": value for name, value in named.items() if isinstance(value, pd.DataFrame)}
