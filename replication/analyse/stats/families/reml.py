"""Variance between benchmarks or scales by restricted maximum likelihood (REML)."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from replication.analyse.stats.roots import decreasing_root

Array = NDArray[np.float64]


def reml_tau2(y: Array, se: Array, x: Array | None = None) -> float:
    """Estimate the variance tau^2 of the true values `y` about their mean, or about a line over `x`; all (n,).

    se : known standard errors of `y`, above 0. The root of the restricted score, w = 1/(se^2 + tau^2); 0 where the score
    has no root above 0.
    Mean: sum w^2 (y - mean)^2 = sum w - sum w^2/sum w. Line: y'PPy = tr P, P = W - WX(X'WX)^-1 X'W, X = (1, x).
    """
    score = _score_of_mean(y, se) if x is None else _score_of_line(y, se, x)
    if score(0.0) <= 0:
        return 0.0
    high = float(y.var() + (se**2).max())
    while score(high) > 0:
        high *= 2
    return decreasing_root(score, 0.0, high)


def reml_tau2_of_many(y: Array, se: Array, n_steps: int = 50) -> Array:
    """Estimate tau^2 about their mean for many sets of values, (n_sets, n), with the same errors (n,), by bisection."""

    def score(tau2: Array) -> Array:
        w = 1 / (se**2 + tau2[:, None])
        total = w.sum(axis=1)
        mean = (w * y).sum(axis=1) / total
        squares = (w**2 * (y - mean[:, None]) ** 2).sum(axis=1)
        return np.asarray(squares - total + (w**2).sum(axis=1) / total)

    low, high = np.zeros(len(y)), y.var(axis=1) + float((se**2).max())
    while (above := score(high) > 0).any():
        high = np.where(above, 2 * high, high)
    for _ in range(n_steps):
        middle = (low + high) / 2
        above = score(middle) > 0
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return np.where(score(np.zeros(len(y))) > 0, low, 0.0)


def _score_of_mean(y: Array, se: Array) -> Callable[[float], float]:
    def score(tau2: float) -> float:
        w = 1 / (se**2 + tau2)
        return float(w**2 @ (y - w @ y / w.sum()) ** 2 - w.sum() + (w**2).sum() / w.sum())

    return score


def _score_of_line(y: Array, se: Array, x: Array) -> Callable[[float], float]:
    design = np.column_stack([np.ones_like(x), x - x.mean()])

    def score(tau2: float) -> float:
        w = 1 / (se**2 + tau2)
        wx = w[:, None] * design
        p = np.diag(w) - wx @ np.linalg.solve(design.T @ wx, wx.T)
        return float(((p @ y) ** 2).sum() - np.trace(p))

    return score
