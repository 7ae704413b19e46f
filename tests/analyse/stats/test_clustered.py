"""Clustered standard errors against statsmodels, Miller's numbers and limiting cases."""

import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from replication.analyse.stats.estimates.clustered import (
    clustered_mean,
    paired_standard_error,
    relative_variance,
    standard_errors,
)
from replication.errors import AnalysisError

BY_CLUSTER = [[1, 1, 0, 1], [0, 0, 1], [1, 1], [0, 0, 0, 1, 0], [1, 0, 1]]
SCORES = np.concatenate(BY_CLUSTER).astype(float)
CLUSTERS = np.repeat(list("abcde"), [len(c) for c in BY_CLUSTER])


def test_three_standard_errors():
    # oracle clustered-standard-error: formula of Miller 2024; statsmodels 0.15.0 OLS with cov_type='cluster'
    errors = standard_errors(SCORES, CLUSTERS)
    assert errors[:4] == pytest.approx((0.5294117647058824, 0.12478354962, 0.13011484898, 0.1454728236), rel=1e-9)
    assert (errors.n_items, errors.n_clusters) == (17, 5)


@pytest.mark.parametrize("corrected", [False, True])
def test_clustered_standard_error_is_that_of_statsmodels(corrected):
    rng = np.random.default_rng(3)
    groups = rng.integers(0, 12, 90)
    scores = rng.random(90) + 0.3 * groups
    fit = sm.OLS(scores, np.ones(90)).fit(cov_type="cluster", cov_kwds={"groups": groups, "use_correction": corrected})
    # statsmodels' correction holds (n - 1)/(n - k) too, which is 1 for a mean.
    estimate = clustered_mean(scores, groups, small_sample=corrected)
    assert estimate.se == pytest.approx(fit.bse[0], rel=1e-12)


def test_pairs_within_clusters_add_their_products():
    n, mean = 17, SCORES.mean()
    square = SCORES.var() / n
    for name in "abcde":
        d = SCORES[name == CLUSTERS] - mean
        square += (np.outer(d, d).sum() - (d**2).sum()) / n**2
    assert standard_errors(SCORES, CLUSTERS).clustered == pytest.approx(math.sqrt(square), rel=1e-12)


def test_estimate_uses_t_with_clusters_minus_one():
    estimate = clustered_mean(SCORES, CLUSTERS, level=0.9, n_trials=4, n_training_runs=2, target="T1")
    assert estimate.high - estimate.value == pytest.approx(stats.t(4).ppf(0.95) * 0.1454728236, rel=1e-9)
    assert (estimate.df, estimate.n_tasks, estimate.n_trials, estimate.n_training_runs) == (4, 5, 4, 2)
    assert (estimate.target, estimate.level) == ("T1", 0.9)


def test_without_clusters_it_is_the_one_sample_t_interval():
    estimate = clustered_mean(SCORES)
    interval = stats.ttest_1samp(SCORES, 0).confidence_interval(0.95)
    assert (estimate.low, estimate.high) == pytest.approx((interval.low, interval.high), rel=1e-12)
    assert estimate.se == pytest.approx(standard_errors(SCORES, CLUSTERS).independent, rel=1e-12)


def test_copies_of_every_item_multiply_the_standard_error_by_their_root():
    x = np.random.default_rng(0).random(30)
    errors = standard_errors(np.repeat(x, 4), np.repeat(np.arange(30), 4))
    assert errors.clustered / (np.repeat(x, 4).std() / math.sqrt(120)) == pytest.approx(2, rel=1e-12)
    assert errors.clustered_corrected == pytest.approx(x.std(ddof=1) / math.sqrt(30), rel=1e-12)


def test_equal_scores_have_no_standard_error():
    estimate = clustered_mean([0.25] * 6, [1, 1, 2, 2, 3, 3])
    assert (estimate.low, estimate.value, estimate.high) == (0.25, 0.25, 0.25)


def test_more_answers_per_task_cut_the_variance():
    # Miller 2024: uniform difficulty, K = 2, 4, 6 cut the variance by 1/3, 1/2, 5/9, limit 2/3
    relative = relative_variance(1 / 12, 1 / 6, [1, 2, 4, 6, math.inf])
    assert 1 - relative == pytest.approx([0, 1 / 3, 1 / 2, 5 / 9, 2 / 3], abs=1e-12)


def test_only_noise_is_divided_by_the_answers():
    assert relative_variance(0.2, 0, 5) == 1
    assert relative_variance(0, 0.2, 5) == pytest.approx(0.2)


def test_paired_standard_error_is_that_of_the_differences():
    a, b = np.random.default_rng(1).random((2, 40))
    b = b + a
    se = [x.std(ddof=1) / math.sqrt(40) for x in (a, b)]
    expected = (b - a).std(ddof=1) / math.sqrt(40)
    assert paired_standard_error(*se, np.corrcoef(a, b)[0, 1]) == pytest.approx(expected, rel=1e-12)
    assert paired_standard_error(0.3, 0.3, 1) == 0
    assert paired_standard_error(0.3, 0.4, 0) == pytest.approx(0.5)


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: clustered_mean([0.5]), "at least 2 clusters; got 1"),
        (lambda: clustered_mean([]), "at least 2 clusters; got 0"),
        (lambda: clustered_mean([1, 0], ["a", "a"]), "at least 2 clusters; got 1"),
        (lambda: clustered_mean([1, math.nan, 0]), "1 of 3 `scores` are missing"),
        (lambda: clustered_mean([[1, 0], [0, 1]], [1, 2]), "Average over trials"),
        (lambda: standard_errors([1, 0, 1], [1, 2]), r"must both be \(n_items,\)"),
        (lambda: clustered_mean([1, 0], level=1), "`level`"),
        (lambda: relative_variance(1, 1, 0), "`n_answers` must be at least 1"),
        (lambda: relative_variance(0, 0, 2), "must not both be 0"),
        (lambda: paired_standard_error(1, 1, 1.2), r"`correlation` must lie in \[-1, 1\]; got 1.2"),
    ],
)
def test_unusable_input_is_refused(call, match):
    with pytest.raises(AnalysisError, match=match):
        call()
