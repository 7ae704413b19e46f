"""Paired differences against theory, hand-computed values and degenerate input."""

import math
from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from replication.analyse.stats.estimates.differences import (
    Pair,
    mean_paired_difference,
    paired_difference,
)
from replication.analyse.stats.estimates.run_variance import add_run_variance, run_component
from replication.errors import AnalysisError

RNG = np.random.default_rng(20261123)
A = RNG.random((3, 4, 25)).round(2)
B = (A + RNG.normal(0.1, 0.2, A.shape)).round(2)


def test_t2_is_the_paired_t_test_on_task_means():
    estimate = paired_difference(B, A, target="T2")
    d = B.mean(axis=(0, 1)), A.mean(axis=(0, 1))
    expected = stats.ttest_rel(*d)
    interval = expected.confidence_interval(0.95)
    assert (estimate.low, estimate.high) == pytest.approx((interval.low, interval.high), rel=1e-12)
    assert estimate.p_two_sided == pytest.approx(expected.pvalue, rel=1e-12)
    assert estimate.p_one_sided == pytest.approx(stats.ttest_rel(*d, alternative="greater").pvalue, rel=1e-12)
    assert (estimate.n_tasks, estimate.n_trials, estimate.n_training_runs) == (25, 4, 3)


def test_arms_change_places_and_the_sign_changes():
    forward, backward = (paired_difference(*pair, target="T3") for pair in ((B, A), (A, B)))
    assert backward.value == pytest.approx(-forward.value)
    assert (backward.low, backward.high) == pytest.approx((-forward.high, -forward.low))


# A design whose variances are whole fractions: tasks .2 and .6 alternate, three runs differ by a constant.
TASKS = np.tile([0.2, 0.6], 5)
TREATMENT = np.array([-0.2, 0.0, 0.2])[:, None, None] + TASKS
CONTROL = np.array([-0.1, -0.1, 0.2])[:, None, None] + np.zeros(10)
TASK_VARIANCE = Fraction(1, 225)  # D is .4 -+ .2 over 10 tasks: .04 (10/9)/10
RUN_PARTS = (Fraction(4, 100) / 3, Fraction(3, 100) / 3)  # variance of the run means of each arm over 3 runs


def satterthwaite(variance, run_factor=1.0):
    spread = TASK_VARIANCE**2 / 9 + run_factor * float(sum(part**2 for part in RUN_PARTS)) / 2
    return float(variance**2 / spread)


def test_t3_adds_the_variance_between_training_runs_of_both_arms():
    t2, t3 = (paired_difference(TREATMENT, CONTROL, target=target) for target in ("T2", "T3"))
    assert t2.value == t3.value == pytest.approx(0.4)
    assert t2.se**2 == pytest.approx(float(TASK_VARIANCE)) and t2.df == 9
    variance = TASK_VARIANCE + sum(RUN_PARTS)
    assert variance == Fraction(1, 36)
    assert t3.se == pytest.approx(1 / 6)
    assert t3.df == pytest.approx(satterthwaite(variance)) and 5 < t3.df < 6
    assert t3.high - t3.value == t3.value - t3.low == pytest.approx(stats.t(t3.df).ppf(0.975) / 6)
    assert t3.p_one_sided == pytest.approx(stats.t(t3.df).sf(0.4 * 6))
    assert t3.p_two_sided == pytest.approx(2 * stats.t(t3.df).sf(0.4 * 6))


def test_t3_subtracts_the_part_of_the_run_variance_that_single_tasks_explain():
    # Opposite on neighbouring tasks and in two runs: neither run means nor task means change.
    interaction = 0.3 * np.array([1, -1, 0])[:, None, None] * np.tile([1, -1], 5)
    noise = Fraction(20 * 9, 100) / (10**2 * 3 * 2) * Fraction(10, 9)  # sum of squares/(n^2 m (m - 1)), n/(n - 1)
    assert noise == Fraction(1, 300)
    between = sum(RUN_PARTS) - noise
    for arms in ((TREATMENT + interaction, CONTROL), (TREATMENT, CONTROL + interaction)):
        t2, t3 = (paired_difference(*arms, target=target) for target in ("T2", "T3"))
        assert t2.se**2 == pytest.approx(float(TASK_VARIANCE))
        assert t3.se**2 == pytest.approx(float(TASK_VARIANCE + between))
        fraction_left = float(between / sum(RUN_PARTS))
        assert t3.df == pytest.approx(satterthwaite(TASK_VARIANCE + between, fraction_left**0.1))


def test_over_two_benchmarks_the_task_variance_halves_and_the_run_variance_does_not():
    interaction = 0.3 * np.array([1, -1, 0])[:, None, None] * np.tile([1, -1], 5)
    pair = Pair(TREATMENT + interaction, CONTROL)
    t2, t3 = (mean_paired_difference([pair, pair], target=target) for target in ("T2", "T3"))
    assert t2.se**2 == pytest.approx(float(TASK_VARIANCE) / 2) and t2.df == pytest.approx(18)
    noise = Fraction(1, 300) / 2
    assert t3.se**2 == pytest.approx(float(TASK_VARIANCE / 2 + sum(RUN_PARTS) - noise))


def test_t3_on_random_scores_is_the_formula_of_its_docstring():
    treatment = B + np.array([-0.1, 0.0, 0.1])[:, None, None]
    control = A + np.array([-0.08, 0.02, 0.06])[:, None, None]
    t2, t3 = (paired_difference(treatment, control, target=target) for target in ("T2", "T3"))
    runs = [arm.mean(axis=(1, 2)).var(ddof=1) / 3 for arm in (treatment, control)]
    noise = 0.0
    for means in (treatment.mean(axis=1), control.mean(axis=1)):
        residual = means - means.mean(axis=0) - means.mean(axis=1, keepdims=True) + means.mean()
        noise += (residual**2).sum() / (2 * 24) / (3 * 25)
    between = sum(runs) - noise
    assert 0.2 * t2.se**2 < noise < between, "the data must show every term"
    assert t3.se**2 == pytest.approx(t2.se**2 + between, rel=1e-12)
    spread = t2.se**4 / 24 + (between / sum(runs)) ** 0.1 * sum(share**2 / 2 for share in runs)
    assert t3.df == pytest.approx(t3.se**4 / spread) and 2 < t3.df < 24


def test_run_variance_is_the_variance_of_runs_minus_their_noise():
    runs = [np.array([0.4, 0.5, 0.6]), np.array([0.2, 0.2, 0.5])]
    shares = [0.01 / 3, 0.03 / 3]
    total = add_run_variance(0.002, 50.0, list(map(run_component, runs)), 0.001)
    assert total.value == pytest.approx(0.002 + sum(shares) - 0.001)
    kept = ((sum(shares) - 0.001) / sum(shares)) ** 0.1
    assert total.df == pytest.approx(total.value**2 / (0.002**2 / 50 + kept * sum(s**2 / 2 for s in shares)))


@pytest.mark.parametrize("noise", [0.02, 1.0])
def test_runs_that_differ_by_noise_only_add_nothing(noise):
    runs = [run_component([0.4, 0.5, 0.45]), run_component([0.5, 0.6, 0.55])]
    total = add_run_variance(0.002, 50.0, runs, noise)
    assert total == (pytest.approx(0.002), 50)


def test_run_variance_never_has_more_df_than_the_tasks_nor_fewer_than_the_runs():
    many = run_component(np.linspace(0, 1, 30))
    assert add_run_variance(0.01, 2.0, [many, many], 0.0).df == 2
    assert add_run_variance(0.0, 50.0, [run_component([0, 1, 0]), run_component([0.5, 0.5, 0.5])], 0.3).df == 2


def test_interaction_of_runs_and_tasks_is_not_counted_as_spread_between_runs():
    arm = np.array([[1.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 1.0]])[:, None]
    t2, t3 = (paired_difference(arm, np.zeros_like(arm), target=target) for target in ("T2", "T3"))
    assert t3.se == t2.se


def test_bounds_fill_missing_scores_against_and_for_the_treatment():
    treatment, control = np.array([1.0, np.nan, 0.0, 1.0]), np.array([0.0, 0.0, np.nan, 1.0])
    value = {p: paired_difference(treatment, control, target="T2", unscored=p).value for p in ("worst", "fail", "best")}
    assert value == {"worst": 0.0, "fail": 0.25, "best": 0.5}


def test_t1_with_one_training_run_is_the_noise_of_trials_alone():
    a, b = A[0], B[0]
    noise = (a.var(axis=0, ddof=1).mean() + b.var(axis=0, ddof=1).mean()) / (4 * 25)
    assert paired_difference(b, a, target="T1").se == pytest.approx(math.sqrt(noise), rel=1e-12)


def test_t1_ignores_the_spread_between_tasks():
    spread = A[0] + np.linspace(0, 0.5, 25)
    assert paired_difference(spread, A[0], target="T1").se == pytest.approx(
        paired_difference(A[0], A[0], target="T1").se
    )


def test_deterministic_model_on_thirty_tasks_has_a_standard_error():
    treatment, control = np.array([1.0, 0.0] * 15), np.array([0.0] * 30)
    assert paired_difference(treatment, control, target="T2").se > 0.05


def test_two_copies_of_each_task_count_once():
    doubled = paired_difference(
        np.repeat(B, 2, axis=2), np.repeat(A, 2, axis=2), target="T2", clusters=np.arange(50) // 2
    )
    single = paired_difference(B, A, target="T2")
    assert (doubled.se, doubled.df, doubled.n_tasks) == pytest.approx((single.se, single.df, single.n_tasks))


def test_clustered_error_is_the_published_formula():
    # Clusters and value: formula of Miller 2024, arXiv:2411.00640; statsmodels 0.15.0 OLS(cov_type="cluster"), with the
    # factor sqrt(G/(G - 1)): 0.1454728236.
    scores = [1, 1, 0, 1, 0, 0, 1, 1, 1, 0, 0, 0, 1, 0, 1, 0, 1]
    clusters = np.repeat(range(5), [4, 3, 2, 5, 3])
    estimate = paired_difference(scores, np.zeros(17), target="T2", clusters=clusters)
    assert estimate.value == pytest.approx(9 / 17)
    assert estimate.se == pytest.approx(0.1454728236, rel=1e-9)


def test_all_scores_equal_gives_zero_width_interval():
    estimate = paired_difference(np.ones((2, 2, 5)), np.ones((2, 2, 5)), target="T3")
    assert (estimate.low, estimate.value, estimate.high) == (0, 0, 0)
    assert (estimate.p_one_sided, estimate.p_two_sided) == (1, 1)


def test_constant_gain_is_certain_for_these_tasks():
    estimate = paired_difference(np.ones((1, 2, 5)), np.zeros((1, 2, 5)), target="T2")
    assert (estimate.low, estimate.high, estimate.p_one_sided, estimate.p_two_sided) == (1, 1, 0, 0)


def test_unscored_raises_excludes_or_fails():
    b = B.copy()
    b[1, 2, 7] = np.nan
    with pytest.raises(AnalysisError, match="1 scores are missing; choose"):
        paired_difference(b, A, target="T2")
    excluded = paired_difference(b, A, target="T2", unscored="exclude")
    without = paired_difference(np.delete(B, 7, 2), np.delete(A, 7, 2), target="T2")
    assert (excluded.value, excluded.se, excluded.n_tasks) == (without.value, without.se, 24)
    failed = paired_difference(b, A, target="T2", unscored="fail")
    assert failed.value == pytest.approx((np.nan_to_num(b) - A).mean())
    assert excluded.n_unscored == failed.n_unscored == 1


@pytest.mark.parametrize(
    "treatment, control, how, message",
    [
        (np.ones(3), np.ones(4), {}, "must have the same tasks; got 3 in treatment and 4 in control"),
        (np.ones((1, 2, 0)), np.ones((1, 2, 0)), {}, "no task is scored in both arms"),
        (np.full(3, np.nan), np.ones(3), {"unscored": "exclude"}, "no task is scored in both arms"),
        (np.ones(1), np.zeros(1), {}, "T2 needs at least 2 tasks"),
        (np.ones((1, 1, 3)), np.zeros((1, 1, 3)), {"target": "T1"}, "T1 needs at least 2 trials"),
        (
            np.ones((1, 2, 3)),
            np.zeros((3, 2, 3)),
            {"target": "T3"},
            "T3 needs at least 2 training runs per arm; got m=1",
        ),
        (np.array([np.inf, 1]), np.ones(2), {}, "infinite scores"),
        (np.ones((1, 1, 1, 2)), np.ones(2), {}, "or a suffix"),
        (np.ones(2), np.ones(2), {"level": 1.5}, "`level` must lie between 0 and 1"),
        (np.ones(2), np.ones(2), {"unscored": "zero"}, "must be raise, exclude, fail, best or worst"),
        (np.ones(2), np.ones(2), {"clusters": [1]}, "one task per item"),
    ],
)
def test_data_that_support_no_estimate_are_refused(treatment, control, how, message):
    with pytest.raises(AnalysisError, match=message):
        paired_difference(treatment, control, **{"target": "T2", **how})


def test_benchmarks_have_equal_weights_at_any_size():
    small, large = Pair(B[:, :, :5], A[:, :, :5]), Pair(B[:, :, 5:], A[:, :, 5:])
    parts = [paired_difference(*pair[:2], target="T2") for pair in (small, large)]
    both = mean_paired_difference([small, large], target="T2")
    assert both.value == pytest.approx(np.mean([part.value for part in parts]))
    assert both.se == pytest.approx(math.hypot(*(part.se for part in parts)) / 2)
    assert min(part.df for part in parts) < both.df <= sum(part.df for part in parts)


def test_training_runs_are_shared_by_all_benchmarks():
    # Every benchmark moves with the run by the same amount: averaging over benchmarks does not make the runs agree more.
    shift = np.array([-0.1, 0.0, 0.1])[:, None, None]
    pair = Pair(np.full((3, 1, 10), 0.5) + shift, np.full((3, 1, 10), 0.5))
    one, four = (mean_paired_difference([pair] * n, target="T3") for n in (1, 4))
    assert four.se == pytest.approx(one.se) == pytest.approx(0.1 / math.sqrt(3))


def test_no_benchmark_is_an_error():
    with pytest.raises(AnalysisError, match="no benchmark"):
        mean_paired_difference([], target="T2")


@pytest.mark.parametrize("target, n_runs", [("T2", 1), ("T3", 5)])
def test_interval_has_nominal_coverage(target, n_runs):
    rng = np.random.default_rng(7)
    n, k, tau, n_studies = 60, 2, 0.05 if target == "T3" else 0.0, 600
    covered = 0
    for _ in range(n_studies):
        task = rng.normal(0, 0.2, n)
        arms = []
        for gain in (0.1, 0.0):
            run = rng.normal(0, tau, (n_runs, 1, 1))
            arms.append(gain + task + rng.normal(0, 0.1, n) + run + rng.normal(0, 0.3, (n_runs, k, n)))
        estimate = paired_difference(*arms, target=target)
        covered += estimate.low <= 0.1 <= estimate.high
    # binomial SD of the share: 0.9 points; T3 is slightly conservative by design
    assert 0.92 <= covered / n_studies <= (0.985 if target == "T3" else 0.98)


def test_error_of_clustered_items_is_that_of_a_regression_with_clusters():
    # oracle clustered-standard-error: statsmodels 0.15.0 OLS with cov_type='cluster' and its correction; the control is 0
    groups = [[1, 1, 0, 1], [0, 0, 1], [1, 1], [0, 0, 0, 1, 0], [1, 0, 1]]
    scores = np.concatenate(groups)
    clusters = np.repeat(np.arange(5), [len(group) for group in groups])
    estimate = paired_difference(scores, np.zeros(17), target="T2", clusters=clusters)
    assert (estimate.value, estimate.se) == pytest.approx((0.5294117647058824, 0.1454728236), rel=1e-9)
