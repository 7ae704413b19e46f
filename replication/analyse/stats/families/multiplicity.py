"""Adjusted p-values of a family of tests, and combinations of them into one.

Which hypotheses are false: `holm`, `hommel`. At least one: `fisher`, `stouffer`. All of them: `intersection_union`.
Resampled max-T is not here: benchmarks share no tasks, so that at T2 their tests are independent, and three training runs
are too few to resample at T3.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from replication.analyse.stats.distributions import chi2_sf, normal_sf
from replication.errors import AnalysisError


class Combined(NamedTuple):
    """A test of the hypothesis that all null hypotheses of the family hold."""

    statistic: float
    p: float


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Adjust p-values by Holm's step-down method (1979), valid under any dependence.

    Implemented here because statsmodels' `multipletests` runs the garbage collector at every call, 80 ms; a test compares
    the two.
    """
    p = _checked(p)
    order = np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)).clip(max=1.0)
    return adjusted[np.argsort(order, kind="stable")]


def hommel(p: ArrayLike) -> NDArray[np.float64]:
    """Adjust p-values by Hommel's method (1988): the closed test of Simes' p (1986), with more power than Holm's.

    Adjusted p_i is the largest Simes p, min_j m p_(j)/j, of the sets of m that contain i; for each m the largest is that of
    i with the m - 1 largest of the others. Valid under independence and under positive dependence. Implemented here for
    the same reason as `holm`.
    """
    p = _checked(p)
    order = np.argsort(p, kind="stable")
    ascending, n = p[order], p.size
    adjusted = ascending.copy()
    for m in range(2, n + 1):
        others = (m * ascending[n - m + 1 :] / np.arange(2, m + 1)).min()  # the m - 1 largest, at ranks 2..m
        member = m * np.minimum(ascending, ascending[n - m])  # i itself at rank 1, or the set is the m largest
        adjusted = np.maximum(adjusted, np.minimum(member, others))
    return adjusted[np.argsort(order, kind="stable")]


def intersection_union(p: ArrayLike) -> float:
    """Test that all null hypotheses are false: the largest p-value, without correction (Berger 1982)."""
    return float(_checked(p).max())


def fisher(p: ArrayLike) -> Combined:
    """Test that at least one null hypothesis is false: -2 sum log p, chi-square with 2n df, independent (Fisher 1932)."""
    p = _checked(p)
    with np.errstate(divide="ignore"):  # a p-value of 0 has an infinite statistic, as intended
        statistic = float(-2 * np.log(p).sum())
    return Combined(statistic, float(chi2_sf(statistic, 2 * p.size)))


def stouffer(z: ArrayLike, weights: ArrayLike | None = None) -> Combined:
    """Test that at least one null hypothesis is false: sum w z / sqrt(sum w^2), independent (Stouffer 1949).

    z : (n,), normal quantiles of one-sided p-values; exact where a p would round to 0 or 1. weights : (n,), for example
        1/SE; None means equal weights.
    """
    z = np.asarray(z, float)
    weights = np.ones(z.size) if weights is None else np.asarray(weights, float)
    if weights.shape != z.shape or not (np.isfinite(weights) & (weights >= 0)).all() or not weights.any():
        raise AnalysisError(
            f"`weights` must be one number of at least 0 per p-value, not all 0; got {weights.tolist()}."
        )
    z = z[weights > 0]
    if np.isposinf(z).any() and np.isneginf(z).any():
        raise AnalysisError(
            "Stouffer's z is undefined for p-values of exactly 0 and exactly 1 together, infinities of both signs."
        )
    statistic = float(weights[weights > 0] @ z / np.linalg.norm(weights))
    return Combined(statistic, float(normal_sf(statistic)))


def _checked(p: ArrayLike) -> NDArray[np.float64]:
    p = np.asarray(p, float)
    if p.size == 0 or not ((p >= 0) & (p <= 1)).all():
        raise AnalysisError(f"a family needs at least one p-value, each in [0, 1]; got {p.tolist()}.")
    return p
