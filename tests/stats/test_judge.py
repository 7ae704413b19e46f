"""Prediction-powered means against ppi-python 0.2.3, the classical mean and simulation."""

import math

import numpy as np
import pytest
from scipy import stats

from replication.errors import AnalysisError
from replication.stats.judge import best_weight, ppi_mean, ppi_plus_plus_mean

Y = np.array([1, 0, 1, 1, 0, 1, 0, 1, 1, 1, 0, 1.0])
F = np.array([0.9, 0.2, 0.7, 0.8, 0.4, 0.6, 0.3, 0.5, 0.9, 1.0, 0.1, 0.3])
TENTHS = [8, 1, 6, 9, 3, 7, 2, 4, 10, 5, 6, 7, 2, 9, 8, 1, 5, 3, 6, 4, 9, 2, 7, 8, 3.5]
REST = np.array(TENTHS) / 10


# ppi_mean_pointestimate(Y, F, REST, lam=lam), ppi_mean_ci(Y, F, REST, alpha=0.05, lam=lam)
@pytest.mark.parametrize(
    "weight, value, low, high",
    [
        (1, 0.6503333333333332, 0.4419270280074489, 0.8587396386592175),
        (0.5, 0.6584999999999999, 0.43995664034849213, 0.8770433596515076),
        (0, 0.6666666666666666, 0.3999493513135939, 0.9333839820197394),
    ],
)
def test_fixed_weight_is_that_of_the_reference_package(weight, value, low, high):
    estimate = ppi_mean(Y, F, REST, weight=weight)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx((value, low, high), abs=1e-12)
    assert estimate.n_tasks == 37


def test_best_weight_is_that_of_the_reference_package():
    # ppi_mean_pointestimate(Y, F, REST, lam=None), ppi_mean_ci(Y, F, REST, alpha=0.05)
    estimate = ppi_plus_plus_mean(Y, F, REST)
    expected = (0.6522365488697867, 0.44550132167201034, 0.858971776067563)
    assert (estimate.value, estimate.low, estimate.high) == pytest.approx(expected, abs=1e-12)


def test_interval_follows_the_level():
    wide, narrow = (ppi_mean(Y, F, REST, level=level) for level in (0.99, 0.5))
    assert wide.high - wide.value == pytest.approx(stats.norm.ppf(0.995) * wide.se)
    assert (wide.se, wide.df) == (narrow.se, None)


def test_judge_that_ranks_backwards_is_ignored():
    # ppi-python clips the weight to [0, 1] too: (0.6667, (0.39995, 0.93338))
    assert best_weight(Y, 1 - F, 1 - REST) == 0
    estimate = ppi_plus_plus_mean(Y, 1 - F, 1 - REST)
    assert (estimate.low, estimate.high) == pytest.approx((0.3999493513135939, 0.9333839820197394), abs=1e-12)


def test_timid_judge_gets_no_more_than_full_weight():
    assert best_weight(Y, Y / 10, REST / 10) == 1


def test_judge_with_one_score_for_all_is_ignored():
    assert best_weight(Y, np.full(12, 0.5), np.full(25, 0.5)) == 0
    assert ppi_mean(Y, np.full(12, 0.5), np.full(25, 0.5)).se == pytest.approx(Y.std() / math.sqrt(12))


def test_perfect_judge_is_worth_its_own_sample():
    estimate = ppi_mean(REST[:12], REST[:12], REST)
    assert estimate.value == pytest.approx(REST.mean())
    assert estimate.se == pytest.approx(REST.std() / 5)


def test_biased_judge_gives_an_unbiased_mean_and_an_honest_standard_error():
    rng = np.random.default_rng(11)
    values, errors = [], []
    for _ in range(1500):
        truth = rng.random(460) < 0.6
        judge = np.where(truth, 0.95, 0.4) - 0.2 * rng.random(460)
        estimate = ppi_plus_plus_mean(truth[:60], judge[:60], judge[60:])
        values.append(estimate.value)
        errors.append(estimate.se)
    assert np.mean(values) == pytest.approx(0.6, abs=4 * np.std(values) / math.sqrt(1500))
    assert np.mean(errors) == pytest.approx(np.std(values), rel=0.08)
    assert np.mean(errors) < 0.75 * math.sqrt(0.24 / 60)


def test_two_labels_are_enough():
    estimate = ppi_mean([1, 0], [0.8, 0.4], [0.5, 0.7])
    assert estimate.value == pytest.approx(0.5)
    assert estimate.se == pytest.approx(math.sqrt(0.01 / 2 + 0.09 / 2))


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: ppi_mean(Y, F[:-1], REST), "same tasks"),
        (lambda: ppi_mean([1], [1], REST), "at least 2 labelled and 2 unlabelled tasks; got 1 and 25"),
        (lambda: ppi_plus_plus_mean(Y, F, []), "got 12 and 0"),
        (lambda: ppi_mean(Y, F, [0.5, math.nan]), "missing or infinite"),
        (lambda: ppi_mean(Y, F, REST, weight=1.5), "`weight` must lie"),
        (lambda: ppi_mean(Y, F, REST, level=0), "`level`"),
    ],
)
def test_unusable_input_is_refused(call, match):
    with pytest.raises(AnalysisError, match=match):
        call()
