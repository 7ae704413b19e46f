"""Published rows whose tasks come in groups, such as repositories: standard errors for tasks of other groups.

`audit_model` takes tasks as independent. Where the arms' difference varies between groups, tasks of one group repeat each
other, and more tasks of the same groups help less. Nothing of this is printed either: the intraclass correlation is varied.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import product

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from replication.analyse.stats.distributions import t_ppf, t_sf
from replication.analyse.stats.estimates.agreement import design_effect, weighted_size
from replication.analyse.stats.printed.families import counts
from replication.analyse.stats.printed.rows import (
    check_rows,
    deltas,
    labels,
    stacked,
    standard_errors,
    z_scores,
)
from replication.errors import AnalysisError

Sizes = Mapping[str, Sequence[int]]
"""Benchmark to the numbers of tasks of its groups; of a row with another number of tasks they are shares."""


def grouped_errors(
    rows: pd.DataFrame, sizes: Sizes, group_icc: float, *, icc: float, rho: float
) -> NDArray[np.float64]:
    """Compute the T2 standard error of each row for tasks of other groups; as `standard_errors` for rows without groups.

    group_icc : share of the variance of the arms' difference, one run each, that is between groups (negative counts as 0).
    SE^2 = SE_T2(k)^2 + SE_T2(1)^2 (design effect - 1): more runs remove none of the variance between groups.
    """
    stated = standard_errors(rows, icc=icc, rho=rho)
    single = standard_errors(rows, icc=icc, rho=rho, k=1)
    effect = np.array([design_effect(max(group_icc, 0.0), size) for size in _weighted_sizes(rows, sizes)])
    return np.asarray(np.sqrt(stated**2 + single**2 * (effect - 1)))


def grouped_rows(
    rows: pd.DataFrame, sizes: Sizes, group_iccs: Iterable[float], *, icc: float, rho: float, level: float = 0.95
) -> pd.DataFrame:
    """Test the rows that have groups, with the t quantile of one degree of freedom fewer than groups.

    Columns: benchmark, name, group_icc, n_groups, weighted_size, delta, se (independent tasks), se_grouped, ratio,
    p_one_sided, p_two_sided, low, high. Groups of unequal size have fewer degrees of freedom than that.
    """
    has = rows["benchmark"].isin(list(sizes)).to_numpy()
    chosen, tables = rows[has], []
    if chosen.empty:
        return pd.DataFrame()
    plain, df = standard_errors(chosen, icc=icc, rho=rho), _degrees_of_freedom(chosen, sizes)
    for group_icc in group_iccs:
        errors = grouped_errors(chosen, sizes, group_icc, icc=icc, rho=rho)
        p, half = t_sf(z_scores(deltas(chosen), errors), df), t_ppf((1 + level) / 2, df) * errors
        ratio = np.divide(errors, plain, out=np.full(len(chosen), np.nan), where=plain > 0)
        tables.append(
            {
                **labels(chosen), "group_icc": group_icc, "n_groups": (df + 1).astype(int),
                "weighted_size": _weighted_sizes(chosen, sizes), "delta": deltas(chosen), "se": plain,
                "se_grouped": errors, "ratio": ratio, "p_one_sided": p, "p_two_sided": 2 * np.minimum(p, 1 - p),
                "low": deltas(chosen) - half, "high": deltas(chosen) + half,
            }
        )  # fmt: skip
    return stacked(tables)


def grouped_family(
    rows: pd.DataFrame,
    sizes: Sizes,
    group_iccs: Iterable[float],
    iccs: Iterable[float],
    rhos: Iterable[float],
    *,
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Test all rows together over (group_icc, icc, rho), T2; rows without groups as in `families.family_grid`.

    Columns: group_icc, icc, rho, n_raw, n_holm, n_hommel, iut_p, weakest (name of the row with the largest p).
    """
    check_rows(rows)
    names, df, cells = rows["name"].to_numpy(), _degrees_of_freedom(rows, sizes), []
    for group_icc, icc, rho in product(group_iccs, iccs, rhos):
        errors = grouped_errors(rows, sizes, group_icc, icc=icc, rho=rho)
        p = np.asarray(t_sf(z_scores(deltas(rows), errors), df), float)
        cell = {"group_icc": group_icc, "icc": icc, "rho": rho} | counts(p, alpha=alpha)._asdict()
        cells.append(cell | {"weakest": names[int(p.argmax())]})
    return pd.DataFrame(cells)


def _weighted_sizes(rows: pd.DataFrame, sizes: Sizes) -> list[float]:
    """Return the mean size of the group that a task is in, per row; 1 for a row without groups."""
    return [
        max(weighted_size(sizes[name]) * n / sum(sizes[name]), 1.0) if name in sizes else 1.0
        for name, n in zip(rows["benchmark"], rows["n"], strict=True)
    ]


def _degrees_of_freedom(rows: pd.DataFrame, sizes: Sizes) -> NDArray[np.float64]:
    """Return one fewer than the groups of each row; infinity, the normal distribution, for a row without groups."""
    few = [name for name, of_groups in sizes.items() if len(of_groups) < 2]
    if few:
        raise AnalysisError(
            f"a standard error over groups needs at least 2 of them; {few[0]} has {len(sizes[few[0]])}."
        )
    return np.array([len(sizes[name]) - 1.0 if name in sizes else np.inf for name in rows["benchmark"]])
