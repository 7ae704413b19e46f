"""Rules on scores that a study of our own collected."""

from collections.abc import Mapping

import numpy as np

from replication.analyse.rules.parts import (
    Data,
    Rule,
    RuleResult,
    average_outcome,
    average_reason,
    grouped,
    mean_of,
    named,
    original_of,
    p_below,
    paired,
    published_estimates,
    published_rows,
    scope_of,
    short,
)
from replication.analyse.stats.estimates.differences import FILLED, Unscored, require_training_runs
from replication.analyse.stats.estimates.ratios import log_cost_ratio
from replication.analyse.stats.families.heterogeneity import gail_simon
from replication.analyse.stats.families.multiplicity import holm, intersection_union
from replication.analyse.stats.families.trend import permuted_order, scale_trend
from replication.analyse.stats.two_studies.criteria import panel
from replication.analyse.stats.two_studies.equivalence import tost_p
from replication.analyse.tables.arms import pairs
from replication.analyse.tables.summaries import pooled
from replication.errors import AnalysisError
from replication.records import Claim, Outcome, Target
from replication.text import fixed, p_equation, plain, points, signed, size


def average_effect(claim: Claim, data: Data, target: Target, policy: Unscored) -> RuleResult:
    """Mean difference over benchmarks like these, by random effects (plan: claim A1); T3 with the shared training runs.

    replicated: 1 - alpha interval above 0. not_replicated: 1 - 2 alpha interval inside -+sesoi, or 1 - alpha interval below
    0. Otherwise inconclusive. The mean over exactly these benchmarks is reported beside it, not decided on.
    """
    by_benchmark = paired(claim, data)
    level = 1 - claim.parameters["alpha"]
    groups = {name: [pair] for name, pair in by_benchmark.items()}
    mean = pooled(groups, target=target, level=level, unscored=policy)
    outcome, criteria = average_outcome(claim, mean)
    mean_of_these = mean_of(list(by_benchmark.values()), target, level, policy)
    original = original_of(claim, data)
    if original is not None:
        sesoi = claim.parameters["sesoi"]
        judged = panel(
            original.value, original.se, mean.estimate.value, mean.estimate.se, sesoi=sesoi, level=level,
            alpha=(1 - level) / 2,
        )  # fmt: skip
        criteria["replication_criteria"] = [criterion._asdict() for criterion in judged]
    estimates = [mean_of(pairs_, target, level, policy) for pairs_ in groups.values()]
    return RuleResult(
        outcome=outcome,
        reason=f"{average_reason(mean.estimate, len(groups), criteria)}; over exactly these {points(mean_of_these)}",
        estimate=mean.estimate,
        scope=scope_of(claim, data),
        criteria={
            **criteria, "n_benchmarks": len(groups), "mean_of_these": short(mean_of_these),
            "per_benchmark": named(groups, estimates),
        },
    )  # fmt: skip


def on_all_benchmarks(claim: Claim, data: Data, target: Target, policy: Unscored) -> RuleResult:
    """Every benchmark at once, by intersection-union (plan: claims A2 and B).

    replicated: largest one-sided p <= alpha/2. not_replicated: after Holm some benchmark lies below 0 (one-sided alpha/2)
    or, where `equivalence_refutes`, is equivalent to 0 within -+sesoi (alpha). Otherwise inconclusive. Shown: the weakest.
    """
    alpha = claim.parameters["alpha"]
    by_benchmark = paired(claim, data)
    names = list(by_benchmark)
    estimates = [mean_of([pair], target, 1 - alpha, policy) for pair in by_benchmark.values()]
    p = [e.p_one_sided for e in estimates]
    below = holm([p_below(e) for e in estimates])
    equivalent = holm([tost_p(e.value, e.se, e.df, claim.parameters["sesoi"]) for e in estimates])
    iut = intersection_union(p)
    shown = [name for name, adjusted in zip(names, holm(p), strict=True) if adjusted <= alpha / 2]
    against = [name for name, adjusted in zip(names, below, strict=True) if adjusted <= alpha / 2]
    null = [name for name, adjusted in zip(names, equivalent, strict=True) if adjusted <= alpha]
    if not claim.parameters["equivalence_refutes"]:
        null = []
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
            f"largest {p_equation(iut)}; shown after Holm: {', '.join(shown) or 'none'} ({len(shown)} of {len(names)})"
        )
    weakest = int(np.argmax(p))
    return RuleResult(
        outcome=outcome,
        reason=f"{reason}; weakest: {names[weakest]}",
        estimate=estimates[weakest],
        scope=scope_of(claim, data),
        criteria={
            "test": "intersection-union, one-sided", "alpha_one_sided": alpha / 2, "iut_p": iut, "shown_after_holm": shown,
            "below_zero_after_holm": against, "equivalent_after_holm": null, "weakest": names[weakest],
            "per_benchmark": named(by_benchmark, estimates),
        },
    )  # fmt: skip


def replicates_rows(claim: Claim, data: Data, target: Target, policy: Unscored) -> RuleResult:
    """Each environment against the published row that it stands beside, by the golden sceptical p (plan: claim A3).

    A row whose original is too weak for any success (z <= 1.54) is uninformative and never failed. replicated: every other
    row has p <= alpha/2. not_replicated: some other row is refuted, by small telescopes or as equivalent to 0. Otherwise
    inconclusive. All criteria of each row stand in the record. Shown: the weakest informative row.
    """
    parameters = claim.parameters
    alpha, beside = parameters["alpha"], parameters["beside"]
    by_benchmark = {name: pair for name, pair in paired(claim, data).items() if name in beside}
    rows = published_rows(claim, data)
    settings = data.settings
    published_row = dict(
        zip(rows["benchmark"], published_estimates(claim, data, settings.icc, settings.rho, "T2"), strict=True)
    )
    estimates, panels = {}, {}
    for name, pair in by_benchmark.items():
        original = published_row[beside[name]]
        estimate = mean_of([pair], target, 1 - alpha, policy)
        if not estimate.se:
            raise AnalysisError(f"`{name}` shows no variation at all in these arms, so no criterion is defined.")
        estimates[name] = estimate
        panels[name] = panel(
            original.value, original.se, estimate.value, estimate.se, sesoi=parameters["sesoi"], tau=parameters["tau"],
            level=1 - alpha, alpha=alpha / 2,
        )  # fmt: skip
    if not panels:
        raise AnalysisError(f"no environment stands beside a published row; the claim names {', '.join(beside)}.")
    met = {name: {criterion.name: criterion for criterion in of_row} for name, of_row in panels.items()}
    golden = {name: of_row["sceptical p-value, golden"] for name, of_row in met.items()}
    weak = [name for name, criterion in golden.items() if criterion.met is None]
    replicated = [name for name, criterion in golden.items() if criterion.met]
    refuted = [
        name for name in golden
        if name not in weak
        and (met[name]["small telescopes"].met is False or met[name]["equivalence to no effect"].met)
    ]  # fmt: skip
    informative = [name for name in golden if name not in weak]
    if informative and replicated == informative:
        outcome: Outcome = "replicated"
    else:
        outcome = "not_replicated" if refuted else "inconclusive"
    shown = max(informative or weak, key=lambda name: golden[name].value)
    parts = [
        f"golden sceptical p at most {plain(alpha / 2)} on {len(replicated)} of {len(informative)} informative rows"
    ]
    parts += [f"refuted: {', '.join(refuted)}"] * bool(refuted)
    parts += [f"original uninformative: {', '.join(weak)}"] * bool(weak)
    return RuleResult(
        outcome=outcome,
        reason="; ".join([*parts, f"weakest: {shown}"]),
        estimate=estimates[shown],
        scope=scope_of(claim, data),
        criteria={
            "replicated": replicated, "refuted": refuted, "uninformative": weak, "weakest": shown,
            "per_benchmark": named(estimates, estimates.values()),
            "panels": {name: [criterion._asdict() for criterion in of_row] for name, of_row in panels.items()},
        },
    )  # fmt: skip


def on_all_scaffolds(claim: Claim, data: Data, target: Target, policy: Unscored) -> RuleResult:
    """The same direction under every scaffold (plan: claim C).

    replicated: intersection-union over scaffolds at alpha/2 and prediction interval for a new scaffold above 0.
    not_replicated: two scaffolds on opposite sides of 0 after Holm, or a qualitative interaction by Gail & Simon (which
    takes scaffolds as independent and is conservative where they share tasks). Otherwise inconclusive. Shown: the weakest.
    """
    alpha = claim.parameters["alpha"]
    groups = grouped(claim, data, "scaffold", at_least=2)
    estimates = [mean_of(list(g.values()), target, 1 - alpha, policy) for g in groups.values()]
    p, below = [e.p_one_sided for e in estimates], [p_below(e) for e in estimates]
    by_scaffold = {name: list(group.values()) for name, group in groups.items()}
    fit = pooled(by_scaffold, target=target, level=1 - alpha, unscored=policy).fit
    iut = intersection_union(p)
    opposite = bool((holm(p) <= alpha / 2).any() and (holm(below) <= alpha / 2).any())
    interaction = gail_simon([e.value for e in estimates], [e.se for e in estimates])
    if iut <= alpha / 2 and fit.prediction_low > 0:
        outcome = "replicated"
    else:
        outcome = "not_replicated" if opposite or interaction.p <= alpha else "inconclusive"
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


def on_all_scales(claim: Claim, data: Data, target: Target, policy: Unscored) -> RuleResult:
    """The gain at every scale tried, with simultaneous (Bonferroni) intervals (plan: claim D).

    replicated: lower limit above 0 at every scale. not_replicated: upper limit below sesoi at the largest scale. Otherwise
    inconclusive. Nothing is said beyond the largest scale, which is shown.
    """
    alpha, sesoi = claim.parameters["alpha"], claim.parameters["sesoi"]
    groups = grouped(claim, data, "params_b", at_least=3)
    level = 1 - alpha / len(groups)
    estimates = [mean_of(list(g.values()), target, level, policy) for g in groups.values()]
    largest = estimates[-1]
    if min(e.low for e in estimates) > 0:
        outcome = "replicated"
    else:
        outcome = "not_replicated" if largest.high < sesoi else "inconclusive"
    above = sum(e.low > 0 for e in estimates)
    sizes = np.log10(list(groups))
    gaps = [e.value for e in estimates]
    line = scale_trend(sizes, gaps, [e.se for e in estimates], level=1 - alpha, se_df=min(e.df for e in estimates))
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
                "value": line.slope,
                "low": line.low,
                "high": line.high,
                "p_two_sided": line.p_two_sided,
            },
            "order_p_two_sided": order.p_two_sided if order else None,
        },
    )


def cheaper(claim: Claim, data: Data, target: Target, policy: Unscored) -> RuleResult:
    """Compute per solved task when played, treatment over control (plan: claim E).

    Cost is 2 x parameters x tokens (prompt and completion). replicated: ratio below 1 with 1 - alpha confidence.
    not_replicated: above 1. Otherwise inconclusive. Training compute is reported beside it: over how many uses it should
    be spread is not part of the claim.
    """
    scores = data.scores.assign(
        cost=2e9 * data.scores["params_b"] * (data.scores["n_prompt_tokens"] + data.scores["n_completion_tokens"])
    )
    treatment, control = claim.compare["treatment"], claim.compare["control"]
    solved, cost = pairs(scores, treatment, control), pairs(scores, treatment, control, column="cost")
    if target == "T3":
        require_training_runs(solved.values())
    arms = []
    for arm in (0, 1):
        spent = np.concatenate([np.asarray(pair[arm]) for pair in cost.values()], axis=2)
        score = np.concatenate([np.asarray(pair[arm]) for pair in solved.values()], axis=2)
        arms.append((spent, score))
    complete = ~np.any([np.isnan(score).any(axis=(0, 1)) for _, score in arms], axis=0)
    keep = complete if policy == "exclude" else np.ones_like(complete)
    filled = FILLED.get(policy, (0.0, 0.0))
    prepared = [
        np.nan_to_num(array[:, :, keep], nan=missing)
        for (spent, score), value in zip(arms, filled, strict=True)
        for array, missing in ((spent, 0.0), (score, value))
    ]
    estimate = log_cost_ratio(*prepared, target=target, level=1 - claim.parameters["alpha"])
    outcome = "replicated" if estimate.high < 0 else "not_replicated" if estimate.low > 0 else "inconclusive"
    training = None
    if data.training is not None:
        shared = data.scores.groupby("scale")["arm"].agg(lambda arms: {treatment, control} <= set(arms))
        at_shared = data.training[data.training["scale"].map(shared).fillna(False).astype(bool)]
        flops = at_shared.groupby("arm")["flops"].mean()
        training = float(flops[treatment] / flops[control]) if {treatment, control} <= set(flops.index) else None
    return RuleResult(
        outcome=outcome,
        reason=f"compute per solved task x{fixed(float(np.exp(estimate.value)), 2)} of `{control}`",
        estimate=estimate,
        scope=scope_of(claim, data),
        criteria={"scale": "log ratio", "training_flops_ratio": training},
    )


COLLECTED: Mapping[str, Rule] = {
    "average_effect": average_effect,
    "above_control": average_effect,
    "replicates_rows": replicates_rows,
    "on_all_benchmarks": on_all_benchmarks,
    "on_all_scaffolds": on_all_scaffolds,
    "on_all_scales": on_all_scales,
    "cheaper": cheaper,
}
