"""Mean score of one arm with a standard error that accounts for clusters of items (Miller 2024, arXiv:2411.00640)."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from replication.analyse.stats import checks
from replication.analyse.stats.estimates.intervals import t_estimate
from replication.errors import AnalysisError
from replication.records import Estimate, Target


class StandardErrors(NamedTuple):
    """The three standard errors of a mean that Miller's Table 4 prints."""

    mean: float
    independent: float
    """sd/sqrt(n), n - 1 variance: every item is its own cluster."""
    clustered: float
    """Without small-sample factor."""
    clustered_corrected: float
    """Times sqrt(G/(G - 1)), G clusters."""
    n_items: int
    n_clusters: int


def standard_errors(scores: ArrayLike, clusters: ArrayLike) -> StandardErrors:
    """Compute the standard error of the mean for independent items and for clustered ones.

    scores, clusters : (n_items,); score averaged over trials, and name of the question, passage or task it belongs to.
    independent = sqrt(sum (s_i - mean)^2/(n - 1)/n); clustered = (1/n) sqrt(sum_c (sum_{i in c} (s_i - mean))^2), that is
    Miller's eq. 4 with the 1/n variance; corrected by sqrt(G/(G - 1)), which is what statsmodels' cluster covariance
    does by default for a mean. Where clusters help, clustered may be smaller than independent.
    """
    scores, code = _checked(scores, clusters)
    n, mean = scores.size, float(scores.mean())
    sums = np.bincount(code, weights=scores - mean)
    clustered = math.sqrt(float((sums**2).sum())) / n
    return StandardErrors(
        mean=mean,
        independent=float(scores.std(ddof=1)) / math.sqrt(n),
        clustered=clustered,
        clustered_corrected=clustered * math.sqrt(sums.size / (sums.size - 1)),
        n_items=n,
        n_clusters=sums.size,
    )


def clustered_mean(
    scores: ArrayLike,
    clusters: ArrayLike | None = None,
    *,
    level: float = 0.95,
    small_sample: bool = True,
    target: Target = "T2",
    n_trials: int = 1,
    n_training_runs: int = 1,
) -> Estimate:
    """Estimate the mean score with the clustered standard error and the t quantile with G - 1 degrees of freedom.

    scores, clusters : (n_items,); None makes every item its own cluster, which gives sd/sqrt(n). level : confidence level.
    small_sample : multiply the standard error by sqrt(G/(G - 1)). n_trials, n_training_runs : numbers that a score is
    averaged over, copied into the estimate.
    """
    scores = np.asarray(scores, float)
    errors = standard_errors(scores, np.arange(scores.size) if clusters is None else clusters)
    return t_estimate(
        errors.mean,
        errors.clustered_corrected if small_sample else errors.clustered,
        errors.n_clusters - 1.0,
        level=level,
        method="clustered by task, t" if small_sample else "clustered by task without small-sample factor, t",
        target=target,
        n_tasks=errors.n_clusters,
        n_trials=n_trials,
        n_training_runs=n_training_runs,
    )


def relative_variance(task_variance: float, noise_variance: float, n_answers: ArrayLike) -> NDArray[np.float64]:
    """Compute the variance of a mean at K answers per task relative to one answer, by the law of total variance.

    (Var(x) + E[sigma_i^2]/K)/(Var(x) + E[sigma_i^2]), task_variance = Var(x), noise_variance = E[sigma_i^2]; n_answers
    may be an array, and infinite for the limit. Uniform difficulty (1/12, 1/6): 2/3, 1/2, 4/9 at K = 2, 4, 6, limit 1/3.
    """
    answers = np.asarray(n_answers, float)
    if not (answers >= 1).all():
        raise AnalysisError(f"`n_answers` must be at least 1; got {answers.tolist()}.")
    checks.not_negative(task_variance=task_variance, noise_variance=noise_variance)
    if task_variance + noise_variance == 0:
        raise AnalysisError("`task_variance` and `noise_variance` must not both be 0; got 0 and 0.")
    return np.asarray((task_variance + noise_variance / answers) / (task_variance + noise_variance))


def paired_standard_error(se_a: float, se_b: float, correlation: float) -> float:
    """Compute the standard error of a paired difference from those of the arms: sqrt(a^2 + b^2 - 2 a b correlation).

    correlation : of the two arms' scores over tasks, as scored (not of the success probabilities behind them).
    """
    checks.not_negative(se_a=se_a, se_b=se_b)
    checks.within(-1, 1, correlation=correlation)
    return math.sqrt(max(se_a**2 + se_b**2 - 2 * se_a * se_b * correlation, 0.0))


def _checked(scores: ArrayLike, clusters: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    scores, clusters = np.asarray(scores, float), np.asarray(clusters)
    if scores.ndim != 1 or clusters.shape != scores.shape:
        raise AnalysisError(
            f"`scores` and `clusters` must both be (n_items,); got {scores.shape} and {clusters.shape}. "
            "Average over trials first."
        )
    if not np.isfinite(scores).all():
        raise AnalysisError(
            f"{int((~np.isfinite(scores)).sum())} of {scores.size} `scores` are missing or infinite; "
            "fill or drop them first."
        )
    names, code = np.unique(clusters, return_inverse=True)
    if names.size < 2:
        raise AnalysisError(f"a standard error over tasks needs at least 2 clusters; got {names.size}.")
    return scores, code
