"""The rule on the literature: a mean over the results of other papers."""

import pandas as pd

from replication.analyse import evidence, synthesis
from replication.analyse.rules.data import RuleResult, StudyData
from replication.analyse.rules.shared import equivalence_p
from replication.analyse.stats.estimates.differences import Unscored
from replication.analyse.stats.estimates.intervals import t_estimate
from replication.analyse.stats.families.multilevel import RELIABLE_DF, prediction
from replication.errors import AnalysisError, ClaimError
from replication.records import Claim, Outcome, Target
from replication.text import bounds, fixed, p_equation, plain, size


def literature_mean(claim: Claim, data: StudyData, target: Target, policy: Unscored) -> RuleResult:
    """Decide on the multilevel mean of a design of the literature, or of a domain of tuned pairs (`compare.treatment`).

    established: the cluster-robust interval lies above 0. Otherwise not_established: the reason says whether it lies below
    0, or within sesoi of 0, or too few papers are behind it (Satterthwaite df below 4). Nothing new was measured, so nothing
    is replicated.
    """
    if data.literature is None:
        raise AnalysisError("no tables of the literature were given.")
    name, alpha, sesoi = claim.compare["treatment"], claim.parameters["alpha"], claim.parameters["sesoi"]
    allowed = (*synthesis.CLASSES, *evidence.DOMAINS)
    if name not in allowed:
        raise ClaimError(f"{claim.id}.yaml: `compare.treatment` must be one of {', '.join(allowed)}; got {name!r}.")
    assumptions = data.literature.assumptions._replace(unstated_tasks=claim.parameters["unstated_tasks"])
    table = synthesis.of_set(data.literature, name, assumptions)
    n_papers = table["cluster"].nunique()
    if n_papers < 2:
        raise AnalysisError(f"`{name}` has results of {n_papers} papers with own controls; a mean over papers needs 2.")
    fitted = synthesis.fit(table, 1 - alpha)
    mean = fitted.mean
    estimate = t_estimate(
        mean.value, mean.se, mean.df, level=1 - alpha, method="multilevel random effects, REML, CR2 and Satterthwaite t",
        target=target, n_tasks=len(table), n_trials=1, n_training_runs=n_papers,
    )  # fmt: skip
    equivalence = equivalence_p(estimate, sesoi)
    reliable = mean.df >= RELIABLE_DF
    outcome: Outcome = "established" if reliable and estimate.low > 0 else "not_established"
    against = ""
    if reliable and outcome == "not_established":
        against = (
            "; interval below 0" if estimate.high < 0
            else f"; within {plain(100 * sesoi)} points of 0" if equivalence <= alpha
            else "; interval holds 0"
        )  # fmt: skip
    new, n_positive = prediction(fitted, n_effects=1), int((table["value"] > 0).sum())
    few = f"; {fixed(mean.df)} degrees of freedom, below {plain(RELIABLE_DF)}: too few papers to decide"
    return RuleResult(
        outcome=outcome,
        reason=f"mean of {len(table)} results of {n_papers} papers, {n_positive} above 0, "
        f"{p_equation(mean.p_two_sided)}; a new result is expected in {bounds(*new)}" + (against if reliable else few),
        estimate=estimate,
        scope=_scope(table),
        criteria={
            "set": name, "n_effects": len(table), "n_papers": n_papers, "n_positive": n_positive, "df": mean.df,
            "reliable_df": RELIABLE_DF, "between_sd": fitted.between**0.5, "within_sd": fitted.within**0.5,
            "prediction_interval": list(new), "sesoi": sesoi, "equivalence_p": equivalence,
            "n_inferred": int((table["certainty"] == "inferred").sum()), "assumptions": assumptions._asdict(),
        },
    )  # fmt: skip


def not_collected(claim: Claim, data: StudyData, target: Target, policy: Unscored) -> RuleResult:
    """Refuse: a study that collects scores is not the literature."""
    raise AnalysisError(f"rule `{claim.rule}` is about published results, not about collected scores.")


def _scope(table: pd.DataFrame) -> str:
    sizes = table["params_b"].dropna()
    papers = ", ".join(dict.fromkeys(table["cluster"]))
    return f"published results of {papers}, {size(sizes.min())} to {size(sizes.max())}"
