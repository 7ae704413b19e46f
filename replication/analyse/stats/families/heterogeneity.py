"""Test whether an effect has both signs over groups, which is more than having several sizes."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import optimize, stats

from replication.errors import AnalysisError


class GailSimon(NamedTuple):
    """Gail and Simon's test of qualitative interaction."""

    q_plus: float
    q_minus: float
    q: float
    """The smaller of the two: what a common sign must put down to chance."""
    p: float


def gail_simon(d: ArrayLike, s: ArrayLike) -> GailSimon:
    """Test that effects `d` with standard errors `s`, both (k,), do not differ in sign (Gail & Simon 1985, Biometrics).

    Q+ = sum of (d/s)^2 over d > 0, Q- over d < 0, Q = min; p = sum_{h=1}^{k-1} Binom(h; k-1, 1/2) P(chi2_h > Q). A small
    p means that the effect is positive in some groups and negative in others. With one sign only Q = 0 and p takes its
    largest value, 1 - 2^(1-k).
    """
    d, s = np.asarray(d, float), np.asarray(s, float)
    if d.ndim != 1 or d.size < 2 or d.shape != s.shape:
        raise AnalysisError(f"an interaction needs at least 2 groups, an error for each; got {d.shape} and {s.shape}.")
    if not (np.isfinite(d).all() and np.isfinite(s).all() and (s > 0).all()):
        raise AnalysisError(
            f"the groups need finite effects and errors above 0; got {d.tolist()} and {s.tolist()}. Leave out groups "
            "without an error and say so."
        )
    z2 = (d / s) ** 2
    q_plus, q_minus = float(z2[d > 0].sum()), float(z2[d < 0].sum())
    q = min(q_plus, q_minus)
    return GailSimon(q_plus, q_minus, q, _tail(q, d.size))


def gail_simon_critical(k: int, *, alpha: float = 0.05) -> float:
    """Give the Q that k groups must exceed for p < alpha."""
    if k < 2:
        raise AnalysisError(f"`k` must be at least 2 groups; got {k}.")
    if not 0 < alpha < 1 - 2.0 ** (1 - k):
        raise AnalysisError(f"`alpha` must lie between 0 and 1 - 2^(1-k) = {1 - 2.0 ** (1 - k):g}; got {alpha}.")
    high = float(stats.chi2.isf(alpha, k - 1))  # all of the mixture at its largest df
    return float(optimize.brentq(lambda q: _tail(q, k) - alpha, 0.0, high, xtol=1e-14, rtol=1e-13))


def _tail(q: float, k: int) -> float:
    h = np.arange(1, k)
    return float(stats.binom.pmf(h, k - 1, 0.5) @ stats.chi2.sf(q, h))
