"""Rules on published numbers: the printed table, and pairs of models that others measured."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from replication.analyse.rules.parts import (
    Data,
    Rule,
    RuleResult,
    average_outcome,
    average_reason,
    most_common,
    named,
    published_estimates,
    published_names,
    published_rows,
    scope_of,
)
from replication.analyse.stats.estimates.differences import Unscored
from replication.analyse.stats.families.multiplicity import holm
from replication.analyse.stats.printed import audit, matched
from replication.analyse.tables import summaries
from replication.analyse.tables.summaries import pooled_pairs, pooled_published
from replication.errors import AnalysisError
from replication.records import Claim, Estimate, Outcome, Target
from replication.text import fixed, p_range, signed, size


def published_on_all(claim: Claim, data: Data, target: Target, policy: Unscored) -> RuleResult:
    """All rows of the published table at once, by intersection-union (plan: claim P).

    replicated: p <= alpha/2 in every cell of the (icc, rho) grid. not_replicated: p > alpha/2 in every cell, that is, the
    table does not establish it. Otherwise inconclusive. rho does not enter T1.
    """
    alpha, iccs, rhos = (claim.parameters[key] for key in ("alpha", "icc", "rho"))
    rows = published_rows(claim, data)
    grid = summaries.published_family(rows, iccs, rhos, alpha).query("target == @target")
    passed = grid["iut_p"] <= alpha / 2
    outcome = "replicated" if passed.all() else "not_replicated" if not passed.any() else "inconclusive"
    settings = data.settings
    shown = audit.family(rows, icc=settings.icc, rho=settings.rho, target=target, alpha=alpha)
    weakest = int(np.argmax(audit.p_values(rows, icc=settings.icc, rho=settings.rho, target=target)))
    turning = {str(icc): audit.turning_point(rows, icc=icc, target=target, alpha=alpha) for icc in iccs}
    known = [value for value in turning.values() if value is not None]
    reason = (
        f"all-{len(rows)} test: {p_range(grid['iut_p'].min(), grid['iut_p'].max())} over the grid, "
        f"{shown['n_holm']} of {len(rows)} rows after Holm; "
        f"weakest: {rows['name'][weakest]}"
    )
    if target == "T2" and outcome != "replicated" and known:
        reason += f"; would need task correlation {fixed(min(known), 2)}"
    level = 1 - alpha
    return RuleResult(
        outcome=outcome,
        reason=reason,
        estimate=published_estimates(claim, data, settings.icc, settings.rho, target)[weakest],
        scope=scope_of(claim, data),
        criteria={
            "test": "intersection-union, one-sided", "alpha_one_sided": alpha / 2, "level": level,
            "shown_at": {"icc": settings.icc, "rho": settings.rho}, "shown": shown, "weakest": rows["name"][weakest],
            "grid": grid.drop(columns="target").to_dict("records"), "turning_rho": turning if target == "T2" else None,
        },
    )  # fmt: skip


def published_average(claim: Claim, data: Data, target: Target, policy: Unscored) -> RuleResult:
    """Random-effects mean over the published rows, decided as `average_effect` in every cell of the (icc, rho) grid."""
    rows = published_rows(claim, data)
    if target == "T3":
        raise AnalysisError(
            "one checkpoint per arm was scored and neither is public, so the spread between training runs is unknown."
        )
    settings = data.settings
    cells = {(icc, rho) for icc in claim.parameters["icc"] for rho in claim.parameters["rho"]}
    level = 1 - claim.parameters["alpha"]
    means = {
        cell: pooled_published(published_estimates(claim, data, *cell, target), level=level)
        for cell in (*sorted(cells), (settings.icc, settings.rho))
    }
    outcomes = {cell: average_outcome(claim, means[cell])[0] for cell in sorted(cells)}
    estimate = means[settings.icc, settings.rho].estimate
    _, criteria = average_outcome(claim, means[settings.icc, settings.rho])
    agreed = set(outcomes.values())
    return RuleResult(
        outcome=agreed.pop() if len(agreed) == 1 else "inconclusive",
        reason=f"{average_reason(estimate, len(rows), criteria)}; "
        f"same in {most_common(outcomes)} cells of the icc, rho grid",
        estimate=estimate,
        scope=scope_of(claim, data),
        criteria={
            **criteria,
            "n_benchmarks": len(rows),
            "shown_at": {"icc": settings.icc, "rho": settings.rho},
            "grid": [{"icc": icc, "rho": rho, "outcome": o} for (icc, rho), o in outcomes.items()],
            "n_rows_positive": int((rows["p_b"] > rows["p_a"]).sum()),
        },
    )


def published_pairs_on_all(claim: Claim, data: Data, target: Target, policy: Unscored) -> RuleResult:
    """General against agent-tuned models of the same base, pairs taken as a sample of pairs (plan: claim B).

    not_replicated: after Holm the random-effects mean of general minus agent lies below 0 on some leaderboard (one-sided
    alpha/2), which is enough against a claim about all benchmarks. Otherwise inconclusive: one benchmark cannot show seven.
    """
    alpha, names = claim.parameters["alpha"], claim.compare["published_pairs"].split()
    tables = {name: _gaps(claim, data, name) for name in names}
    estimates = {name: _pair_mean(table, 1 - alpha) for name, table in tables.items()}
    p_below = holm([1 - estimate.p_one_sided for estimate in estimates.values()])
    against = [name for name, p in zip(names, p_below, strict=True) if p <= alpha / 2]
    above = {name: int((table["value"] > 0).sum()) for name, table in tables.items()}
    shown = min(names, key=lambda name: estimates[name].p_one_sided)
    counted = ", ".join(f"{above[name]} of {len(table)} pairs on {name}" for name, table in tables.items())
    return RuleResult(
        outcome="not_replicated" if against else "inconclusive",
        reason=f"the agent-tuned model is above its general partner in {counted}"
        + (f"; mean below 0: {', '.join(against)}" if against else "; one benchmark cannot show seven"),
        estimate=estimates[shown],
        scope=_pairs_scope(tables),
        criteria={
            "test": "random effects over pairs, general minus agent, Holm over leaderboards", "alpha_one_sided": alpha / 2,
            "per_leaderboard": named(names, estimates.values()), "below_zero_after_holm": against, "agent_above": above,
        },
    )  # fmt: skip


def published_pairs_over_scales(claim: Claim, data: Data, target: Target, policy: Unscored) -> RuleResult:
    """The gap of published pairs over their sizes, with a simultaneous band (plan: claim D).

    replicated: the band of general minus agent lies above 0 at every size. not_replicated: below sesoi at the largest.
    Otherwise inconclusive. Shown is the largest size; nothing is said beyond it.
    """
    alpha, name = claim.parameters["alpha"], claim.compare["published_pairs"]
    table = _gaps(claim, data, name)
    line = matched.size_trend(table.assign(value=-table["value"]), level=1 - alpha)
    band = matched.size_band(line, sorted(table["params_b"].unique()))
    largest = band.iloc[-1]
    if (band["low_all"] > 0).all():
        outcome: Outcome = "replicated"
    else:
        outcome = "not_replicated" if largest["high_all"] < claim.parameters["sesoi"] else "inconclusive"
    return RuleResult(
        outcome=outcome,
        reason=f"at {size(largest['params_b'])} the agent-tuned model is expected {signed(-largest['value'])} points above; "
        f"slope {signed(line.slope)} per tenfold size [{signed(line.low)}, {signed(line.high)}]",
        estimate=Estimate(
            value=float(largest["value"]), low=float(largest["low_all"]), high=float(largest["high_all"]), level=1 - alpha,
            method=f"line over log size at {size(largest['params_b'])}, simultaneous band", target=target,
            n_tasks=int(table["n"].max()), n_trials=int(table["k"].min()), n_training_runs=len(table),
        ),
        scope=_pairs_scope({name: table}),
        criteria={"slope": {"value": line.slope, "low": line.low, "high": line.high, "p_two_sided": line.p_two_sided},
            "band": band.to_dict("records")},
    )  # fmt: skip


def _gaps(claim: Claim, data: Data, benchmark: str) -> pd.DataFrame:
    if data.model_pairs is None:
        raise AnalysisError("no table of published pairs of models was given.")
    settings = data.settings
    return matched.gaps(
        data.model_pairs, benchmark, "overall", icc=settings.icc, rho=settings.rho,
        unstated_runs=settings.unstated_runs, level=1 - claim.parameters["alpha"],
    )  # fmt: skip


def _pair_mean(table: pd.DataFrame, level: float) -> Estimate:
    """Average general minus agent over pairs like these."""
    return pooled_pairs(-table["value"], table["se"], table["n"], table["k"], level=level)


def _pairs_scope(tables: Mapping[str, pd.DataFrame]) -> str:
    sizes = pd.concat([table["params_b"] for table in tables.values()])
    return (
        f"published pairs of an agent-tuned and a general model on {', '.join(tables)} (overall), "
        f"{size(sizes.min())} to {size(sizes.max())}"
    )


def on_pairs(with_pairs: "Rule", without: "Rule") -> "Rule":
    """Make a rule that reads published pairs of models where the claim names some."""

    def rule(claim: Claim, data: Data, target: Target, policy: Unscored) -> RuleResult:
        return (with_pairs if "published_pairs" in claim.compare else without)(claim, data, target, policy)

    return rule


def published_lacks(requirement: Callable[[Claim, Data], str]) -> Callable[..., RuleResult]:
    """Make a rule that a table of printed scores cannot answer; `requirement` reads in the table what is missing."""

    def rule(claim: Claim, data: Data, target: Target, policy: Unscored) -> RuleResult:
        raise AnalysisError(requirement(claim, data))

    return rule


def _needs_control(claim: Claim, data: Data) -> str:
    arms = ", ".join(f"`{arm}`" for arm in sorted(set(data.published["arm"])))
    return (
        f"the published table has the arms {arms}; a control with as much training on observations is not among them."
    )


def _needs_scaffolds(claim: Claim, data: Data) -> str:
    arms = data.published[data.published["arm"].isin(published_names(claim))]
    per_cell = int(arms.groupby(["arm", "benchmark", "metric"]).size().max())
    return f"each arm has {per_cell} score per benchmark and metric, so no second protocol to compare."


def _needs_scales(claim: Claim, data: Data) -> str:
    arms = data.published[data.published["arm"].isin(published_names(claim))]
    scales = sorted(arms["params_b"].dropna().unique())
    return f"{len(scales)} scale ({', '.join(map(size, scales))}) was published; a trend needs 3."


def _needs_costs(claim: Claim, data: Data) -> str:
    costs = [column for column in data.published if "token" in column or "cost" in column]
    return (
        f"the published table prints scores and {len(costs)} columns of tokens, prices or training compute; its checkpoints "
        "are not public, so none can be measured."
    )


def _needs_tasks(claim: Claim, data: Data) -> str:
    return "the published table has no scores per task or training run."


PUBLISHED: Mapping[str, Rule] = {
    "published_on_all": published_on_all,
    "average_effect": published_average,
    "above_control": published_lacks(_needs_control),
    "replicates_rows": published_lacks(_needs_tasks),
    "on_all_benchmarks": on_pairs(published_pairs_on_all, published_lacks(_needs_tasks)),
    "on_all_scaffolds": published_lacks(_needs_scaffolds),
    "on_all_scales": on_pairs(published_pairs_over_scales, published_lacks(_needs_scales)),
    "cheaper": published_lacks(_needs_costs),
}
