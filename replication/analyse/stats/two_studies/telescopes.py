"""Ask whether a replication rules out every effect that the original could have seen: small telescopes.

Simonsohn 2015, Psychological Science 26: theta_33 is the effect that the original detects with power one third (.33).
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import optimize, stats

from replication.analyse.stats.two_studies.design_analysis import two_sided_power
from replication.errors import AnalysisError


class Telescope(NamedTuple):
    """Small-telescopes test of a replication, elementwise."""

    theta_33: NDArray[np.float64]
    """Effect that the original detects with the given power; above 0."""
    upper: NDArray[np.float64]
    """theta_r + z_{1-alpha} s_r, counted in the direction of the original."""
    p: NDArray[np.float64]
    """One-sided p-value of "the effect is at least theta_33"."""
    refutes: NDArray[np.bool_]
    """upper < theta_33."""
    informative: NDArray[np.bool_]
    """theta_33 <= |theta_o|; else the original could not have seen its own estimate, and nothing is a failure."""


def k33(*, power: float = 0.33, alpha: float = 0.05) -> float:
    """Find the effect in standard errors that a two-sided z-test at `alpha` detects with `power`: 1.519 at .33, .05."""
    _check_power(power, alpha)
    return float(optimize.brentq(lambda k: two_sided_power(k, 1.0, alpha=alpha) - power, 0.0, 100.0, xtol=1e-13))


def theta_33(s_o: ArrayLike, *, power: float = 0.33, alpha: float = 0.05) -> NDArray[np.float64]:
    """Compute k33 s_o, the effect that an original with standard error `s_o` detects with `power`."""
    s_o = np.asarray(s_o, float)
    if s_o.size == 0 or not (np.isfinite(s_o) & (s_o > 0)).all():
        raise AnalysisError(f"`s_o` must be above 0; got {s_o.tolist()}.")
    return (k33(power=power, alpha=alpha) * s_o)[()]


def sample_multiple(
    detect: ArrayLike, *, power: float = 0.33, alpha: float = 0.05, alpha_one_sided: float = 0.05
) -> NDArray[np.float64]:
    """Compute the c = s_o^2/s_r^2 at which a replication calls a true zero smaller than theta_33 with power `detect`.

    ((z_{1-alpha_one_sided} + z_detect)/k33)^2; Simonsohn rounds the value at .8 to 2.5.
    """
    detect = np.asarray(detect, float)
    if detect.size == 0 or not ((detect > 0) & (detect < 1)).all() or not 0 < alpha_one_sided < 1:
        raise AnalysisError(
            f"`detect`, `alpha_one_sided` must lie in (0, 1); got {detect.tolist()}, {alpha_one_sided}."
        )
    z = stats.norm.isf(alpha_one_sided) + stats.norm.ppf(detect)
    return (np.square(z.clip(min=0.0) / k33(power=power, alpha=alpha)))[()]


def d33_two_sample(n1: int, n2: int | None = None, *, power: float = 0.33, alpha: float = 0.05) -> float:
    """Find the standardised difference that a two-sided two-sample t-test detects with `power` (noncentral t).

    n1, n2 : sizes of the groups; `n2` None means equal to `n1`.
    """
    n2 = n1 if n2 is None else n2
    _check_power(power, alpha)
    if not (n1 >= 2 and n2 >= 2):
        raise AnalysisError(f"each group needs at least 2 values; got n1={n1}, n2={n2}.")
    df, scale = n1 + n2 - 2, math.sqrt(n1 * n2 / (n1 + n2))
    critical = stats.t.isf(alpha / 2, df)

    def missing(d: float) -> float:
        right = stats.nct.sf(critical, df, d * scale)
        left = np.nan_to_num(stats.nct.cdf(-critical, df, d * scale))  # NaN instead of 0 for large noncentrality
        return float(right + left - power)

    high = 1.0 / scale
    while missing(high) < 0:
        high *= 2
    return float(optimize.brentq(missing, 0.0, high, xtol=1e-12))


def small_telescopes(
    theta_o: ArrayLike,
    s_o: ArrayLike,
    theta_r: ArrayLike,
    s_r: ArrayLike,
    *,
    power: float = 0.33,
    alpha: float = 0.05,
    alpha_one_sided: float = 0.05,
) -> Telescope:
    """Test whether the replication refutes theta_33: theta_r + z_{1-alpha_one_sided} s_r < theta_33 (Simonsohn 2015).

    theta_o, theta_r : estimates; s_o, s_r : standard errors (broadcast). A negative original turns both signs.
    """
    theta_o, theta_r, s_r = (np.asarray(x, float) for x in (theta_o, theta_r, s_r))
    if not (np.isfinite(theta_o).all() and np.isfinite(theta_r).all() and (np.isfinite(s_r) & (s_r > 0)).all()):
        raise AnalysisError(f"`theta_o`, `theta_r` must be finite and `s_r` above 0; got {theta_o}, {theta_r}, {s_r}.")
    limit = theta_33(s_o, power=power, alpha=alpha)
    along = np.where(theta_o < 0, -theta_r, theta_r)
    upper = along + stats.norm.isf(alpha_one_sided) * s_r
    return Telescope(
        limit, upper[()], stats.norm.cdf((along - limit) / s_r), (upper < limit)[()], (limit <= np.abs(theta_o))[()]
    )


def _check_power(power: float, alpha: float) -> None:
    if not 0 < alpha < power < 1:
        raise AnalysisError(f"`power` must lie between `alpha` and 1; got power={power}, alpha={alpha}.")
