"""Tests and intervals that come from flipping the signs of paired differences."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from replication.errors import AnalysisError
from replication.records import Estimate

_TIE = 1e-10
"""Statistics nearer than this (relative) count as equal: they differ by rounding alone."""


class SignFlip(NamedTuple):
    """The two p-values of a sign-flip test."""

    p_two_sided: float
    p_one_sided: float
    """Of "treatment not above control"."""
    n_flips: int
    """Sign patterns looked at."""
    exact: bool
    """True where these are all there are."""


def sign_flip_test(
    differences: ArrayLike, *, rng: np.random.Generator | None, n_flips: int = 100_000, exact_up_to: int = 20
) -> SignFlip:
    """Test that the arms do not differ on any task, by the randomisation distribution of the sum (Fisher 1935).

    differences : (n_tasks,) treatment minus control, means over trials. p two-sided = share of sign patterns with |sum| at
    least as large as observed, one-sided = share with sum at least as large. All 2^n patterns where at most
    `exact_up_to` differences are not zero (zeros do not matter), then rng may be None; else `n_flips` random ones and
    (b + 1)/(B + 1) (Phipson & Smyth 2010). All differences zero gives 1.
    """
    d = np.asarray(differences, float)
    if d.ndim != 1 or d.size == 0 or not np.isfinite(d).all():
        raise AnalysisError(
            f"`differences` must be (n_tasks,), not empty, none missing; got shape {d.shape}, "
            f"{int((~np.isfinite(d)).sum())} missing or infinite."
        )
    d = d[d != 0]
    observed, tie = d.sum(), _TIE * np.abs(d).sum()
    if d.size <= exact_up_to:
        sums = np.zeros(1)
        for x in d:
            sums = np.concatenate([sums + x, sums - x])
        return SignFlip(
            float((np.abs(sums) >= abs(observed) - tie).mean()), float((sums >= observed - tie).mean()), sums.size, True
        )
    if rng is None:
        raise AnalysisError(
            f"{d.size} differences that are not zero are too many for all sign patterns (`exact_up_to` {exact_up_to}); "
            "pass `rng`."
        )
    if n_flips < 1:
        raise AnalysisError(f"`n_flips` must be at least 1; got {n_flips}.")
    two = one = 0
    for start in range(0, n_flips, 4096):
        sums = _signs(rng, min(4096, n_flips - start), d.size) @ d
        two += int((np.abs(sums) >= abs(observed) - tie).sum())
        one += int((sums >= observed - tie).sum())
    return SignFlip((two + 1) / (n_flips + 1), (one + 1) / (n_flips + 1), n_flips, False)


def wild_cluster_bootstrap(
    differences: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    rng: np.random.Generator | None,
    level: float = 0.95,
    n_resamples: int = 9_999,
    exact_up_to: int = 12,
    n_trials: int = 1,
    n_training_runs: int = 1,
) -> Estimate:
    """Estimate the mean difference for few clusters: wild cluster bootstrap-t, Rademacher, null imposed.

    differences, clusters : (n_items,) treatment minus control, and the task each belongs to; None: each its own. Cameron,
    Gelbach & Miller 2008. Under mean = b every cluster's residuals d - b change sign together; t = (mean - b)/SE with the
    clustered SE, sqrt(G/(G - 1)) included. The p-values are those of b = 0, the interval is {b: p_two_sided(b) >
    1 - level}. All 2^G patterns where G <= `exact_up_to`, then rng may be None; else `n_resamples` random ones and
    (b + 1)/(B + 1), the same patterns for every b.

    With G clusters p cannot fall below 2^(1 - G), so an interval at .95 needs G >= 6. All differences equal: zero width.
    """
    d = np.asarray(differences, float)
    names = np.arange(d.size) if clusters is None else np.asarray(clusters)
    if d.ndim != 1 or names.shape != d.shape or d.size == 0 or not np.isfinite(d).all():
        raise AnalysisError(
            "`differences` and `clusters` must be (n_items,), not empty, none missing; "
            f"got shapes {d.shape} and {names.shape}, {int((~np.isfinite(d)).sum())} missing or infinite."
        )
    if not 0 < level < 1:
        raise AnalysisError(f"`level` must lie between 0 and 1; got {level}.")
    _, code = np.unique(names, return_inverse=True)
    sums, sizes = np.bincount(code, weights=d), np.bincount(code).astype(float)
    n_clusters, alpha = sums.size, 1 - level
    exact = n_clusters <= exact_up_to
    smallest = 2.0 ** (1 - n_clusters) if exact else max(1 / (n_resamples + 1), 2.0 ** (1 - n_clusters))
    if n_clusters < 2 or smallest > alpha:
        raise AnalysisError(
            f"{n_clusters} clusters have no p-value below {smallest:.3g}, so no interval at `level` {level}. "
            "Use more tasks (6 suffice at .95), more `n_resamples`, or a lower level."
        )
    if exact:
        signs = np.array(list(itertools.product((1.0, -1.0), repeat=n_clusters)))
    elif rng is None:
        raise AnalysisError(
            f"{n_clusters} clusters are too many for all sign patterns (`exact_up_to` {exact_up_to}); pass `rng`."
        )
    else:
        # The observed pattern goes first: that is the +1 in (b + 1)/(B + 1).
        signs = np.vstack([np.ones(n_clusters), _signs(rng, n_resamples, n_clusters)])

    def angles(mean: float) -> NDArray[np.float64]:
        return _t_angles(signs, sums - sizes * mean, sizes)

    def p_two_sided(mean: float) -> float:
        t = np.abs(angles(mean))
        return float((t >= t[0] - _TIE).mean())

    value, null = float(d.mean()), angles(0.0)
    residuals = sums - sizes * value
    se = float(np.sqrt((residuals**2).sum() * n_clusters / (n_clusters - 1))) / d.size
    spread = 0.0 if se <= 1e-12 * np.abs(d).max() else se
    return Estimate(
        value=value,
        low=_end(p_two_sided, value, -spread, alpha),
        high=_end(p_two_sided, value, spread, alpha),
        level=level,
        method=f"wild cluster bootstrap-t, Rademacher, null imposed, {'all' if exact else n_resamples} sign patterns",
        target="T2",
        n_tasks=n_clusters,
        n_trials=n_trials,
        n_training_runs=n_training_runs,
        se=se,
        p_one_sided=float((null >= null[0] - _TIE).mean()),
        p_two_sided=p_two_sided(0.0),
    )


def _signs(rng: np.random.Generator, n_rows: int, n_columns: int) -> NDArray[np.float64]:
    return 1.0 - 2.0 * rng.integers(0, 2, size=(n_rows, n_columns), dtype=np.int8)


def _t_angles(
    signs: NDArray[np.float64], residuals: NDArray[np.float64], sizes: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Arc tangent of t for each sign pattern: as monotone as t, and defined where the standard error is zero.

    residuals, sizes : (n_clusters,) sums of d - b, number of items. SE^2 n^2 (G - 1)/G = sum_g (w_g e_g - n_g m)^2.
    """
    n, n_clusters = sizes.sum(), sizes.size
    mean = signs @ residuals / n
    squares = (residuals**2).sum() - 2 * mean * (signs @ (residuals * sizes)) + mean**2 * (sizes**2).sum()
    return np.arctan2(mean, np.sqrt(np.maximum(squares, 0) * n_clusters / (n_clusters - 1)) / n)


def _end(p: Callable[[float], float], start: float, step: float, alpha: float) -> float:
    """Find the end of {b: p(b) > alpha} on the side that `step` points to."""
    if step == 0:
        return start
    inside, outside = start, start + 2 * step
    while p(outside) > alpha:
        inside, step = outside, 2 * step
        outside = start + 2 * step
        if abs(step) > 1e12 * (1 + abs(start)):
            raise AnalysisError("the interval of the wild cluster bootstrap has no end; use more clusters.")
    for _ in range(60):
        middle = (inside + outside) / 2
        inside, outside = (middle, outside) if p(middle) > alpha else (inside, middle)
    return (inside + outside) / 2
