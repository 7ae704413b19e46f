"""The weight engine resamples as the bootstrap does: right spread, right correlations, any valid input."""

import numpy as np
import pytest

from replication.analyse.stats.resampling.weights import (
    bootstrap_benchmark_mean,
    bootstrap_benchmarks,
    bootstrap_means,
    crossed_benchmark_mean,
    crossed_bootstrap_means,
    weight_matrix,
)
from replication.errors import AnalysisError

WEIGHTS = ["poisson", "multinomial"]


def seeded(seed: int = 0) -> np.random.Generator:
    return np.random.Generator(np.random.SFC64(seed))


def columns(n: int = 200, k: int = 3, seed: int = 5) -> np.ndarray:
    """Numbers of k correlated columns."""
    rng = seeded(seed)
    return rng.normal(size=(n, 1)) + rng.normal(size=(n, k)) * np.arange(1, k + 1)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_resample_is_the_mean_under_its_weights(weights):
    x = columns(37)
    w = weight_matrix(37, 50, rng=seeded(), weights=weights).astype(float)
    means = bootstrap_means(x, n_resamples=50, rng=seeded(), weights=weights)
    assert means.dtype == np.float32
    np.testing.assert_allclose(means, w @ x / w.sum(axis=1, keepdims=True), atol=2e-6)


def test_multinomial_weights_are_counts_that_sum_to_the_number_of_tasks():
    w = weight_matrix(11, 4000, rng=seeded(), weights="multinomial", block=64)
    assert (w.sum(axis=1) == 11).all() and (w >= 0).all() and (w == w.round()).all()
    assert w.mean(axis=0) == pytest.approx(np.ones(11), abs=0.07)  # 4.5 standard errors
    assert w.var() == pytest.approx(1 - 1 / 11, rel=0.05)
    assert np.corrcoef(w[:, 0], w[:, 1])[0, 1] == pytest.approx(-1 / 10, abs=0.07)


def test_poisson_weights_have_mean_and_variance_one_and_do_not_depend_on_each_other():
    w = weight_matrix(200, 5000, rng=seeded())
    assert w.mean() == pytest.approx(1, abs=0.004)
    assert w.var() == pytest.approx(1, abs=0.008)
    shares = [(w == k).mean() for k in range(4)]
    assert shares == pytest.approx([0.36788, 0.36788, 0.18394, 0.06131], abs=0.002)
    assert np.corrcoef(w[:, 0], w[:, 1])[0, 1] == pytest.approx(0, abs=0.06)
    assert w.sum(axis=1).var() == pytest.approx(200, rel=0.1)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_standard_error_is_the_analytic_one(weights):
    x = columns()
    means = bootstrap_means(x, n_resamples=40_000, rng=seeded(1), weights=weights)
    np.testing.assert_allclose(means.mean(axis=0), x.mean(axis=0), atol=0.005)
    np.testing.assert_allclose(means.std(axis=0, dtype=float), x.std(axis=0) / np.sqrt(200), rtol=0.015)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_columns_share_their_draws(weights):
    x = columns()
    means = bootstrap_means(x, n_resamples=20_000, rng=seeded(2), weights=weights)
    np.testing.assert_allclose(np.corrcoef(means.T), np.corrcoef(x.T), atol=0.02)
    difference = (x[:, 0] - x[:, 1]).std() / np.sqrt(200)
    assert (means[:, 0] - means[:, 1]).std() == pytest.approx(difference, rel=0.02)


@pytest.mark.parametrize("weights", WEIGHTS)
@pytest.mark.parametrize("bits", [np.random.SFC64, np.random.PCG64, np.random.MT19937])
def test_equal_seeds_give_equal_output_with_any_generator(weights, bits):
    x = columns(41)
    a, b, c = (
        bootstrap_means(x, n_resamples=30, rng=np.random.Generator(bits(seed)), weights=weights) for seed in (1, 1, 2)
    )
    assert (a == b).all() and not (a == c).all()


def test_blocks_bound_memory_and_do_not_move_poisson_results():
    x = columns(37)
    a, b = (bootstrap_means(x, n_resamples=103, rng=seeded(), block=block) for block in (3, 1000))
    np.testing.assert_allclose(a, b, atol=1e-6)
    assert bootstrap_means(x, n_resamples=5, rng=seeded(), block=1, weights="multinomial").shape == (5, 3)


def test_two_tasks_never_give_an_empty_resample():
    # With two Poisson weights one row in seven is empty; what is left has the law given that it is not.
    means = bootstrap_means([[0.0], [1.0]], n_resamples=20_000, rng=seeded())
    assert np.isfinite(means).all()
    assert means.mean() == pytest.approx(0.5, abs=0.02)
    w = weight_matrix(2, 20_000, rng=seeded())
    assert (w.sum(axis=1) > 0).all()
    assert (w.sum(axis=1) == 1).mean() == pytest.approx(2 * np.exp(-2) / (1 - np.exp(-2)), abs=0.02)


@pytest.mark.parametrize("dtype", [bool, np.int8, np.float32, np.float64])
def test_any_real_dtype_will_do(dtype):
    x = (columns(50) > 0).astype(dtype)
    a = bootstrap_means(x, n_resamples=20, rng=seeded())
    np.testing.assert_array_equal(a, bootstrap_means(x.astype(float), n_resamples=20, rng=seeded()))


def test_large_offsets_do_not_drown_the_spread():
    x = columns(100)
    shifted = bootstrap_means(x + 1000, n_resamples=2000, rng=seeded()) - np.float32(1000)
    np.testing.assert_allclose(shifted, bootstrap_means(x, n_resamples=2000, rng=seeded()), atol=1.5e-4)


def test_constant_column_has_constant_means():
    means = bootstrap_means(np.full((9, 1), 0.3), n_resamples=100, rng=seeded())
    assert (means == np.float32(0.3)).all()


def test_many_tasks_take_wider_indices():
    w = weight_matrix(70_000, 2, rng=seeded(), weights="multinomial")
    assert weight_matrix(300_000, 1, rng=seeded()).mean() == pytest.approx(1, abs=0.01)
    assert (w.sum(axis=1) == 70_000).all() and w[:, 65_536:].sum() == pytest.approx(2 * 4464, rel=0.06)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_benchmarks_are_strata_with_equal_weights(weights):
    parts = [columns(150, 2, 1), 3 * columns(50, 2, 2) + 1]
    how = {"n_resamples": 20_000, "weights": weights}
    each = bootstrap_benchmarks(parts, rng=seeded(), **how)
    mean = bootstrap_benchmark_mean(parts, rng=seeded(), **how)
    assert each.shape == (2, 20_000, 2)
    np.testing.assert_allclose(mean, each.mean(axis=0), atol=1e-5)
    assert np.corrcoef(each[0, :, 0], each[1, :, 0])[0, 1] == pytest.approx(0, abs=0.03)
    expected = np.sqrt(sum(p.var(axis=0) / len(p) for p in parts)) / 2
    np.testing.assert_allclose(mean.std(axis=0), expected, rtol=0.025)


def test_single_benchmark_is_resampled_as_one():
    x = columns(60)
    expected = bootstrap_means(x, n_resamples=20, rng=seeded())
    np.testing.assert_array_equal(bootstrap_benchmarks([x], n_resamples=20, rng=seeded())[0], expected)
    np.testing.assert_array_equal(bootstrap_benchmark_mean([x], n_resamples=20, rng=seeded()), expected)


def test_crossed_variance_of_additive_scores_is_that_of_runs_plus_that_of_tasks():
    rng = seeded(3)
    runs, tasks = rng.normal(size=8), 2 * rng.normal(size=60)
    scores = (runs[:, None] + tasks)[..., None] * [1.0, -2.0]
    means = crossed_bootstrap_means(scores, n_resamples=40_000, rng=seeded())
    expected = np.sqrt(runs.var() / 8 + tasks.var() / 60) * np.array([1, 2])
    np.testing.assert_allclose(means.std(axis=0), expected, rtol=0.015)
    np.testing.assert_allclose(means.mean(axis=0), scores.mean(axis=(0, 1)), atol=0.02)
    assert np.corrcoef(means.T)[0, 1] == pytest.approx(-1)


def test_crossed_variance_of_pure_noise_is_about_three_times_too_large():
    noise = seeded(4).normal(size=(30, 60, 1))
    means = crossed_bootstrap_means(noise, n_resamples=10_000, rng=seeded())
    assert means.var() / (noise.var() / 1800) == pytest.approx(3, rel=0.25)  # Owen 2007, section 3


def test_crossed_resample_is_the_doubly_weighted_mean():
    scores, rng = seeded(6).normal(size=(3, 20, 2)), seeded()
    w_run = weight_matrix(3, 25, rng=rng, weights="multinomial").astype(float)
    w_task = weight_matrix(20, 25, rng=rng, weights="multinomial").astype(float)
    expected = np.einsum("br,bt,rtc->bc", w_run, w_task, scores) / 60
    np.testing.assert_allclose(crossed_bootstrap_means(scores, n_resamples=25, rng=seeded()), expected, atol=1e-6)


@pytest.mark.parametrize("weights", WEIGHTS)
def test_benchmarks_share_the_training_runs(weights):
    runs = np.array([0.0, 1.0, 2.0, 4.0, 3.0, 6.0])
    benchmarks = [np.broadcast_to(runs[:, None, None], (6, n, 1)) for n in (40, 30)]
    how = {"n_resamples": 10_000, "weights": weights}
    one = crossed_bootstrap_means(benchmarks[0], rng=seeded(), **how)
    both = crossed_benchmark_mean(benchmarks, rng=seeded(), **how)
    np.testing.assert_allclose(both, one, atol=1e-5)  # nothing averages out
    if weights == "multinomial":
        assert both.std() == pytest.approx(runs.std() / np.sqrt(6), rel=0.02)


def test_least_of_everything_will_do():
    assert bootstrap_means([[1.0], [3.0]], n_resamples=1, rng=seeded(), weights="multinomial").item() in (1, 2, 3)
    assert crossed_bootstrap_means(np.ones((2, 2, 1)), n_resamples=1, rng=seeded()).tolist() == [[1.0]]


def test_crossed_equal_seeds_give_equal_output():
    scores = seeded(6).normal(size=(3, 20, 2))
    a, b, c = (crossed_bootstrap_means(scores, n_resamples=9, rng=seeded(s), weights="poisson") for s in (1, 1, 2))
    assert (a == b).all() and not (a == c).all() and np.isfinite(a).all()


@pytest.mark.parametrize(
    ("x", "message"),
    [
        ([[1.0], [np.nan]], "`columns` has 1 numbers that are missing"),
        ([[1.0], [None]], "missing or infinite"),
        ([[1.0], [np.inf]], "missing or infinite"),
        ([[1.0]], "at least 2 tasks"),
        ([1.0, 2.0], "must be .n_tasks, n_columns."),
        (np.empty((3, 0)), "must be .n_tasks, n_columns."),
    ],
)
def test_columns_that_cannot_be_resampled_are_refused(x, message):
    with pytest.raises(AnalysisError, match=message):
        bootstrap_means(x, n_resamples=5, rng=seeded())


def test_settings_out_of_range_are_refused():
    x = columns(5)
    with pytest.raises(AnalysisError, match="`n_resamples` must be at least 1; got 0"):
        bootstrap_means(x, n_resamples=0, rng=seeded())
    with pytest.raises(AnalysisError, match="`weights` must be one of poisson, multinomial; got 'exponential'"):
        bootstrap_means(x, n_resamples=5, rng=seeded(), weights="exponential")
    with pytest.raises(AnalysisError, match="`block` must be at least 1"):
        bootstrap_means(x, n_resamples=5, rng=seeded(), block=0)
    with pytest.raises(AnalysisError, match="`n_tasks` must be at least 2; got 1"):
        weight_matrix(1, 5, rng=seeded())
    with pytest.raises(AnalysisError, match="all with the same columns"):
        bootstrap_benchmarks([x, x[:, :2]], n_resamples=5, rng=seeded())
    with pytest.raises(AnalysisError, match="at least one matrix"):
        bootstrap_benchmark_mean([], n_resamples=5, rng=seeded())
    with pytest.raises(AnalysisError, match=r"at least 2; got .1."):
        crossed_bootstrap_means(np.zeros((1, 5, 2)), n_resamples=5, rng=seeded())
    with pytest.raises(AnalysisError, match=r"got .3, 2."):
        crossed_benchmark_mean([np.zeros((3, 5, 2)), np.zeros((2, 5, 2))], n_resamples=5, rng=seeded())
    with pytest.raises(AnalysisError, match="m_runs, n_tasks, n_columns"):
        crossed_bootstrap_means(np.zeros((3, 5)), n_resamples=5, rng=seeded())
