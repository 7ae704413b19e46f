"""Say what a study costs and what it could detect, before it is run: `python -m replication plan study=controlled`.

What the study's frozen data, or the data of `plan.data`, can tell is measured; everything else is taken from conf/plan.
Every assumption is printed with its origin. Precision is that of treatment minus control at one scale, averaged over the
scaffolds; claims that average over scales have more. Not covered: clustered tasks, other comparisons at once.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from replication import settings
from replication.errors import AnalysisError, ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from replication.analyse.stats.design.dstudy import Costs, Design

MEAN = "mean of these"


class Size(NamedTuple):
    """What one benchmark asks of the engines, over all arms, scales, training runs, scaffolds and trials."""

    episodes: int
    predictions: int
    prompt_tokens: float
    completion_tokens: float


class Training(NamedTuple):
    """What all training runs ask for."""

    n_runs: int
    tokens: int
    wall_s: float


class Parts(NamedTuple):
    """Variance parts of the difference of the two arms on one benchmark, in the terms of `stats.dstudy`."""

    omega2: float
    s2: float
    interaction2: float
    tau: float


class Precision(NamedTuple):
    """What a benchmark, or the mean of all, will be able to show; None where the target has no interval."""

    half_width_t2: float | None
    mde_t2: float | None
    power_t2: float | None
    half_width_t3: float | None
    mde_t3: float | None
    power_t3: float | None


class Spent(NamedTuple):
    """The best use of a budget, and the cheapest design for the smallest effect of interest."""

    unit: str
    budget: float
    costs: Costs
    now: Design
    best: Design | None
    wanted: Design | None


class Plan(NamedTuple):
    """Everything that is printed."""

    study: str
    sizes: Mapping[str, Size]
    training: Training
    engine_hours: float
    training_hours: float
    money: float
    parts: Mapping[str, Parts]
    precision: Mapping[str, Precision]
    joint_t2: float | None
    joint_t3: float | None
    spent: Spent
    assumptions: Sequence[tuple[str, str, str]]
    """Name, value, origin: `measured: ...` or `given: ...`."""


def main(cfg: settings.Root) -> None:
    """Print the plan of the configured study."""
    print(report(cfg, plan(cfg)))


def plan(cfg: settings.Root) -> Plan:
    """Count, price and judge a study; reads frozen data and the store where they are, writes nothing."""
    if not cfg.benchmarks or not (cfg.arms or cfg.models):
        raise ConfigError(
            f"study `{cfg.study.name}` plays no episodes: there is nothing to plan. "
            "Plan a study that collects, for example study=controlled."
        )
    _check(cfg)
    told: list[tuple[str, str, str]] = []
    frozen = _frozen(cfg)
    sizes, tokens = _sizes(cfg, frozen, told)
    rate = _tokens_per_s(cfg, told)
    training, seconds_per_run = _training(cfg, frozen, told)
    engine_hours = sum(s.prompt_tokens + s.completion_tokens for s in sizes.values()) / rate / 3600
    training_hours = training.wall_s / 3600
    parts, mean_tau = _parts(cfg, frozen, told)
    n_runs = _runs_compared(cfg)
    precision = _precisions(cfg, parts, mean_tau, n_runs)
    joint = [
        _joint([getattr(precision[name], f"power_{target}") for name in cfg.benchmarks]) for target in ("t2", "t3")
    ]
    money = _money(
        cfg,
        engine_hours + training_hours,
        sum(s.prompt_tokens for s in sizes.values()),
        sum(s.completion_tokens for s in sizes.values()),
    )
    told += [
        ("smallest effect of interest", _points(cfg.plan.sesoi), "given: plan.sesoi"),
        ("level, power", f"{cfg.analysis.level:g}, {cfg.analysis.power:g}", "given: conf/analysis"),
        ("unscored episodes", "none", "given: counted as 0 where frozen data has them"),
        ("benchmarks in the joint power", "independent", "given"),
    ]
    return Plan(
        cfg.study.name, sizes, training, engine_hours, training_hours, money, parts, precision, joint[0], joint[1],
        _spent(cfg, parts, mean_tau, n_runs, tokens, rate, seconds_per_run, told), told,
    )  # fmt: skip


# --- size and cost ----------------------------------------------------------------------------------------------------


class _Frozen(NamedTuple):
    name: str
    scores: pd.DataFrame
    training: pd.DataFrame


def _check(cfg: settings.Root) -> None:
    p = cfg.plan
    for key in ("pass_rate", "icc", "rho"):
        if not 0 <= getattr(p, key) <= 1:
            raise ConfigError(f"`plan.{key}` must be in [0, 1]; got {getattr(p, key)}.")
    for key in ("sesoi", "tokens_per_s", "training_tokens_per_s", "budget", "max_tasks", "max_trials", "max_runs"):
        value = getattr(p, key)
        if value is not None and not 0 < value < math.inf:
            raise ConfigError(f"`plan.{key}` must be above 0; got {value}.")
    numbers = [k for k in vars(p) if k.startswith("price") or k.endswith("_tokens")]
    for key in ("tau", "hours_per_task", *numbers):
        if not 0 <= getattr(p, key) < math.inf:
            raise ConfigError(f"`plan.{key}` must be at least 0; got {getattr(p, key)}.")
    known = [*cfg.arms, *(model.role for model in cfg.models.values())]
    for key in ("treatment", "control"):
        if getattr(p, key) not in known:
            raise ConfigError(f"`plan.{key}` is {getattr(p, key)!r}; the study has {', '.join(sorted(set(known)))}.")
    if p.treatment == p.control:
        raise ConfigError(f"`plan.treatment` and `plan.control` are both {p.control!r}; name two arms.")


def _frozen(cfg: settings.Root) -> _Frozen | None:
    name = cfg.plan.data or cfg.study.name
    folder = settings.paper_folder(cfg.paths, name) / "data" / name
    if not (folder / "scores.csv").exists() or not (folder / "training.csv").exists():
        if cfg.plan.data:
            raise ConfigError(f"`plan.data` names study {name!r}, of which nothing is frozen under {folder}.")
        return None
    import pandas as pd

    return _Frozen(name, pd.read_csv(folder / "scores.csv"), pd.read_csv(folder / "training.csv"))


def _sizes(
    cfg: settings.Root, frozen: _Frozen | None, told: list[tuple[str, str, str]]
) -> tuple[dict[str, Size], dict[str, tuple[float, float]]]:
    """Size of each benchmark, and its (prompt, completion) tokens per episode."""
    from replication.collect import build

    n_served = len(build.training_runs(cfg)) + len(cfg.models)
    given = (cfg.plan.prompt_tokens, cfg.plan.completion_tokens)
    tokens = {name: given for name in sorted(cfg.benchmarks)}
    if frozen is not None:
        means = frozen.scores.groupby("benchmark")[["n_prompt_tokens", "n_completion_tokens"]].mean()
        tokens |= {name: tuple(means.loc[name]) for name in tokens if name in means.index}
    lacking = [name for name in tokens if tokens[name] is given]
    if len(lacking) < len(tokens):
        told.append(("tokens per episode", "by benchmark, mean over all arms", f"measured: frozen `{frozen.name}`"))
    if lacking:
        origin = "given: plan.prompt_tokens, plan.completion_tokens"
        which = "" if len(lacking) == len(tokens) else f" ({', '.join(lacking)})"
        told.append((f"tokens per episode{which}", f"{given[0]:g} + {given[1]:g}", origin))
    probe = (cfg.plan.probe_prompt_tokens, cfg.plan.probe_completion_tokens)
    if cfg.probe.n_tasks:
        told.append(("tokens per prediction", f"{probe[0]:g} + {probe[1]:g}", "given: plan.probe_*_tokens"))
    sizes = {}
    for name, per_episode in tokens.items():
        episodes = n_served * len(cfg.scaffolds) * cfg.benchmarks[name].n_tasks * cfg.study.n_trials
        predictions = n_served * cfg.probe.n_tasks
        totals = [episodes * a + predictions * b for a, b in zip(per_episode, probe, strict=True)]
        sizes[name] = Size(episodes, predictions, *totals)
    return sizes, tokens


def _tokens_per_s(cfg: settings.Root, told: list[tuple[str, str, str]]) -> float:
    """Tokens per second of one engine, from the wall times of stored episodes where there are any.

    An episode's wall time is shared with all in flight, so a checkpoint took at least the sum over its episodes divided by
    `engine.concurrency`; starting engines and swapping weights are not in it.
    """
    from replication.store import Store
    from replication.store.index import index_path, read_index

    results = Path(cfg.paths.results)
    name = cfg.plan.data or cfg.study.name
    if index_path(results, name).exists():
        index, store = read_index(results, name), Store(results / "store")
        seconds: dict[str, list[float]] = {}
        n_tokens = 0
        stored = set(store.runs())
        for run_id in (*index.run_ids, *index.probe_run_ids):
            if run_id not in stored:
                continue
            of_model = seconds.setdefault(store.manifest(run_id).spec.revision, [])
            for episode in store.episodes(run_id):
                of_model.append(episode.wall_s)
                n_tokens += episode.n_prompt_tokens + episode.n_completion_tokens
        busy = sum(sum(one) / min(cfg.engine.concurrency, len(one)) for one in seconds.values() if one)
        if busy > 0 and n_tokens:
            origin = f"measured: stored episodes of `{name}`, without starting engines"
            told.append(("tokens per second and engine", f"{n_tokens / busy:,.0f}", origin))
            return n_tokens / busy
    told.append(("tokens per second and engine", f"{cfg.plan.tokens_per_s:,.0f}", "given: plan.tokens_per_s"))
    return cfg.plan.tokens_per_s


def _training(
    cfg: settings.Root, frozen: _Frozen | None, told: list[tuple[str, str, str]]
) -> tuple[Training, dict[tuple[str, str], float]]:
    """All training, and seconds of one training run by (arm, scale)."""
    from replication.collect import build

    runs = build.training_runs(cfg)
    measured: dict[tuple[str, str], float] = {}
    if frozen is not None:
        per_arm = frozen.training.groupby(["arm", "scale"])["wall_s"].mean().dropna()
        measured = {key: float(value) for key, value in per_arm.items()}
    seconds, budget = {}, {}
    for run in runs:
        key = (run.arm, run.scale)
        budget[key] = sum(phase.n_tokens for phase in run.phases)
        seconds[key] = measured.get(key, budget[key] / cfg.plan.training_tokens_per_s)
    lacking = sorted(f"{arm} {scale}" for arm, scale in set(seconds) - set(measured))
    if set(seconds) & set(measured):
        told.append(("seconds per training run", "by arm and scale", f"measured: frozen `{frozen.name}`"))
    if lacking:
        which = "" if len(lacking) == len(seconds) else f" ({', '.join(lacking)})"
        told.append(
            (f"training tokens per second{which}", f"{cfg.plan.training_tokens_per_s:,.0f}",
             "given: plan.training_tokens_per_s")
        )  # fmt: skip
    if runs:
        told.append(("training tokens", "budget of the phases", "given: conf/arm, in tokens' worth of FLOPs"))
    total = Training(len(runs), sum(budget[r.arm, r.scale] for r in runs), sum(seconds[r.arm, r.scale] for r in runs))
    return total, seconds


def _money(cfg: settings.Root, hours: float, prompt_tokens: float, completion_tokens: float) -> float:
    p = cfg.plan
    tokens = (
        prompt_tokens * p.price_per_million_prompt_tokens + completion_tokens * p.price_per_million_completion_tokens
    )
    return hours * p.price_per_hour + tokens / 1e6


def _priced(cfg: settings.Root) -> bool:
    return _money(cfg, 1.0, 1.0, 1.0) > 0


# --- precision --------------------------------------------------------------------------------------------------------


def _runs_compared(cfg: settings.Root) -> int:
    """Training runs per arm that the comparison has: the smaller number, 1 for public models."""
    n_runs = [
        len(cfg.arms[arm].training_seeds or cfg.study.training_seeds) if arm in cfg.arms else 1
        for arm in (cfg.plan.treatment, cfg.plan.control)
    ]
    return max(min(n_runs), 1)


def _scales_compared(cfg: settings.Root) -> list[str]:
    """Scales that have both arms; a public model's own where it is one."""
    found = []
    for arm in (cfg.plan.treatment, cfg.plan.control):
        scales = {model.scale for model in cfg.models.values() if model.role == arm}
        if arm in cfg.arms:
            scales |= set(cfg.arms[arm].scales or cfg.scales)
        found.append(scales)
    return sorted(found[0] & found[1])


def _parts(
    cfg: settings.Root, frozen: _Frozen | None, told: list[tuple[str, str, str]]
) -> tuple[dict[str, Parts], float]:
    """Variance parts per benchmark, and the SD between training runs of the mean over benchmarks."""
    p = cfg.plan
    variance = p.pass_rate * (1 - p.pass_rate)
    given = Parts(omega2=2 * p.icc * variance * (1 - p.rho), s2=2 * (1 - p.icc) * variance, interaction2=0.0, tau=p.tau)
    parts = {name: given for name in sorted(cfg.benchmarks)}
    reasons: dict[str, list[str]] = {}
    mean_tau, tau_measured = p.tau, False
    if frozen is not None:
        measured = _measured_parts(frozen.scores, p.treatment, p.control, list(parts), p.tau, reasons)
        parts |= measured.parts
        if measured.parts:
            told.append(
                (f"variance parts, {p.treatment} and {p.control}", "by benchmark, mean over scales and scaffolds",
                 f"measured: frozen `{frozen.name}`")
            )  # fmt: skip
            told += [(what, "", "measured: cannot be told apart") for what in measured.confounded]
            if measured.negative:
                negative = ", ".join(measured.negative)
                told.append(("negative estimates, taken as 0", negative, f"measured: frozen `{frozen.name}`"))
        if measured.mean_tau is not None:
            mean_tau, tau_measured = measured.mean_tau, True
            told.append(
                ("SD between training runs, of the mean", _points(mean_tau), f"measured: frozen `{frozen.name}`")
            )
    lacking = [name for name in parts if parts[name] is given]
    told += [(f"not measured: {', '.join(names)}", reason, "frozen data") for reason, names in reasons.items()]
    if lacking:
        which = "" if len(lacking) == len(parts) else f" ({', '.join(lacking)})"
        told += [
            (f"pass rate, icc, rho{which}", f"{p.pass_rate:g}, {p.icc:g}, {p.rho:g}", "given: conf/plan"),
            ("correlation of outcomes, icc x rho", f"{p.icc * p.rho:g}", "follows"),
        ]
    if lacking or not tau_measured:
        told.append(("SD between training runs, per arm", _points(p.tau), "given: plan.tau"))
    return parts, mean_tau


class _Measured(NamedTuple):
    parts: dict[str, Parts]
    mean_tau: float | None
    confounded: list[str]
    negative: list[str]


def _measured_parts(
    scores: pd.DataFrame,
    treatment: str,
    control: str,
    benchmarks: Sequence[str],
    tau: float,
    reasons: dict[str, list[str]],
) -> _Measured:
    """Mean of the moment estimates over the scales that have both arms, cut at 0 after averaging.

    All but tau from the differences of runs with equal training seed and trial: arms that share seeds also share what
    those do to single tasks, which cancels. tau from each arm alone, as the T3 interval takes it.
    """
    import numpy as np

    from replication.analyse.stats.design import components

    found: dict[str, list[list[float]]] = {}  # per scale: omega2, s2, interaction2, tau^2
    run_means: dict[str, list[np.ndarray]] = {}  # scale -> per benchmark (n_arms, n_training_runs)
    noise: dict[str, float] = {}
    confounded: list[str] = []
    negative: list[str] = []
    for scale, part in scores[scores["arm"].isin([treatment, control])].groupby("scale"):
        if part["arm"].nunique() < 2:
            continue
        for name in benchmarks:
            try:
                array = _array(part[part["benchmark"] == name], treatment, control)
                split, of_arms = components.crossed(array[0] - array[1]), components.crossed_arms(array)
            except AnalysisError as error:
                reasons.setdefault(str(error), []).append(f"{name} {scale}")
                continue
            _, m, k, n = array.shape
            both, trial = split.get("task x training_run"), split.get("trial")
            if k == 1:  # what is left over after tasks and runs holds the trials
                confounded.append(
                    "task x training run counted as trial noise (one trial)" if m > 1
                    else "trial noise counted as spread over tasks (one trial, one training run)"
                )  # fmt: skip
                both, trial = None, both
            run = of_arms.get("training_run")
            found.setdefault(name, []).append(
                [split["task"].moment, trial.moment if trial else 0.0, both.moment if both else 0.0,
                 run.moment if run else tau**2]
            )  # fmt: skip
            if m > 1:
                run_means.setdefault(scale, []).append(array.mean(axis=(2, 3)))
                noise[scale] = noise.get(scale, 0.0) + of_arms["task x training_run"].mean_square / (n * k)
    taus = []
    for scale, per_benchmark in run_means.items():
        if len(per_benchmark) == len(benchmarks) and len({one.shape for one in per_benchmark}) == 1:
            between = float(np.mean(per_benchmark, axis=0).var(axis=1, ddof=1).mean())
            taus.append(between - noise[scale] / len(benchmarks) ** 2)
    parts = {}
    for name, of_scales in found.items():
        means = [float(np.mean(column)) for column in zip(*of_scales, strict=True)]
        sources = ("tasks", "trials", "task x training run", "training runs")
        negative += [f"{source} ({name})" for source, mean in zip(sources, means, strict=True) if mean < 0]
        omega2, s2, interaction2, tau2 = (max(mean, 0.0) for mean in means)
        parts[name] = Parts(omega2, s2, interaction2, math.sqrt(tau2))
    mean_tau = math.sqrt(max(float(np.mean(taus)), 0.0)) if taus and len(parts) == len(benchmarks) else None
    return _Measured(parts, mean_tau, sorted(set(confounded)), negative)


def _array(part: pd.DataFrame, treatment: str, control: str):
    """Scores (arm, training run, trial, task), averaged over scaffolds; a missing score is 0."""
    import numpy as np

    keys = ["arm", "training_seed", "trial", "task_id"]
    table = part.assign(value=part["value"].fillna(0.0)).groupby(keys)["value"].mean()
    arms = [table.loc[arm].unstack("task_id") if arm in table.index else None for arm in (treatment, control)]
    if any(arm is None for arm in arms) or not arms[0].columns.equals(arms[1].columns):
        raise AnalysisError("the arms did not play the same tasks")
    seeds = [arm.index.get_level_values("training_seed").unique() for arm in arms]
    trials = part["trial"].nunique()
    n_runs = min(map(len, seeds))
    arrays = [arm.loc[list(seed[:n_runs])].to_numpy() for arm, seed in zip(arms, seeds, strict=True)]
    if any(array.shape[0] != n_runs * trials or np.isnan(array).any() for array in arrays):
        raise AnalysisError("the frozen scores are not balanced over training runs, trials and tasks")
    return np.stack([array.reshape(n_runs, trials, -1) for array in arrays])


def _precisions(cfg: settings.Root, parts: Mapping[str, Parts], mean_tau: float, n_runs: int) -> dict[str, Precision]:
    variances, found = {}, {}
    for name, one in parts.items():
        n = cfg.benchmarks[name].n_tasks
        k, m = cfg.study.n_trials, n_runs
        variances[name] = ((one.omega2 + one.interaction2 / m + one.s2 / (k * m)) / n, n - 1)
        found[name] = _precision(cfg, [variances[name]], one.tau, n_runs)
    shares = [(variance / len(parts) ** 2, df) for variance, df in variances.values()]
    return found | {MEAN: _precision(cfg, shares, mean_tau, n_runs)}


def _precision(cfg: settings.Root, shares: Sequence[tuple[float, int]], tau: float, n_runs: int) -> Precision:
    """Half-width, MDE and power for T2 and T3 from independent variances with their df (Satterthwaite)."""
    values: list[float | None] = []
    runs = (2 * tau**2 / n_runs, 2 * (n_runs - 1))
    for parts in (shares, [*shares, runs]):
        total = sum(variance for variance, _ in parts)
        if any(df < 1 for _, df in parts):
            values += [None, None, None]
            continue
        spread = sum(variance**2 / df for variance, df in parts)
        values += _detectable(cfg, total**0.5, total**2 / spread if spread > 0 else min(df for _, df in parts))
    return Precision(*values)


def _detectable(cfg: settings.Root, se: float, df: float) -> list[float]:
    from scipy import stats

    from replication.analyse.stats.design.power import minimal_detectable_effect, power_two_sided

    alpha = 1 - cfg.analysis.level
    return [
        float(stats.t(df).ppf(1 - alpha / 2)) * se,
        minimal_detectable_effect(se, df, alpha=alpha, power=cfg.analysis.power),
        power_two_sided(cfg.plan.sesoi, se, df, alpha=alpha),
    ]


def _joint(powers: Sequence[float | None]) -> float | None:
    from replication.analyse.stats.design.power import joint_power

    return None if any(power is None for power in powers) else joint_power(powers)


# --- the budget -------------------------------------------------------------------------------------------------------


def _spent(
    cfg: settings.Root,
    parts: Mapping[str, Parts],
    mean_tau: float,
    n_runs: int,
    tokens: Mapping[str, tuple[float, float]],
    rate: float,
    seconds_per_run: Mapping[tuple[str, str], float],
    told: list[tuple[str, str, str]],
) -> Spent:
    """Designs for the two arms at the scales that have both; n is the number of tasks per benchmark."""
    from replication.analyse.stats.design import dstudy

    p, n_benchmarks = cfg.plan, len(parts)
    scales = _scales_compared(cfg)
    if not scales:
        raise ConfigError(
            f"no scale has both `{p.treatment}` and `{p.control}`; choose plan.treatment and plan.control that share one."
        )
    priced = _priced(cfg)

    def price(hours: float, prompt: float = 0.0, completion: float = 0.0) -> float:
        return _money(cfg, hours, prompt, completion) if priced else hours

    prompt, completion = (sum(one[i] for one in tokens.values()) for i in (0, 1))
    per_task = len(cfg.scaffolds) * len(scales)
    hours_per_run = [seconds_per_run.get((arm, s), 0.0) / 3600 for arm in (p.treatment, p.control) for s in scales]
    costs = dstudy.Costs(
        episode=per_task * price((prompt + completion) / rate / 3600, prompt, completion),
        task=price(p.hours_per_task * n_benchmarks * len(scales)),
        training_run=price(sum(hours_per_run) / 2),
    )
    trained = p.treatment in cfg.arms and p.control in cfg.arms
    known = {
        "omega2": sum(one.omega2 for one in parts.values()) / n_benchmarks**2,
        "s2": sum(one.s2 for one in parts.values()) / n_benchmarks**2,
        "interaction2": sum(one.interaction2 for one in parts.values()) / n_benchmarks**2,
        "tau": mean_tau if trained else 0.0, "each_run": True,
    }  # fmt: skip
    limits = dstudy.Limits(p.max_tasks, p.max_trials, p.max_runs if trained else 1, min_runs=2 if trained else 1)
    if limits.max_runs < limits.min_runs:
        raise ConfigError(f"`plan.max_runs` must be at least 2 for trained arms (T3); got {p.max_runs}.")
    n = min(choice.n_tasks for choice in cfg.benchmarks.values())
    if n < max(choice.n_tasks for choice in cfg.benchmarks.values()):
        told.append(("tasks per benchmark, in the designs", f"{n} in each", "given: the smallest of the study's"))
    design = (n, cfg.study.n_trials, n_runs)
    now = dstudy.Design(
        *design, float(dstudy.standard_error(*design, **known)), float(dstudy.degrees_of_freedom(*design, **known)),
        dstudy.cost(*design, costs, each_run=True),
    )  # fmt: skip
    budget = p.budget or now.cost
    level, power = cfg.analysis.level, cfg.analysis.power
    return Spent(
        p.currency if priced else "hours", budget, costs, now,
        dstudy.allocate(budget, costs=costs, limits=limits, **known) if budget > 0 else None,
        dstudy.cheapest(costs=costs, limits=limits, **known, effect=p.sesoi, level=level, power=power),
    )  # fmt: skip


# --- text -------------------------------------------------------------------------------------------------------------


def report(cfg: settings.Root, found: Plan) -> str:
    """Write the plan for the terminal."""
    device = "GPU" if cfg.engine.device == "cuda" else "engine"
    n_gpus = int(cfg.engine.options.get("tensor_parallel_size", 1)) if device == "GPU" else 1
    lines = [f"plan of study {found.study}: {cfg.study.scope}", "", "what is played"]
    rows = [
        [name, f"{s.episodes:,}", f"{s.predictions:,}", f"{s.prompt_tokens:,.0f}", f"{s.completion_tokens:,.0f}"]
        for name, s in found.sizes.items()
    ]
    totals = [sum(column) for column in zip(*found.sizes.values(), strict=True)]
    rows.append(["all", *(f"{total:,.0f}" for total in totals)])
    lines += _table(["benchmark", "episodes", "predictions", "prompt tokens", "new tokens"], rows)
    t = found.training
    lines += [
        "",
        "what it takes",
        f"  training     {t.n_runs:,} runs, {t.tokens:,} tokens, {_hours(found.training_hours)} of one worker; "
        f"{_hours(found.training_hours / cfg.training.workers)} with {cfg.training.workers} side by side",
        f"  collecting   {_hours(found.engine_hours * n_gpus)} of one {device}; "
        f"{_hours(found.engine_hours / cfg.engine.processes)} with {cfg.engine.processes} engine(s)",
        f"  cost         {found.money:,.2f} {cfg.plan.currency}" if _priced(cfg)
        else "  cost         no price given: plan.price_per_hour, plan.price_per_million_*_tokens",
        "",
        f"what it can show: {cfg.plan.treatment} minus {cfg.plan.control} at one scale, points; "
        f"{_runs_compared(cfg)} training run(s) per arm, {cfg.study.n_trials} trial(s)",
    ]  # fmt: skip
    rows = []
    for name, one in found.precision.items():
        n = cfg.benchmarks[name].n_tasks if name in cfg.benchmarks else sum(c.n_tasks for c in cfg.benchmarks.values())
        rows.append(
            [name, str(n), *(_points(x) for x in one[:2]), _percent(one[2]), *(_points(x) for x in one[3:5]),
             _percent(one[5])]
        )  # fmt: skip
    rows.append(["all of them", "", "", "", _percent(found.joint_t2), "", "", _percent(found.joint_t3)])
    sesoi = f"power {_points(cfg.plan.sesoi)}"
    lines += _table(["benchmark", "tasks", "T2 half", "T2 MDE", sesoi, "T3 half", "T3 MDE", sesoi], rows)
    s = found.spent
    target = "T3" if cfg.plan.treatment in cfg.arms and cfg.plan.control in cfg.arms else "T2"
    lines += [
        "",
        f"the two arms alone, mean over the benchmarks, {target}: {s.unit} by design (tasks per benchmark, trials, training "
        "runs)",
        f"  as it stands                  {_design(cfg, s.now, s.unit)}",
        f"  best use of {s.budget:,.3g} {s.unit}".ljust(32)
        + (_design(cfg, s.best, s.unit) if s.best else "nothing fits: raise plan.budget"),
        f"  cheapest for MDE {_points(cfg.plan.sesoi)}".ljust(32)
        + (_design(cfg, s.wanted, s.unit) if s.wanted else "none within plan.max_tasks, max_trials and max_runs"),
        f"  prices: a trial of one task of every benchmark {s.costs.episode:.3g}, a task {s.costs.task:.3g}, "
        f"a training run {s.costs.training_run:.3g} {s.unit}, all scales and scaffolds together",
        "",
        "taken as known",
    ]  # fmt: skip
    lines += [f"  {name}{': ' if value else ''}{value}  [{origin}]" for name, value, origin in found.assumptions]
    return "\n".join(lines)


def _design(cfg: settings.Root, design: Design, unit: str) -> str:
    half = "no interval"
    if design.df > 0:
        half = f"half-width {_points(_detectable(cfg, design.se, design.df)[0])}"
    return (
        f"{design.n_tasks} tasks x {design.n_trials} x {design.n_training_runs}: SE {100 * design.se:.2f}, {half}, "
        f"{design.cost:,.3g} {unit}"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    return [
        "  " + "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths)))
        for row in [head, *rows]
    ]


def _points(fraction: float | None) -> str:
    return "none" if fraction is None else f"{100 * fraction:.1f}"


def _percent(fraction: float | None) -> str:
    return "none" if fraction is None else f"{100 * fraction:.0f} %"


def _hours(hours: float) -> str:
    return f"{hours:,.1f} h" if hours >= 1 else f"{60 * hours:,.1f} min"
