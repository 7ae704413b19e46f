"""Audit a table of published scores: each row, and all rows together, under the model of `published`."""

import numpy as np
import pandas as pd
from scipy import optimize, stats

from replication.errors import AnalysisError
from replication.records import Target
from replication.stats import published
from replication.stats.multiplicity import holm, intersection_union


def compare(
    scores: pd.DataFrame, benchmarks: pd.DataFrame, treatment: str, control: str, unstated_runs: int
) -> pd.DataFrame:
    """Pair two arms of a table of published scores, one row per benchmark (its primary metric).

    scores, benchmarks : as `evidence.load_scores` and `evidence.load_benchmarks` return them.
    Columns: benchmark, name, p_a (control), p_b (treatment), n (independent items; of a composite the effective number),
    n_tasks (as printed), k (runs), runs_stated, upper_bound (the variance is a bound, so p-values are too).
    """
    for arm in (treatment, control):
        if arm not in set(scores["arm"]):
            arms = ", ".join(sorted(set(scores["arm"])))
            raise AnalysisError(f"arm `{arm}` is not in the published table; it holds {arms}.")
    key = ["benchmark", "metric"]
    a, b = (scores[scores["arm"] == arm].set_index(key).sort_index() for arm in (control, treatment))
    rows = []
    for benchmark in benchmarks.itertuples():
        at = (benchmark.id, benchmark.primary_metric)
        if at not in a.index or at not in b.index:
            continue
        row, p_a, p_b = b.loc[at], float(a.loc[at, "value"]), float(b.loc[at, "value"])
        n = row["n_clusters"]
        if row["score_type"] == "composite":
            parts = b.loc[[benchmark.id]].dropna(subset="weight")
            values = [a.loc[parts.index, "value"], parts["value"]]
            n = round(published.effective_items(p_a, p_b, values, parts["n_clusters"], parts["weight"]))
        rows.append(
            {
                "benchmark": benchmark.id, "name": benchmark.name, "p_a": p_a, "p_b": p_b, "n": int(n),
                "n_tasks": int(row["n_tasks"]), "k": int(unstated_runs if np.isnan(row["runs"]) else row["runs"]),
                "runs_stated": bool(row["runs"] == row["runs"]), "upper_bound": row["score_type"] != "binary",
            }
        )  # fmt: skip
    if not rows:
        raise AnalysisError(f"no benchmark has a primary metric for both `{treatment}` and `{control}`.")
    return pd.DataFrame(rows)


def p_values(rows: pd.DataFrame, *, icc: float, rho: float, target: Target) -> np.ndarray:
    """Compute the one-sided p-value of "not better" of each row."""
    se = published.standard_error(rows["p_a"], rows["p_b"], rows["n"], rows["k"], icc=icc, rho=rho, target=target)
    return stats.norm.sf((rows["p_b"] - rows["p_a"]) / se)


def family(rows: pd.DataFrame, *, icc: float, rho: float, target: Target, alpha: float = 0.05) -> dict[str, float]:
    """Test the rows together: how many pass two-sided `alpha` raw and after Holm, and the all-rows p (one-sided)."""
    p = p_values(rows, icc=icc, rho=rho, target=target)
    two_sided = 2 * np.minimum(p, 1 - p)
    return {
        "icc": icc,
        "rho": rho,
        "n_raw": int((two_sided <= alpha).sum()),
        "n_holm": int((holm(two_sided) <= alpha).sum()),
        "iut_p": intersection_union(p),
    }


def turning_point(rows: pd.DataFrame, *, icc: float, target: Target = "T2", alpha: float = 0.05) -> float | None:
    """Find the task correlation rho from which "all rows" reaches one-sided alpha/2; None where no rho below 1 does."""

    def excess(rho: float) -> float:
        return intersection_union(p_values(rows, icc=icc, rho=rho, target=target)) - alpha / 2

    if excess(0.0) <= 0:
        return 0.0
    if excess(0.999) > 0:
        return None
    return float(optimize.brentq(excess, 0.0, 0.999, xtol=1e-10))
