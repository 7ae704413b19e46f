"""Rules on scores that a study of this package collected."""

import dataclasses
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from replication.analyse.rules.data import RuleResult, StudyData
from replication.analyse.rules.shared import (
    audit_of,
    average_outcome,
    average_reason,
    compared_arms,
    each_of,
    equivalence_p,
    grouped,
    mean_of,
    named,
    p_above,
    p_below,
    paired,
    published_mean,
    scope_of,
    standard_error,
    summary,
)
from replication.analyse.stats.estimates.differences import FILLED, Unscored, require_training_runs
from replication.analyse.stats.estimates.ratios import log_cost_ratio
from replication.analyse.stats.families.heterogeneity import gail_simon
from replication.analyse.stats.families.multiplicity import holm, intersection_union
from replication.analyse.stats.families.trend import permuted_order, scale_trend
from replication.analyse.stats.two_studies.criteria import Criterion, panel
from replication.analyse.tables.arms import pairs
from replication.analyse.tables.summaries import pooled
from replication.errors import AnalysisError
from replication.records import Claim, Estimate, Outcome, Target
from replication.text import fixed, p_equation, plain, points, signed, size


def above_control(claim: Claim, data: StudyData, target: Target, policy: Unscored) -> RuleResult:
    """Decide on the mean difference over benchmarks like these, by random effects; T3 with the shared training runs.

    replicated: 1 - alpha interval above 0. not_replicated: 1 - 2 alpha interval inside ±sesoi, or 1 - alpha interval below
    0. Otherwise inconclusive. The mean over exactly these benchmarks is reported too, but nothing is decided on it.
    """
    by_benchmark = paired(claim, data)
    level = 1 - claim.parameters["alpha"]
    groups = {name: [pair] for name, pair in by_benchmark.items()}
    mean = pooled(groups, target=target, level=level, unscored=policy)
    outcome, criteria = average_outcome(claim, mean)
    mean_of_these = mean_of(list(by_benchmark.values()), target, level, policy)
    estimates = list(each_of(by_benchmark, target, level, policy).values())
    return RuleResult(
        outcome=outcome,
        reason=f"{average_reason(mean.estimate, len(groups), criteria)}; over exactly these {points(mean_of_these)}",
        estimate=mean.estimate,
        scope=scope_of(claim, data),
        criteria={
            **criteria, "n_benchmarks": len(groups), "mean_of_these": summary(mean_of_these),
            "per_benchmark": named(groups, estimates),
        },
    )  # fmt: skip


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


def on_all_benchmarks(claim: Claim, data: StudyData, target: Target, policy: Unscored) -> RuleResult:
    """Test every benchmark together, by intersection-union (plan: claims A2 and B).

    replicated: largest one-sided p <= alpha/2. not_replicated: after Holm some benchmark lies below 0 (one-sided alpha/2)
    or, where `equivalence_refutes`, is equivalent to 0 within ±sesoi (alpha). Otherwise inconclusive. The estimate is
    that of the weakest.
    """
    alpha = claim.parameters["alpha"]
    by_benchmark = paired(claim, data)
    names = list(by_benchmark)
    estimates = list(each_of(by_benchmark, target, 1 - alpha, policy).values())
    p = [p_above(e) for e in estimates]
    below = holm([p_below(e) for e in estimates])
    equivalent = holm([equivalence_p(e, claim.parameters["sesoi"]) for e in estimates])
    iut = intersection_union(p)
    significant = [name for name, adjusted in zip(names, holm(p), strict=True) if adjusted <= alpha / 2]
    against = [name for name, adjusted in zip(names, below, strict=True) if adjusted <= alpha / 2]
    null = [name for name, adjusted in zip(names, equivalent, strict=True) if adjusted <= alpha]
    if not claim.parameters["equivalence_refutes"]:
        null = []
    outcome: Outcome
    if iut <= alpha / 2:
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
    weakest = int(np.argmax(p))
    return RuleResult(
        outcome=outcome,
        reason=f"{reason}; weakest: {names[weakest]}",
        estimate=estimates[weakest],
        scope=scope_of(claim, data),
        criteria={
            "test": "intersection-union, one-sided", "alpha_one_sided": alpha / 2, "iut_p": iut,
            "shown_after_holm": significant, "below_zero_after_holm": against,
            "equivalent_after_holm": null, "weakest": names[weakest], "per_benchmark": named(by_benchmark, estimates),
        },
    )  # fmt: skip


class _RowResults(NamedTuple):
    """Each environment with a published row: its estimate, and its criteria by name."""

    estimates: dict[str, Estimate]
    panels: dict[str, dict[str, Criterion]]


def replicates_rows(claim: Claim, data: StudyData, target: Target, policy: Unscored) -> RuleResult:
    """Compare each environment with its published row, by the golden sceptical p (plan: claim A3).

    A row whose original is too weak for any success (z <= 1.54) is uninformative and never failed. replicated: every other
    row has p <= alpha/2. not_replicated: some other row is refuted, by small telescopes or as equivalent to 0. Otherwise
    inconclusive. The record has all criteria of each row. The estimate is that of the weakest informative row.
    """
    alpha = claim.parameters["alpha"]
    estimates, panels = _row_results(claim, data, target, policy)
    golden = {name: of_row["sceptical p-value, golden"] for name, of_row in panels.items()}
    weak = [name for name, criterion in golden.items() if criterion.met is None]
    replicated = [name for name, criterion in golden.items() if criterion.met]
    refuted = [
        name for name, of_row in panels.items()
        if name not in weak
        and (of_row["small telescopes"].met is False or of_row["equivalence to no effect"].met)
    ]  # fmt: skip
    informative = [name for name in golden if name not in weak]
    outcome: Outcome = "not_replicated" if refuted else "inconclusive"
    if informative and replicated == informative:
        outcome = "replicated"
    weakest = max(informative or weak, key=lambda name: _golden_p(golden[name]))
    parts = [
        f"golden sceptical p at most {plain(alpha / 2)} on {len(replicated)} of {len(informative)} informative rows"
    ]
    parts += [f"refuted: {', '.join(refuted)}"] * bool(refuted)
    parts += [f"original uninformative: {', '.join(weak)}"] * bool(weak)
    return RuleResult(
        outcome=outcome,
        reason="; ".join([*parts, f"weakest: {weakest}"]),
        estimate=estimates[weakest],
        scope=scope_of(claim, data),
        criteria={
            "replicated": replicated, "refuted": refuted, "uninformative": weak, "weakest": weakest,
            "per_benchmark": named(estimates, estimates.values()),
            "panels": {name: [criterion._asdict() for criterion in of_row.values()] for name, of_row in panels.items()},
        },
    )  # fmt: skip


def _golden_p(criterion: Criterion) -> float:
    assert criterion.value is not None, "the golden sceptical p-value is always defined"
    return criterion.value


def _row_results(claim: Claim, data: StudyData, target: Target, policy: Unscored) -> _RowResults:
    parameters, audit = claim.parameters, audit_of(claim, data)
    originals = dict(zip(audit.rows["benchmark"], audit.differences("T2"), strict=True))
    row_of = parameters["beside"]
    results = _RowResults({}, {})
    for name, pair in paired(claim, data).items():
        if name not in row_of:
            continue
        original, estimate = originals[row_of[name]], mean_of([pair], target, audit.level, policy)
        if not estimate.se:
            raise AnalysisError(f"`{name}` shows no variation at all in these arms, so no criterion is defined.")
        criteria = panel(
            original.value, standard_error(original), estimate.value, estimate.se, sesoi=parameters["sesoi"],
            tau=parameters["tau"], level=audit.level, alpha=parameters["alpha"] / 2,
        )  # fmt: skip
        results.estimates[name] = estimate
        results.panels[name] = {criterion.name: criterion for criterion in criteria}
    if not results.panels:
        raise AnalysisError(
            f"no environment of this study has a published row to compare with; the claim names {', '.join(row_of)}."
        )
    return results


def on_all_scaffolds(claim: Claim, data: StudyData, target: Target, policy: Unscored) -> RuleResult:
    """Test for the same direction under every scaffold (plan: claim C).

    replicated: intersection-union over scaffolds at alpha/2 and prediction interval for a new scaffold above 0.
    not_replicated: two scaffolds on opposite sides of 0 after Holm, or a qualitative interaction by Gail & Simon (which
    takes scaffolds as independent and is conservative where they share tasks). Otherwise inconclusive. The estimate is
    that of the weakest.
    """
    alpha = claim.parameters["alpha"]
    groups = grouped(claim, data, "scaffold", at_least=2)
    estimates = [mean_of(list(g.values()), target, 1 - alpha, policy) for g in groups.values()]
    p, below = [p_above(e) for e in estimates], [p_below(e) for e in estimates]
    by_scaffold = {name: list(group.values()) for name, group in groups.items()}
    fit = pooled(by_scaffold, target=target, level=1 - alpha, unscored=policy).fit
    iut = intersection_union(p)
    opposite = bool((holm(p) <= alpha / 2).any() and (holm(below) <= alpha / 2).any())
    interaction = gail_simon([e.value for e in estimates], [standard_error(e) for e in estimates])
    outcome: Outcome = "not_replicated" if opposite or interaction.p <= alpha else "inconclusive"
    if iut <= alpha / 2 and fit.prediction_low > 0:
        outcome = "replicated"
    weakest = int(np.argmax(p))
    return RuleResult(
        outcome=outcome,
        reason=f"{len(groups)} scaffolds, largest {p_equation(iut)}, prediction for a new one from "
        f"{signed(fit.prediction_low)}; weakest: {list(groups)[weakest]}",
        estimate=estimates[weakest],
        scope=scope_of(claim, data),
        criteria={
            "iut_p": iut, "prediction_interval": [fit.prediction_low, fit.prediction_high], "opposite_signs": opposite,
            "qualitative_interaction_p": interaction.p,
            "per_scaffold": named(groups, estimates),
        },
    )  # fmt: skip


def on_all_scales(claim: Claim, data: StudyData, target: Target, policy: Unscored) -> RuleResult:
    """Test the gain at every scale of the study, with simultaneous (Bonferroni) intervals (plan: claim D).

    replicated: lower limit above 0 at every scale. not_replicated: upper limit below sesoi at the largest scale. Otherwise
    inconclusive. The estimate is that of the largest scale; there is no extrapolation.
    """
    alpha, sesoi = claim.parameters["alpha"], claim.parameters["sesoi"]
    groups = grouped(claim, data, "params_b", at_least=3)
    level = 1 - alpha / len(groups)
    estimates = [mean_of(list(g.values()), target, level, policy) for g in groups.values()]
    for scale, estimate in zip(groups, estimates, strict=True):
        if not estimate.se:
            raise AnalysisError(
                f"{size(scale)} parameters show no variation at all in these arms, so no interval is defined."
            )
    largest = estimates[-1]
    outcome: Outcome = "not_replicated" if largest.high < sesoi else "inconclusive"
    if min(e.low for e in estimates) > 0:
        outcome = "replicated"
    above = sum(e.low > 0 for e in estimates)
    sizes = np.log10(list(groups))
    gaps = [e.value for e in estimates]
    errors, df = [standard_error(e) for e in estimates], min(e.df for e in estimates if e.df is not None)
    line = scale_trend(sizes, gaps, errors, level=1 - alpha, se_df=df)
    order = permuted_order(sizes, gaps) if len(gaps) <= 8 else None
    return RuleResult(
        outcome=outcome,
        reason=f"lower limit above 0 at {above} of {len(groups)} scales up to {size(list(groups)[-1])} parameters",
        estimate=largest,
        scope=scope_of(claim, data),
        criteria={
            "simultaneous_level": level,
            "per_scale": named(map(size, groups), estimates),
            "slope_per_tenfold": {
                "value": line.slope, "low": line.low, "high": line.high, "p_two_sided": line.p_two_sided,
            },
            "order_p_two_sided": order.p_two_sided if order else None,
        },
    )  # fmt: skip


class _Attempts(NamedTuple):
    """Compute and score of each attempt of one arm, (n_training_runs, n_trials, n_tasks)."""

    cost: NDArray[np.float64]
    score: NDArray[np.float64]


def cheaper(claim: Claim, data: StudyData, target: Target, policy: Unscored) -> RuleResult:
    """Compare compute per solved task when played, treatment over control (plan: claim E).

    Cost is 2 x active parameters x tokens (prompt and completion). replicated: ratio below 1 with 1 - alpha confidence.
    not_replicated: above 1. Otherwise inconclusive. Training compute is reported too: over how many uses it should be
    spread is not part of the claim.
    """
    if target == "T3":
        require_training_runs(paired(claim, data).values())
    treatment, control = (_attempts(claim, data, arm) for arm in (0, 1))
    complete = ~(np.isnan(treatment.score).any(axis=(0, 1)) | np.isnan(control.score).any(axis=(0, 1)))
    kept = complete if policy == "exclude" else np.ones_like(complete)
    filled = FILLED.get(policy, (0.0, 0.0))
    prepared = [
        np.nan_to_num(array[:, :, kept], nan=missing)
        for arm, value in zip((treatment, control), filled, strict=True)
        for array, missing in ((arm.cost, 0.0), (arm.score, value))
    ]
    estimate = log_cost_ratio(*prepared, target=target, level=1 - claim.parameters["alpha"])
    outcome: Outcome = (
        "replicated" if estimate.high < 0 else "not_replicated" if estimate.low > 0 else "inconclusive"
    )  # fmt: skip
    return RuleResult(
        outcome=outcome,
        reason=f"compute per solved task x{fixed(float(np.exp(estimate.value)), 2)} of `{compared_arms(claim, data)[1]}`",
        estimate=estimate,
        scope=scope_of(claim, data),
        criteria={"scale": "log ratio", "training_flops_ratio": _training_ratio(claim, data)},
    )


def _attempts(claim: Claim, data: StudyData, arm: int) -> _Attempts:
    assert data.scores is not None
    scores = data.scores
    active_b = scores["active_b"].fillna(scores["params_b"]) if "active_b" in scores else scores["params_b"]
    cost = 2e9 * active_b * (scores["n_prompt_tokens"] + scores["n_completion_tokens"])
    spent = pairs(scores.assign(cost=cost), *compared_arms(claim, data), column="cost")
    by_column = (spent, paired(claim, data))
    n_trials = sorted({np.asarray(pair[arm]).shape[1] for pair in spent.values()})
    if len(n_trials) > 1:
        raise AnalysisError(
            f"`{compared_arms(claim, data)[arm]}` has {' or '.join(map(str, n_trials))} trials per task, depending on the "
            f"benchmark; compute per solved task needs as many on each."
        )
    return _Attempts(*(np.concatenate([np.asarray(pair[arm]) for pair in of.values()], axis=2) for of in by_column))


def _training_ratio(claim: Claim, data: StudyData) -> float | None:
    """Compute the ratio of training FLOPs, over the scales that both arms have; None where the study has none."""
    treatment, control = compared_arms(claim, data)
    if data.training is None or data.scores is None:
        return None
    shared = data.scores.groupby("scale")["arm"].agg(lambda arms: {treatment, control} <= set(arms))
    at_shared = data.training[data.training["scale"].map(shared).fillna(False).astype(bool)]
    flops = at_shared.groupby("arm")["flops"].mean()
    return float(flops[treatment] / flops[control]) if flops.reindex([treatment, control]).gt(0).all() else None
