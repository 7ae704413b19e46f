"""Coverage of T3 intervals in simulated studies, all studies of a cell at once; the formulas are written out anew.

Two arms without a true difference, binary scores of 80 tasks on each of 7 benchmarks. Run effects, half of their variance
common to all benchmarks, are added to the tasks' success probabilities. With a shared phase run i of both arms have .7 of
that variance in common.
"""

from typing import NamedTuple

import numpy as np
from scipy import stats

N_BENCHMARKS, N_TASKS = 7, 80

EFFECTS = {
    "normal": lambda rng, size: rng.standard_normal(size),
    "heavy tails": lambda rng, size: rng.standard_t(3, size) / np.sqrt(3),
    # one run in ten collapses; mean 0, SD 1
    "collapse": lambda rng, size: np.where(rng.random(size) < 0.1, -3.0, 1 / 3),
}


class Cell(NamedTuple):
    """One design and truth."""

    n_runs: int
    shared: bool
    run_sd: float
    kind: str = "normal"
    mean: float = 0.5


class Coverage(NamedTuple):
    """Shares of intervals that hold 0."""

    single: float
    """Of single benchmarks."""
    collapsed: float
    """Of those whose own run variance comes out 0."""
    n_collapsed: int
    mean: float
    """Of means over the benchmarks."""


def draw(rng, cell, n_studies):
    """Scores (n_studies, 2, n_runs, n_benchmarks, n_tasks); the first arm is the control."""
    effect = EFFECTS[cell.kind]

    def runs(n_arms):
        common = effect(rng, (n_studies, n_arms, cell.n_runs, 1))
        return cell.run_sd * np.sqrt(0.5) * (common + effect(rng, (n_studies, n_arms, cell.n_runs, N_BENCHMARKS)))

    shift = np.sqrt(0.3) * runs(2) + np.sqrt(0.7) * runs(1) if cell.shared else runs(2)
    a, b = 3 * cell.mean, 3 * (1 - cell.mean)
    tasks = rng.beta(a, b, (n_studies, 1, 1, N_BENCHMARKS, N_TASKS)).astype(np.float32)
    chance = np.clip(tasks + shift[..., None].astype(np.float32), 0, 1)
    return rng.random(chance.shape, dtype=np.float32) < chance


def satterthwaite(values, dfs):
    """Sum of independent variances with its degrees of freedom, elementwise."""
    total, spread = sum(values), sum(v**2 / df for v, df in zip(values, dfs, strict=True))
    return total, np.where(spread > 0, total**2 / np.where(spread > 0, spread, 1), min(dfs))


def half_width(variance, df, runs, dfs, noise):
    """Half-width of an interval with the variance between runs."""
    smallest = min(dfs)
    share = 0.1 if smallest * dfs.count(smallest) >= 4 else 0.0
    raw = sum(runs)
    between = np.maximum(raw - noise, 0)
    total = variance + between
    left = (between / np.where(raw > 0, raw, 1)) ** share * (raw > 0)
    spread = variance**2 / df + left * sum(v**2 / run_df for v, run_df in zip(runs, dfs, strict=True))
    total_df = np.where(spread > 0, total**2 / np.where(spread > 0, spread, 1), smallest)
    return stats.t.ppf(0.975, np.minimum(np.maximum(total_df, smallest), df)) * np.sqrt(total)


def pooled(arms, m, weight):
    """Run components pooled over benchmarks with these weights (n_benchmarks,) of 0 and 1; arms : (n_studies, m, B)."""
    n, parts, dfs = weight.sum(), [], []
    for arm in arms:
        of_mean = (arm @ weight / n).var(axis=1, ddof=1) / m
        of_all = arm.var(axis=1, ddof=1) @ weight / n / m
        parts += [of_mean, np.maximum(of_all - of_mean, 0)]
        dfs += [m - 1.0, (m - 1.0) * (n - 1.0)]
    return parts, dfs


def intervals(scores, shared):
    """Difference and half-width per benchmark (n_studies, n_benchmarks), those of the mean, and where own variance is 0."""
    control, treatment = scores[:, 0].astype(np.float32), scores[:, 1].astype(np.float32)
    m, n_b, n = treatment.shape[1:]
    difference = (treatment - control).mean(axis=1, dtype=float)
    value, tasks = difference.mean(axis=-1), difference.var(axis=-1, ddof=1) / n
    deviating = np.abs(difference - np.median(difference, axis=-1, keepdims=True)) > 1e-12
    tasks = tasks + np.where(deviating.sum(axis=-1) < 6, 2 / (n + 2) ** 2, 0)
    by_run = [treatment - control] if shared else [treatment, control]
    arms, noise = [arm.mean(axis=-1, dtype=float) for arm in by_run], 0.0
    for arm, mean in zip(by_run, arms, strict=True):
        residual = arm - arm.mean(axis=1, keepdims=True) - mean[..., None] + mean.mean(axis=1)[:, None, :, None]
        noise = noise + (residual.astype(float) ** 2).sum(axis=(1, 3)) / (n * m * (m - 1) * (n - 1))
    own, own_df = [arm.var(axis=1, ddof=1) / m for arm in arms], [m - 1.0] * len(arms)
    parts, dfs = pooled(arms, m, np.ones(n_b))
    runs = [part[:, None] for part in parts]
    half = half_width(tasks, n - 1.0, runs, dfs, noise.mean(axis=1, keepdims=True))
    (one, one_df), (every, every_df) = satterthwaite(own, own_df), satterthwaite(runs, dfs)
    more = (every > 0) & (stats.f.sf(one / np.where(every > 0, every, 1), one_df, every_df) < 0.1)
    half = np.where(more, np.maximum(half, half_width(tasks, n - 1.0, own, own_df, noise)), half)
    collapsed = sum(own) <= noise * (1 + 1e-6)  # often equal for rare events
    factor = 1.4 if (m - 1) * len(arms) >= 4 else 1.0
    for b in range(n_b):
        others = np.arange(n_b) != b
        rest, rest_dfs = pooled(arms, m, others.astype(float))
        of_others = noise[:, others].mean(axis=1)
        wide = half_width(tasks[:, b], n - 1.0, [factor * part for part in rest], rest_dfs, factor * of_others)
        half[:, b] = np.where(collapsed[:, b], np.maximum(half[:, b], wide), half[:, b])
    variance, df = satterthwaite([tasks[:, b] / n_b**2 for b in range(n_b)], [n - 1.0] * n_b)
    of_mean = [arm.mean(axis=2).var(axis=1, ddof=1) / m for arm in arms]
    mean_half = half_width(variance, df, of_mean, own_df, noise.sum(axis=1) / n_b**2)
    return value, half, value.mean(axis=1), mean_half, collapsed


def coverage(cell, n_studies, seed=0, at_once=250):
    """Simulate a cell."""
    rng, found = np.random.default_rng(seed), []
    for start in range(0, n_studies, at_once):
        scores = draw(rng, cell, min(at_once, n_studies - start))
        value, half, mean, mean_half, collapsed = intervals(scores, cell.shared)
        found.append((np.abs(value) <= half, np.abs(mean) <= mean_half, collapsed))
    single, means, collapsed = map(np.concatenate, zip(*found, strict=True))
    n = int(collapsed.sum())
    return Coverage(single.mean(), single[collapsed].mean() if n else np.nan, n, means.mean())
