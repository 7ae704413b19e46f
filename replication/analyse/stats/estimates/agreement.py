"""How much scores agree: over repeated trials of a task, within groups of tasks, and between two arms over tasks.

One-way random-effects analysis of variance with groups of unequal size (Searle, Casella & McCulloch 1992, ch. 3): scores
as they are, binary or not. With tasks as groups of trials its intraclass correlation is the `icc` of `printed.audit_model`;
with repositories as groups of tasks it is what a design effect needs. Not covered: groups in groups; effects of single runs.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from replication.analyse.stats import checks
from replication.errors import AnalysisError


class OneWay(NamedTuple):
    """Variance of scores between groups and within them."""

    between: float
    """Moment estimate; it may be negative where the groups differ less than chance would have them."""
    within: float
    icc: float
    """between/(between + within); NaN where all scores are equal."""
    n_groups: int


def one_way(scores: ArrayLike, groups: ArrayLike) -> OneWay:
    """Split the variance of scores into a part between groups and a part within them.

    scores, groups : (n,). E MS_b = within + n0 between, E MS_w = within; n0 = (n - sum n_g^2/n)/(G - 1). With groups of one
    size the icc is ICC(1,1) of Shrout & Fleiss (1979).
    """
    scores, code = _checked(scores, groups)
    sizes = np.bincount(code).astype(float)
    n, n_groups = scores.size, sizes.size
    if n_groups < 2 or n_groups == n:
        raise AnalysisError(
            f"an intraclass correlation needs at least 2 groups, and a group of at least 2 scores; got {n} scores in "
            f"{n_groups} groups."
        )
    means = np.bincount(code, weights=scores) / sizes
    between = float((sizes * (means - scores.mean()) ** 2).sum()) / (n_groups - 1)
    within = float(((scores - means[code]) ** 2).sum()) / (n - n_groups)
    component = (between - within) / ((n - float((sizes**2).sum()) / n) / (n_groups - 1))
    total = component + within
    return OneWay(component, within, component / total if total > 0 else math.nan, n_groups)


def latent_correlation(scores_a: ArrayLike, tasks_a: ArrayLike, scores_b: ArrayLike, tasks_b: ArrayLike) -> float:
    """Estimate the correlation over tasks of the success probabilities of two arms: the `rho` of `printed.audit_model`.

    scores, tasks : (n_scores,) of each arm, a score per trial and the task that it belongs to; the same tasks in both.
    The covariance of the arms' task means over the square root of their variances between tasks (`one_way`), that is the
    correlation of the means corrected for attenuation (Spearman 1904). Trials of the two arms are independent given the
    task. It may exceed 1 by chance; NaN where an arm has no variance between tasks.
    """
    (a, code_a), (b, code_b) = _checked(scores_a, tasks_a), _checked(scores_b, tasks_b)
    if not np.array_equal(np.unique(np.asarray(tasks_a)), np.unique(np.asarray(tasks_b))):
        raise AnalysisError("a correlation over tasks needs the same tasks in both arms; leave the others out.")
    means = [np.bincount(code, weights=scores) / np.bincount(code) for scores, code in ((a, code_a), (b, code_b))]
    covariance = float(np.cov(np.stack(means))[0, 1])
    variances = [one_way(scores, code).between for scores, code in ((a, code_a), (b, code_b))]
    return covariance / math.sqrt(math.prod(variances)) if min(variances) > 0 else math.nan


def weighted_size(sizes: ArrayLike) -> float:
    """Compute the mean size of the group that a task is in: sum n_g^2/sum n_g."""
    sizes = np.asarray(sizes, float)
    if sizes.ndim != 1 or sizes.size == 0 or not (sizes >= 1).all():
        raise AnalysisError(f"`sizes` must be the numbers of tasks of at least one group; got {sizes.tolist()}.")
    return float((sizes**2).sum() / sizes.sum())


def design_effect(icc: float, size: float) -> float:
    """Compute the factor by which groups of tasks raise the variance of a mean: 1 + (size - 1) icc (Kish 1965, 5.4).

    icc : of the scores within groups. size : of a group; where sizes differ, `weighted_size`.
    """
    checks.within(-1, 1, icc=icc)
    checks.at_least(1, size=size)
    return max(1 + (size - 1) * icc, 0.0)


def implied_icc(means: ArrayLike, sds: ArrayLike, n_tasks: ArrayLike) -> float:
    """Estimate the icc of `printed.audit_model` from the standard deviations between evaluation runs that papers print.

    means, sds, n_tasks : (n,), of arms on one benchmark; fractions. One run of n tasks has variance (1 - icc) p(1 - p)/n,
    so icc = 1 - sum n sd^2/sum p(1 - p). It is biased downwards by a shift common to the tasks of a run.
    """
    means, sds, n_tasks = (np.asarray(x, float) for x in (means, sds, n_tasks))
    if means.ndim != 1 or means.shape != sds.shape or means.shape != n_tasks.shape or means.size == 0:
        raise AnalysisError(
            f"need as many means, SDs and task counts; got {means.size}, {sds.size} and {n_tasks.size}."
        )
    noise, most = float((n_tasks * sds**2).sum()), float((means * (1 - means)).sum())
    if not most > 0:
        raise AnalysisError("scores that are all 0 or 1 have no variance to compare an SD with; leave them out.")
    return 1 - noise / most


def _checked(scores: ArrayLike, groups: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.intp]]:
    scores, groups = np.asarray(scores, float), np.asarray(groups)
    if scores.ndim != 1 or scores.size == 0 or groups.shape != scores.shape:
        raise AnalysisError(f"need as many scores as groups, both (n,); got {scores.shape} and {groups.shape}.")
    missing = int((~np.isfinite(scores)).sum())
    if missing:
        raise AnalysisError(
            f"{missing} of {scores.size} scores are missing or infinite; leave them out, or score them."
        )
    return scores, np.unique(groups, return_inverse=True)[1]
