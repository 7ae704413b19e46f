"""The rows of a table of published scores, one per benchmark, with the scores of two arms.

Columns that the other modules of this folder read: benchmark, name, p_a (control) and p_b (treatment) as fractions, n
(independent items), k (runs; may be infinite), upper_bound (partial credit, so the variance is a bound).
"""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from replication.analyse.stats.distributions import normal_cdf, normal_isf, normal_sf
from replication.analyse.stats.printed import audit_model
from replication.errors import AnalysisError
from replication.records import Target

COLUMNS = ("benchmark", "name", "p_a", "p_b", "n", "k", "upper_bound")


def compare(
    scores: pd.DataFrame, benchmarks: pd.DataFrame, treatment: str, control: str, unstated_runs: int
) -> pd.DataFrame:
    """Pair two arms of a table of published scores: one row per benchmark, of its primary metric.

    scores, benchmarks : as `evidence.load_scores` and `evidence.load_benchmarks` return them.
    Columns: benchmark, name, p_a (control), p_b (treatment), n (independent items; of a composite the effective number),
    n_tasks (as printed), k (runs), runs_stated, upper_bound (the variance is a bound, so p-values are too), score_type,
    printed_a, printed_b (the digits, text).
    """
    for arm in (treatment, control):
        if arm not in set(scores["arm"]):
            arms = ", ".join(sorted(set(scores["arm"])))
            raise AnalysisError(f"arm `{arm}` is not in the published table; its arms are {arms}.")
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
            n = round(audit_model.effective_items(p_a, p_b, values, parts["n_clusters"], parts["weight"]))
        rows.append(
            {
                "benchmark": benchmark.id, "name": benchmark.name, "p_a": p_a, "p_b": p_b, "n": int(n),
                "n_tasks": int(row["n_tasks"]), "k": int(unstated_runs if np.isnan(row["runs"]) else row["runs"]),
                "runs_stated": not np.isnan(row["runs"]), "upper_bound": row["score_type"] != "binary",
                "score_type": row["score_type"], "printed_a": a.loc[at, "value_percent"],
                "printed_b": row["value_percent"],
            }
        )  # fmt: skip
    if not rows:
        raise AnalysisError(f"no benchmark has a primary metric for both `{treatment}` and `{control}`.")
    return pd.DataFrame(rows)


def check_rows(rows: pd.DataFrame) -> None:
    """Validate the columns of a table of rows; raises AnalysisError where one is absent, empty or has missing numbers."""
    absent = [column for column in COLUMNS if column not in rows]
    if absent:
        raise AnalysisError(f"`rows` lacks the column `{absent[0]}`; required are {', '.join(COLUMNS)}.")
    if rows.empty:
        raise AnalysisError("`rows` is empty; an audit needs at least one pair of published scores.")
    numbers = ["p_a", "p_b", "n", "k"]
    gaps = np.isnan(rows[numbers].to_numpy(float)).any(axis=0)
    if gaps.any():
        raise AnalysisError(
            f"column `{numbers[int(gaps.argmax())]}` of `rows` has missing values; fill them in or drop the rows."
        )


def standard_errors(
    rows: pd.DataFrame,
    *,
    icc: ArrayLike,
    rho: ArrayLike,
    target: Target = "T2",
    k: ArrayLike | None = None,
    tau: ArrayLike = 0.0,
    m: int = 1,
    partial_scale: float = 1.0,
) -> NDArray[np.float64]:
    """Compute the standard error of each row's difference, (n_rows,); `k` None means the stated runs.

    Assumptions of shape (n_cells, 1) give an error per cell and row, (n_cells, n_rows).
    partial_scale : share of the variance bound p(1 - p) that rows marked `upper_bound` are taken to have.
    """
    check_rows(rows)
    scale = np.where(rows["upper_bound"].to_numpy(bool), partial_scale, 1.0)
    runs = rows["k"] if k is None else k
    return audit_model.standard_error(
        rows["p_a"], rows["p_b"], rows["n"], runs, icc=icc, rho=rho, target=target, tau=tau, m=m, scale=scale
    )


def labels(rows: pd.DataFrame) -> dict[str, NDArray[np.object_]]:
    """Return the columns that name a row, to start a table of results with."""
    return {"benchmark": rows["benchmark"].to_numpy(), "name": rows["name"].to_numpy()}


def deltas(rows: pd.DataFrame) -> NDArray[np.float64]:
    """Return treatment minus control of each row, (n_rows,), fractions."""
    return np.asarray(rows["p_b"] - rows["p_a"], float)


def z_scores(delta: NDArray[np.float64], se: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide each difference by its standard error; without variance z is infinite, and a difference of 0 has z = 0."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(delta == 0, 0.0, delta / se)


def stacked(tables: Sequence[Mapping[str, object] | pd.DataFrame]) -> pd.DataFrame:
    """Concatenate the tables of the cells of a grid."""
    if not tables:
        raise AnalysisError("the grid has no cells; give at least one value of every axis.")
    return pd.concat([pd.DataFrame(table) for table in tables], ignore_index=True)


def two_sided_power(z: NDArray[np.float64], alpha: float) -> NDArray[np.float64]:
    """Compute the two-sided power at a truth of z standard errors, infinite z included."""
    critical = normal_isf(alpha / 2)
    return np.asarray(normal_sf(critical - z) + normal_cdf(-critical - z), float)
