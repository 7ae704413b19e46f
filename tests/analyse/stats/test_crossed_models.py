"""T3 against crossed mixed models fitted by lme4, and small samples against exact tests of R.

Oracles: R 4.2.2 with lme4 1.1-31, `lmer(...)` by REML, optimizer bobyqa, rhoend 1e-12; the calls stand beside the numbers.
The designs are balanced and every component is above 0, so REML is analysis of variance.
"""

import math

import numpy as np
import pytest

from replication.analyse.stats.estimates.differences import Pair, mean_paired_difference
from replication.analyse.stats.estimates.proportions import clopper_pearson
from replication.analyse.stats.estimates.randomisation import sign_flip_test

# Differences of 4 pairs of runs on 5 tasks of each of 2 benchmarks, (n_benchmarks, n_runs, n_tasks).
DIFFERENCES = np.array(
    [
        [[0.10, 0.30, -0.05, 0.20, 0.15], [0.25, 0.40, 0.10, 0.20, 0.45], [-0.10, 0.20, -0.20, 0.05, -0.05],
         [0.20, 0.35, 0.00, 0.30, 0.20]],
        [[0.15, -0.05, 0.30, 0.05, 0.20], [0.15, -0.05, 0.20, 0.10, 0.10], [-0.15, -0.30, 0.00, -0.25, -0.05],
         [0.25, 0.20, 0.45, 0.30, 0.30]],
    ]
)  # fmt: skip

# Scores of 3 runs per arm on 5 tasks, (n_runs, n_tasks).
CONTROL = [[0.2, 0.5, 0.1, 0.6, 0.4], [0.3, 0.7, 0.2, 0.6, 0.6], [0.1, 0.5, 0.0, 0.5, 0.2]]
TREATMENT = [[0.5, 0.4, 0.5, 0.8, 0.9], [0.4, 0.5, 0.5, 0.7, 0.9], [0.7, 0.6, 0.6, 1.0, 0.9]]


def pairs_of_runs():
    """One pair of arms per benchmark whose runs share a phase, and differ as above."""
    start = np.linspace(0.2, 0.6, 5) + np.array([[0.0], [0.1], [-0.1], [0.05]])
    return [Pair((start + d)[:, None], start[:, None], shared_phase=True) for d in DIFFERENCES]


def t3(pairs, **how):
    return mean_paired_difference(pairs, target="T3", **how)


def test_runs_that_share_a_phase_are_a_random_effect_of_the_differences():
    # lmer(d ~ 1 + (1 | task) + (1 | run)) on the first benchmark: intercept and its standard error
    found = t3(pairs_of_runs()[:1])
    assert (found.value, found.se) == pytest.approx((0.1525, 0.0848159780), rel=2e-5)


def test_run_variance_pooled_over_benchmarks_is_that_of_the_crossed_model():
    # lmer(d ~ benchmark + (1 | task) + (1 | run) + (1 | run:benchmark)): variances of run and run:benchmark
    run, run_benchmark, n_runs = 0.01808333282726, 0.00671874976958, 4
    pairs = pairs_of_runs()
    for pair in pairs:
        t2 = mean_paired_difference([pair], target="T2")
        assert t3([pair], beside=pairs).se ** 2 - t2.se**2 == pytest.approx((run + run_benchmark) / n_runs, rel=2e-5)
    t2 = mean_paired_difference(pairs, target="T2")
    assert t3(pairs).se ** 2 - t2.se**2 == pytest.approx((run + run_benchmark / 2) / n_runs, rel=2e-5)


def test_independent_runs_are_a_random_effect_within_each_arm():
    # lmer(y ~ arm + (1 | task) + (1 | task:arm) + (1 | run)): effect of the arm and its standard error
    found = t3([Pair(np.array(TREATMENT)[:, None], np.array(CONTROL)[:, None])])
    assert (found.value, found.se) == pytest.approx((0.2933333333, 0.1251221714), rel=2e-5)
    # T2 leaves out the variance between runs: 2 x 0.00891666647889 / 3
    t2 = mean_paired_difference([Pair(np.array(TREATMENT)[:, None], np.array(CONTROL)[:, None])], target="T2")
    assert math.sqrt(found.se**2 - t2.se**2) == pytest.approx(math.sqrt(2 * 0.00891666647889 / 3), rel=2e-5)


def test_eight_differences_by_all_sign_patterns():
    # R: s <- as.matrix(expand.grid(rep(list(c(-1, 1)), 8))) %*% x; mean(abs(s) >= sum(x)), mean(s >= sum(x))
    test = sign_flip_test([0.3, -0.1, 0.25, 0.4, 0.05, -0.2, 0.15, 0.5], rng=None)
    assert (test.p_two_sided, test.p_one_sided) == (0.109375, 0.0546875)


def test_nine_of_ten_discordant_tasks_is_the_exact_binomial_test():
    # R: binom.test(9, 10)$p.value, and alternative = "greater"; tasks on which the arms agree do not count
    test = sign_flip_test([1] * 9 + [-1] + [0] * 70, rng=None)
    assert (test.p_two_sided, test.p_one_sided) == pytest.approx((0.021484375, 0.0107421875), abs=1e-12)


@pytest.mark.parametrize(
    "x, n, level, low, high",
    [
        (3, 5, 0.95, 0.1466327996, 0.9472550495),
        (0, 7, 0.95, 0.0, 0.4096163972),
        (9, 10, 0.9, 0.6058366976, 0.9948838031),
    ],
)
def test_exact_interval_of_a_few_tasks(x, n, level, low, high):
    # R: binom.test(x, n, conf.level = level)$conf.int
    assert clopper_pearson(x, n, level=level) == pytest.approx((low, high), abs=1e-9)
