"""Audit a table of published scores: each row, and all rows together, under the model of `published`."""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import optimize, stats

from replication.analyse.stats.families.multiplicity import holm, intersection_union
from replication.analyse.stats.printed import audit_model, fragility, grim
from replication.analyse.stats.printed.fragility import Scenario
from replication.errors import AnalysisError
from replication.records import Target

SCENARIOS = (
    Scenario("one run, unpaired", k=1, rho=0.0),
    Scenario("stated runs, rho 0", rho=0.0),
    Scenario("stated runs, rho .3", rho=0.3),
    Scenario("stated runs, rho .5"),
    Scenario("stated runs, rho .7", rho=0.7),
    Scenario("stated runs, rho .5, icc .7", icc=0.7),
    Scenario("stated runs, rho .5, half variance on partial-credit rows", partial_scale=0.5),
    Scenario("stated runs, rho .5, checkpoint SD 1", target="T3", tau=0.01),
    Scenario("stated runs, rho .5, checkpoint SD 2", target="T3", tau=0.02),
    Scenario("five runs everywhere, rho .7, half variance on partial-credit rows", k=5, rho=0.7, partial_scale=0.5),
    Scenario("T1, stated runs, icc .5", "T1", rho=0.0),
    Scenario("T1, stated runs, icc .35", "T1", 0.35, 0.0),
    Scenario("T1, stated runs, icc .05", "T1", 0.05, 0.0),
)
"""The scenarios of the analysis plan, from unfavourable to favourable, then T1."""

TIPPING = {
    "one run, unpaired": (1.0, 0.0), "stated runs": (None, 0.5), "5 runs": (5.0, 0.5), "infinite runs": (np.inf, 0.5)
}  # fmt: skip
"""Runs (None: as stated) and task correlation at which the checkpoint SD is searched."""


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


class Report(NamedTuple):
    """The audit of one table; each part is a table of `fragility` or of this module, in fractions."""

    rows: pd.DataFrame
    one_run: pd.DataFrame
    grid: pd.DataFrame
    stated: pd.DataFrame
    outcome: pd.DataFrame
    same_tasks: pd.DataFrame
    scenarios: pd.DataFrame
    scenario_rows: pd.DataFrame
    family: pd.DataFrame
    family_same_tasks: pd.DataFrame
    turning: pd.DataFrame
    tipping: pd.DataFrame
    tipping_curve: pd.DataFrame
    required: pd.DataFrame
    replication: pd.DataFrame
    digits: pd.DataFrame
    rounded_runs: pd.DataFrame
    denominators: pd.DataFrame


def compare(
    scores: pd.DataFrame, benchmarks: pd.DataFrame, treatment: str, control: str, unstated_runs: int
) -> pd.DataFrame:
    """Pair two arms of a table of published scores, one row per benchmark (its primary metric).

    scores, benchmarks : as `evidence.load_scores` and `evidence.load_benchmarks` return them.
    Columns: benchmark, name, p_a (control), p_b (treatment), n (independent items; of a composite the effective number),
    n_tasks (as printed), k (runs), runs_stated, upper_bound (the variance is a bound, so p-values are too), score_type,
    printed_a, printed_b (the digits, text).
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
            n = round(audit_model.effective_items(p_a, p_b, values, parts["n_clusters"], parts["weight"]))
        rows.append(
            {
                "benchmark": benchmark.id, "name": benchmark.name, "p_a": p_a, "p_b": p_b, "n": int(n),
                "n_tasks": int(row["n_tasks"]), "k": int(unstated_runs if np.isnan(row["runs"]) else row["runs"]),
                "runs_stated": bool(row["runs"] == row["runs"]), "upper_bound": row["score_type"] != "binary",
                "score_type": row["score_type"], "printed_a": a.loc[at, "value_percent"],
                "printed_b": row["value_percent"],
            }
        )  # fmt: skip
    if not rows:
        raise AnalysisError(f"no benchmark has a primary metric for both `{treatment}` and `{control}`.")
    return pd.DataFrame(rows)


def p_values(rows: pd.DataFrame, *, icc: float, rho: float, target: Target) -> np.ndarray:
    """Compute the one-sided p-value of "not better" of each row."""
    se = audit_model.standard_error(rows["p_a"], rows["p_b"], rows["n"], rows["k"], icc=icc, rho=rho, target=target)
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


def report(
    rows: pd.DataFrame,
    *,
    icc: float = 0.5,
    rho: float = 0.5,
    iccs: Sequence[float] = (0.35, 0.5, 0.7),
    rhos: Sequence[float] = (0.0, 0.3, 0.5, 0.7),
    high_rhos: Sequence[float] = (0.75, 0.8, 0.85, 0.9, 0.95),
    ks: Sequence[float] = (1, 3, 5),
    taus: Sequence[float] = tuple(np.array([0, 25, 50, 75, 100, 125, 150, 175, 200, 250, 300]) / 10_000),
    scenarios: Sequence[Scenario] = SCENARIOS,
    digit_runs: Sequence[int] = tuple(range(1, 11)),
    alpha: float = 0.05,
) -> Report:
    """Audit a table completely; defaults are the analysis plan's. rows : as `compare` returns them.

    Tables without printed digits (columns printed_a, printed_b, score_type, n_tasks) have empty digit tables.
    """
    level = 1 - alpha
    read = fragility.scenarios(rows, scenarios, alpha=alpha)
    binary = rows[rows["score_type"] == "binary"] if "score_type" in rows else rows.iloc[:0]
    return Report(
        rows=rows,
        one_run=fragility.one_run(rows, level=level),
        grid=fragility.grid(rows, iccs, rhos, ks, level=level),
        stated=fragility.grid(rows, iccs, [*rhos, *high_rhos], level=level),
        outcome=fragility.outcome_grid(rows, rhos, level=level),
        same_tasks=fragility.grid(rows, iccs, [0.0], ks, target="T1", level=level),
        scenarios=read.families,
        scenario_rows=read.rows,
        family=fragility.family_grid(rows, iccs, [*rhos, *high_rhos], alpha=alpha),
        family_same_tasks=fragility.family_grid(rows, [0.0, 0.05, *iccs], [0.0], target="T1", alpha=alpha),
        turning=fragility.turning_points(rows, iccs, alpha=alpha),
        tipping=fragility.tipping_table(rows, TIPPING, icc=icc, alpha=alpha),
        tipping_curve=fragility.tipping_curve(rows, taus, icc=icc, rho=rho, alpha=alpha),
        required=fragility.required(rows, icc=icc, rhos=(0.0, rho), ks=tuple(int(k) for k in ks), alpha=alpha),
        replication=fragility.replication(rows, icc=icc, rho=rho, level=level),
        digits=digits(rows, digit_runs) if "printed_a" in rows else pd.DataFrame(),
        rounded_runs=rounded_runs(binary, (2, 3, 4, 5)),
        denominators=denominators(binary),
    )


def digits(rows: pd.DataFrame, ks: Iterable[int]) -> pd.DataFrame:
    """List the whole totals that print as each score at k runs, as if pass/fail; composites are left out.

    Columns: benchmark, name, arm (a, b), printed, score_type, n_tasks, k, stated (k is the stated number of runs), half_up,
    half_even, truncated (tuples of totals), p0 (chance of a fit). Of a bounded score a fit says nothing.
    """
    ks = list(ks)
    return pd.DataFrame(
        [
            {
                "benchmark": row.benchmark, "name": row.name, "arm": arm, "printed": printed, "score_type": row.score_type,
                "n_tasks": row.n_tasks, "k": k, "stated": k == row.k,
                "half_up": grim.totals(printed, row.n_tasks, k),
                "half_even": grim.totals(printed, row.n_tasks, k, rounding="half_even"),
                "truncated": grim.totals(printed, row.n_tasks, k, rounding="truncate"),
                "p0": grim.chance_of_fit(row.n_tasks, k, decimals=_decimals(printed)),
            }
            for row in rows.itertuples(index=False) if row.score_type != "composite"
            for arm, printed in (("a", row.printed_a), ("b", row.printed_b))
            for k in ks
        ]
    )  # fmt: skip


def rounded_runs(rows: pd.DataFrame, ks: Iterable[int], decimals: Sequence[int] = (1, 2)) -> pd.DataFrame:
    """Test each pass/fail score as a mean of k runs that were rounded first, to each number of `decimals`.

    Columns: benchmark, name, arm, printed, k, run_decimals, possible, spread_tasks, spread_points (smallest that will do).
    """
    ks = list(ks)
    return pd.DataFrame(
        [
            {"benchmark": row.benchmark, "name": row.name, "arm": arm, "printed": printed, "k": k, "run_decimals": d}
            | grim.mean_of_rounded_runs(printed, row.n_tasks, k, run_decimals=d)._asdict()
            for row in rows.itertuples(index=False)
            for arm, printed in (("a", row.printed_a), ("b", row.printed_b))
            for k in ks
            for d in decimals
        ]
    )


def denominators(rows: pd.DataFrame) -> pd.DataFrame:
    """Search smaller denominators that both arms fit. Columns: benchmark, name, hits, n_hits, n_tried, expected_hits."""
    found = []
    for row in rows.itertuples(index=False):
        result = grim.smaller_denominators((row.printed_a, row.printed_b), row.n_tasks)
        found.append(
            {"benchmark": row.benchmark, "name": row.name, "n_hits": len(result.hits)} | result._asdict()
        )  # fmt: skip
    return pd.DataFrame(found)


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


def _decimals(printed: str) -> int:
    return len(printed.partition(".")[2])
