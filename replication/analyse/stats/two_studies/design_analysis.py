"""Power of a z-test, and the sign error and exaggeration of its significant estimates."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from replication.analyse.stats import checks
from replication.analyse.stats.distributions import normal_cdf, normal_isf, normal_pdf, normal_sf


class DesignAnalysis(NamedTuple):
    """Properties of a design, elementwise."""

    power: NDArray[np.float64]
    """Probability of a significant estimate."""
    type_s: NDArray[np.float64]
    """Probability that a significant estimate has the wrong sign."""
    exaggeration: NDArray[np.float64]
    """Type M: mean of |estimate|/|effect| over significant estimates; infinite at effect 0."""


def two_sided_power(effect: ArrayLike, se: ArrayLike, *, alpha: float = 0.05) -> NDArray[np.float64]:
    """Compute the power of the two-sided z-test at `alpha` for true `effect` and standard error `se` (broadcast).

    P(Z > z - l) + P(Z < -z - l), l = |effect|/se, z the 1 - alpha/2 quantile; both tails count, so it is alpha at effect 0.
    """
    right, left = _tails(effect, se, alpha)
    power: NDArray[np.float64] = (right + left)[()]
    return power


def design_analysis(effect: ArrayLike, se: ArrayLike, *, alpha: float = 0.05) -> DesignAnalysis:
    """Compute power, type S error and exaggeration for true `effect` and standard error `se` (broadcast).

    Gelman & Carlin 2014; closed forms of Lu, Qiu & Deng 2018, l = |effect|/se: type S = P(Z < -z - l)/power,
    exaggeration = [phi(l + z) + phi(l - z) + l (Phi(l + z) + Phi(l - z) - 1)]/(l power).
    """
    right, left = _tails(effect, se, alpha)
    power, z = right + left, normal_isf(alpha / 2)
    ratio = np.abs(np.asarray(effect, float)) / np.asarray(se, float)
    mean = normal_pdf(ratio + z) + normal_pdf(ratio - z)
    mean = mean + ratio * (normal_cdf(ratio + z) + normal_cdf(ratio - z) - 1)
    exaggeration = np.divide(mean, ratio * power, out=np.full(np.shape(ratio), np.inf), where=ratio > 0)
    return DesignAnalysis(power[()], (left / power)[()], exaggeration[()])


def _tails(effect: ArrayLike, se: ArrayLike, alpha: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute the probabilities of significance with the right and with the wrong sign."""
    checks.probability(alpha=alpha)
    checks.finite(effect=effect)
    checks.positive(se=se)
    ratio, z = np.abs(np.asarray(effect, float)) / np.asarray(se, float), normal_isf(alpha / 2)
    return np.asarray(normal_sf(z - ratio)), np.asarray(normal_sf(z + ratio))
