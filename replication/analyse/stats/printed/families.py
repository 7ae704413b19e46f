"""All rows of a published table together: families of tests, scenarios, and the checkpoint SD at which rows tip."""

from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import product
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from replication.analyse.stats.design import power
from replication.analyse.stats.distributions import normal_cdf, normal_isf, normal_sf
from replication.analyse.stats.families.meta import dersimonian_laird
from replication.analyse.stats.families.multiplicity import fisher, holm, hommel, intersection_union, stouffer
from replication.analyse.stats.printed.row_tests import turning_points
from replication.analyse.stats.printed.rows import (
    check_rows,
    deltas,
    labels,
    stacked,
    standard_errors,
    two_sided_power,
    z_scores,
)
from replication.errors import AnalysisError
from replication.records import Target


class Scenario(NamedTuple):
    """Assumptions under which all rows are tested together."""

    name: str
    target: Target
    icc: float
    rho: float
    k: float | None = None
    """Runs of every row; None means as stated."""
    tau: float = 0.0
    """SD between checkpoints of one arm, a fraction; enters T3."""
    partial_scale: float = 1.0
    """Share of the variance bound that partial-credit rows are assumed to have."""


class Counts(NamedTuple):
    """All rows tested together."""

    n_raw: int
    """Rows with two-sided p <= alpha."""
    n_holm: int
    n_hommel: int
    iut_p: float
    """One-sided p-value of "not all rows are above 0" (intersection-union)."""


class Pooled(NamedTuple):
    """All rows combined: tests of any effect, and the mean effect."""

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
    """P(all true differences > 0) if the benchmarks are exchangeable; it rests mostly on that assumption."""


class Scenarios(NamedTuple):
    """`families` has one row per scenario, `rows` one per scenario and benchmark."""

    families: pd.DataFrame
    rows: pd.DataFrame


def counts(p_one_sided: ArrayLike, *, alpha: float = 0.05) -> Counts:
    """Count the rows with two-sided p <= alpha raw, after Holm and after Hommel; p_one_sided : (n_rows,)."""
    p = np.asarray(p_one_sided, float)
    two_sided = 2 * np.minimum(p, 1 - p)
    return Counts(
        n_raw=int((two_sided <= alpha).sum()),
        n_holm=int((holm(two_sided) <= alpha).sum()),
        n_hommel=int((hommel(two_sided) <= alpha).sum()),
        iut_p=intersection_union(p),
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
            | counts(_p_one_sided(rows, Scenario("", target, icc, rho, k, tau)), alpha=alpha)._asdict()
            for icc, rho in product(iccs, rhos)
        ]
    )


def scenarios(rows: pd.DataFrame, settings: Sequence[Scenario], *, alpha: float = 0.05) -> Scenarios:
    """Test all rows together under each scenario.

    families : the scenario's fields; n_raw, n_holm, n_hommel, iut_p; flat_all_positive (prod Phi(z), flat priors);
    repeat_all_positive (prod Phi(z/sqrt 2)) and repeat_all_significant (prod Phi((z - z_{1-alpha/2})/sqrt 2)), both for an
    exact repeat; power_all and power_all_half (all two-sided significant if the truth is the estimate, or half of it); then
    the fields of `Pooled`, missing for one row or where a row has no variance. Rows count as independent.
    rows : scenario, benchmark, name, z, p_two_sided, holm, hommel.
    """
    check_rows(rows)
    delta, critical = deltas(rows), normal_isf(alpha / 2)
    families, members = [], []
    for setting in settings:
        se = _scenario_se(rows, setting)
        z = z_scores(delta, se)
        p = normal_sf(z)
        two_sided = 2 * normal_sf(np.abs(z))
        families.append(
            setting._asdict()
            | {"scenario": setting.name}
            | counts(p, alpha=alpha)._asdict()
            | {
                "flat_all_positive": normal_cdf(z).prod(),
                "repeat_all_positive": normal_cdf(z / np.sqrt(2)).prod(),
                "repeat_all_significant": normal_cdf((z - critical) / np.sqrt(2)).prod(),
                "power_all": two_sided_power(z, alpha).prod(),
                "power_all_half": two_sided_power(z / 2, alpha).prod(),
            }
            | (
                pool(delta, se)._asdict()
                if delta.size > 1 and (se > 0).all()
                else dict.fromkeys(Pooled._fields, np.nan)
            )
        )
        members.append(
            {"scenario": setting.name, **labels(rows), "z": z, "p_two_sided": two_sided, "holm": holm(two_sided),
             "hommel": hommel(two_sided)}
        )  # fmt: skip
    return Scenarios(pd.DataFrame(families).drop(columns="name"), stacked(members))


def pool(delta: ArrayLike, se: ArrayLike) -> Pooled:
    """Combine independent differences `delta` with standard errors `se`, both (n_rows,), at least 2, all se above 0.

    `stouffer`, `fisher` of one-sided p, `dersimonian_laird`, and the empirical-Bayes posterior: theta_i given the mean
    mu is N(mu + b (delta_i - mu), b se_i^2), b = tau^2/(tau^2 + se_i^2), mu normal around the pooled mean; P(all > 0)
    integrates over mu.
    """
    delta, se = np.asarray(delta, float), np.asarray(se, float)
    if delta.ndim != 1 or delta.size < 2 or delta.shape != se.shape:
        raise AnalysisError(f"pooling needs at least 2 differences and as many errors; got {delta.size} and {se.size}.")
    if not (np.isfinite(delta).all() and (se > 0).all() and np.isfinite(se).all()):
        raise AnalysisError("pooling needs finite differences and standard errors above 0; drop rows without variance.")
    p, classic = normal_sf(delta / se), dersimonian_laird(delta, se)
    if classic.tau2 > 0:
        nodes, mass = _normal_nodes()
        mu, share = (classic.mean + classic.se * nodes)[:, None], classic.tau2 / (classic.tau2 + se**2)
        above = normal_cdf((mu + share * (delta - mu)) / np.sqrt(share * se**2)).prod(axis=1)
        all_positive = float(mass @ above / mass.sum())
    else:
        all_positive = float(normal_cdf(classic.mean / classic.se))
    return Pooled(
        stouffer_p=float(stouffer(delta / se).p),
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
    """Find the checkpoint SD per arm that lifts each row's two-sided p to alpha, (n_rows,); 0 where p is above alpha.

    `power.tipping_tau` with the T2 error; m checkpoints per arm.
    """
    se = standard_errors(rows, icc=icc, rho=rho, k=k)
    pairs = zip(deltas(rows), se, strict=True)
    return np.array([power.tipping_tau(d, error, m, alpha=alpha) or 0.0 for d, error in pairs])


def tipping_table(
    rows: pd.DataFrame, settings: Mapping[str, tuple[float | None, float]], *, icc: float, alpha: float = 0.05
) -> pd.DataFrame:
    """Tabulate `tipping_points`, one column of checkpoint SDs per named (k, rho); `k` None means the stated runs."""
    check_rows(rows)
    columns = {name: tipping_points(rows, icc=icc, rho=rho, k=k, alpha=alpha) for name, (k, rho) in settings.items()}
    return pd.DataFrame(labels(rows) | columns)


def tipping_curve(
    rows: pd.DataFrame, taus: Iterable[float], *, icc: float, rho: float, k: float | None = None, alpha: float = 0.05
) -> pd.DataFrame:
    """Count the significant rows over the checkpoint SD. Columns: tau, n_raw, n_holm, n_hommel, iut_p (T3, one per arm)."""
    steps = np.array(list(taus), float)
    se = standard_errors(rows, icc=icc, rho=rho, target="T3", k=k, tau=steps[:, None])
    p = normal_sf(z_scores(deltas(rows), se))
    return pd.DataFrame(
        [{"tau": tau, **counts(of_step, alpha=alpha)._asdict()} for tau, of_step in zip(steps, p, strict=True)]
    )


def turning_points_of_all(
    rows: pd.DataFrame, iccs: Iterable[float], *, alpha: float = 0.05
) -> dict[float, float | None]:
    """Find, per icc, the task correlation from which every row is above 0 at one-sided alpha/2, T2 at the stated runs.

    0 where a correlation of 0 suffices; None where no correlation below 1 does.
    """
    table = turning_points(rows, iccs, alpha=alpha)
    points = {icc: float(part["rho"].max(skipna=False)) for icc, part in table.groupby("icc", sort=False)}
    above = bool((deltas(rows) > 0).all())
    return {icc: rho if above and rho < 1 else None for icc, rho in points.items()}


@cache
def _normal_nodes() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return nodes and weights that integrate over a standard normal."""
    return np.polynomial.hermite_e.hermegauss(81)


def _scenario_se(rows: pd.DataFrame, s: Scenario) -> NDArray[np.float64]:
    return standard_errors(rows, icc=s.icc, rho=s.rho, target=s.target, k=s.k, tau=s.tau, partial_scale=s.partial_scale)


def _p_one_sided(rows: pd.DataFrame, scenario: Scenario) -> NDArray[np.float64]:
    se = _scenario_se(rows, scenario)
    return np.asarray(normal_sf(z_scores(deltas(rows), se)), float)
