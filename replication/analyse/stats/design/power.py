"""Say what a design could have detected, or must be like to detect it.

Normal reference unless a `df` is given. omega2 is the variance over tasks of the difference of the two arms' success
probabilities; s2_a and s2_b are the mean within-task variances of a single trial of each arm, s2 their sum.
"""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from replication.errors import AnalysisError


def minimal_detectable_effect(se: float, df: float | None = None, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Compute the true difference that a two-sided test at `alpha` finds with the given power.

    (q_{1-alpha/2} + q_power) se with quantiles of t (`df`) or, where `df` is None, of the normal distribution
    (Miller 2024, arXiv:2411.00640, section 5). With few degrees of freedom the shifted t is an approximation.
    """
    reference = stats.norm if df is None else stats.t(df)
    return float(reference.ppf(1 - alpha / 2) + reference.ppf(power)) * se


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
    """Compute the tasks that a paired comparison needs to find `delta`; not rounded.

    n = (z_{1-alpha/2} + z_power)^2 (omega2 + s2_a/k_a + s2_b/k_b)/delta^2 (Miller 2024, arXiv:2411.00640, section 5).
    """
    _effect(delta)
    return _factor(alpha, power) ** 2 * _per_task(omega2, s2_a, s2_b, k_a, k_b) / delta**2


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
    _count("n", n)
    return _factor(alpha, power) * math.sqrt(_per_task(omega2, s2_a, s2_b, k_a, k_b) / n)


def mde_floor(n: float, *, omega2: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """Compute the minimal detectable effect of n tasks at infinitely many trials: what only more tasks can lower."""
    return mde_of_design(n, omega2=omega2, alpha=alpha, power=power)


def trials_needed(
    delta: float, n: float, *, omega2: float, s2: float, alpha: float = 0.05, power: float = 0.8
) -> float | None:
    """Compute the trials per task and arm that n tasks need to find `delta`; not rounded. None: no number is enough.

    k = s2/(n delta^2/(z_{1-alpha/2} + z_power)^2 - omega2), s2 the sum over both arms.
    """
    _effect(delta)
    _count("n", n)
    _variances(omega2=omega2, s2=s2)
    room = n * delta**2 / _factor(alpha, power) ** 2 - omega2
    return s2 / room if room > 0 else None


def power_two_sided(delta: float, se: float, df: float | None = None, *, alpha: float = 0.05) -> float:
    """Compute the chance that a two-sided test at `alpha` rejects when the true difference is `delta`.

    P(Z > z - delta/se) + P(Z < -z - delta/se), z = z_{1-alpha/2}; with `df` the noncentral t. A standard error of 0 gives 1,
    or alpha where delta is 0 too.
    """
    _alpha(alpha)
    if not (math.isfinite(delta) and 0 <= se < math.inf):
        raise AnalysisError(f"need a finite `delta` and `se` of at least 0; got {delta}, {se}.")
    if se == 0:
        return alpha if delta == 0 else 1.0
    ratio = abs(delta) / se
    if df is None:
        z = float(stats.norm.ppf(1 - alpha / 2))
        return float(stats.norm.sf(z - ratio) + stats.norm.cdf(-z - ratio))
    _count("df", df)
    if ratio > 30:  # where scipy's noncentral t gives up
        return 1.0
    t = float(stats.t(df).ppf(1 - alpha / 2))
    return float(stats.nct(df, ratio).sf(t) + stats.nct(df, ratio).cdf(-t))


def runs_per_agent(sd: float, delta: float, *, alpha: float = 0.05, power: float = 0.8) -> int:
    """Count the runs of the whole benchmark that each of two agents needs when one run's score has this SD.

    ceil(2 (z_{1-alpha/2} + z_power)^2 sd^2/delta^2), at least 1 (Bjarnason et al. 2026, arXiv:2602.07150).
    """
    _effect(delta)
    if not 0 <= sd < math.inf:
        raise AnalysisError(f"`sd` must be at least 0; got {sd}.")
    return max(math.ceil(2 * (_factor(alpha, power) * sd / delta) ** 2), 1)


def paired_binary_tasks_needed(
    p_a: float, p_b: float, rho_outcome: float, *, alpha: float = 0.05, power: float = 0.8
) -> int:
    """Count the tasks that a paired comparison of two pass rates at one trial needs.

    N* = ((z_{1-alpha/2} + z_power)/(p_a - p_b))^2 (v_a + v_b - 2 rho sqrt(v_a v_b)), v = p (1 - p), rounded up; rho is the
    correlation of outcomes, see `outcome_correlation` (Kotawala 2026, arXiv:2605.30315).
    """
    return math.ceil(_paired_binary(p_a, p_b, rho_outcome, alpha, power))


def resolution_ratio(
    n: float, p_a: float, p_b: float, rho_outcome: float, *, alpha: float = 0.05, power: float = 0.8
) -> float:
    """Compute n/N*, N* not rounded: below 1 the benchmark cannot resolve the pair (Kotawala 2026)."""
    _count("n", n)
    needed = _paired_binary(p_a, p_b, rho_outcome, alpha, power)
    return n / needed if needed > 0 else math.inf


def cohen_h_shortcut(p_a: float, p_b: float, rho_outcome: float, *, alpha: float = 0.05, power: float = 0.8) -> int:
    """Count tasks by a common WRONG shortcut, to show how far off it is: never plan with it.

    ceil((1 - rho) ((z_{1-alpha/2} + z_power)/h)^2), h = 2 asin sqrt(p_a) - 2 asin sqrt(p_b): the sample size of one arm.
    """
    _pass_rates(p_a, p_b, rho_outcome)
    h = 2 * math.asin(math.sqrt(p_a)) - 2 * math.asin(math.sqrt(p_b))
    return math.ceil((1 - rho_outcome) * (_factor(alpha, power) / h) ** 2)


def outcome_correlation(rho: float, icc: float) -> float:
    """Compute the correlation of two arms' outcomes at one trial from that of their success probabilities.

    icc rho, for arms with equal between-task share icc. Taking one for the other is a common error in power analyses.
    """
    if not (-1 <= rho <= 1 and 0 <= icc <= 1):
        raise AnalysisError(f"`rho` must lie in [-1, 1] and `icc` in [0, 1]; got {rho}, {icc}.")
    return icc * rho


def relative_variance(k: float, *, between: float, within: float) -> float:
    """Compute the variance of a mean score with k answers per task relative to one answer.

    (between + within/k)/(between + within); between = Var(x) over tasks, within = mean trial variance (Miller 2024,
    section 3). Without any variance the ratio is 1.
    """
    _count("k", k)
    _variances(between=between, within=within)
    return (between + within / k) / (between + within) if between + within > 0 else 1.0


def joint_power(powers: ArrayLike) -> float:
    """Compute the power to show "on all of them" (intersection-union) from those of independent tests: their product."""
    powers = np.asarray(powers, float)
    if powers.size == 0 or not ((powers >= 0) & (powers <= 1)).all():
        raise AnalysisError(f"`powers` must be at least one number, each in [0, 1]; got {powers.tolist()}.")
    return float(powers.prod())


def power_per_test(joint: float, n_tests: int) -> float:
    """Compute the power that each of n independent tests needs for this joint power: joint^(1/n)."""
    _count("n_tests", n_tests)
    if not 0 < joint < 1:
        raise AnalysisError(f"`joint` must lie between 0 and 1; got {joint}.")
    return joint ** (1 / n_tests)


def tipping_tau(delta: float, se: float, m: int = 1, *, alpha: float = 0.05) -> float | None:
    """Compute the SD between training runs of an arm at which a T2 difference stops being significant for T3.

    sqrt(m ((delta/z_{1-alpha/2})^2 - se^2)/2), se for T2. None: it is not significant for T2 already.
    """
    _alpha(alpha)
    _count("m", m)
    if not (math.isfinite(delta) and 0 <= se < math.inf):
        raise AnalysisError(f"need a finite `delta` and `se` of at least 0; got {delta}, {se}.")
    room = (delta / float(stats.norm.ppf(1 - alpha / 2))) ** 2 - se**2
    return math.sqrt(m * room / 2) if room > 0 else None


def _factor(alpha: float, power: float) -> float:
    _alpha(alpha)
    if not 0 < power < 1:
        raise AnalysisError(f"`power` must lie between 0 and 1; got {power}.")
    return float(stats.norm.ppf(1 - alpha / 2) + stats.norm.ppf(power))


def _alpha(alpha: float) -> None:
    if not 0 < alpha < 1:
        raise AnalysisError(f"`alpha` must lie between 0 and 1; got {alpha}.")


def _effect(delta: float) -> None:
    if not (math.isfinite(delta) and delta != 0):
        raise AnalysisError(f"`delta` must be finite and not 0, no design finds a difference of 0; got {delta}.")


def _count(name: str, n: float) -> None:
    if not 1 <= n < math.inf:
        raise AnalysisError(f"`{name}` must be at least 1; got {n}.")


def _variances(**variances: float) -> None:
    for name, value in variances.items():
        if not 0 <= value < math.inf:
            raise AnalysisError(f"`{name}` is a variance and must be at least 0; got {value}.")


def _per_task(omega2: float, s2_a: float, s2_b: float, k_a: float, k_b: float) -> float:
    _variances(omega2=omega2, s2_a=s2_a, s2_b=s2_b)
    _count("k_a", k_a)
    _count("k_b", k_b)
    return omega2 + s2_a / k_a + s2_b / k_b


def _pass_rates(p_a: float, p_b: float, rho_outcome: float) -> None:
    if not (0 <= p_a <= 1 and 0 <= p_b <= 1 and -1 <= rho_outcome <= 1):
        raise AnalysisError(
            f"pass rates must lie in [0, 1] and `rho_outcome` in [-1, 1]; got {p_a}, {p_b}, {rho_outcome}."
        )
    _effect(p_a - p_b)


def _paired_binary(p_a: float, p_b: float, rho_outcome: float, alpha: float, power: float) -> float:
    _pass_rates(p_a, p_b, rho_outcome)
    v_a, v_b = p_a * (1 - p_a), p_b * (1 - p_b)
    variance = v_a + v_b - 2 * rho_outcome * math.sqrt(v_a * v_b)
    return (_factor(alpha, power) / (p_a - p_b)) ** 2 * max(variance, 0.0)
