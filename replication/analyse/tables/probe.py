"""Does a better world model make a better agent? One row per training run, and correlations over them."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from replication.errors import AnalysisError

RUN = ["arm", "scale", "params_b", "training_seed"]
DOMAINS = ("all", "in", "out")
"""All environments, those open to the warm-up, those closed to it."""


def run_table(scores: pd.DataFrame, probe: pd.DataFrame, domains: Mapping[str, str]) -> pd.DataFrame:
    """Join what each training run scores as a world model and as an agent, each averaged over the same environments.

    probe : columns `RUN`, benchmark, value (exact match), token_f1.
    domains : benchmark -> in or out; where it is empty only `all` is made.
    Columns: `RUN`, domain, n_benchmarks, exact, token_f1, score. Environments count equally.
    """
    key = [*RUN, "benchmark"]
    predicted = probe.groupby(key)[["value", "token_f1"]].mean().rename(columns={"value": "exact"})
    both = predicted.join(scores.groupby(key)["value"].mean().rename("score"), how="inner").reset_index()
    tables = []
    for domain in DOMAINS:
        part = both if domain == "all" else both[both["benchmark"].map(domains) == domain]
        grouped = part.groupby(RUN)
        means = grouped[["exact", "token_f1", "score"]].mean().assign(n_benchmarks=grouped.size(), domain=domain)
        tables.append(means.reset_index())
    columns = [*RUN, "domain", "n_benchmarks", "exact", "token_f1", "score"]
    return pd.concat(tables, ignore_index=True)[columns]


class Correlation(NamedTuple):
    """Pearson's correlation within groups, with Fisher's z interval."""

    value: float
    low: float
    high: float
    p_two_sided: float
    n: int
    n_groups: int


def correlation_within(x: ArrayLike, y: ArrayLike, groups: ArrayLike, *, level: float = 0.95) -> Correlation:
    """Correlate x and y, all (n,), after taking the mean of their group off both.

    Fisher's z with standard error 1/sqrt(n - n_groups - 2): a partial correlation given n_groups - 1 indicators (Fisher
    1924). A value between groups never enters. Not covered: training runs of one arm are alike, so within scales the
    interval is about these arms; within arms and scales they are exchangeable.
    """
    frame = pd.DataFrame({"x": np.asarray(x, float), "y": np.asarray(y, float), "group": np.asarray(groups)}).dropna()
    n, n_groups = len(frame), frame["group"].nunique()
    if n - n_groups < 3:
        raise AnalysisError(f"a correlation within {n_groups} groups needs {n_groups + 3} training runs; got {n}.")
    centred = frame[["x", "y"]] - frame.groupby("group")[["x", "y"]].transform("mean")
    spread = np.sqrt((centred**2).sum())
    if not (spread > 1e-12).all():
        raise AnalysisError("no training run differs from the others of its group, so there is nothing to correlate.")
    r = float((centred["x"] * centred["y"]).sum() / spread.prod())
    se = 1 / math.sqrt(n - n_groups - 2)
    z, half = math.atanh(max(min(r, 1 - 1e-15), -1 + 1e-15)), float(stats.norm.ppf((1 + level) / 2)) * se
    return Correlation(r, math.tanh(z - half), math.tanh(z + half), 2 * float(stats.norm.sf(abs(z) / se)), n, n_groups)
