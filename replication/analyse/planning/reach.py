"""Outcomes that the rules of the claims can reach at a planned size, before anything is run."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from replication import settings
from replication.analyse.planning.precision import Components, is_trained, n_runs_compared
from replication.analyse.rules import power
from replication.analyse.rules.data import StudyData
from replication.analyse.rules.registry import RULES
from replication.analyse.rules.rows import originals_of
from replication.analyse.rules.shared import published_effects, unpublished
from replication.analyse.stats.estimates.intervals import t_estimate
from replication.errors import AnalysisError
from replication.records import Claim, Estimate, Json


class Reach(NamedTuple):
    """Probability that a claim is replicated at the planned size; None with the reason where it cannot be tested."""

    claim_id: str
    published: float | None
    """Were the published effects true."""
    half: float | None
    """Were half of them true."""
    reason: str


LEAST = {"on_all_scaffolds": 2, "on_all_scales": 3}
"""Scaffolds or scales that a rule needs."""

OF_MEANS = ("average_effect", "above_control")


def reaches(cfg: settings.Root, claims: Sequence[Claim], published: StudyData, components: Components) -> list[Reach]:
    """Answer for each claim about this kind of study whose arms it has; precision is that of the plan's comparison."""
    return [
        _reach(cfg, claim, published, components)
        for claim in claims
        if cfg.study.kind in claim.studies and {claim.compare["treatment"], claim.compare["control"]} <= set(cfg.arms)
    ]


def _reach(cfg: settings.Root, claim: Claim, published: StudyData, components: Components) -> Reach:
    least, has = LEAST.get(claim.rule, 0), len(cfg.scales if claim.rule == "on_all_scales" else cfg.scaffolds)
    if has < least:
        kind = "scale" if claim.rule == "on_all_scales" else "scaffold"
        return Reach(claim.id, None, None, f"cannot be tested: {has} {kind}{'s' * (has != 1)}, the claim needs {least}")
    if n_runs_compared(cfg) < 2 or not is_trained(cfg):
        return Reach(claim.id, None, None, "cannot be tested: T3 needs at least 2 training runs per arm")
    power_of = RULES[claim.rule].power
    if missing := power_of if isinstance(power_of, str) else unpublished(claim, published):
        return Reach(claim.id, None, None, f"no power: {missing}")
    if claim.rule == "on_all_scaffolds":
        return Reach(claim.id, None, None, "known after the run: it hangs on how alike the scaffolds' answers are")
    try:
        found = _probabilities(cfg, claim, published, components)
    except AnalysisError as error:
        return Reach(claim.id, None, None, str(error))
    chance, half = (found[name]["replicated"] for name in power.FRACTIONS)
    return Reach(claim.id, chance, half, "out of reach at this size" if chance < power.UNREACHABLE else "")


def _probabilities(cfg: settings.Root, claim: Claim, published: StudyData, components: Components) -> dict[str, Json]:
    alpha, sesoi = claim.parameters["alpha"], claim.parameters["sesoi"]
    names = sorted(components.by_benchmark)
    seed = cfg.analysis.simulation_seed
    if claim.rule in OF_MEANS:
        effect = float(np.mean(published_effects(claim, published, names)))
        return power.probabilities(
            power.mean_decision(alpha, sesoi), [effect], [_mean(cfg, components)], 0.0, seed, planned=True
        )
    if claim.rule == "on_all_scales":  # scales have training runs of their own
        effects = [float(np.mean(published_effects(claim, published, names)))] * len(cfg.scales)
        means = [_mean(cfg, components)] * len(cfg.scales)
        return power.probabilities(power.groups_decision(alpha, sesoi), effects, means, 0.0, seed, planned=True)
    if claim.rule == "replicates_rows":
        names = [name for name in names if name in claim.parameters["beside"]]
        if not names:
            raise AnalysisError("no environment has a published row")
        decision = power.rows_decision(originals_of(claim, published, names), alpha, sesoi)
    else:
        decision = power.all_decision(alpha, sesoi, claim.parameters["equivalence_refutes"])
    estimates = [_single(cfg, components, name) for name in names]
    of_all = [_single(cfg, components, name) for name in sorted(components.by_benchmark)]
    covariance = power.common_variance(of_all, _mean(cfg, components))
    return power.probabilities(
        decision, published_effects(claim, published, names), estimates, covariance, seed, planned=True
    )


def _tasks(cfg: settings.Root, components: Components, name: str) -> float:
    """Variance of the difference on one benchmark from tasks and trials."""
    one, m = components.by_benchmark[name], n_runs_compared(cfg)
    return (one.omega2 + one.interaction2 / m + one.s2 / (cfg.study.n_trials * m)) / cfg.benchmarks[name].n_tasks


def _single(cfg: settings.Root, components: Components, name: str) -> Estimate:
    """Precision of one benchmark, its run variance pooled over all."""
    m, n = n_runs_compared(cfg), cfg.benchmarks[name].n_tasks
    of_all = [one.tau**2 for one in components.by_benchmark.values()]
    shared = min(components.mean_tau**2, float(np.mean(of_all)))
    own = float(np.mean(of_all)) - shared
    runs = [(2 * shared / m, 2 * (m - 1)), (2 * own / m, 2 * (m - 1) * max(len(of_all) - 1, 1))]
    return _planned(cfg, [(_tasks(cfg, components, name), n - 1), *runs])


def _mean(cfg: settings.Root, components: Components) -> Estimate:
    """Precision of the mean over the benchmarks."""
    m, n = n_runs_compared(cfg), len(components.by_benchmark)
    tasks = [
        (_tasks(cfg, components, name) / n**2, cfg.benchmarks[name].n_tasks - 1) for name in components.by_benchmark
    ]
    return _planned(cfg, [*tasks, (2 * components.mean_tau**2 / m, 2 * (m - 1))])


def _planned(cfg: settings.Root, parts: Sequence[tuple[float, int]]) -> Estimate:
    """Estimate of value 0 with the sum of independent variances, Satterthwaite df."""
    total = sum(variance for variance, _ in parts)
    spread = sum(variance**2 / df for variance, df in parts if variance > 0)
    if not total > 0:
        raise AnalysisError("the planned comparison has no variance at all")
    return t_estimate(
        0.0, total**0.5, total**2 / spread, level=cfg.analysis.level, method="planned", target="T3", n_tasks=2, n_trials=1,
        n_training_runs=n_runs_compared(cfg),
    )  # fmt: skip
