"""Answer each claim in one study by the rule that its file names.

A rule sees a claim, the data, a target of inference (T1 these tasks, T2 tasks like these, T3 the training method) and a
policy for unscored episodes, and answers replicated, not_replicated or inconclusive with all criteria it used. What the
data cannot support is `not_testable`, and the reason is computed from the data. Outcomes that differ between policies
are `inconclusive`. A claim has one target; the other targets are answered too and say so.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from replication.errors import AnalysisError
from replication.records import Claim, Estimate, Json, Outcome, Target, Verdict
from replication.stats import audit, published, summaries
from replication.stats.arms import arm_means, by_scale, pairs, run_differences
from replication.stats.differences import Pair, Unscored, mean_paired_difference
from replication.stats.equivalence import tost_p
from replication.stats.multiplicity import holm, intersection_union
from replication.stats.ratios import log_cost_ratio
from replication.stats.summaries import pooled, pooled_published


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How estimates are computed and shown; mirrors conf/analysis."""

    level: float = 0.95
    power: float = 0.8
    icc: float = 0.5
    rho: float = 0.5
    unstated_runs: int = 1
    unscored: tuple[Unscored, ...] = ("exclude", "fail")
    n_simulations: int = 2000
    """Of the A/A check."""
    simulation_seed: int = 0


@dataclass(frozen=True, kw_only=True)
class Data:
    """What one study knows."""

    study: str
    kind: str
    """reanalysis, controlled or released."""
    scope: str = ""
    deviations: tuple[str, ...] = ()
    published: pd.DataFrame
    benchmarks: pd.DataFrame
    scores: pd.DataFrame | None = None
    """None in a reanalysis."""
    training: pd.DataFrame | None = None
    comparisons: tuple[tuple[str, str], ...] = ()
    """(treatment, control) that the study wants estimated beside those of the claims."""
    settings: Settings = Settings()
    memo: dict = field(default_factory=dict, init=False, repr=False, compare=False)
    """Score arrays per comparison: the same for every rule, target and policy."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a rule says for one target under one policy."""

    outcome: Outcome
    reason: str
    estimate: Estimate | None
    scope: str
    criteria: Mapping[str, Json]


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
            verdicts += _merge_not_testable(claim, [_verdict(claim, data, t) for t in _targets(claim, data)])
    return verdicts


def tabulate(claims: Iterable[Claim], data: Data) -> Tables:
    """Compute the tables of estimates for the published rows and, where there are scores, for every comparison.

    The claims' comparisons come first, then the study's own; one that the data cannot support is left out with its reason.
    """
    claims, settings = list(claims), data.settings
    claim = next(claim for claim in claims if claim.rule == "published_on_all")
    rows = _published_rows(claim, data)
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


def per_scale(claims: Iterable[Claim], data: Data) -> list[Verdict]:
    """Answer each claim at each scale alone, for its own target, where the study has several scales.

    Detail behind the verdicts, not corrected for looking several times; claims about scales are left out.
    """
    if data.scores is None or data.scores["scale"].nunique() < 2:
        return []
    alone = [dataclasses.replace(data, scores=part) for part in by_scale(data.scores).values()]
    claims = [claim for claim in claims if data.kind in claim.studies and claim.rule != "on_all_scales"]
    return [_verdict(claim, part, claim.target) for claim in claims for part in alone]


def _concat(frames: Sequence[pd.DataFrame]) -> pd.DataFrame | None:
    return pd.concat(frames, ignore_index=True) if frames else None


def _targets(claim: Claim, data: Data) -> tuple[Target, ...]:
    if data.scores is not None:
        return ("T2", "T3")
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
        estimate, scope = first.estimate, first.scope
    except AnalysisError as error:
        outcome, reason, estimate, criteria = "not_testable", str(error), None, {}
        scope = _scope(claim, data)
    return Verdict(
        claim_id=claim.id,
        proposition=claim.proposition,
        statement=claim.statement,
        study=data.study,
        scope=scope,
        target=target,
        outcome=outcome,
        reason=reason,
        original=_original(claim, data),
        replication=estimate,
        criteria=criteria,
        deviations=data.deviations,
        unspecified=claim.unspecified,
    )


def _merge_not_testable(claim: Claim, verdicts: list[Verdict]) -> list[Verdict]:
    """Say once, for the claim's own target, what no target can be tested for."""
    if len({(v.outcome, v.reason) for v in verdicts}) == 1 and verdicts[0].outcome == "not_testable":
        return [next((v for v in verdicts if v.target == claim.target), verdicts[-1])]
    return verdicts


# --- published tables -------------------------------------------------------------------------------------------------


def _published_arms(claim: Claim) -> tuple[str, str]:
    compare = claim.compare
    return (
        compare.get("published_treatment", compare["treatment"]),
        compare.get("published_control", compare["control"]),
    )


def _published_rows(claim: Claim, data: Data) -> pd.DataFrame:
    arms = _published_arms(claim)
    return audit.compare(data.published, data.benchmarks, *arms, unstated_runs=data.settings.unstated_runs)


def _published_estimates(claim: Claim, data: Data, icc: float, rho: float, target: Target) -> list[Estimate]:
    level = 1 - claim.parameters["alpha"]
    return [
        published.difference(row.p_a, row.p_b, row.n, row.k, icc=icc, rho=rho, target=target, level=level)
        for row in _published_rows(claim, data).itertuples()
    ]


def _original(claim: Claim, data: Data) -> Estimate | None:
    """The published side of a claim about the mean effect: random effects over the printed rows, T2."""
    if claim.rule != "average_effect" or data.scores is None:
        return None
    settings = data.settings
    estimates = _published_estimates(claim, data, settings.icc, settings.rho, "T2")
    return pooled_published(estimates, level=1 - claim.parameters["alpha"]).estimate


def published_on_all(claim: Claim, data: Data, target: Target, policy: Unscored) -> Answer:
    """All rows of the published table at once, by intersection-union (plan: claim P).

    replicated: p <= alpha/2 in every cell of the (icc, rho) grid. not_replicated: p > alpha/2 in every cell, that is, the
    table does not establish it. Otherwise inconclusive. rho does not enter T1.
    """
    alpha, iccs, rhos = (claim.parameters[key] for key in ("alpha", "icc", "rho"))
    rows = _published_rows(claim, data)
    grid = summaries.published_family(rows, iccs, rhos, alpha).query("target == @target")
    passed = grid["iut_p"] <= alpha / 2
    outcome = "replicated" if passed.all() else "not_replicated" if not passed.any() else "inconclusive"
    settings = data.settings
    shown = audit.family(rows, icc=settings.icc, rho=settings.rho, target=target, alpha=alpha)
    weakest = int(np.argmax(audit.p_values(rows, icc=settings.icc, rho=settings.rho, target=target)))
    turning = {str(icc): audit.turning_point(rows, icc=icc, target=target, alpha=alpha) for icc in iccs}
    known = [value for value in turning.values() if value is not None]
    reason = (
        f"all-{len(rows)} test: {_p_range(grid['iut_p'])} over the grid, {shown['n_holm']} of {len(rows)} rows after Holm; "
        f"weakest: {rows['name'][weakest]}"
    )
    if target == "T2" and outcome != "replicated" and known:
        reason += f"; would need task correlation {min(known):.2f}"
    level = 1 - alpha
    return Answer(
        outcome=outcome,
        reason=reason,
        estimate=_published_estimates(claim, data, settings.icc, settings.rho, target)[weakest],
        scope=_scope(claim, data),
        criteria={
            "test": "intersection-union, one-sided", "alpha_one_sided": alpha / 2, "level": level,
            "shown_at": {"icc": settings.icc, "rho": settings.rho}, "shown": shown, "weakest": rows["name"][weakest],
            "grid": grid.drop(columns="target").to_dict("records"), "turning_rho": turning if target == "T2" else None,
        },
    )  # fmt: skip


def published_average(claim: Claim, data: Data, target: Target, policy: Unscored) -> Answer:
    """Random-effects mean over the published rows, decided as `average_effect` in every cell of the (icc, rho) grid."""
    rows = _published_rows(claim, data)
    if target == "T3":
        raise AnalysisError("one checkpoint per arm was published, so the spread between training runs is unknown.")
    settings = data.settings
    cells = {(icc, rho) for icc in claim.parameters["icc"] for rho in claim.parameters["rho"]}
    level = 1 - claim.parameters["alpha"]
    means = {
        cell: pooled_published(_published_estimates(claim, data, *cell, target), level=level)
        for cell in (*sorted(cells), (settings.icc, settings.rho))
    }
    outcomes = {cell: _average_outcome(claim, means[cell])[0] for cell in sorted(cells)}
    estimate = means[settings.icc, settings.rho].estimate
    _, criteria = _average_outcome(claim, means[settings.icc, settings.rho])
    agreed = set(outcomes.values())
    return Answer(
        outcome=agreed.pop() if len(agreed) == 1 else "inconclusive",
        reason=f"{_average_reason(estimate, len(rows), criteria)}; same in {_share(outcomes)} cells of the icc, rho grid",
        estimate=estimate,
        scope=_scope(claim, data),
        criteria={
            **criteria,
            "n_benchmarks": len(rows),
            "shown_at": {"icc": settings.icc, "rho": settings.rho},
            "grid": [{"icc": icc, "rho": rho, "outcome": o} for (icc, rho), o in outcomes.items()],
            "n_rows_positive": int((rows["p_b"] > rows["p_a"]).sum()),
        },
    )


def published_lacks(requirement: Callable[[Claim, Data, pd.DataFrame], str]) -> Callable[..., Answer]:
    """Make a rule that a table of printed scores cannot answer; `requirement` reads in the table what is missing."""

    def rule(claim: Claim, data: Data, target: Target, policy: Unscored) -> Answer:
        raise AnalysisError(requirement(claim, data, _published_rows(claim, data)))

    return rule


def _needs_scaffolds(claim: Claim, data: Data, rows: pd.DataFrame) -> str:
    arms = data.published[data.published["arm"].isin(_published_arms(claim))]
    per_cell = int(arms.groupby(["arm", "benchmark", "metric"]).size().max())
    return f"each arm has {per_cell} score per benchmark and metric, so no second protocol to compare."


def _needs_scales(claim: Claim, data: Data, rows: pd.DataFrame) -> str:
    arms = data.published[data.published["arm"].isin(_published_arms(claim))]
    scales = sorted(arms["params_b"].dropna().unique())
    return f"{len(scales)} scale ({', '.join(map(_size, scales))}) was published; a trend needs 3."


def _needs_costs(claim: Claim, data: Data, rows: pd.DataFrame) -> str:
    return "the published table has no token counts or training compute."


def _needs_tasks(claim: Claim, data: Data, rows: pd.DataFrame) -> str:
    return "the published table has no scores per task or training run."


# --- studies of our own -----------------------------------------------------------------------------------------------


def average_effect(claim: Claim, data: Data, target: Target, policy: Unscored) -> Answer:
    """Mean difference over benchmarks like these, by random effects (plan: claim A1); T3 with the shared training runs.

    replicated: 1 - alpha interval above 0. not_replicated: 1 - 2 alpha interval inside -+sesoi, or 1 - alpha interval below
    0. Otherwise inconclusive. The mean over exactly these benchmarks is reported beside it, not decided on.
    """
    by_benchmark = _pairs(claim, data)
    level = 1 - claim.parameters["alpha"]
    groups = {name: [pair] for name, pair in by_benchmark.items()}
    mean = pooled(groups, target=target, level=level, unscored=policy)
    outcome, criteria = _average_outcome(claim, mean)
    fixed = _mean(list(by_benchmark.values()), target, level, policy)
    estimates = [_mean(pairs_, target, level, policy) for pairs_ in groups.values()]
    return Answer(
        outcome=outcome,
        reason=f"{_average_reason(mean.estimate, len(groups), criteria)}; over exactly these {_points(fixed)}",
        estimate=mean.estimate,
        scope=_scope(claim, data),
        criteria={
            **criteria, "n_benchmarks": len(groups), "mean_of_these": _short(fixed),
            "per_benchmark": _named(groups, estimates),
        },
    )  # fmt: skip


def on_all_benchmarks(claim: Claim, data: Data, target: Target, policy: Unscored) -> Answer:
    """Every benchmark at once, by intersection-union (plan: claims A2 and B).

    replicated: largest one-sided p <= alpha/2. not_replicated: after Holm some benchmark lies below 0 (one-sided alpha/2)
    or, where `equivalence_refutes`, is equivalent to 0 within -+sesoi (alpha). Otherwise inconclusive. Shown: the weakest.
    """
    alpha = claim.parameters["alpha"]
    by_benchmark = _pairs(claim, data)
    names = list(by_benchmark)
    estimates = [_mean([pair], target, 1 - alpha, policy) for pair in by_benchmark.values()]
    p = [e.p_one_sided for e in estimates]
    below = holm([_p_below(e) for e in estimates])
    equivalent = holm([tost_p(e.value, e.se, e.df, claim.parameters["sesoi"]) for e in estimates])
    iut = intersection_union(p)
    shown = [name for name, adjusted in zip(names, holm(p), strict=True) if adjusted <= alpha / 2]
    against = [name for name, adjusted in zip(names, below, strict=True) if adjusted <= alpha / 2]
    null = [name for name, adjusted in zip(names, equivalent, strict=True) if adjusted <= alpha]
    if not claim.parameters["equivalence_refutes"]:
        null = []
    if iut <= alpha / 2:
        outcome, reason = "replicated", f"all {len(names)} benchmarks above 0, largest {_p(iut)}"
    elif against or null:
        outcome = "not_replicated"
        reason = "; ".join(
            [f"below 0: {', '.join(against)}"] * bool(against) + [f"equivalent to 0: {', '.join(null)}"] * bool(null)
        )
    else:
        outcome = "inconclusive"
        reason = f"largest {_p(iut)}; shown after Holm: {', '.join(shown) or 'none'} ({len(shown)} of {len(names)})"
    weakest = int(np.argmax(p))
    return Answer(
        outcome=outcome,
        reason=f"{reason}; weakest: {names[weakest]}",
        estimate=estimates[weakest],
        scope=_scope(claim, data),
        criteria={
            "test": "intersection-union, one-sided", "alpha_one_sided": alpha / 2, "iut_p": iut, "shown_after_holm": shown,
            "below_zero_after_holm": against, "equivalent_after_holm": null, "weakest": names[weakest],
            "per_benchmark": _named(by_benchmark, estimates),
        },
    )  # fmt: skip


def on_all_scaffolds(claim: Claim, data: Data, target: Target, policy: Unscored) -> Answer:
    """The same direction under every scaffold (plan: claim C).

    replicated: intersection-union over scaffolds at alpha/2 and prediction interval for a new scaffold above 0.
    not_replicated: two scaffolds on opposite sides of 0 after Holm. Otherwise inconclusive. Shown: the weakest.
    """
    alpha = claim.parameters["alpha"]
    groups = _groups(claim, data, "scaffold", at_least=2)
    estimates = [_mean(list(g.values()), target, 1 - alpha, policy) for g in groups.values()]
    p, below = [e.p_one_sided for e in estimates], [_p_below(e) for e in estimates]
    by_scaffold = {name: list(group.values()) for name, group in groups.items()}
    fit = pooled(by_scaffold, target=target, level=1 - alpha, unscored=policy).fit
    iut = intersection_union(p)
    opposite = bool((holm(p) <= alpha / 2).any() and (holm(below) <= alpha / 2).any())
    if iut <= alpha / 2 and fit.prediction_low > 0:
        outcome = "replicated"
    else:
        outcome = "not_replicated" if opposite else "inconclusive"
    weakest = int(np.argmax(p))
    return Answer(
        outcome=outcome,
        reason=f"{len(groups)} scaffolds, largest {_p(iut)}, prediction for a new one from "
        f"{_signed(fit.prediction_low)}; weakest: {list(groups)[weakest]}",
        estimate=estimates[weakest],
        scope=_scope(claim, data),
        criteria={
            "iut_p": iut, "prediction_interval": [fit.prediction_low, fit.prediction_high], "opposite_signs": opposite,
            "per_scaffold": _named(groups, estimates),
        },
    )  # fmt: skip


def on_all_scales(claim: Claim, data: Data, target: Target, policy: Unscored) -> Answer:
    """The gain at every scale tried, with simultaneous (Bonferroni) intervals (plan: claim D).

    replicated: lower limit above 0 at every scale. not_replicated: upper limit below sesoi at the largest scale. Otherwise
    inconclusive. Nothing is said beyond the largest scale, which is shown.
    """
    alpha, sesoi = claim.parameters["alpha"], claim.parameters["sesoi"]
    groups = _groups(claim, data, "params_b", at_least=3)
    level = 1 - alpha / len(groups)
    estimates = [_mean(list(g.values()), target, level, policy) for g in groups.values()]
    largest = estimates[-1]
    if min(e.low for e in estimates) > 0:
        outcome = "replicated"
    else:
        outcome = "not_replicated" if largest.high < sesoi else "inconclusive"
    above = sum(e.low > 0 for e in estimates)
    return Answer(
        outcome=outcome,
        reason=f"lower limit above 0 at {above} of {len(groups)} scales up to {_size(list(groups)[-1])} parameters",
        estimate=largest,
        scope=_scope(claim, data),
        criteria={"simultaneous_level": level, "per_scale": _named(map(_size, groups), estimates)},
    )


def cheaper(claim: Claim, data: Data, target: Target, policy: Unscored) -> Answer:
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
    arms = []
    for arm in (0, 1):
        spent = np.concatenate([np.asarray(pair[arm]) for pair in cost.values()], axis=2)
        score = np.concatenate([np.asarray(pair[arm]) for pair in solved.values()], axis=2)
        arms.append((spent, score))
    complete = ~np.any([np.isnan(score).any(axis=(0, 1)) for _, score in arms], axis=0)
    keep = complete if policy == "exclude" else np.ones_like(complete)
    prepared = [np.nan_to_num(array[:, :, keep]) for arm in arms for array in arm]
    estimate = log_cost_ratio(*prepared, target=target, level=1 - claim.parameters["alpha"])
    outcome = "replicated" if estimate.high < 0 else "not_replicated" if estimate.low > 0 else "inconclusive"
    training = None
    if data.training is not None:
        shared = data.scores.groupby("scale")["arm"].agg(lambda arms: {treatment, control} <= set(arms))
        at_shared = data.training[data.training["scale"].map(shared).fillna(False).astype(bool)]
        flops = at_shared.groupby("arm")["flops"].mean()
        training = float(flops[treatment] / flops[control]) if {treatment, control} <= set(flops.index) else None
    return Answer(
        outcome=outcome,
        reason=f"compute per solved task x{np.exp(estimate.value):.2f} of `{control}`",
        estimate=estimate,
        scope=_scope(claim, data),
        criteria={"scale": "log ratio", "training_flops_ratio": training},
    )


Rule = Callable[[Claim, Data, Target, Unscored], Answer]

COLLECTED: Mapping[str, Rule] = {
    "average_effect": average_effect,
    "on_all_benchmarks": on_all_benchmarks,
    "on_all_scaffolds": on_all_scaffolds,
    "on_all_scales": on_all_scales,
    "cheaper": cheaper,
}
PUBLISHED: Mapping[str, Rule] = {
    "published_on_all": published_on_all,
    "average_effect": published_average,
    "on_all_benchmarks": published_lacks(_needs_tasks),
    "on_all_scaffolds": published_lacks(_needs_scaffolds),
    "on_all_scales": published_lacks(_needs_scales),
    "cheaper": published_lacks(_needs_costs),
}


def _pairs(claim: Claim, data: Data) -> dict[str, Pair]:
    arms = claim.compare["treatment"], claim.compare["control"]
    if arms not in data.memo:
        data.memo[arms] = pairs(data.scores, *arms)
    return data.memo[arms]


def _groups(claim: Claim, data: Data, column: str, at_least: int) -> dict:
    """Pairs per value of a column, in order, over the values where both arms exist."""
    _pairs(claim, data)
    arms = claim.compare["treatment"], claim.compare["control"]
    parts = {value: part for value, part in data.scores.groupby(column) if set(arms) <= set(part["arm"])}
    if len(parts) < at_least:
        what = "scale" if column == "params_b" else column
        shown = ", ".join(_size(value) if what == "scale" else str(value) for value in parts)
        raise AnalysisError(
            f"{len(parts)} {what}{'s' * (len(parts) != 1)} ({shown}) {'was' if len(parts) == 1 else 'were'} run; "
            f"the claim needs {at_least}."
        )
    key = (*arms, column)
    if key not in data.memo:
        data.memo[key] = {value: pairs(part, *arms) for value, part in parts.items()}
    return data.memo[key]


def _mean(pairs_: list[Pair], target: Target, level: float, policy: Unscored) -> Estimate:
    return mean_paired_difference(pairs_, target=target, level=level, unscored=policy)


def _average_outcome(claim: Claim, mean: summaries.Pooled) -> tuple[Outcome, dict[str, Json]]:
    alpha, sesoi = claim.parameters["alpha"], claim.parameters["sesoi"]
    estimate, fit = mean
    equivalence = tost_p(estimate.value, estimate.se, estimate.df, sesoi)
    if estimate.low > 0:
        outcome = "replicated"
    elif estimate.high < 0 or equivalence <= alpha:
        outcome = "not_replicated"
    else:
        outcome = "inconclusive"
    return outcome, {
        "tau": fit.tau, "prediction_interval": [fit.prediction_low, fit.prediction_high], "q": fit.q, "q_p": fit.q_p,
        "sesoi": sesoi, "equivalence_p": equivalence, "equivalent": equivalence <= alpha,
    }  # fmt: skip


def _average_reason(estimate: Estimate, n_benchmarks: int, criteria: Mapping[str, Json]) -> str:
    if estimate.low > 0:
        how = "interval above 0"
    elif estimate.high < 0:
        how = "interval below 0"
    elif criteria["equivalent"]:
        how = f"within {100 * criteria['sesoi']:g} points of 0"
    else:
        how = "interval holds 0 and effects of interest"
    return f"random-effects mean of {n_benchmarks} benchmarks, {_p(estimate.p_two_sided)}: {how}"


def _scope(claim: Claim, data: Data) -> str:
    """What the answer is about, read from the data."""
    arms = data.published if data.scores is None else data.scores
    wanted = _published_arms(claim) if data.scores is None else (claim.compare["treatment"], claim.compare["control"])
    if set(wanted) <= set(arms["arm"]):
        arms = arms[arms["arm"].isin(wanted)]
    if data.scores is None:
        scales = ", ".join(map(_size, sorted(arms["params_b"].dropna().unique())))
        return f"published scores of one pair of checkpoints at {scales}, {arms['benchmark'].nunique()} benchmarks"
    listed = []
    for column in ("scale", "scaffold", "benchmark"):
        by = ["params_b", column] if column == "scale" else [column]
        values = [str(value) for value in arms.sort_values(by, kind="stable")[column].unique()]
        listed.append(f"{column}{'s' * (len(values) > 1)} {', '.join(values)}")
    return "; ".join(([data.scope] if data.scope else []) + listed)


def _p_below(estimate: Estimate) -> float:
    """One-sided p of "not below zero"."""
    return float(estimate.value >= 0) if estimate.se == 0 else 1 - estimate.p_one_sided


def _short(estimate: Estimate) -> dict[str, Json]:
    keys = ("value", "low", "high", "p_one_sided", "p_two_sided", "n_tasks", "n_training_runs", "n_unscored")
    return {key: getattr(estimate, key) for key in keys}


def _named(names: Iterable[str], estimates: Iterable[Estimate]) -> dict[str, Json]:
    return {name: _short(estimate) for name, estimate in zip(names, estimates, strict=True)}


def _points(estimate: Estimate) -> str:
    value, low, high = (_signed(v) for v in (estimate.value, estimate.low, estimate.high))
    return f"{value} [{low}, {high}]"


def _signed(fraction: float) -> str:
    return f"{100 * fraction:+.1f}".replace("-", "\N{MINUS SIGN}")


def _size(params_b: float) -> str:
    return f"{params_b:g}B" if params_b >= 1 else f"{1000 * params_b:.3g}M"


def _p(p: float) -> str:
    return "p < .001" if p < 0.001 else f"p = {p:.3f}".replace("0.", ".", 1)


def _p_range(p: pd.Series) -> str:
    low, high = _p(p.min()), _p(p.max())
    return low if low == high else f"{low} to {high.removeprefix('p ').removeprefix('= ')}"


def _share(outcomes: Mapping[tuple, str]) -> str:
    counts = pd.Series(list(outcomes.values())).value_counts()
    return f"{counts.iloc[0]} of {len(outcomes)}"
