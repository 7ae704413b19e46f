"""Variance between training runs in a crossed design: every run of a method plays every benchmark."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from replication.analyse.stats.distributions import f_sf, t_ppf

RUN_SHARE = 0.1
"""Exponent in `add_run_variance` where the runs have 4 or more degrees of freedom: 95 % intervals then cover the truth in 94
to 97 % of simulated studies (with .25 in 93.7 %, for five pairs of runs). With fewer (three pairs of runs) it is 0, or they
would cover 92 %."""

FEW_RUN_DF = 4.0

AGREEING = 1.4
"""Factor for the run variance of the other benchmarks where it stands for that of a benchmark whose own comes out 0. Runs
that agree there by luck agree too much elsewhere as well, because part of their effect is the same everywhere: with the
benchmark in the pool and without the factor, 95 % intervals of such benchmarks covered 89 to 97 % in simulated studies."""


class TotalVariance(NamedTuple):
    """The variance of a T3 difference."""

    value: NDArray[np.float64]
    df: NDArray[np.float64]


class Component(NamedTuple):
    """A mean square over its divisor: its contribution to the variance of a difference, with degrees of freedom."""

    value: Any
    """A number, or an array of them."""
    df: float


def few_runs(runs: Sequence[Component]) -> bool:
    """Whether the training runs have too few degrees of freedom for any approximation of theirs."""
    dfs = [component.df for component in runs]
    return min(dfs) * dfs.count(min(dfs)) < FEW_RUN_DF


def run_component(runs: ArrayLike) -> Component:
    """Variance of the mean of runs (..., n_training_runs), which are independent."""
    runs = np.asarray(runs, float)
    return Component(runs.var(axis=-1, ddof=1) / runs.shape[-1], runs.shape[-1] - 1.0)


def pooled_components(runs: ArrayLike) -> list[Component]:
    """Variance of the mean of runs on one benchmark, pooled over all benchmarks; two-way analysis of variance.

    runs : (n_training_runs, n_benchmarks). With y_rb = mu_b + u_r + w_rb, the average over benchmarks of the variance of
    y_.b over runs estimates var(u) + var(w). It is the sum of the variance of the runs' means over benchmarks
    (m - 1 df, u + w/B) and the rest ((m - 1)(B - 1) df, w (B - 1)/B); both over m.
    For benchmarks on which the runs spread differently see `spreads_more`.
    """
    runs = np.asarray(runs, float)
    m, n = runs.shape
    shared = run_component(runs.mean(axis=1))
    if n == 1:
        return [shared]
    over_all = float(runs.var(axis=0, ddof=1).mean()) / m
    return [shared, Component(max(over_all - float(np.asarray(shared.value)), 0.0), (m - 1.0) * (n - 1.0))]


def spreads_more(own: Sequence[Component], pooled: Sequence[Component], alpha: float = 0.1) -> bool:
    """Whether runs spread more on one benchmark than on all together: F test of the two variances, one-sided.

    Where they do, the pooled variance is too small for the benchmark: with run SDs that differ by a factor of 2.2 (one SD
    of their logarithms .8) its interval covered 76 to 94 % on the benchmark with the largest, with this test 88 to 94 %.
    """
    one, all_ = _satterthwaite(own), _satterthwaite(pooled)
    return bool(all_.value > 0 and f_sf(one.value / all_.value, one.df, all_.df) < alpha)


def _satterthwaite(components: Sequence[Component]) -> Component:
    """Add independent components."""
    values = np.array([float(np.asarray(c.value)) for c in components])
    spread = float((values**2 / np.array([c.df for c in components])).sum())
    return Component(
        float(values.sum()), float(values.sum() ** 2 / spread) if spread else min(c.df for c in components)
    )


def add_run_variance(
    variance: ArrayLike, df: ArrayLike, runs: Sequence[Component], noise: ArrayLike, *, share: float | None = None
) -> TotalVariance:
    """Add the variance between training runs to the variance from tasks and trials; elementwise over arrays (...).

    variance, df : (...) variance without training runs, and its degrees of freedom.
    runs : contributions of the training runs, per arm, or of the pairs of runs that share a phase.
    noise : (...) the part of them that `variance` includes already; it is subtracted, and the difference is at least 0.
    share : exponent of the fraction of the variance between runs that is left after subtracting `noise`; that power of the
        fraction multiplies the runs' term in Satterthwaite's df (1946). In simulations intervals cover too much with
        exponent 0 where nothing is left, and too little with exponent 1 where much is left. None: see `RUN_SHARE`.
    The df are at least the smallest of the runs', and at most `df`, so that T3 is never narrower than T2.
    """
    dfs = [component.df for component in runs]
    parts = [np.asarray(component.value, float) for component in runs]
    smallest = min(dfs)
    if share is None:
        share = 0.0 if few_runs(runs) else RUN_SHARE
    variance = np.asarray(variance, float)
    raw = np.asarray(sum(parts))
    between = np.maximum(raw - noise, 0.0)
    total = variance + between
    left = np.divide(between, raw, out=np.zeros_like(total), where=raw > 0) ** share
    spread = variance**2 / df + left * sum(part**2 / run_df for part, run_df in zip(parts, dfs, strict=True))
    total_df = np.divide(total**2, spread, out=np.full_like(total, smallest), where=spread > 0)
    return TotalVariance(total, np.minimum(np.maximum(total_df, smallest), df))


class OwnRuns(NamedTuple):
    """Variance between runs on one benchmark alone, and the part of it that tasks and trials explain."""

    components: Sequence[Component]
    noise: float


def add_pooled_runs(
    variance: float,
    df: float,
    own: OwnRuns,
    tables: Sequence[NDArray[np.float64]],
    noise: Sequence[float],
    *,
    others: Sequence[bool],
    level: float,
) -> TotalVariance:
    """Add to the variance of one benchmark the variance between runs, pooled over benchmarks.

    tables : run means (n_training_runs, n_benchmarks) per arm; noise, others : per benchmark the part that tasks and trials
    explain, and whether it is another one. Where its own runs spread more (`spreads_more`), the wider interval of the pool
    and of its own runs is taken; where they do not vary beyond the noise, that of the pool and of the others x `AGREEING`.
    """
    runs = [component for table in tables for component in pooled_components(table)]
    candidates = [add_run_variance(variance, df, runs, float(np.mean(noise)))]
    alone = add_run_variance(variance, df, own.components, own.noise)
    mask = np.asarray(others)
    if spreads_more(own.components, runs):
        candidates.append(alone)
    elif alone.value == variance and mask.any():
        rest = [component for table in tables for component in pooled_components(table[:, mask])]
        factor = 1.0 if few_runs(rest) else AGREEING
        scaled = [Component(factor * component.value, component.df) for component in rest]
        candidates.append(add_run_variance(variance, df, scaled, factor * float(np.mean(np.asarray(noise)[mask]))))
    return max(candidates, key=lambda total: float(t_ppf((1 + level) / 2, total.df) * total.value**0.5))
