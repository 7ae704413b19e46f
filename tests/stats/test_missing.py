"""Bounds over missing scores by hand and by enumeration."""

import itertools
import math

import numpy as np
import pytest

from replication.errors import AnalysisError
from replication.stats.differences import paired_difference
from replication.stats.missing import missing_bounds

NAN = math.nan
TREATMENT = np.array([[[1, NAN, 0, 1], [1, 1, 0, NAN]]], float)
CONTROL = np.array([[[0, 1, NAN, 0]], [[0, 1, 0, 0]]], float)


def test_bounds_by_hand():
    bounds = missing_bounds(TREATMENT, CONTROL)
    # treatment: 4 of 8, 2 missing; control: 2 of 8, 1 missing
    assert bounds.low == pytest.approx(4 / 8 - 3 / 8)
    assert bounds.high == pytest.approx(6 / 8 - 2 / 8)
    assert (bounds.n_missing_treatment, bounds.n_missing_control, bounds.n_tasks_affected) == (2, 1, 3)


def test_bounds_are_the_extremes_over_all_fillings():
    values = []
    for fill in itertools.product((0, 0.5, 1), repeat=3):
        t, c = TREATMENT.copy(), CONTROL.copy()
        t[np.isnan(t)], c[np.isnan(c)] = fill[:2], fill[2]
        values.append(paired_difference(t, c, target="T2").value)
    bounds = missing_bounds(TREATMENT, CONTROL)
    assert (bounds.low, bounds.high) == pytest.approx((min(values), max(values)), abs=1e-12)


def test_filled_arms_feed_the_paired_difference():
    bounds = missing_bounds(TREATMENT, CONTROL)
    assert paired_difference(*bounds.worst, target="T2").value == pytest.approx(bounds.low)
    assert paired_difference(*bounds.best, target="T2").value == pytest.approx(bounds.high)
    assert bounds.worst.treatment.shape == (1, 2, 4)
    assert bounds.worst.control[0, 0, 2] == 1
    assert bounds.best.treatment[0, 0, 1] == 1


def test_nothing_missing_leaves_one_value_and_the_arrays_alone():
    bounds = missing_bounds([1, 0, 1], [0, 0, 1])
    assert bounds.low == bounds.high == pytest.approx(1 / 3)
    assert bounds.best.treatment.tolist() == bounds.worst.treatment.tolist() == [[[1, 0, 1]]]
    assert bounds[4:] == (0, 0, 0)


def test_everything_missing_bounds_nothing():
    bounds = missing_bounds([NAN, NAN], [NAN, NAN])
    assert (bounds.low, bounds.high) == (-1, 1)


def test_another_range_of_scores_is_respected():
    bounds = missing_bounds([NAN, 50], [20, 30], lowest=0, highest=100)
    assert (bounds.low, bounds.high) == (0, 50)


def test_width_is_the_share_missing_in_both_arms():
    rng = np.random.default_rng(5)
    t, c = rng.random((2, 3, 50)), rng.random((1, 4, 50))
    t[rng.random(t.shape) < 0.1], c[rng.random(c.shape) < 0.2] = NAN, NAN
    bounds = missing_bounds(t, c)
    assert bounds.high - bounds.low == pytest.approx(np.isnan(t).mean() + np.isnan(c).mean())


def test_input_is_not_changed():
    before = TREATMENT.copy()
    missing_bounds(TREATMENT, CONTROL)
    np.testing.assert_array_equal(TREATMENT, before)


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: missing_bounds([], []), "`treatment` must be .* not empty"),
        (lambda: missing_bounds([1, 0], [1, 0, 1]), "got 2 in treatment and 3 in control"),
        (lambda: missing_bounds([1, 50], [1, 0]), r"`treatment` must hold scores in \[0.0, 1.0\]; got 1.0 to 50.0"),
        (lambda: missing_bounds([1, 0], [1, -0.1]), "`control` must hold"),
        (lambda: missing_bounds([1, 0], [1, math.inf]), "`control` must hold"),
        (lambda: missing_bounds([1], [0], lowest=1, highest=0), "`lowest` must be below"),
        (lambda: missing_bounds([1], [1], lowest=1, highest=1), "`lowest` must be below"),
    ],
)
def test_unusable_input_is_refused(call, match):
    with pytest.raises(AnalysisError, match=match):
        call()
