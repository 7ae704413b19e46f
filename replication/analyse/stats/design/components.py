"""Split the variance of scores into its sources: tasks, training runs, trials, scaffolds, scales, arms.

ANOVA moments of balanced random-effects designs (Searle, Casella & McCulloch 1992, ch. 4); for balanced data with
positive components they are the REML estimates. Probability scale: scores as they are, binary or not.
Not covered: unbalanced data, missing scores, the latent scale.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import special

from replication.errors import AnalysisError


class Component(NamedTuple):
    """What one source adds to the variance of a single score."""

    source: str
    """`task`, `training_run`, `trial`, ...; an interaction is `arm x task`. The last one is the residual."""
    value: float
    """The moment estimate, shown as 0 where it is negative."""
    low: float
    high: float
    moment: float
    """The moment estimate as it is: below 0 by chance where the true component is small."""
    mean_square: float
    df: int

    @property
    def negative(self) -> bool:
        """Whether `value` hides a negative estimate."""
        return self.moment < 0


class Intraclass(NamedTuple):
    """Shrout & Fleiss' six coefficients (1979): single rating and mean of k."""

    icc_11: float
    icc_21: float
    icc_31: float
    icc_1k: float
    icc_2k: float
    icc_3k: float


class ImpliedIcc(NamedTuple):
    """The between-task share that a run-to-run SD implies, cut at 0."""

    value: float
    low: float
    high: float
    moment: float
    """Not cut: below 0 where the runs vary more than independent coin flips would."""


def decompose(
    scores: ArrayLike, factors: Sequence[str], *, nested: Mapping[str, Sequence[str]] | None = None, level: float = 0.95
) -> dict[str, Component]:
    """Estimate the variance components of a balanced design with one score per cell.

    scores : one axis per name in `factors`. nested : factor -> factors it lives in, {"training_run": ["arm"]} where every
    arm has training runs of its own. Axes of length 1 drop out. Returned by source, residual last.
    E MS_S = sum over sources U that hold S of sigma2_U times the product of the lengths outside U, solved for sigma2.
    An arm counts as random with independent interactions (the unrestricted model): 2 x `arm x task` is the variance over
    tasks of the difference of two arms.
    Interval: Williams & Tukey (1962) for a difference of two mean squares, each side of more than one pooled with
    Satterthwaite's df (1946); exact chi-square for the residual; ends cut at 0.
    """
    _check_level(level)
    array = np.asarray(scores, float)
    if array.ndim != len(factors) or len(set(factors)) != len(factors):
        raise AnalysisError(
            f"`scores` needs one axis per factor, each named once; got {array.ndim} axes, factors {list(factors)}."
        )
    _check_finite(array)
    kept = [i for i, length in enumerate(array.shape) if length > 1]
    if not kept:
        raise AnalysisError(f"`scores` holds one score only, shape {array.shape}: nothing varies. Give several tasks.")
    names = [factors[i] for i in kept]
    array = array.reshape([array.shape[i] for i in kept])
    lengths = dict(zip(names, array.shape, strict=True))
    parents = _closed(nested or {}, names, factors)

    squares: dict[frozenset[str], float] = {}
    dfs: dict[frozenset[str], int] = {}
    for size in range(1, len(names) + 1):
        for crossed in combinations(names, size):
            source = frozenset(crossed).union(*(parents[name] for name in crossed))
            squares[source] = squares.get(source, 0.0) + _sum_of_squares(array, [names.index(n) for n in crossed])
            dfs[source] = dfs.get(source, 0) + math.prod(lengths[name] - 1 for name in crossed)
    sources = sorted(squares, key=lambda s: (len(s), sorted(s)))
    mean_squares = np.array([squares[s] / dfs[s] for s in sources])
    # What rounding leaves of a sum of squares that is exactly 0 would make ratios of two zeros look like evidence.
    mean_squares[mean_squares < 1e-14 * max(float((array**2).max()), 1e-300)] = 0.0
    expected = np.array(
        [[math.prod(lengths[n] for n in names if n not in u) if s <= u else 0.0 for u in sources] for s in sources],
        dtype=float,
    )
    weights = np.linalg.inv(expected)
    weights[np.abs(weights) < 1e-12 * np.abs(weights).max(axis=1, keepdims=True)] = 0.0

    found = {}
    for source, weight, square in zip(sources, weights, mean_squares, strict=True):
        own = [n for n in names if n in source and not any(n in parents[other] for other in source)]
        moment = float(weight @ mean_squares)
        low, high = _interval(weight, mean_squares, np.array([dfs[s] for s in sources]), level)
        name = " x ".join(sorted(own))
        found[name] = Component(name, max(moment, 0.0), low, high, moment, float(square), dfs[source])
    return found


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

    scores : (n_arms, n_training_runs, n_trials, n_tasks), the same tasks in all arms; each arm has its own training runs.
    Runs are taken as independent between arms. Where arms share training seeds, what a seed does to single tasks may be
    shared too and `arm x task` then comes out too low, even below 0: split the difference of the arms by `crossed` instead.
    """
    array = _axes(scores, 4, "(n_arms, n_training_runs, n_trials, n_tasks)")
    return decompose(
        array, ("arm", "training_run", "trial", "task"),
        nested={"training_run": ("arm",), "trial": ("arm", "training_run", "task")}, level=level,
    )  # fmt: skip


def table_components(scores: pd.DataFrame, *, level: float = 0.95) -> dict[str, Component]:
    """Split the scores of one benchmark by every factor that varies in a score table.

    scores : columns arm, scale, scaffold, training_seed, trial, task_id, value; every cell once. Training runs live in an
    arm and a scale, trials in everything. Tasks, scaffolds, scales and arms are crossed.
    """
    factors = ("arm", "scale", "scaffold", "training_run", "trial", "task")
    columns = ["arm", "scale", "scaffold", "training_seed", "trial", "task_id"]
    if not len(scores):
        raise AnalysisError("the score table is empty; give the rows of one benchmark.")
    levels = [pd.Index(scores[column].unique()).sort_values() for column in columns]
    cells = pd.MultiIndex.from_product(levels, names=columns)
    values = scores.set_index(columns)["value"]
    if values.index.has_duplicates or len(values) != len(cells):
        raise AnalysisError(
            f"a balanced table has each of {len(cells)} cells of {', '.join(columns)} once; got {len(values)} rows"
            f"{' with repeats' if values.index.has_duplicates else ''}. Select arms with equal training seeds, one "
            "benchmark, and scales that play the same tasks."
        )
    array = values.reindex(cells).to_numpy(float).reshape([len(level_) for level_ in levels])
    return decompose(
        array, factors,
        nested={"training_run": ("arm", "scale"), "trial": ("arm", "scale", "scaffold", "training_run", "task")},
        level=level,
    )  # fmt: skip


def intraclass(scores: ArrayLike) -> Intraclass:
    """Compute ICC(1,1), (2,1), (3,1), (1,k), (2,k), (3,k) from mean squares (Shrout & Fleiss 1979).

    scores : (n_tasks, k), a row per task (target), a column per run (rater); at least two of each. Where all scores are
    equal nothing is shared or not shared: NaN.
    """
    array = _axes(scores, 2, "(n_tasks, k)")
    n, k = array.shape
    if n < 2 or k < 2:
        raise AnalysisError(f"an intraclass correlation needs at least 2 tasks and 2 runs; got {n} and {k}.")
    _check_finite(array)
    total = _sum_of_squares(array, [0, 1])
    targets = _sum_of_squares(array, [0]) / (n - 1)
    raters = _sum_of_squares(array, [1]) / (k - 1)
    error = total / ((n - 1) * (k - 1))
    within = (_sum_of_squares(array, [1]) + total) / (n * (k - 1))
    return Intraclass(
        _ratio(targets - within, targets + (k - 1) * within),
        _ratio(targets - error, targets + (k - 1) * error + k * (raters - error) / n),
        _ratio(targets - error, targets + (k - 1) * error),
        _ratio(targets - within, targets),
        _ratio(targets - error, targets + (raters - error) / n),
        _ratio(targets - error, targets),
    )


def implied_icc(sd: float, p: float, n: int, *, n_runs: int, level: float = 0.95) -> ImpliedIcc:
    """Compute the between-task share of the single-run variance that a run-to-run SD of the mean score implies.

    sd, p : fractions, SD of the score over `n_runs` runs of the same n tasks, and mean score.
    icc = 1 - n sd^2/(p (1 - p)); chi-square interval of the variance, n_runs - 1 df. Runs: Bjarnason et al. 2026,
    arXiv:2602.07150.
    """
    _check_level(level)
    if not 0 < p < 1:
        raise AnalysisError(f"`p` must be a fraction between 0 and 1; got {p}.")
    if not (0 <= sd < math.inf and n >= 1 and n_runs >= 2):
        raise AnalysisError(f"need `sd` >= 0, `n` >= 1 and `n_runs` >= 2; got {sd}, {n}, {n_runs}.")
    share = n * sd**2 / (p * (1 - p))
    df = n_runs - 1
    small, large = (share * df / _chi2(df, q) for q in ((1 + level) / 2, (1 - level) / 2))
    return ImpliedIcc(max(1 - share, 0.0), max(1 - large, 0.0), max(1 - small, 0.0), 1 - share)


def _axes(scores: ArrayLike, n: int, shape: str) -> NDArray[np.float64]:
    array = np.asarray(scores, float)
    if array.ndim != n or array.size == 0:
        raise AnalysisError(f"`scores` must be {shape}, none of them 0; got shape {array.shape}.")
    return array


def _check_finite(array: NDArray[np.float64]) -> None:
    if array.size == 0 or not np.isfinite(array).all():
        raise AnalysisError(
            f"{int((~np.isfinite(array)).sum())} of {array.size} scores are missing or infinite; the design must be "
            "balanced: fill them in or leave the task out in all cells."
        )


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise AnalysisError(f"`level` must lie between 0 and 1; got {level}.")


def _closed(
    nested: Mapping[str, Sequence[str]], names: Sequence[str], factors: Sequence[str]
) -> dict[str, frozenset[str]]:
    """Factors that each kept factor lives in."""
    unknown = sorted((set(nested) | {p for parents in nested.values() for p in parents}) - set(factors))
    if unknown:
        raise AnalysisError(f"`nested` names {unknown}; allowed: {list(factors)}.")
    return {name: frozenset(nested.get(name, ())) & frozenset(names) for name in names}


def _sum_of_squares(array: NDArray[np.float64], axes: Sequence[int]) -> float:
    """Sum of squares of the interaction of these axes (main effect for one), over all cells."""
    means = array.mean(axis=tuple(i for i in range(array.ndim) if i not in axes), keepdims=True)
    for axis in axes:
        means = means - means.mean(axis=axis, keepdims=True)
    return float((means**2).sum()) * array.size / means.size


def _interval(weights: NDArray, squares: NDArray, dfs: NDArray, level: float) -> tuple[float, float]:
    more, df_more = _pooled(weights.clip(min=0), squares, dfs)
    less, df_less = _pooled((-weights).clip(min=0), squares, dfs)
    ends = []
    for q in ((1 + level) / 2, (1 - level) / 2):
        factor = float(special.fdtri(df_more, df_less, q)) if less > 0 else 0.0
        ends.append(max(df_more * (more - factor * less) / _chi2(df_more, q), 0.0))
    return ends[0], ends[1]


def _pooled(weights: NDArray, squares: NDArray, dfs: NDArray) -> tuple[float, float]:
    """Weighted sum of mean squares and Satterthwaite's df of it."""
    parts = weights * squares
    total = float(parts.sum())
    if total == 0:
        return 0.0, float(dfs[weights > 0].min()) if (weights > 0).any() else 1.0
    return total, total**2 / float((parts**2 / dfs).sum())


def _chi2(df: float, q: float) -> float:
    return float(special.chdtri(df, 1 - q))


def _ratio(over: float, under: float) -> float:
    return over / under if under != 0 else math.nan
