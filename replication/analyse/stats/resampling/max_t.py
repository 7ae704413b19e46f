"""Adjusted p-values and simultaneous bands of several columns, from resamples that share their draws.

The largest |t| over columns in each resample is a draw from the null distribution of the largest observed |t|. All columns
share the draws, so their correlation is taken into account, and the correction is smaller than Bonferroni's or Holm's.
"""

from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from replication.analyse.stats import checks
from replication.errors import AnalysisError

Alternative = Literal["two-sided", "greater", "less"]
"""two-sided: not 0. greater: above 0. less: below 0."""

Floats = NDArray[np.floating[Any]]
"""float64, or float32 where the resamples are."""


class AdjustedP(NamedTuple):
    """P-values of a family of columns, each (n_columns,)."""

    t: NDArray[np.float64]
    """Estimate over its standard error."""
    raw: NDArray[np.float64]
    """Unadjusted p-value of each column."""
    single_step: NDArray[np.float64]
    """Compared with the largest statistic of all columns."""
    step_down: NDArray[np.float64]
    """Compared with the largest statistic of the columns not yet rejected; never above `single_step`."""


class Bands(NamedTuple):
    """Intervals that hold for all columns at once."""

    low: NDArray[np.float64]
    """(n_columns,)"""
    high: NDArray[np.float64]
    """(n_columns,)"""
    quantile: float
    """Half-width in standard errors: the `level` quantile of the largest |t|."""


def max_t(
    estimates: ArrayLike, resamples: ArrayLike, *, se: ArrayLike | None = None, alternative: Alternative = "two-sided"
) -> AdjustedP:
    """Adjust p-values for "this column is 0" by the studentised maximum (Westfall & Young 1993; Romano & Wolf 2005).

    estimates : (n_columns,). resamples : (n_resamples, n_columns) of the same statistics, drawn around the estimates.
    se : (n_columns,) standard errors; None means the SD of the resamples.

    t_j = estimate_j / se_j, t*_bj = (resample_bj - estimate_j) / se_j; single step: (1 + #{b: max_k t*_bk >= t_j}) /
    (n_resamples + 1), for two sides with |t|; step down: the maximum over columns with t_k <= t_j only, made monotone.
    A column that never varies has t = 0 where its estimate is 0 and an infinite one elsewhere.
    """
    estimates, resamples, se = _checked(estimates, resamples, se)
    signed, t, null = _statistics(estimates, resamples, se, alternative)
    return _adjust(signed, t, null)


def min_p(
    estimates: ArrayLike, resamples: ArrayLike, *, se: ArrayLike | None = None, alternative: Alternative = "two-sided"
) -> AdjustedP:
    """Adjust p-values by the smallest p-value of each resample (Westfall & Young 1993); arguments as for `max_t`.

    Each column's statistics become p-values by their ranks among its own resamples, which treats columns alike whose
    distributions differ in shape. Adjusted p-values below about n_columns / n_resamples are not resolved.
    """
    estimates, resamples, se = _checked(estimates, resamples, se)
    signed, t, null = _statistics(estimates, resamples, se, alternative)
    n = len(null)
    observed, drawn = np.empty(t.size), np.empty(null.shape, np.float32)
    for j, column in enumerate(null.T):
        order = np.sort(column)
        observed[j] = (1 + n - np.searchsorted(order, t[j])) / (n + 1)
        # Ranks among the resamples and the observation together: without it, being the largest in any one of many
        # columns would look as rare as being the largest in one.
        drawn[:, j] = (n - np.searchsorted(order, column) + (column <= t[j])) / (n + 1)
    # A small p is a large statistic; the draws are rounded to float32, so the observed ones must be too.
    return _adjust(signed, -observed.astype(np.float32), -drawn)._replace(raw=observed)


def bands(estimates: ArrayLike, resamples: ArrayLike, *, level: float = 0.95, se: ArrayLike | None = None) -> Bands:
    """Compute simultaneous bands: estimate ± q se, q the `level` quantile of max_j |resample_j - estimate_j| / se_j.

    level : confidence level; the other arguments as for `max_t`. (Montiel Olea & Plagborg-Moller 2019, sup-t band.)
    """
    checks.probability(level=level)
    estimates, resamples, se = _checked(estimates, resamples, se)
    _, _, null = _statistics(estimates, resamples, se, "two-sided")
    quantile = float(np.quantile(null.max(axis=1), level, method="inverted_cdf"))
    return Bands(estimates - quantile * se, estimates + quantile * se, quantile)


def _adjust(signed: NDArray[np.float64], t: Floats, null: Floats) -> AdjustedP:
    """Compare statistics t (n_columns,), large under the alternative, with null draws (n_resamples, n_columns)."""
    n, order = len(null), np.argsort(-t, kind="stable")
    largest = np.full(n, -np.inf, null.dtype)
    step_down = np.empty(t.size)
    for j in order[::-1]:  # from the weakest, so that each maximum is over the columns at most as strong
        np.maximum(largest, null[:, j], out=largest)
        step_down[j] = (1 + np.count_nonzero(largest >= t[j])) / (n + 1)
    step_down[order] = np.maximum.accumulate(step_down[order])
    count = np.count_nonzero
    return AdjustedP(
        t=signed,
        raw=np.array([(1 + count(null[:, j] >= t[j])) / (n + 1) for j in range(t.size)]),
        single_step=np.array([(1 + count(largest >= value)) / (n + 1) for value in t]),
        step_down=step_down,
    )


def _statistics(
    estimates: NDArray[np.float64], resamples: Floats, se: NDArray[np.float64], alternative: Alternative
) -> tuple[NDArray[np.float64], NDArray[np.float64], Floats]:
    """Return signed t, and t with its null draws turned so that large values are evidence against the null."""
    checks.choice(get_args(Alternative), alternative=alternative)
    scale = np.where(se > 0, se, 1.0)
    t = np.where(se > 0, estimates / scale, np.where(estimates == 0, 0.0, np.copysign(np.inf, estimates)))
    null = resamples - estimates.astype(resamples.dtype)
    null /= scale.astype(resamples.dtype)
    null[:, se == 0] = 0.0
    if alternative == "two-sided":
        return t, np.abs(t), np.abs(null, out=null)
    if alternative == "less":
        return t, -t, np.negative(null, out=null)
    return t, t, null


def _checked(
    estimates: ArrayLike, resamples: ArrayLike, se: ArrayLike | None
) -> tuple[NDArray[np.float64], Floats, NDArray[np.float64]]:
    estimates, resamples = np.asarray(estimates, float), np.asarray(resamples)
    if resamples.dtype != np.float32:
        resamples = resamples.astype(float)
    if estimates.ndim != 1 or not estimates.size or resamples.ndim != 2 or resamples.shape[1:] != estimates.shape:
        raise AnalysisError(
            "`estimates` must be (n_columns,) and `resamples` (n_resamples, n_columns); got shapes "
            f"{estimates.shape} and {resamples.shape}."
        )
    if len(resamples) < 2 or not (np.isfinite(estimates).all() and np.isfinite(resamples).all()):
        raise AnalysisError(
            f"the family needs finite estimates and at least 2 finite resamples; got {len(resamples)} resamples, "
            f"{int((~np.isfinite(resamples)).sum())} numbers in them missing or infinite."
        )
    if se is None:
        se = np.array([column.std(ddof=1, dtype=float) for column in resamples.T])
        # A constant column differs from its mean by rounding only; its standard error is 0.
        se[np.ptp(resamples, axis=0) == 0] = 0.0
    se = np.asarray(se, float)
    if se.shape != estimates.shape or not (np.isfinite(se) & (se >= 0)).all():
        raise AnalysisError(f"`se` must be one finite number of at least 0 per column; got {se.tolist()}.")
    return estimates, resamples, se
