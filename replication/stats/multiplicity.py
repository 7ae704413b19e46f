"""Adjust the p-values of a family, or combine them into one."""

import numpy as np
from numpy.typing import ArrayLike, NDArray
from statsmodels.stats.multitest import multipletests

from replication.errors import AnalysisError


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Adjust p-values by Holm's step-down method: which of them hold, under any dependence."""
    return multipletests(_checked(p), method="holm")[1]


def intersection_union(p: ArrayLike) -> float:
    """Test "all of them": the largest p-value, without correction (Berger 1982)."""
    return float(_checked(p).max())


def _checked(p: ArrayLike) -> NDArray[np.float64]:
    p = np.asarray(p, float)
    if p.size == 0 or not ((p >= 0) & (p <= 1)).all():
        raise AnalysisError(f"a family needs at least one p-value, each in [0, 1]; got {p.tolist()}.")
    return p
