"""Change of the gap between two arms over scales.

Nothing is extrapolated beyond the smallest and the largest scale: points outside them raise an error.
"""

import math
from itertools import permutations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from replication.analyse.stats import checks
from replication.analyse.stats.distributions import chi2_ppf, t_ppf, t_sf
from replication.analyse.stats.families.reml import reml_tau2
from replication.errors import AnalysisError


class Trend(NamedTuple):
    """A line through the gaps of the scales."""

    slope: float
    """Change of the gap per tenfold parameters."""
    se: float
    df: float
    low: float
    high: float
    level: float
    """Confidence level of the limits and of `line_band`."""
    p_one_sided: float
    """Of "not rising"."""
    p_two_sided: float
    intercept: float
    """At log10 parameters 0, for computation only."""
    covariance: NDArray[np.float64]
    """(2, 2) of intercept and slope."""
    tau: float
    """SD of the true gaps about the line."""
    smallest: float
    """log10 parameters."""
    largest: float


class Band(NamedTuple):
    """Limits with simultaneous coverage of all points."""

    value: NDArray[np.float64]
    """(n_points,)"""
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    critical: float
    """Half-width in standard errors."""


class TrendTest(NamedTuple):
    """A test of order that assumes no line."""

    statistic: float
    p_one_sided: float
    """Of "not rising with scale"."""
    p_two_sided: float


def scale_trend(
    log_parameters: ArrayLike, gaps: ArrayLike, se: ArrayLike, *, level: float = 0.95, tau: float | None = None,
    floor: bool = True, se_df: float | None = None,
) -> Trend:  # fmt: skip
    """Fit gap = intercept + slope log10(active parameters) by weighted least squares.

    log_parameters, gaps, se : (n_gaps,), gaps with their known standard errors; at least three different scales. Several
        gaps at one scale (model pairs) must be independent.
    level : confidence level.
    tau : SD of the true gaps about the line; None estimates it by restricted maximum likelihood.
    floor : the error is at least the one that `se` and `tau` imply; without it, gaps that happen to lie on a line have a
        standard error of 0.
    se_df : degrees of freedom of `se` (math.inf: the normal quantile); the errors are then not rescaled by the residuals.
        With three scales the residuals have one df, and only this gives limits of useful width; it misses any spread that
        `se` and `tau` do not include.

    w = 1/(se^2 + tau^2); covariance q (X'WX)^-1, q = sum w residual^2/(n_gaps - 2), at least 1 with `floor`, 1 with
    `se_df`; t with n_gaps - 2 df, or `se_df`. Knapp & Hartung 2003. With `floor` coverage is above `level`.
    """
    checks.probability(level=level)
    x, y = _scales(log_parameters, gaps)
    se = np.asarray(se, float)
    checks.same_shape(gaps=y, se=se)
    checks.positive(se=se)
    if tau is not None:
        checks.not_negative(tau=tau)
    if se_df is not None and not se_df > 0:
        raise AnalysisError(f"`se_df` must be above 0, or None to rescale the errors by the residuals; got {se_df}.")
    tau2 = reml_tau2(y, se, x) if tau is None else tau**2
    weight = 1 / (se**2 + tau2)
    design = np.column_stack([np.ones_like(x), x])
    unscaled = np.linalg.inv(design.T @ (weight[:, None] * design))
    intercept, slope = unscaled @ design.T @ (weight * y)
    df = x.size - 2 if se_df is None else se_df
    q = float(weight @ (y - intercept - slope * x) ** 2) / (x.size - 2)
    covariance = unscaled * (1.0 if se_df is not None else max(q, 1.0) if floor else q)
    error = float(np.sqrt(covariance[1, 1]))
    t = slope / error if error else math.copysign(math.inf, slope) if slope else 0.0
    half = float(t_ppf((1 + level) / 2, df)) * error
    return Trend(
        slope=float(slope), se=error, df=float(df), low=float(slope) - half, high=float(slope) + half, level=level,
        p_one_sided=float(t_sf(t, df)), p_two_sided=2 * float(t_sf(abs(t), df)), intercept=float(intercept),
        covariance=np.asarray(covariance, float), tau=math.sqrt(tau2),
        smallest=float(x.min()), largest=float(x.max()),
    )  # fmt: skip


def line_band(trend: Trend, log_parameters: ArrayLike) -> Band:
    """Compute the simultaneous band of the line at points (n_points,) between the smallest and the largest scale.

    intercept + slope x ± sqrt(2 F_{level; 2, df}) se(x), with simultaneous coverage of the whole line (Working & Hotelling
    1929, Scheffe 1953). It covers the line, not the gaps of single scales.
    """
    x = np.asarray(log_parameters, float)
    slack = 1e-9 * (trend.largest - trend.smallest)  # a grid's last point may be rounded up
    if x.ndim != 1 or x.size == 0 or not ((x >= trend.smallest - slack) & (x <= trend.largest + slack)).all():
        raise AnalysisError(
            f"`log_parameters` must be (n_points,) between the scales {trend.smallest:.6g} and {trend.largest:.6g}; got "
            f"{x.tolist()}."
        )
    value = trend.intercept + trend.slope * x
    c = trend.covariance
    error = np.sqrt(np.maximum(c[0, 0] + 2 * x * c[0, 1] + x**2 * c[1, 1], 0.0))
    normal = math.isinf(trend.df)
    critical = math.sqrt(chi2_ppf(trend.level, 2) if normal else 2 * special.fdtri(2, trend.df, trend.level))
    return Band(value, value - critical * error, value + critical * error, critical)


def permuted_order(log_parameters: ArrayLike, gaps: ArrayLike, weights: ArrayLike | None = None) -> TrendTest:
    """Test whether the gaps rise with scale, over all orders of the scales; exact, for at most 8 gaps.

    log_parameters, gaps, weights : (n_gaps,), at least three different scales. The statistic is the weighted slope. A
        weight (such as 1/se^2; None: equal) is permuted together with its gap, so the null hypothesis is that neither gap
        nor precision depends on scale. With n gaps the one-sided p is at least 1/n!: .17 with three, .042 with four.
    """
    x, y = _scales(log_parameters, gaps)
    if x.size > 8:
        raise AnalysisError(
            f"all orders are enumerated for at most 8 gaps; got {x.size}. Average those of one scale first."
        )
    w = np.ones_like(x) if weights is None else np.asarray(weights, float)
    checks.same_shape(gaps=y, weights=w)
    checks.positive(weights=w)
    orders = np.array(list(permutations(range(x.size))))  # the first is the observed one
    y, w = y[orders], w[orders]
    total = w.sum(axis=1)
    centred = x - (w @ x / total)[:, None]
    slopes = (w * centred * y).sum(axis=1) / (w * centred**2).sum(axis=1)
    observed, slack = float(slopes[0]), 1e-12 * max(1.0, float(np.abs(slopes).max()))
    up, down = float((slopes >= observed - slack).mean()), float((slopes <= observed + slack).mean())
    return TrendTest(observed, up, min(1.0, 2 * min(up, down)))


def _scales(log_parameters: ArrayLike, gaps: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    x, y = checks.vector("log_parameters", log_parameters), checks.vector("gaps", gaps)
    checks.same_shape(log_parameters=x, gaps=y)
    if np.unique(x).size < 3:
        raise AnalysisError(
            f"a trend needs at least three different scales; got {x.tolist()}. Report the gaps without a trend."
        )
    return x, y
