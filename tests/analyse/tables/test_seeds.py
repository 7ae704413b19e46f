"""Spread between training runs against scipy and planted differences."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from replication.analyse.tables.seeds import equal_spread, run_scores

ARMS = {"base": 0.1, "agent_sft": 0.4, "lwm_then_sft": 0.5}


def test_run_scores_are_means_with_equal_weight_per_benchmark(make_scores):
    scores = make_scores(ARMS)
    runs = run_scores(scores).query("arm == 'agent_sft' and training_seed == 1").set_index("benchmark")["value"]
    part = scores.query("arm == 'agent_sft' and training_seed == 1")
    assert runs["calling"] == pytest.approx(part[part["benchmark"] == "calling"]["value"].mean())
    assert runs["mean of these"] == pytest.approx(runs[["calling", "terminal"]].mean())


def test_test_of_equal_spread_is_that_of_brown_and_forsythe(make_scores):
    runs = run_scores(make_scores(ARMS, n_runs=5, only_first=("base",)))
    found = equal_spread(runs).set_index("benchmark").loc["terminal"]
    wide = runs.query("benchmark == 'terminal'").pivot(index="training_seed", columns="arm", values="value")
    z = [(wide[arm] - wide[arm].median()).abs() for arm in ("agent_sft", "lwm_then_sft")]
    expected = stats.f_oneway(*z)
    assert (found["statistic"], found["p"]) == pytest.approx((expected.statistic, expected.pvalue))
    assert (found["n_arms"], found["n_training_runs"]) == (2, 10)


def test_gross_difference_in_spread_is_detected():
    rng = np.random.default_rng(0)
    runs = pd.DataFrame(
        [
            {"arm": arm, "scale": "xs", "benchmark": "b", "training_seed": i, "value": rng.normal(0.5, sd)}
            for arm, sd in (("quiet", 0.001), ("wild", 0.2)) for i in range(10)
        ]
    )  # fmt: skip
    assert equal_spread(runs)["p"].item() < 0.01


def test_arms_that_do_not_vary_have_no_statistic_and_single_runs_no_row():
    runs = pd.DataFrame({"arm": list("aabb"), "scale": "xs", "benchmark": "b", "training_seed": [0, 1, 0, 1],
                         "value": [0.5, 0.5, 0.7, 0.7]})  # fmt: skip
    assert np.isnan(equal_spread(runs)["p"].item())
    assert equal_spread(runs[runs["training_seed"] == 0]).empty
