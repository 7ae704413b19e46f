"""Measure, in the store and in the frozen data of a study, the quantities that a plan would otherwise assume."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from replication import settings
from replication.analyse.stats.design import components
from replication.errors import AnalysisError, ConfigError
from replication.records import UNSCORED_REASONS
from replication.store import Store
from replication.store.frozen import is_frozen, read_frozen
from replication.store.index import index_path, read_index


class Variances(NamedTuple):
    """Variance components of the difference of two arms on one benchmark, in the terms of `stats.design.dstudy`."""

    omega2: float
    s2: float
    interaction2: float
    tau: float


@dataclass(frozen=True, kw_only=True)
class VarianceEstimates:
    """Variance components of one comparison, and the reasons why others could not be estimated."""

    by_benchmark: Mapping[str, Variances] = field(default_factory=dict)
    mean_tau: float | None = None
    """SD between training runs of the mean over all benchmarks."""
    confounded: Sequence[str] = ()
    """Components that the data cannot separate."""
    negative: Sequence[str] = ()
    """Components with a negative estimate, which count as 0."""
    failures: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """Reason -> benchmarks and scales that could not be decomposed for it."""


@dataclass(frozen=True, kw_only=True)
class Measurements:
    """Everything measured for a plan; empty or None where there is no data."""

    study: str
    """Name of the study whose data was read."""
    tokens_per_episode: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Benchmark -> mean prompt and completion tokens."""
    seconds_per_run: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """(arm, scale) -> mean wall time of a training run."""
    tokens_per_s: float | None = None
    """Of one engine, prompt and completion."""
    variances: VarianceEstimates = field(default_factory=VarianceEstimates)


def measure(cfg: settings.Root) -> Measurements:
    """Read the frozen data and the store of the study named by `plan.data`, or else of the configured study.

    Raises ConfigError if `plan.data` names a study without frozen data.
    """
    study = cfg.plan.data or cfg.study.name
    tokens_per_s = _tokens_per_s(cfg, study)
    data = settings.paper_folder(cfg.paths, study) / "data"
    if not is_frozen(study, data):
        if cfg.plan.data:
            raise ConfigError(
                f"`plan.data` names study {study!r}, which has no frozen data under {data / study}. "
                f"Build it with `python -m replication paper study={study}`, or leave `plan.data` out."
            )
        return Measurements(study=study, tokens_per_s=tokens_per_s)
    frozen = read_frozen(study, data)
    played = frozen.scores[~frozen.scores["stop_reason"].isin(UNSCORED_REASONS)]
    tokens = played.groupby("benchmark")[["n_prompt_tokens", "n_completion_tokens"]].mean()
    seconds = frozen.training.groupby(["arm", "scale"])["wall_s"].mean().dropna()
    return Measurements(
        study=study,
        tokens_per_episode={str(name): (float(row.iloc[0]), float(row.iloc[1])) for name, row in tokens.iterrows()},
        seconds_per_run={key: float(value) for key, value in seconds.items()},
        tokens_per_s=tokens_per_s,
        variances=variance_estimates(
            frozen.scores, cfg.plan.treatment, cfg.plan.control, sorted(cfg.benchmarks), tau=cfg.plan.tau
        ),
    )


def _tokens_per_s(cfg: settings.Root, study: str) -> float | None:
    """Return tokens per second of one engine from the wall times of stored episodes, None if there are none.

    Episodes in flight share the wall time, so a checkpoint took at least the sum over its episodes divided by
    `engine.concurrency`. The time to start engines and to swap weights is not included.
    """
    results = Path(cfg.paths.results)
    if not index_path(results, study).exists():
        return None
    index, store = read_index(results, study), Store(results / "store")
    seconds: dict[str, list[float]] = {}
    n_tokens = 0
    stored = set(store.runs())
    for run_id in (*index.run_ids, *index.probe_run_ids):
        if run_id not in stored:
            continue
        of_checkpoint = seconds.setdefault(store.manifest(run_id).labels.unit, [])
        for episode in store.episodes(run_id):
            of_checkpoint.append(episode.wall_s)
            n_tokens += episode.n_prompt_tokens + episode.n_completion_tokens
    busy_s = sum(sum(times) / min(cfg.engine.concurrency, len(times)) for times in seconds.values() if times)
    return n_tokens / busy_s if busy_s > 0 and n_tokens else None


# --- variance components ----------------------------------------------------------------------------------------------


class _Cell(NamedTuple):
    """Moment estimates of one benchmark at one scale; negative values are possible."""

    omega2: float
    s2: float
    interaction2: float
    tau2: float
    confounded: str | None
    run_means: NDArray[np.float64] | None
    """(n_arms, n_training_runs); None for a single training run."""
    noise: float
    """Variance of a run's mean that tasks and trials explain."""


def variance_estimates(
    scores: pd.DataFrame, treatment: str, control: str, benchmarks: Sequence[str], *, tau: float
) -> VarianceEstimates:
    """Average the moment estimates over the scales that have both arms, then truncate them at 0.

    All components but tau come from the differences of runs with equal training seed and trial: an effect of the seed
    on single tasks that both arms share cancels. tau comes from each arm alone, as in the T3 interval; `tau` is used
    where there is one training run.
    """
    cells: dict[str, list[_Cell]] = {}
    by_scale: dict[str, list[_Cell]] = {}
    failures: dict[str, list[str]] = {}
    for scale, part in scores[scores["arm"].isin([treatment, control])].groupby("scale"):
        if part["arm"].nunique() < 2:
            continue
        for name in benchmarks:
            try:
                cell = _cell(_array(part[part["benchmark"] == name], treatment, control), tau)
            except AnalysisError as error:
                failures.setdefault(str(error), []).append(f"{name} {scale}")
                continue
            cells.setdefault(name, []).append(cell)
            by_scale.setdefault(str(scale), []).append(cell)
    negative: list[str] = []
    by_benchmark = {}
    for name, of_scales in cells.items():
        means = [float(np.mean([cell[i] for cell in of_scales])) for i in range(4)]
        sources = ("tasks", "trials", "task x training run", "training runs")
        negative += [f"{source} ({name})" for source, mean in zip(sources, means, strict=True) if mean < 0]
        omega2, s2, interaction2, tau2 = (max(mean, 0.0) for mean in means)
        by_benchmark[name] = Variances(omega2, s2, interaction2, math.sqrt(tau2))
    return VarianceEstimates(
        by_benchmark=by_benchmark,
        mean_tau=_mean_tau(by_scale.values(), len(benchmarks)) if len(by_benchmark) == len(benchmarks) else None,
        confounded=sorted({cell.confounded for of_scales in cells.values() for cell in of_scales if cell.confounded}),
        negative=negative,
        failures=failures,
    )


def _cell(array: NDArray[np.float64], tau: float) -> _Cell:
    """Decompose the scores (arm, training run, trial, task) of one benchmark at one scale."""
    split, of_arms = components.crossed(array[0] - array[1]), components.crossed_arms(array)
    _, n_runs, n_trials, n_tasks = array.shape
    interaction, trial = split.get("task x training_run"), split.get("trial")
    confounded = None
    if n_trials == 1:  # the remainder after tasks and runs contains the trials
        confounded = (
            "task x training run counted as trial noise (one trial)" if n_runs > 1
            else "trial noise counted as spread over tasks (one trial, one training run)"
        )  # fmt: skip
        interaction, trial = None, interaction
    run = of_arms.get("training_run")
    several = n_runs > 1
    return _Cell(
        omega2=split["task"].moment,
        s2=trial.moment if trial else 0.0,
        interaction2=interaction.moment if interaction else 0.0,
        tau2=run.moment if run else tau**2,
        confounded=confounded,
        run_means=array.mean(axis=(2, 3)) if several else None,
        noise=of_arms["task x training_run"].mean_square / (n_tasks * n_trials) if several else 0.0,
    )


def _mean_tau(by_scale: Iterable[list[_Cell]], n_benchmarks: int) -> float | None:
    """Return the SD between training runs of the mean over benchmarks, None if no scale has all of them."""
    variances = []
    for cells in by_scale:
        means = [cell.run_means for cell in cells if cell.run_means is not None]
        if len(means) == n_benchmarks and len({one.shape for one in means}) == 1:
            between = float(np.mean(means, axis=0).var(axis=1, ddof=1).mean())
            variances.append(between - sum(cell.noise for cell in cells) / n_benchmarks**2)
    return math.sqrt(max(float(np.mean(variances)), 0.0)) if variances else None


def _array(part: pd.DataFrame, treatment: str, control: str) -> NDArray[np.float64]:
    """Return scores (arm, training run, trial, task), averaged over scaffolds; tasks with a missing score are left out.

    A public checkpoint has no training seed and counts as one run; of several in one arm the first in order is taken,
    because their spread is not one between training runs.
    """
    trained = bool(part["training_seed"].notna().all())
    keys = ["arm", "training_seed", "unit", "trial", "task_id"]
    unscored = set(part.loc[part["value"].isna(), "task_id"])
    scored = part[~part["task_id"].isin(unscored)]
    if len(part) and scored.empty:
        raise AnalysisError("no task has all its scores")
    table = scored.assign(training_seed=scored["training_seed"].fillna(-1)).groupby(keys)["value"].mean()
    arms = [table.loc[arm].unstack("task_id") for arm in (treatment, control) if arm in table.index]
    if len(arms) < 2 or not arms[0].columns.equals(arms[1].columns):
        raise AnalysisError("the arms did not play the same tasks")
    of_rows = [arm.index.droplevel("trial") for arm in arms]
    trials = part["trial"].nunique()
    n_runs = min(rows.nunique() for rows in of_rows) if trained else 1
    arrays = [arm[rows.isin(rows.unique()[:n_runs])].to_numpy() for arm, rows in zip(arms, of_rows, strict=True)]
    if any(array.shape[0] != n_runs * trials or np.isnan(array).any() for array in arrays):
        raise AnalysisError("the frozen scores are not balanced over training runs, trials and tasks")
    return np.stack([array.reshape(n_runs, trials, -1) for array in arrays])
