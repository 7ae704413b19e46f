"""Answer each claim in one study by the rule that its file names.

A rule takes a claim, the data, a target of inference (T1 these tasks, T2 tasks like these, T3 the training method) and a
policy for unscored episodes. New data give replicated, not_replicated or inconclusive, a published table what it establishes
by itself, each with all criteria used; the rule decides at the claim's own target only, and other targets have estimates. A
claim that the data cannot support is `not_testable`, with a reason computed from the data. An outcome that differs between
policies, or within the bounds of the missing scores, is `inconclusive`. Beside each outcome are those at other smallest
effects of interest, and the probability of each outcome were the published effects true, or half of them.
"""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import pandas as pd

from replication.analyse.rules.comparable import repeated_contents
from replication.analyse.rules.data import Rule, RuleResult, StudyData
from replication.analyse.rules.power import UNREACHABLE
from replication.analyse.rules.registry import RULES
from replication.analyse.rules.shared import compared, compared_arms, published_arms, scope_of, summary, unpublished
from replication.analyse.stats.estimates.differences import Unscored
from replication.analyse.table_audit import TableAudit
from replication.analyse.tables import summaries
from replication.analyse.tables.arms import arm_means, by_scale, run_differences
from replication.errors import AnalysisError, ClaimError
from replication.records import Claim, Estimate, Json, Outcome, Target, Verdict
from replication.text import percent, plain


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

    def under(self, policy: str) -> pd.DataFrame | None:
        """Return the estimates under one policy for unscored episodes; None without any."""
        return None if self.estimates is None else self.estimates[self.estimates["policy"] == policy]


class ScaleVerdict(NamedTuple):
    """The verdict on the data of one scale alone."""

    scale: str
    verdict: Verdict


def decide(claims: Iterable[Claim], data: StudyData) -> list[Verdict]:
    """Answer the claims that name this kind of study, in the given order; T1 before T2 before T3."""
    claims = list(claims)
    data = dataclasses.replace(data, beside=rows_beside(claims))
    verdicts = []
    for claim in claims:
        if data.kind in claim.studies:
            own = _own_target(claim, data)
            targets = [target for target in RULES[claim.rule].targets(claim, data) if target != own]
            others = [_verdict(claim, data, target, decides=False) for target in targets]
            answered = [v for v in others if v.outcome != "not_testable"]
            order = [*answered, _verdict(claim, data, own, decides=True)]
            verdicts += sorted(order, key=lambda v: v.target)
    return verdicts


def rows_beside(claims: Iterable[Claim]) -> dict[str, str]:
    """Return the published row of the benchmark that each environment stands in for, from the claim that names them."""
    named = [claim.parameters["beside"] for claim in claims if "beside" in claim.parameters]
    return dict(named[0]) if named else {}


def _own_target(claim: Claim, data: StudyData) -> Target:
    """Return the target at which a claim is decided; public checkpoints are no training method, and decide at T2."""
    return "T2" if data.public else claim.target


def table_claim(claims: Iterable[Claim]) -> Claim:
    """Return the claim about the published table, which names the arms and the grid of its audit."""
    for claim in claims:
        if RULES[claim.rule].collected is None:
            return claim
    raise ClaimError("no claim is about the published table (rule `published_on_all`); its audit needs one.")


def tabulate(claims: Iterable[Claim], data: StudyData) -> Tables:
    """Compute the tables of estimates for the published rows and, where there are scores, for every comparison.

    The claims' comparisons come first, then the study's own, unless a claim has it the other way round; one that the data
    cannot support is left out with its reason.
    """
    claims, settings = list(claims), data.settings
    tables = Tables(audit=data.published.audit(*published_arms(table_claim(claims))))
    if data.scores is None:
        return tables
    claimed = [compared_arms(claim, data) for claim in claims if data.kind in claim.studies]
    estimates, runs, left_out = [], [], {}
    own = [pair for pair in data.comparisons if pair[::-1] not in claimed]
    for pair in dict.fromkeys([*claimed, *own]):
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
        ScaleVerdict(scale, _verdict(claim, part, _own_target(claim, data), decides=True))
        for claim in claims
        for scale, part in alone.items()
    ]


def _concat(frames: Sequence[pd.DataFrame]) -> pd.DataFrame | None:
    return pd.concat(frames, ignore_index=True) if frames else None


def _verdict(claim: Claim, data: StudyData, target: Target, *, decides: bool) -> Verdict:
    try:
        answer = _decided(claim, data, target) if decides else _estimated(claim, data, target)
    except AnalysisError as error:
        answer = RuleResult(
            outcome="not_testable", reason=str(error), estimate=None, scope=scope_of(claim, data), criteria={}
        )
    return Verdict(
        claim_id=claim.id,
        proposition=claim.proposition,
        statement=claim.statement,
        study=data.study,
        scope=answer.scope,
        target=target,
        outcome=answer.outcome,
        reason=answer.reason,
        condition="one base" if answer.estimate and target == "T3" and _one_base(claim, data) else "",
        original=_original(claim, data),
        replication=answer.estimate,
        criteria=answer.criteria,
        deviations=data.deviations,
        unspecified=claim.unspecified,
    )


def _estimated(claim: Claim, data: StudyData, target: Target) -> RuleResult:
    """Estimate at a target that is not the claim's own: nothing is decided."""
    rule = RULES[claim.rule].on(claim, data)
    answers = _by_policy(rule, claim, data, target)
    first = next(iter(answers.values()))
    dropped = ("replicated", "refuted", "equivalent")
    criteria: dict[str, Json] = {
        policy: {key: value for key, value in answer.criteria.items() if key not in dropped}
        for policy, answer in answers.items()
    }
    if data.scores is None:
        criteria = dict(first.criteria)
    return RuleResult(
        outcome="estimate", reason=f"estimate only: the claim is decided at {_own_target(claim, data)}",
        estimate=first.estimate, scope=first.scope, criteria=criteria,
    )  # fmt: skip


def _decided(claim: Claim, data: StudyData, target: Target) -> RuleResult:
    """Apply the rule under every policy for missing scores and both bounds, and beside it what the outcome hangs on."""
    rule = RULES[claim.rule].on(claim, data)
    if data.scores is None:
        return rule(claim, data, target, "exclude")
    answers = _by_policy(rule, claim, data, target)
    policy, first = next(iter(answers.items()))
    bounds = _bounds(rule, claim, data, target, first)
    outcomes: dict[str, Outcome] = {name: answer.outcome for name, answer in answers.items()}
    outcomes |= {name: bound["outcome"] for name, bound in bounds.items()}
    outcome, reason = first.outcome, first.reason
    if len(set(outcomes.values())) > 1:
        outcome = "inconclusive"
        reason = "depends on unscored episodes: " + ", ".join(f"{p} gives {o}" for p, o in outcomes.items())
    criteria: dict[str, Json] = {name: dict(answer.criteria) for name, answer in answers.items()}
    criteria |= {"bounds": bounds, "decided_under": policy}
    if "sesoi" in claim.parameters:
        criteria["sesoi"] = _sensitivity(rule, claim, data, target, policy)
        reason += _sensitivity_note(criteria["sesoi"], first.outcome)
    criteria["power"] = _power(claim, data, target, policy, first)
    reason += _reach_note(criteria["power"])
    return dataclasses.replace(first, outcome=outcome, reason=reason + _notes(claim, data), criteria=criteria)


def _power(claim: Claim, data: StudyData, target: Target, policy: Unscored, result: RuleResult) -> dict[str, Json]:
    """Probability of each outcome were the published effects true, or half of them; or why none can be computed."""
    power = RULES[claim.rule].power
    missing = power if isinstance(power, str) else unpublished(claim, data)
    if isinstance(power, str) or missing:
        return {"reason": missing}
    return power(claim, data, target, policy, result)


def _by_policy(rule: Rule, claim: Claim, data: StudyData, target: Target) -> dict[Unscored, RuleResult]:
    """Apply the rule under every policy for missing scores; once where none is missing."""
    if data.scores is None:
        return {"exclude": rule(claim, data, target, "exclude")}
    policies = data.settings.unscored
    first = rule(claim, data, target, policies[0])
    missing = bool(data.scores["value"].isna().any())
    return {policy: rule(claim, data, target, policy) if missing and i else first for i, policy in enumerate(policies)}


def _sensitivity(rule: Rule, claim: Claim, data: StudyData, target: Target, policy: Unscored) -> dict[str, Json]:
    """Apply the rule with other smallest effects of interest: outcome by points."""
    return {
        plain(100 * sesoi): rule(
            dataclasses.replace(claim, parameters={**claim.parameters, "sesoi": sesoi}), data, target, policy
        ).outcome
        for sesoi in data.settings.sesois
    }


def _sensitivity_note(outcomes: Mapping[str, Json], outcome: Outcome) -> str:
    other = {points: found for points, found in outcomes.items() if found != outcome}
    return "".join(
        f"; with a smallest effect of {points}: {found.replace('_', ' ')}" for points, found in other.items()
    )


def _reach_note(power: Mapping[str, Json]) -> str:
    if "reason" in power:
        return f"; no power: {power['reason']}"
    published = power["published"]["replicated"]
    if published >= UNREACHABLE:
        return ""
    return f"; out of reach: were the published effects true, this study would replicate them in {percent(published)} %"


def _notes(claim: Claim, data: StudyData) -> str:
    """Say what was left out of a comparison and how many scores are missing; empty if nothing."""
    assert data.scores is not None
    arms = compared_arms(claim, data)
    scores = data.scores[data.scores["arm"].isin(arms)]
    notes = [f"both arms at the {limit}: {name}" for name, limit in compared(claim, data).left_out.items()]
    notes += [
        f"{count} tasks of {name} repeat another's content and count with it"
        for name, count in repeated_contents(scores).items()
    ]
    missing = scores["value"].isna()
    if missing.any():
        of_arm = missing.groupby([scores["arm"], scores["benchmark"]]).sum()
        listed = ", ".join(f"{arm} {name} {n}" for (arm, name), n in of_arm[of_arm > 0].items())
        notes.append(f"{missing.sum()} of {len(scores)} episodes have no score ({listed})")
    return "".join(f"; {note}" for note in notes)


def _one_base(claim: Claim, data: StudyData) -> bool:
    """Return whether all training runs of the compared arms start, at each scale, from one base."""
    if data.scores is None or data.public or "base" not in data.scores:
        return False
    runs = data.scores[data.scores["arm"].isin(compared_arms(claim, data)) & data.scores["base"].notna()]
    return len(runs) > 0 and int(runs.groupby("scale")["base"].nunique().max()) == 1


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
