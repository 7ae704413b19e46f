"""A published weighted mean, decomposed into its parts."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from replication.analyse.stats.printed import audit_model, grim
from replication.errors import AnalysisError


class Composite(NamedTuple):
    """A weighted mean taken apart."""

    parts: pd.DataFrame
    """part, p_a, p_b, printed_a, printed_b, delta, weight, n_items, n_clusters, p_items, p_clusters (two-sided, one run,
    unpaired), share (of the gain of the weighted mean; missing without one), fits_a, fits_b (half-up, at the items)."""
    weighted_a: float
    weighted_b: float
    printed_fit: bool
    """Both printed means are what the printed parts and weights give."""
    delta: float
    se_items: float
    se_clusters: float
    n_eff_items: float
    n_eff_clusters: float


def composite(
    scores: pd.DataFrame,
    benchmark: str,
    treatment: str,
    control: str,
    metric: str = "overall",
    *,
    items: Mapping[str, float] | None = None,
) -> Composite:
    """Take the weighted mean `metric` of a benchmark apart into the rows that have a `weight`.

    items : independent items of a part, by its metric, where that is not its number of tasks (a part that is itself an
    unweighted mean of sub-sets is worth fewer).
    """
    a, b = (
        scores[(scores["arm"] == arm) & (scores["benchmark"] == benchmark)].set_index("metric")
        for arm in (control, treatment)
    )
    if metric not in a.index or metric not in b.index:
        raise AnalysisError(f"`{benchmark}` has no metric `{metric}` for both `{treatment}` and `{control}`.")
    weighted = b.dropna(subset="weight")
    names = [name for name in weighted.index if name in a.index]
    if not names or len(names) != len(weighted):
        raise AnalysisError(f"`{metric}` of `{benchmark}` needs parts with a `weight` in both arms; got {names}.")
    values = np.array([a.loc[names, "value"], b.loc[names, "value"]])
    weight = weighted["weight"].to_numpy(float)
    n_tasks = weighted["n_tasks"].to_numpy(float)
    n_items = np.array([(items or {}).get(name, n) for name, n in zip(names, n_tasks, strict=True)], float)
    clusters = weighted["n_clusters"].fillna(weighted["n_tasks"]).to_numpy(float)
    delta = values[1] - values[0]
    parts = pd.DataFrame(
        {
            "part": names, "p_a": values[0], "p_b": values[1], "printed_a": a.loc[names, "value_percent"].to_numpy(),
            "printed_b": weighted["value_percent"].to_numpy(), "delta": delta, "weight": weight, "n_items": n_items,
            "n_clusters": clusters,
        }
    )  # fmt: skip
    for column, n in (("p_items", n_items), ("p_clusters", clusters)):
        se = audit_model.standard_error(values[0], values[1], n, 1, icc=0.5, rho=0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            parts[column] = np.where(delta == 0, 1.0, 2 * stats.norm.sf(np.abs(delta) / se))
    gain = float(weight @ delta)
    parts["share"] = weight * delta / gain if gain else np.nan
    for arm in "ab":
        parts[f"fits_{arm}"] = [
            bool(grim.totals(p, int(n))) for p, n in zip(parts[f"printed_{arm}"], n_tasks, strict=True)
        ]
    p_a, p_b = float(a.loc[metric, "value"]), float(b.loc[metric, "value"])
    weights = [str(w) for w in weight]
    return Composite(
        parts=parts,
        weighted_a=float(weight @ values[0]),
        weighted_b=float(weight @ values[1]),
        printed_fit=all(
            grim.weighted_mean_is_consistent(list(parts[f"printed_{arm}"]), weights, table.loc[metric, "value_percent"])
            for arm, table in (("a", a), ("b", b))
        ),
        delta=p_b - p_a,
        se_items=audit_model.weighted_standard_error(values, n_items, weight),
        se_clusters=audit_model.weighted_standard_error(values, clusters, weight),
        n_eff_items=audit_model.effective_items(p_a, p_b, values, n_items, weight),
        n_eff_clusters=audit_model.effective_items(p_a, p_b, values, clusters, weight),
    )
