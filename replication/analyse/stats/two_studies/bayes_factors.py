"""Bayes factors of a replication: against no effect, against a sceptical prior, and jointly with its original.

z_o, z_r : estimate over standard error of original and replication; c : relative precision s_o^2/s_r^2. All broadcast.
A factor below 1 is evidence for an effect. Estimates are normal.
"""

from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from replication.analyse.stats import checks
from replication.analyse.stats.distributions import normal_logpdf
from replication.analyse.stats.two_studies.sceptical import checked_z

N_GRID = 2001
"""Grid points at which the curves of the sceptical Bayes factor are compared before root finding."""

Floats = NDArray[np.float64]


class EvidenceUpdate(NamedTuple):
    """Bayes factors of no effect against theta ~ N(0, g s_o^2), elementwise; joint = original * replication."""

    original: NDArray[np.float64]
    replication: NDArray[np.float64]
    """Given the original, whose posterior is the prior here."""
    joint: NDArray[np.float64]


def replication_bf(z_o: ArrayLike, z_r: ArrayLike, c: ArrayLike) -> NDArray[np.float64]:
    """Compute BF_0r = N(z_r; 0, 1)/N(z_r; z_o sqrt(c), 1 + c): no effect against the original's posterior.

    Verhagen & Wagenmakers 2014 with a flat first prior. Below 1/3 or 1/10 supports the original; inf if too large.
    """
    z_o, z_r, c = checked_z(z_o, z_r, c)
    return _exp(_log_normal(z_r, 0.0, 1.0) - _log_normal(z_r, z_o * np.sqrt(c), 1 + c))


def evidence_update(z_o: ArrayLike, z_r: ArrayLike, c: ArrayLike, *, g: ArrayLike) -> EvidenceUpdate:
    """Compute the joint Bayes factor as that of the original times that of the replication given it (Ly et al. 2019).

    g : prior variance of the effect over s_o^2. Original N(z_o; 0, 1)/N(z_o; 0, 1 + g); replication
    N(z_r; 0, 1)/N(z_r; w z_o sqrt(c), 1 + w c), w = g/(1 + g); with g to infinity it becomes `replication_bf`.
    """
    z_o, z_r, c = checked_z(z_o, z_r, c)
    g = np.asarray(g, float)
    checks.positive(g=g)
    weight = g / (1 + g)
    original = _log_normal(z_o, 0.0, 1.0) - _log_normal(z_o, 0.0, 1 + g)
    replication = _log_normal(z_r, 0.0, 1.0) - _log_normal(z_r, weight * z_o * np.sqrt(c), 1 + weight * c)
    return EvidenceUpdate(_exp(original), _exp(replication), _exp(original + replication))


def minimum_bf(z_o: ArrayLike) -> NDArray[np.float64]:
    """Compute |z_o| exp(-(z_o^2 - 1)/2), the smallest sceptical Bayes factor that an original allows; 1 for |z_o| <= 1.

    The smallest N(z_o; 0, 1)/N(z_o; 0, 1 + g) over g (Held & Ott 2018).
    """
    z2 = np.maximum(np.square(np.asarray(z_o, float)), 1.0)
    return _exp(np.log(z2) / 2 - (z2 - 1) / 2)


def sceptical_bf(z_o: ArrayLike, z_r: ArrayLike, c: ArrayLike) -> NDArray[np.float64]:
    """Compute the sceptical Bayes factor (Pawel & Held 2022, JRSS B).

    With the sceptical prior N(0, g s_o^2), 0 <= g <= z_o^2 - 1, the original has BF_0S(g) = N(z_o; 0, 1)/N(z_o; 0, 1 + g);
    the replication compares that prior with the original's posterior, BF_SA(g) = N(z_r; 0, 1 + c g)/N(z_r; z_o sqrt(c),
    1 + c). The value is BF_0S at the largest g with BF_SA <= BF_0S. NaN where the curves do not cross, so that the
    replication is a success at no level, or where |z_o| <= 1, so that no such prior exists.
    """
    z_o, z_r, c = checked_z(z_o, z_r, c)
    values = [_sceptical_bf(*map(float, row)) for row in zip(z_o.ravel(), z_r.ravel(), c.ravel())]
    return np.array(values).reshape(z_o.shape)[()]


def _sceptical_bf(z_o: float, z_r: float, c: float) -> float:
    largest = z_o**2 - 1
    if largest <= 0:
        return np.nan

    def log_original(g: Floats | float) -> Floats:
        return np.asarray(np.log1p(g) / 2 - z_o**2 * g / (2 * (1 + g)))

    def success(g: Floats | float) -> Floats:
        return log_original(g) - _log_normal(z_r, 0.0, 1 + c * g) + _log_normal(z_r, z_o * c**0.5, 1 + c)

    # There may be several crossings, and the last one is needed; the grid is dense at both ends, where they cluster.
    grid = largest * np.sin(np.linspace(0, np.pi / 2, N_GRID)) ** 2
    inside = np.flatnonzero(success(grid) >= 0)
    if inside.size == 0:
        return np.nan
    last = int(inside[-1])
    if last == N_GRID - 1:
        return float(_exp(log_original(largest)))
    return float(_exp(log_original(scipy.optimize.brentq(success, grid[last], grid[last + 1], xtol=1e-15, rtol=1e-14))))


def _log_normal(x: Floats | float, mean: Floats | float, variance: Floats | float) -> Floats:
    return np.asarray(normal_logpdf(x, mean, np.sqrt(variance)))


def _exp(log_value: Floats) -> Floats:
    with np.errstate(over="ignore", under="ignore"):
        value: Floats = np.exp(log_value)[()]
    return value
