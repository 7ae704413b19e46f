"""Rules on the benchmarks of a study that collected scores: their mean, and every one of them."""

import dataclasses
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from replication.analyse.rules import power
from replication.analyse.rules.data import RuleResult, StudyData
from replication.analyse.rules.shared import (
    LIKE_THESE,
    average_outcome,
    average_reason,
    compared,
    each_of,
    equivalence_p,
    mean_of,
    named,
    p_above,
    p_below,
    published_effects,
    published_mean,
    scope_of,
    standard_error,
    summary,
)
from replication.analyse.stats.estimates.differences import Pair, Unscored
from replication.analyse.stats.families.multiplicity import holm, intersection_union
from replication.analyse.stats.two_studies.criteria import panel
from replication.analyse.tables.summaries import pooled
from replication.errors import AnalysisError
from replication.records import Claim, Estimate, Json, Outcome, Target
from replication.text import p_equation, points


def above_control(claim: Claim, data: StudyData, target: Target, policy: Unscored) -> RuleResult:
    """Decide on a mean difference: over exactly these benchmarks, or over benchmarks like these, as the claim says.

    replicated: 1 - alpha interval above 0. not_replicated: 1 - 2 alpha interval inside ±sesoi, or 1 - alpha interval below
    0. Otherwise inconclusive. Nothing is decided on the other mean, which is reported too.
    """
    by_benchmark = compared(claim, data).pairs
    level = 1 - claim.parameters["alpha"]
    these = mean_of(list(by_benchmark.values()), target, level, policy)
    like_these, fit = _like_these(by_benchmark, target, level, policy)
    decisive = these
    if claim.parameters["mean"]["over"] == LIKE_THESE:
        if like_these is None:
            raise AnalysisError(
                f"a mean over benchmarks like these needs at least 2 of them; got {', '.join(by_benchmark)} only."
            )
        decisive = like_these
    outcome, criteria = average_outcome(claim, decisive)
    other = these if decisive is like_these else like_these
    reason = average_reason(claim, decisive, len(by_benchmark), criteria)
    if other is not None:
        reason += f"; over {'exactly these' if other is these else 'benchmarks like these'} {points(other)}"
    return RuleResult(
        outcome=outcome,
        reason=reason,
        estimate=decisive,
        scope=scope_of(claim, data),
        criteria={
            **criteria, **fit, "n_benchmarks": len(by_benchmark), "decided_on": claim.parameters["mean"],
            "mean_of_these": summary(these), "mean_like_these": None if like_these is None else summary(like_these),
            "per_benchmark": named(by_benchmark, each_of(by_benchmark, target, level, policy).values()),
        },
    )  # fmt: skip


class _LikeThese(NamedTuple):
    """The mean over benchmarks like these with the spread between them; None and nothing for one benchmark."""

    estimate: Estimate | None
    criteria: dict[str, Json]


def _like_these(by_benchmark: Mapping[str, Pair], target: Target, level: float, policy: Unscored) -> _LikeThese:
    """Average over benchmarks like these, by random effects."""
    if len(by_benchmark) < 2:
        return _LikeThese(None, {})
    mean = pooled({name: [pair] for name, pair in by_benchmark.items()}, target=target, level=level, unscored=policy)
    fit = mean.fit
    interval = [fit.prediction_low, fit.prediction_high]
    return _LikeThese(mean.estimate, {"tau": fit.tau, "prediction_interval": interval, "q": fit.q, "q_p": fit.q_p})


def average_effect(claim: Claim, data: StudyData, target: Target, policy: Unscored) -> RuleResult:
    """Decide as `above_control`, and judge the mean against the published one by every criterion (plan: claim A1)."""
    result, original = above_control(claim, data, target, policy), published_mean(claim, data)
    level = 1 - claim.parameters["alpha"]
    assert result.estimate is not None
    judged = panel(
        original.value, standard_error(original), result.estimate.value, standard_error(result.estimate),
        sesoi=claim.parameters["sesoi"], level=level, alpha=(1 - level) / 2,
    )  # fmt: skip
    criteria = {**result.criteria, "replication_criteria": [criterion._asdict() for criterion in judged]}
    return dataclasses.replace(result, criteria=criteria)


def mean_power(claim: Claim, data: StudyData, target: Target, policy: Unscored, result: RuleResult) -> dict[str, Json]:
    """Probability of each outcome of `above_control`, were the mean of the published effects true."""
    alpha, sesoi = claim.parameters["alpha"], claim.parameters["sesoi"]
    effects = published_effects(claim, data, compared(claim, data).pairs)
    assert result.estimate is not None
    return power.probabilities(
        power.mean_decision(alpha, sesoi),
        [float(np.mean(effects))],
        [result.estimate],
        0.0,
        data.settings.simulation_seed,
    )


def on_all_benchmarks(claim: Claim, data: StudyData, target: Target, policy: Unscored) -> RuleResult:
    """Test every benchmark together, by intersection-union (plan: claims A2 and B).

    replicated: largest one-sided p <= alpha/2, and no benchmark left out. not_replicated, at alpha in total: after Holm some
    benchmark lies below 0 (one-sided alpha/2) or, where `equivalence_refutes`, is equivalent to 0 within ±sesoi (alpha/2).
    Otherwise inconclusive. The estimate is the lowest.
    """
    alpha = claim.parameters["alpha"]
    by_benchmark, left_out = compared(claim, data)
    names = list(by_benchmark)
    estimates = list(each_of(by_benchmark, target, 1 - alpha, policy).values())
    p = [p_above(e) for e in estimates]
    below = holm([p_below(e) for e in estimates])
    equivalent = holm([equivalence_p(e, claim.parameters["sesoi"]) for e in estimates])
    iut = intersection_union(p)
    significant = [name for name, adjusted in zip(names, holm(p), strict=True) if adjusted <= alpha / 2]
    against = [name for name, adjusted in zip(names, below, strict=True) if adjusted <= alpha / 2]
    null = [name for name, adjusted in zip(names, equivalent, strict=True) if adjusted <= alpha / 2]
    if not claim.parameters["equivalence_refutes"]:
        null = []
    outcome: Outcome
    if iut <= alpha / 2 and not left_out:
        outcome, reason = "replicated", f"all {len(names)} benchmarks above 0, largest {p_equation(iut)}"
    elif against or null:
        outcome = "not_replicated"
        reason = "; ".join(
            [f"below 0: {', '.join(against)}"] * bool(against) + [f"equivalent to 0: {', '.join(null)}"] * bool(null)
        )
    else:
        outcome = "inconclusive"
        reason = (
            f"largest {p_equation(iut)}; shown after Holm: {', '.join(significant) or 'none'} "
            f"({len(significant)} of {len(names)})"
        )
    weakest = int(np.argmin([estimate.value for estimate in estimates]))
    return RuleResult(
        outcome=outcome,
        reason=f"{reason}; lowest: {names[weakest]}",
        estimate=estimates[weakest],
        scope=scope_of(claim, data),
        criteria={
            "test": "intersection-union, one-sided", "alpha_one_sided": alpha / 2,
            "alpha_refuted": alpha if claim.parameters["equivalence_refutes"] else alpha / 2, "iut_p": iut,
            "shown_after_holm": significant, "below_zero_after_holm": against,
            "equivalent_after_holm": null, "weakest": names[weakest], "per_benchmark": named(by_benchmark, estimates),
        },
    )  # fmt: skip


def all_power(claim: Claim, data: StudyData, target: Target, policy: Unscored, result: RuleResult) -> dict[str, Json]:
    """Probability of each outcome of `on_all_benchmarks`, were the published effects true."""
    alpha, (by_benchmark, left_out) = claim.parameters["alpha"], compared(claim, data)
    estimates = list(each_of(by_benchmark, target, 1 - alpha, policy).values())
    mean = mean_of(list(by_benchmark.values()), target, 1 - alpha, policy)
    decision = power.all_decision(
        alpha, claim.parameters["sesoi"], claim.parameters["equivalence_refutes"], complete=not left_out
    )
    covariance = power.common_variance(estimates, mean) if target == "T3" else 0.0
    effects = published_effects(claim, data, by_benchmark)
    return power.probabilities(decision, effects, estimates, covariance, data.settings.simulation_seed)
