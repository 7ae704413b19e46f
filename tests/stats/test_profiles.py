"""Profiles, trimmed means and probabilities of improvement against their definitions."""

import numpy as np
import pytest
from scipy import stats

from replication.errors import AnalysisError
from replication.stats.profiles import (
    interquartile_mean,
    optimality_gap,
    performance_profile,
    probability_of_improvement,
    stratified_bootstrap,
)


def scores(seed: int = 0, n_runs: int = 5, n_tasks: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).uniform(size=(n_runs, n_tasks))


def test_interquartile_mean_is_over_runs_and_tasks_together():
    assert interquartile_mean(np.arange(80).reshape(5, 16)) == 39.5
    assert interquartile_mean([[0, 1, 2, 900]]) == 1.5
    assert interquartile_mean([[0, 0, 0, 0], [4, 5, 6, 7]]) == (0 + 0 + 4 + 5) / 4


def test_profile_is_the_share_of_runs_strictly_above():
    profile = performance_profile([[0.0, 0.5], [0.5, 1.0]], [-0.1, 0.0, 0.4, 0.5, 1.0])
    assert profile.tolist() == [1.0, 0.75, 0.75, 0.25, 0.0]


def test_area_under_the_profile_is_the_mean():
    x, grid = scores(), np.linspace(0, 1, 20_001)
    assert np.trapezoid(performance_profile(x, grid), grid) == pytest.approx(x.mean(), abs=1e-4)


def test_optimality_gap_does_not_reward_what_is_above_the_target():
    assert optimality_gap([[0.2, 3.0], [1.0, 0.6]]) == pytest.approx((0.8 + 0 + 0 + 0.4) / 4)
    assert optimality_gap([[0.2, 3.0], [1.0, 0.6]], 2.0) == pytest.approx((1.8 + 0 + 1 + 1.4) / 4)


def test_probability_of_improvement_is_the_mean_u_of_mann_and_whitney():
    x, y = np.round(scores(1), 1), np.round(scores(2, n_runs=3), 1)
    u = [stats.mannwhitneyu(x[:, t], y[:, t]).statistic / 15 for t in range(7)]
    assert probability_of_improvement(x, y) == pytest.approx(np.mean(u))
    assert probability_of_improvement(x, y) + probability_of_improvement(y, x) == pytest.approx(1)
    assert probability_of_improvement(x, x) == 0.5
    assert probability_of_improvement(x + 2, y) == 1


def test_statistics_take_many_resamples_at_once():
    x, y = scores(1).reshape(1, 5, 7).repeat(3, 0) * [[[1]], [[2]], [[3]]], np.stack([scores(2)] * 3)
    for i in range(3):
        assert interquartile_mean(x)[i] == pytest.approx(interquartile_mean(x[i]))
        assert optimality_gap(x)[i] == pytest.approx(optimality_gap(x[i]))
        assert performance_profile(x, [0.3, 0.6])[i].tolist() == performance_profile(x[i], [0.3, 0.6]).tolist()
        assert probability_of_improvement(x, y)[i] == pytest.approx(probability_of_improvement(x[i], y[i]))


def test_bootstrap_spread_of_the_mean_is_that_of_runs_within_tasks():
    x = scores(3) + 10 * np.arange(7)
    means = stratified_bootstrap(lambda s: s.mean(axis=(-2, -1)), x, n_resamples=20_000, rng=np.random.default_rng(0))
    assert means.std() == pytest.approx(np.sqrt((x.var(axis=0) / 5).sum()) / 7, rel=0.02)
    assert means.mean() == pytest.approx(x.mean(), abs=0.003)


def test_bootstrap_draws_each_task_and_each_arm_on_its_own():
    x = np.arange(5.0)[:, None] * np.ones(2)
    drawn = stratified_bootstrap(
        lambda a, b: np.stack([a.mean(axis=-2)[..., 0], a.mean(axis=-2)[..., 1], b.mean(axis=-2)[..., 0]], -1),
        x, x, n_resamples=5000, rng=np.random.default_rng(0), block=700,
    )  # fmt: skip
    assert drawn.shape == (5000, 3)
    assert np.corrcoef(drawn.T) == pytest.approx(np.eye(3), abs=0.05)
    assert drawn.std(axis=0) == pytest.approx([np.sqrt(2 / 5)] * 3, rel=0.04)


def test_equal_seeds_give_equal_resamples():
    a, b, c = (
        stratified_bootstrap(interquartile_mean, scores(), n_resamples=50, rng=np.random.default_rng(seed))
        for seed in (1, 1, 2)
    )
    assert (a == b).all() and not (a == c).all()


def test_one_run_has_no_spread():
    x = scores(n_runs=1)
    drawn = stratified_bootstrap(interquartile_mean, x, n_resamples=9, rng=np.random.default_rng(0))
    assert (drawn == interquartile_mean(x)).all()


def test_scores_that_cannot_be_described_are_refused():
    for function in (interquartile_mean, optimality_gap, lambda s: performance_profile(s, [0.5])):
        with pytest.raises(AnalysisError, match="1 missing"):
            function([[0.1, np.nan]])
        with pytest.raises(AnalysisError, match="n_runs, n_tasks"):
            function([0.1, 0.2])
    with pytest.raises(AnalysisError, match="not empty"):
        interquartile_mean(np.empty((0, 3)))
    with pytest.raises(AnalysisError, match="the same tasks"):
        probability_of_improvement(scores(), scores(n_tasks=6))
    with pytest.raises(AnalysisError, match="`thresholds` must be"):
        performance_profile(scores(), [])
    with pytest.raises(AnalysisError, match="must be arms"):
        stratified_bootstrap(interquartile_mean, n_resamples=3, rng=np.random.default_rng(0))
    with pytest.raises(AnalysisError, match="at least 1; got 0"):
        stratified_bootstrap(interquartile_mean, scores(), n_resamples=0, rng=np.random.default_rng(0))
