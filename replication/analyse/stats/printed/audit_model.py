"""Standard errors and intervals for printed percentages, under the audit model.

A printed score p of n tasks at k runs has single-run variance p(1 - p), an upper bound for scores in [0, 1] that are not
binary (Bhatia & Davis). `icc` is the share of it that lies between tasks, `rho` the correlation of the two arms over
tasks (of success probabilities, not of outcomes: that one is icc rho). Publications print neither: vary both.
Normal reference. Formulas: Miller 2024, arXiv:2411.00640, extended by 2 tau^2/m for T3.
"""

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from replication.analyse.stats import checks
from replication.analyse.stats.distributions import normal_isf
from replication.analyse.stats.estimates.intervals import t_estimate
from replication.analyse.stats.estimates.proportions import newcombe
from replication.errors import AnalysisError
from replication.records import Estimate, Target


def standard_error(
    p_a: ArrayLike,
    p_b: ArrayLike,
    n: ArrayLike,
    k: ArrayLike,
    *,
    icc: ArrayLike,
    rho: ArrayLike,
    target: Target = "T2",
    tau: ArrayLike = 0.0,
    m: int = 1,
    scale: ArrayLike = 1.0,
) -> NDArray[np.float64]:
    """Compute the standard error of p_b - p_a (fractions), elementwise over arrays.

    k may be infinite. scale : share of the binary variance that the scores have, below 1 for partial credit.
    v_a = scale p_a (1 - p_a); omega^2 = icc (v_a + v_b - 2 rho sqrt(v_a v_b)); s2 = (1 - icc)(v_a + v_b).
    T1: sqrt(s2/(n k)). T2: sqrt((omega^2 + s2/k)/n). T3: sqrt(SE_T2^2 + 2 tau^2/m), tau the SD between checkpoints.
    """
    p_a, p_b, n, k = (np.asarray(x, float) for x in (p_a, p_b, n, k))
    if not ((p_a >= 0) & (p_a <= 1) & (p_b >= 0) & (p_b <= 1)).all():
        raise AnalysisError("scores must be fractions in [0, 1].")
    if not ((n >= 1) & (k >= 1)).all():
        raise AnalysisError("`n` tasks and `k` runs must be at least 1.")
    icc, rho, tau, scale = (np.asarray(x, float) for x in (icc, rho, tau, scale))
    checks.fraction(icc=icc, scale=scale)
    checks.within(-1, 1, rho=rho)
    checks.not_negative(tau=tau)
    checks.at_least(1, m=m)
    v_a, v_b = (scale * p * (1 - p) for p in (p_a, p_b))
    omega2 = icc * (v_a + v_b - 2 * rho * np.sqrt(v_a * v_b))
    noise = (1 - icc) * (v_a + v_b) / k
    variance = noise / n if target == "T1" else (omega2 + noise) / n + (2 * tau**2 / m if target == "T3" else 0.0)
    return np.asarray(np.sqrt(variance), float)


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
    """Estimate p_b - p_a from printed scores: `standard_error` with the normal quantile."""
    se = float(standard_error(p_a, p_b, n, k, icc=icc, rho=rho, target=target, tau=tau, m=m))
    return t_estimate(
        p_b - p_a, se, None, level=level, method=f"audit model, icc {icc}, rho {rho}, normal", target=target, n_tasks=n,
        n_trials=k, n_training_runs=m,
    )  # fmt: skip


def unpaired_single_run(p_a: float, p_b: float, n: int, *, level: float = 0.95) -> Estimate:
    """Estimate p_b - p_a as if each arm were one run on separate tasks, the assumption that needs nothing but the table.

    Wald z for the p-values, hybrid score interval (Newcombe 1998, method 10) for the limits.
    """
    se = float(standard_error(p_a, p_b, n, 1, icc=0.5, rho=0.0))
    low, high = newcombe(p_b * n, n, p_a * n, n, level=level)
    wald = t_estimate(
        p_b - p_a, se, None, level=level, method="", target="T2", n_tasks=n, n_trials=1, n_training_runs=1
    )  # fmt: skip
    return replace(wald, low=low, high=high, method="one run, unpaired; Wald z, Newcombe interval")


def outcome_standard_error(p_a: ArrayLike, p_b: ArrayLike, n: ArrayLike, *, rho: ArrayLike) -> NDArray[np.float64]:
    """Compute the standard error of p_b - p_a at one run from the correlation of outcomes, elementwise.

    sqrt((v_a + v_b - 2 rho sqrt(v_a v_b))/n); rho is that of single-run outcomes, icc times the task correlation
    (Kotawala 2026, arXiv:2605.30315).
    """
    # With icc 1 the task correlation is the outcome correlation, and no run noise is left.
    return standard_error(p_a, p_b, n, 1, icc=1.0, rho=rho)


def outcome_correlation_needed(
    p_a: ArrayLike, p_b: ArrayLike, n: ArrayLike, *, alpha: float = 0.05
) -> NDArray[np.float64]:
    """Find the outcome correlation from which one run each has two-sided p <= alpha; 0 where 0 suffices, NaN where none.

    Solves `outcome_standard_error` = |p_b - p_a|/z_{1 - alpha/2}.
    """
    return correlation_needed(p_a, p_b, n, 1, icc=1.0, alpha=alpha)


def correlation_needed(
    p_a: ArrayLike, p_b: ArrayLike, n: ArrayLike, k: ArrayLike, *, icc: float, alpha: float = 0.05
) -> NDArray[np.float64]:
    """Find the task correlation from which a row has two-sided p <= alpha for T2; 0 where 0 suffices, NaN where none does.

    Solves (omega^2 + s2/k)/n = ((p_b - p_a)/z_{1 - alpha/2})^2 for rho in `standard_error`.
    """
    p_a, p_b, n = (np.asarray(x, float) for x in (p_a, p_b, n))
    if not 0 < icc <= 1:
        raise AnalysisError(f"`icc` must lie in (0, 1] for the task correlation to matter; got {icc}.")
    unpaired = standard_error(p_a, p_b, n, k, icc=icc, rho=0.0) ** 2
    gain = 2 * icc * np.sqrt(p_a * (1 - p_a) * p_b * (1 - p_b)) / n
    missing = unpaired - ((p_b - p_a) / normal_isf(alpha / 2)) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        rho = np.where(missing <= 0, 0.0, missing / gain)
    return np.where(rho <= 1, rho, np.nan)


def fisher_p_value(p_a: float, p_b: float, n: int) -> float:
    """Compute Fisher's exact two-sided p-value of one run each of n pass/fail tasks, successes rounded to integers.

    With n in both groups the distribution is symmetric, so p is twice the smaller tail (Fisher 1935). Summing all tables
    that are at most as probable instead depends on the last bits of two equal probabilities. Weights of tables are products
    of ratios of neighbours, with the heaviest of weight 1.
    """
    fewer, more = sorted(round(p * n) for p in (p_a, p_b))
    if fewer == more:
        return 1.0
    total = fewer + more
    splits = np.arange(max(0, total - n), min(n, total) + 1)
    before, after = splits[:-1], splits[1:]
    logs = np.concatenate([[0.0], np.cumsum(np.log((n - before) * (total - before) / (after * (n - total + after))))])
    weights = np.exp(logs - logs.max())
    return float(2 * weights[: fewer - splits[0] + 1].sum() / weights.sum())


def weighted_standard_error(parts: ArrayLike, n_items: ArrayLike, weights: ArrayLike) -> float:
    """Compute the standard error of the difference of two weighted means at one run, unpaired.

    parts : (2, n_parts) scores of the two arms; n_items, weights : (n_parts,), the weights sum to 1.
    sqrt(sum w^2 (v_a + v_b)/n_items).
    """
    parts, n_items, weights = (np.asarray(x, float) for x in (parts, n_items, weights))
    if weights.ndim != 1 or parts.shape != (2, weights.size) or n_items.shape != weights.shape:
        raise AnalysisError(
            f"need `parts` (2, n_parts), items and weights (n_parts,); got {parts.shape}, {n_items.shape}, {weights.shape}."
        )
    if not (((parts >= 0) & (parts <= 1)).all() and (n_items >= 1).all()):
        raise AnalysisError("`parts` must be fractions in [0, 1], each of at least 1 item.")
    if abs(weights.sum() - 1) > 1e-9:
        raise AnalysisError(f"the weights of the parts must sum to 1; got {weights.sum():.6g}.")
    return float(np.sqrt((weights**2 * (parts * (1 - parts)).sum(axis=0) / n_items).sum()))


def effective_items(p_a: float, p_b: float, parts: ArrayLike, n_clusters: ArrayLike, weights: ArrayLike) -> float:
    """Compute the effective number of items of a weighted mean: that of one proportion with the same standard error.

    parts : (2, n_parts) scores of the two arms on each part. SE^2 = sum w^2 (v_a + v_b)/n_clusters.
    """
    se = weighted_standard_error(parts, n_clusters, weights)
    if se == 0:
        raise AnalysisError("every part is at 0 or 1 in both arms, so the effective number of items is not defined.")
    return (p_a * (1 - p_a) + p_b * (1 - p_b)) / se**2
