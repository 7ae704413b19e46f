"""Tables of estimates for figures and CSV files: one row per benchmark, target and missing-data policy."""

import contextlib
import dataclasses
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from replication.analyse.stats.design.power import minimal_detectable_effect
from replication.analyse.stats.distributions import t_ppf
from replication.analyse.stats.estimates.differences import (
    ROUNDING,
    Pair,
    Unscored,
    mean_paired_difference,
    run_tables,
)
from replication.analyse.stats.families.meta import RandomEffects, random_effects
from replication.analyse.tables.arms import MEAN, by_scale, pairs
from replication.errors import AnalysisError
from replication.records import Estimate, Json, Target

POOLED = "random effects"
"""Name of the summary row of benchmarks like these; that of exactly these is `MEAN`."""

ALL = "all scales"
"""In column `scale`: the average over the scales that both arms have. It has a space, so no scale has this name."""

TARGETS: tuple[Target, ...] = ("T1", "T2", "T3")

FLOOR_BELOW = 5
"""With fewer benchmarks the Hartung-Knapp standard error does not fall below the classic one. With more, the floor would
make a 95 % interval conservative: under no difference it would exclude 0 in 1 % of studies instead of 5 %."""


class Pooled(NamedTuple):
    """A random-effects mean as an estimate, with its fit."""

    estimate: Estimate
    fit: RandomEffects


def pooled(
    groups: Mapping[str, Sequence[Pair]], *, target: Target, level: float, unscored: Unscored = "raise"
) -> Pooled:
    """Average the differences of several groups (benchmarks, or scaffolds) as a sample of their kind, for T2 or T3.

    The T2 differences are averaged by `meta.random_effects` with its floor; T3 adds the training runs that all groups share.
    """
    if len(groups) < 2:
        raise AnalysisError(
            f"a mean over others like these needs at least 2 of them; got {', '.join(map(str, groups))} only."
        )
    estimates = {
        name: mean_paired_difference(pairs_, target="T2", level=level, unscored=unscored, rare=True)
        for name, pairs_ in groups.items()
    }
    runs = []
    if target == "T3":
        by_group = [run_tables(pairs_, unscored=unscored) for pairs_ in groups.values()]
        runs = [np.stack([table.mean(axis=1) for table in arm], axis=1) for arm in zip(*by_group, strict=True)]
    mean = _pooled(list(estimates.values()), level, runs=runs, target=target)
    if mean.fit.se < ROUNDING:
        raise AnalysisError(f"{', '.join(map(str, groups))} show equal differences, so their standard error is 0.")
    return mean


def pooled_published(estimates: Sequence[Estimate], *, level: float) -> Pooled:
    """Average printed differences of several benchmarks as a sample of benchmarks."""
    return _pooled(estimates, level)


def pooled_pairs(value: ArrayLike, se: ArrayLike, n: ArrayLike, k: ArrayLike, *, level: float) -> Estimate:
    """Average differences of pairs of models, all (n_pairs,), as a sample of pairs; `n` items and `k` runs of each.

    T3: each model of a pair is one training run, and how methods differ between pairs is in the random effect.
    """
    value, se = np.asarray(value, float), np.asarray(se, float)
    fit = random_effects(value, se, level=level, floor=value.size < FLOOR_BELOW)
    return Estimate(
        value=fit.mean, low=fit.low, high=fit.high, level=level, se=fit.se, df=fit.df, p_one_sided=fit.p_one_sided,
        p_two_sided=fit.p_two_sided, method=f"random effects over {value.size} pairs, REML, Hartung-Knapp, t", target="T3",
        n_tasks=int(np.max(n)), n_trials=int(np.min(k)), n_training_runs=value.size,
    )  # fmt: skip


def _pooled(estimates: Sequence[Estimate], level: float, runs: Sequence[np.ndarray] = (), **changes) -> Pooled:
    floor = len(estimates) < FLOOR_BELOW
    errors = [np.nan if e.se is None else e.se for e in estimates]
    fit = random_effects([e.value for e in estimates], errors, level=level, floor=floor, runs=runs)
    method = f"random effects over {len(estimates)} benchmarks, REML, Hartung-Knapp, t"
    return Pooled(
        dataclasses.replace(
            estimates[0], value=fit.mean, low=fit.low, high=fit.high, level=level, se=fit.se, df=fit.df,
            p_one_sided=fit.p_one_sided, p_two_sided=fit.p_two_sided,
            method=method + (" with training-run variance" if runs else ""),
            n_tasks=sum(e.n_tasks for e in estimates), n_trials=min(e.n_trials for e in estimates),
            n_unscored=sum(e.n_unscored for e in estimates), **changes,
        ), fit,
    )  # fmt: skip


def estimate_row(estimate: Estimate) -> dict[str, Json]:
    """Return the columns of a difference of fractions."""
    return {name: value for name, value in dataclasses.asdict(estimate).items() if name != "kind"}


def collected_estimates(
    scores: pd.DataFrame,
    treatment: str,
    control: str,
    *,
    level: float,
    power: float,
    policies: Iterable[Unscored],
    shared: Collection[frozenset[str]] = (),
) -> pd.DataFrame:
    """Estimate treatment minus control on each benchmark, over exactly these benchmarks, and over benchmarks like these.

    Column `scale` is `ALL` for the average over the scales that both arms have; where these are several, each follows on
    its own, with `params_b`. Rows that the data cannot support (T1 with one trial, T3 with one training run) are left
    out; benchmarks like these have no T1. AnalysisError where a benchmark has no T2. T3 of one benchmark pools the run
    variance over all. shared : as of `arms.pairs`. `half_width` is that of the interval. `low_all_scales` and
    `high_all_scales` hold at all scales of the comparison together (Bonferroni). `mde` is the minimal detectable effect of
    the design as run, at two-sided 1 - level.
    """
    scales = {scale: part for scale, part in by_scale(scores).items() if {treatment, control} <= set(part["arm"])}
    table = []
    for scale, part in {ALL: scores, **(scales if len(scales) > 1 else {})}.items():
        params_b = np.nan if scale == ALL else part["params_b"].iloc[0]
        by_benchmark = pairs(part, treatment, control, shared=shared)
        for policy in policies:
            for name, estimate in _estimates(by_benchmark, level, policy, scale):
                together = _half_width(estimate, 1 - (1 - level) / max(len(scales), 1))
                several = scale != ALL
                table.append(
                    {
                        "treatment": treatment, "control": control, "scale": scale, "params_b": params_b,
                        "benchmark": name, "policy": policy, **estimate_row(estimate),
                        "half_width": (estimate.high - estimate.low) / 2,
                        "low_all_scales": estimate.value - together if several else np.nan,
                        "high_all_scales": estimate.value + together if several else np.nan,
                        "mde": _detectable(estimate, level, power),
                    }
                )  # fmt: skip
    return pd.DataFrame(table)


def _estimates(
    by_benchmark: Mapping[str, Pair], level: float, policy: Unscored, scale: str
) -> list[tuple[str, Estimate]]:
    """Return name and estimate of each row that the data supports, T1 before T2 before T3."""
    rows = []
    groups = {name: [pair] for name, pair in by_benchmark.items()}
    for target in TARGETS:
        for name, pairs_ in {**groups, MEAN: list(by_benchmark.values())}.items():
            try:
                estimate = mean_paired_difference(
                    pairs_, target=target, level=level, unscored=policy, beside=list(by_benchmark.values()), rare=True
                )
                rows.append((name, estimate))
            except AnalysisError as error:
                if target == "T2":
                    raise AnalysisError(
                        f"{'over all scales' if scale == ALL else f'at scale {scale}'}: {error}"
                    ) from None
        if target != "T1":
            with contextlib.suppress(AnalysisError):
                rows.append((POOLED, pooled(groups, target=target, level=level, unscored=policy).estimate))
    return rows


def _detectable(estimate: Estimate, level: float, power: float) -> float:
    """Return the minimal detectable effect of the design as run."""
    assert estimate.se is not None
    return minimal_detectable_effect(estimate.se, estimate.df, alpha=1 - level, power=power)


def _half_width(estimate: Estimate, level: float) -> float:
    assert estimate.se is not None
    return float(t_ppf((1 + level) / 2, estimate.df)) * estimate.se


def smoothed(curves: pd.DataFrame, n_points: int) -> pd.DataFrame:
    """Average each training run's curve over windows of equal steps within its phases, about `n_points` per run.

    curves : columns arm, scale, training_seed, step, phase, n_tokens, loss, reward; so are those returned.
    """
    run = ["arm", "scale", "training_seed"]
    ordered = curves.sort_values([*run, "step"], kind="stable")
    width = np.ceil(ordered.groupby(run)["step"].transform("size") / n_points)
    phases = ordered.groupby([*run, "phase"])
    # The remaining steps join the last window: a window of one step would show up as an outlier.
    n_windows = np.maximum(phases["step"].transform("size") // width, 1)
    window = np.minimum(phases.cumcount() // width, n_windows - 1).astype(int)
    values = ["step", "n_tokens", "loss", "reward"]
    means = ordered.assign(window=window).groupby([*run, "phase", "window"], sort=False)[values].mean()
    return means.reset_index().drop(columns="window")
