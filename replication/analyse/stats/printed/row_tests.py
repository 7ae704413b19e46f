"""Tests of each row of a published table, over the assumptions that the table does not state.

`rows` : as `rows.compare` returns them. The model is that of `audit_model`, the reference distribution normal; `icc` and
`rho` are varied. Results are fractions, one row of output per row and cell.
"""

from collections.abc import Iterable
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from replication.analyse.stats import checks
from replication.analyse.stats.distributions import normal_isf, normal_ppf, normal_sf
from replication.analyse.stats.printed import audit_model
from replication.analyse.stats.printed.rows import (
    check_rows,
    deltas,
    labels,
    stacked,
    standard_errors,
    two_sided_power,
    z_scores,
)
from replication.analyse.stats.two_studies.design_analysis import design_analysis
from replication.errors import AnalysisError
from replication.records import Target


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
    cells, stated = list(product(iccs, ks, rhos)), rows["k"].to_numpy()
    if not cells:
        raise AnalysisError("the grid has no cells; give at least one value of every axis.")
    icc, rho = (np.array([cell[axis] for cell in cells], float)[:, None] for axis in (0, 2))
    k = np.stack([stated if cell[1] is None else np.full(len(rows), cell[1]) for cell in cells])
    tests = _tests(rows, standard_errors(rows, icc=icc, rho=rho, k=k, target=target), level)
    columns = {**labels(rows), "target": np.array(target), "icc": icc, "k": k, "rho": rho, **tests}
    return pd.DataFrame({name: np.broadcast_to(values, k.shape).ravel() for name, values in columns.items()})


def outcome_grid(rows: pd.DataFrame, rhos: Iterable[float], *, level: float = 0.95) -> pd.DataFrame:
    """Test every row at one run over the correlation of single-run outcomes (column rho_outcome; not the task one)."""
    check_rows(rows)
    scores = rows["p_a"], rows["p_b"], rows["n"]
    return stacked(
        [
            {
                **labels(rows),
                "rho_outcome": rho,
                **_tests(rows, audit_model.outcome_standard_error(*scores, rho=rho), level),
            }
            for rho in rhos
        ]
    )


def turning_points(rows: pd.DataFrame, iccs: Iterable[float], *, alpha: float = 0.05) -> pd.DataFrame:
    """Find the task correlation from which each row has two-sided p <= alpha at its stated runs, T2.

    Columns: benchmark, name, icc, rho (0: already at 0; NaN: at none).
    """
    check_rows(rows)
    columns = rows["p_a"], rows["p_b"], rows["n"], rows["k"]
    return stacked(
        [
            {**labels(rows), "icc": icc, "rho": audit_model.correlation_needed(*columns, icc=icc, alpha=alpha)}
            for icc in iccs
        ]
    )


def one_run(rows: pd.DataFrame, *, fraction: float, level: float = 0.95) -> pd.DataFrame:
    """Test each row as one run per arm on other tasks, and compute power and exaggeration of such a test.

    Columns: benchmark, name, n, the columns of `grid` from delta on (Wald limits); newcombe_low, newcombe_high; fisher_p
    (missing for partial credit); rho_outcome_p05, rho_outcome_p01 (outcome correlation that would give that p; missing:
    none); and, were the truth `fraction` of the estimate (winner's curse): power_fraction, type_s, exaggeration, missing
    without variance; p_is_upper_bound.
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
            **labels(rows), "n": rows["n"].to_numpy(), **tests, "newcombe_low": [e.low for e in single],
            "newcombe_high": [e.high for e in single], "fisher_p": exact,
            "rho_outcome_p05": audit_model.outcome_correlation_needed(*scores, alpha=0.05),
            "rho_outcome_p01": audit_model.outcome_correlation_needed(*scores, alpha=0.01),
            "power_fraction": curse[0], "type_s": curse[1], "exaggeration": curse[2], "p_is_upper_bound": partial,
        }
    )  # fmt: skip


def _tests(rows: pd.DataFrame, se: NDArray[np.float64], level: float) -> dict[str, NDArray[np.float64]]:
    """Test the rows with standard errors `se`, (..., n_rows)."""
    checks.probability(level=level)
    delta = deltas(rows)
    z, critical = z_scores(delta, se), normal_isf((1 - level) / 2)
    return {
        "delta": delta, "se": se, "z": z, "p_one_sided": normal_sf(z), "p_two_sided": 2 * normal_sf(np.abs(z)),
        "low": delta - critical * se, "high": delta + critical * se, "power": two_sided_power(z, 1 - level),
        "mde80": (critical + normal_ppf(0.8)) * se, "mde90": (critical + normal_ppf(0.9)) * se,
    }  # fmt: skip
