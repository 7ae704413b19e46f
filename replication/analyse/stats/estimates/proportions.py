"""Intervals and tests for pass counts: one proportion, two, two paired, and two posterior Betas.

Arm B is the treatment, arm A the control; every difference is B minus A unless the function numbers its arms.
"""

import math
from typing import NamedTuple

import numpy as np
import scipy
from numpy.typing import ArrayLike
from scipy import special

from replication.analyse.stats import checks
from replication.analyse.stats.distributions import chi2_sf, normal_ppf
from replication.errors import AnalysisError


class Limits(NamedTuple):
    """The two ends of an interval."""

    low: float
    high: float


class PairedTable(NamedTuple):
    """Numbers of tasks that both arms passed, only B, only A, neither."""

    both: int
    b_only: int
    a_only: int
    neither: int


class McNemar(NamedTuple):
    """McNemar's chi-square test with the paired difference of pass rates."""

    chi2: float
    p: float
    """Two-sided, chi-square with 1 degree of freedom."""
    difference: float
    """Pass rate of B minus that of A."""
    se: float
    """Of the difference, without imposing the null hypothesis."""


def wilson(x: int, n: int, *, level: float = 0.95) -> Limits:
    """Compute the score interval of x passes out of n, without continuity correction (Wilson 1927).

    (x + z^2/2)/(n + z^2) ± z sqrt(x (n - x)/n + z^2/4)/(n + z^2), z = z_{(1 + level)/2}, level the confidence level.
    """
    _check_counts(x, n)
    return _wilson(x, n, level)


def clopper_pearson(x: int, n: int, *, level: float = 0.95) -> Limits:
    """Compute the exact interval of x passes out of n: Beta quantiles at (1 ± level)/2 (Clopper & Pearson 1934)."""
    _check_counts(x, n)
    checks.probability(level=level)
    low, high = (1 - level) / 2, (1 + level) / 2
    return Limits(
        float(special.betaincinv(x, n - x + 1, low)) if x > 0 else 0.0,
        float(special.betaincinv(x + 1, n - x, high)) if x < n else 1.0,
    )


def beta_interval(x: int, n: int, *, level: float = 0.95) -> Limits:
    """Compute the equal-tailed posterior interval of x passes out of n, Beta(1 + x, 1 + n - x) (Bowyer et al. 2025)."""
    _check_counts(x, n)
    checks.probability(level=level)
    low, high = special.betaincinv(1 + x, 1 + n - x, [(1 - level) / 2, (1 + level) / 2])
    return Limits(float(low), float(high))


def binomial_p(x: int, n: int, p0: float) -> float:
    """Test exactly, two-sided, that the pass rate is p0: total probability of outcomes at most as likely as x of n."""
    _check_counts(x, n)
    checks.fraction(p0=p0)
    return float(scipy.stats.binomtest(int(x), int(n), p0).pvalue)


def newcombe(x1: float, n1: int, x2: float, n2: int, *, level: float = 0.95) -> Limits:
    """Compute the hybrid score interval of x1/n1 - x2/n2, independent samples (Newcombe 1998, method 10).

    d - sqrt((p1 - l1)^2 + (u2 - p2)^2), d + sqrt((u1 - p1)^2 + (p2 - l2)^2), l and u the Wilson limits. x1 and x2 may be
    fractions of passes, as a printed percentage of n gives.
    """
    for x, n in ((x1, n1), (x2, n2)):
        if not (n >= 1 and 0 <= x <= n):
            raise AnalysisError(f"passes must be between 0 and the number of trials, at least one; got {x} of {n}.")
    return _square_and_add(x1, n1, x2, n2, 0.0, level)


def newcombe_paired(both: int, b_only: int, a_only: int, neither: int, *, level: float = 0.95) -> Limits:
    """Compute the hybrid score interval of the paired difference B - A (Newcombe 1998, paired data, method 10).

    The unpaired formula with -2 phi (p_B - l_B)(u_A - p_A) under the root of the lower limit, -2 phi (u_B - p_B)(p_A - l_A)
    under that of the upper one. With q = both neither - b_only a_only, phi = q'/sqrt(product of the four margins),
    q' = q below 0, else max(q - n/2, 0); phi = 0 where a margin is empty. n/2 is Newcombe's continuity correction; without
    it the interval is too narrow.
    """
    table = _check_table(both, b_only, a_only, neither)
    n, x_b, x_a = sum(table), table.both + table.b_only, table.both + table.a_only
    q = table.both * table.neither - table.b_only * table.a_only
    margins = math.sqrt(x_b * (n - x_b) * x_a * (n - x_a))
    phi = 0.0 if margins == 0 else (q if q < 0 else max(q - n / 2, 0.0)) / margins
    return _square_and_add(x_b, n, x_a, n, phi, level)


def paired_counts(scores_a: ArrayLike, scores_b: ArrayLike) -> PairedTable:
    """Cross-tabulate the scores of two arms; scores_a, scores_b : (n_tasks,) of 0 and 1, same tasks in the same order."""
    a, b = np.asarray(scores_a, float), np.asarray(scores_b, float)
    if a.ndim != 1 or a.shape != b.shape or a.size == 0:
        raise AnalysisError(
            f"`scores_a` and `scores_b` must be (n_tasks,) over the same tasks; got {a.shape} and {b.shape}."
        )
    if not (np.isin(a, (0, 1)).all() and np.isin(b, (0, 1)).all()):
        raise AnalysisError(
            "`scores_a` and `scores_b` must be 0 or 1 at one trial per task; got other or missing values. "
            "Use `paired_difference` for scores that are not binary."
        )
    a, b = a == 1, b == 1
    return PairedTable(int((a & b).sum()), int((~a & b).sum()), int((a & ~b).sum()), int((~a & ~b).sum()))


def mcnemar_exact(b_only: int, a_only: int) -> float:
    """Test exactly, two-sided, that both arms pass equally often: binomial 1/2 on the discordant tasks (McNemar 1947).

    b_only, a_only : tasks that only B, only A passed. No discordant task gives 1.
    """
    if b_only == a_only == 0:
        return 1.0
    return binomial_p(b_only, b_only + a_only, 0.5)


def mcnemar_chi2(both: int, b_only: int, a_only: int, neither: int) -> McNemar:
    """Test by chi-square that both arms pass equally often, without continuity correction (McNemar 1947).

    chi2 = (b - a)^2/(b + a), d = (b - a)/n, SE = sqrt(((b + a)/n - d^2)/n). No discordant task gives chi2 0, p 1, SE 0.
    """
    table = _check_table(both, b_only, a_only, neither)
    n, discordant = sum(table), table.b_only + table.a_only
    difference = (table.b_only - table.a_only) / n
    chi2 = (table.b_only - table.a_only) ** 2 / discordant if discordant else 0.0
    # At difference = ±1 the two terms are equal, and rounding may make their difference negative.
    variance = max(discordant / n - difference**2, 0.0) / n
    return McNemar(chi2, float(chi2_sf(chi2, 1)), difference, math.sqrt(variance))


def beta_superiority(x_a: int, n_a: int, x_b: int, n_b: int) -> float:
    """Compute P(theta_B > theta_A) for independent posteriors Beta(1 + x, 1 + n - x), x passes out of n, exactly.

    With Beta(a, b) for A and Beta(c, d) for B: sum_{i < c} B(a + i, b + d)/((d + i) B(1 + i, d) B(a, b)), B the beta
    function. Model: Bowyer, Aitchison & Ivanova 2025; unpaired, so use `paired_bayes` where the tasks are the same.
    """
    _check_counts(x_a, n_a)
    _check_counts(x_b, n_b)
    a, b, c, d = 1 + x_a, 1 + n_a - x_a, 1 + x_b, 1 + n_b - x_b
    i = np.arange(c)
    terms = special.betaln(a + i, b + d) - np.log(d + i) - special.betaln(1 + i, d) - special.betaln(a, b)
    return min(float(np.exp(terms).sum()), 1.0)


def _wilson(x: float, n: int, level: float) -> Limits:
    checks.probability(level=level)
    z = float(normal_ppf((1 + level) / 2))
    middle, half = x + z**2 / 2, z * math.sqrt(x * (n - x) / n + z**2 / 4)
    return Limits(0.0 if x == 0 else (middle - half) / (n + z**2), 1.0 if x == n else (middle + half) / (n + z**2))


def _square_and_add(x1: float, n1: int, x2: float, n2: int, phi: float, level: float) -> Limits:
    """Combine two Wilson intervals whose estimates have correlation phi."""
    (l1, u1), (l2, u2) = _wilson(x1, n1, level), _wilson(x2, n2, level)
    p1, p2 = x1 / n1, x2 / n2

    def distance(first: float, second: float) -> float:
        return math.sqrt(max(first**2 + second**2 - 2 * phi * first * second, 0.0))

    return Limits(p1 - p2 - distance(p1 - l1, u2 - p2), p1 - p2 + distance(u1 - p1, p2 - l2))


def _check_counts(x: int, n: int) -> None:
    if not (n >= 1 and 0 <= x <= n and x == int(x) and n == int(n)):
        raise AnalysisError(f"a count must be a whole number of passes out of at least one trial; got {x} of {n}.")


def _check_table(*counts: int) -> PairedTable:
    if not all(count >= 0 and count == int(count) for count in counts) or sum(counts) == 0:
        raise AnalysisError(
            "`both`, `b_only`, `a_only` and `neither` must be whole numbers of at least 0 that are not all 0; got "
            f"{counts}."
        )
    return PairedTable(*map(int, counts))
