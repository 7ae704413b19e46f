"""Compare agent-tuned models with general ones of the same base, from printed scores.

A gap is agent minus general, so claim B predicts gaps below zero. Standard errors are those of the audit model
(`audit_model`): T2, other tasks of this kind, these checkpoints. Not covered: that all pairs answer the same tasks and
several share a general model, which ties their errors (the row "one value per family" of `sensitivity` bounds the second);
that a leaderboard lists only submitted models.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from replication.analyse.stats import checks
from replication.analyse.stats.distributions import normal_ppf, normal_sf, t_ppf
from replication.analyse.stats.families.meta import random_effects
from replication.analyse.stats.families.multiplicity import holm
from replication.analyse.stats.families.trend import Trend, line_band, scale_trend
from replication.analyse.stats.printed.audit_model import standard_error
from replication.errors import AnalysisError

PERMISSIVE = ("Apache-2.0", "MIT")


def gaps(
    pairs: pd.DataFrame,
    benchmark: str,
    metric: str,
    *,
    icc: float,
    rho: float,
    unstated_runs: int = 1,
    bases: Sequence[str] = ("read", "inferred"),
    alternatives: bool = False,
    level: float = 0.95,
) -> pd.DataFrame:
    """Compute the gap of each pair on one benchmark and metric, with its standard error.

    pairs : as `evidence.load_pairs` returns it. Used are rows with both scores and `n_clusters`, one per pair and
        measurer: that of a single leaderboard update where there is one, else the first.
    bases : accepted values of `base_identity`. alternatives : take the second candidate base of an agent where one is
        listed, in place of the first.
    unstated_runs : runs taken where none are stated.

    Columns: pair, family, agent, general, licence, params_b, base_identity, measured_by, agent_date, general_date,
    same_update, benchmark, metric, n (independent items), k (runs), p_agent, p_general, value (agent minus general,
    fraction), se, low, high (normal, `level`), p_two_sided, p_holm (over the pairs).
    """
    rows = pairs[(pairs["benchmark"] == benchmark) & (pairs["metric"] == metric)]
    if rows.empty:
        present = ", ".join(sorted(set(pairs["benchmark"] + " " + pairs["metric"])))
        raise AnalysisError(f"no pair has `{benchmark}` with metric `{metric}`; the table has {present}.")
    rows = rows.dropna(subset=["p_agent", "p_general", "n_clusters"])
    if alternatives:
        second = set(rows.loc[rows["base_identity"] == "alternative", "agent"])
        rows = rows[~rows["agent"].isin(second) | (rows["base_identity"] == "alternative")]
    rows = rows[rows["base_identity"].isin([*bases, "alternative"] if alternatives else list(bases))]
    if rows.empty:
        raise AnalysisError(
            f"no pair on `{benchmark}` ({metric}) has both scores, its number of items and a base that is one of "
            f"{', '.join(bases)}; accept other `bases`."
        )
    rows = rows.sort_values("same_update", ascending=False, kind="stable").drop_duplicates(["pair", "measured_by"])
    rows = rows.sort_index()
    kept = ["pair", "family", "agent", "general", "licence", "params_b", "base_identity", "measured_by", "agent_date",
            "general_date", "same_update", "benchmark", "metric"]  # fmt: skip
    table = rows[kept].reset_index(drop=True)
    table["n"] = rows["n_clusters"].to_numpy(int)
    table["k"] = rows["runs"].fillna(unstated_runs).to_numpy(int)
    table["p_agent"], table["p_general"] = rows["p_agent"].to_numpy(float), rows["p_general"].to_numpy(float)
    return _differences(table, icc=icc, rho=rho, level=level)


def sensitivity(
    pairs: pd.DataFrame,
    benchmark: str,
    metric: str,
    *,
    icc: float,
    rho: float,
    unstated_runs: int = 1,
    level: float = 0.95,
) -> pd.DataFrame:
    """Average the gaps by random effects, over all pairs and under each restriction.

    Rows (`choice`): all pairs; read bases only; permissive licence only (PERMISSIVE); one update only (both scores from one
    leaderboard update); agent listed on each date; other candidate base; without each family; one value per family (its
    mean gap, with the mean of its standard errors: errors within a family taken as one).
    Columns: choice, n_pairs, n_families, n_above (gaps above 0), mean, se, low, high, p_two_sided, tau, prediction_low,
    prediction_high, reason (why there is no mean; then all numbers of the mean are NaN). Hartung-Knapp with floor.
    """
    options: dict[str, Any] = {"icc": icc, "rho": rho, "unstated_runs": unstated_runs, "level": level}
    all_pairs = gaps(pairs, benchmark, metric, **options)
    swapped = gaps(pairs, benchmark, metric, alternatives=True, **options)
    dates = sorted(set(all_pairs["agent_date"]) - {""})
    has_second = (swapped["base_identity"] == "alternative").any()
    choices = {
        "all pairs": all_pairs,
        "read bases only": all_pairs[all_pairs["base_identity"] == "read"],
        "permissive licence only": all_pairs[all_pairs["licence"].isin(PERMISSIVE)],
        "one update only": all_pairs[all_pairs["same_update"]],
        **{f"agent listed {d}": all_pairs[all_pairs["agent_date"] == d] for d in dates},
        **({"other candidate base": swapped} if has_second else {}),
        **{f"without {f}": all_pairs[all_pairs["family"] != f] for f in dict.fromkeys(all_pairs["family"])},
        "one value per family": all_pairs.groupby("family", sort=False, as_index=False)[["value", "se"]].mean(),
    }  # fmt: skip
    return pd.DataFrame([{"choice": name, **_average(table, level)} for name, table in choices.items()])


def size_trend(table: pd.DataFrame, *, level: float = 0.95) -> Trend:
    """Fit the gaps of a table of `gaps` over log10 of the size, by random effects; pairs are taken as independent."""
    return scale_trend(np.log10(table["params_b"]), table["value"], table["se"], level=level)


def size_band(line: Trend, grid_b: ArrayLike) -> pd.DataFrame:
    """Compute the line at the sizes `grid_b`, in billions, with its pointwise and its simultaneous band.

    Columns: params_b, value, low, high (t quantile, at this size alone), low_all, high_all (`trend.line_band`).
    """
    grid = np.asarray(grid_b, float)
    band = line_band(line, np.log10(grid))
    alone = (band.high - band.value) / band.critical * float(t_ppf((1 + line.level) / 2, line.df))
    return pd.DataFrame(
        {
            "params_b": grid, "value": band.value, "low": band.value - alone, "high": band.value + alone,
            "low_all": band.low, "high_all": band.high,
        }
    )  # fmt: skip


def newer_general(
    pairs: pd.DataFrame,
    general: pd.DataFrame,
    family: str,
    *,
    metric: str = "overall",
    benchmark: str = "bfcl_v4",
    factor: float = 1.4,
    icc: float,
    rho: float,
    unstated_runs: int = 1,
    level: float = 0.95,
) -> pd.DataFrame:
    """Compare each agent-tuned model with a general model of a later `family` and the same size, on the same update.

    general : as `evidence.load_general` returns it. Taken are dense models (no `active_b`) whose size is within `factor` of
        the agent's, the nearest one, in its better mode: favourable to the general model. Agents without one are left out.

    Columns as of `gaps`, with general_params_b, general_mode and outcome: "agent above" or "general above" where the
    Holm-adjusted p is at most 1 - level, else "unresolved".
    """
    if not factor >= 1:
        raise AnalysisError(
            f"`factor` must be at least 1, the largest ratio of sizes that count as equal; got {factor}."
        )
    agents = pairs[(pairs["benchmark"] == benchmark) & (pairs["metric"] == metric) & pairs["p_agent"].notna()]
    agents = agents[(agents["agent_date"] != "") & (agents["base_identity"] != "alternative")]
    agents = agents.sort_values("agent_date", ascending=False, kind="stable").drop_duplicates("pair").sort_index()
    models = general[
        (general["family"] == family) & (general["benchmark"] == benchmark) & (general["metric"] == metric)
    ]
    models = models[models["active_b"].isna()]
    rows = []
    for agent in agents.itertuples():
        near = models[models["date"] == agent.agent_date]
        distance = np.abs(np.log(near["params_b"] / agent.params_b))
        near = near[np.isclose(distance, distance.min()) & (distance <= np.log(factor) + 1e-12)]
        if near.empty:
            continue
        best = near.loc[near["value"].idxmax()]
        rows.append(
            {
                "pair": agent.pair, "family": agent.family, "agent": agent.agent, "general": best["model"],
                "general_mode": best["mode"], "licence": agent.licence, "params_b": agent.params_b,
                "general_params_b": best["params_b"], "agent_date": agent.agent_date, "general_date": best["date"],
                "benchmark": benchmark, "metric": metric, "n": int(best["n_clusters"]),
                "k": int(unstated_runs if np.isnan(best["runs"]) else best["runs"]), "p_agent": agent.p_agent,
                "p_general": best["value"],
            }
        )  # fmt: skip
    if not rows:
        families = ", ".join(sorted(set(general["family"])))
        raise AnalysisError(
            f"no model of family `{family}` has the size of an agent-tuned model on the same update, `{benchmark}` "
            f"({metric}); families are {families}. Raise `factor` or name another."
        )
    table = _differences(pd.DataFrame(rows), icc=icc, rho=rho, level=level)
    above = np.where(table["value"] > 0, "agent above", "general above")
    return table.assign(outcome=np.where(table["p_holm"] <= 1 - level, above, "unresolved"))


def _differences(table: pd.DataFrame, *, icc: float, rho: float, level: float) -> pd.DataFrame:
    """Add value, se, low, high, p_two_sided and p_holm of agent minus general."""
    checks.probability(level=level)
    z = float(normal_ppf((1 + level) / 2))
    value = table["p_agent"] - table["p_general"]
    se = standard_error(table["p_general"], table["p_agent"], table["n"], table["k"], icc=icc, rho=rho)
    p = np.array([_two_sided(*row) for row in zip(value, se, strict=True)])
    return table.assign(value=value, se=se, low=value - z * se, high=value + z * se, p_two_sided=p, p_holm=holm(p))


def _two_sided(value: float, se: float) -> float:
    return 2 * float(normal_sf(abs(value) / se)) if se > 0 else float(value == 0)


def _average(table: pd.DataFrame, level: float) -> dict[str, object]:
    counts = {
        "n_pairs": len(table),
        "n_families": table["family"].nunique(),
        "n_above": int((table["value"] > 0).sum()),
    }
    names = ("mean", "se", "low", "high", "p_two_sided", "tau", "prediction_low", "prediction_high")
    if len(table) < 2:
        return {**counts, **dict.fromkeys(names, np.nan), "reason": f"{len(table)} left, a mean needs 2"}
    pooled = random_effects(table["value"], table["se"], level=level, floor=True)
    return {**counts, **{name: getattr(pooled, name) for name in names}, "reason": ""}
