"""Bounds of a difference over everything the missing scores could have been."""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from replication.errors import AnalysisError


class Arms(NamedTuple):
    """Scores of two arms with no score missing."""

    treatment: NDArray[np.float64]
    """(n_training_runs, n_trials, n_tasks)"""
    control: NDArray[np.float64]
    """(n_training_runs, n_trials, n_tasks)"""


class MissingBounds(NamedTuple):
    """The smallest and the largest difference the missing scores allow."""

    low: float
    high: float
    worst: Arms
    """Missing scores lowest in the treatment, highest in the control; its difference is `low`."""
    best: Arms
    """The other way round; its difference is `high`."""
    n_missing_treatment: int
    n_missing_control: int
    n_tasks_affected: int
    """Tasks with at least one missing score in either arm."""


def missing_bounds(
    treatment: ArrayLike, control: ArrayLike, *, lowest: float = 0.0, highest: float = 1.0
) -> MissingBounds:
    """Bound treatment minus control without assuming anything about the missing (NaN) scores (Manski 1990).

    treatment, control : (n_training_runs, n_trials, n_tasks) or a suffix of it, same tasks in the same order; runs and
    trials may differ. lowest, highest: the range of a score. The difference is that of the task means, equal weights, so
    high - low = (highest - lowest)(share missing in treatment + share missing in control). Give `best` and `worst` to
    `paired_difference` to see whether the interval, too, holds at both ends. Not covered: sampling error of the bounds.
    """
    if not lowest < highest:
        raise AnalysisError(f"`lowest` must be below `highest`; got {lowest} and {highest}.")
    arms = Arms(_three_axes(treatment, "treatment", lowest, highest), _three_axes(control, "control", lowest, highest))
    if arms.treatment.shape[2] != arms.control.shape[2]:
        raise AnalysisError(
            "the arms must have the same tasks; got "
            f"{arms.treatment.shape[2]} in treatment and {arms.control.shape[2]} in control."
        )
    gaps = Arms(*(np.isnan(arm) for arm in arms))
    worst, best = _fill(arms, lowest, highest), _fill(arms, highest, lowest)
    return MissingBounds(
        low=_difference(worst),
        high=_difference(best),
        worst=worst,
        best=best,
        n_missing_treatment=int(gaps.treatment.sum()),
        n_missing_control=int(gaps.control.sum()),
        n_tasks_affected=int((gaps.treatment.any(axis=(0, 1)) | gaps.control.any(axis=(0, 1))).sum()),
    )


def _fill(arms: Arms, in_treatment: float, in_control: float) -> Arms:
    return Arms(np.nan_to_num(arms.treatment, nan=in_treatment), np.nan_to_num(arms.control, nan=in_control))


def _difference(arms: Arms) -> float:
    return float(arms.treatment.mean() - arms.control.mean())


def _three_axes(scores: ArrayLike, name: str, lowest: float, highest: float) -> NDArray[np.float64]:
    array = np.asarray(scores, dtype=float)
    if not 1 <= array.ndim <= 3 or array.size == 0:
        raise AnalysisError(
            f"`{name}` must be (n_training_runs, n_trials, n_tasks) or a suffix, and not empty; got shape {array.shape}."
        )
    if (array < lowest).any() or (array > highest).any():
        raise AnalysisError(
            f"`{name}` must hold scores in [{lowest}, {highest}]; got {np.nanmin(array)} to {np.nanmax(array)}. "
            "Give the range as `lowest` and `highest`."
        )
    return array.reshape((1,) * (3 - array.ndim) + array.shape)
