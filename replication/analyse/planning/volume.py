"""Episodes, tokens, training runs and price of a study."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from replication import settings
from replication.analyse.planning.measurements import Measurements
from replication.text import count, plain


class PlannedRun(NamedTuple):
    """One training run of the study."""

    arm: str
    scale: str
    n_tokens: int
    """Compute budget of all its phases, in tokens."""


class Counts(NamedTuple):
    """The models of a study, counted by the half that trains and serves them."""

    n_checkpoints: int
    training_runs: tuple[PlannedRun, ...]


class Volume(NamedTuple):
    """Everything that is played on one benchmark, over all checkpoints, scaffolds and trials."""

    episodes: int
    predictions: int
    prompt_tokens: float
    completion_tokens: float


class TrainingVolume(NamedTuple):
    """All training runs together."""

    n_runs: int
    tokens: int
    wall_s: float


class Assumption(NamedTuple):
    """A quantity that the plan assumes."""

    name: str
    value: str
    origin: str
    """`measured: ...` or `given: ...`."""


class Rates(NamedTuple):
    """Tokens and seconds per unit of work."""

    tokens_per_episode: Mapping[str, tuple[float, float]]
    tokens_per_s: float
    seconds_per_run: Mapping[tuple[str, str], float]


def rates(cfg: settings.Root, counts: Counts, measured: Measurements, assumptions: list[Assumption]) -> Rates:
    """Return measured rates where there are any, else those of conf/plan; adds their origins to `assumptions`."""
    return Rates(
        _tokens_per_episode(cfg, measured, assumptions),
        _tokens_per_s(cfg, measured, assumptions),
        _seconds_per_run(cfg, counts, measured, assumptions),
    )


def volumes(cfg: settings.Root, counts: Counts, rates: Rates) -> dict[str, Volume]:
    """Return the volume of each benchmark."""
    prediction = (cfg.plan.probe_prompt_tokens, cfg.plan.probe_completion_tokens)
    n_predictions = counts.n_checkpoints * cfg.probe.n_tasks
    by_benchmark = {}
    for name, episode in rates.tokens_per_episode.items():
        n_episodes = counts.n_checkpoints * len(cfg.scaffolds) * cfg.benchmarks[name].n_tasks * cfg.study.n_trials
        prompt, completion = (n_episodes * episode[i] + n_predictions * prediction[i] for i in (0, 1))
        by_benchmark[name] = Volume(n_episodes, n_predictions, prompt, completion)
    return by_benchmark


def training_volume(counts: Counts, rates: Rates) -> TrainingVolume:
    """Return the volume of all training runs, as if each were trained alone: steps that runs share count for each."""
    runs = counts.training_runs
    wall_s = sum(rates.seconds_per_run[run.arm, run.scale] for run in runs)
    return TrainingVolume(len(runs), sum(run.n_tokens for run in runs), wall_s)


def money(cfg: settings.Root, hours: float, prompt_tokens: float, completion_tokens: float) -> float:
    """Return the price of hours and tokens."""
    p = cfg.plan
    tokens = (
        prompt_tokens * p.price_per_million_prompt_tokens + completion_tokens * p.price_per_million_completion_tokens
    )
    return hours * p.price_per_hour + tokens / 1e6


def has_price(cfg: settings.Root) -> bool:
    """Check whether conf/plan states any price."""
    return money(cfg, 1.0, 1.0, 1.0) > 0


def partly(name: str, lacking: Sequence[str], n: int) -> str:
    """Name an assumption, with the cases it applies to unless it applies to all `n`."""
    return name if len(lacking) == n else f"{name} ({', '.join(lacking)})"


def _tokens_per_episode(
    cfg: settings.Root, measured: Measurements, assumptions: list[Assumption]
) -> dict[str, tuple[float, float]]:
    given = (cfg.plan.prompt_tokens, cfg.plan.completion_tokens)
    names = sorted(cfg.benchmarks)
    lacking = [name for name in names if name not in measured.tokens_per_episode]
    if len(lacking) < len(names):
        origin = f"measured: frozen `{measured.study}`"
        assumptions.append(Assumption("tokens per episode", "by benchmark, mean over all arms", origin))
    if lacking:
        origin = "given: plan.prompt_tokens, plan.completion_tokens"
        name = partly("tokens per episode", lacking, len(names))
        assumptions.append(Assumption(name, f"{plain(given[0])} + {plain(given[1])}", origin))
    if cfg.probe.n_tasks:
        value = f"{plain(cfg.plan.probe_prompt_tokens)} + {plain(cfg.plan.probe_completion_tokens)}"
        assumptions.append(Assumption("tokens per prediction", value, "given: plan.probe_*_tokens"))
    return {name: measured.tokens_per_episode.get(name, given) for name in names}


def _tokens_per_s(cfg: settings.Root, measured: Measurements, assumptions: list[Assumption]) -> float:
    rate, origin = cfg.plan.tokens_per_s, "given: plan.tokens_per_s"
    if measured.tokens_per_s is not None:
        rate = measured.tokens_per_s
        origin = f"measured: stored episodes of `{measured.study}`, without starting engines"
    assumptions.append(Assumption("tokens per second and engine", count(rate), origin))
    return rate


def _seconds_per_run(
    cfg: settings.Root, counts: Counts, measured: Measurements, assumptions: list[Assumption]
) -> dict[tuple[str, str], float]:
    budgets = {(run.arm, run.scale): run.n_tokens for run in counts.training_runs}
    lacking = sorted(f"{arm} {scale}" for arm, scale in set(budgets) - set(measured.seconds_per_run))
    if set(budgets) & set(measured.seconds_per_run):
        origin = f"measured: frozen `{measured.study}`"
        assumptions.append(Assumption("seconds per training run", "by arm and scale", origin))
    rate = cfg.plan.training_tokens_per_s
    if lacking:
        name = partly("training tokens per second", lacking, len(budgets))
        assumptions.append(Assumption(name, count(rate), "given: plan.training_tokens_per_s"))
    if budgets:
        origin = "given: conf/arm, in tokens' worth of FLOPs"
        assumptions.append(Assumption("training tokens", "budget of the phases", origin))
    return {key: measured.seconds_per_run.get(key, n_tokens / rate) for key, n_tokens in budgets.items()}
