"""Sample sizes that each published row would have needed, and possible results of its repeat."""

from collections.abc import Iterable, Sequence
from itertools import product

import numpy as np
import pandas as pd

from replication.analyse.stats.design import power
from replication.analyse.stats.distributions import normal_isf
from replication.analyse.stats.printed.rows import check_rows, deltas, labels, stacked, standard_errors, z_scores
from replication.analyse.stats.two_studies.sceptical import (
    minimum_relative_effect,
    relative_sample_size,
    success_power,
    threshold_z,
)
from replication.analyse.stats.two_studies.telescopes import theta_33


def required(
    rows: pd.DataFrame,
    *,
    icc: float,
    rhos: Iterable[float],
    powers: Iterable[float],
    fractions: Iterable[float],
    ks: Sequence[int],
    alpha: float = 0.05,
) -> pd.DataFrame:
    """Compute the sample sizes that each row would have needed to detect a fraction of its estimate, T2.

    Columns: benchmark, name, fraction, rho, power; n_at_k1 .. (tasks at that many runs); runs_at_own_n (runs per task and
    arm at the row's own n; missing: no number of runs suffices); mde_floor (detectable effect at infinite runs).
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
        for d, size, between, within in zip(fraction * deltas(rows), n, omega2, noise, strict=True):
            need: dict[str, float] = {"mde_floor": power.mde_floor(size, omega2=between, **how)}
            if d:
                need |= {f"n_at_k{k}": power.tasks_needed(d, omega2=between, s2_a=within, k_a=k, **how) for k in ks}
                runs = power.trials_needed(d, size, omega2=between, s2=within, **how)
                need["runs_at_own_n"] = np.nan if runs is None else max(runs, 1.0)
            needs.append(need)
        table = pd.DataFrame(needs, columns=[*(f"n_at_k{k}" for k in ks), "runs_at_own_n", "mde_floor"])
        for column in table.columns[:-1]:
            table[column] = np.ceil(table[column].astype("Float64") - 1e-9).astype("Int64")
        cell = {**labels(rows), "fraction": fraction, "rho": rho, "power": goal}
        tables.append(pd.concat([pd.DataFrame(cell), table], axis=1))
    return stacked(tables)


def replication(
    rows: pd.DataFrame,
    *,
    icc: float,
    rho: float,
    k: float | None = None,
    goal: float,
    level: float = 0.95,
) -> pd.DataFrame:
    """Compute the results that a replication of each row could have, the row's T2 error being that of the original.

    Columns: benchmark, name, delta, se, z; shrunk (delta max(0, 1 - 1/z^2), empirical Bayes); theta_33 (`telescopes`);
    repeat_low, repeat_high (prediction interval delta ± z sqrt(2) se of an equal-sized repeat); possible (golden sceptical
    p-value can reach one-sided (1 - level)/2 at some size); d_min (smallest relative effect at c = 1; missing: none);
    c_for_goal (smallest c = s_o^2/s_r^2 with predictive power `goal`; missing: none), power_limit (predictive power as c
    grows without end), max_power. Rows without variance have missing values from theta_33 on.
    """
    se, delta, alpha = standard_errors(rows, icc=icc, rho=rho, k=k), deltas(rows), (1 - level) / 2
    z, half = z_scores(delta, se), normal_isf(alpha) * np.sqrt(2) * se
    table = []
    for d, error, ratio in zip(delta, se, z, strict=True):
        criteria = dict.fromkeys(("theta_33", "d_min", "c_for_goal", "power_limit", "max_power"), np.nan)
        if error > 0:
            size = relative_sample_size(ratio, power=goal, level=alpha)
            criteria = {
                "theta_33": float(theta_33(error, alpha=2 * alpha)),
                "d_min": float(minimum_relative_effect(ratio, 1.0, level=alpha)),
                "c_for_goal": np.nan if size.c is None else size.c,
                "power_limit": float(success_power(ratio, 1e12, level=alpha)),
                "max_power": size.max_power,
            }
        shrunk = d * max(0.0, 1 - 1 / ratio**2) if ratio else 0.0
        table.append({"delta": d, "se": error, "z": ratio, "shrunk": shrunk} | criteria)
    possible = np.abs(z) > float(threshold_z(alpha))
    return pd.DataFrame(labels(rows)).join(
        pd.DataFrame(table).assign(repeat_low=delta - half, repeat_high=delta + half, possible=possible)
    )
