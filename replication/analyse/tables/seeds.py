"""Spread between training runs of the same arm, which differ in nothing but their seed."""

import numpy as np
import pandas as pd
import scipy

from replication.analyse.stats.families.multiplicity import holm
from replication.analyse.tables.arms import training_runs
from replication.analyse.tables.summaries import MEAN


def run_scores(scores: pd.DataFrame) -> pd.DataFrame:
    """Average the scores of each training run per benchmark, and over its benchmarks with equal weight.

    Columns: arm, scale, benchmark (`MEAN` for the average), training_seed, unit, value. Missing scores are left out; the
    average is NaN where a benchmark of the scale has none. Public checkpoints, which have no training seed, are left out.
    """
    key = ["arm", "scale", "training_seed", "unit"]
    single = training_runs(scores).groupby([*key, "benchmark"])["value"].mean().reset_index()
    n_benchmarks = single.groupby("scale")["benchmark"].transform("nunique")
    of_run = single.assign(n=n_benchmarks).groupby(key)
    mean = of_run["value"].mean().where(of_run["value"].count() == of_run["n"].first())
    mean = mean.rename("value").reset_index().assign(benchmark=MEAN)
    return pd.concat([single, mean], ignore_index=True)[["arm", "scale", "benchmark", "training_seed", "unit", "value"]]


def equal_spread(runs: pd.DataFrame) -> pd.DataFrame:
    """Test whether the arms spread equally over their training runs (Brown & Forsythe 1974), per scale and benchmark.

    runs : as `run_scores` returns it; arms with one training run are left out.
    Columns: scale, benchmark, n_arms, n_training_runs (all arms), statistic, p; a benchmark on which no run differs from
    its arm's median has no statistic. With three runs per arm the test cannot reject: of three deviations from a median one
    is 0, and with two such arms the smallest p-value is .08 to .12.
    """
    rows = []
    for (scale, benchmark), part in runs.dropna(subset="value").groupby(["scale", "benchmark"], sort=False):
        groups = [group["value"].to_numpy() for _, group in part.groupby("arm") if len(group) > 1]
        if len(groups) < 2:
            continue
        varies = any(np.ptp(np.abs(group - np.median(group))) > 0 for group in groups)
        test = scipy.stats.levene(*groups, center="median") if varies else (np.nan, np.nan)
        rows.append((scale, benchmark, len(groups), sum(map(len, groups)), float(test[0]), float(test[1])))
    return pd.DataFrame(rows, columns=["scale", "benchmark", "n_arms", "n_training_runs", "statistic", "p"])


def n_unequal_after_holm(spread: pd.DataFrame, level: float) -> dict[str, int]:
    """Count per scale the single benchmarks whose spread differs between arms after Holm's correction at 1 - level.

    spread : as `equal_spread` returns it.
    """
    counts = {}
    for scale, part in spread.groupby("scale", sort=False):
        p = part.loc[part["benchmark"] != MEAN, "p"].dropna()
        counts[str(scale)] = int((holm(p) <= 1 - level).sum()) if len(p) else 0
    return counts
