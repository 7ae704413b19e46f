"""Adjust the p-values of a family, or combine them into one."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from replication.errors import AnalysisError


def holm(p: ArrayLike) -> NDArray[np.float64]:
    """Adjust p-values by Holm's step-down method (1979): which of them hold, under any dependence.

    Own code because statsmodels' `multipletests` collects garbage at every call, 80 ms; a test holds it to that function.
    """
    p = _checked(p)
    order = np.argsort(p, kind="stable")
    adjusted = np.maximum.accumulate(p[order] * np.arange(p.size, 0, -1)).clip(max=1.0)
    return adjusted[np.argsort(order, kind="stable")]


def intersection_union(p: ArrayLike) -> float:
    """Test "all of them": the largest p-value, without correction (Berger 1982)."""
    return float(_checked(p).max())


def _checked(p: ArrayLike) -> NDArray[np.float64]:
    p = np.asarray(p, float)
    if p.size == 0 or not ((p >= 0) & (p <= 1)).all():
        raise AnalysisError(f"a family needs at least one p-value, each in [0, 1]; got {p.tolist()}.")
    return p
