"""Rules on published numbers: the printed table, and pairs of models that others measured."""

from collections.abc import Callable, Mapping

import numpy as np
import pandas as pd

from replication.analyse.rules.assumptions import NOTHING, family_note, mean_note
from replication.analyse.rules.data import Rule, RuleResult, StudyData
from replication.analyse.rules.shared import (
    audit_of,
    average_outcome,
    average_reason,
    named,
    p_above,
    published_arms,
    published_mean,
    scope_of,
    summary,
)
from replication.analyse.stats.estimates.differences import Unscored
from replication.analyse.stats.families.multiplicity import holm
from replication.analyse.stats.printed import matched
from replication.analyse.tables.summaries import pooled_pairs, pooled_published
from replication.errors import AnalysisError
from replication.records import Claim, Estimate, Outcome, Target
from replication.text import fixed, p_range, plain, points, signed, size

OTHER_MODELS = "evidence of other models and one family of leaderboards"
"""What published pairs show about a claim that names no models."""


def published_on_all(claim: Claim, data: StudyData, target: Target, policy: Unscored) -> RuleResult:
    """Test all rows of the published table together, by intersection-union (plan: claim P).

    established: p <= alpha/2 in every cell of the (icc, rho) grid. not_established: in some cell not, so that it depends on
    what the table does not print. rho does not enter T1. Nothing new was measured, so nothing is replicated.
    """
    audit, settings = audit_of(claim, data), data.settings
    alpha, level = audit.grid.alpha, audit.level
    grid = audit.claimed_family().query("target == @target").drop_duplicates()
    passed = grid["iut_p"] <= alpha / 2
    outcome: Outcome = "established" if passed.all() else "not_established"
    estimates = audit.differences(target)
    point = {"icc": settings.icc, "rho": settings.rho}
    together = audit.together(target)
    at_settings = point | {"n_raw": together.n_raw, "n_holm": together.n_holm, "iut_p": together.iut_p}
    weakest = int(np.argmax([p_above(estimate) for estimate in estimates]))
    names = audit.rows["name"]
    reached = [rho for rho in audit.turning_all.values() if rho is not None]
    reason = (
        f"all-{len(names)} test: {p_range(grid['iut_p'].min(), grid['iut_p'].max())} over the grid, "
        f"at most {plain(alpha / 2)} in {int(passed.sum())} of {len(passed)} cells; "
        f"{together.n_holm} of {len(names)} rows after Holm; "
        f"weakest: {names[weakest]}"
    )
    if target == "T2" and outcome != "established" and reached:
        reason += f"; would need task correlation {fixed(min(reached), 2)}"
    turning = {str(icc): rho for icc, rho in audit.turning_all.items()}
    found = family_note(audit, data) if target == "T2" else NOTHING
    return RuleResult(
        outcome=outcome,
        reason=reason + found.text,
        estimate=estimates[weakest],
        scope=scope_of(claim, data),
        criteria={
            "test": "intersection-union, one-sided", "alpha_one_sided": alpha / 2, "level": level, "shown_at": point,
            "shown": at_settings, "weakest": names[weakest], "grid": grid.drop(columns="target").to_dict("records"),
            "turning_rho": turning if target == "T2" else None, **found.criteria,
        },
    )  # fmt: skip


def published_average(claim: Claim, data: StudyData, target: Target, policy: Unscored) -> RuleResult:
    """Average the published rows over the benchmarks that the claim names, in every (icc, rho) cell.

    established: the interval lies above 0 in every cell; otherwise not_established.
    """
    audit = audit_of(claim, data)
    if target == "T3":
        raise AnalysisError(
            "one checkpoint per arm was scored and neither is public, so the spread between training runs is unknown"
            f"{mean_note(audit, data).text}."
        )
    cells = [(icc, rho) for icc in sorted(set(audit.grid.iccs)) for rho in sorted(set(audit.grid.rhos))]
    above = {cell: published_mean(claim, data, *cell).low > 0 for cell in cells}
    mean = published_mean(claim, data)
    fit = pooled_published(audit.differences(target), level=audit.level)
    _, criteria = average_outcome(claim, mean)
    return RuleResult(
        outcome="established" if all(above.values()) else "not_established",
        reason=f"{average_reason(claim, mean, len(audit.rows), criteria)}; over benchmarks like these "
        f"{points(fit.estimate)}; above 0 in {sum(above.values())} of {len(above)} cells of the icc, rho grid",
        estimate=mean,
        scope=scope_of(claim, data),
        criteria={
            **criteria,
            "n_benchmarks": len(audit.rows), "decided_on": claim.parameters["mean"],
            "mean_like_these": summary(fit.estimate), "tau": fit.fit.tau,
            "shown_at": {"icc": audit.settings.icc, "rho": audit.settings.rho},
            "grid": [{"icc": icc, "rho": rho, "above": is_above} for (icc, rho), is_above in above.items()],
            "n_rows_positive": int((audit.rows["p_b"] > audit.rows["p_a"]).sum()), **mean_note(audit, data).criteria,
        },
    )  # fmt: skip


def published_pairs_on_all(claim: Claim, data: StudyData, target: Target, policy: Unscored) -> RuleResult:
    """Compare general with agent-tuned models of the same base, pairs taken as a sample of pairs (plan: claim B).

    Always not_established: two leaderboards cannot show seven benchmarks, and these pairs are not the models of the claim.
    After Holm, the leaderboards are named on which the random-effects mean of general minus agent lies below 0 (one-sided
    alpha/2 in total): evidence of other models against a claim about all benchmarks.
    """
    alpha, names = claim.parameters["alpha"], claim.compare["published_pairs"].split()
    tables = {name: _gaps(claim, data, name) for name in names}
    estimates = {name: _pair_mean(table, 1 - alpha) for name, table in tables.items()}
    p_below = holm([1 - p_above(estimate) for estimate in estimates.values()])
    against = [name for name, p in zip(names, p_below, strict=True) if p <= alpha / 2]
    above = {name: int((table["value"] > 0).sum()) for name, table in tables.items()}
    weakest = min(names, key=lambda name: estimates[name].value)
    counted = ", ".join(f"{above[name]} of {len(table)} pairs on {name}" for name, table in tables.items())
    return RuleResult(
        outcome="not_established",
        reason=f"{OTHER_MODELS}: the agent-tuned model is above its general partner in {counted}"
        + (f"; mean below 0: {', '.join(against)}" if against else "; one benchmark cannot show seven"),
        estimate=estimates[weakest],
        scope=_pairs_scope(tables),
        criteria={
            "test": "random effects over pairs, general minus agent, Holm over leaderboards", "alpha_one_sided": alpha / 2,
            "per_leaderboard": named(names, estimates.values()), "below_zero_after_holm": against, "agent_above": above,
        },
    )  # fmt: skip


def published_pairs_over_scales(claim: Claim, data: StudyData, target: Target, policy: Unscored) -> RuleResult:
    """Fit the gap of published pairs over their sizes, with a simultaneous band (plan: claim D).

    established: the band of general minus agent lies above 0 at every size; otherwise not_established. The estimate is
    that of the largest size; nothing is said of larger ones.
    """
    alpha, name = claim.parameters["alpha"], claim.compare["published_pairs"]
    table = _gaps(claim, data, name)
    line = matched.size_trend(table.assign(value=-table["value"]), level=1 - alpha)
    band = matched.size_band(line, sorted(table["params_b"].unique()))
    largest = band.iloc[-1]
    outcome: Outcome = "established" if (band["low_all"] > 0).all() else "not_established"
    below = largest["high_all"] < claim.parameters["sesoi"]
    return RuleResult(
        outcome=outcome,
        reason=f"{OTHER_MODELS}: at {size(largest['params_b'])} the agent-tuned model is expected "
        f"{signed(-largest['value'])} points above{', more than the claim allows' * bool(below)}; "
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


def _gaps(claim: Claim, data: StudyData, benchmark: str) -> pd.DataFrame:
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


def not_published(requirement: Callable[[Claim, StudyData], str]) -> Rule:
    """Return a rule for which printed scores do not suffice; `requirement` words, from the table, the data it lacks."""

    def rule(claim: Claim, data: StudyData, target: Target, policy: Unscored) -> RuleResult:
        raise AnalysisError(requirement(claim, data))

    return rule


def needs_control(claim: Claim, data: StudyData) -> str:
    """Word the lack of a control with as much training on observations."""
    arms = ", ".join(f"`{arm}`" for arm in sorted(set(data.published.scores["arm"])))
    return (
        f"the published table has the arms {arms}; a control with as much training on observations is not among them."
    )


def needs_scaffolds(claim: Claim, data: StudyData) -> str:
    """Word the lack of a second protocol."""
    arms = data.published.scores[data.published.scores["arm"].isin(published_arms(claim))]
    per_cell = int(arms.groupby(["arm", "benchmark", "metric"]).size().max())
    return f"each arm has {per_cell} score per benchmark and metric, so no second protocol to compare."


def needs_scales(claim: Claim, data: StudyData) -> str:
    """Word the lack of scales."""
    arms = data.published.scores[data.published.scores["arm"].isin(published_arms(claim))]
    scales = sorted(arms["params_b"].dropna().unique())
    return f"{len(scales)} scale ({', '.join(map(size, scales))}) was published; a trend needs 3."


def needs_costs(claim: Claim, data: StudyData) -> str:
    """Word the lack of costs."""
    costs = [column for column in data.published.scores if "token" in column or "cost" in column]
    return (
        f"the published table prints scores and {len(costs)} columns of tokens, prices or training compute; its checkpoints "
        "are not public, so none can be measured."
    )


def needs_tasks(claim: Claim, data: StudyData) -> str:
    """Word the lack of scores per task."""
    return "the published table has no scores per task or training run."
