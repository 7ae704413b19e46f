"""pass@k and pass^k against combinatorics, enumeration and unbiasedness."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from replication.analyse.stats.estimates.differences import paired_difference
from replication.analyse.stats.estimates.pass_at_k import (
    count_passes,
    pass_at_k,
    pass_curve,
    pass_difference_curve,
    pass_hat_k,
)
from replication.errors import AnalysisError

RNG = np.random.default_rng(8)
A = (RNG.random((5, 30)) < RNG.random(30)).astype(float)
B = (RNG.random((4, 30)) < 0.2 + 0.7 * RNG.random(30)).astype(float)


@pytest.mark.parametrize(
    "n, c, k, at, hat",
    [
        (10, 3, 5, 0.9166666666666666, 0.0),
        (10, 3, 2, 0.5333333333333333, 0.06666666666666667),
        (10, 3, 1, 0.3, 0.3),
        (5, 5, 3, 1.0, 1.0),
        (5, 0, 3, 0.0, 0.0),
        (5, 4, 2, 1.0, 0.6),
    ],
)
def test_estimators_are_exact_combinatorics(n, c, k, at, hat):
    # oracle pass-at-k-and-pass-hat-k: Chen et al. 2021 and Yao et al. 2024
    assert pass_at_k(c, n, k) == pytest.approx(at, abs=1e-12)
    assert pass_hat_k(c, n, k) == pytest.approx(hat, abs=1e-12)


def test_estimators_are_the_share_of_subsets_that_pass():
    outcome = (1, 1, 0, 0, 0, 1, 0)
    for k in range(1, 8):
        subsets = list(itertools.combinations(outcome, k))
        assert pass_at_k(3, 7, k) == pytest.approx(np.mean([any(s) for s in subsets]), abs=1e-12)
        assert pass_hat_k(3, 7, k) == pytest.approx(np.mean([all(s) for s in subsets]), abs=1e-12)


def test_estimators_are_unbiased():
    counts, p = np.arange(9), 0.35
    weight = stats.binom.pmf(counts, 8, p)
    assert weight @ pass_at_k(counts, 8, 3) == pytest.approx(1 - (1 - p) ** 3, rel=1e-12)
    assert weight @ pass_hat_k(counts, 8, 3) == pytest.approx(p**3, rel=1e-12)


def test_many_trials_do_not_overflow():
    assert pass_at_k(1, 5000, 4999) == pytest.approx(4999 / 5000, rel=1e-9)


def test_trials_may_differ_between_tasks():
    got = pass_hat_k([2, 3], [4, 5], 2)
    assert got == pytest.approx([1 / 6, 3 / 10])


def test_counts_come_from_trials_by_tasks():
    passes = count_passes([[1, 0, 1], [1, 0, 0]])
    assert passes.n_passed.tolist() == [2, 0, 1]
    assert passes.n_trials == 2


def test_curves_start_at_the_mean_and_move_apart():
    at, hat = pass_curve(A, "pass@k"), pass_curve(A, "pass^k")
    assert len(at) == len(hat) == 5
    assert at[0].value == pytest.approx(A.mean())
    assert hat[0].value == pytest.approx(A.mean())
    assert np.all(np.diff([e.value for e in at]) > 0)
    assert np.all(np.diff([e.value for e in hat]) < 0)
    assert (at[4].value, hat[4].value) == pytest.approx((A.any(axis=0).mean(), A.all(axis=0).mean()))


def test_standard_error_is_that_of_the_task_values():
    values = pass_hat_k(A.sum(axis=0), 5, 3)
    estimate = pass_curve(A, "pass^k", level=0.9)[2]
    assert estimate.se == pytest.approx(values.std(ddof=1) / math.sqrt(30), rel=1e-12)
    assert estimate.high - estimate.value == pytest.approx(stats.t(29).ppf(0.95) * estimate.se)
    assert (estimate.n_tasks, estimate.n_trials) == (30, 5)


def test_tasks_of_one_cluster_count_together():
    doubled = pass_curve(np.repeat(A, 2, axis=1), "pass@k", clusters=np.repeat(np.arange(30), 2))[1]
    single = pass_curve(A, "pass@k")[1]
    assert doubled.se == pytest.approx(single.se, rel=1e-12)


def test_counts_and_scores_give_one_curve():
    assert pass_curve(A.sum(axis=0), "pass@k", n_trials=5) == pass_curve(A, "pass@k")


def test_difference_curve_is_paired_by_task():
    curve = pass_difference_curve(B, A, "pass@k")
    assert len(curve) == 4
    d = pass_at_k(B.sum(axis=0), 4, 2) - pass_at_k(A.sum(axis=0), 5, 2)
    assert (curve[1].value, curve[1].se) == pytest.approx((d.mean(), d.std(ddof=1) / math.sqrt(30)), rel=1e-12)
    assert curve[1].p_two_sided == pytest.approx(stats.ttest_1samp(d, 0).pvalue)
    assert curve[0].n_trials == 4
    assert pass_difference_curve(B.sum(axis=0), A.sum(axis=0), "pass@k", n_trials=(4, 5)) == curve


def test_first_point_of_the_difference_curve_is_the_paired_difference():
    expected, got = paired_difference(B, A, target="T2"), pass_difference_curve(B, A, "pass^k")[0]
    assert (got.value, got.low, got.high) == pytest.approx((expected.value, expected.low, expected.high), rel=1e-9)


def test_difference_of_pass_hat_k_can_change_sign_along_the_curve():
    steady, mixed = np.tile([0.5] * 12, (4, 1)), np.zeros((4, 12))
    steady[:2], steady[2:] = 1, 0
    mixed[:, :5] = 1
    values = [e.value for e in pass_difference_curve(steady, mixed, "pass^k")]
    assert values[0] > 0 > values[3]


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: pass_at_k(3, 10, 11), "got k=11, n_trials=10. Run more trials"),
        (lambda: pass_hat_k([1, 1], [10, 4], 5), "got k=5, n_trials=4"),
        (lambda: pass_at_k(3, 10, 0), "`k` must be a whole number from 1"),
        (lambda: pass_at_k(11, 10, 1), "`n_passed` must be whole numbers"),
        (lambda: pass_hat_k(1.5, 10, 1), "`n_passed` must be whole numbers"),
        (lambda: pass_at_k(math.nan, 10, 1), "none missing"),
        (lambda: count_passes([1, 0]), r"\(n_trials, n_tasks\)"),
        (lambda: count_passes(np.zeros((0, 3))), "not empty"),
        (lambda: count_passes([[1, math.nan], [0, 1]]), "0 or 1"),
        (lambda: count_passes([[1, 0.5], [0, 1]]), "partial credit"),
        (lambda: pass_curve(A, "pass"), r"`kind` must be one of pass@k, pass\^k; got 'pass'"),
        (lambda: pass_curve(A[:, :1], "pass@k"), "at least 2 clusters"),
        (lambda: pass_curve(A, "pass@k", n_trials=5), r"counts \(n_tasks,\)"),
        (lambda: pass_difference_curve(A, B[:, 1:], "pass@k"), "got 30 in treatment and 29 in control"),
    ],
)
def test_unusable_input_is_refused(call, match):
    with pytest.raises(AnalysisError, match=match):
        call()
