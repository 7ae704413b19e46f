"""The synthesis of the literature: what others found who trained agents on next observations, or tuned models as agents.

A multilevel random-effects mean per design (`stats.families.multilevel`), with effects in papers; papers that share control
runs are one cluster. Standard errors are those of T3: tasks and runs by the audit model, and a training run per arm.
Not covered: that a benchmark or a base model occurs in several papers; results that nobody published.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import pandas as pd

from replication.analyse import evidence
from replication.analyse.analysis_settings import AnalysisSettings
from replication.analyse.stats.distributions import normal_ppf, t_ppf, t_sf
from replication.analyse.stats.families import multilevel as ml
from replication.analyse.stats.families import small_study
from replication.analyse.stats.printed.audit_model import standard_error

if TYPE_CHECKING:
    from replication.analyse.table_audit import TableAudit
    from replication.records import Claim

CLASSES: Mapping[str, tuple[str, ...]] = {
    "standalone": ("standalone",),
    "warmup_then_agentic": ("warmup_then_agentic",),
    "joint_with_rl": ("joint_with_rl",),
    "joint_with_sft": ("joint_with_sft", "joint_with_sft_then_rl"),
    "midtraining": ("midtraining_then_agentic",),
    "joint_with_distillation": ("joint_with_distillation",),
}
"""Designs that are pooled, by class; the first is that of table 9."""

NAMES: Mapping[str, str] = {
    "standalone": "next observations alone",
    "warmup_then_agentic": "before training as an agent",
    "joint_with_rl": "beside reinforcement learning",
    "joint_with_sft": "beside fine-tuning",
    "midtraining": "in mid-training",
    "joint_with_distillation": "beside self-distillation",
    "all_but_standalone": "all but the first",
    "standalone with ablations": "next observations alone, with ablations",
    "in": "in the domain of the tuning",
    "near": "near its domain",
    "held_out": "held out",
}
"""What a set is called in tables and figures."""

TABLE9_CLASS = "standalone"
OTHER = "all_but_standalone"
"""All other classes together: only for orientation, since their effects differ in kind."""

RULE = "literature_mean"
"""The rule whose first claim names the assumptions of the synthesis."""

BOUND = 0.5
"""Score at which the variance p(1 - p) is largest, taken where only a difference was printed."""


class Assumptions(NamedTuple):
    """What the papers do not print."""

    icc: float
    rho: float
    unstated_runs: int
    unstated_tasks: int
    run_sd: float
    """Standard deviation between training runs of one arm, a fraction."""


class Literature(NamedTuple):
    """The tables that are pooled, with the assumptions behind their standard errors."""

    world_models: pd.DataFrame
    tuned_pairs: pd.DataFrame
    assumptions: Assumptions


class Synthesis(NamedTuple):
    """Every table of the synthesis. `set` is a class of CLASSES or a domain of the tuned pairs."""

    effects: pd.DataFrame
    """Primary effects, one row each: `world_models` with set, cluster, se, low and high."""
    pairs: pd.DataFrame
    """The same of the tuned pairs, base minus agent."""
    papers: pd.DataFrame
    """Mean per set and paper with the mean of its errors, which are taken as one; a number of effects."""
    published: pd.DataFrame
    """The published differences in the same form, of the class of table 9."""
    means: pd.DataFrame
    moderators: pd.DataFrame
    leave_one_out: pd.DataFrame
    choices: pd.DataFrame
    checks: pd.DataFrame
    table9: pd.DataFrame
    """The published mean against what each class predicts for a new paper."""
    tests: pd.DataFrame
    """Of the released model by others."""
    assumptions: Assumptions


def load(claims: Iterable[Claim], settings: AnalysisSettings) -> Literature | None:
    """Return the packaged literature with the assumptions that the first claim about it names; None without such a claim."""
    claim = next((claim for claim in claims if claim.rule == RULE), None)
    if claim is None:
        return None
    spreads = evidence.load_spreads()
    run_sd = float(spreads.loc[spreads["level"] == "training", "sd"].median())
    return Literature(
        evidence.load_world_models(), evidence.load_tuned_pairs(),
        Assumptions(settings.icc, settings.rho, settings.unstated_runs, claim.parameters["unstated_tasks"], run_sd),
    )  # fmt: skip


def of_set(literature: Literature, name: str, assumptions: Assumptions | None = None) -> pd.DataFrame:
    """Return the primary effects of a class, or the pairs of a domain, with their standard errors."""
    chosen = literature.assumptions if assumptions is None else assumptions
    if name in CLASSES:
        return _primary(effects(literature.world_models, chosen), name)
    return pair_effects(literature.tuned_pairs, chosen).query("set == @name")


def effects(table: pd.DataFrame, a: Assumptions) -> pd.DataFrame:
    """Add to comparisons their class (`set`), `cluster` and standard error `se` (T3), fractions.

    se^2 is the sum of three variances. Tasks: the audit model. Runs: from printed SDs or errors where there are any, else
    the audit model. Training: run_sd^2/m per trained arm, m training runs, none where the printed SD is over training runs.
    """
    of = {design: name for name, designs in CLASSES.items() for design in designs}
    repeated = table["runs_level"] == "training"
    m = table["runs"].where(repeated).fillna(1)
    k = table["runs"].where(~repeated).fillna(a.unstated_runs)
    over_runs = table["treatment_sd"].notna() & (table["spread_kind"] != "se")
    both = (table["treatment_sd"] ** 2 + table["control_sd"] ** 2) / 100**2
    printed = both / table["runs"].where(over_runs, 1.0)
    untrained = (table["design"] == "standalone") & (table["matched_control"] == "no")
    training = np.where(over_runs & repeated & (m > 1), 0.0, np.where(untrained, 1, 2) * a.run_sd**2 / m)
    variance = _task_variance(table["p_control"], table["p_treatment"], table["n_tasks"], a)
    noise = _noise_variance(table["p_control"], table["p_treatment"], table["n_tasks"], k * m, a)
    return table.assign(
        set=table["design"].map(of),
        cluster=table["controls"],
        se=np.sqrt(variance + printed.where(printed.notna(), noise) + training),
    )


def pair_effects(table: pd.DataFrame, a: Assumptions) -> pd.DataFrame:
    """Add to tuned pairs their domain (`set`), `cluster` and standard error `se`: as `effects`, one trained arm."""
    k = table["runs"].fillna(a.unstated_runs)
    variance = _task_variance(table["p_base"], table["p_agent"], table["n_tasks"], a)
    noise = _noise_variance(table["p_base"], table["p_agent"], table["n_tasks"], k, a)
    return table.assign(set=table["domain"], cluster=table["controls"], se=np.sqrt(variance + noise + a.run_sd**2))


def fit(table: pd.DataFrame, level: float) -> ml.Multilevel:
    """Fit the multilevel mean of effects; its robust error is at least that of the model."""
    return ml.multilevel(table["value"], table["se"], list(table["cluster"]), level=level, floor=True)


def synthesise(literature: Literature, audit: TableAudit, settings: AnalysisSettings) -> Synthesis:
    """Compute every table; `audit` is of the published table."""
    a, level = literature.assumptions, settings.level
    everything = effects(literature.world_models, a)
    primary = everything[everything["pool"] == "primary"]
    pairs = pair_effects(literature.tuned_pairs, a)
    sets = {name: part for name in CLASSES if len(part := primary[primary["set"] == name])}
    domains = {name: pairs[pairs["set"] == name] for name in evidence.DOMAINS}
    both = {**sets, OTHER: primary[primary["set"] != TABLE9_CLASS], **domains}
    return Synthesis(
        effects=_with_bounds(primary, level), pairs=_with_bounds(pairs, level),
        papers=_papers(both, level), published=_published(audit, a, level),
        means=pd.DataFrame([_mean_row(name, part, level) for name, part in both.items()]),
        moderators=_moderators(primary, level),
        leave_one_out=_leave_one_out(both, level),
        choices=_choices(literature, everything, both, level),
        checks=_checks(both, level),
        table9=_table9(_published(audit, a, level), everything, sets, level),
        tests=evidence.load_tests(), assumptions=a,
    )  # fmt: skip


def tables(s: Synthesis) -> dict[str, pd.DataFrame]:
    """Return every table of the synthesis by the name of its CSV file."""
    left_out = ("tests", "assumptions")
    return {f"literature_{name}": cast(pd.DataFrame, getattr(s, name)) for name in s._fields if name not in left_out}


def _task_variance(p_a: pd.Series, p_b: pd.Series, n: pd.Series, a: Assumptions) -> Any:
    n = n.fillna(a.unstated_tasks)
    return standard_error(p_a.fillna(BOUND), p_b.fillna(BOUND), n, np.inf, icc=a.icc, rho=a.rho) ** 2


def _noise_variance(p_a: pd.Series, p_b: pd.Series, n: pd.Series, k: pd.Series, a: Assumptions) -> Any:
    n = n.fillna(a.unstated_tasks)
    return standard_error(p_a.fillna(BOUND), p_b.fillna(BOUND), n, k, icc=a.icc, rho=a.rho, target="T1") ** 2


def _primary(table: pd.DataFrame, name: str) -> pd.DataFrame:
    return table[(table["set"] == name) & (table["pool"] == "primary")]


def _with_bounds(table: pd.DataFrame, level: float) -> pd.DataFrame:
    half = float(normal_ppf((1 + level) / 2)) * table["se"]
    return table.assign(low=table["value"] - half, high=table["value"] + half).reset_index(drop=True)


def _papers(sets: Mapping[str, pd.DataFrame], level: float) -> pd.DataFrame:
    parts = []
    for name, table in sets.items():
        if name != OTHER:
            sizes = table.groupby("cluster", sort=False).size()
            parts.append(_per_paper(table).assign(set=name, n_effects=sizes.to_numpy()))
    return _with_bounds(pd.concat(parts), level)


def _published(audit: TableAudit, a: Assumptions, level: float) -> pd.DataFrame:
    """Return the published differences at T2 with one training run, as `effects` has those of its class."""
    rows = audit.differences("T2")
    errors = [(cast(float, row.se) ** 2 + a.run_sd**2) ** 0.5 for row in rows]
    table = pd.DataFrame({"name": audit.rows["name"], "value": [row.value for row in rows], "se": errors})
    return _with_bounds(table.assign(set=TABLE9_CLASS, certainty="read"), level)


def _mean_row(name: str, table: pd.DataFrame, level: float) -> dict[str, Any]:
    """Summarise one set; columns of the mean are NaN, with a reason, where fewer than two clusters were found.

    model_low, model_high: by the model's error with one df less than clusters, which takes the effects of a paper as
    independent given the paper.
    """
    row = {"set": name, **_counts(table), **_estimate(table, level)}
    if row["reason"]:
        return row
    fitted = fit(table, level)
    between, within = ml.variance_bounds(table["value"], table["se"], list(table["cluster"]), level=level)
    half = float(t_ppf((1 + level) / 2, fitted.n_clusters - 1)) * fitted.mean.model_se
    return {
        **row, "model_low": fitted.mean.value - half, "model_high": fitted.mean.value + half,
        "between_sd": fitted.between**0.5, "between_low": between.low**0.5, "between_high": between.high**0.5,
        "within_sd": fitted.within**0.5, "within_low": within.low**0.5, "within_high": within.high**0.5,
    }  # fmt: skip


def _counts(table: pd.DataFrame) -> dict[str, Any]:
    return {
        "n_effects": len(table), "n_papers": int(table["cluster"].nunique()),
        "n_positive": int((table["value"] > 0).sum()), "n_inferred": int((table["certainty"] == "inferred").sum()),
    }  # fmt: skip


def _estimate(table: pd.DataFrame, level: float) -> dict[str, Any]:
    """Return the mean with its interval and the prediction interval of a single effect in a new paper."""
    names = ("mean", "se", "df", "low", "high", "p_two_sided", "prediction_low", "prediction_high")
    n_clusters = table["cluster"].nunique()
    if n_clusters < 2:
        reason = f"{n_clusters} paper{'s' * (n_clusters != 1)} with own controls, a mean needs 2"
        return {**dict.fromkeys(names, np.nan), "reason": reason}
    fitted = fit(table, level)
    mean, new = fitted.mean, ml.prediction(fitted, n_effects=1)
    values = (mean.value, mean.se, mean.df, mean.low, mean.high, mean.p_two_sided, new.low, new.high)
    return {**dict(zip(names, values, strict=True)), "reason": ""}


def _moderators(primary: pd.DataFrame, level: float) -> pd.DataFrame:
    """Regress effects on one moderator each: columns moderator, counts, value, low, high, df, p_two_sided."""
    other = primary[primary["set"] != TABLE9_CLASS]
    sized = other.dropna(subset="params_b")
    choices = {
        "standalone against all other designs": (primary, primary["set"] == TABLE9_CLASS),
        "matched control against partly matched, without standalone": (other, other["matched_control"] == "yes"),
        "tenfold size, without standalone": (sized, np.log10(sized["params_b"])),
        "read from the paper against copies, without standalone": (other, other["certainty"] == "read"),
    }
    rows = []
    for name, (table, moderator) in choices.items():
        x = np.column_stack([np.ones(len(table)), np.asarray(moderator, float)])
        fitted = ml.multilevel(table["value"], table["se"], list(table["cluster"]), x=x, level=level, floor=True)
        slope = fitted.coefficients[1]
        rows.append({"moderator": name, **_counts(table), "value": slope.value, "low": slope.low, "high": slope.high,
                     "df": slope.df, "p_two_sided": slope.p_two_sided})  # fmt: skip
    return pd.DataFrame(rows)


def _leave_one_out(sets: Mapping[str, pd.DataFrame], level: float) -> pd.DataFrame:
    """Fit each set of three papers or more as it is, without each paper, and from rows that were read in their papers."""
    rows = []
    for name, table in sets.items():
        papers = list(dict.fromkeys(table["cluster"]))
        if len(papers) < 3:
            continue
        parts = {"all": table} | {f"without {paper}": table[table["cluster"] != paper] for paper in papers}
        parts["read rows only"] = table[table["certainty"] == "read"]
        rows += [
            {"set": name, "label": label, **_counts(part), **_estimate(part, level)} for label, part in parts.items()
        ]
    return pd.DataFrame(rows)


def _choices(
    literature: Literature, everything: pd.DataFrame, sets: Mapping[str, pd.DataFrame], level: float
) -> pd.DataFrame:
    """Fit each set under other choices of rows and of assumptions; `reason` says why there is no mean."""
    a, rows = literature.assumptions, []
    restrictions: dict[str, Callable[[pd.DataFrame], pd.DataFrame]] = {
        "as is": lambda t: t,
        "read rows only": lambda t: t[t["certainty"] == "read"],
        "single attempts only": lambda t: t[~t["metric"].str.contains("@4")],
        "one value per paper": _per_paper,
    }
    assumed = {
        "no training variance": a._replace(run_sd=0.0), "training SD doubled": a._replace(run_sd=2 * a.run_sd),
        "half the tasks where unstated": a._replace(unstated_tasks=max(1, a.unstated_tasks // 2)),
        "five times the tasks where unstated": a._replace(unstated_tasks=5 * a.unstated_tasks),
        "no correlation over tasks": a._replace(rho=0.0),
    }  # fmt: skip
    for name, table in sets.items():
        if table["cluster"].nunique() < 2 or name == OTHER:
            continue
        found = {choice: restrict(table) for choice, restrict in restrictions.items()}
        if name in CLASSES:
            own = everything[everything["set"] == name]
            found["matched controls only"] = table[table["matched_control"] == "yes"]
            found["with ablations"] = own[own["pool"].isin(["primary", "sensitivity"])]
        found |= {choice: of_set(literature, name, other) for choice, other in assumed.items()}
        rows += [{"set": name, "choice": c, **_counts(t), **_estimate(t, level)} for c, t in found.items()]
    return pd.DataFrame(rows)


def _per_paper(table: pd.DataFrame) -> pd.DataFrame:
    """Average a paper's effects and their errors, its errors taken as one."""
    grouped = table.groupby("cluster", sort=False, as_index=False)
    return grouped.agg({"value": "mean", "se": "mean", "certainty": "min"})


def _checks(sets: Mapping[str, pd.DataFrame], level: float) -> pd.DataFrame:
    """Check each set of three papers or more for small-study effects and for too many significant or positive effects."""
    rows = []
    for name, table in sets.items():
        if table["cluster"].nunique() < 3:
            continue
        y, se = table["value"].to_numpy(), table["se"].to_numpy()
        fitted = fit(table, level)
        variance = fitted.between + fitted.within
        egger = small_study.asymmetry(y, se, list(table["cluster"]), level=level)
        excess = small_study.excess_significance(y, se, mean=fitted.mean.value, variance=variance)
        signs = small_study.excess_positive(y, se, mean=fitted.mean.value, variance=variance)
        rows.append(
            {
                "set": name, **_counts(table), "slope": egger.slope.value, "slope_low": egger.slope.low,
                "slope_high": egger.slope.high, "slope_df": egger.slope.df, "slope_p": egger.slope.p_two_sided,
                "at_zero": egger.at_zero.value, "n_significant": excess.observed,
                "expected_significant": excess.expected, "p_significant": excess.p_binomial,
                "p_significant_chi2": excess.p_chi2,
                "expected_positive": signs.expected, "p_positive": signs.p,
            }
        )  # fmt: skip
    return pd.DataFrame(rows)


def _table9(
    published: pd.DataFrame, everything: pd.DataFrame, sets: Mapping[str, pd.DataFrame], level: float
) -> pd.DataFrame:
    """Compare the mean of the published differences with the prediction for such a mean in a new paper of each class.

    Its own sampling variance is that of T2 and of one training run; its control is the start, as in its class.
    """
    n = len(published)
    observed, own = float(published["value"].mean()), float((published["se"] ** 2).sum()) / n**2
    standalone = everything[everything["set"] == TABLE9_CLASS]
    against = {**sets, "standalone with ablations": standalone[standalone["pool"].isin(["primary", "sensitivity"])]}
    found = []
    for name, table in against.items():
        if table["cluster"].nunique() < 2:
            continue
        fitted = fit(table, level)
        sd = ml.spread(fitted, n_effects=n, own=own)
        low, high = ml.prediction(fitted, n_effects=n, own=own)
        t = (observed - fitted.mean.value) / sd
        found.append(
            {
                "set": name, **_counts(table), "expected": fitted.mean.value, "low": low, "high": high, "df": fitted.mean.df,
                "observed": observed, "observed_se": own**0.5, "t": t,
                "p_two_sided": 2 * float(t_sf(abs(t), fitted.mean.df)),
            }
        )  # fmt: skip
    return pd.DataFrame(found)
