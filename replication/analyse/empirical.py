"""The published table under the icc, the rho and the run spread that others observed, beside the declared assumptions.

A sensitivity, not a replacement: verdicts are decided over the grid that their claim declares. Observed: `outcome_facts.csv`
(derived from public results per task), tasks per repository (`task_groups.csv`), and standard deviations between runs
(`run_spreads.csv`). Not covered: that any of them holds for the two checkpoints of the table.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import pandas as pd

from replication.analyse import evidence
from replication.analyse.stats.distributions import normal_ppf
from replication.analyse.stats.estimates.agreement import implied_icc
from replication.analyse.stats.printed import families, groups
from replication.analyse.stats.printed.rows import standard_errors
from replication.analyse.table_audit import TableAudit
from replication.errors import AnalysisError


class Observed(NamedTuple):
    """What others observed, as the packaged evidence has it."""

    facts: pd.DataFrame
    groups: pd.DataFrame
    spreads: pd.DataFrame


NAMES = {
    "icc": "icc, agents on Terminal-Bench-Core",
    "rho": "rho, two models in one scaffold there",
    "rho_any": "rho, any two agents there",
    "group_icc": "icc of repositories, SWE-bench Pro, two models within 10 points",
    "group_icc_any": "icc of repositories, any two models there",
    "group_se_ratio": "standard error with repositories as clusters over that without, any two",
}
"""What the observed ranges are called in tables."""


class Range(NamedTuple):
    """Smallest, median and largest of several observed values."""

    low: float
    median: float
    high: float
    n: int


class Empirical(NamedTuple):
    """Every table of the sensitivity."""

    ranges: dict[str, Range]
    """By what was observed; NAMES says of what."""
    facts: pd.DataFrame
    cells: pd.DataFrame
    """The test of all rows, T2, at each pair of observed icc and rho; columns of `families.family_grid`."""
    grouped: pd.DataFrame
    """Rows with groups, at the settings' icc and rho, at the median and the largest observed icc of groups."""
    grouped_family: pd.DataFrame
    """All rows over the claim's grid at these."""
    grouped_mean: pd.DataFrame
    """The mean of the rows at these: group_icc, mean, low, high."""
    run_sds: pd.DataFrame
    """SD between evaluation runs per benchmark: n, n_tasks, sd (root mean square), implied_icc, and those that the audit
    takes over the grid, `assumed_low` and `assumed_high`."""
    checkpoints: pd.DataFrame
    """The rows and their mean at observed SDs between training runs, T3."""


def load() -> Observed:
    """Return the packaged evidence."""
    return Observed(evidence.load_facts(), evidence.load_groups(), evidence.load_spreads())


def observed_range(facts: pd.DataFrame, statistic: str, relation: str) -> Range:
    """Return the range of a statistic over the rows of one relation; of a row that is itself a range, that range."""
    rows = facts[(facts["statistic"] == statistic) & (facts["relation"] == relation)]
    if rows.empty:
        raise AnalysisError(f"outcome_facts.csv has no row with statistic `{statistic}` and relation `{relation}`.")
    if len(rows) == 1 and rows["limits"].iloc[0] == "range":
        row = rows.iloc[0]
        return Range(float(row["low"]), float(row["value"]), float(row["high"]), int(row["n_values"]))
    values = rows["value"].to_numpy(float)
    return Range(float(values.min()), float(np.median(values)), float(values.max()), len(values))


def ranges(facts: pd.DataFrame) -> dict[str, Range]:
    """Return the observed ranges that the sensitivity uses."""
    return {
        "icc": observed_range(facts, "icc", "one"),
        "rho": observed_range(facts, "rho", "same_scaffold"),
        "rho_any": observed_range(facts, "rho", "all"),
        "group_icc": observed_range(facts, "group_icc", "within_10_points"),
        "group_icc_any": observed_range(facts, "group_icc", "all"),
        "group_se_ratio": observed_range(facts, "group_se_ratio", "all"),
    }


def examine(audit: TableAudit, observed: Observed) -> Empirical:
    """Audit the rows of a table under what others observed."""
    found, settings, alpha = ranges(observed.facts), audit.settings, audit.grid.alpha
    sizes, group_iccs = _sizes(observed), (found["group_icc"].median, found["group_icc"].high)
    grid = {"iccs": audit.grid.iccs, "rhos": sorted(set(audit.grid.rhos))}
    return Empirical(
        ranges=found, facts=observed.facts,
        cells=families.family_grid(audit.rows, found["icc"][:3], found["rho"][:3], alpha=alpha),
        grouped=groups.grouped_rows(
            audit.rows, sizes, group_iccs, icc=settings.icc, rho=settings.rho, level=audit.level
        ),
        grouped_family=groups.grouped_family(audit.rows, sizes, group_iccs, **grid, alpha=alpha),
        grouped_mean=grouped_mean(audit, observed), run_sds=run_sds(observed.spreads, audit.grid.iccs),
        checkpoints=checkpoints(audit, observed.spreads),
    )  # fmt: skip


def grouped_mean(audit: TableAudit, observed: Observed) -> pd.DataFrame:
    """Average the rows for tasks of other groups, T2, at the settings' icc and rho; normal quantiles."""
    rows, settings, found = audit.rows, audit.settings, ranges(observed.facts)["group_icc"]
    mean, quantile, table = float((rows["p_b"] - rows["p_a"]).mean()), float(normal_ppf((1 + audit.level) / 2)), []
    for group_icc in (found.median, found.high):
        errors = groups.grouped_errors(rows, _sizes(observed), group_icc, icc=settings.icc, rho=settings.rho)
        half = quantile * math.hypot(*errors) / len(rows)
        table.append({"group_icc": group_icc, "mean": mean, "low": mean - half, "high": mean + half})
    return pd.DataFrame(table)


def _sizes(observed: Observed) -> dict[str, list[int]]:
    return {str(name): part["n_tasks"].tolist() for name, part in observed.groups.groupby("benchmark", sort=False)}


def run_sds(spreads: pd.DataFrame, iccs: tuple[float, ...]) -> pd.DataFrame:
    """Compare SDs between evaluation runs with those that the audit model has at the ends of a grid of icc."""
    known = spreads[(spreads["level"] == "evaluation") & spreads["n_tasks"].notna() & (spreads["mean_percent"] != "")]
    table = []
    for benchmark, part in known.groupby("benchmark", sort=False):
        means, n = pd.to_numeric(part["mean_percent"]) / 100, part["n_tasks"].astype(float)
        single = float((means * (1 - means) / n).mean())
        table.append(
            {
                "benchmark": benchmark, "n": len(part), "n_tasks": int(n.iloc[0]),
                "sd": math.sqrt(float((part["sd"] ** 2).mean())), "implied_icc": implied_icc(means, part["sd"], n),
                "assumed_low": math.sqrt((1 - max(iccs)) * single), "assumed_high": math.sqrt((1 - min(iccs)) * single),
            }
        )  # fmt: skip
    return pd.DataFrame(table)


def checkpoints(audit: TableAudit, spreads: pd.DataFrame) -> pd.DataFrame:
    """Test the rows and their mean for T3, one checkpoint per arm, at observed SDs between training runs.

    Columns: which (lowest, median, highest), tau, n (SDs), then as in `families.family_grid`; mean, and its limits if a
    checkpoint moves every benchmark on its own (separate_low, separate_high) or all of them alike (shared_low,
    shared_high), at the settings' icc and rho. The SDs are as printed, with the noise of evaluation, so on the large side.
    """
    sds = spreads.loc[spreads["level"] == "training", "sd"]
    rows, settings = audit.rows, audit.settings
    point = {"icc": settings.icc, "rho": settings.rho}
    n, mean = len(rows), float((rows["p_b"] - rows["p_a"]).mean())
    own = float((standard_errors(rows, icc=settings.icc, rho=settings.rho) ** 2).sum()) / n**2
    table = []
    for which, tau in (("lowest", sds.min()), ("median", sds.median()), ("highest", sds.max())):
        curve = families.tipping_curve(rows, [float(tau)], **point, alpha=audit.grid.alpha).iloc[0]
        cell = {
            "which": which,
            "tau": float(tau),
            "n": len(sds),
            "n_raw": int(curve["n_raw"]),
            "n_holm": int(curve["n_holm"]),
            "iut_p": float(curve["iut_p"]),
        }
        for name, variance in (("separate", own + 2 * tau**2 / n), ("shared", own + 2 * tau**2)):
            half = float(normal_ppf((1 + audit.level) / 2)) * math.sqrt(variance)
            cell |= {f"{name}_low": mean - half, f"{name}_high": mean + half}
        table.append({**cell, "mean": mean})
    return pd.DataFrame(table)


def tables(e: Empirical) -> dict[str, pd.DataFrame]:
    """Return every table that has rows by the name of its CSV file."""
    found = pd.DataFrame([{"what": name, **value._asdict()} for name, value in e.ranges.items()])
    named = {
        "observed_ranges": found, "observed_cells": e.cells, "observed_groups": e.grouped,
        "observed_groups_family": e.grouped_family, "observed_groups_mean": e.grouped_mean,
        "observed_run_sds": e.run_sds, "observed_checkpoints": e.checkpoints,
    }  # fmt: skip
    return {name: table for name, table in named.items() if len(table)}
