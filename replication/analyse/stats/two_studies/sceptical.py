"""Ask how sceptical one may be of an original and still be convinced by its replication: the sceptical p-value.

Held 2020, JRSS A 183 (nominal); Held, Micheloud & Pawel 2022 (golden); Micheloud, Balabdaoui & Held 2023 (controlled).
z_o, z_r : estimate over standard error of original and replication; c : relative precision s_o^2/s_r^2, which is the
relative sample size. Levels are one-sided. Arguments broadcast. Impossible: NaN, for a power 0.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import integrate, optimize, stats

from replication.errors import AnalysisError

Kind = Literal["nominal", "golden", "controlled"]
"""How z_S becomes a p-value. golden: an original at the level must not shrink in a replication of any size;
controlled: the overall type-I error is the squared level for every c."""

Alternative = Literal["one-sided", "two-sided"]

Prior = Literal["conditional", "predictive", "empirical-bayes"]
"""Truth in the design: the original estimate, its posterior under a flat prior, its shrunken posterior."""

GOLDEN = (1 + 5**0.5) / 2


class SampleSize(NamedTuple):
    """Relative sample size of a replication and what no size can exceed."""

    c: float | None
    """Smallest s_o^2/s_r^2 with the wanted power; None where no size has it."""
    max_power: float
    """Largest power over all c."""
    c_at_max: float
    """Where it lies; infinite if it is the limit, NaN if all powers are 0."""


def sceptical_z(z_o: ArrayLike, z_r: ArrayLike, c: ArrayLike) -> NDArray[np.float64]:
    """Compute z_S >= 0, the root of (z_o^2/z_S^2 - 1)(z_r^2/z_S^2 - 1) = c; never above |z_o| or |z_r|.

    z_S^2 = z_o^2 z_r^2/(A + sqrt(A^2 + (c - 1) z_o^2 z_r^2)), A the mean of the squares: Held's closed form, rationalised
    so that c = 1 needs no case of its own.
    """
    z_o, z_r, c = checked_z(z_o, z_r, c)
    product, mean = np.square(z_o * z_r), (np.square(z_o) + np.square(z_r)) / 2
    below = mean + np.sqrt(np.maximum(np.square(mean) + (c - 1) * product, 0.0))
    return np.sqrt(np.divide(product, below, out=np.zeros(below.shape), where=below > 0))[()]


def sceptical_p(
    z_o: ArrayLike, z_r: ArrayLike, c: ArrayLike, *, kind: Kind = "golden", alternative: Alternative = "one-sided"
) -> NDArray[np.float64]:
    """Compute the sceptical p-value.

    One-sided: in the direction of the original; a replication in the other direction gives one minus the value. Two-sided:
    twice the same-direction value, whatever the signs.
    """
    z_o, z_r, c = checked_z(z_o, z_r, c)
    p = np.asarray(_p_of_z(np.asarray(sceptical_z(z_o, z_r, c)), c, kind))
    if _sides(alternative) == 2:
        return (2 * p)[()]
    return np.where(z_o * z_r < 0, 1 - p, p)[()]


def threshold_z(level: float, *, kind: Kind = "golden", c: ArrayLike = 1.0) -> NDArray[np.float64]:
    """Compute the z_S at which the one-sided sceptical p-value equals `level`; |z_o| must exceed it for success.

    nominal z_{1-level}; golden z_{1-level}/sqrt(1.618) = 1.541 at .025; controlled depends on c.
    """
    _, _, c = checked_z(0.0, 0.0, c)
    _check_level(level)
    if kind == "controlled":
        return _elementwise(lambda x: _controlled_threshold(level, x), c)
    z = stats.norm.isf(level) / (GOLDEN**0.5 if _checked_kind(kind) == "golden" else 1.0)
    return np.full(c.shape, z)[()]


def type_one_error(
    level: float, c: ArrayLike, *, kind: Kind = "golden", alternative: Alternative = "one-sided"
) -> NDArray[np.float64]:
    """Compute the chance that two studies of a zero effect have a sceptical p-value of at most `level`.

    t = threshold_z: int_t^inf (1 - Phi(t sqrt(1 + c/(u^2/t^2 - 1)))) phi(u) du (Micheloud, Balabdaoui & Held 2023), the
    original positive. Two-sided: four times that at level/2, since the two-sided p-value ignores both signs.
    """
    sides = _sides(alternative)
    _, _, c = checked_z(0.0, 0.0, c)
    t = np.asarray(threshold_z(level / sides, kind=kind, c=c))
    return np.asarray(sides**2 * _elementwise(_exceedance, t, c))[()]


def minimum_relative_effect(
    z_o: ArrayLike, c: ArrayLike, *, level: float = 0.025, kind: Kind = "golden"
) -> NDArray[np.float64]:
    """Compute the smallest theta_r/theta_o with a one-sided sceptical p-value of at most `level`; NaN if impossible.

    sqrt(1 + c/(K - 1))/sqrt(K c), K = z_o^2/threshold_z^2; impossible for K <= 1 (Held, Micheloud & Pawel 2022).
    """
    z_o, _, c = checked_z(z_o, z_o, c)
    with np.errstate(invalid="ignore"):
        return (_success_threshold(z_o, c, level, kind) / np.where(z_o == 0, np.nan, np.abs(z_o) * np.sqrt(c)))[()]


def success_power(
    z_o: ArrayLike, c: ArrayLike, *, level: float = 0.025, kind: Kind = "golden", prior: Prior = "predictive"
) -> NDArray[np.float64]:
    """Compute the power to reach replication success with relative sample size c; 0 where success is impossible.

    P(z_r > d_min |z_o| sqrt(c)); z_r is normal with mean m |z_o| sqrt(c) and variance 1 + v c, (m, v) = (1, 0) conditional,
    (1, 1) predictive, (s, s) with s = max(0, 1 - 1/z_o^2) empirical Bayes. Not monotone in c if |z_o| is near the threshold.
    """
    z_o, _, c = checked_z(z_o, z_o, c)
    power = _power(z_o, c, _success_threshold(z_o, c, level, kind), prior)
    return np.where(np.isnan(power), 0.0, power)[()]


def significance_power(
    z_o: ArrayLike, c: ArrayLike, *, level: float = 0.025, prior: Prior = "predictive"
) -> NDArray[np.float64]:
    """Compute the power to find z_r > z_{1-level} in the direction of the original; priors as in `success_power`."""
    z_o, _, c = checked_z(z_o, z_o, c)
    _check_level(level)
    return _power(z_o, c, np.full(z_o.shape, stats.norm.isf(level)), prior)[()]


def relative_sample_size(
    z_o: float,
    *,
    power: float,
    level: float = 0.025,
    kind: Kind | Literal["significance"] = "golden",
    prior: Prior = "predictive",
) -> SampleSize:
    """Find the smallest c = s_o^2/s_r^2 with the wanted power, and the largest power of any c.

    kind : the sceptical p-value to succeed in, or significance of the replication alone. c = 0 means that `power` is below
    the chance of success with no data at all. Searched on a grid of log c, then by bisection: power need not grow with c.
    """
    if not 0 < power < 1:
        raise AnalysisError(f"`power` must lie between 0 and 1; got {power}.")

    def at(log_c: ArrayLike) -> NDArray[np.float64]:
        if kind == "significance":
            return significance_power(z_o, np.exp(log_c), level=level, prior=prior)
        return success_power(z_o, np.exp(log_c), level=level, kind=kind, prior=prior)

    grid = np.linspace(np.log(1e-5), np.log(1e8), 61 if kind == "controlled" else 1201)
    values = np.asarray(at(grid))
    if not values.any():
        return SampleSize(None, 0.0, np.nan)
    best = int(values.argmax())
    limit = _power_limit(float(z_o), level, kind, prior)
    max_power, c_at_max = (limit, np.inf) if limit >= values[best] else (float(values[best]), float(np.exp(grid[best])))
    if limit < values[best] and 0 < best < grid.size - 1:
        peak = optimize.minimize_scalar(
            lambda x: -float(at(x)), bounds=(grid[best - 1], grid[best + 1]), method="bounded", options={"xatol": 1e-9}
        )
        max_power, c_at_max = max(max_power, -float(peak.fun)), float(np.exp(peak.x))
        # The summit itself belongs on the grid, else a wanted power just below it would be missed.
        grid, values = np.insert(grid, best, peak.x), np.insert(values, best, -peak.fun)
        order = np.argsort(grid)
        grid, values = grid[order], values[order]
    if values[0] >= power:
        return SampleSize(0.0, max_power, c_at_max)
    reached = np.flatnonzero(values >= power)
    if reached.size == 0:
        return SampleSize(None, max_power, c_at_max)
    first = int(reached[0])
    root = optimize.brentq(lambda x: float(at(x)) - power, grid[first - 1], grid[first], xtol=1e-13)
    return SampleSize(float(np.exp(root)), max_power, c_at_max)


def checked_z(*arguments: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Broadcast (z_o, z_r, c) and refuse what is not finite, or c not above 0."""
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
    if kind == "controlled":
        return _elementwise(_controlled_p, z, c)
    return stats.norm.sf(z * (GOLDEN**0.5 if _checked_kind(kind) == "golden" else 1.0))


def _controlled_p(z: float, c: float) -> float:
    return float(np.exp(_log_controlled_p(z, c)))


def _log_controlled_p(z: float, c: float) -> float:
    """Integrate (2/pi) exp(-z^2 (1 + sqrt(1 + (c - 1) sin^2 f))/sin^2 f) over f in (0, pi/2); p is half its root.

    Equal to the published integrand without its 0/0 at c = 1; the value at pi/2 is taken out so that nothing underflows.
    """
    peak = 1 + c**0.5

    def integrand(f: float) -> float:
        square = np.sin(f) ** 2
        return float(np.exp(-(z**2) * ((1 + np.sqrt(1 + (c - 1) * square)) / square - peak))) if square > 0 else 0.0

    # Nearly all lies near pi/2, as wide as the curvature there says: split, or the adaptive rule may miss it.
    split = np.pi / 2 - min(np.pi / 4, 8 / (1e-9 + z * peak / c**0.25))
    area = _quad(integrand, 0.0, split) + _quad(integrand, split, np.pi / 2)
    return float(np.log(2 / np.pi * area) / 2 - z**2 * peak / 2 - np.log(2))


def _controlled_threshold(level: float, c: float) -> float:
    high = stats.norm.isf(level) + 0.01  # the nominal threshold is the limit for c to 0
    return float(optimize.brentq(lambda z: _log_controlled_p(z, c) - np.log(level), 0.0, high, xtol=1e-14, rtol=1e-14))


def _exceedance(t: float, c: float) -> float:
    """Compute the chance of z_S >= t with z_o > 0 under no effect."""
    if t <= 0:
        return 0.25

    def integrand(u: float) -> float:
        excess = (u - t) * (u + t) / t**2
        return float(stats.norm.sf(t * np.sqrt(1 + c / excess)) * stats.norm.pdf(u)) if excess > 0 else 0.0

    # The peak lies near u = t sqrt(1 + sqrt c) and is about 1 wide; the integrand vanishes smoothly at u = t.
    peak = t * (1 + c**0.5) ** 0.5
    cuts = [t, max((t + peak) / 2, peak - 8), peak, peak + 8, peak + 40]
    return sum(_quad(integrand, low, high) for low, high in pairwise(cuts))


def _quad(function: Callable[[float], float], low: float, high: float) -> float:
    return integrate.quad(function, low, high, epsabs=0.0, epsrel=1e-12, limit=200)[0]


def _success_threshold(z_o: NDArray, c: NDArray, level: float, kind: Kind) -> NDArray[np.float64]:
    """Compute the z_r that success needs, t sqrt(1 + c/(K - 1)); NaN where impossible."""
    t = np.asarray(threshold_z(level, kind=kind, c=c))
    surplus = np.square(z_o) - np.square(t)
    ratio = np.divide(c * np.square(t), surplus, out=np.full(c.shape, np.nan), where=surplus > 0)
    return t * np.sqrt(1 + ratio)


def _prior(z_o: NDArray | float, prior: Prior) -> tuple[NDArray | float, NDArray | float]:
    """Return shrinkage of the mean and variance of the truth, the latter in units of s_o^2."""
    if prior == "conditional":
        return 1.0, 0.0
    if prior == "predictive":
        return 1.0, 1.0
    if prior == "empirical-bayes":
        shrinkage = 1 - 1 / np.maximum(np.square(z_o), 1.0)
        return shrinkage, shrinkage
    raise AnalysisError(f"`prior` must be conditional, predictive or empirical-bayes; got {prior!r}.")


def _power(z_o: NDArray, c: NDArray, threshold: NDArray, prior: Prior) -> NDArray[np.float64]:
    mean, variance = _prior(z_o, prior)
    return np.asarray(stats.norm.sf((threshold - mean * np.abs(z_o) * np.sqrt(c)) / np.sqrt(1 + variance * c)))


def _power_limit(z_o: float, level: float, kind: Kind | Literal["significance"], prior: Prior) -> float:
    """Compute the power as c grows without end."""
    shrinkage, variance = (float(x) for x in _prior(z_o, prior))
    if kind == "significance" or kind == "controlled":  # the needed relative effect goes to 0
        needed = 0.0
    else:
        ratio = z_o**2 / float(threshold_z(level, kind=kind)) ** 2
        if ratio <= 1:
            return 0.0
        needed = 1 / np.sqrt(ratio * (ratio - 1))
    if variance > 0:
        return float(stats.norm.cdf(abs(z_o) * (shrinkage - needed) / np.sqrt(variance)))
    if abs(z_o) * shrinkage == 0:  # no effect is expected: only chance passes the threshold
        return float(level) if kind == "significance" else 0.0
    return float(np.heaviside(shrinkage - needed, 0.5))


def _elementwise(function: Callable[..., float], *arrays: NDArray[np.float64]) -> NDArray[np.float64]:
    arrays = np.broadcast_arrays(*arrays)
    values = [function(*map(float, row)) for row in zip(*(a.ravel() for a in arrays))]
    return np.array(values, float).reshape(arrays[0].shape)[()]


def _sides(alternative: str) -> int:
    if alternative not in ("one-sided", "two-sided"):
        raise AnalysisError(f"`alternative` must be one-sided or two-sided; got {alternative!r}.")
    return 1 if alternative == "one-sided" else 2


def _check_level(level: float) -> None:
    if not 0 < level < 0.5:
        raise AnalysisError(f"`level` is one-sided and must lie between 0 and .5; got {level}.")


def _checked_kind(kind: str) -> str:
    if kind not in ("nominal", "golden", "controlled"):
        raise AnalysisError(f"`kind` must be nominal, golden or controlled; got {kind!r}.")
    return kind
