"""Search the best design for a budget, and the cheapest one for the smallest effect of interest."""

from typing import Any, NamedTuple

from replication import settings
from replication.analyse.planning import memory
from replication.analyse.planning.precision import Components, half_width, is_trained, n_runs_compared, scales_compared
from replication.analyse.planning.volume import Assumption, Rates, has_price, money
from replication.analyse.stats.design import dstudy


class Option(NamedTuple):
    """A design of the comparison, its precision and its cost."""

    n_tasks: int
    n_trials: int
    n_training_runs: int
    se: float
    df: float
    cost: float
    half_width: float | None


class Allocation(NamedTuple):
    """The best use of a budget, and the cheapest design for the smallest effect of interest."""

    target: str
    unit: str
    budget: float
    costs: dstudy.Costs
    current: Option
    best: Option | None
    cheapest: Option | None


def allocation(cfg: settings.Root, components: Components, rates: Rates, assumptions: list[Assumption]) -> Allocation:
    """Search designs for the two arms at the scales that have both; n is the number of tasks per benchmark."""
    p, trained = cfg.plan, is_trained(cfg)
    costs = _costs(cfg, rates)
    by_benchmark = components.by_benchmark.values()
    sums = [sum(one[i] for one in by_benchmark) / len(by_benchmark) ** 2 for i in range(3)]
    parts: dict[str, Any] = {
        "omega2": sums[0], "s2": sums[1], "interaction2": sums[2], "tau": components.mean_tau if trained else 0.0,
        "each_run": True,
    }  # fmt: skip
    limits = dstudy.Limits(p.max_tasks, p.max_trials, p.max_runs if trained else 1, min_runs=2 if trained else 1)
    n = min(choice.n_tasks for choice in cfg.benchmarks.values())
    if n < max(choice.n_tasks for choice in cfg.benchmarks.values()):
        origin = "given: the smallest of the study's"
        assumptions.append(Assumption("tasks per benchmark, in the designs", f"{n} in each", origin))
    design = (n, cfg.study.n_trials, n_runs_compared(cfg))
    se = float(dstudy.standard_error(*design, **parts))
    df = float(dstudy.degrees_of_freedom(*design, **parts))
    current = dstudy.Design(*design, se, df, dstudy.cost(*design, costs, each_run=True))
    budget = p.budget or current.cost
    best = dstudy.allocate(budget, costs=costs, limits=limits, **parts) if budget > 0 else None
    cheapest = dstudy.cheapest(
        costs=costs, limits=limits, **parts, effect=p.sesoi, level=cfg.analysis.level,
        power=cfg.analysis.power,
    )  # fmt: skip
    return Allocation(
        target="T3" if trained else "T2",
        unit=p.currency if has_price(cfg) else "hours",
        budget=budget,
        costs=costs,
        current=_option(cfg, current),
        best=_option(cfg, best) if best else None,
        cheapest=_option(cfg, cheapest) if cheapest else None,
    )


def _option(cfg: settings.Root, design: dstudy.Design) -> Option:
    return Option(*design, half_width(cfg, design.se, design.df) if design.df > 0 else None)


def _costs(cfg: settings.Root, rates: Rates) -> dstudy.Costs:
    """Return the cost of an episode, a task and a training run, over all benchmarks, scaffolds and compared scales."""
    p, scales = cfg.plan, scales_compared(cfg)

    def price(hours: float, prompt: float = 0.0, completion: float = 0.0) -> float:
        return money(cfg, hours, prompt, completion) if has_price(cfg) else hours

    prompt, completion = (sum(one[i] for one in rates.tokens_per_episode.values()) for i in (0, 1))
    hours_per_run = [
        rates.seconds_per_run.get((arm, s), 0.0) / 3600 for arm in (p.treatment, p.control) for s in scales
    ]
    n_items, gpu_hours = _items(cfg, scales, prompt + completion, rates.tokens_per_s)
    return dstudy.Costs(
        episode=len(cfg.scaffolds) * n_items * price(gpu_hours, prompt, completion),
        task=price(p.hours_per_task * len(cfg.benchmarks) * len(scales)),
        training_run=price(sum(hours_per_run) / 2),
    )


class _Items(NamedTuple):
    """Pairs of checkpoints that play a task: one per scale, or one per public checkpoint of the larger arm."""

    n: int
    gpu_hours: float
    """Of one episode of each benchmark, mean over the checkpoints."""


def _items(cfg: settings.Root, scales: list[str], tokens: float, tokens_per_s: float) -> _Items:
    arms = (cfg.plan.treatment, cfg.plan.control)
    models = [model for model in cfg.models.values() if model.role in arms and model.scale in scales]
    if not models:
        return _Items(len(scales), tokens / tokens_per_s / 3600 * memory.gpus_of(cfg, None))
    hours = [memory.seconds(cfg, one, tokens, tokens_per_s) / 3600 * memory.gpus_of(cfg, one) for one in models]
    n = max(sum(model.role == arm for model in models) for arm in arms)
    return _Items(max(n, len(scales)), sum(hours) / len(hours))
