"""Probability that at least one of k trials passes (pass@k), and that all k do (pass^k)."""

from typing import Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from replication.analyse.stats import checks
from replication.analyse.stats.estimates.clustered import clustered_mean
from replication.errors import AnalysisError
from replication.records import Estimate

Kind = Literal["pass@k", "pass^k"]


class Passes(NamedTuple):
    """Passes of one arm on each task."""

    n_passed: NDArray[np.int64]
    """(n_tasks,)"""
    n_trials: int
    """Trials per task, the same for all."""


def pass_at_k(n_passed: ArrayLike, n_trials: ArrayLike, k: int) -> NDArray[np.float64]:
    """Estimate pass@k of each task without bias: 1 - C(n - c, k)/C(n, k) (Chen et al. 2021, arXiv:2107.03374, eq. 1).

    n_passed, n_trials : c of n, any shapes that broadcast; k at most n. 1 where fewer than k trials failed.
    """
    c, n = _checked(n_passed, n_trials, k)
    return 1 - _share(n - c, n, k)


def pass_hat_k(n_passed: ArrayLike, n_trials: ArrayLike, k: int) -> NDArray[np.float64]:
    """Estimate pass^k of each task without bias: C(c, k)/C(n, k) (Yao et al. 2024, tau-bench, arXiv:2406.12045).

    n_passed, n_trials : c of n, any shapes that broadcast; k at most n. 0 where fewer than k trials passed.
    """
    return _share(*_checked(n_passed, n_trials, k), k)


def count_passes(scores: ArrayLike) -> Passes:
    """Count passes per task; scores : (n_trials, n_tasks) of 0 and 1, none missing."""
    scores = np.asarray(scores, float)
    if scores.ndim != 2 or scores.size == 0:
        raise AnalysisError(f"`scores` must be (n_trials, n_tasks) and not empty; got shape {scores.shape}.")
    if not np.isin(scores, (0, 1)).all():
        raise AnalysisError(
            "`scores` must be 0 or 1; got other or missing values. Fill missing trials by the protocol's rule, and turn "
            "partial credit into passes by a threshold first."
        )
    return Passes(scores.sum(axis=0).astype(np.int64), scores.shape[0])


def pass_curve(
    scores: ArrayLike,
    kind: Kind,
    *,
    n_trials: int | None = None,
    clusters: ArrayLike | None = None,
    level: float = 0.95,
) -> tuple[Estimate, ...]:
    """Estimate pass@k or pass^k for k = 1..n_trials, mean over tasks.

    scores : (n_trials, n_tasks) of 0 and 1; or, with `n_trials` given, (n_tasks,) passes out of n_trials.
    clusters : (n_tasks,) cluster of each task; None makes every task its own cluster. level : confidence level.
    The per-task value is the score of `clustered_mean`, so the standard error is that over tasks, t with G - 1 df.
    """
    arm = _passes(scores, n_trials)
    return tuple(
        clustered_mean(_of(kind, arm, k), clusters, level=level, n_trials=arm.n_trials)
        for k in range(1, arm.n_trials + 1)
    )


def pass_difference_curve(
    treatment: ArrayLike,
    control: ArrayLike,
    kind: Kind,
    *,
    n_trials: int | tuple[int, int] | None = None,
    clusters: ArrayLike | None = None,
    level: float = 0.95,
) -> tuple[Estimate, ...]:
    """Estimate treatment minus control in pass@k or pass^k for each k that both arms have trials for, paired by task.

    treatment, control : (n_trials, n_tasks) of 0 and 1, same tasks, or with `n_trials` given (one number or one per arm)
    (n_tasks,) passes. clusters, level : as in `pass_curve`. The difference of the per-task values is the score of
    `clustered_mean`. It is not monotone in the difference of pass@1: print the whole curve.
    """
    per_arm = n_trials if isinstance(n_trials, tuple) else (n_trials, n_trials)
    arms = [_passes(scores, n) for scores, n in zip((treatment, control), per_arm, strict=True)]
    first, second = arms
    if first.n_passed.shape != second.n_passed.shape:
        raise AnalysisError(
            "the arms must have the same tasks; got "
            f"{first.n_passed.size} in treatment and {second.n_passed.size} in control."
        )
    fewest = min(first.n_trials, second.n_trials)
    return tuple(
        clustered_mean(_of(kind, first, k) - _of(kind, second, k), clusters, level=level, n_trials=fewest)
        for k in range(1, fewest + 1)
    )


def _of(kind: Kind, arm: Passes, k: int) -> NDArray[np.float64]:
    checks.choice(get_args(Kind), kind=kind)
    return (pass_at_k if kind == "pass@k" else pass_hat_k)(arm.n_passed, arm.n_trials, k)


def _passes(scores: ArrayLike, n_trials: int | None) -> Passes:
    if n_trials is None:
        return count_passes(scores)
    n_passed, _ = _checked(scores, n_trials, 1)
    if n_passed.ndim != 1 or n_passed.size == 0:
        raise AnalysisError(f"with `n_trials` the scores must be counts (n_tasks,); got shape {n_passed.shape}.")
    return Passes(n_passed.astype(np.int64), n_trials)


def _share(good: NDArray[np.float64], n: NDArray[np.float64], k: int) -> NDArray[np.float64]:
    """Compute C(good, k)/C(n, k) as the probability of k good draws without replacement; no large factorials."""
    j = np.arange(k).reshape((k,) + (1,) * np.broadcast(good, n).ndim)
    return np.asarray((np.maximum(good - j, 0) / (n - j)).prod(axis=0))


def _checked(n_passed: ArrayLike, n_trials: ArrayLike, k: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    c, n = np.asarray(n_passed, float), np.asarray(n_trials, float)
    if not ((c >= 0) & (c <= n) & (c == np.floor(c)) & (n == np.floor(n))).all():
        raise AnalysisError("`n_passed` must be whole numbers from 0 to `n_trials`, none missing.")
    if k != int(k) or k < 1 or (n < k).any():
        raise AnalysisError(
            f"`k` must be a whole number from 1 to `n_trials`; got k={k}, n_trials={int(n.min()) if n.size else 0}. "
            "Run more trials or lower `k`."
        )
    return c, n
