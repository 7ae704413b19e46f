"""Sign flips and the wild cluster bootstrap against enumeration, scipy and the t-test."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from replication.analyse.stats.estimates.differences import paired_difference
from replication.analyse.stats.estimates.randomisation import sign_flip_test, wild_cluster_bootstrap
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


def brute_force(d, clusters, null):
    """t of every sign pattern, resampling the items one by one."""
    names, n = np.unique(clusters), len(d)

    def t(x):
        sums = np.array([(x[clusters == g] - x.mean()).sum() for g in names])
        return (x.mean() - null) / (math.sqrt((sums**2).sum() * len(names) / (len(names) - 1)) / n)

    ts = []
    for signs in itertools.product((1, -1), repeat=len(names)):
        flip = np.array(signs)[np.searchsorted(names, clusters)]
        with np.errstate(divide="ignore"):
            ts.append(t(null + flip * (d - null)))
    return np.array(ts)


def test_wild_bootstrap_p_is_that_of_resampled_items():
    clusters = np.repeat(np.arange(7), [1, 2, 3, 1, 4, 2, 2])
    d = rng(3).normal(0.5, 1, 15)
    t = brute_force(d, clusters, 0.0)
    estimate = wild_cluster_bootstrap(d, clusters, rng=None)
    assert estimate.p_two_sided == pytest.approx((np.abs(t) >= abs(t[0]) - 1e-9).mean(), abs=1e-12)
    assert estimate.p_one_sided == pytest.approx((t >= t[0] - 1e-9).mean(), abs=1e-12)


def test_wild_bootstrap_interval_holds_what_the_test_does_not_reject():
    clusters = np.repeat(np.arange(8), [1, 2, 3, 1, 4, 2, 2, 1])
    d = rng(5).normal(0.5, 1, 16)
    estimate = wild_cluster_bootstrap(d, clusters, rng=None, level=0.9)
    for end, outward in ((estimate.low, -1), (estimate.high, 1)):
        for offset, rejected in ((1e-6, True), (-1e-6, False)):
            t = brute_force(d, clusters, end + outward * offset)
            assert ((np.abs(t) >= abs(t[0]) - 1e-9).mean() <= 0.1) == rejected


def test_wild_bootstrap_reports_the_clustered_standard_error():
    clusters = np.repeat(np.arange(10), 3)
    d = rng(7).normal(0, 1, 30)
    estimate = wild_cluster_bootstrap(d, clusters, rng=None)
    reference = paired_difference(d, np.zeros(30), target="T2", clusters=clusters)
    assert (estimate.value, estimate.se) == pytest.approx((reference.value, reference.se), rel=1e-12)
    assert (estimate.n_tasks, estimate.target, estimate.df) == (10, "T2", None)


def test_wild_bootstrap_of_single_items_is_the_sign_flip_test():
    d = rng(9).normal(0.5, 1, 11)
    assert wild_cluster_bootstrap(d, rng=None).p_two_sided == sign_flip_test(d, rng=None).p_two_sided
    assert wild_cluster_bootstrap(d, rng=None).p_one_sided == sign_flip_test(d, rng=None).p_one_sided


def test_wild_bootstrap_of_many_normal_items_is_near_the_t_interval():
    d = rng(10).normal(0.2, 1, 80)
    estimate, t = wild_cluster_bootstrap(d, rng=rng()), paired_difference(d, np.zeros(80), target="T2")
    assert (estimate.low, estimate.high) == pytest.approx((t.low, t.high), abs=0.1 * t.se)
    assert estimate.p_two_sided == pytest.approx(t.p_two_sided, abs=0.02)


def test_interval_shifts_and_mirrors_with_the_data():
    d = rng(12).exponential(1, 9)
    plain, shifted, mirrored = (wild_cluster_bootstrap(x, rng=None) for x in (d, d + 5, -d))
    assert (shifted.low, shifted.high) == pytest.approx((plain.low + 5, plain.high + 5), abs=1e-9)
    assert (mirrored.low, mirrored.high) == pytest.approx((-plain.high, -plain.low), abs=1e-9)
    assert plain.high - plain.value != pytest.approx(plain.value - plain.low, rel=0.01)


def test_equal_differences_have_a_zero_width_interval():
    estimate = wild_cluster_bootstrap([0.3] * 8, rng=None)
    assert (estimate.low, estimate.high) == pytest.approx((0.3, 0.3))
    assert estimate.p_two_sided == 2 / 2**8
    assert wild_cluster_bootstrap([0.0] * 8, rng=None).p_two_sided == 1


def test_wild_bootstrap_repeats_with_the_seed():
    d = rng(6).normal(0.2, 1, 25)
    first, again, other = (wild_cluster_bootstrap(d, rng=rng(seed), n_resamples=999) for seed in (1, 1, 2))
    assert first == again
    assert first != other


@pytest.mark.slow
def test_wild_bootstrap_interval_covers():
    generator, hits = rng(13), 0
    clusters = np.repeat(np.arange(10), [1, 1, 2, 2, 3, 3, 4, 4, 6, 8])
    for _ in range(600):
        d = generator.normal(0, 1, 10)[clusters] + generator.normal(0, 1, clusters.size)
        estimate = wild_cluster_bootstrap(d, clusters, rng=None)
        hits += estimate.low <= 0 <= estimate.high
    assert hits / 600 == pytest.approx(0.95, abs=0.04)


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: sign_flip_test([], rng=None), "not empty"),
        (lambda: sign_flip_test([1, math.nan], rng=None), "1 missing or infinite"),
        (lambda: sign_flip_test([[1, 2]], rng=None), r"\(n_tasks,\)"),
        (lambda: sign_flip_test(np.ones(21), rng=None), "21 differences .* pass `rng`"),
        (lambda: sign_flip_test(np.ones(21), rng=rng(), n_flips=0), "`n_flips` must be at least 1"),
        (lambda: wild_cluster_bootstrap([1, 2, 3, 4, 5], rng=None), "5 clusters have no p-value below 0.0625"),
        (lambda: wild_cluster_bootstrap([1], rng=None, level=0.1), "use more tasks|Use more tasks"),
        (lambda: wild_cluster_bootstrap(np.ones(6), ["a"] * 5, rng=None), "got shapes"),
        (lambda: wild_cluster_bootstrap([], rng=None), "not empty"),
        (lambda: wild_cluster_bootstrap([1, math.nan] * 4, rng=None), "4 missing"),
        (lambda: wild_cluster_bootstrap(np.ones(20), rng=None), "20 clusters are too many .* pass `rng`"),
        (lambda: wild_cluster_bootstrap(np.ones(20), rng=rng(), n_resamples=10), "more `n_resamples`"),
        (lambda: wild_cluster_bootstrap(np.ones(8), rng=None, level=95), "`level`"),
    ],
)
def test_unusable_input_is_refused(call, match):
    with pytest.raises(AnalysisError, match=match):
        call()
