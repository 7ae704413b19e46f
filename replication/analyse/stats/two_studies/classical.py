"""Classical comparisons and combinations of an original and its replication.

theta_o, theta_r : estimates; s_o, s_r : standard errors, above 0; all broadcast. Normal reference. `tau`: SD of the effect
between the two settings, where the replication is not a direct one; the effects of the two settings are independent draws.
"""

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from replication.analyse.stats import checks
from replication.analyse.stats.distributions import chi2_sf, normal_isf, normal_sf
from replication.errors import AnalysisError


class QTest(NamedTuple):
    """Heterogeneity of two studies, elementwise."""

    q: NDArray[np.float64]
    p: NDArray[np.float64]


class Pooled(NamedTuple):
    """Fixed-effect mean of two studies, elementwise."""

    value: NDArray[np.float64]
    se: NDArray[np.float64]
    z: NDArray[np.float64]
    p_two_sided: NDArray[np.float64]


class PredictionInterval(NamedTuple):
    """Prediction interval of the estimate of a replication, elementwise."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    centre: NDArray[np.float64]
    se: NDArray[np.float64]


class HarmonicMean(NamedTuple):
    """Harmonic mean chi-square test."""

    z2: NDArray[np.float64]
    """n^2/sum(1/z^2); 0 if any z is 0."""
    p: NDArray[np.float64]
    """NaN where signs disagree: p is then only known to exceed its largest value for agreeing signs."""


def q_test(theta_o: ArrayLike, s_o: ArrayLike, theta_r: ArrayLike, s_r: ArrayLike, *, tau: float = 0.0) -> QTest:
    """Test that two studies estimate one effect: Q = (theta_o - theta_r)^2/(s_o^2 + s_r^2 + 2 tau^2), chi-square, 1 df."""
    theta_o, s_o, theta_r, s_r = checked_studies(theta_o, s_o, theta_r, s_r, tau=tau)
    q = np.square(theta_o - theta_r) / (s_o**2 + s_r**2 + 2 * tau**2)
    return QTest(q[()], chi2_sf(q, 1))


def pooled(theta_o: ArrayLike, s_o: ArrayLike, theta_r: ArrayLike, s_r: ArrayLike) -> Pooled:
    """Pool two studies by inverse variance; the mean keeps any bias from selection of the original."""
    theta_o, s_o, theta_r, s_r = checked_studies(theta_o, s_o, theta_r, s_r)
    precision = 1 / s_o**2 + 1 / s_r**2
    value = (theta_o / s_o**2 + theta_r / s_r**2) / precision
    se = 1 / np.sqrt(precision)
    return Pooled(value[()], se[()], (value / se)[()], 2 * normal_sf(np.abs(value / se)))


def prediction_interval(
    theta_o: ArrayLike, s_o: ArrayLike, s_r: ArrayLike, *, level: float = 0.95, tau: float = 0.0
) -> PredictionInterval:
    """Predict the replication's estimate: theta_o ± z sqrt(s_o^2 + s_r^2 + 2 tau^2) (Patil, Peng & Leek 2016)."""
    theta_o, s_o, _, s_r = checked_studies(theta_o, s_o, theta_o, s_r, tau=tau)
    return _interval(theta_o, np.sqrt(s_o**2 + s_r**2 + 2 * tau**2), level)


def shrunken_prediction_interval(
    theta_o: ArrayLike, s_o: ArrayLike, s_r: ArrayLike, *, level: float = 0.95, tau: float = 0.0
) -> PredictionInterval:
    """Predict the replication's estimate after empirical-Bayes shrinkage (Pawel & Held 2020).

    v = s_o^2 + tau^2, s = max(0, 1 - v/theta_o^2): mean s theta_o, variance s v + s_r^2 + tau^2.
    """
    theta_o, s_o, _, s_r = checked_studies(theta_o, s_o, theta_o, s_r, tau=tau)
    v = s_o**2 + tau**2
    shrinkage = 1 - v / np.maximum(np.square(theta_o), v)
    return _interval(shrinkage * theta_o, np.sqrt(shrinkage * v + s_r**2 + tau**2), level)


def significant_same_direction(
    theta_o: ArrayLike, theta_r: ArrayLike, s_r: ArrayLike, *, level: float = 0.025
) -> NDArray[np.bool_]:
    """Test whether z_r > z_{1-level} in the direction of the original; `level` is one-sided. False for an original of 0."""
    theta_o, _, theta_r, s_r = checked_studies(theta_o, s_r, theta_r, s_r)
    checks.probability(level=level)
    significant: NDArray[np.bool_] = (np.sign(theta_o) * theta_r / s_r > normal_isf(level))[()]
    return significant


def original_in_replication_interval(
    theta_o: ArrayLike, theta_r: ArrayLike, s_r: ArrayLike, *, level: float = 0.95
) -> NDArray[np.bool_]:
    """Test whether |theta_o - theta_r| <= z s_r; `level` is the confidence level.

    Ignores s_o: two studies of one effect and one precision pass 83 % of the time, not 95 %.
    """
    theta_o, _, theta_r, s_r = checked_studies(theta_o, s_r, theta_r, s_r)
    checks.probability(level=level)
    inside: NDArray[np.bool_] = (np.abs(theta_o - theta_r) <= normal_isf((1 - level) / 2) * s_r)[()]
    return inside


def harmonic_mean_test(z: ArrayLike, *, alternative: Literal["one-sided", "two-sided"] = "one-sided") -> HarmonicMean:
    """Test several studies jointly by the harmonic mean of z^2, so that each must contribute (Held 2020, JRSS C).

    z : (n_studies, ...). z_H^2 = n^2/sum(1/z^2); if all signs agree p = P(chi2_1 > z_H^2)/2^n in their common direction,
    two-sided twice that.
    """
    z = np.asarray(z, float)
    if z.ndim == 0 or z.shape[0] < 2 or z.size == 0 or not np.isfinite(z).all():
        raise AnalysisError(f"`z` needs at least 2 studies along its first axis, all finite; got {z.tolist()}.")
    checks.choice(("one-sided", "two-sided"), alternative=alternative)
    n, some_zero = z.shape[0], (z == 0).any(axis=0)
    z2 = np.where(some_zero, 0.0, n**2 / (1 / np.square(np.where(z == 0, 1.0, z))).sum(axis=0))
    agree = (z >= 0).all(axis=0) | (z <= 0).all(axis=0)
    p = np.where(agree, chi2_sf(z2, 1) / 2 ** (n if alternative == "one-sided" else n - 1), np.nan)
    return HarmonicMean(z2[()], p[()])


def edgington(p_o: ArrayLike, p_r: ArrayLike, *, weight: float = 1.0) -> NDArray[np.float64]:
    """Combine two one-sided p-values by their sum E = p_o + weight p_r (Edgington 1972; weighted Held et al. 2024).

    P(U_1 + r U_2 <= E), r = weight: [E^2 - (E - 1)_+^2 - (E - r)_+^2]/(2 r), which is E^2/(2 r) for small E.
    """
    p_o, p_r = np.broadcast_arrays(np.asarray(p_o, float), np.asarray(p_r, float))
    if p_o.size == 0 or not ((p_o >= 0) & (p_o <= 1) & (p_r >= 0) & (p_r <= 1)).all():
        raise AnalysisError(f"p-values must lie in [0, 1]; got {p_o.tolist()} and {p_r.tolist()}.")
    checks.positive(weight=weight)
    total = p_o + weight * p_r
    area = total**2 - np.square((total - 1).clip(min=0)) - np.square((total - weight).clip(min=0))
    p: NDArray[np.float64] = np.clip(area / (2 * weight), 0.0, 1.0)[()]
    return p


def checked_studies(
    theta_o: ArrayLike, s_o: ArrayLike, theta_r: ArrayLike, s_r: ArrayLike, *, tau: float = 0.0
) -> tuple[NDArray[np.float64], ...]:
    """Broadcast both studies after checking that all are finite, standard errors above 0 and `tau` at least 0."""
    try:
        studies = np.broadcast_arrays(*(np.asarray(x, float) for x in (theta_o, s_o, theta_r, s_r)))
    except ValueError as error:
        raise AnalysisError(f"estimates and standard errors must have shapes that broadcast; got {error}.") from error
    if studies[0].size == 0 or not all(np.isfinite(x).all() for x in studies):
        raise AnalysisError(f"estimates and standard errors must be finite; got {[x.tolist() for x in studies]}.")
    checks.positive(s_o=studies[1], s_r=studies[3])
    checks.not_negative(tau=tau)
    return tuple(studies)


def _interval(centre: NDArray[np.float64], se: NDArray[np.float64], level: float) -> PredictionInterval:
    checks.probability(level=level)
    half = normal_isf((1 - level) / 2) * se
    return PredictionInterval((centre - half)[()], (centre + half)[()], centre[()], se[()])
