"""The A/A check finds planted variance between training runs and uses the intervals of the real analysis."""

import numpy as np
import pytest
from scipy import stats

from replication.analyse.stats.estimates.differences import Pair, mean_paired_difference
from replication.analyse.tables.aa import check, false_positives, pseudo_arms
from replication.errors import AnalysisError

HOW = {"level": 0.95, "n_simulations": 2000}


def planted(n_runs, n_tasks, run_sd, *, n_benchmarks=3, seed=0):
    """Scores with a run shift that all benchmarks share."""
    rng = np.random.default_rng(seed)
    shift = rng.normal(0, run_sd, (n_runs, 1, 1))
    return [rng.normal(0, 0.2, n_tasks) + shift + rng.normal(0, 0.3, (n_runs, 2, n_tasks)) for _ in range(n_benchmarks)]


def test_without_variance_between_runs_neither_interval_errs_more_than_it_may():
    level = [array - array.mean(axis=(1, 2), keepdims=True) for array in planted(3, 100, 0.0)]
    found = false_positives(level, **HOW, rng=np.random.default_rng(1))
    assert found.run_sd == pytest.approx(0, abs=1e-12)
    assert found.t2 == pytest.approx(0.05, abs=3 * found.error)
    assert found.t3 <= 0.05 + 3 * found.error


def test_with_variance_between_runs_t2_errs_as_often_as_theory_says_and_t3_keeps_its_word():
    # T2's error is that of tasks; the difference has the variance of 2 x 20 run shifts on top.
    scores, m, run_sd = planted(20, 50, 0.1, seed=3), 20, 0.1
    found = false_positives(scores, **HOW, rng=np.random.default_rng(1))
    means = np.mean([array.mean(axis=(1, 2)) for array in scores], axis=0)
    assert found.run_sd == pytest.approx(means.std(ddof=1), rel=0.05) == pytest.approx(run_sd, rel=0.35)
    noise = np.mean([array.mean(axis=1).var(axis=0, ddof=1).sum() / 50**2 for array in scores]) / 3
    tasks, runs = 2 * noise / m, 2 * found.run_sd**2 / m
    expected = 2 * stats.norm.sf(stats.norm.ppf(0.975) * np.sqrt(tasks / (tasks + runs)))
    assert found.t2 == pytest.approx(expected, abs=0.03)
    assert found.t3 == pytest.approx(0.05, abs=3.5 * found.error)


def test_simulated_intervals_are_those_of_the_analysis():
    scores = planted(3, 30, 0.05)
    pairs = list(pseudo_arms(scores, n_simulations=60, rng=np.random.default_rng(5)))
    excluded = {"T2": 0, "T3": 0}
    for i in range(60):
        study = [Pair(np.asarray(p.treatment)[i][:, None], np.asarray(p.control)[i][:, None]) for p in pairs]
        for target in excluded:
            estimate = mean_paired_difference(study, target=target)
            excluded[target] += not estimate.low <= 0 <= estimate.high
    found = false_positives(scores, level=0.95, n_simulations=60, rng=np.random.default_rng(5))
    assert (60 * found.t2, 60 * found.t3) == pytest.approx((excluded["T2"], excluded["T3"]))
    assert excluded["T2"] > excluded["T3"]


def test_pseudo_arms_have_the_tasks_and_the_spread_of_the_stored_arm():
    scores = planted(20, 50, 0.1)
    for array, pair in zip(scores, pseudo_arms(scores, n_simulations=400, rng=np.random.default_rng(2)), strict=True):
        treatment, control = (np.asarray(arm) for arm in pair[:2])
        assert treatment.shape == (400, 20, 50)
        assert treatment.mean() == pytest.approx(array.mean(), abs=0.01)
        assert treatment.mean(axis=2).var(axis=1, ddof=1).mean() == pytest.approx(
            array.mean(axis=(1, 2)).var(ddof=1), rel=0.1
        )
        # the same tasks on both sides
        over_runs = treatment.mean(axis=1), control.mean(axis=1)
        assert np.mean([np.corrcoef(a, b)[0, 1] for a, b in zip(*over_runs, strict=True)]) > 0.8


def test_equal_seeds_give_equal_shares_and_different_seeds_do_not():
    scores = planted(3, 40, 0.05)
    same = [false_positives(scores, **HOW, rng=np.random.default_rng(9)) for _ in range(2)]
    assert same[0] == same[1] != false_positives(scores, **HOW, rng=np.random.default_rng(10))


def test_arm_that_never_varies_never_differs_from_itself():
    found = false_positives([np.ones((3, 1, 10))], level=0.95, n_simulations=50, rng=np.random.default_rng(0))
    assert (found.t2, found.t3, found.run_sd) == (0, 0, 0)


@pytest.mark.parametrize(
    "scores, message",
    [
        ([np.ones((1, 2, 9))], "at least 2 training runs and 2 tasks"),
        ([np.full((3, 2, 9), np.nan)], "no missing score"),
        ([np.ones((3, 2, 9)), np.ones((2, 2, 9))], r"same training runs .* got \[2, 3\] runs"),
    ],
)
def test_scores_that_cannot_be_checked_are_refused(scores, message):
    with pytest.raises(AnalysisError, match=message):
        false_positives(scores, **HOW, rng=np.random.default_rng(0))


def test_table_holds_each_arm_and_scale_with_enough_training_runs(make_scores):
    scores = make_scores(
        {"base": 0.1, "agent_sft": 0.4, "lwm_then_sft": {"tiny": 0.5}}, scales=(("tiny", 0.001), ("small", 0.004)),
        only_first=("base",), scaffolds=("compact", "react"), n_tasks=20,
    )  # fmt: skip
    table = check(scores, level=0.95, n_simulations=100, rng=np.random.default_rng(0))
    assert list(zip(table["arm"], table["scale"], strict=True)) == [
        ("agent_sft", "small"), ("agent_sft", "tiny"), ("lwm_then_sft", "tiny")
    ]  # fmt: skip
    assert (table["n_training_runs"] == 3).all()


@pytest.mark.slow
def test_method_interval_keeps_its_word_over_a_range_of_run_spreads():
    for seed, run_sd in enumerate((0.0, 0.01, 0.03, 0.1)):
        found = false_positives(
            planted(3, 60, run_sd, n_benchmarks=7, seed=seed), level=0.95, n_simulations=5000,
            rng=np.random.default_rng(seed),
        )  # fmt: skip
        assert found.t3 <= 0.05 + 3 * found.error
