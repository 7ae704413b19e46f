"""Small telescopes: test whether a replication rules out every effect that the original could have detected.

Simonsohn 2015, Psychological Science 26: theta_33 is the effect that the original detects with power one third (.33).
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from replication.analyse.stats import checks
from replication.analyse.stats.distributions import normal_cdf, normal_isf
from replication.analyse.stats.roots import decreasing_root
from replication.analyse.stats.two_studies.design_analysis import two_sided_power
from replication.errors import AnalysisError


class Telescope(NamedTuple):
    """Small-telescopes test of a replication, elementwise."""

    theta_33: NDArray[np.float64]
    """Effect that the original detects with the given power; above 0."""
    upper: NDArray[np.float64]
    """theta_r + z_{1-alpha} s_r, in the direction of the original."""
    p: NDArray[np.float64]
    """One-sided p-value of "the effect is at least theta_33"."""
    refutes: NDArray[np.bool_]
    """upper < theta_33."""
    informative: NDArray[np.bool_]
    """theta_33 <= |theta_o|; otherwise the original was too small to detect its own estimate, and no replication fails."""


@cache
def k33(*, power: float = 0.33, alpha: float = 0.05) -> float:
    """Compute the effect in standard errors that a two-sided z-test at `alpha` detects with `power`: 1.519 at .33, .05."""
    checks.probability(alpha=alpha, power=power)
    if not alpha < power:
        raise AnalysisError(f"`power` must lie between `alpha` and 1; got power={power}, alpha={alpha}.")
    return float(decreasing_root(lambda k: power - float(two_sided_power(k, 1.0, alpha=alpha)), 0.0, 100.0))


def theta_33(s_o: ArrayLike, *, power: float = 0.33, alpha: float = 0.05) -> NDArray[np.float64]:
    """Compute k33 s_o, the effect that an original with standard error `s_o` detects with `power`."""
    checks.positive(s_o=s_o)
    effect: NDArray[np.float64] = (k33(power=power, alpha=alpha) * np.asarray(s_o, float))[()]
    return effect


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

    theta_o, theta_r : estimates; s_o, s_r : standard errors (broadcast). For a negative original both signs are reversed.
    """
    checks.finite(theta_o=theta_o, theta_r=theta_r)
    checks.positive(s_r=s_r)
    theta_o, theta_r, s_r = (np.asarray(x, float) for x in (theta_o, theta_r, s_r))
    limit = theta_33(s_o, power=power, alpha=alpha)
    along = np.where(theta_o < 0, -theta_r, theta_r)
    upper = along + normal_isf(alpha_one_sided) * s_r
    return Telescope(
        limit, upper[()], normal_cdf((along - limit) / s_r), (upper < limit)[()], (limit <= np.abs(theta_o))[()]
    )
