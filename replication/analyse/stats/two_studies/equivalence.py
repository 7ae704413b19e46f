"""Test whether an effect is smaller than the smallest effect of interest."""

import math
from typing import NamedTuple

from scipy import stats

from replication.errors import AnalysisError


class Tost(NamedTuple):
    """Two one-sided t-tests."""

    t1: float
    """Against the lower bound; large values reject it."""
    p1: float
    t2: float
    """Against the upper bound; small values reject it."""
    p2: float
    df: float

    @property
    def p(self) -> float:
        """p-value of the equivalence test: the larger of the two."""
        return max(self.p1, self.p2)


def tost_p(value: float, se: float, df: float | None, margin: float) -> float:
    """Compute the p-value of two one-sided tests against -+margin (Lakens, Scheel & Isager 2018).

    p <= alpha means that the 1 - 2 alpha interval lies inside the margin. `df` None means the normal reference.
    """
    if margin <= 0:
        raise AnalysisError(f"`margin` must be above 0; got {margin}.")
    if se == 0:
        return float(abs(value) >= margin)
    reference = stats.norm if df is None else stats.t(df)
    return float(max(reference.sf((value + margin) / se), reference.cdf((value - margin) / se)))


def tost_one_sample(mean: float, sd: float, n: int, *, margin: float, mu: float = 0.0) -> Tost:
    """Test that a mean lies within `margin` of `mu`, from its sample size and standard deviation.

    t1, t2 = (mean - mu +- margin)/(sd/sqrt(n)) on n - 1 df; `margin` in units of the mean (Lakens, Scheel & Isager 2018).
    """
    _check_sample(mean, sd, n)
    return _tost(mean - mu, sd / math.sqrt(n), n - 1, margin)


def tost_two_sample(mean1: float, sd1: float, n1: int, mean2: float, sd2: float, n2: int, *, margin: float) -> Tost:
    """Test that two independent means differ by less than `margin`, from sizes and standard deviations.

    Welch: SE^2 = v1 + v2, v = sd^2/n; df = SE^4/(v1^2/(n1 - 1) + v2^2/(n2 - 1)) (Lakens, Scheel & Isager 2018).
    """
    _check_sample(mean1, sd1, n1)
    _check_sample(mean2, sd2, n2)
    v1, v2 = sd1**2 / n1, sd2**2 / n2
    spread = v1 + v2
    df = spread**2 / (v1**2 / (n1 - 1) + v2**2 / (n2 - 1)) if spread > 0 else n1 + n2 - 2
    return _tost(mean1 - mean2, math.sqrt(spread), df, margin)


def _tost(value: float, se: float, df: float, margin: float) -> Tost:
    if not (margin > 0 and math.isfinite(value)):
        raise AnalysisError(f"`margin` must be above 0 and the mean finite; got margin={margin}, difference {value}.")
    if se == 0:  # decided by the value; a value on the bound is not inside
        t1, t2 = math.inf if value > -margin else -math.inf, -math.inf if value < margin else math.inf
    else:
        t1, t2 = (value + margin) / se, (value - margin) / se
    return Tost(t1, float(stats.t.sf(t1, df)), t2, float(stats.t.cdf(t2, df)), float(df))


def _check_sample(mean: float, sd: float, n: int) -> None:
    if not (math.isfinite(mean) and 0 <= sd < math.inf and n >= 2):
        raise AnalysisError(
            f"a sample needs a finite mean, a standard deviation of at least 0 and at least 2 values; "
            f"got mean={mean}, sd={sd}, n={n}."
        )
