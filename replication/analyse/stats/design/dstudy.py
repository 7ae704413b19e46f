"""Choose a design: how many tasks, trials and training runs (the D-study of generalizability theory; Brennan 2001).

SE^2(n, k, m) = omega2/n + s2/(n k) + interaction2/(n m) + 2 tau^2/m for the difference of two arms: n tasks, k trials per
task and arm, m training runs per arm. omega2 : variance over tasks of the difference; s2 : trial variance, summed over
the arms; interaction2 : task x training-run variance, summed over the arms; tau : SD between training runs of an arm.
With `each_run` every training run plays every task k times, so that an arm has k m trials per task.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from replication.errors import AnalysisError


class Costs(NamedTuple):
    """What a design costs, in any one unit."""

    episode: float
    task: float = 0.0
    """Of making one more task, once."""
    training_run: float = 0.0
    n_arms: int = 2
    """Arms that are trained and play; two of them are compared."""


class Limits(NamedTuple):
    """What can be had."""

    max_tasks: int
    max_trials: int = 10
    max_runs: int = 10
    min_tasks: int = 2
    min_runs: int = 1
    """2 where the interval is to hold for T3: one training run says nothing about tau."""


class Design(NamedTuple):
    """A design, what it costs and what it gives."""

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
    return np.sqrt(tasks + runs)


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
    """Compute the degrees of freedom that the interval of a design is expected to have, elementwise.

    Satterthwaite (1946) over the tasks' part, n - 1 df, and the training runs' part, 2 (m - 1) df; never below the smaller
    of n - 1 and m - 1 as in `differences.add_run_variance`. tau = 0: n - 1. With tau > 0 and one run: 0, no interval.
    """
    tasks, runs = _variances(n, k, m, omega2=omega2, s2=s2, tau=tau, interaction2=interaction2, each_run=each_run)
    n, m = np.broadcast_arrays(np.asarray(n, float), np.asarray(m, float))
    tasks, runs, n, m = np.broadcast_arrays(tasks, runs, n, m)
    with np.errstate(divide="ignore", invalid="ignore"):
        df = (tasks + runs) ** 2 / (tasks**2 / (n - 1) + runs**2 / (2 * (m - 1)))
        df = np.maximum(df, np.minimum(n, m) - 1)
    return np.where(runs > 0, np.where(m > 1, df, 0.0), n - 1)


def se_curve(
    n: ArrayLike,
    k: ArrayLike,
    m: ArrayLike,
    *,
    omega2: float,
    s2: float,
    tau: float = 0.0,
    interaction2: float = 0.0,
    each_run: bool = False,
) -> NDArray[np.float64]:
    """Tabulate the standard error over all combinations: (len(n), len(k), len(m)), to see what buys precision."""
    grid = np.meshgrid(*(np.atleast_1d(np.asarray(x, float)) for x in (n, k, m)), indexing="ij")
    return standard_error(*grid, omega2=omega2, s2=s2, tau=tau, interaction2=interaction2, each_run=each_run)


def cost(n: float, k: float, m: float, costs: Costs, *, each_run: bool = False) -> float:
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
    """Find the cheapest design that is good enough; None where none within the limits is.

    Good enough: the interval at `level` has at most this `half_width`, q_{(1+level)/2} SE; or the two-sided test at
    1 - level finds `effect` with this power, (q_{(1+level)/2} + q_power) SE at most the effect. Quantiles of t with
    `degrees_of_freedom`, which asks for two runs where tau > 0, or of the normal. All trials and runs within the limits are
    tried, each with its smallest sufficient number of tasks; of equal costs the smallest SE.
    """
    wanted, quantiles = _wanted(half_width, effect, level, power)
    _check(costs, limits)
    parts = {"omega2": omega2, "s2": s2, "tau": tau, "interaction2": interaction2, "each_run": each_run}
    best: Design | None = None
    for m in range(limits.min_runs, limits.max_runs + 1):
        if tau > 0 and m == 1 and not normal:
            continue
        for k in range(1, limits.max_trials + 1):
            n = np.arange(limits.min_tasks, limits.max_tasks + 1)
            if best is not None:  # more tasks than this cost more than what is known already
                n = n[: int(np.searchsorted(cost(n, k, m, costs, each_run=each_run), best.cost, side="right"))]
            se = standard_error(n, k, m, **parts)
            # The normal quantiles are the smallest: where they do not suffice, t is not worth computing.
            n, se = (x[sum(map(special.ndtri, quantiles)) * se <= wanted * (1 + 1e-12)] for x in (n, se))
            df = degrees_of_freedom(n, k, m, **parts)
            if not normal:
                good = sum(special.stdtrit(df, q) for q in quantiles) * se <= wanted * (1 + 1e-12)
                n, se, df = n[good], se[good], df[good]
            if n.size == 0:
                continue
            found = Design(
                int(n[0]), k, m, float(se[0]), float(df[0]), float(cost(int(n[0]), k, m, costs, each_run=each_run))
            )
            if best is None or (found.cost, found.se) < (best.cost, best.se):
                best = found
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
    """Spend a budget, in the unit of `costs`, on the design with the smallest standard error; None: nothing fits.

    All trials and runs within the limits are tried, each with as many tasks as the rest pays for; of equal SE the cheapest.
    """
    _check(costs, limits)
    if not (math.isfinite(budget) and budget > 0):
        raise AnalysisError(f"`budget` must be finite and above 0; got {budget}.")
    parts = {"omega2": omega2, "s2": s2, "tau": tau, "interaction2": interaction2, "each_run": each_run}
    best: Design | None = None
    for m in range(limits.min_runs, limits.max_runs + 1):
        for k in range(1, limits.max_trials + 1):
            rest = budget - _training(m, costs)
            per_task = cost(1, k, m, costs, each_run=each_run) - _training(m, costs)
            # A budget that is exactly the price of n tasks buys n, whatever rounding says.
            n = limits.max_tasks if per_task == 0 else min(math.floor(rest / per_task + 1e-9), limits.max_tasks)
            if rest < 0 or n < limits.min_tasks:
                continue
            se = float(standard_error(n, k, m, **parts))
            df = float(degrees_of_freedom(n, k, m, **parts))
            found = Design(n, k, m, se, df, cost(n, k, m, costs, each_run=each_run))
            if best is None or (found.se, found.cost) < (best.se, best.cost):
                best = found
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
    """What tasks with their trials add to SE^2, and what training runs add."""
    for name, value in (("omega2", omega2), ("s2", s2), ("tau", tau), ("interaction2", interaction2)):
        if not 0 <= value < math.inf:
            raise AnalysisError(f"`{name}` must be finite and at least 0; got {value}.")
    n, k, m = (np.asarray(x, float) for x in (n, k, m))
    for name, x in (("n", n), ("k", k), ("m", m)):
        if not ((x >= 1) & np.isfinite(x)).all():
            raise AnalysisError(f"`{name}` must be at least 1; got {x.tolist()}.")
    trials = k * m if each_run else k
    return omega2 / n + s2 / (n * trials) + interaction2 / (n * m), 2 * tau**2 / m


def _training(m: float, costs: Costs) -> float:
    return costs.training_run * costs.n_arms * m


def _wanted(half_width: float | None, effect: float | None, level: float, power: float) -> tuple[float, list[float]]:
    """The largest allowed sum of quantiles times SE, and the probabilities of those quantiles."""
    if not (0 < level < 1 and 0 < power < 1):
        raise AnalysisError(f"`level` and `power` must lie between 0 and 1; got {level}, {power}.")
    if (half_width is None) == (effect is None):
        raise AnalysisError(f"give either `half_width` or `effect`; got {half_width}, {effect}.")
    wanted = half_width if half_width is not None else abs(effect or 0.0)
    if not (math.isfinite(wanted) and wanted > 0):
        raise AnalysisError(f"the wanted half-width or effect must be finite and not 0; got {half_width}, {effect}.")
    ends = [(1 + level) / 2]
    return wanted, ends if half_width is not None else [*ends, power]


def _check(costs: Costs, limits: Limits) -> None:
    if not all(0 <= x < math.inf for x in costs[:3]) or costs.n_arms < 1:
        raise AnalysisError(f"costs must be finite and at least 0, for at least one arm; got {costs}.")
    if not (1 <= limits.min_tasks <= limits.max_tasks and limits.max_trials >= 1):
        raise AnalysisError(f"limits must allow at least one task and one trial; got {limits}.")
    if not 1 <= limits.min_runs <= limits.max_runs:
        raise AnalysisError(f"limits must allow at least one training run; got {limits}.")
