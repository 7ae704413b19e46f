"""Numbers of tasks, trials and training runs for a given precision or budget (D-study; Brennan 2001).

SE^2(n, k, m) = omega2/n + s2/(n k) + interaction2/(n m) + 2 tau^2/m for the difference of two arms: n tasks, k trials per
task and arm, m training runs per arm. omega2 : variance over tasks of the difference; s2 : trial variance, summed over
the arms; interaction2 : task x training-run variance, summed over the arms; tau : SD between training runs of an arm.
With `each_run` every training run plays every task k times, so that an arm has k m trials per task.
"""

import math
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from replication.analyse.stats import checks
from replication.errors import AnalysisError

Number = TypeVar("Number", float, NDArray[np.float64])


class Costs(NamedTuple):
    """Unit costs of a design, all in the same unit."""

    episode: float
    task: float = 0.0
    """Cost of preparing one task, once."""
    training_run: float = 0.0
    n_arms: int = 2
    """Arms that are trained and play; two of them are compared."""


class Limits(NamedTuple):
    """Available numbers of tasks, trials and training runs."""

    max_tasks: int
    max_trials: int = 10
    max_runs: int = 10
    min_tasks: int = 2
    min_runs: int = 1
    """2 for an interval for T3: tau cannot be estimated from one training run."""


class Design(NamedTuple):
    """A design with its cost and precision."""

    n_tasks: int
    n_trials: int
    n_training_runs: int
    se: float
    df: float
    cost: float


def standard_error(
    n: ArrayLike,
    k: ArrayLike,
    m: ArrayLike = 1,
    *,
    omega2: float,
    s2: float,
    tau: float = 0.0,
    interaction2: float = 0.0,
    each_run: bool = False,
) -> NDArray[np.float64]:
    """Compute the standard error of the difference of two arms, elementwise over arrays n, k, m; formula above."""
    tasks, runs = _variances(n, k, m, omega2=omega2, s2=s2, tau=tau, interaction2=interaction2, each_run=each_run)
    return np.asarray(np.sqrt(tasks + runs))


def degrees_of_freedom(
    n: ArrayLike,
    k: ArrayLike,
    m: ArrayLike = 1,
    *,
    omega2: float,
    s2: float,
    tau: float = 0.0,
    interaction2: float = 0.0,
    each_run: bool = False,
) -> NDArray[np.float64]:
    """Compute the expected degrees of freedom of the interval of a design, elementwise.

    Satterthwaite (1946) over the tasks' part, n - 1 df, and the training runs' part, 2 (m - 1) df; at least the smaller of
    n - 1 and m - 1, as in `differences.add_run_variance`. tau = 0: n - 1. With tau > 0 and one run: 0, no interval.
    """
    tasks, runs = _variances(n, k, m, omega2=omega2, s2=s2, tau=tau, interaction2=interaction2, each_run=each_run)
    n, m = np.broadcast_arrays(np.asarray(n, float), np.asarray(m, float))
    tasks, runs, n, m = np.broadcast_arrays(tasks, runs, n, m)
    with np.errstate(divide="ignore", invalid="ignore"):
        df = (tasks + runs) ** 2 / (tasks**2 / (n - 1) + runs**2 / (2 * (m - 1)))
        df = np.maximum(df, np.minimum(n, m) - 1)
    return np.where(runs > 0, np.where(m > 1, df, 0.0), n - 1)


def cost(n: Number, k: float, m: float, costs: Costs, *, each_run: bool = False) -> Number:
    """Compute the cost: episode n_arms n k (m with `each_run`) + task n + training_run n_arms m."""
    return costs.episode * costs.n_arms * n * k * (m if each_run else 1) + costs.task * n + _training(m, costs)


def cheapest(
    *,
    costs: Costs,
    limits: Limits,
    omega2: float,
    s2: float,
    tau: float = 0.0,
    interaction2: float = 0.0,
    half_width: float | None = None,
    effect: float | None = None,
    level: float = 0.95,
    power: float = 0.8,
    each_run: bool = False,
    normal: bool = False,
) -> Design | None:
    """Compute the cheapest design that meets a precision target; None if no design within the limits does.

    Targets: the interval at confidence `level` has at most this `half_width`, q_{(1+level)/2} SE; or the two-sided test at
    1 - level detects `effect` with this power, (q_{(1+level)/2} + q_power) SE at most the effect. Quantiles of t with
    `degrees_of_freedom`, which requires two runs where tau > 0, or of the normal distribution. The search covers all trials
    and runs within the limits, each with its smallest sufficient number of tasks; ties go to the smallest SE.
    """
    target, quantiles = _target(half_width, effect, level, power)
    _check(costs, limits)
    se_of = partial(standard_error, omega2=omega2, s2=s2, tau=tau, interaction2=interaction2, each_run=each_run)
    df_of = partial(degrees_of_freedom, omega2=omega2, s2=s2, tau=tau, interaction2=interaction2, each_run=each_run)
    cost_of = partial(cost, costs=costs, each_run=each_run)
    best: Design | None = None
    for m in range(limits.min_runs, limits.max_runs + 1):
        if tau > 0 and m == 1 and not normal:
            continue
        for k in range(1, limits.max_trials + 1):
            n = np.arange(limits.min_tasks, limits.max_tasks + 1, dtype=float)
            if best is not None:  # more tasks than this cost more than the best design so far
                n = n[: int(np.searchsorted(cost_of(n, k, m), best.cost, side="right"))]
            se = se_of(n, k, m)
            # The normal quantiles are the smallest, so t quantiles are needed only where these suffice.
            n, se = (x[sum(map(special.ndtri, quantiles)) * se <= target * (1 + 1e-12)] for x in (n, se))
            df = df_of(n, k, m)
            if not normal:
                good = sum(special.stdtrit(df, q) for q in quantiles) * se <= target * (1 + 1e-12)
                n, se, df = n[good], se[good], df[good]
            if n.size == 0:
                continue
            design = Design(int(n[0]), k, m, float(se[0]), float(df[0]), float(cost_of(float(n[0]), k, m)))
            if best is None or (design.cost, design.se) < (best.cost, best.se):
                best = design
    return best


def allocate(
    budget: float,
    *,
    costs: Costs,
    limits: Limits,
    omega2: float,
    s2: float,
    tau: float = 0.0,
    interaction2: float = 0.0,
    each_run: bool = False,
) -> Design | None:
    """Compute the design with the smallest standard error within a budget; None if no design is affordable.

    budget : in the unit of `costs`. The search covers all trials and runs within the limits, each with as many tasks as the
    rest of the budget pays for; ties go to the smallest cost.
    """
    _check(costs, limits)
    checks.positive(budget=budget)
    se_of = partial(standard_error, omega2=omega2, s2=s2, tau=tau, interaction2=interaction2, each_run=each_run)
    df_of = partial(degrees_of_freedom, omega2=omega2, s2=s2, tau=tau, interaction2=interaction2, each_run=each_run)
    cost_of = partial(cost, costs=costs, each_run=each_run)
    best: Design | None = None
    for m in range(limits.min_runs, limits.max_runs + 1):
        for k in range(1, limits.max_trials + 1):
            rest = budget - _training(m, costs)
            per_task = cost_of(1.0, k, m) - _training(m, costs)
            # The tolerance makes a budget of exactly the price of n tasks buy n in spite of rounding.
            n = limits.max_tasks if per_task == 0 else min(math.floor(rest / per_task + 1e-9), limits.max_tasks)
            if rest < 0 or n < limits.min_tasks:
                continue
            design = Design(n, k, m, float(se_of(n, k, m)), float(df_of(n, k, m)), cost_of(float(n), k, m))
            if best is None or (design.se, design.cost) < (best.se, best.cost):
                best = design
    return best


def _variances(
    n: ArrayLike,
    k: ArrayLike,
    m: ArrayLike,
    *,
    omega2: float,
    s2: float,
    tau: float,
    interaction2: float,
    each_run: bool,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute the contributions to SE^2 of tasks with their trials, and of training runs."""
    checks.not_negative(omega2=omega2, s2=s2, tau=tau, interaction2=interaction2)
    n, k, m = (np.asarray(x, float) for x in (n, k, m))
    for name, x in (("n", n), ("k", k), ("m", m)):
        if not ((x >= 1) & np.isfinite(x)).all():  # empty arrays are allowed
            raise AnalysisError(f"`{name}` must be at least 1 and finite; got {x.tolist()}.")
    trials = k * m if each_run else k
    return omega2 / n + s2 / (n * trials) + interaction2 / (n * m), 2 * tau**2 / m


def _training(m: float, costs: Costs) -> float:
    return costs.training_run * costs.n_arms * m


class _Target(NamedTuple):
    """Precision target of a design."""

    value: float
    """Largest allowed sum of quantiles times SE."""
    quantiles: list[float]
    """Probabilities of those quantiles."""


def _target(half_width: float | None, effect: float | None, level: float, power: float) -> _Target:
    checks.probability(level=level, power=power)
    if (half_width is None) == (effect is None):
        raise AnalysisError(f"give either `half_width` or `effect`; got {half_width}, {effect}.")
    value = half_width if half_width is not None else abs(effect or 0.0)
    if not (math.isfinite(value) and value > 0):
        raise AnalysisError(f"`half_width` must be above 0, or `effect` finite and not 0; got {half_width}, {effect}.")
    upper = (1 + level) / 2
    return _Target(value, [upper] if half_width is not None else [upper, power])


def _check(costs: Costs, limits: Limits) -> None:
    if not all(0 <= x < math.inf for x in costs[:3]) or costs.n_arms < 1:
        raise AnalysisError(f"costs must be finite and at least 0, with at least one arm; got {costs}.")
    if not (1 <= limits.min_tasks <= limits.max_tasks and limits.max_trials >= 1):
        raise AnalysisError(f"limits must allow at least one task and one trial; got {limits}.")
    if not 1 <= limits.min_runs <= limits.max_runs:
        raise AnalysisError(f"limits must allow at least one training run; got {limits}.")
