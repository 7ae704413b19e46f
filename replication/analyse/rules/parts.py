"""What a decision rule sees and answers, and the steps that rules share."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

import pandas as pd

from replication.analyse.stats.estimates.differences import Pair, Unscored, mean_paired_difference
from replication.analyse.stats.printed import audit, audit_model
from replication.analyse.stats.two_studies.equivalence import tost_p
from replication.analyse.tables import summaries
from replication.analyse.tables.arms import pairs
from replication.analyse.tables.summaries import pooled_published
from replication.errors import AnalysisError
from replication.records import Claim, Estimate, Json, Outcome, Target
from replication.text import p_equation, plain, size


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How estimates are computed and shown; mirrors conf/analysis."""

    level: float = 0.95
    power: float = 0.8
    icc: float = 0.5
    rho: float = 0.5
    unstated_runs: int = 1
    unscored: tuple[Unscored, ...] = ("exclude", "fail")
    """Policies that an outcome must survive."""
    bounds: tuple[Unscored, ...] = ("worst", "best")
    """Policies whose outcome is reported beside it."""
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
    model_pairs: pd.DataFrame | None = None
    """Published scores of agent-tuned models and general ones of the same base."""
    scores: pd.DataFrame | None = None
    """None in a reanalysis."""
    training: pd.DataFrame | None = None
    comparisons: tuple[tuple[str, str], ...] = ()
    """(treatment, control) that the study wants estimated beside those of the claims."""
    settings: Settings = Settings()
    memo: dict = field(default_factory=dict, init=False, repr=False, compare=False)
    """Score arrays per comparison: the same for every rule, target and policy."""


@dataclass(frozen=True, kw_only=True)
class RuleResult:
    """What a rule says for one target under one policy."""

    outcome: Outcome
    reason: str
    estimate: Estimate | None
    scope: str
    criteria: Mapping[str, Json]


Rule = Callable[[Claim, Data, Target, Unscored], RuleResult]


def published_names(claim: Claim) -> tuple[str, str]:
    compare = claim.compare
    return (
        compare.get("published_treatment", compare["treatment"]),
        compare.get("published_control", compare["control"]),
    )


def published_rows(claim: Claim, data: Data) -> pd.DataFrame:
    arms = published_names(claim)
    return audit.compare(data.published, data.benchmarks, *arms, unstated_runs=data.settings.unstated_runs)


def published_estimates(claim: Claim, data: Data, icc: float, rho: float, target: Target) -> list[Estimate]:
    level = 1 - claim.parameters["alpha"]
    return [
        audit_model.difference(row.p_a, row.p_b, row.n, row.k, icc=icc, rho=rho, target=target, level=level)
        for row in published_rows(claim, data).itertuples()
    ]


def original_of(claim: Claim, data: Data) -> Estimate | None:
    """The published side of a claim about the mean effect: random effects over the printed rows, T2."""
    if claim.rule != "average_effect" or data.scores is None:
        return None
    settings = data.settings
    estimates = published_estimates(claim, data, settings.icc, settings.rho, "T2")
    return pooled_published(estimates, level=1 - claim.parameters["alpha"]).estimate


def paired(claim: Claim, data: Data) -> dict[str, Pair]:
    arms = claim.compare["treatment"], claim.compare["control"]
    if arms not in data.memo:
        data.memo[arms] = pairs(data.scores, *arms)
    return data.memo[arms]


def grouped(claim: Claim, data: Data, column: str, at_least: int) -> dict:
    """Pairs per value of a column, in order, over the values where both arms exist."""
    paired(claim, data)
    arms = claim.compare["treatment"], claim.compare["control"]
    parts = {value: part for value, part in data.scores.groupby(column) if set(arms) <= set(part["arm"])}
    if len(parts) < at_least:
        what = "scale" if column == "params_b" else column
        shown = ", ".join(size(value) if what == "scale" else str(value) for value in parts)
        raise AnalysisError(
            f"{len(parts)} {what}{'s' * (len(parts) != 1)} ({shown}) {'was' if len(parts) == 1 else 'were'} run; "
            f"the claim needs {at_least}."
        )
    key = (*arms, column)
    if key not in data.memo:
        data.memo[key] = {value: pairs(part, *arms) for value, part in parts.items()}
    return data.memo[key]


def mean_of(pairs_: list[Pair], target: Target, level: float, policy: Unscored) -> Estimate:
    return mean_paired_difference(pairs_, target=target, level=level, unscored=policy)


def average_outcome(claim: Claim, mean: summaries.Pooled) -> tuple[Outcome, dict[str, Json]]:
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


def average_reason(estimate: Estimate, n_benchmarks: int, criteria: Mapping[str, Json]) -> str:
    if estimate.low > 0:
        how = "interval above 0"
    elif estimate.high < 0:
        how = "interval below 0"
    elif criteria["equivalent"]:
        how = f"within {plain(100 * criteria['sesoi'])} points of 0"
    else:
        how = "interval holds 0 and effects of interest"
    return f"random-effects mean of {n_benchmarks} benchmarks, {p_equation(estimate.p_two_sided)}: {how}"


def scope_of(claim: Claim, data: Data) -> str:
    """What the answer is about, read from the data."""
    arms = data.published if data.scores is None else data.scores
    wanted = published_names(claim) if data.scores is None else (claim.compare["treatment"], claim.compare["control"])
    if set(wanted) <= set(arms["arm"]):
        arms = arms[arms["arm"].isin(wanted)]
    if data.scores is None:
        scales = ", ".join(map(size, sorted(arms["params_b"].dropna().unique())))
        return f"published scores of one pair of checkpoints at {scales}, {arms['benchmark'].nunique()} benchmarks"
    listed = []
    for column in ("scale", "scaffold", "benchmark"):
        by = ["params_b", column] if column == "scale" else [column]
        values = [str(value) for value in arms.sort_values(by, kind="stable")[column].unique()]
        listed.append(f"{column}{'s' * (len(values) > 1)} {', '.join(values)}")
    return "; ".join(([data.scope] if data.scope else []) + listed)


def p_below(estimate: Estimate) -> float:
    """One-sided p of "not below zero"."""
    return float(estimate.value >= 0) if estimate.se == 0 else 1 - estimate.p_one_sided


def short(estimate: Estimate) -> dict[str, Json]:
    keys = ("value", "low", "high", "p_one_sided", "p_two_sided", "n_tasks", "n_training_runs", "n_unscored")
    return {key: getattr(estimate, key) for key in keys}


def named(names: Iterable[str], estimates: Iterable[Estimate]) -> dict[str, Json]:
    return {name: short(estimate) for name, estimate in zip(names, estimates, strict=True)}


def most_common(outcomes: Mapping[tuple, str]) -> str:
    counts = pd.Series(list(outcomes.values())).value_counts()
    return f"{counts.iloc[0]} of {len(outcomes)}"
