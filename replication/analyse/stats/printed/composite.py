"""A published weighted mean, decomposed into its parts."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd

from replication.analyse.stats.distributions import normal_sf
from replication.analyse.stats.printed import audit_model, grim
from replication.errors import AnalysisError


class Composite(NamedTuple):
    """A weighted mean and its parts."""

    parts: pd.DataFrame
    """part, p_a, p_b, printed_a, printed_b, delta, weight, n_items, n_clusters, p_items, p_clusters (two-sided, one run,
    unpaired), share (of the gain of the weighted mean; missing without one), fits_a, fits_b (half-up, at the items)."""
    weighted_a: float
    weighted_b: float
    printed_fit: bool
    """True if both printed means follow from the printed parts and weights."""
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
    """Decompose the weighted mean `metric` of a benchmark into the rows that have a `weight`.

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
    parts = _parts(a.loc[names], weighted, items or {})
    values = parts[["p_a", "p_b"]].to_numpy(float).T
    weight, n_items, n_clusters = (parts[column].to_numpy(float) for column in ("weight", "n_items", "n_clusters"))
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
        se_clusters=audit_model.weighted_standard_error(values, n_clusters, weight),
        n_eff_items=audit_model.effective_items(p_a, p_b, values, n_items, weight),
        n_eff_clusters=audit_model.effective_items(p_a, p_b, values, n_clusters, weight),
    )


def _parts(a: pd.DataFrame, b: pd.DataFrame, items: Mapping[str, float]) -> pd.DataFrame:
    """Tabulate the parts of both arms; columns as of `Composite.parts`."""
    n_tasks, delta = b["n_tasks"].to_numpy(float), b["value"].to_numpy(float) - a["value"].to_numpy(float)
    parts = pd.DataFrame(
        {
            "part": b.index, "p_a": a["value"].to_numpy(float), "p_b": b["value"].to_numpy(float),
            "printed_a": a["value_percent"].to_numpy(), "printed_b": b["value_percent"].to_numpy(), "delta": delta,
            "weight": b["weight"].to_numpy(float),
            "n_items": [float(items.get(name, n)) for name, n in zip(b.index, n_tasks, strict=True)],
            "n_clusters": b["n_clusters"].fillna(b["n_tasks"]).to_numpy(float),
        }
    )  # fmt: skip
    for column, n in (("p_items", parts["n_items"]), ("p_clusters", parts["n_clusters"])):
        se = audit_model.standard_error(parts["p_a"], parts["p_b"], n, 1, icc=0.5, rho=0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            parts[column] = np.where(delta == 0, 1.0, 2 * normal_sf(np.abs(delta) / se))
    gain = float(parts["weight"].to_numpy() @ delta)
    parts["share"] = parts["weight"] * delta / gain if gain else np.nan
    for arm in "ab":
        parts[f"fits_{arm}"] = [
            bool(grim.totals(printed, int(n))) for printed, n in zip(parts[f"printed_{arm}"], n_tasks, strict=True)
        ]
    return parts
