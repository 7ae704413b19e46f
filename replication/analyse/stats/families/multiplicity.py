"""Adjust the p-values or e-values of a family, or combine them into one.

Which question takes which: all of them, `intersection_union`; at least one, `simes`, `fisher`, `stouffer`,
`harmonic_mean_p`; which ones, `holm`, `hommel` (or `max_t` where resamples share their draws); exploring,
`benjamini_hochberg`.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from replication.errors import AnalysisError


class Combined(NamedTuple):
    """A test of the hypothesis that all null hypotheses of the family hold."""

    statistic: float
    p: float


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Adjust p-values by Holm's step-down method (1979): which of them hold, under any dependence.

    Own code because statsmodels' `multipletests` collects garbage at every call, 80 ms; a test holds it to that function.
    """
    p = _checked(p)
    order = np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)).clip(max=1.0)
    return adjusted[np.argsort(order, kind="stable")]


def hommel(p: ArrayLike) -> NDArray[np.float64]:
    """Adjust p-values by Hommel's method (1988): the closed test of Simes' p; more power than Holm's.

    Adjusted p_i is the largest Simes p of the sets that contain i. Of the sets of m, the worst adds the m - 1 largest of
    the others. Valid under independence and the positive dependence Simes' test needs. Own code for the reason of `holm`.
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


def benjamini_hochberg(p: ArrayLike) -> NDArray[np.float64]:
    """Adjust p-values for the false discovery rate (Benjamini & Hochberg 1995), for exploratory families."""
    return stats.false_discovery_control(_checked(p), method="bh")


def intersection_union(p: ArrayLike) -> float:
    """Test "all of them": the largest p-value, without correction (Berger 1982)."""
    return float(_checked(p).max())


def simes(p: ArrayLike) -> float:
    """Test "at least one": min_i n p_(i) / i (Simes 1986); valid under independence and positive dependence."""
    p = np.sort(_checked(p))
    return float((p.size * p / np.arange(1, p.size + 1)).min())


def fisher(p: ArrayLike) -> Combined:
    """Test "at least one" of independent p-values: -2 sum log p against chi-square with 2n df (Fisher 1932)."""
    return _combined(p, "fisher")


def stouffer(p: ArrayLike, weights: ArrayLike | None = None) -> Combined:
    """Test "at least one" of independent one-sided p-values: sum w z / sqrt(sum w^2) (Stouffer 1949).

    weights : (n,) for example 1/SE; None gives each the same. The statistic is that z.
    """
    p = _checked(p)
    weights = np.ones(p.size) if weights is None else np.asarray(weights, float)
    if weights.shape != p.shape or not (np.isfinite(weights) & (weights >= 0)).all() or not weights.any():
        raise AnalysisError(
            f"`weights` must be one number of at least 0 per p-value, not all 0; got {weights.tolist()}."
        )
    z = stats.norm.isf(p)[weights > 0]
    if np.isposinf(z).any() and np.isneginf(z).any():
        raise AnalysisError(
            "p-values of exactly 0 and 1 contradict each other without bound; Stouffer's z is undefined."
        )
    statistic = float(weights[weights > 0] @ z / np.linalg.norm(weights))
    return Combined(statistic, float(stats.norm.sf(statistic)))


def harmonic_mean_p(p: ArrayLike) -> Combined:
    """Test "at least one" by the harmonic mean of the p-values, little affected by dependence (Wilson 2019).

    statistic : n / sum(1/p), itself about the p-value where it is small. p : corrected, 1/statistic against the Landau
    law with location log n + 0.874 and scale pi/2, its limit for many independent p-values.
    """
    p = _checked(p)
    if (p == 0).any():
        return Combined(0.0, 0.0)
    mean = p.size / float((1 / p).sum())
    location = np.log(p.size) + 1 - np.euler_gamma + np.log(np.pi / 2)
    tail = stats.landau.sf(1 / mean, loc=location, scale=np.pi / 2)
    return Combined(mean, float(tail))


def e_holm(e: ArrayLike) -> NDArray[np.float64]:
    """Adjust e-values step by step: which of them hold, under any dependence (Vovk & Wang 2021, algorithm 1).

    e : (n,) at least 0, each of expectation at most 1 under its null; infinite allowed. Adjusted e_i is the smallest mean
    of the sets that contain i, as the mean is what may be averaged: min_k (e_i + the k smallest) / (k + 1). Reject where
    it reaches 1/alpha: the chance of any false rejection is at most alpha.
    """
    e = _checked_e(e)
    order = np.argsort(e, kind="stable")
    ascending, adjusted = e[order], np.empty(e.size)
    below = np.concatenate([[0.0], np.cumsum(ascending)])
    for i, value in enumerate(ascending):
        adjusted[i] = ((value + below[: i + 1]) / np.arange(1, i + 2)).min()
    return adjusted[np.argsort(order, kind="stable")]


def e_benjamini_hochberg(e: ArrayLike) -> NDArray[np.float64]:
    """Adjust e-values for the false discovery rate, under any dependence (Wang & Ramdas 2022).

    Adjusted e_[i] = max_{k >= i} k e_[k] / n, e_[1] the largest; reject where it reaches 1/alpha.
    """
    e = _checked_e(e)
    order = np.argsort(-e, kind="stable")
    adjusted = np.maximum.accumulate((e[order] * np.arange(1, e.size + 1) / e.size)[::-1])[::-1]
    return adjusted[np.argsort(order, kind="stable")]


def _combined(p: ArrayLike, method: str) -> Combined:
    p = _checked(p)
    with np.errstate(divide="ignore"):  # a p-value of 0 has an infinite statistic, which is meant
        statistic, combined = stats.combine_pvalues(p, method=method)
    return Combined(float(statistic), float(combined))


def _checked(p: ArrayLike) -> NDArray[np.float64]:
    p = np.asarray(p, float)
    if p.size == 0 or not ((p >= 0) & (p <= 1)).all():
        raise AnalysisError(f"a family needs at least one p-value, each in [0, 1]; got {p.tolist()}.")
    return p


def _checked_e(e: ArrayLike) -> NDArray[np.float64]:
    e = np.asarray(e, float)
    if e.ndim != 1 or e.size == 0 or not (e >= 0).all():
        raise AnalysisError(f"a family needs at least one e-value, each at least 0; got {e.tolist()}.")
    return e
