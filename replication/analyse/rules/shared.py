"""Steps that several decision rules take."""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, cast

import pandas as pd

from replication.analyse.rules.comparable import Comparable, comparable
from replication.analyse.rules.data import StudyData
from replication.analyse.stats.estimates.differences import Pair, Unscored, mean_paired_difference
from replication.analyse.stats.estimates.intervals import t_estimate
from replication.analyse.stats.two_studies.equivalence import tost_p
from replication.analyse.table_audit import TableAudit
from replication.analyse.tables.summaries import pooled_published
from replication.errors import AnalysisError
from replication.records import Claim, Estimate, Json, Outcome, Target
from replication.text import p_equation, plain, size


def compared_arms(claim: Claim, data: StudyData) -> tuple[str, str]:
    """Return treatment and control of a study that collected scores: arms, or roles where all checkpoints are public."""
    return _named_arms(claim, "public_" if data.public else "")


def published_arms(claim: Claim) -> tuple[str, str]:
    """Return treatment and control of the published table, where they may have other names."""
    return _named_arms(claim, "published_")


def _named_arms(claim: Claim, prefix: str) -> tuple[str, str]:
    treatment, control = (
        claim.compare.get(f"{prefix}{side}", claim.compare[side]) for side in ("treatment", "control")
    )
    return treatment, control


def audit_of(claim: Claim, data: StudyData) -> TableAudit:
    """Return the audit of the published table for the arms and the grid of a claim."""
    return data.published.audit(*published_arms(claim), data.published.grid.of(claim))


THESE, LIKE_THESE = "these", "like these"
"""Over which benchmarks a claim about the mean effect is decided: exactly these, or others of their kind as well."""


def published_mean(claim: Claim, data: StudyData, icc: float | None = None, rho: float | None = None) -> Estimate:
    """Average the printed differences, T2, over the benchmarks that the claim names: the original of a mean effect."""
    audit = audit_of(claim, data)
    rows = audit.differences("T2", icc, rho)
    if claim.parameters["mean"]["over"] == LIKE_THESE:
        return pooled_published(rows, level=audit.level).estimate
    n = len(rows)
    return t_estimate(
        sum(row.value for row in rows) / n, math.hypot(*(standard_error(row) for row in rows)) / n, None,
        level=audit.level, method="mean of the printed differences, normal", target="T2",
        n_tasks=sum(row.n_tasks for row in rows), n_trials=min(row.n_trials for row in rows), n_training_runs=1,
    )  # fmt: skip


def unpublished(claim: Claim, data: StudyData) -> str:
    """Say that no effect of the claim's arms was published, so that none can be assumed; empty if one was."""
    if set(published_arms(claim)) <= set(data.published.scores["arm"]) and not data.public:
        return ""
    treatment, control = compared_arms(claim, data)
    return f"no effect of `{treatment}` over `{control}` was published"


def published_effects(claim: Claim, data: StudyData, names: Iterable[str]) -> list[float]:
    """Return the printed difference of the benchmark that an environment stands in for; the mean of all if it has none."""
    audit = audit_of(claim, data)
    rows = dict(zip(audit.rows["benchmark"], (e.value for e in audit.differences("T2")), strict=True))
    mean = sum(rows.values()) / len(rows)
    return [rows.get(data.beside.get(name, ""), mean) for name in names]


def paired(claim: Claim, data: StudyData) -> dict[str, Pair]:
    """Return the score arrays of the claim's arms, by benchmark."""
    return data.prepared.pairs(*compared_arms(claim, data))


def compared(claim: Claim, data: StudyData) -> Comparable:
    """Return the arrays of the benchmarks that can show a difference, and those that cannot."""
    return comparable(paired(claim, data), compared_arms(claim, data), data.settings.floor)


def grouped(claim: Claim, data: StudyData, column: str, at_least: int) -> dict[Any, dict[str, Pair]]:
    """Return the score arrays by value of a column, in order, over the values where both arms exist."""
    paired(claim, data)
    arms = compared_arms(claim, data)
    values = list(data.prepared.shared(*arms, column))
    if len(values) < at_least:
        kind = "scale" if column == "params_b" else column
        listed = ", ".join(size(cast(float, value)) if kind == "scale" else str(value) for value in values)
        raise AnalysisError(
            f"{len(values)} {kind}{'s' * (len(values) != 1)} ({listed}) {'was' if len(values) == 1 else 'were'} run; "
            f"the claim needs {at_least}."
        )
    by_group = data.prepared.grouped(*arms, column)
    return {value: comparable(group, arms, data.settings.floor).pairs for value, group in by_group.items()}


def mean_of(pairs_: list[Pair], target: Target, level: float, policy: Unscored) -> Estimate:
    """Average the differences over exactly these benchmarks."""
    return mean_paired_difference(pairs_, target=target, level=level, unscored=policy, rare=True)


def each_of(
    by_benchmark: Mapping[str, Pair],
    target: Target,
    level: float,
    policy: Unscored,
    beside: Mapping[str, Pair] | None = None,
) -> dict[str, Estimate]:
    """Estimate the difference on each benchmark, with the run variance pooled over all, or over those of `beside`."""
    pairs_ = list((by_benchmark if beside is None else beside).values())
    return {
        name: mean_paired_difference([pair], target=target, level=level, unscored=policy, beside=pairs_, rare=True)
        for name, pair in by_benchmark.items()
    }


class AverageOutcome(NamedTuple):
    """Outcome of a claim about the mean effect, with the criteria it rests on."""

    outcome: Outcome
    criteria: dict[str, Json]


def average_outcome(claim: Claim, estimate: Estimate) -> AverageOutcome:
    """Decide on a mean difference; `above_control` documents the rule."""
    alpha, sesoi = claim.parameters["alpha"], claim.parameters["sesoi"]
    equivalence = equivalence_p(estimate, sesoi)
    outcome: Outcome = "inconclusive"
    if estimate.low > 0 and estimate.se != 0:
        outcome = "replicated"
    elif (estimate.high < 0 and estimate.se != 0) or equivalence <= alpha:
        outcome = "not_replicated"
    criteria = {
        "alpha_one_sided": alpha / 2, "alpha_refuted": alpha, "sesoi": sesoi, "equivalence_p": equivalence,
        "equivalent": equivalence <= alpha,
    }  # fmt: skip
    return AverageOutcome(outcome, criteria)


def average_reason(claim: Claim, estimate: Estimate, n_benchmarks: int, criteria: Mapping[str, Json]) -> str:
    """Word the outcome of a claim about the mean effect."""
    if estimate.low > 0:
        how = "interval above 0"
    elif estimate.high < 0:
        how = "interval below 0"
    elif criteria["equivalent"]:
        how = f"within {plain(100 * criteria['sesoi'])} points of 0"
    else:
        how = "interval holds 0 and effects of interest"
    assert estimate.p_two_sided is not None, "a mean has p-values"
    over = "exactly these" if claim.parameters["mean"]["over"] == THESE else "benchmarks like these"
    return f"mean over {over} ({n_benchmarks}), {p_equation(estimate.p_two_sided)}: {how}"


def scope_of(claim: Claim, data: StudyData) -> str:
    """Describe models, scales and benchmarks that the answer is about, as the data has them."""
    arms = data.published.scores if data.scores is None else data.scores
    compared = published_arms(claim) if data.scores is None else compared_arms(claim, data)
    if set(compared) <= set(arms["arm"]):
        arms = arms[arms["arm"].isin(compared)]
    if data.scores is None:
        scales = ", ".join(map(size, sorted(arms["params_b"].dropna().unique())))
        return f"published scores of one pair of checkpoints at {scales}, {arms['benchmark'].nunique()} benchmarks"
    shared = arms[arms.groupby(["scale", "scaffold"])["arm"].transform("nunique") == len(set(compared))]
    arms = arms if shared.empty else shared
    listed = []
    for column in ("scale", *(["pair"] if data.public and arms["pair"].notna().any() else []), "scaffold", "benchmark"):
        by = ["params_b", column] if column == "scale" else [column]
        values = [str(value) for value in arms.sort_values(by, kind="stable")[column].unique()]
        listed.append(f"{column}{'s' * (len(values) > 1)} {', '.join(values)}")
    scales = arms.groupby("benchmark")["scale"].unique()
    listed += [
        f"{name} at scale {', '.join(sorted(at))} only"
        for name, at in scales.items()
        if len(at) < arms["scale"].nunique()
    ]
    return "; ".join(([data.scope] if data.scope else []) + listed)


def standard_error(estimate: Estimate) -> float:
    """Return the standard error of an estimate; raises AnalysisError where its method has none."""
    if estimate.se is None:
        raise AnalysisError(f"an estimate by `{estimate.method}` has no standard error, so no rule can decide on it.")
    return estimate.se


def equivalence_p(estimate: Estimate, sesoi: float) -> float:
    """Return the p-value of "at least `sesoi` away from 0", by two one-sided tests; 1 where the standard error is 0.

    Scores that do not vary at all are no evidence: a few equal ones are likely even where the method has an effect.
    """
    if estimate.se == 0:
        return 1.0
    return tost_p(estimate.value, standard_error(estimate), estimate.df, sesoi)


def p_above(estimate: Estimate) -> float:
    """Return the one-sided p-value of "not above zero"; 1 where the standard error is 0."""
    if estimate.p_one_sided is None:
        raise AnalysisError(f"an estimate by `{estimate.method}` has no p-value, so no rule can decide on it.")
    return 1.0 if estimate.se == 0 else estimate.p_one_sided


def p_below(estimate: Estimate) -> float:
    """Return the one-sided p-value of "not below zero"; 1 where the standard error is 0."""
    return 1.0 if estimate.se == 0 else 1 - p_above(estimate)


def summary(estimate: Estimate) -> dict[str, Json]:
    """Return the fields of an estimate that a verdict records of its parts."""
    keys = ("value", "low", "high", "p_one_sided", "p_two_sided", "n_tasks", "n_training_runs", "n_unscored")
    return {key: getattr(estimate, key) for key in keys}


def named(names: Iterable[str], estimates: Iterable[Estimate]) -> dict[str, Json]:
    """Return the summary of each estimate by name."""
    return {name: summary(estimate) for name, estimate in zip(names, estimates, strict=True)}


def most_common(outcomes: Mapping[tuple[float, float], str]) -> str:
    """Count the most common outcome."""
    counts = pd.Series(list(outcomes.values())).value_counts()
    return f"{counts.iloc[0]} of {len(outcomes)}"
