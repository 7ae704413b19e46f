"""Show how the reading of a published table depends on what the table does not print.

`rows` is a table as `audit.compare` returns it, one row per benchmark, any benchmarks: benchmark, name, p_a (control) and
p_b (treatment) as fractions, n (independent items), k (runs; infinite is allowed), upper_bound (partial credit, so the
variance is a bound). The model is that of `published`; the reference is normal; `icc`, `rho` and the checkpoint SD `tau`
(fractions) are varied, not known. Every function returns fractions, and one row of output per row and cell.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from replication.analyse.stats.design import power
from replication.analyse.stats.families.meta import dersimonian_laird
from replication.analyse.stats.families.multiplicity import fisher, holm, hommel, intersection_union, stouffer
from replication.analyse.stats.printed import audit_model
from replication.analyse.stats.two_studies.design_analysis import design_analysis
from replication.analyse.stats.two_studies.sceptical import (
    minimum_relative_effect,
    relative_sample_size,
    success_power,
    threshold_z,
)
from replication.analyse.stats.two_studies.telescopes import theta_33
from replication.errors import AnalysisError
from replication.records import Target

NEEDED = ("benchmark", "name", "p_a", "p_b", "n", "k", "upper_bound")


class Scenario(NamedTuple):
    """One set of assumptions under which all rows are read together."""

    name: str
    target: Target = "T2"
    icc: float = 0.5
    rho: float = 0.5
    k: float | None = None
    """Runs of every row; None means as stated."""
    tau: float = 0.0
    """SD between checkpoints of one arm, a fraction; enters T3."""
    partial_scale: float = 1.0
    """Share of the bound on the variance that partial-credit rows are taken to have."""


class Pooled(NamedTuple):
    """All rows as one question: is there any effect, and how large on average."""

    stouffer_p: float
    """One-sided."""
    fisher_p: float
    """Of the one-sided p-values."""
    mean: float
    se: float
    tau_between: float
    """SD of the true differences between benchmarks (DerSimonian & Laird 1986)."""
    q: float
    q_p: float
    i2: float
    shrunk_all_positive: float
    """P(all true differences > 0) if the benchmarks are exchangeable: mostly that assumption."""


class Scenarios(NamedTuple):
    """`families` has one row per scenario, `rows` one per scenario and benchmark."""

    families: pd.DataFrame
    rows: pd.DataFrame


def standard_errors(
    rows: pd.DataFrame,
    *,
    icc: float,
    rho: float,
    target: Target = "T2",
    k: float | None = None,
    tau: float = 0.0,
    m: int = 1,
    partial_scale: float = 1.0,
) -> NDArray[np.float64]:
    """Compute the standard error of each row's difference, (n_rows,); `k` None means the stated runs.

    partial_scale : share of the variance bound p(1 - p) that rows marked `upper_bound` are taken to have.
    """
    check_rows(rows)
    scale = np.where(rows["upper_bound"].to_numpy(bool), partial_scale, 1.0)
    runs = rows["k"] if k is None else k
    return audit_model.standard_error(
        rows["p_a"], rows["p_b"], rows["n"], runs, icc=icc, rho=rho, target=target, tau=tau, m=m, scale=scale
    )


def counts(p_one_sided: ArrayLike, *, alpha: float = 0.05) -> dict[str, float]:
    """Count the rows with two-sided p <= alpha raw, after Holm and after Hommel, and give the all-rows p (one-sided)."""
    p = np.asarray(p_one_sided, float)
    two_sided = 2 * np.minimum(p, 1 - p)
    return {
        "n_raw": int((two_sided <= alpha).sum()),
        "n_holm": int((holm(two_sided) <= alpha).sum()),
        "n_hommel": int((hommel(two_sided) <= alpha).sum()),
        "iut_p": intersection_union(p),
    }


def grid(
    rows: pd.DataFrame,
    iccs: Iterable[float],
    rhos: Iterable[float],
    ks: Iterable[float | None] = (None,),
    *,
    target: Target = "T2",
    level: float = 0.95,
) -> pd.DataFrame:
    """Test every row in every (icc, k, rho) cell; `k` None means the stated runs. rho has no part in T1.

    Columns: benchmark, name, target, icc, k, rho, delta, se, z, p_one_sided, p_two_sided, low, high, power (if the truth is
    the estimate), mde80, mde90.
    """
    check_rows(rows)
    cells = list(product(iccs, ks, rhos))
    tables = [
        {
            **_labels(rows), "target": target, "icc": icc, "k": rows["k"].to_numpy() if k is None else k, "rho": rho,
            **_tests(rows, standard_errors(rows, icc=icc, rho=rho, k=k, target=target), level),
        }
        for icc, k, rho in cells
    ]  # fmt: skip
    return _stack(tables)


def outcome_grid(rows: pd.DataFrame, rhos: Iterable[float], *, level: float = 0.95) -> pd.DataFrame:
    """Test every row at one run over the correlation of single-run outcomes (column rho_outcome; not the task one)."""
    check_rows(rows)
    scores = rows["p_a"], rows["p_b"], rows["n"]
    tables = [
        {**_labels(rows), "rho_outcome": rho}
        | _tests(rows, audit_model.outcome_standard_error(*scores, rho=rho), level)
        for rho in rhos
    ]
    return _stack(tables)


def turning_points(rows: pd.DataFrame, iccs: Iterable[float], *, alpha: float = 0.05) -> pd.DataFrame:
    """Find the task correlation from which each row has two-sided p <= alpha at its stated runs, T2.

    Columns: benchmark, name, icc, rho (0: already at 0; NaN: at none).
    """
    check_rows(rows)
    columns = rows["p_a"], rows["p_b"], rows["n"], rows["k"]
    return _stack(
        [
            {**_labels(rows), "icc": icc, "rho": audit_model.correlation_needed(*columns, icc=icc, alpha=alpha)}
            for icc in iccs
        ]
    )


def family_grid(
    rows: pd.DataFrame,
    iccs: Iterable[float],
    rhos: Iterable[float],
    *,
    target: Target = "T2",
    k: float | None = None,
    tau: float = 0.0,
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Count, over (icc, rho), the rows that pass. Columns: target, icc, rho, n_raw, n_holm, n_hommel, iut_p."""
    return pd.DataFrame(
        [
            {"target": target, "icc": icc, "rho": rho}
            | counts(_p_one_sided(rows, Scenario("", target, icc, rho, k, tau)), alpha=alpha)
            for icc, rho in product(iccs, rhos)
        ]
    )


def scenarios(rows: pd.DataFrame, settings: Sequence[Scenario], *, alpha: float = 0.05) -> Scenarios:
    """Read all rows together under each scenario.

    families : the scenario's fields; n_raw, n_holm, n_hommel, iut_p; flat_all_positive (prod Phi(z), flat priors);
    repeat_all_positive (prod Phi(z/sqrt 2)) and repeat_all_significant (prod Phi((z - z_{1-alpha/2})/sqrt 2)), both for an
    exact repeat; power_all and power_all_half (all two-sided significant if the truth is the estimate, or half of it); then
    the fields of `Pooled`, missing for one row or where a row has no variance. Rows count as independent.
    rows : scenario, benchmark, name, z, p_two_sided, holm, hommel.
    """
    check_rows(rows)
    delta, critical = _delta(rows), stats.norm.isf(alpha / 2)
    families, members = [], []
    for setting in settings:
        se = _scenario_se(rows, setting)
        z = _z(delta, se)
        p = stats.norm.sf(z)
        two_sided = 2 * stats.norm.sf(np.abs(z))
        families.append(
            setting._asdict()
            | {"scenario": setting.name}
            | counts(p, alpha=alpha)
            | {
                "flat_all_positive": stats.norm.cdf(z).prod(),
                "repeat_all_positive": stats.norm.cdf(z / np.sqrt(2)).prod(),
                "repeat_all_significant": stats.norm.cdf((z - critical) / np.sqrt(2)).prod(),
                "power_all": _power(z, alpha).prod(),
                "power_all_half": _power(z / 2, alpha).prod(),
            }
            | (
                pool(delta, se)._asdict()
                if delta.size > 1 and (se > 0).all()
                else dict.fromkeys(Pooled._fields, np.nan)
            )
        )
        members.append(
            {"scenario": setting.name, **_labels(rows), "z": z, "p_two_sided": two_sided, "holm": holm(two_sided),
             "hommel": hommel(two_sided)}
        )  # fmt: skip
    return Scenarios(pd.DataFrame(families).drop(columns="name"), _stack(members))


def pool(delta: ArrayLike, se: ArrayLike) -> Pooled:
    """Combine independent differences `delta` with standard errors `se`, both (n_rows,), at least 2, all se above 0.

    `stouffer` and `fisher` of one-sided p, `dersimonian_laird`, and the empirical-Bayes posterior: theta_i given the mean
    mu is N(mu + b (delta_i - mu), b se_i^2), b = tau^2/(tau^2 + se_i^2), mu normal around the pooled mean; P(all > 0)
    integrates over mu.
    """
    delta, se = np.asarray(delta, float), np.asarray(se, float)
    if delta.ndim != 1 or delta.size < 2 or delta.shape != se.shape:
        raise AnalysisError(f"pooling needs at least 2 differences and as many errors; got {delta.size} and {se.size}.")
    if not (np.isfinite(delta).all() and (se > 0).all() and np.isfinite(se).all()):
        raise AnalysisError("pooling needs finite differences and standard errors above 0; drop rows without variance.")
    p, classic = stats.norm.sf(delta / se), dersimonian_laird(delta, se)
    if classic.tau2 > 0:
        nodes, mass = _normal_nodes()
        mu, share = (classic.mean + classic.se * nodes)[:, None], classic.tau2 / (classic.tau2 + se**2)
        above = stats.norm.cdf((mu + share * (delta - mu)) / np.sqrt(share * se**2)).prod(axis=1)
        all_positive = float(mass @ above / mass.sum())
    else:
        all_positive = float(stats.norm.cdf(classic.mean / classic.se))
    return Pooled(
        stouffer_p=float(stouffer(p).p),
        fisher_p=float(fisher(p).p),
        mean=classic.mean,
        se=classic.se,
        tau_between=float(np.sqrt(classic.tau2)),
        q=classic.q,
        q_p=classic.q_p,
        i2=classic.i2,
        shrunk_all_positive=all_positive,
    )


def tipping_points(
    rows: pd.DataFrame,
    *,
    icc: float,
    rho: float,
    k: float | None = None,
    m: int = 1,
    alpha: float = 0.05,
) -> NDArray[np.float64]:
    """Find the checkpoint SD per arm that lifts each row's two-sided p to alpha, (n_rows,); 0 where it is above already.

    `power.tipping_tau` with the T2 error; m checkpoints per arm.
    """
    se = standard_errors(rows, icc=icc, rho=rho, k=k)
    pairs = zip(_delta(rows), se, strict=True)
    return np.array([power.tipping_tau(d, error, m, alpha=alpha) or 0.0 for d, error in pairs])


def tipping_table(
    rows: pd.DataFrame, settings: Mapping[str, tuple[float | None, float]], *, icc: float, alpha: float = 0.05
) -> pd.DataFrame:
    """Tabulate `tipping_points`, one column of checkpoint SDs per named (k, rho); `k` None means the stated runs."""
    check_rows(rows)
    columns = {name: tipping_points(rows, icc=icc, rho=rho, k=k, alpha=alpha) for name, (k, rho) in settings.items()}
    return pd.DataFrame(_labels(rows) | columns)


def tipping_curve(
    rows: pd.DataFrame, taus: Iterable[float], *, icc: float, rho: float, k: float | None = None, alpha: float = 0.05
) -> pd.DataFrame:
    """Count the significant rows over the checkpoint SD. Columns: tau, n_raw, n_holm, n_hommel, iut_p (T3, one per arm)."""
    return pd.DataFrame(
        [{"tau": tau} | counts(_p_one_sided(rows, Scenario("", "T3", icc, rho, k, tau)), alpha=alpha) for tau in taus]
    )


def surface(rows: pd.DataFrame, *, level: float = 0.95) -> pd.DataFrame:
    """Compute T2 of every row at its stated runs over a fine rectangle of icc and rho, for a map; columns as of `grid`."""
    return grid(rows, np.linspace(0.05, 0.95, 19), np.linspace(0, 0.95, 20), level=level)


def tipping_steps(
    rows: pd.DataFrame, farthest: float, *, icc: float = 0.5, rho: float = 0.5, alpha: float = 0.05
) -> pd.DataFrame:
    """Compute `tipping_curve` in fine steps, from no checkpoint SD to beyond `farthest`, the last row's, 3 to 20 points."""
    last = min(max(0.03, 1.15 * farthest), 0.2)
    return tipping_curve(rows, np.linspace(0, last, 401), icc=icc, rho=rho, alpha=alpha)


def required(
    rows: pd.DataFrame,
    *,
    icc: float,
    rhos: Iterable[float],
    powers: Iterable[float] = (0.8, 0.9),
    fractions: Iterable[float] = (1.0, 0.5),
    ks: Sequence[int] = (1, 3, 5),
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Compute what each row would have needed to find a fraction of its estimate, T2.

    Columns: benchmark, name, fraction, rho, power; n_at_k1 .. (tasks at that many runs); runs_at_own_n (runs per task and
    arm at the row's own n; missing: no number of runs will do); mde_floor (detectable effect at infinite runs).
    Rounded up; formulas in `power`. Missing throughout where the estimate is 0.
    """
    check_rows(rows)
    n = rows["n"].to_numpy(float)
    noise = n * standard_errors(rows, icc=icc, rho=0.0, target="T1", k=1) ** 2
    tables = []
    for fraction, rho, goal in product(fractions, rhos, powers):
        omega2 = n * standard_errors(rows, icc=icc, rho=rho, k=np.inf) ** 2
        how = {"alpha": alpha, "power": goal}
        needs = []
        for d, size, between, within in zip(fraction * _delta(rows), n, omega2, noise, strict=True):
            need: dict[str, float] = {"mde_floor": power.mde_floor(size, omega2=between, **how)}
            if d:
                need |= {f"n_at_k{k}": power.tasks_needed(d, omega2=between, s2_a=within, k_a=k, **how) for k in ks}
                runs = power.trials_needed(d, size, omega2=between, s2=within, **how)
                need["runs_at_own_n"] = np.nan if runs is None else max(runs, 1.0)
            needs.append(need)
        table = pd.DataFrame(needs, columns=[*(f"n_at_k{k}" for k in ks), "runs_at_own_n", "mde_floor"])
        for column in table.columns[:-1]:
            table[column] = np.ceil(table[column].astype("Float64") - 1e-9).astype("Int64")
        cell = {**_labels(rows), "fraction": fraction, "rho": rho, "power": goal}
        tables.append(pd.concat([pd.DataFrame(cell), table], axis=1))
    return _stack(tables)


def one_run(rows: pd.DataFrame, *, level: float = 0.95, fraction: float = 0.5) -> pd.DataFrame:
    """Test each row as one run per arm on other tasks, and ask what such a test could say.

    Columns: benchmark, name, n, the columns of `grid` from delta on (Wald limits); newcombe_low, newcombe_high; fisher_p
    (missing for partial credit); rho_outcome_p05, rho_outcome_p01 (outcome correlation that would give that p; missing:
    none); and, were the truth `fraction` of the estimate (winner's curse): power_fraction, type_s, exaggeration, missing
    where there is no variance; p_is_upper_bound.
    """
    check_rows(rows)
    tests = _tests(rows, standard_errors(rows, icc=0.5, rho=0.0, k=1), level)
    scores = [rows[column].to_numpy(float) for column in ("p_a", "p_b", "n")]
    single = [audit_model.unpaired_single_run(a, b, int(n), level=level) for a, b, n in zip(*scores, strict=True)]
    partial = rows["upper_bound"].to_numpy(bool)
    exact = [
        np.nan if bound else audit_model.fisher_p_value(a, b, int(n))
        for a, b, n, bound in zip(*scores, partial, strict=True)
    ]
    varies = tests["se"] > 0
    curse = np.full((3, len(rows)), np.nan)
    if varies.any():
        curse[:, varies] = design_analysis(fraction * tests["delta"][varies], tests["se"][varies], alpha=1 - level)
    return pd.DataFrame(
        {
            **_labels(rows), "n": rows["n"].to_numpy(), **tests, "newcombe_low": [e.low for e in single],
            "newcombe_high": [e.high for e in single], "fisher_p": exact,
            "rho_outcome_p05": audit_model.outcome_correlation_needed(*scores, alpha=0.05),
            "rho_outcome_p01": audit_model.outcome_correlation_needed(*scores, alpha=0.01),
            "power_fraction": curse[0], "type_s": curse[1], "exaggeration": curse[2], "p_is_upper_bound": partial,
        }
    )  # fmt: skip


def replication(
    rows: pd.DataFrame,
    *,
    icc: float,
    rho: float,
    k: float | None = None,
    level: float = 0.95,
    goal: float = 0.8,
) -> pd.DataFrame:
    """Ask what a replication of each row could show, with the row's T2 error as that of the original.

    Columns: benchmark, name, delta, se, z; shrunk (delta max(0, 1 - 1/z^2), empirical Bayes); theta_33 (`telescopes`);
    repeat_low, repeat_high (prediction interval delta -+ z sqrt(2) se of an equal-sized repeat); possible (golden sceptical
    p-value can reach one-sided (1 - level)/2 at some size); d_min (smallest relative effect at c = 1; missing: none);
    c_for_goal (smallest c = s_o^2/s_r^2 with predictive power `goal`; missing: none), power_limit (predictive power as c
    grows without end), max_power. Rows without variance have missing values from theta_33 on.
    """
    se, delta, alpha = standard_errors(rows, icc=icc, rho=rho, k=k), _delta(rows), (1 - level) / 2
    z, half = _z(delta, se), stats.norm.isf(alpha) * np.sqrt(2) * se
    table = []
    for d, error, ratio in zip(delta, se, z, strict=True):
        found = dict.fromkeys(("theta_33", "d_min", "c_for_goal", "power_limit", "max_power"), np.nan)
        if error > 0:
            size = relative_sample_size(ratio, power=goal, level=alpha)
            found = {
                "theta_33": float(theta_33(error, alpha=2 * alpha)),
                "d_min": float(minimum_relative_effect(ratio, 1.0, level=alpha)),
                "c_for_goal": np.nan if size.c is None else size.c,
                "power_limit": float(success_power(ratio, 1e12, level=alpha)),
                "max_power": size.max_power,
            }
        shrunk = d * max(0.0, 1 - 1 / ratio**2) if ratio else 0.0
        table.append({"delta": d, "se": error, "z": ratio, "shrunk": shrunk} | found)
    possible = np.abs(z) > float(threshold_z(alpha))
    return pd.DataFrame(_labels(rows)).join(
        pd.DataFrame(table).assign(repeat_low=delta - half, repeat_high=delta + half, possible=possible)
    )


def check_rows(rows: pd.DataFrame) -> None:
    """Refuse a table without the needed columns, without rows, or with missing numbers."""
    missing = [column for column in NEEDED if column not in rows]
    if missing:
        raise AnalysisError(f"`rows` lacks the column `{missing[0]}`; needed are {', '.join(NEEDED)}.")
    if rows.empty:
        raise AnalysisError("`rows` is empty; an audit needs at least one pair of published scores.")
    gaps = [column for column in ("p_a", "p_b", "n", "k") if rows[column].isna().any()]
    if gaps:
        raise AnalysisError(f"column `{gaps[0]}` of `rows` has missing values; fill them in or drop the rows.")


@cache
def _normal_nodes() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes and weights that integrate over a standard normal."""
    return np.polynomial.hermite_e.hermegauss(81)


def _labels(rows: pd.DataFrame) -> dict[str, np.ndarray]:
    return {"benchmark": rows["benchmark"].to_numpy(), "name": rows["name"].to_numpy()}


def _delta(rows: pd.DataFrame) -> NDArray[np.float64]:
    return (rows["p_b"] - rows["p_a"]).to_numpy(float)


def _z(delta: NDArray[np.float64], se: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide; without variance a difference is infinitely many errors away from zero, and no difference is none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(delta == 0, 0.0, delta / se)


def _power(z: NDArray[np.float64], alpha: float) -> NDArray[np.float64]:
    """Two-sided power at a truth of z errors, as `design_analysis.two_sided_power`, infinite z included."""
    critical = stats.norm.isf(alpha / 2)
    return stats.norm.sf(critical - z) + stats.norm.cdf(-critical - z)


def _scenario_se(rows: pd.DataFrame, s: Scenario) -> NDArray[np.float64]:
    return standard_errors(rows, icc=s.icc, rho=s.rho, target=s.target, k=s.k, tau=s.tau, partial_scale=s.partial_scale)


def _p_one_sided(rows: pd.DataFrame, scenario: Scenario) -> NDArray[np.float64]:
    se = _scenario_se(rows, scenario)
    return stats.norm.sf(_z(_delta(rows), se))


def _tests(rows: pd.DataFrame, se: NDArray[np.float64], level: float) -> dict[str, np.ndarray]:
    if not 0 < level < 1:
        raise AnalysisError(f"`level` must lie between 0 and 1; got {level}.")
    delta = _delta(rows)
    z, critical = _z(delta, se), stats.norm.isf((1 - level) / 2)
    return {
        "delta": delta, "se": se, "z": z, "p_one_sided": stats.norm.sf(z), "p_two_sided": 2 * stats.norm.sf(np.abs(z)),
        "low": delta - critical * se, "high": delta + critical * se, "power": _power(z, 1 - level),
        "mde80": (critical + stats.norm.ppf(0.8)) * se, "mde90": (critical + stats.norm.ppf(0.9)) * se,
    }  # fmt: skip


def _stack(tables: Sequence[Mapping[str, object]]) -> pd.DataFrame:
    if not tables:
        raise AnalysisError("the grid has no cells; give at least one value of every axis.")
    return pd.concat([pd.DataFrame(table) for table in tables], ignore_index=True)
