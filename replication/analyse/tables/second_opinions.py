"""Each paired difference by other methods, as a check of t intervals from few tasks."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from replication.analyse.stats.estimates.differences import Pair, paired_difference
from replication.analyse.stats.estimates.paired_bayes import compare_widths, paired_posterior_trials
from replication.analyse.stats.estimates.randomisation import sign_flip_test
from replication.analyse.tables.arms import by_scale, pairs
from replication.errors import AnalysisError
from replication.records import Estimate

FEW_TASKS = 300
"""Number of tasks below which a Bayesian interval is computed in addition to that of t (Bowyer et al. 2025)."""


COLUMNS = [
    "treatment", "control", "scale", "benchmark", "n_tasks", "value", "low", "high", "p_two_sided", "p_sign_flip",
    "bayes_low", "bayes_high", "width_ratio", "widths_differ",
]  # fmt: skip


FEW_DRAWS = 400
"""With fewer effective draws a Bayesian interval is too noisy to be shown."""


class Bayes(NamedTuple):
    """The Bayesian paired interval; NaN where scores are not pass or fail, tasks are many, or draws are few."""

    low: float = np.nan
    high: float = np.nan
    width_ratio: float = np.nan
    widths_differ: bool | None = None
    """Intervals differ in width by more than a fifth."""


def table(
    scores: pd.DataFrame, treatment: str, control: str, *, level: float, rng: np.random.Generator
) -> pd.DataFrame:
    """Compare the T2 interval of each benchmark at each scale with a randomisation test and a Bayesian interval.

    Columns: treatment, control, scale, benchmark, n_tasks, value, low, high, p_two_sided (t); p_sign_flip;
    bayes_low, bayes_high, width_ratio (Bayesian over t), widths_differ. Tasks with a missing score are left out, and so is
    a benchmark without 2 tasks at a scale. Trials of all training runs are pooled for the Bayesian model, which is about
    these checkpoints, as T2 is.
    """
    rows = []
    for scale, part in by_scale(scores).items():
        if not {treatment, control} <= set(part["arm"]):
            continue
        for benchmark, pair in pairs(part, treatment, control).items():
            try:
                t = paired_difference(
                    pair.treatment, pair.control, clusters=pair.clusters, target="T2", level=level, unscored="exclude"
                )
            except AnalysisError:  # too few tasks at this scale alone
                continue
            complete = _complete(pair)
            bayes = _bayes(complete, t, rng)
            rows.append(
                {
                    "treatment": treatment, "control": control, "scale": scale, "benchmark": benchmark,
                    "n_tasks": t.n_tasks, "value": t.value, "low": t.low, "high": t.high, "p_two_sided": t.p_two_sided,
                    "p_sign_flip": sign_flip_test(_by_task(complete), rng=rng, n_flips=20_000).p_two_sided,
                    "bayes_low": bayes.low, "bayes_high": bayes.high, "width_ratio": bayes.width_ratio,
                    "widths_differ": bayes.widths_differ,
                }
            )  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS)


class Complete(NamedTuple):
    """Scores of two arms on the items that have no missing score."""

    treatment: NDArray[np.float64]
    """(n_units, n_trials, n_items)"""
    control: NDArray[np.float64]
    clusters: NDArray[np.intp]
    """(n_items,) task of each item."""


def _complete(pair: Pair) -> Complete:
    treatment, control = np.asarray(pair.treatment, float), np.asarray(pair.control, float)
    keep = ~(np.isnan(treatment).any(axis=(0, 1)) | np.isnan(control).any(axis=(0, 1)))
    clusters = np.arange(len(keep)) if pair.clusters is None else np.asarray(pair.clusters)
    return Complete(treatment[:, :, keep], control[:, :, keep], clusters[keep])


def _by_task(pair: Complete) -> NDArray[np.float64]:
    """Sum the differences of each task's items, which flip their sign together."""
    difference = pair.treatment.mean(axis=(0, 1)) - pair.control.mean(axis=(0, 1))
    _, code = np.unique(pair.clusters, return_inverse=True)
    return np.bincount(code, weights=difference).astype(float)


def _bayes(pair: Complete, t: Estimate, rng: np.random.Generator) -> Bayes:
    arms = (pair.treatment, pair.control)
    n = arms[0].shape[2]
    one_item_each = len(np.unique(pair.clusters)) == n
    passes = all(np.isin(arm, (0.0, 1.0)).all() for arm in arms)
    if not (1 < n < FEW_TASKS and one_item_each and passes and t.high > t.low):
        return Bayes()
    b, a = (arm.sum(axis=(0, 1)).astype(int) for arm in arms)
    trials_b, trials_a = (arm.shape[0] * arm.shape[1] for arm in arms)
    posterior = paired_posterior_trials(a, b, trials_a, trials_b, rng=rng, level=t.level)
    if posterior.ess < FEW_DRAWS:
        return Bayes()
    width = compare_widths(posterior, t)
    return Bayes(posterior.low, posterior.high, width.ratio, width.differs)
