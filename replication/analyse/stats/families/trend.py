"""How the gap between two arms changes over scales.

Nothing is said beyond the smallest and the largest scale: a point outside them is refused.
"""

import math
from collections.abc import Sequence
from itertools import combinations, permutations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from replication.errors import AnalysisError

MAX_ARRANGEMENTS = 50_000
"""Arrangements that are listed for an exact test; with more, they are drawn."""


class Trend(NamedTuple):
    """A line through the gaps of the scales."""

    slope: float
    """Change of the gap per tenfold parameters."""
    se: float
    df: float
    low: float
    high: float
    level: float
    p_one_sided: float
    """Of "not rising"."""
    p_two_sided: float
    intercept: float
    """At log10 parameters 0, for computing only."""
    covariance: NDArray[np.float64]
    """(2, 2) of intercept and slope."""
    tau: float
    """SD of the true gaps about the line."""
    n_scales: int
    smallest: float
    """log10 parameters."""
    largest: float


class Band(NamedTuple):
    """Limits that hold at all points at once."""

    value: NDArray[np.float64]
    """(n_points,)"""
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    critical: float
    """Standard errors from value to limit."""


class TrendTest(NamedTuple):
    """A test of order that assumes no line."""

    statistic: float
    p_one_sided: float
    """Of "not rising with scale"."""
    p_two_sided: float
    n_arrangements: int
    """Listed or drawn; one-sided p cannot fall below 1 over it."""
    exact: bool


def scale_trend(
    log_parameters: ArrayLike, gaps: ArrayLike, se: ArrayLike, *, level: float = 0.95, tau: float | None = None,
    floor: bool = True, se_df: float | None = None,
) -> Trend:  # fmt: skip
    """Fit gap = intercept + slope log10(active parameters) by weighted least squares.

    log_parameters, gaps, se : (n_gaps,), gaps with their known standard errors; at least three different scales. Several
        gaps at one scale (model pairs) must be independent.
    tau : SD of the true gaps about the line; None estimates it by restricted maximum likelihood.
    floor : the error is at least what `se` and `tau` say; without it, gaps that happen to lie on a line have none.

    se_df : take the errors as they are instead of judging them by the residuals, with these degrees of freedom of `se`
        (math.inf: the normal quantile). The only way to a limit worth having with three scales, whose residuals have
        one df; it cannot see what `se` and `tau` leave out.

    w = 1/(se^2 + tau^2); covariance q (X'WX)^-1, q = sum w residual^2/(n_gaps - 2), at least 1 with `floor`, 1 with
    `se_df`; t with n_gaps - 2 df, or `se_df`. Knapp & Hartung 2003. With `floor` the limits hold more often than `level`.
    """
    _check_level(level)
    x, y = _scales(log_parameters, gaps)
    se = np.asarray(se, float)
    if se.shape != x.shape or not ((se > 0) & np.isfinite(se)).all():
        raise AnalysisError(f"`se` must hold one standard error above 0 per scale; got {se.tolist()}.")
    if tau is not None and not (tau >= 0 and math.isfinite(tau)):
        raise AnalysisError(f"`tau` must be at least 0, or None to estimate it; got {tau}.")
    if se_df is not None and not se_df > 0:
        raise AnalysisError(f"`se_df` must be above 0, or None to judge the errors by the residuals; got {se_df}.")
    tau2 = _reml_tau2(x, y, se) if tau is None else tau**2
    weight = 1 / (se**2 + tau2)
    design = np.column_stack([np.ones_like(x), x])
    unscaled = np.linalg.inv(design.T @ (weight[:, None] * design))
    intercept, slope = unscaled @ design.T @ (weight * y)
    df = x.size - 2 if se_df is None else se_df
    q = float(weight @ (y - intercept - slope * x) ** 2) / (x.size - 2)
    covariance = unscaled * (1.0 if se_df is not None else max(q, 1.0) if floor else q)
    error = float(np.sqrt(covariance[1, 1]))
    t = slope / error if error else math.copysign(math.inf, slope) if slope else 0.0
    half = float(stats.t.ppf((1 + level) / 2, df)) * error
    return Trend(
        slope=float(slope), se=error, df=float(df), low=float(slope) - half, high=float(slope) + half, level=level,
        p_one_sided=float(stats.t.sf(t, df)), p_two_sided=2 * float(stats.t.sf(abs(t), df)), intercept=float(intercept),
        covariance=np.asarray(covariance, float), tau=math.sqrt(tau2), n_scales=np.unique(x).size,
        smallest=float(x.min()), largest=float(x.max()),
    )  # fmt: skip


def line_band(trend: Trend, log_parameters: ArrayLike) -> Band:
    """Draw the simultaneous band of the line at points (n_points,) between the smallest and the largest scale.

    intercept + slope x -+ sqrt(2 F_{level; 2, df}) se(x): it holds for the whole line at once (Working & Hotelling
    1929, Scheffe 1953). It is about the line; see `gap_band` for the gaps themselves.
    """
    x = np.asarray(log_parameters, float)
    slack = 1e-9 * (trend.largest - trend.smallest)  # a grid's last point may be rounded up
    if x.ndim != 1 or x.size == 0 or not ((x >= trend.smallest - slack) & (x <= trend.largest + slack)).all():
        raise AnalysisError(
            f"the band is drawn between the scales {trend.smallest:.6g} and {trend.largest:.6g} (log10 parameters) only, "
            f"not beyond; got {x.tolist()}."
        )
    value = trend.intercept + trend.slope * x
    c = trend.covariance
    error = np.sqrt(np.maximum(c[0, 0] + 2 * x * c[0, 1] + x**2 * c[1, 1], 0.0))
    normal = math.isinf(trend.df)
    critical = math.sqrt(stats.chi2.ppf(trend.level, 2) if normal else 2 * stats.f.ppf(trend.level, 2, trend.df))
    return Band(value, value - critical * error, value + critical * error, critical)


def gap_band(
    gaps: ArrayLike, covariance: ArrayLike, *, rng: np.random.Generator, level: float = 0.95, df: float | None = None,
    n_draws: int = 100_000,
) -> Band:  # fmt: skip
    """Draw the simultaneous band of the gaps (n_scales,) themselves, from their covariance (n_scales, n_scales).

    gap -+ c se, c the `level` quantile of max |t| (multivariate t with `df`, normal when None) over `n_draws` draws.
    Hothorn, Bretz & Westfall 2008. A scale without variance has a band of no width.
    """
    _check_level(level)
    gaps, covariance = _gaps(gaps), np.asarray(covariance, float)
    if covariance.shape != (gaps.size, gaps.size) or not np.isfinite(covariance).all():
        raise AnalysisError(f"`covariance` must be ({gaps.size}, {gaps.size}) and finite; got {covariance.shape}.")
    if not np.allclose(covariance, covariance.T) or np.linalg.eigvalsh(covariance)[0] < -1e-9 * np.trace(covariance):
        raise AnalysisError("`covariance` is no covariance: not symmetric, or with a negative variance.")
    if n_draws < 100 or (df is not None and not df > 0):
        raise AnalysisError(f"`n_draws` must be at least 100 and `df` above 0; got {n_draws} and {df}.")
    z = rng.multivariate_normal(np.zeros(gaps.size), covariance, size=n_draws, method="eigh")
    if df is not None:
        z /= np.sqrt(rng.chisquare(df, n_draws) / df)[:, None]
    return _max_t(gaps, np.sqrt(np.diag(covariance)), z, level)


def resampled_gap_band(gaps: ArrayLike, resamples: ArrayLike, *, level: float = 0.95) -> Band:
    """Draw the simultaneous band of the gaps (n_scales,) from their bootstrap resamples (n_resamples, n_scales).

    gap -+ c se, se the SD of the resamples, c the `level` quantile of max |resample - gap|/se. Scales that share tasks
    must have been resampled together.
    """
    _check_level(level)
    gaps, resamples = _gaps(gaps), np.asarray(resamples, float)
    if resamples.ndim != 2 or resamples.shape[1] != gaps.size or len(resamples) < 100 or np.isnan(resamples).any():
        raise AnalysisError(
            f"`resamples` must be (at least 100, {gaps.size}) with none missing; got {resamples.shape}. Draw more."
        )
    return _max_t(gaps, resamples.std(axis=0, ddof=1), resamples - gaps, level)


def permuted_order(log_parameters: ArrayLike, gaps: ArrayLike, weights: ArrayLike | None = None) -> TrendTest:
    """Test whether the gaps rise with scale, over all orders of the scales; exact, for at most 8 gaps.

    log_parameters, gaps, weights : (n_gaps,), at least three different scales. The statistic is the weighted slope; a gap
        takes its weight (such as 1/se^2; None: equal) along, so the null hypothesis is that gap and precision say
        nothing about scale. With n gaps one-sided p is at least 1/n!: .17 with three, .042 with four.
    """
    x, y = _scales(log_parameters, gaps)
    if x.size > 8:
        raise AnalysisError(
            f"all orders are listed for at most 8 gaps; got {x.size}. Average those of one scale first."
        )
    w = np.ones_like(x) if weights is None else np.asarray(weights, float)
    if w.shape != x.shape or not ((w > 0) & np.isfinite(w)).all():
        raise AnalysisError(f"`weights` must hold one number above 0 per scale; got {w.tolist()}.")
    orders = np.array(list(permutations(range(x.size))))  # the first is the one observed
    y, w = y[orders], w[orders]
    total = w.sum(axis=1)
    centred = x - (w @ x / total)[:, None]
    slopes = (w * centred * y).sum(axis=1) / (w * centred**2).sum(axis=1)
    return _tail(float(slopes[0]), slopes, exact=True)


def jonckheere(groups: Sequence[ArrayLike], *, rng: np.random.Generator, n_draws: int = 20_000) -> TrendTest:
    """Test whether values rise from group to group: the gaps of training runs, groups ordered by scale.

    groups : per scale (n_runs,) values, scales from small to large, at least three of them.
    J = sum over pairs of scales i < j of #(x_j > x_i) + #(x_j = x_i)/2; arrangements of the values over the groups are
    all listed where there are at most `MAX_ARRANGEMENTS` (`rng` is then not touched), else `n_draws` are drawn and the
    observed one added. Right with ties. Jonckheere 1954, Terpstra 1952.
    """
    arrays = [np.asarray(group, float) for group in groups]
    if len(arrays) < 3:
        raise AnalysisError(f"a trend over scales needs at least three of them; got {len(arrays)}.")
    if any(a.ndim != 1 or a.size == 0 or not np.isfinite(a).all() for a in arrays):
        raise AnalysisError("every scale needs (n_runs,) finite values, at least one.")
    if n_draws < 100:
        raise AnalysisError(f"`n_draws` must be at least 100; got {n_draws}.")
    x, sizes = np.concatenate(arrays), [a.size for a in arrays]
    labels = np.repeat(np.arange(len(sizes)), sizes)
    n = math.factorial(x.size) // math.prod(map(math.factorial, sizes))
    exact = n <= MAX_ARRANGEMENTS
    drawn = _arrangements(sizes) if exact else np.vstack([labels, rng.permuted(np.tile(labels, (n_draws, 1)), axis=1)])
    wins = (x[None, :] > x[:, None]) + 0.5 * (x[None, :] == x[:, None])
    statistic = np.zeros(len(drawn))
    for a in range(x.size):
        statistic += (drawn[:, a, None] < drawn) @ wins[a]
    observed = float(((labels[:, None] < labels) * wins).sum())
    return _tail(observed, statistic, exact=exact)


def _tail(observed: float, statistics: NDArray[np.float64], *, exact: bool) -> TrendTest:
    """Count arrangements at least as far out; two-sided twice the smaller tail, at most 1."""
    slack = 1e-12 * max(1.0, float(np.abs(statistics).max()))
    up, down = float((statistics >= observed - slack).mean()), float((statistics <= observed + slack).mean())
    return TrendTest(observed, up, min(1.0, 2 * min(up, down)), statistics.size, exact)


def _arrangements(sizes: Sequence[int]) -> NDArray[np.int64]:
    """List every way to deal items to groups of these sizes, (n, n_items) group numbers."""
    labels = np.full((1, sum(sizes)), len(sizes) - 1)
    free = np.arange(sum(sizes))[None, :]
    for group, size in enumerate(sizes[:-1]):
        chosen = np.array(list(combinations(range(free.shape[1]), size)))
        rest = np.array([np.setdiff1d(np.arange(free.shape[1]), pick) for pick in chosen])
        labels = np.repeat(labels, len(chosen), axis=0)
        picked = free[:, chosen].reshape(-1, size)
        np.put_along_axis(labels, picked, group, axis=1)
        free = free[:, rest].reshape(-1, rest.shape[1])
    return labels


def _max_t(gaps: NDArray[np.float64], se: NDArray[np.float64], centred: NDArray[np.float64], level: float) -> Band:
    live = se > 0
    critical = 0.0
    if live.any():
        critical = float(np.quantile((np.abs(centred[:, live]) / se[live]).max(axis=1), level))
    return Band(gaps, gaps - critical * se, gaps + critical * se, critical)


def _reml_tau2(x: NDArray[np.float64], y: NDArray[np.float64], se: NDArray[np.float64]) -> float:
    """Find the root of the restricted score y'PPy - tr P, P = W - WX(X'WX)^-1 X'W; 0 where it has none above."""
    design = np.column_stack([np.ones_like(x), x - x.mean()])

    def score(tau2: float) -> float:
        w = 1 / (se**2 + tau2)
        wx = w[:, None] * design
        p = np.diag(w) - wx @ np.linalg.solve(design.T @ wx, wx.T)
        return float(((p @ y) ** 2).sum() - np.trace(p))

    if score(0.0) <= 0:
        return 0.0
    high = float(y.var() + (se**2).max())
    while score(high) > 0:
        high *= 2
    return float(optimize.brentq(score, 0.0, high, xtol=1e-15, rtol=1e-12))


def _scales(log_parameters: ArrayLike, gaps: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = np.asarray(log_parameters, float), np.asarray(gaps, float)
    if x.ndim != 1 or x.shape != y.shape or not (np.isfinite(x) & np.isfinite(y)).all():
        raise AnalysisError(f"scales and gaps must be (n_gaps,) finite numbers alike; got {x.shape} and {y.shape}.")
    if np.unique(x).size < 3:
        raise AnalysisError(f"a trend needs at least three different scales; got {x.tolist()}. Report the gaps alone.")
    return x, y


def _gaps(gaps: ArrayLike) -> NDArray[np.float64]:
    gaps = np.asarray(gaps, float)
    if gaps.ndim != 1 or gaps.size == 0 or not np.isfinite(gaps).all():
        raise AnalysisError(f"`gaps` must be (n_scales,) finite numbers, at least one; got shape {gaps.shape}.")
    return gaps


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise AnalysisError(f"`level` must lie between 0 and 1; got {level}.")
