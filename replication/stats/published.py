"""Standard errors and intervals for printed percentages, under the audit model.

A printed score p of n tasks at k runs has single-run variance p(1 - p), an upper bound for scores in [0, 1] that are not
binary (Bhatia & Davis). `icc` is the share of it that lies between tasks, `rho` the correlation of the two arms over
tasks (of success probabilities, not of outcomes: that one is icc rho). Neither is printed by anyone: vary both.
Normal reference. Formulas: Miller 2024, arXiv:2411.00640, extended by 2 tau^2/m for T3.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray
from statsmodels.stats.proportion import confint_proportions_2indep

from replication.errors import AnalysisError
from replication.records import Estimate, Target
from replication.stats.intervals import t_estimate


def standard_error(
    p_a: ArrayLike,
    p_b: ArrayLike,
    n: ArrayLike,
    k: ArrayLike,
    *,
    icc: ArrayLike,
    rho: ArrayLike,
    target: Target = "T2",
    tau: float = 0.0,
    m: int = 1,
) -> NDArray[np.float64]:
    """Compute the standard error of p_b - p_a (fractions), elementwise over arrays.

    v_a = p_a (1 - p_a); omega^2 = icc (v_a + v_b - 2 rho sqrt(v_a v_b)); s2 = (1 - icc)(v_a + v_b).
    T1: sqrt(s2/(n k)). T2: sqrt((omega^2 + s2/k)/n). T3: sqrt(SE_T2^2 + 2 tau^2/m), tau the SD between checkpoints.
    """
    p_a, p_b, n, k = (np.asarray(x, float) for x in (p_a, p_b, n, k))
    if not ((p_a >= 0) & (p_a <= 1) & (p_b >= 0) & (p_b <= 1)).all():
        raise AnalysisError("scores must be fractions in [0, 1].")
    if not ((n >= 1) & (k >= 1)).all():
        raise AnalysisError("`n` tasks and `k` runs must be at least 1.")
    v_a, v_b = p_a * (1 - p_a), p_b * (1 - p_b)
    omega2 = np.asarray(icc) * (v_a + v_b - 2 * np.asarray(rho) * np.sqrt(v_a * v_b))
    noise = (1 - np.asarray(icc)) * (v_a + v_b) / k
    if target == "T1":
        return np.sqrt(noise / n)
    return np.sqrt((omega2 + noise) / n + (2 * tau**2 / m if target == "T3" else 0.0))


def difference(
    p_a: float,
    p_b: float,
    n: int,
    k: int,
    *,
    icc: float,
    rho: float,
    target: Target = "T2",
    tau: float = 0.0,
    m: int = 1,
    level: float = 0.95,
) -> Estimate:
    """Estimate p_b - p_a from what is printed: `standard_error` with the normal quantile."""
    se = float(standard_error(p_a, p_b, n, k, icc=icc, rho=rho, target=target, tau=tau, m=m))
    return t_estimate(
        p_b - p_a, se, None, level=level, method=f"audit model, icc {icc}, rho {rho}, normal", target=target, n_tasks=n,
        n_trials=k, n_training_runs=m,
    )  # fmt: skip


def unpaired_single_run(p_a: float, p_b: float, n: int, *, level: float = 0.95) -> Estimate:
    """Estimate p_b - p_a as if each arm were one run and the arms had other tasks: what the table alone supports.

    Wald z for the p-values, hybrid score interval (Newcombe 1998, method 10) for the limits.
    """
    se = float(standard_error(p_a, p_b, n, 1, icc=0.5, rho=0.0))
    low, high = confint_proportions_2indep(p_b * n, n, p_a * n, n, method="newcomb", compare="diff", alpha=1 - level)
    wald = t_estimate(
        p_b - p_a, se, None, level=level, method="", target="T2", n_tasks=n, n_trials=1, n_training_runs=1
    )  # fmt: skip
    return replace(wald, low=float(low), high=float(high), method="one run, unpaired; Wald z, Newcombe interval")


def effective_items(p_a: float, p_b: float, parts: ArrayLike, n_clusters: ArrayLike, weights: ArrayLike) -> float:
    """Count the independent items a weighted mean is worth: those of one proportion with the same standard error.

    parts : (2, n_parts) scores of the two arms on each part. SE^2 = sum w^2 (v_a + v_b)/n_clusters.
    """
    parts, weights = np.asarray(parts, float), np.asarray(weights, float)
    if abs(weights.sum() - 1) > 1e-9:
        raise AnalysisError(f"the weights of the parts must sum to 1; got {weights.sum():.6g}.")
    variance = (weights**2 * (parts * (1 - parts)).sum(axis=0) / np.asarray(n_clusters, float)).sum()
    return float((p_a * (1 - p_a) + p_b * (1 - p_b)) / variance)
