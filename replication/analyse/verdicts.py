"""Answer each claim in one study by the rule that its file names.

A rule takes a claim, the data, a target of inference (T1 these tasks, T2 tasks like these, T3 the training method) and a
policy for unscored episodes, and returns replicated, not_replicated or inconclusive with all criteria it used. A claim that
the data cannot support is `not_testable`, with a reason computed from the data. Outcomes that differ between policies are
`inconclusive`. A claim has one target; the other targets are answered too, and where targets disagree the claim is
`inconclusive` overall. Every record has the outcome with missing scores at their worst and at their best.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd

from replication.analyse.rules.data import Rule, RuleResult, StudyData
from replication.analyse.rules.registry import RULES
from replication.analyse.rules.shared import compared_arms, published_arms, scope_of, summary
from replication.analyse.stats.estimates.differences import Unscored
from replication.analyse.table_audit import TableAudit
from replication.analyse.tables import summaries
from replication.analyse.tables.arms import arm_means, by_scale, run_differences
from replication.errors import AnalysisError, ClaimError
from replication.records import Claim, Estimate, Json, Outcome, Target, Verdict


@dataclass(frozen=True, kw_only=True)
class Tables:
    """The estimates behind the verdicts, for figures and the paper."""

    audit: TableAudit
    """Of the published table."""
    estimates: pd.DataFrame | None = None
    runs: pd.DataFrame | None = None
    means: pd.DataFrame | None = None
    left_out: Mapping[tuple[str, str], str] = field(default_factory=dict)
    """Comparisons without estimates, and why."""


class ScaleVerdict(NamedTuple):
    """The verdict on the data of one scale alone."""

    scale: str
    verdict: Verdict


def decide(claims: Iterable[Claim], data: StudyData) -> list[Verdict]:
    """Answer the claims that name this kind of study, in the given order; T1 before T2 before T3."""
    verdicts = []
    for claim in claims:
        if data.kind in claim.studies:
            targets = RULES[claim.rule].targets(claim, data)
            of_targets = _overall([_verdict(claim, data, target) for target in targets])
            verdicts += _merge_not_testable(claim, of_targets)
    return verdicts


def table_claim(claims: Iterable[Claim]) -> Claim:
    """Return the claim about the published table, which names the arms and the grid of its audit."""
    for claim in claims:
        if RULES[claim.rule].collected is None:
            return claim
    raise ClaimError("no claim is about the published table (rule `published_on_all`); its audit needs one.")


def tabulate(claims: Iterable[Claim], data: StudyData) -> Tables:
    """Compute the tables of estimates for the published rows and, where there are scores, for every comparison.

    The claims' comparisons come first, then the study's own; one that the data cannot support is left out with its reason.
    """
    claims, settings = list(claims), data.settings
    tables = Tables(audit=data.published.audit(*published_arms(table_claim(claims))))
    if data.scores is None:
        return tables
    claimed = [compared_arms(claim, data) for claim in claims if data.kind in claim.studies]
    estimates, runs, left_out = [], [], {}
    for pair in dict.fromkeys([*claimed, *data.comparisons]):
        try:
            estimates.append(
                summaries.collected_estimates(
                    data.scores,
                    *pair,
                    level=settings.level,
                    power=settings.power,
                    policies=settings.unscored,
                    shared=data.shared_phases,
                )
            )
        except AnalysisError as error:
            left_out[pair] = str(error)
        else:
            runs.append(run_differences(data.scores, *pair).assign(treatment=pair[0], control=pair[1]))
    return dataclasses.replace(
        tables, estimates=_concat(estimates), runs=_concat(runs), means=arm_means(data.scores), left_out=left_out
    )


def per_scale(claims: Iterable[Claim], data: StudyData) -> list[ScaleVerdict]:
    """Answer each claim at each scale alone, for its own target, where the study has several scales.

    Detail behind the verdicts, not corrected for looking several times; claims about scales are left out.
    """
    if data.scores is None or data.scores["scale"].nunique() < 2:
        return []
    alone = {scale: dataclasses.replace(data, scores=part) for scale, part in by_scale(data.scores).items()}
    claims = [claim for claim in claims if data.kind in claim.studies and RULES[claim.rule].per_scale]
    return [
        ScaleVerdict(scale, _verdict(claim, part, "T2" if data.public else claim.target))
        for claim in claims
        for scale, part in alone.items()
    ]


def _concat(frames: Sequence[pd.DataFrame]) -> pd.DataFrame | None:
    return pd.concat(frames, ignore_index=True) if frames else None


def _verdict(claim: Claim, data: StudyData, target: Target) -> Verdict:
    policies: tuple[Unscored, ...] = data.settings.unscored if data.scores is not None else ("exclude",)
    outcome: Outcome
    estimate: Estimate | None
    criteria: dict[str, Json]
    try:
        rule = RULES[claim.rule].on(claim, data)
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
            reason += _unscored_note(claim, data)
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
        original=_original(claim, data),
        replication=estimate,
        criteria=criteria,
        deviations=data.deviations,
        unspecified=claim.unspecified,
    )


def _unscored_note(claim: Claim, data: StudyData) -> str:
    """Say how many scores of the compared arms are missing; empty if none is."""
    assert data.scores is not None
    values = data.scores.loc[data.scores["arm"].isin(compared_arms(claim, data)), "value"]
    return f"; {values.isna().sum()} of {len(values)} episodes have no score" * bool(values.isna().any())


def _original(claim: Claim, data: StudyData) -> Estimate | None:
    original = RULES[claim.rule].original
    return original(claim, data) if original is not None and data.scores is not None else None


def _bounds(rule: Rule, claim: Claim, data: StudyData, target: Target, scored: RuleResult) -> dict[str, Json]:
    """Apply the rule with the missing scores at their worst and best for the treatment; `scored` where none is missing."""
    missing = data.scores is not None and bool(data.scores["value"].isna().any())
    answers = {p: rule(claim, data, target, p) if missing else scored for p in data.settings.bounds}
    return {
        policy: {"outcome": answer.outcome, **({} if answer.estimate is None else summary(answer.estimate))}
        for policy, answer in answers.items()
    }


def _overall(verdicts: list[Verdict]) -> list[Verdict]:
    """Set `overall` of the verdicts on one claim: the outcome of all its targets, or inconclusive."""
    outcomes = {verdict.outcome for verdict in verdicts}
    agreed: Outcome = outcomes.pop() if len(outcomes) == 1 else "inconclusive"
    return [dataclasses.replace(verdict, overall=agreed) for verdict in verdicts]


def _merge_not_testable(claim: Claim, verdicts: list[Verdict]) -> list[Verdict]:
    """Keep one verdict, for the claim's own target or else the last, where no target is testable for the same reason."""
    if len({(v.outcome, v.reason) for v in verdicts}) == 1 and verdicts[0].outcome == "not_testable":
        return [next((v for v in verdicts if v.target == claim.target), verdicts[-1])]
    return verdicts
