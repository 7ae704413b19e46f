"""Sign flips against enumeration and scipy."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from replication.analyse.stats.estimates.randomisation import sign_flip_test
from replication.errors import AnalysisError

D = [1, 2, -1, 3, 0, 1, 2, -2, 3, 1]


def rng(seed=1):
    return np.random.default_rng(seed)


def test_exact_sign_flip_test():
    # oracle sign-flip-test: full enumeration; scipy 1.17.1 permutation_test agrees
    test = sign_flip_test(D, rng=None)
    assert (test.p_two_sided, test.p_one_sided) == pytest.approx((0.125, 0.0625), abs=1e-12)
    assert test.exact
    assert test.n_flips == 2**9


def test_one_sided_p_asks_for_the_treatment_to_be_better():
    test = sign_flip_test(-np.array(D), rng=None)
    assert test.p_two_sided == pytest.approx(0.125)
    patterns = np.array(list(itertools.product((1, -1), repeat=10))) @ D
    assert test.p_one_sided == pytest.approx((patterns >= -10).mean())
    assert test.p_one_sided > 0.9


def test_exact_p_is_that_of_scipy_for_uneven_differences():
    d = rng(4).normal(0.3, 1, 11)
    for alternative, got in zip(("two-sided", "greater"), sign_flip_test(d, rng=None)[:2], strict=True):
        ours = stats.permutation_test(
            (d,), np.sum, permutation_type="samples", n_resamples=np.inf, alternative=alternative
        )
        assert got == pytest.approx(ours.pvalue, abs=1e-12)


def test_ties_that_rounding_splits_count_as_ties():
    thirds = np.array([1, 2, -1, 3, 0, 1, 2, -2, 3, 1]) / 3 * 0.1
    assert sign_flip_test(thirds, rng=None).p_two_sided == pytest.approx(0.125)


def test_binary_outcomes_give_the_exact_mcnemar_test_however_many_tasks_agree():
    d = np.repeat([1, 0, -1], [13, 200, 5])
    test = sign_flip_test(d, rng=None)
    assert test.p_two_sided == pytest.approx(stats.binomtest(13, 18).pvalue, rel=1e-12)
    assert test.exact


def test_seven_positive_differences_cannot_go_below_the_resolution_limit():
    # oracle seven-differences: scipy 1.17.1, exact sign and signed-rank tests; all seven positive attain 2/128
    test = sign_flip_test([6.3, 3.39, 5.24, 12.79, 11.28, 9.67, 8.96], rng=None)
    assert (test.p_two_sided, test.p_one_sided) == (0.015625, 0.0078125)


def test_no_difference_at_all_gives_one():
    assert sign_flip_test([0, 0, 0], rng=None)[:2] == (1, 1)


def test_random_flips_agree_with_all_flips():
    d = rng(6).normal(0.4, 1, 14)
    exact, sampled = (sign_flip_test(d, rng=rng(), exact_up_to=n) for n in (20, 5))
    assert not sampled.exact
    for p, p_sampled in zip(exact[:2], sampled[:2], strict=True):
        assert p_sampled == pytest.approx(p, abs=5 * math.sqrt(p * (1 - p) / 100_000))


def test_random_flips_never_give_zero():
    test = sign_flip_test(np.ones(60), rng=rng(), n_flips=999)
    assert test == (1 / 1000, 1 / 1000, 999, False)


def test_random_flips_repeat_with_the_seed():
    d = rng(6).normal(0.2, 1, 40)
    first, again, other = (sign_flip_test(d, rng=rng(seed), n_flips=5000) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: sign_flip_test([], rng=None), r"`differences` must be \(n,\) with n of at least 1; got shape \(0,\)"),
        (lambda: sign_flip_test([1, math.nan], rng=None), "1 of 2 missing or infinite"),
        (lambda: sign_flip_test([[1, 2]], rng=None), r"got shape \(1, 2\)"),
        (lambda: sign_flip_test(np.ones(21), rng=None), "21 differences .* pass `rng`"),
        (lambda: sign_flip_test(np.ones(21), rng=rng(), n_flips=0), "`n_flips` must be at least 1"),
    ],
)
def test_unusable_input_is_refused(call, match):
    with pytest.raises(AnalysisError, match=match):
        call()
