"""Test for effects of both signs over groups (qualitative interaction), which is more than a difference in size."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from replication.analyse.stats import checks
from replication.analyse.stats.distributions import chi2_sf


class GailSimon(NamedTuple):
    """Gail and Simon's test of qualitative interaction."""

    q_plus: float
    q_minus: float
    q: float
    """The smaller of the two: the test statistic."""
    p: float


def gail_simon(d: ArrayLike, s: ArrayLike) -> GailSimon:
    """Test that effects `d` with standard errors `s`, both (k,), do not differ in sign (Gail & Simon 1985, Biometrics).

    Q+ = sum of (d/s)^2 over d > 0, Q- over d < 0, Q = min; p = sum_{h=1}^{k-1} Binom(h; k-1, 1/2) P(chi2_h > Q). A small
    p means that the effect is positive in some groups and negative in others. If all effects have the same sign, Q = 0 and
    p has its largest value, 1 - 2^(1-k). Groups without a standard error must be left out, and reported.
    """
    d, s = checks.vector("d", d, least=2), np.asarray(s, float)
    checks.same_shape(d=d, s=s)
    checks.positive(s=s)
    z2 = (d / s) ** 2
    q_plus, q_minus = float(z2[d > 0].sum()), float(z2[d < 0].sum())
    q = min(q_plus, q_minus)
    return GailSimon(q_plus, q_minus, q, float(interaction_p(q, d.size)))


def interaction_p(q: ArrayLike, n_groups: int) -> NDArray[np.float64]:
    """Compute the p-value of Gail and Simon's statistic; elementwise over `q`."""
    h = np.arange(1, n_groups)
    tails = chi2_sf(np.asarray(q, float)[..., None], h)
    return np.asarray((special.binom(n_groups - 1, h) * tails).sum(axis=-1) / 2 ** (n_groups - 1))
