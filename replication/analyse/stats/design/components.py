"""Variance components of scores: tasks, training runs, trials, scaffolds, scales, arms.

ANOVA moments of balanced random-effects designs (Searle, Casella & McCulloch 1992, ch. 4); for balanced data with
positive components they are the REML estimates. Probability scale: scores as they are, binary or not.
Not covered: unbalanced data, missing scores, the latent scale.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from replication.analyse.stats import checks
from replication.errors import AnalysisError


class Component(NamedTuple):
    """Variance component of one source, in the variance of a single score."""

    source: str
    """`task`, `training_run`, `trial`, ...; an interaction is `arm x task`. The last one is the residual."""
    value: float
    """The moment estimate, or 0 where it is negative."""
    low: float
    high: float
    moment: float
    """The moment estimate itself: it may be negative where the true component is small."""
    mean_square: float
    df: int

    @property
    def negative(self) -> bool:
        """True if the moment estimate is negative."""
        return self.moment < 0


class _Source(NamedTuple):
    """Sum of squares of one source of variation."""

    factors: frozenset[str]
    """Its factors, with those they are nested in."""
    sum_of_squares: float
    df: int


def decompose(
    scores: ArrayLike, factors: Sequence[str], *, nested: Mapping[str, Sequence[str]] | None = None, level: float = 0.95
) -> dict[str, Component]:
    """Estimate the variance components of a balanced design with one score per cell.

    scores : one axis per name in `factors`. nested : factor -> factors it is nested in, {"training_run": ["arm"]} where
    every arm has different training runs. level : confidence level. Axes of length 1 are dropped. Returned by source,
    residual last.
    E MS_S = sum over sources U that contain S of sigma2_U times the product of the lengths outside U, solved for sigma2.
    Arms are treated as random with independent interactions (the unrestricted model): 2 x `arm x task` is the variance
    over tasks of the difference of two arms.
    Interval: Williams & Tukey (1962) for a difference of two mean squares, each side of more than one pooled with
    Satterthwaite's df (1946); exact chi-square for the residual; limits truncated at 0.
    """
    checks.probability(level=level)
    array = np.asarray(scores, float)
    if array.ndim != len(factors) or len(set(factors)) != len(factors):
        raise AnalysisError(
            f"`scores` needs one axis per factor, each named once; got {array.ndim} axes, factors {list(factors)}."
        )
    _check_finite(array)
    kept = [i for i, length in enumerate(array.shape) if length > 1]
    if not kept:
        raise AnalysisError(f"`scores` is a single score, shape {array.shape}: nothing varies. Give several tasks.")
    names = [factors[i] for i in kept]
    array = array.reshape([array.shape[i] for i in kept])
    parents = _parents(nested or {}, names, factors)
    sources = _sources(array, names, parents)
    dfs = np.array([source.df for source in sources])
    mean_squares = np.array([source.sum_of_squares / source.df for source in sources])
    # Rounding leaves a small remainder of sums of squares that are exactly 0; their ratios would look like evidence.
    mean_squares[mean_squares < 1e-14 * max(float((array**2).max()), 1e-300)] = 0.0
    components = {}
    for source, weight, square in zip(sources, _moment_weights(sources, names, array.shape), mean_squares, strict=True):
        own = [n for n in source.factors if not any(n in parents[other] for other in source.factors)]
        moment = float(weight @ mean_squares)
        low, high = _interval(weight, mean_squares, dfs, level)
        name = " x ".join(sorted(own))
        components[name] = Component(name, max(moment, 0.0), low, high, moment, float(square), source.df)
    return components


def crossed(scores: ArrayLike, *, level: float = 0.95) -> dict[str, Component]:
    """Split the scores of one arm into `task`, `training_run`, `task x training_run` and `trial`.

    scores : (n_training_runs, n_trials, n_tasks). With one trial the last two are one, `task x training_run`; with one
    training run there are `task` and `trial`.
    """
    array = _axes(scores, 3, "(n_training_runs, n_trials, n_tasks)")
    return decompose(
        array, ("training_run", "trial", "task"), nested={"trial": ("training_run", "task")}, level=level
    )  # fmt: skip


def crossed_arms(scores: ArrayLike, *, level: float = 0.95) -> dict[str, Component]:
    """Split the scores of several arms into `arm`, `task`, `arm x task`, `training_run`, `task x training_run`, `trial`.

    scores : (n_arms, n_training_runs, n_trials, n_tasks), the same tasks in all arms; training runs are nested in arms and
    taken as independent between them. Where arms share training seeds, effects of a seed on single tasks may be shared
    too, and `arm x task` is then underestimated, even below 0: split the difference of the arms by `crossed` instead.
    """
    array = _axes(scores, 4, "(n_arms, n_training_runs, n_trials, n_tasks)")
    return decompose(
        array, ("arm", "training_run", "trial", "task"),
        nested={"training_run": ("arm",), "trial": ("arm", "training_run", "task")}, level=level,
    )  # fmt: skip


def _axes(scores: ArrayLike, n: int, shape: str) -> NDArray[np.float64]:
    array = np.asarray(scores, float)
    if array.ndim != n or array.size == 0:
        raise AnalysisError(f"`scores` must be {shape} and not empty; got shape {array.shape}.")
    return array


def _check_finite(array: NDArray[np.float64]) -> None:
    if array.size == 0 or not np.isfinite(array).all():
        raise AnalysisError(
            f"{int((~np.isfinite(array)).sum())} of {array.size} scores are missing or infinite; the design must be "
            "balanced: fill them in or leave the task out in all cells."
        )


def _sources(array: NDArray[np.float64], names: Sequence[str], parents: Mapping[str, frozenset[str]]) -> list[_Source]:
    """Compute the sums of squares of all sources, from main effects to the residual."""
    squares: dict[frozenset[str], float] = {}
    dfs: dict[frozenset[str], int] = {}
    for size in range(1, len(names) + 1):
        for axes in combinations(range(len(names)), size):
            source = frozenset(names[i] for i in axes).union(*(parents[names[i]] for i in axes))
            squares[source] = squares.get(source, 0.0) + _sum_of_squares(array, axes)
            dfs[source] = dfs.get(source, 0) + math.prod(array.shape[i] - 1 for i in axes)
    return [_Source(s, squares[s], dfs[s]) for s in sorted(squares, key=lambda s: (len(s), sorted(s)))]


def _moment_weights(sources: Sequence[_Source], names: Sequence[str], shape: Sequence[int]) -> NDArray[np.float64]:
    """Invert the expected mean squares: (n_sources, n_sources), component = row @ mean squares."""
    expected = np.array(
        [
            [
                math.prod(length for name, length in zip(names, shape, strict=True) if name not in u.factors)
                if s.factors <= u.factors
                else 0.0
                for u in sources
            ]
            for s in sources
        ],
        dtype=float,
    )
    weights = np.linalg.inv(expected)
    weights[np.abs(weights) < 1e-12 * np.abs(weights).max(axis=1, keepdims=True)] = 0.0
    return np.asarray(weights)


def _parents(
    nested: Mapping[str, Sequence[str]], names: Sequence[str], factors: Sequence[str]
) -> dict[str, frozenset[str]]:
    """Return the kept factors in which each kept factor is nested."""
    unknown = sorted((set(nested) | {p for parents in nested.values() for p in parents}) - set(factors))
    if unknown:
        raise AnalysisError(f"`nested` names {unknown}; allowed: {list(factors)}.")
    return {name: frozenset(nested.get(name, ())) & frozenset(names) for name in names}


def _sum_of_squares(array: NDArray[np.float64], axes: Sequence[int]) -> float:
    """Compute the sum of squares of the interaction of these axes (main effect for one), over all cells."""
    means = array.mean(axis=tuple(i for i in range(array.ndim) if i not in axes), keepdims=True)
    for axis in axes:
        means = means - means.mean(axis=axis, keepdims=True)
    return float((means**2).sum()) * array.size / float(means.size)


def _interval(
    weights: NDArray[np.float64], squares: NDArray[np.float64], dfs: NDArray[np.int64], level: float
) -> tuple[float, float]:
    more, df_more = _pooled(weights.clip(min=0), squares, dfs)
    less, df_less = _pooled((-weights).clip(min=0), squares, dfs)
    ends = []
    for q in ((1 + level) / 2, (1 - level) / 2):
        factor = float(special.fdtri(df_more, df_less, q)) if less > 0 else 0.0
        ends.append(max(df_more * (more - factor * less) / _chi2(df_more, q), 0.0))
    return ends[0], ends[1]


def _pooled(weights: NDArray[np.float64], squares: NDArray[np.float64], dfs: NDArray[np.int64]) -> tuple[float, float]:
    """Compute a weighted sum of mean squares and its Satterthwaite df."""
    parts = weights * squares
    total = float(parts.sum())
    if total == 0:
        return 0.0, float(dfs[weights > 0].min()) if (weights > 0).any() else 1.0
    return total, total**2 / float((parts**2 / dfs).sum())


def _chi2(df: float, q: float) -> float:
    return float(special.chdtri(df, 1 - q))
