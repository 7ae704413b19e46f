"""Describe whole distributions of run scores over tasks (Agarwal et al. 2021, NeurIPS).

All take scores (..., n_runs, n_tasks) and reduce the last two axes, so that `stratified_bootstrap` may pass many resamples
at once. A trimmed mean throws away the hardest and the easiest tasks: with few benchmarks show it, do not decide on it.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from replication.errors import AnalysisError


def performance_profile(scores: ArrayLike, thresholds: ArrayLike) -> NDArray[np.float64]:
    """Give the share of run scores above each threshold: (..., n_thresholds). scores : (..., n_runs, n_tasks)."""
    pooled, thresholds = _pooled(scores), np.asarray(thresholds, float)
    if thresholds.ndim != 1 or thresholds.size == 0 or not np.isfinite(thresholds).all():
        raise AnalysisError(f"`thresholds` must be (n_thresholds,) and finite; got {thresholds.tolist()}.")
    return np.stack([(pooled > threshold).mean(axis=-1) for threshold in thresholds], axis=-1)


def interquartile_mean(scores: ArrayLike) -> NDArray[np.float64]:
    """Average the middle half of all run scores: the 25 % trimmed mean over runs x tasks.

    scores : (..., n_runs, n_tasks); of N scores floor(N/4) are dropped at either end.
    """
    return np.asarray(stats.trim_mean(_pooled(scores), 0.25, axis=-1))


def optimality_gap(scores: ArrayLike, target: float = 1.0) -> NDArray[np.float64]:
    """Average how far run scores fall short of `target`, counting 0 for those above. scores : (..., n_runs, n_tasks)."""
    return np.maximum(target - _pooled(scores), 0.0).mean(axis=-1)


def probability_of_improvement(treatment: ArrayLike, control: ArrayLike) -> NDArray[np.float64]:
    """Give the chance that a run of the treatment beats a run of the control on a random task, ties half.

    treatment, control : (..., n_x, n_tasks), (..., n_y, n_tasks). Mean over tasks of U/(n_x n_y), U of Mann & Whitney.
    """
    x, y = _scores(treatment), _scores(control)
    if x.shape[-1] != y.shape[-1] or x.shape[:-2] != y.shape[:-2]:
        raise AnalysisError(f"both arms need the same tasks; got shapes {x.shape} and {y.shape}.")
    x, y = x[..., :, None, :], y[..., None, :, :]
    return (0.5 * (x > y) + 0.5 * (x >= y)).mean(axis=(-3, -2, -1))


def stratified_bootstrap(
    statistic: Callable[..., NDArray[np.float64]],
    *scores: ArrayLike,
    n_resamples: int,
    rng: np.random.Generator,
    block: int = 1000,
) -> NDArray[np.float64]:
    """Resample runs within each task, on its own, and evaluate: (n_resamples, ...).

    statistic : takes as many arrays (n_resamples, n_runs, n_tasks) as there are `scores` and reduces their last two axes.
    scores : each (n_runs, n_tasks), an arm; arms are resampled independently. block : resamples at a time.

    Tasks stay as they are: the spread is that of rerunning on these tasks (T1), not on others.
    """
    arms = [_scores(arm) for arm in scores]
    if not arms or any(arm.ndim != 2 for arm in arms):
        raise AnalysisError(f"`scores` must be arms (n_runs, n_tasks); got shapes {[arm.shape for arm in arms]}.")
    if n_resamples < 1 or block < 1:
        raise AnalysisError(f"`n_resamples` and `block` must be at least 1; got {n_resamples} and {block}.")
    parts = []
    for start in range(0, n_resamples, block):
        size = min(block, n_resamples - start)
        drawn = (arm[rng.integers(0, len(arm), size=(size, *arm.shape)), np.arange(arm.shape[1])] for arm in arms)
        parts.append(np.asarray(statistic(*drawn)))
    return np.concatenate(parts)


def _pooled(scores: ArrayLike) -> NDArray[np.float64]:
    scores = _scores(scores)
    return scores.reshape(*scores.shape[:-2], -1)


def _scores(scores: ArrayLike) -> NDArray[np.float64]:
    scores = np.asarray(scores, float)
    if scores.ndim < 2 or scores.size == 0 or not np.isfinite(scores).all():
        raise AnalysisError(
            f"`scores` must be (..., n_runs, n_tasks), not empty and none missing; got shape {scores.shape} with "
            f"{int((~np.isfinite(scores)).sum())} missing."
        )
    return scores
