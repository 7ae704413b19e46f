"""Test whether an effect is smaller than the smallest effect of interest."""

from replication.analyse.stats.distributions import t_cdf, t_sf
from replication.errors import AnalysisError


def tost_p(value: float, se: float, df: float | None, margin: float) -> float:
    """Compute the p-value of two one-sided t-tests against ±margin (Lakens, Scheel & Isager 2018).

    p <= alpha if and only if the 1 - 2 alpha interval lies inside the margin. `df` None means the normal distribution.
    """
    if not margin > 0:
        raise AnalysisError(f"`margin` must be above 0; got {margin}.")
    if se == 0:
        return float(abs(value) >= margin)
    return float(max(t_sf((value + margin) / se, df), t_cdf((value - margin) / se, df)))
