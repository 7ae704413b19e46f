"""A/A check: two arms that are the same arm with other training seeds, simulated from stored scores."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from replication.analyse.stats.distributions import t_ppf
from replication.analyse.stats.estimates.differences import Pair
from replication.analyse.stats.estimates.run_variance import add_run_variance, run_component
from replication.analyse.tables.arms import arm_arrays, training_runs
from replication.errors import AnalysisError


class FalsePositives(NamedTuple):
    """Frequency with which an interval of the mean over the benchmarks separates an arm from itself."""

    t2: float
    """Share of simulated studies. T2 is about these checkpoints, which do differ, so it may exceed 1 - level."""
    t3: float
    """Share of simulated studies; the T3 interval has nominal coverage when this is at most 1 - level."""
    error: float
    """Monte Carlo standard error of a share whose true value is 1 - level."""
    run_sd: float
    """SD between training runs of the mean over benchmarks in the model, noise of tasks and trials subtracted."""


def check(
    scores: pd.DataFrame, *, level: float, n_simulations: int, rng: np.random.Generator, at_least: int = 3
) -> pd.DataFrame:
    """Compare each arm at each scale with itself, where it has `at_least` training runs.

    Columns: arm, scale, n_training_runs, and the fields of `FalsePositives`, which are NaN where a benchmark has fewer than
    2 tasks with a score in every training run. Public checkpoints are left out.
    """
    rows = []
    for (arm, scale), part in training_runs(scores).groupby(["arm", "scale"], sort=True):
        arrays = list(arm_arrays(part).values())
        m = min(len(array) for array in arrays)
        if m >= at_least:
            shares = FalsePositives(*[np.nan] * len(FalsePositives._fields))
            if min(array.shape[2] for array in arrays) >= 2:
                shares = false_positives(arrays, level=level, n_simulations=n_simulations, rng=rng)
            rows.append({"arm": arm, "scale": scale, "n_training_runs": m, **shares._asdict()})
    return pd.DataFrame(rows, columns=["arm", "scale", "n_training_runs", *FalsePositives._fields])


def false_positives(
    scores: Sequence[ArrayLike], *, level: float, n_simulations: int, rng: np.random.Generator
) -> FalsePositives:
    """Compare an arm with itself in `n_simulations` simulated studies, each with as many training runs as given.

    scores : per benchmark (n_training_runs, n_trials, n_tasks), the same training runs on each, no missing score.
    The intervals are those of `differences.mean_paired_difference`.
    """
    arms = [_checked(array) for array in scores]
    m = _same_number_of_runs(arms)
    value, tasks, per_df = np.zeros(n_simulations), np.zeros(n_simulations), np.zeros(n_simulations)
    runs, noise = np.zeros((2, n_simulations, m)), np.zeros(n_simulations)
    for pair in pseudo_arms(arms, n_simulations=n_simulations, rng=rng):
        treatment, control = (np.asarray(arm) for arm in pair[:2])
        difference = treatment.mean(axis=1) - control.mean(axis=1)
        n = difference.shape[1]
        variance = difference.var(axis=1, ddof=1) / n / len(arms) ** 2
        value += difference.mean(axis=1) / len(arms)
        tasks += variance
        per_df += variance**2 / (n - 1)
        runs += np.stack([treatment.mean(axis=2), control.mean(axis=2)]) / len(arms)
        for arm in (treatment, control):
            squares = _interaction_squares(arm)
            noise += squares / (m * (m - 1) * n * (n - 1)) / len(arms) ** 2
    # Satterthwaite's df; a simulated study without any variance has an interval of width 0 for every df
    df = np.divide(tasks**2, per_df, out=np.ones(n_simulations), where=per_df > 0)
    both = add_run_variance(tasks, df, [run_component(arm) for arm in runs], noise)
    t2 = np.abs(value) > t_ppf((1 + level) / 2, df) * np.sqrt(tasks)
    t3 = np.abs(value) > t_ppf((1 + level) / 2, both.df) * np.sqrt(both.value)
    return FalsePositives(
        t2=float(t2.mean()),
        t3=float(t3.mean()),
        error=float(np.sqrt(level * (1 - level) / n_simulations)),
        run_sd=float(np.sqrt((_run_shifts(arms).mean(axis=0) ** 2).sum())),
    )


def _interaction_squares(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum of squares of the run x task interaction : (n, n_training_runs, n_tasks) to (n,)."""
    by_run = scores - scores.mean(axis=2, keepdims=True)
    by_run -= by_run.mean(axis=1, keepdims=True)
    return np.einsum("ijk,ijk->i", by_run, by_run)


def pseudo_arms(scores: Sequence[ArrayLike], *, n_simulations: int, rng: np.random.Generator) -> Iterator[Pair]:
    """Draw two arms of the same method for each simulated study, benchmark by benchmark.

    Yields per benchmark a `Pair` of arrays (n_simulations, n_training_runs, n_tasks), scores already averaged over trials.
    Tasks are drawn with replacement and shared by the two arms. On each task a training run scores the task's mean,
    plus the deviation of a random stored run from that mean (trial noise, and run x task interaction), plus a shift of the
    run, normal with the stored runs' covariance over benchmarks after subtracting task noise. Not covered: scores may
    leave [0, 1].
    """
    arms = [_checked(array) for array in scores]
    m = _same_number_of_runs(arms)
    shifts = rng.standard_normal((2, n_simulations, m, m)) @ _run_shifts(arms).T
    for b, runs in enumerate(arms):
        n = runs.shape[1]
        mean = runs.mean(axis=0)
        # deviations from a mean of m runs are too small by this factor
        beyond = (runs - mean) * np.sqrt(m / (m - 1))
        task = rng.integers(n, size=(n_simulations, 1, n))
        draws = []
        for arm in range(2):
            run = rng.integers(m, size=(n_simulations, m, n), dtype=np.uint8 if m < 256 else np.int64)
            score = beyond.take(task + n * run.astype(np.int64))
            score += mean.take(task)
            score += shifts[arm, :, :, b, None]
            draws.append(score)
        yield Pair(*draws)


def _run_shifts(arms: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """Factor (n_benchmarks, n_training_runs) of the covariance of run shifts over benchmarks: shift = factor @ normals."""
    rows = []
    for runs in arms:
        m, n = runs.shape
        means = runs.mean(axis=1)
        noise, spread = runs.var(axis=0, ddof=1).sum() / n**2, means.var(ddof=1)
        kept = max(0.0, 1 - noise / spread) if spread > 0 else 0.0
        rows.append((means - means.mean()) * np.sqrt(kept / (m - 1)))
    return np.array(rows)


def _checked(scores: ArrayLike) -> NDArray[np.float64]:
    """Average over trials: (n_training_runs, n_tasks)."""
    array = np.asarray(scores, float)
    array = array.mean(axis=1) if array.ndim == 3 else array
    if array.ndim != 2 or array.shape[0] < 2 or array.shape[1] < 2 or np.isnan(array).any():
        raise AnalysisError(
            f"the A/A check needs at least 2 training runs and 2 tasks per benchmark and no missing score; got shape "
            f"{np.shape(scores)}."
        )
    return array


def _same_number_of_runs(arms: Sequence[NDArray[np.float64]]) -> int:
    numbers = {len(runs) for runs in arms}
    if len(numbers) != 1:
        raise AnalysisError(f"the same training runs must be scored on every benchmark; got {sorted(numbers)} runs.")
    return numbers.pop()
