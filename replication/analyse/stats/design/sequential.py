"""E-values and confidence sequences, valid at any number of looks at the data.

An e-value of at least 1/alpha at any look, at any time, rejects at level alpha (Ville 1939); the limits of a confidence
sequence have simultaneous coverage at all looks. The cost is width: 1.5 to 2 times that of an interval at a fixed n.
Not covered: means that drift. The order of the tasks must be random; otherwise there is no fixed mean to estimate.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from replication.analyse.stats import checks
from replication.errors import AnalysisError

_CELLS = 2_000_000
"""Largest number of logarithms in one array of the root search: 16 MB."""


class ConfidenceSequence(NamedTuple):
    """Confidence limits of a mean at each look."""

    times: NDArray[np.int64]
    """(n_looks,) number of observations at each look."""
    low: NDArray[np.float64]
    """(n_looks,)"""
    high: NDArray[np.float64]
    """(n_looks,) below `low` where an intersection over time is empty, which has probability alpha at most."""


def to_unit(differences: ArrayLike) -> NDArray[np.float64]:
    """Map differences in [-1, 1] to (d + 1)/2 in [0, 1]; no difference becomes 1/2."""
    differences = np.asarray(differences, float)
    if not (np.abs(differences) <= 1).all():  # also catches NaN
        raise AnalysisError(
            "differences must be numbers in [-1, 1] (fractions, not points), none missing. Fill in unscored tasks first."
        )
    return (differences + 1) / 2


def from_unit(means: ArrayLike) -> NDArray[np.float64]:
    """Map means in [0, 1] back to differences in [-1, 1]."""
    return 2 * np.asarray(means, float) - 1


def betting_log_capital(x: ArrayLike, m: float, alpha: float) -> NDArray[np.float64]:
    """Compute both bettors' log capital against "the mean is m", each with half of the stake.

    x : (n,) values in [0, 1] in order of observation.
    Returns (2, n): log(.5 prod(1 + l_i (x_i - m))), which grows when the mean is above m, and
    log(.5 prod(1 - l_i (x_i - m))). l_i = sqrt(2 log(2/alpha)/(s2_{i-1} i log(1 + i))), at most 1/(2m) and 1/(2(1 - m)).
    Waudby-Smith & Ramdas 2024, sec. 4.4 (hedged capital, predictable plug-in).
    """
    x = _unit_values(x)
    checks.fraction(m=m)
    bets = _bets(x, alpha)
    gains = [
        np.log1p(np.minimum(bets, _cap(side_m)) * (side_x - side_m)) for side_x, side_m in ((x, m), (1 - x, 1 - m))
    ]
    return np.asarray(np.cumsum(gains, axis=1) - math.log(2))


def betting_e(x: ArrayLike, m: float = 0.5, *, alpha: float = 0.05) -> NDArray[np.float64]:
    """Compute the e-value of "the mean is m" after each observation, (n,): the larger of the two capitals.

    `alpha` tunes the bets; the e-value is valid at any level. See `betting_log_capital`.
    """
    with np.errstate(over="ignore"):  # beyond 1e308 the e-value is infinite
        return np.asarray(np.exp(betting_log_capital(x, m, alpha).max(axis=0)))


def betting_sequence(
    x: ArrayLike, *, alpha: float = 0.05, times: Sequence[int] | None = None, running: bool = False
) -> ConfidenceSequence:
    """Compute the hedged betting confidence sequence of a mean: the m whose capital is below 1/alpha.

    x : (n,) values in [0, 1] in order of observation. times : numbers of observations at the looks; None means all.
    running : intersect over all observations up to each look, not only over the looks: narrower, and still valid.
    The first capital falls and the second rises in m, so each limit is one root, found by bisection to 1e-15; limits may
    be 0 or 1. Waudby-Smith & Ramdas 2024, theorem 3.
    """
    x = _unit_values(x)
    bets = _bets(x, alpha)
    looks = np.arange(1, x.size + 1) if times is None else np.asarray(times, int)
    if looks.ndim != 1 or looks.size == 0 or not ((looks >= 1) & (looks <= x.size)).all():
        raise AnalysisError(f"`times` must be numbers of observations from 1 to {x.size}; got {looks.tolist()}.")
    low, high = (_lower(side, bets, looks, math.log(2 / alpha), running) for side in (x, 1 - x))
    return ConfidenceSequence(looks, low, 1 - high)


def _bets(x: NDArray[np.float64], alpha: float) -> NDArray[np.float64]:
    """Compute the bets before they are capped; each depends only on earlier observations."""
    checks.probability(alpha=alpha)
    t = np.arange(1, x.size + 1)
    mean = (0.5 + np.cumsum(x)) / (t + 1)
    variance = (0.25 + np.cumsum((x - mean) ** 2)) / (t + 1)
    before = np.concatenate([[0.25], variance[:-1]])
    return np.asarray(np.sqrt(2 * math.log(2 / alpha) / (before * t * np.log1p(t))))


def _cap(m: float) -> float:
    return 0.5 / m if m > 0 else math.inf


def _lower(
    x: NDArray[np.float64], bets: NDArray[np.float64], looks: NDArray[np.int64], bound: float, running: bool
) -> NDArray[np.float64]:
    """Compute at each look the m at which the first capital, without its half stake, reaches the bound; 0 if none does."""
    limits = np.zeros(looks.size)
    order = np.argsort(looks, kind="stable")
    rows = max(1, _CELLS // x.size)
    for part in (order[i : i + rows] for i in range(0, looks.size, rows)):
        n = int(looks[part].max())
        seen = np.arange(n) < looks[part, None]

        def reached(m: NDArray[np.float64], n: int = n, seen: NDArray[np.bool_] = seen) -> NDArray[np.bool_]:
            with np.errstate(divide="ignore"):
                bet = np.minimum(bets[:n], 0.5 / m[:, None])
            # Summed in sequence, so that the limits at a look do not depend on the other looks, to the last bit.
            total = np.cumsum(np.where(seen, np.log1p(bet * (x[:n] - m[:, None])), 0.0), axis=1)
            return (total.max(axis=1) if running else total[:, -1]) >= bound

        outside, inside = np.zeros(part.size), np.ones(part.size)
        some = reached(outside)
        for _ in range(52):
            middle = (outside + inside) / 2
            beyond = reached(middle)
            outside, inside = np.where(beyond, middle, outside), np.where(beyond, inside, middle)
        limits[part] = np.where(some, inside, 0.0)
    return limits


def _unit_values(x: ArrayLike) -> NDArray[np.float64]:
    x = np.asarray(x, float)
    if x.ndim != 1 or x.size == 0 or not ((x >= 0) & (x <= 1)).all():
        raise AnalysisError(
            f"`x` must be (n,) values in [0, 1], at least one and none missing; got shape {x.shape}. "
            "Map differences with `to_unit`."
        )
    return x
