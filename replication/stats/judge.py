"""Mean of human labels, helped by a judge that scored more tasks: prediction-powered inference (PPI and PPI++).

Own code, because the reference implementation, ppi-python 0.2.3, brings numba, scikit-learn and gdown for what is here
a dozen lines; its numbers are typed into the tests. Limit (Dorner et al. 2024): no debiasing saves more than half of
the labels where the judge is no better than the model it judges.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from replication.errors import AnalysisError
from replication.records import Estimate
from replication.stats.intervals import t_estimate


class _Judged(NamedTuple):
    labels: NDArray[np.float64]
    labelled: NDArray[np.float64]
    unlabelled: NDArray[np.float64]


def ppi_mean(
    labels: ArrayLike,
    judge_labelled: ArrayLike,
    judge_unlabelled: ArrayLike,
    *,
    weight: float = 1.0,
    level: float = 0.95,
) -> Estimate:
    """Estimate the mean label with the judge's scores as control variate (Angelopoulos et al. 2023, PPI).

    labels : (n,) human scores Y. judge_labelled : (n,) judge scores f of the same tasks in the same order.
    judge_unlabelled : (N,) judge scores of the tasks without label. With weight w:
    theta = w mean_N f + mean_n(Y - w f), SE^2 = w^2 Var_N(f)/N + Var_n(Y - w f)/n, population variances and the normal
    quantile, as ppi-python. w = 1 is PPI, w = 0 uses the labels alone; unbiased for any w fixed beforehand. Both samples
    must be random draws of the same tasks, so draw the tasks to label at random.

    Where the N scores contain the n labelled ones too the value stays unbiased, but SE^2 is 2 w (w Var f - Cov(Y, f))/N
    too large, or too small where that is negative. Not covered: n below about 30, where the normal quantile is short.
    """
    if not 0 <= weight <= 1:
        raise AnalysisError(f"`weight` must lie in [0, 1]; got {weight}.")
    y, f, rest = _checked(labels, judge_labelled, judge_unlabelled)
    return t_estimate(
        float(weight * rest.mean() + (y - weight * f).mean()),
        float(np.sqrt(weight**2 * rest.var() / rest.size + (y - weight * f).var() / y.size)),
        None,
        level=level,
        method=f"prediction-powered, weight {weight:.3g}, normal",
        target="T2",
        n_tasks=y.size + rest.size,
        n_trials=1,
        n_training_runs=1,
    )


def ppi_plus_plus_mean(
    labels: ArrayLike, judge_labelled: ArrayLike, judge_unlabelled: ArrayLike, *, level: float = 0.95
) -> Estimate:
    """Estimate the mean label with the judge at the weight that makes SE smallest (Angelopoulos et al. 2023, PPI++).

    Arguments as `ppi_mean`; the weight is `best_weight`. A useless judge gets weight 0 and costs nothing.
    """
    weight = best_weight(labels, judge_labelled, judge_unlabelled)
    return ppi_mean(labels, judge_labelled, judge_unlabelled, weight=weight, level=level)


def best_weight(labels: ArrayLike, judge_labelled: ArrayLike, judge_unlabelled: ArrayLike) -> float:
    """Compute PPI++'s weight of the judge, Cov(Y, f)/(Var(f)(1 + n/N)) clipped to [0, 1].

    Arguments as `ppi_mean`. As in ppi-python, Cov is the population covariance over the n labelled tasks and Var the
    sample variance over all n + N; a judge that gives one score to all gets 0.
    """
    y, f, rest = _checked(labels, judge_labelled, judge_unlabelled)
    variance = np.concatenate([f, rest]).var(ddof=1)
    if variance == 0:
        return 0.0
    covariance = ((y - y.mean()) * (f - f.mean())).mean()
    return float(np.clip(covariance / (variance * (1 + y.size / rest.size)), 0, 1))


def _checked(labels: ArrayLike, judge_labelled: ArrayLike, judge_unlabelled: ArrayLike) -> _Judged:
    y, f, rest = (np.asarray(x, float) for x in (labels, judge_labelled, judge_unlabelled))
    if y.ndim != 1 or y.shape != f.shape or rest.ndim != 1:
        raise AnalysisError(
            "`labels` and `judge_labelled` must be (n,) over the same tasks and `judge_unlabelled` (N,); "
            f"got {y.shape}, {f.shape} and {rest.shape}."
        )
    if y.size < 2 or rest.size < 2:
        raise AnalysisError(f"needs at least 2 labelled and 2 unlabelled tasks; got {y.size} and {rest.size}.")
    if not all(np.isfinite(x).all() for x in (y, f, rest)):
        raise AnalysisError(
            "`labels`, `judge_labelled` or `judge_unlabelled` hold missing or infinite scores; drop those tasks."
        )
    return _Judged(y, f, rest)
