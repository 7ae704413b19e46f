"""Compute the precision of a comparison on each benchmark and on their mean.

Precision is that of treatment minus control at one scale, averaged over the scaffolds; claims that average over scales
have more. Not covered: clustered tasks, several comparisons at once.
"""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from replication import settings
from replication.analyse.planning.measurements import Measurements, Variances
from replication.analyse.planning.volume import Assumption, partly
from replication.analyse.stats.design.power import joint_power, minimal_detectable_effect, power_two_sided
from replication.analyse.stats.distributions import t_ppf
from replication.text import percent, plain

MEAN = "mean of these"


class Components(NamedTuple):
    """Variance components of the comparison."""

    by_benchmark: Mapping[str, Variances]
    mean_tau: float
    """SD between training runs of the mean over benchmarks."""


class Precision(NamedTuple):
    """Precision of one benchmark, or of the mean over all; None where the target has no interval."""

    half_width_t2: float | None
    mde_t2: float | None
    power_t2: float | None
    half_width_t3: float | None
    mde_t3: float | None
    power_t3: float | None


def is_trained(cfg: settings.Root) -> bool:
    """Check whether both arms are trained here, so that the comparison has training runs to generalise over."""
    return cfg.plan.treatment in cfg.arms and cfg.plan.control in cfg.arms


def n_runs_compared(cfg: settings.Root) -> int:
    """Return the training runs per arm of the comparison: the smaller number, 1 for public models."""
    n_runs = [
        len(cfg.arms[arm].training_seeds or cfg.study.training_seeds) if arm in cfg.arms else 1
        for arm in (cfg.plan.treatment, cfg.plan.control)
    ]
    return max(min(n_runs), 1)


def scales_compared(cfg: settings.Root) -> list[str]:
    """Return the scales that have both arms."""
    of_arms = []
    for arm in (cfg.plan.treatment, cfg.plan.control):
        scales = {model.scale for model in cfg.models.values() if model.role == arm}
        if arm in cfg.arms:
            scales |= set(cfg.arms[arm].scales or cfg.scales)
        of_arms.append(scales)
    return sorted(of_arms[0] & of_arms[1])


def variances(cfg: settings.Root, measured: Measurements, assumptions: list[Assumption]) -> Components:
    """Return measured components where there are any, else those of conf/plan; adds their origins to `assumptions`."""
    p, estimates = cfg.plan, measured.variances
    origin = f"measured: frozen `{measured.study}`"
    if estimates.by_benchmark:
        name = f"variance parts, {p.treatment} and {p.control}"
        assumptions.append(Assumption(name, "by benchmark, mean over scales and scaffolds", origin))
        assumptions += [Assumption(name, "", "measured: cannot be told apart") for name in estimates.confounded]
        if estimates.negative:
            assumptions.append(Assumption("negative estimates, taken as 0", ", ".join(estimates.negative), origin))
    if estimates.mean_tau is not None:
        value = percent(estimates.mean_tau)
        assumptions.append(Assumption("SD between training runs, of the mean", value, origin))
    names = sorted(cfg.benchmarks)
    lacking = [name for name in names if name not in estimates.by_benchmark]
    for reason, where in estimates.failures.items():
        assumptions.append(Assumption(f"not measured: {', '.join(where)}", reason, "frozen data"))
    if lacking:
        name = partly("pass rate, icc, rho", lacking, len(names))
        assumptions += [
            Assumption(name, f"{plain(p.pass_rate)}, {plain(p.icc)}, {plain(p.rho)}", "given: conf/plan"),
            Assumption("correlation of outcomes, icc x rho", f"{plain(p.icc * p.rho)}", "follows"),
        ]
    if lacking or estimates.mean_tau is None:
        assumptions.append(Assumption("SD between training runs, per arm", percent(p.tau), "given: plan.tau"))
    variance = p.pass_rate * (1 - p.pass_rate)
    given = Variances(2 * p.icc * variance * (1 - p.rho), 2 * (1 - p.icc) * variance, 0.0, p.tau)
    by_benchmark = {name: estimates.by_benchmark.get(name, given) for name in names}
    return Components(by_benchmark, p.tau if estimates.mean_tau is None else estimates.mean_tau)


def precisions(cfg: settings.Root, components: Components, n_runs: int) -> dict[str, Precision]:
    """Return the precision of each benchmark and of the mean over all."""
    shares, by_benchmark = [], {}
    for name, one in components.by_benchmark.items():
        n, k, m = cfg.benchmarks[name].n_tasks, cfg.study.n_trials, n_runs
        variance = (one.omega2 + one.interaction2 / m + one.s2 / (k * m)) / n
        by_benchmark[name] = _precision(cfg, [(variance, n - 1)], one.tau, n_runs)
        shares.append((variance / len(components.by_benchmark) ** 2, n - 1))
    return by_benchmark | {MEAN: _precision(cfg, shares, components.mean_tau, n_runs)}


def _precision(cfg: settings.Root, shares: Sequence[tuple[float, int]], tau: float, n_runs: int) -> Precision:
    """Return half-width, MDE and power for T2 and T3 from independent variances with their df (Satterthwaite)."""
    values: list[float | None] = []
    runs = (2 * tau**2 / n_runs, 2 * (n_runs - 1))
    for parts in (shares, [*shares, runs]):
        total = sum(variance for variance, _ in parts)
        if any(df < 1 for _, df in parts):
            values += [None, None, None]
            continue
        spread = sum(variance**2 / df for variance, df in parts)
        se, df = total**0.5, total**2 / spread if spread > 0 else min(df for _, df in parts)
        alpha = 1 - cfg.analysis.level
        values += [
            half_width(cfg, se, df),
            minimal_detectable_effect(se, df, alpha=alpha, power=cfg.analysis.power),
            power_two_sided(cfg.plan.sesoi, se, df, alpha=alpha),
        ]
    return Precision(*values)


def half_width(cfg: settings.Root, se: float, df: float) -> float:
    """Return the half-width of an interval with this standard error."""
    return float(t_ppf((1 + cfg.analysis.level) / 2, df)) * se


def joint(powers: Sequence[float | None]) -> float | None:
    """Return the power to detect all effects at once, None if one of them has no interval."""
    values = [power for power in powers if power is not None]
    return joint_power(values) if len(values) == len(powers) else None
