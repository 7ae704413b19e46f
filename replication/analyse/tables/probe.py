"""Correlate the skill of checkpoints as world models with their skill as agents."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from replication.analyse.stats.distributions import normal_ppf, normal_sf
from replication.errors import AnalysisError

RUN = ["arm", "scale", "params_b", "training_seed", "unit"]
DOMAINS = ("all", "in", "out")
"""All environments, those that the warm-up may see, and those that it may not."""


def run_table(scores: pd.DataFrame, probe: pd.DataFrame, domains: Mapping[str, str]) -> pd.DataFrame:
    """Join the scores of each checkpoint as a world model and as an agent, averaged over the same environments.

    probe : columns `RUN`, benchmark, value (exact match), token_f1.
    domains : benchmark -> in or out; if empty, only domain `all` has rows.
    Columns: `RUN`, domain, n_benchmarks, exact, token_f1, score. Environments count equally; a mean is NaN where the run has
    no value in one of the domain's environments at its scale.
    """
    key = ["unit", "benchmark"]
    predicted = probe.groupby([*RUN, "benchmark"], dropna=False)[["value", "token_f1"]].mean().reset_index()
    score = scores.groupby(key)["value"].mean().rename("score").reset_index()
    both = predicted.rename(columns={"value": "exact"}).merge(score, on=key)
    tables = []
    for domain in DOMAINS:
        part = both if domain == "all" else both[both["benchmark"].map(domains) == domain]
        n_benchmarks = part.groupby("scale")["benchmark"].nunique()
        grouped = part.groupby(RUN, dropna=False)
        values = grouped[["exact", "token_f1", "score"]]
        expected = values.count().index.get_level_values("scale").map(n_benchmarks)
        means = values.mean().where(values.count().eq(pd.Series(expected, values.count().index), axis=0))
        tables.append(means.assign(n_benchmarks=grouped.size(), domain=domain).reset_index())
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
    """Correlate x and y, all (n,), after subtracting the mean of their group from both.

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
    z, half = math.atanh(max(min(r, 1 - 1e-15), -1 + 1e-15)), float(normal_ppf((1 + level) / 2)) * se
    return Correlation(r, math.tanh(z - half), math.tanh(z + half), 2 * float(normal_sf(abs(z) / se)), n, n_groups)
