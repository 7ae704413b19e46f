"""Checks of a set of published effects for selective reporting: asymmetry of the funnel and excess of significant results.

Neither proves selection: real differences between small and large studies, and effects that are correlated within papers,
look the same; a check with few clusters has little power, so that its silence says nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from replication.analyse.stats import checks
from replication.analyse.stats.distributions import chi2_sf, normal_cdf, normal_isf, normal_sf
from replication.analyse.stats.families.multilevel import Coefficient, multilevel


class Asymmetry(NamedTuple):
    """Egger's regression of effects on their standard errors."""

    slope: Coefficient
    """Change of the effect per unit of standard error; 0 without small-study effects."""
    at_zero: Coefficient
    """Expected effect of a study without sampling error."""


class Excess(NamedTuple):
    """Test of excess significance."""

    observed: int
    """Effects that are significant in the direction of the mean or against it."""
    expected: float
    """Sum of their powers at the pooled effect."""
    p_chi2: float
    """One-sided: more than expected."""
    p_binomial: float
    """The same by the binomial distribution with the mean power."""


class Signs(NamedTuple):
    """Test of an excess of positive effects."""

    observed: int
    expected: float
    p: float
    """One-sided: as many as observed, or more."""


def asymmetry(y: ArrayLike, se: ArrayLike, clusters: Sequence[str], *, level: float = 0.95) -> Asymmetry:
    """Regress effects `y` on their errors `se`, both (k,), in `clusters`, by the multilevel model with its floor.

    The regression test of Egger et al. 1997 with random effects (Sterne & Egger 2005), extended to dependent effects by
    Rodgers & Pustejovsky 2021, Psychological Methods.
    """
    se = np.asarray(se, float)
    x = np.column_stack([np.ones(se.size), se])
    at_zero, slope = multilevel(y, se, clusters, x=x, level=level, floor=True).coefficients
    return Asymmetry(slope=slope, at_zero=at_zero)


def excess_significance(
    y: ArrayLike, se: ArrayLike, *, mean: float | None = None, variance: float = 0.0, alpha: float = 0.05
) -> Excess:
    """Compare the number of significant effects with the number expected (Ioannidis & Trikalinos 2007, Clinical Trials).

    y, se : (k,) effects and standard errors. mean : the true effect; None: the fixed-effect mean. variance : of true effects
    about it. Power of each two-sided test at level `alpha`, p by chi-squared with one df, one-sided, and by the binomial
    distribution. Effects are taken as independent.
    """
    y, se = checks.vector("y", y), np.asarray(se, float)
    checks.same_shape(y=y, se=se)
    checks.positive(se=se)
    checks.not_negative(variance=variance)
    checks.probability(alpha=alpha)
    critical = float(normal_isf(alpha / 2))
    true = float(se**-2.0 @ y / (se**-2.0).sum()) if mean is None else mean
    scale = np.sqrt(se**2 + variance)
    power = normal_sf((critical * se - true) / scale) + normal_cdf((-critical * se - true) / scale)
    observed, expected, k = int((np.abs(y / se) >= critical).sum()), float(power.sum()), y.size
    statistic = (observed - expected) ** 2 / expected + (observed - expected) ** 2 / (k - expected)
    half = float(chi2_sf(statistic, 1)) / 2
    return Excess(
        observed=observed,
        expected=expected,
        p_chi2=half if observed > expected else 1 - half,
        p_binomial=1.0 if observed == 0 else float(special.bdtrc(observed - 1, k, expected / k)),
    )


def excess_positive(y: ArrayLike, se: ArrayLike, *, mean: float, variance: float = 0.0) -> Signs:
    """Compare the number of effects above 0 with the number expected, taking the effects as independent.

    Effect i is above 0 with probability Phi(mean/sqrt(se_i^2 + variance)); p by the exact distribution of the number
    (Poisson binomial). Effects that share a control are positive together more often: p is then too small.
    """
    y, se = checks.vector("y", y), np.asarray(se, float)
    checks.same_shape(y=y, se=se)
    checks.positive(se=se)
    checks.not_negative(variance=variance)
    above = normal_cdf(mean / np.sqrt(se**2 + variance))
    counts = np.ones(1)
    for probability in above:
        counts = np.convolve(counts, [1 - probability, probability])
    observed = int((y > 0).sum())
    return Signs(observed, float(above.sum()), float(counts[observed:].sum()))
