"""Answer each claim in one study by the rule that its file names.

A rule sees a claim, the data, a target of inference (T1 these tasks, T2 tasks like these, T3 the training method) and a
policy for unscored episodes, and answers replicated, not_replicated or inconclusive with all criteria it used. What the
data cannot support is `not_testable`, and the reason is computed from the data. Outcomes that differ between policies
are `inconclusive`. A claim has one target; the other targets are answered too, and where targets disagree the claim is
`inconclusive` overall. What missing scores could change at worst and at best stands in every record.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd

from replication.analyse.rules.collected import COLLECTED
from replication.analyse.rules.parts import (
    Data,
    Rule,
    RuleResult,
    original_of,
    published_names,
    published_rows,
    scope_of,
    short,
)
from replication.analyse.rules.published import PUBLISHED
from replication.analyse.stats.printed import audit
from replication.analyse.tables import summaries
from replication.analyse.tables.arms import arm_means, by_scale, run_differences
from replication.errors import AnalysisError
from replication.records import Claim, Json, Outcome, Target, Verdict


@dataclass(frozen=True, kw_only=True)
class Tables:
    """The estimates behind the verdicts, for figures and the paper."""

    rows: pd.DataFrame
    """Published rows as audited."""
    published: pd.DataFrame
    family: pd.DataFrame
    turning: Mapping[str, float | None]
    """Per icc the task correlation from which the published table would establish all rows for T2."""
    estimates: pd.DataFrame | None = None
    runs: pd.DataFrame | None = None
    means: pd.DataFrame | None = None
    left_out: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Comparisons without estimates, and why."""


def decide(claims: Iterable[Claim], data: Data) -> list[Verdict]:
    """Answer the claims that this kind of study can speak about; claims in the given order, T1 before T2 before T3."""
    verdicts = []
    for claim in claims:
        if data.kind in claim.studies:
            verdicts += _merge_not_testable(claim, _overall([_verdict(claim, data, t) for t in _targets(claim, data)]))
    return verdicts


def published_arms(claims: Iterable[Claim]) -> tuple[str, str]:
    """Name treatment and control of the table that claim P is about."""
    return published_names(next(claim for claim in claims if claim.rule == "published_on_all"))


def tabulate(claims: Iterable[Claim], data: Data) -> Tables:
    """Compute the tables of estimates for the published rows and, where there are scores, for every comparison.

    The claims' comparisons come first, then the study's own; one that the data cannot support is left out with its reason.
    """
    claims, settings = list(claims), data.settings
    claim = next(claim for claim in claims if claim.rule == "published_on_all")
    rows = published_rows(claim, data)
    iccs, alpha = claim.parameters["icc"], claim.parameters["alpha"]
    tables = Tables(
        rows=rows,
        published=summaries.published_estimates(rows, icc=settings.icc, rho=settings.rho, level=settings.level),
        family=summaries.published_family(rows, iccs, claim.parameters["rho"], alpha),
        turning={str(icc): audit.turning_point(rows, icc=icc, alpha=alpha) for icc in iccs},
    )
    if data.scores is None:
        return tables
    claimed = [(c.compare["treatment"], c.compare["control"]) for c in claims if data.kind in c.studies]
    how = {"level": settings.level, "power": settings.power, "policies": settings.unscored}
    estimates, runs, left_out = [], [], {}
    for pair in dict.fromkeys([*claimed, *data.comparisons]):
        try:
            estimates.append(summaries.collected_estimates(data.scores, *pair, **how))
        except AnalysisError as error:
            left_out[pair] = str(error)
        else:
            runs.append(run_differences(data.scores, *pair).assign(treatment=pair[0], control=pair[1]))
    return dataclasses.replace(
        tables, estimates=_concat(estimates), runs=_concat(runs), means=arm_means(data.scores), left_out=left_out
    )


class ScaleVerdict(NamedTuple):
    """The answer to a claim at one scale."""

    scale: str
    verdict: Verdict


def per_scale(claims: Iterable[Claim], data: Data) -> list[ScaleVerdict]:
    """Answer each claim at each scale alone, for its own target, where the study has several scales.

    Detail behind the verdicts, not corrected for looking several times; claims about scales are left out.
    """
    if data.scores is None or data.scores["scale"].nunique() < 2:
        return []
    alone = {scale: dataclasses.replace(data, scores=part) for scale, part in by_scale(data.scores).items()}
    claims = [claim for claim in claims if data.kind in claim.studies and claim.rule != "on_all_scales"]
    return [
        ScaleVerdict(scale, _verdict(claim, part, claim.target)) for claim in claims for scale, part in alone.items()
    ]


def _concat(frames: Sequence[pd.DataFrame]) -> pd.DataFrame | None:
    return pd.concat(frames, ignore_index=True) if frames else None


def _targets(claim: Claim, data: Data) -> tuple[Target, ...]:
    if data.scores is not None:
        return ("T2", "T3")
    if "published_pairs" in claim.compare:
        return ("T3",)  # the unit is a pair of models, each trained once
    return ("T1", "T2") if claim.rule == "published_on_all" else ("T2", "T3")


def _verdict(claim: Claim, data: Data, target: Target) -> Verdict:
    rule = (PUBLISHED if data.scores is None else COLLECTED)[claim.rule]
    policies = data.settings.unscored if data.scores is not None else ("exclude",)
    try:
        answers = {policy: rule(claim, data, target, policy) for policy in policies}
        first = next(iter(answers.values()))
        outcomes = {policy: answer.outcome for policy, answer in answers.items()}
        outcome, reason = first.outcome, first.reason
        if len(set(outcomes.values())) > 1:
            outcome = "inconclusive"
            reason = "depends on unscored episodes: " + ", ".join(f"{p} gives {o}" for p, o in outcomes.items())
        criteria = {policy: dict(answer.criteria) for policy, answer in answers.items()}
        if data.scores is None:
            criteria = dict(first.criteria)
        else:
            criteria["bounds"] = _bounds(rule, claim, data, target, first)
        estimate, scope = first.estimate, first.scope
    except AnalysisError as error:
        outcome, reason, estimate, criteria = "not_testable", str(error), None, {}
        scope = scope_of(claim, data)
    return Verdict(
        claim_id=claim.id,
        proposition=claim.proposition,
        statement=claim.statement,
        study=data.study,
        scope=scope,
        target=target,
        outcome=outcome,
        overall=outcome,
        reason=reason,
        original=original_of(claim, data),
        replication=estimate,
        criteria=criteria,
        deviations=data.deviations,
        unspecified=claim.unspecified,
    )


def _bounds(rule: "Rule", claim: Claim, data: Data, target: Target, scored: RuleResult) -> dict[str, Json]:
    """Answer with the missing scores at their worst and best for the treatment; without any, as answered."""
    n_missing = int(data.scores["value"].isna().sum())
    answers = {p: rule(claim, data, target, p) if n_missing else scored for p in data.settings.bounds}
    return {
        policy: {"outcome": answer.outcome, **({} if answer.estimate is None else short(answer.estimate))}
        for policy, answer in answers.items()
    }


def _overall(verdicts: list[Verdict]) -> list[Verdict]:
    """Say of each verdict on one claim what all its targets agree on."""
    outcomes = {verdict.outcome for verdict in verdicts}
    agreed: Outcome = outcomes.pop() if len(outcomes) == 1 else "inconclusive"
    return [dataclasses.replace(verdict, overall=agreed) for verdict in verdicts]


def _merge_not_testable(claim: Claim, verdicts: list[Verdict]) -> list[Verdict]:
    """Say once, for the claim's own target, what no target can be tested for."""
    if len({(v.outcome, v.reason) for v in verdicts}) == 1 and verdicts[0].outcome == "not_testable":
        return [next((v for v in verdicts if v.target == claim.target), verdicts[-1])]
    return verdicts
