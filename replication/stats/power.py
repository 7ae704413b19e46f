"""Say what a design could have detected."""

from scipy import stats


def minimal_detectable_effect(se: float, df: float | None = None, *, alpha: float = 0.05, power: float = 0.8) -> float:
    """Compute the true difference that a two-sided test at `alpha` finds with the given power.

    (q_{1-alpha/2} + q_power) se with quantiles of t (`df`) or, where `df` is None, of the normal distribution
    (Miller 2024, arXiv:2411.00640, section 5). With few degrees of freedom the shifted t is an approximation.
    """
    reference = stats.norm if df is None else stats.t(df)
    return float(reference.ppf(1 - alpha / 2) + reference.ppf(power)) * se
