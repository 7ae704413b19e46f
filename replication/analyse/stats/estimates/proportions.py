"""Intervals for pass counts: one proportion, and the difference of two."""

import math
from typing import NamedTuple

from scipy import special

from replication.analyse.stats import checks
from replication.analyse.stats.distributions import normal_ppf
from replication.errors import AnalysisError


class Limits(NamedTuple):
    """The two ends of an interval."""

    low: float
    high: float


def clopper_pearson(x: int, n: int, *, level: float = 0.95) -> Limits:
    """Compute the exact interval of x passes out of n: Beta quantiles at (1 ± level)/2 (Clopper & Pearson 1934)."""
    _check_counts(x, n)
    checks.probability(level=level)
    low, high = (1 - level) / 2, (1 + level) / 2
    return Limits(
        float(special.betaincinv(x, n - x + 1, low)) if x > 0 else 0.0,
        float(special.betaincinv(x + 1, n - x, high)) if x < n else 1.0,
    )


def newcombe(x1: float, n1: int, x2: float, n2: int, *, level: float = 0.95) -> Limits:
    """Compute the hybrid score interval of x1/n1 - x2/n2, independent samples (Newcombe 1998, method 10).

    d - sqrt((p1 - l1)^2 + (u2 - p2)^2), d + sqrt((u1 - p1)^2 + (p2 - l2)^2), l and u the Wilson limits. x1 and x2 may be
    fractions of passes, as a printed percentage of n gives.
    """
    for x, n in ((x1, n1), (x2, n2)):
        if not (n >= 1 and 0 <= x <= n):
            raise AnalysisError(f"passes must be between 0 and the number of trials, at least one; got {x} of {n}.")
    (l1, u1), (l2, u2) = _wilson(x1, n1, level), _wilson(x2, n2, level)
    p1, p2 = x1 / n1, x2 / n2
    return Limits(p1 - p2 - math.hypot(p1 - l1, u2 - p2), p1 - p2 + math.hypot(u1 - p1, p2 - l2))


def _wilson(x: float, n: int, level: float) -> Limits:
    """Score interval of one proportion, without continuity correction (Wilson 1927)."""
    checks.probability(level=level)
    z = float(normal_ppf((1 + level) / 2))
    middle, half = x + z**2 / 2, z * math.sqrt(x * (n - x) / n + z**2 / 4)
    return Limits(0.0 if x == 0 else (middle - half) / (n + z**2), 1.0 if x == n else (middle + half) / (n + z**2))


def _check_counts(x: int, n: int) -> None:
    if not (n >= 1 and 0 <= x <= n and x == int(x) and n == int(n)):
        raise AnalysisError(f"a count must be a whole number of passes out of at least one trial; got {x} of {n}.")
