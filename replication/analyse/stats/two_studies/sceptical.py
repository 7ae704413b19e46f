"""Sceptical p-value: the smallest level at which a replication is a success against a sceptical view of its original.

Held 2020, JRSS A 183 (nominal); Held, Micheloud & Pawel 2022 (golden); Micheloud, Balabdaoui & Held 2023 (controlled).
z_o, z_r : estimate over standard error of original and replication; c : relative precision s_o^2/s_r^2, which is the
relative sample size. Levels are one-sided. Arguments broadcast. Where success is impossible, values are NaN and powers 0.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple, get_args

import numpy as np
import scipy
from numpy.typing import ArrayLike, NDArray

from replication.analyse.stats import checks
from replication.analyse.stats.distributions import normal_cdf, normal_isf, normal_sf
from replication.analyse.stats.roots import decreasing_root
from replication.errors import AnalysisError

Kind = Literal["nominal", "golden", "controlled"]
"""Calibration of z_S to a p-value. nominal: standard normal. golden: an original exactly at the level succeeds only if
the replication's effect is at least as large, at any sample size. controlled: the overall type-I error is the squared
level for every c."""

Alternative = Literal["one-sided", "two-sided"]

Prior = Literal["conditional", "predictive", "empirical-bayes"]
"""Truth in the design: the original estimate, its posterior under a flat prior, its shrunken posterior."""

GOLDEN = (1 + 5**0.5) / 2


class SampleSize(NamedTuple):
    """Relative sample size of a replication for a given power, and the largest power of any size."""

    c: float | None
    """Smallest s_o^2/s_r^2 with the given power; None where no size reaches it."""
    max_power: float
    """Largest power over all c."""
    c_at_max: float
    """c of the largest power; infinite if it is the limit, NaN if all powers are 0."""


def sceptical_z(z_o: ArrayLike, z_r: ArrayLike, c: ArrayLike) -> NDArray[np.float64]:
    """Compute z_S >= 0, the root of (z_o^2/z_S^2 - 1)(z_r^2/z_S^2 - 1) = c; never above |z_o| or |z_r|.

    z_S^2 = z_o^2 z_r^2/(A + sqrt(A^2 + (c - 1) z_o^2 z_r^2)), A the mean of the squares: Held's closed form, rationalised
    so that c = 1 needs no separate case.
    """
    z_o, z_r, c = checked_z(z_o, z_r, c)
    product, mean = np.square(z_o * z_r), (np.square(z_o) + np.square(z_r)) / 2
    below = mean + np.sqrt(np.maximum(np.square(mean) + (c - 1) * product, 0.0))
    z_s: NDArray[np.float64] = np.sqrt(np.divide(product, below, out=np.zeros(below.shape), where=below > 0))[()]
    return z_s


def sceptical_p(
    z_o: ArrayLike, z_r: ArrayLike, c: ArrayLike, *, kind: Kind = "golden", alternative: Alternative = "one-sided"
) -> NDArray[np.float64]:
    """Compute the sceptical p-value.

    One-sided: in the direction of the original; for a replication in the other direction it is one minus the
    same-direction value. Two-sided: twice the same-direction value for any signs.
    """
    checks.choice(get_args(Alternative), alternative=alternative)
    z_o, z_r, c = checked_z(z_o, z_r, c)
    same = np.asarray(_p_of_z(np.asarray(sceptical_z(z_o, z_r, c)), c, kind))
    p: NDArray[np.float64] = (2 * same if alternative == "two-sided" else np.where(z_o * z_r < 0, 1 - same, same))[()]
    return p


def threshold_z(level: float, *, kind: Kind = "golden", c: ArrayLike = 1.0) -> NDArray[np.float64]:
    """Compute the z_S at which the one-sided sceptical p-value equals `level`; |z_o| must exceed it for success.

    nominal z_{1-level}; golden z_{1-level}/sqrt(1.618) = 1.541 at .025; controlled depends on c.
    """
    _, _, c = checked_z(0.0, 0.0, c)
    checks.one_sided_level(level=level)
    checks.choice(get_args(Kind), kind=kind)
    if kind == "controlled":
        return _elementwise(lambda x: _controlled_threshold(level, x), c)
    z: NDArray[np.float64] = np.full(c.shape, normal_isf(level) / (GOLDEN**0.5 if kind == "golden" else 1.0))[()]
    return z


def minimum_relative_effect(
    z_o: ArrayLike, c: ArrayLike, *, level: float = 0.025, kind: Kind = "golden"
) -> NDArray[np.float64]:
    """Compute the smallest theta_r/theta_o with a one-sided sceptical p-value of at most `level`; NaN if impossible.

    sqrt(1 + c/(K - 1))/sqrt(K c), K = z_o^2/threshold_z^2; impossible for K <= 1 (Held, Micheloud & Pawel 2022).
    """
    z_o, _, c = checked_z(z_o, z_o, c)
    with np.errstate(invalid="ignore"):
        needed: NDArray[np.float64] = (
            _success_threshold(z_o, c, level, kind) / np.where(z_o == 0, np.nan, np.abs(z_o) * np.sqrt(c))
        )[()]
    return needed


def success_power(
    z_o: ArrayLike, c: ArrayLike, *, level: float = 0.025, kind: Kind = "golden", prior: Prior = "predictive"
) -> NDArray[np.float64]:
    """Compute the power to reach replication success with relative sample size c; 0 where success is impossible.

    P(z_r > d_min |z_o| sqrt(c)); z_r is normal with mean m |z_o| sqrt(c) and variance 1 + v c, (m, v) = (1, 0) conditional,
    (1, 1) predictive, (s, s) with s = max(0, 1 - 1/z_o^2) empirical Bayes. Not monotone in c if |z_o| is near the threshold.
    """
    z_o, _, c = checked_z(z_o, z_o, c)
    power = _power(z_o, c, _success_threshold(z_o, c, level, kind), prior)
    success: NDArray[np.float64] = np.where(np.isnan(power), 0.0, power)[()]
    return success


def significance_power(
    z_o: ArrayLike, c: ArrayLike, *, level: float = 0.025, prior: Prior = "predictive"
) -> NDArray[np.float64]:
    """Compute the probability of z_r > z_{1-level} in the direction of the original; priors as in `success_power`."""
    z_o, _, c = checked_z(z_o, z_o, c)
    checks.one_sided_level(level=level)
    power: NDArray[np.float64] = _power(z_o, c, np.full(z_o.shape, normal_isf(level)), prior)[()]
    return power


def relative_sample_size(
    z_o: float,
    *,
    power: float,
    level: float = 0.025,
    kind: Kind | Literal["significance"] = "golden",
    prior: Prior = "predictive",
) -> SampleSize:
    """Compute the smallest c = s_o^2/s_r^2 with the given power, and the largest power of any c.

    kind : sceptical p-value that defines success, or significance of the replication alone. c = 0 means that `power` is
    below the probability of success without data. The search is over a grid of log c, then by root finding, because
    power may decrease in c.
    """
    checks.probability(power=power)

    def power_at(log_c: float | NDArray[np.float64]) -> NDArray[np.float64]:
        if kind == "significance":
            return significance_power(z_o, np.exp(log_c), level=level, prior=prior)
        return success_power(z_o, np.exp(log_c), level=level, kind=kind, prior=prior)

    grid = np.linspace(np.log(1e-5), np.log(1e8), 61 if kind == "controlled" else 1201)
    values = np.asarray(power_at(grid))
    if not values.any():
        return SampleSize(None, 0.0, np.nan)
    best = int(values.argmax())
    limit = _power_limit(float(z_o), level, kind, prior)
    max_power, c_at_max = (limit, np.inf) if limit >= values[best] else (float(values[best]), float(np.exp(grid[best])))
    if limit < values[best] and 0 < best < grid.size - 1:
        peak = scipy.optimize.minimize_scalar(
            lambda x: -float(power_at(x)),
            bounds=(grid[best - 1], grid[best + 1]),
            method="bounded",
            options={"xatol": 1e-9},
        )
        max_power, c_at_max = max(max_power, -float(peak.fun)), float(np.exp(peak.x))
        # The maximum is added to the grid; otherwise a power just below it would not be reached on the grid.
        grid, values = np.insert(grid, best, peak.x), np.insert(values, best, -peak.fun)
        order = np.argsort(grid)
        grid, values = grid[order], values[order]
    if values[0] >= power:
        return SampleSize(0.0, max_power, c_at_max)
    enough = np.flatnonzero(values >= power)
    if enough.size == 0:
        return SampleSize(None, max_power, c_at_max)
    first = int(enough[0])
    root = decreasing_root(lambda x: power - float(power_at(x)), float(grid[first - 1]), float(grid[first]))
    return SampleSize(float(np.exp(root)), max_power, c_at_max)


def checked_z(*arguments: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Broadcast (z_o, z_r, c) after checking that all are finite and c is above 0."""
    try:
        z_o, z_r, c = np.broadcast_arrays(*(np.asarray(x, float) for x in arguments))
    except ValueError as error:
        raise AnalysisError(f"z_o, z_r and c must have shapes that broadcast; got {error}.") from error
    if z_o.size == 0 or not (np.isfinite(z_o).all() and np.isfinite(z_r).all() and (np.isfinite(c) & (c > 0)).all()):
        raise AnalysisError(
            f"z-values must be finite and `c` = s_o^2/s_r^2 finite and above 0; got {z_o.tolist()}, {z_r.tolist()}, "
            f"{c.tolist()}."
        )
    return z_o, z_r, c


def _p_of_z(z: NDArray[np.float64], c: NDArray[np.float64], kind: Kind) -> NDArray[np.float64]:
    checks.choice(get_args(Kind), kind=kind)
    if kind == "controlled":
        return _elementwise(_controlled_p, z, c)
    return np.asarray(normal_sf(z * (GOLDEN**0.5 if kind == "golden" else 1.0)))


def _controlled_p(z: float, c: float) -> float:
    return float(np.exp(_log_controlled_p(z, c)))


def _log_controlled_p(z: float, c: float) -> float:
    """Integrate (2/pi) exp(-z^2 (1 + sqrt(1 + (c - 1) sin^2 f))/sin^2 f) over f in (0, pi/2); p is half its root.

    Equal to the published integrand without its 0/0 at c = 1; the value at pi/2 is factored out to prevent underflow.
    """
    peak = 1 + c**0.5

    def integrand(f: float) -> float:
        square = np.sin(f) ** 2
        return float(np.exp(-(z**2) * ((1 + np.sqrt(1 + (c - 1) * square)) / square - peak))) if square > 0 else 0.0

    # Nearly all of the integral lies near pi/2, with a width given by the curvature there; without a split point the
    # adaptive rule may miss it.
    split = np.pi / 2 - min(np.pi / 4, 8 / (1e-9 + z * peak / c**0.25))
    area = _quad(integrand, 0.0, split) + _quad(integrand, split, np.pi / 2)
    return float(np.log(2 / np.pi * area) / 2 - z**2 * peak / 2 - np.log(2))


def _controlled_threshold(level: float, c: float) -> float:
    high = normal_isf(level) + 0.01  # the nominal threshold is the limit for c to 0
    return float(
        scipy.optimize.brentq(lambda z: _log_controlled_p(z, c) - np.log(level), 0.0, high, xtol=1e-14, rtol=1e-14)
    )


def _quad(function: Callable[[float], float], low: float, high: float) -> float:
    return float(scipy.integrate.quad(function, low, high, epsabs=0.0, epsrel=1e-12, limit=200)[0])


def _success_threshold(
    z_o: NDArray[np.float64], c: NDArray[np.float64], level: float, kind: Kind
) -> NDArray[np.float64]:
    """Compute the z_r that success needs, t sqrt(1 + c/(K - 1)); NaN where impossible."""
    t = np.asarray(threshold_z(level, kind=kind, c=c))
    surplus = np.square(z_o) - np.square(t)
    ratio = np.divide(c * np.square(t), surplus, out=np.full(c.shape, np.nan), where=surplus > 0)
    return np.asarray(t * np.sqrt(1 + ratio))


class _Truth(NamedTuple):
    """Distribution of the true effect in the design, in units of s_o."""

    shrinkage: NDArray[np.float64] | float
    """Mean over |z_o|."""
    variance: NDArray[np.float64] | float


def _truth(z_o: NDArray[np.float64] | float, prior: Prior) -> _Truth:
    checks.choice(get_args(Prior), prior=prior)
    if prior == "empirical-bayes":
        shrinkage = 1 - 1 / np.maximum(np.square(z_o), 1.0)
        return _Truth(shrinkage, shrinkage)
    return _Truth(1.0, 0.0 if prior == "conditional" else 1.0)


def _power(
    z_o: NDArray[np.float64], c: NDArray[np.float64], threshold: NDArray[np.float64], prior: Prior
) -> NDArray[np.float64]:
    mean, variance = _truth(z_o, prior)
    return np.asarray(normal_sf((threshold - mean * np.abs(z_o) * np.sqrt(c)) / np.sqrt(1 + variance * c)))


def _power_limit(z_o: float, level: float, kind: Kind | Literal["significance"], prior: Prior) -> float:
    """Compute the limit of the power as c goes to infinity."""
    shrinkage, variance = (float(x) for x in _truth(z_o, prior))
    if kind == "significance" or kind == "controlled":  # the needed relative effect goes to 0
        needed = 0.0
    else:
        ratio = z_o**2 / float(threshold_z(level, kind=kind)) ** 2
        if ratio <= 1:
            return 0.0
        needed = 1 / np.sqrt(ratio * (ratio - 1))
    if variance > 0:
        return float(normal_cdf(abs(z_o) * (shrinkage - needed) / np.sqrt(variance)))
    if abs(z_o) * shrinkage == 0:  # no effect is expected: success is a type-I error
        return float(level) if kind == "significance" else 0.0
    return float(np.heaviside(shrinkage - needed, 0.5))


def _elementwise(function: Callable[..., float], *arrays: NDArray[np.float64]) -> NDArray[np.float64]:
    arrays = np.broadcast_arrays(*arrays)
    flat = [function(*map(float, row)) for row in zip(*(a.ravel() for a in arrays))]
    values: NDArray[np.float64] = np.array(flat, float).reshape(arrays[0].shape)[()]
    return values
