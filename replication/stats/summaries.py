"""Tables of estimates for figures and CSV files: one row per benchmark, target and missing-data policy."""

import dataclasses
from collections.abc import Iterable

import pandas as pd

from replication.errors import AnalysisError
from replication.records import Estimate, Target
from replication.stats import audit, published
from replication.stats.arms import pairs
from replication.stats.differences import Unscored, mean_paired_difference
from replication.stats.meta import RandomEffects, random_effects
from replication.stats.power import minimal_detectable_effect

MEAN, POOLED = "mean of these", "random effects"
"""Names of the two summary rows: exactly these benchmarks, and benchmarks like these."""


def pooled(estimates: list[Estimate], *, level: float) -> tuple[Estimate, RandomEffects]:
    """Average estimates on several benchmarks by random effects (`meta.random_effects` with its floor)."""
    fit = random_effects([e.value for e in estimates], [e.se for e in estimates], level=level, floor=True)
    first = estimates[0]
    return dataclasses.replace(
        first, value=fit.mean, low=fit.low, high=fit.high, level=level, se=fit.se, df=fit.df, p_one_sided=fit.p_one_sided,
        p_two_sided=fit.p_two_sided, method=f"random effects over {len(estimates)} benchmarks, REML, Hartung-Knapp, t",
        n_tasks=sum(e.n_tasks for e in estimates), n_trials=min(e.n_trials for e in estimates),
        n_unscored=sum(e.n_unscored for e in estimates),
    ), fit  # fmt: skip


def published_estimates(rows: pd.DataFrame, *, icc: float, rho: float, level: float) -> pd.DataFrame:
    """Estimate each row of an audited table (`audit.compare`) for T1 and T2, as one unpaired run, and pooled for T2."""
    table = []
    for row in rows.itertuples():
        for target in ("T1", "T2"):
            estimate = published.difference(
                row.p_a, row.p_b, row.n, row.k, icc=icc, rho=rho, target=target, level=level
            )  # fmt: skip
            table.append({"benchmark": row.name, "interval": target, **dataclasses.asdict(estimate)})
        single = published.unpaired_single_run(row.p_a, row.p_b, row.n, level=level)
        table.append({"benchmark": row.name, "interval": "unpaired", **dataclasses.asdict(single)})
    t2 = [published.difference(r.p_a, r.p_b, r.n, r.k, icc=icc, rho=rho, level=level) for r in rows.itertuples()]
    if len(t2) > 1:
        table.append({"benchmark": POOLED, "interval": "T2", **dataclasses.asdict(pooled(t2, level=level)[0])})
    return pd.DataFrame(table)


def collected_estimates(
    scores: pd.DataFrame, treatment: str, control: str, *, level: float, power: float, policies: Iterable[Unscored]
) -> pd.DataFrame:
    """Estimate treatment minus control on each benchmark, over exactly these benchmarks, and over benchmarks like these.

    Rows that the data cannot support (T1 with one trial, T3 with one training run) are left out; benchmarks like these
    have no T1. `mde` is the minimal
    detectable effect of the design as run, at two-sided 1 - level.
    """
    by_benchmark = pairs(scores, treatment, control)
    table = []
    for policy in policies:
        for target in ("T1", "T2", "T3"):
            rows = {
                name: _or_none([pair], target=target, level=level, unscored=policy)
                for name, pair in by_benchmark.items()
            }
            rows[MEAN] = _or_none(list(by_benchmark.values()), target=target, level=level, unscored=policy)
            single = [e for name, e in rows.items() if e is not None and name != MEAN and e.se]
            if target != "T1" and len(single) == len(by_benchmark) > 1:
                rows[POOLED] = pooled(single, level=level)[0]
            table += [
                {
                    "treatment": treatment, "control": control, "benchmark": name, "policy": policy,
                    **dataclasses.asdict(estimate),
                    "mde": minimal_detectable_effect(estimate.se, estimate.df, alpha=1 - level, power=power),
                }
                for name, estimate in rows.items() if estimate is not None
            ]  # fmt: skip
    return pd.DataFrame(table)


def published_family(rows: pd.DataFrame, iccs: Iterable[float], rhos: Iterable[float], alpha: float) -> pd.DataFrame:
    """Test all rows together in every cell of the grid: T1 over icc (rho does not enter), T2 over icc and rho."""
    cells: list[tuple[Target, float, float]] = [("T1", icc, 0.0) for icc in iccs]
    cells += [("T2", icc, rho) for icc in iccs for rho in rhos]
    return pd.DataFrame(
        [{"target": t, **audit.family(rows, icc=icc, rho=rho, target=t, alpha=alpha)} for t, icc, rho in cells]
    )


def _or_none(pairs_: list, **how) -> Estimate | None:
    try:
        return mean_paired_difference(pairs_, **how)
    except AnalysisError:
        return None
