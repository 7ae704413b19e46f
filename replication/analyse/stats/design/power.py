"""Power and detectable effects of a design, and the numbers of tasks and trials for a given power.

Normal reference unless a `df` is given. omega2 is the variance over tasks of the difference of the two arms' success
probabilities; s2_a and s2_b are the mean within-task variances of a single trial of each arm, s2 their sum.
"""

import math

import numpy as np
import scipy
from numpy.typing import ArrayLike

from replication.analyse.stats import checks
from replication.analyse.stats.distributions import normal_ppf, t_ppf
from replication.analyse.stats.two_studies.design_analysis import two_sided_power
from replication.errors import AnalysisError


def minimal_detectable_effect(se: float, df: float | None = None, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Compute the true difference that a two-sided test at `alpha` detects with the given power.

    (q_{1-alpha/2} + q_power) se with quantiles of t (`df`) or, where `df` is None, of the normal distribution
    (Miller 2024, arXiv:2411.00640, section 5). With few degrees of freedom the shifted t is an approximation.
    """
    return _quantiles(alpha, power, df) * se


def tasks_needed(
    delta: float,
    *,
    omega2: float,
    s2_a: float = 0.0,
    s2_b: float = 0.0,
    k_a: float = 1,
    k_b: float = 1,
    alpha: float = 0.05,
    power: float = 0.8,
) -> float:
    """Compute the number of tasks with which a paired comparison detects `delta`; not rounded.

    n = (z_{1-alpha/2} + z_power)^2 (omega2 + s2_a/k_a + s2_b/k_b)/delta^2 (Miller 2024, arXiv:2411.00640, section 5).
    """
    _effect(delta)
    return _quantiles(alpha, power) ** 2 * _per_task(omega2, s2_a, s2_b, k_a, k_b) / delta**2


def mde_of_design(
    n: float,
    *,
    omega2: float,
    s2_a: float = 0.0,
    s2_b: float = 0.0,
    k_a: float = 1,
    k_b: float = 1,
    alpha: float = 0.05,
    power: float = 0.8,
) -> float:
    """Compute the minimal detectable effect of n tasks: `tasks_needed` solved for delta."""
    checks.at_least(1, n=n)
    return _quantiles(alpha, power) * math.sqrt(_per_task(omega2, s2_a, s2_b, k_a, k_b) / n)


def mde_floor(n: float, *, omega2: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """Compute the minimal detectable effect of n tasks with infinitely many trials; only more tasks reduce it."""
    return mde_of_design(n, omega2=omega2, alpha=alpha, power=power)


def trials_needed(
    delta: float, n: float, *, omega2: float, s2: float, alpha: float = 0.05, power: float = 0.8
) -> float | None:
    """Compute the trials per task and arm with which n tasks detect `delta`; not rounded. None if no number suffices.

    k = s2/(n delta^2/(z_{1-alpha/2} + z_power)^2 - omega2), s2 the sum over both arms.
    """
    _effect(delta)
    checks.at_least(1, n=n)
    checks.not_negative(omega2=omega2, s2=s2)
    room = n * delta**2 / _quantiles(alpha, power) ** 2 - omega2
    return s2 / room if room > 0 else None


def power_two_sided(delta: float, se: float, df: float | None = None, *, alpha: float = 0.05) -> float:
    """Compute the probability that a two-sided test at `alpha` rejects when the true difference is `delta`.

    With `df` the noncentral t, otherwise `design_analysis.two_sided_power`. With a standard error of 0 the power is 1, or
    alpha where delta is 0 too.
    """
    checks.probability(alpha=alpha)
    checks.finite(delta=delta)
    checks.not_negative(se=se)
    if se == 0:
        return alpha if delta == 0 else 1.0
    if df is None:
        return float(two_sided_power(delta, se, alpha=alpha))
    checks.at_least(1, df=df)
    ratio = abs(delta) / se
    if ratio > 30:  # scipy's noncentral t fails for such noncentralities
        return 1.0
    t = float(t_ppf(1 - alpha / 2, df))
    return float(scipy.stats.nct(df, ratio).sf(t) + scipy.stats.nct(df, ratio).cdf(-t))


def joint_power(powers: ArrayLike) -> float:
    """Compute the power to reject all null hypotheses (intersection-union) of independent tests: their product."""
    powers = np.asarray(powers, float)
    if powers.size == 0 or not ((powers >= 0) & (powers <= 1)).all():
        raise AnalysisError(f"`powers` must be at least one number, each in [0, 1]; got {powers.tolist()}.")
    return float(powers.prod())


def tipping_tau(delta: float, se: float, m: int = 1, *, alpha: float = 0.05) -> float | None:
    """Compute the SD between training runs of an arm at which a difference significant for T2 is not so for T3.

    sqrt(m ((delta/z_{1-alpha/2})^2 - se^2)/2), se for T2. None if it is not significant for T2.
    """
    checks.probability(alpha=alpha)
    checks.at_least(1, m=m)
    checks.finite(delta=delta)
    checks.not_negative(se=se)
    room = (delta / float(normal_ppf(1 - alpha / 2))) ** 2 - se**2
    return math.sqrt(m * room / 2) if room > 0 else None


def _quantiles(alpha: float, power: float, df: float | None = None) -> float:
    """Compute q_{1-alpha/2} + q_power, the detectable effect in standard errors."""
    checks.probability(alpha=alpha, power=power)
    return float(t_ppf(1 - alpha / 2, df) + t_ppf(power, df))


def _effect(delta: float) -> None:
    if not (math.isfinite(delta) and delta != 0):
        raise AnalysisError(f"`delta` must be finite and not 0, no design detects a difference of 0; got {delta}.")


def _per_task(omega2: float, s2_a: float, s2_b: float, k_a: float, k_b: float) -> float:
    checks.not_negative(omega2=omega2, s2_a=s2_a, s2_b=s2_b)
    checks.at_least(1, k_a=k_a, k_b=k_b)
    return omega2 + s2_a / k_a + s2_b / k_b
