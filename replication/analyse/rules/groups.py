"""Rules on groups of a study that collected scores: its scaffolds, and its scales."""

from collections.abc import Hashable, Mapping

import numpy as np

from replication.analyse.rules import power
from replication.analyse.rules.data import RuleResult, StudyData
from replication.analyse.rules.shared import (
    compared,
    grouped,
    mean_of,
    named,
    p_above,
    p_below,
    published_effects,
    scope_of,
    standard_error,
)
from replication.analyse.stats.estimates.differences import Pair, Unscored
from replication.analyse.stats.families.heterogeneity import gail_simon
from replication.analyse.stats.families.multiplicity import holm, intersection_union
from replication.analyse.stats.families.trend import permuted_order, scale_trend
from replication.analyse.tables.summaries import pooled
from replication.records import Claim, Json, Outcome, Target
from replication.text import p_equation, signed, size


def on_all_scaffolds(claim: Claim, data: StudyData, target: Target, policy: Unscored) -> RuleResult:
    """Test for the same direction under every scaffold (plan: claim C).

    replicated: intersection-union over scaffolds at alpha/2 and prediction interval for a new scaffold above 0.
    not_replicated, at alpha in total: two scaffolds on opposite sides of 0 after Holm (each at alpha/2), or a qualitative
    interaction by Gail & Simon at alpha/2 (which takes scaffolds as independent and is conservative where they share
    tasks). Otherwise inconclusive. The estimate is the lowest.
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
    outcome: Outcome = "not_replicated" if opposite or interaction.p <= alpha / 2 else "inconclusive"
    if iut <= alpha / 2 and fit.prediction_low > 0:
        outcome = "replicated"
    weakest = int(np.argmin([estimate.value for estimate in estimates]))
    return RuleResult(
        outcome=outcome,
        reason=f"{len(groups)} scaffolds, largest {p_equation(iut)}, prediction for a new one from "
        f"{signed(fit.prediction_low)}; lowest: {list(groups)[weakest]}",
        estimate=estimates[weakest],
        scope=scope_of(claim, data),
        criteria={
            "alpha_one_sided": alpha / 2, "alpha_refuted": alpha, "iut_p": iut, "opposite_signs": opposite,
            "prediction_interval": [fit.prediction_low, fit.prediction_high],
            "qualitative_interaction_p": interaction.p,
            "per_scaffold": named(groups, estimates),
        },
    )  # fmt: skip


def scaffolds_power(
    claim: Claim, data: StudyData, target: Target, policy: Unscored, result: RuleResult
) -> dict[str, Json]:
    """Probability of each outcome of `on_all_scaffolds`, were the mean of the published effects true under every scaffold.

    Scaffolds share tasks and training runs: their covariance is what their mean implies.
    """
    level = 1 - claim.parameters["alpha"]
    groups = grouped(claim, data, "scaffold", at_least=2)
    estimates = {
        kind: [mean_of(list(g.values()), kind, level, policy) for g in groups.values()] for kind in ("T2", target)
    }
    mean = mean_of(list(compared(claim, data).pairs.values()), target, level, policy)
    effects = [float(np.mean(published_effects(claim, data, g))) for g in groups.values()]
    decision = power.scaffolds_decision(claim.parameters["alpha"], estimates["T2"])
    covariance = power.common_variance(estimates[target], mean)
    return power.probabilities(decision, effects, estimates[target], covariance, data.settings.simulation_seed)


def on_all_scales(claim: Claim, data: StudyData, target: Target, policy: Unscored) -> RuleResult:
    """Test the gain at every scale of the study, by intersection-union (plan: claim D).

    replicated: lower limit above 0 at every scale, each at alpha/2. not_replicated: upper limit below sesoi at the largest
    scale, at alpha/2. Otherwise inconclusive. The estimate is that of the largest scale; nothing is said of larger ones.
    Levels of difficulty are chosen per scale, so a gap that grows or falls with scale may be one of levels.
    """
    alpha, sesoi = claim.parameters["alpha"], claim.parameters["sesoi"]
    groups = grouped(claim, data, "params_b", at_least=3)
    estimates = [mean_of(list(g.values()), target, 1 - alpha, policy) for g in groups.values()]
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
            "alpha_one_sided": alpha / 2, "alpha_refuted": alpha / 2,
            "per_scale": named(map(size, groups), estimates),
            "slope_per_tenfold": {
                "value": line.slope, "low": line.low, "high": line.high, "p_two_sided": line.p_two_sided,
            },
            "order_p_two_sided": order.p_two_sided if order else None,
        },
    )  # fmt: skip


def scales_power(
    claim: Claim, data: StudyData, target: Target, policy: Unscored, result: RuleResult
) -> dict[str, Json]:
    """Probability of each outcome of `on_all_scales`, were the mean of the published effects true at every scale.

    Scales have their own training runs, so their estimates are independent at T3.
    """
    alpha, sesoi = claim.parameters["alpha"], claim.parameters["sesoi"]
    groups: Mapping[Hashable, dict[str, Pair]] = grouped(claim, data, "params_b", at_least=3)
    estimates = [mean_of(list(g.values()), target, 1 - alpha, policy) for g in groups.values()]
    effects = [float(np.mean(published_effects(claim, data, g))) for g in groups.values()]
    decision = power.groups_decision(alpha, sesoi)
    return power.probabilities(decision, effects, estimates, 0.0, data.settings.simulation_seed)
