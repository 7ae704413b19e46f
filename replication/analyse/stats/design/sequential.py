"""Evidence that may be looked at as often as one likes: e-values and confidence sequences.

An e-value of at least 1/alpha at any look, whenever that look is taken, rejects at level alpha (Ville 1939); limits of a
confidence sequence hold at all looks at once. The price is width: 1.5 to 2 times that of an interval at a fixed n.
Not covered: means that drift. The order of the tasks must be random, or the sequence is about no fixed mean.
"""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from replication.errors import AnalysisError

Mixture = Literal["uniform", "kt"]
"""Weight over the chance that a discordant task goes to B: flat, or Krichevsky & Trofimov's Beta(1/2, 1/2) (1981)."""

_CELLS = 2_000_000
"""Logarithms at once in the root search: 16 MB."""


class ConfidenceSequence(NamedTuple):
    """Limits of a mean, one pair per look."""

    times: NDArray[np.int64]
    """(n_looks,) observations seen at each look."""
    low: NDArray[np.float64]
    """(n_looks,)"""
    high: NDArray[np.float64]
    """(n_looks,) below `low` where an intersection over time is empty, which has chance alpha at most."""


def mixture_tuning(v_opt: float, alpha: float, *, exact: bool = False) -> float:
    """Choose rho of the normal mixture so that the boundary is lowest near the variance `v_opt`.

    rho = v_opt / (2 log(1/alpha) + log(1 + 2 log(1/alpha))); `exact` takes the optimum itself,
    v_opt / (-W_{-1}(-alpha^2/e) - 1). Howard, Ramdas, McAuliffe & Sekhon 2021, sec. 3.5.
    """
    _check_alpha(alpha)
    _positive("v_opt", v_opt)
    if exact:
        return float(v_opt / (-special.lambertw(-(alpha**2) / math.e, -1).real - 1))
    return float(v_opt / (-2 * math.log(alpha) + math.log1p(-2 * math.log(alpha))))


def mixture_boundary(v: ArrayLike, rho: float, alpha: float) -> NDArray[np.float64]:
    """Compute what |S_t| stays below at all variances `v` (...) with chance 1 - alpha (two-sided).

    sqrt((v + rho) log((v + rho)/(alpha^2 rho))). Howard et al. 2021, proposition 5 (Robbins 1970).
    """
    _check_alpha(alpha)
    v = _variance(v, rho)
    return np.sqrt((v + rho) * np.log((v + rho) / (alpha**2 * rho)))


def mixture_log_e(s: ArrayLike, v: ArrayLike, rho: float) -> NDArray[np.float64]:
    """Compute the log e-value of "mean zero" at the sum `s` and its variance `v`, elementwise.

    log sqrt(rho/(v + rho)) + s^2/(2 (v + rho)); it is log(1/alpha) on the boundary.
    """
    v, s = _variance(v, rho), np.asarray(s, float)
    if not np.isfinite(s).all():
        raise AnalysisError("`s` must hold finite sums.")
    return 0.5 * np.log(rho / (v + rho)) + s**2 / (2 * (v + rho))


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

    x : (n,) values in [0, 1] in the order seen.
    Returns (2, n): log(.5 prod(1 + l_i (x_i - m))), which grows when the mean is above m, and
    log(.5 prod(1 - l_i (x_i - m))). l_i = sqrt(2 log(2/alpha)/(s2_{i-1} i log(1 + i))), at most 1/(2m) and 1/(2(1 - m)).
    Waudby-Smith & Ramdas 2024, sec. 4.4 (hedged capital, predictable plug-in).
    """
    x = _unit_values(x)
    if not 0 <= m <= 1:
        raise AnalysisError(f"`m` must be a mean in [0, 1]; got {m}.")
    bets = _bets(x, alpha)
    gains = [
        np.log1p(np.minimum(bets, _cap(side_m)) * (side_x - side_m)) for side_x, side_m in ((x, m), (1 - x, 1 - m))
    ]
    return np.cumsum(gains, axis=1) - math.log(2)


def betting_e(x: ArrayLike, m: float = 0.5, *, alpha: float = 0.05) -> NDArray[np.float64]:
    """Compute the e-value of "the mean is m" after each observation, (n,): the larger of the two capitals.

    `alpha` tunes the bets; the e-value is valid at any level. See `betting_log_capital`.
    """
    with np.errstate(over="ignore"):  # beyond 1e308 the e-value is infinite
        return np.exp(betting_log_capital(x, m, alpha).max(axis=0))


def betting_sequence(
    x: ArrayLike, *, alpha: float = 0.05, times: Sequence[int] | None = None, running: bool = False
) -> ConfidenceSequence:
    """Compute the hedged betting confidence sequence of a mean: the m whose capital is below 1/alpha.

    x : (n,) values in [0, 1] in the order seen. times : numbers of observations to look at, all when None.
    running : intersect over all observations up to each look, not the looks alone: narrower, still valid.
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


def mcnemar_log_e(b_only: ArrayLike, a_only: ArrayLike, *, mixture: Mixture = "uniform") -> NDArray[np.float64]:
    """Compute the log e-value of "a discordant task goes to either arm alike" (two-sided), elementwise.

    b_only, a_only : (...) tasks that only B, only A solved; m = b + a.
    uniform: 2^m B(b + 1, a + 1). kt: 2^m B(b + 1/2, a + 1/2)/B(1/2, 1/2). Valid at every look.
    """
    b, a = np.asarray(b_only, float), np.asarray(a_only, float)
    if not ((b >= 0) & (a >= 0) & (b == np.floor(b)) & (a == np.floor(a)) & np.isfinite(a + b)).all():
        raise AnalysisError("discordant counts must be whole numbers of at least 0.")
    if mixture not in ("uniform", "kt"):
        raise AnalysisError(f"`mixture` must be uniform or kt; got {mixture!r}.")
    prior = 1.0 if mixture == "uniform" else 0.5
    return (b + a) * math.log(2) + special.betaln(b + prior, a + prior) - special.betaln(prior, prior)


def combine_e(e: ArrayLike, *, independent: bool) -> float:
    """Combine e-values (n,) of one null hypothesis: their product when independent, else their mean.

    The mean is valid under any dependence. Vovk & Wang 2021.
    """
    e = np.asarray(e, float)
    if e.ndim != 1 or e.size == 0 or not (e >= 0).all():
        raise AnalysisError(f"a combination needs at least one e-value, each at least 0; got {e.tolist()}.")
    if not independent:
        return float(e.mean())
    if (e == 0).any():
        return 0.0
    with np.errstate(over="ignore"):
        return float(np.exp(np.log(e).sum()))


def _bets(x: NDArray[np.float64], alpha: float) -> NDArray[np.float64]:
    """Compute the bets before they are capped; each knows only what came before it."""
    _check_alpha(alpha)
    t = np.arange(1, x.size + 1)
    mean = (0.5 + np.cumsum(x)) / (t + 1)
    variance = (0.25 + np.cumsum((x - mean) ** 2)) / (t + 1)
    before = np.concatenate([[0.25], variance[:-1]])
    return np.sqrt(2 * math.log(2 / alpha) / (before * t * np.log1p(t)))


def _cap(m: float) -> float:
    return 0.5 / m if m > 0 else math.inf


def _lower(
    x: NDArray[np.float64], bets: NDArray[np.float64], looks: NDArray[np.int64], bound: float, running: bool
) -> NDArray[np.float64]:
    """Find at each look the m at which the first capital, without its half stake, reaches the bound; 0 if none does."""
    found = np.zeros(looks.size)
    order = np.argsort(looks, kind="stable")
    rows = max(1, _CELLS // x.size)
    for part in (order[i : i + rows] for i in range(0, looks.size, rows)):
        n = int(looks[part].max())
        seen = np.arange(n) < looks[part, None]

        def reached(m: NDArray[np.float64], n: int = n, seen: NDArray[np.bool_] = seen) -> NDArray[np.bool_]:
            with np.errstate(divide="ignore"):
                bet = np.minimum(bets[:n], 0.5 / m[:, None])
            # Summed one by one, so that a look is the same to the last bit whatever else is looked at.
            total = np.cumsum(np.where(seen, np.log1p(bet * (x[:n] - m[:, None])), 0.0), axis=1)
            return (total.max(axis=1) if running else total[:, -1]) >= bound

        outside, inside = np.zeros(part.size), np.ones(part.size)
        some = reached(outside)
        for _ in range(52):
            middle = (outside + inside) / 2
            beyond = reached(middle)
            outside, inside = np.where(beyond, middle, outside), np.where(beyond, inside, middle)
        found[part] = np.where(some, inside, 0.0)
    return found


def _unit_values(x: ArrayLike) -> NDArray[np.float64]:
    x = np.asarray(x, float)
    if x.ndim != 1 or x.size == 0 or not ((x >= 0) & (x <= 1)).all():
        raise AnalysisError(
            f"`x` must be (n,) values in [0, 1], at least one and none missing; got shape {x.shape}. "
            "Map differences with `to_unit`."
        )
    return x


def _variance(v: ArrayLike, rho: float) -> NDArray[np.float64]:
    v = np.asarray(v, float)
    _positive("rho", rho)
    if not ((v >= 0) & np.isfinite(v)).all():
        raise AnalysisError("`v` must hold finite variances of at least 0.")
    return v


def _positive(name: str, value: float) -> None:
    if not (value > 0 and math.isfinite(value)):
        raise AnalysisError(f"`{name}` must be above 0; got {value}.")


def _check_alpha(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise AnalysisError(f"`alpha` must lie between 0 and 1; got {alpha}.")
