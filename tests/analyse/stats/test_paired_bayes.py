"""Bayesian paired intervals against integration on a grid and simulation."""

import math

import numpy as np
import pytest
from scipy import special, stats

from replication.analyse.stats.estimates.differences import paired_difference
from replication.analyse.stats.estimates.paired_bayes import (
    compare_widths,
    paired_posterior_trials,
)
from replication.errors import AnalysisError

COUNTS = (30, 12, 6, 41)


def rng(seed=1):
    return np.random.default_rng(seed)


def simulated(theta_a, theta_b, share, rho, n_tasks, n_trials, seed):
    """Passes of two arms from the model: probit-normal abilities with correlation rho."""
    generator = rng(seed)
    z = generator.multivariate_normal([0, 0], [[1, rho], [rho, 1]], n_tasks)
    chance = special.ndtr((special.ndtri([theta_a, theta_b]) + math.sqrt(share) * z) / math.sqrt(1 - share))
    return generator.binomial(n_trials, chance).T


def one_trial(both, b_only, a_only, neither, **how):
    """Posterior at one trial per task from the numbers of tasks that both arms passed, only B, only A, none."""
    counts = both, b_only, a_only, neither
    a, b = np.repeat([1, 0, 1, 0], counts), np.repeat([1, 1, 0, 0], counts)
    return paired_posterior_trials(a, b, 1, 1, **how)


def on_a_grid(both, b_only, a_only, neither, size=90):
    """Posterior of the difference by summing over a grid, cells from conditional normals, Beta(4, 2) written out."""
    u = (np.arange(size) + 0.5) / size
    a, b, rho = np.meshgrid(u, u, 2 * u - 1, indexing="ij")
    # P(neither): the conditional normal of B, integrated over the tail of A.
    h_b = special.ndtri(b)
    x, w = np.polynomial.legendre.leggauss(24)
    nothing = np.zeros_like(a)
    for node, weight in zip(x, w, strict=True):
        q = (node + 1) / 2 * (1 - a)  # uniform on the tail of A, the substitution z = Phi^-1(q)
        nothing += weight / 2 * (1 - a) * special.ndtr((-h_b - rho * special.ndtri(q)) / np.sqrt(1 - rho**2))
    cells = (a + b + nothing - 1, 1 - a - nothing, 1 - b - nothing, nothing)
    counts = (both, b_only, a_only, neither)
    log_density = sum(special.xlogy(c, np.maximum(p, 1e-300)) for c, p in zip(counts, cells, strict=True))
    density = np.exp(log_density - log_density.max()) * ((1 + rho) / 2) ** 3 * (1 - rho) / 2
    density /= density.sum()
    difference = b - a
    order = np.argsort(difference, axis=None)
    below = np.cumsum(density.ravel()[order])
    low, high = np.interp([0.025, 0.975], below, difference.ravel()[order])
    return (density * difference).sum(), low, high


@pytest.mark.slow
def test_posterior_is_that_of_integration_on_a_grid():
    # The latent correlation has another prior, rho sqrt(s_A s_B) instead of rho; with 89 tasks it matters little.
    posterior = one_trial(*COUNTS, rng=rng(), n_draws=20_000)
    mean, low, high = on_a_grid(*COUNTS)
    assert posterior.mean == pytest.approx(mean, abs=0.01)
    assert (posterior.low, posterior.high) == pytest.approx((low, high), abs=0.02)


def test_no_data_on_the_difference_is_centred():
    # One task that both passed: theta_A and theta_B change places, so the difference is centred.
    posterior = one_trial(1, 0, 0, 0, rng=rng())
    assert posterior.mean == pytest.approx(0, abs=0.02)
    assert posterior.low == pytest.approx(-posterior.high, abs=0.06)


def test_arms_change_places_and_the_posterior_is_mirrored():
    forward = one_trial(30, 12, 6, 41, rng=rng())
    backward = one_trial(30, 6, 12, 41, rng=rng(2))
    assert (backward.low, backward.high) == pytest.approx((-forward.high, -forward.low), abs=0.01)
    assert backward.mean == pytest.approx(-forward.mean, abs=0.005)


def test_pairing_sharpens_the_comparison():
    paired = one_trial(35, 10, 2, 42, rng=rng())
    a, b = (stats.beta(1 + x, 1 + 89 - x) for x in (37, 45))
    sd_of_unpaired = math.hypot(a.std(), b.std())
    assert paired.high - paired.low < 0.75 * 2 * stats.norm.ppf(0.975) * sd_of_unpaired


def test_level_widens_the_interval():
    narrow, wide = (one_trial(*COUNTS, rng=rng(), level=level) for level in (0.5, 0.99))
    assert wide.low < narrow.low < narrow.mean < narrow.high < wide.high
    sd = (narrow.high - narrow.low) / (2 * stats.norm.ppf(0.75))
    assert wide.high - wide.low == pytest.approx(2 * stats.norm.ppf(0.995) * sd, rel=0.1)


def test_full_agreement_of_the_arms_gives_an_interval_around_zero():
    posterior = one_trial(100, 0, 0, 100, rng=rng())
    assert posterior.ess > 400
    assert posterior.mean == pytest.approx(0, abs=0.01)
    assert 0.01 < posterior.high < 0.06


def test_trial_model_is_near_the_classical_interval_where_tasks_are_many():
    a, b = simulated(0.4, 0.5, 0.5, 0.7, 280, 5, seed=5)
    posterior = paired_posterior_trials(a, b, 5, 5, rng=rng())
    classical = paired_difference(b / 5, a / 5, target="T2")
    assert posterior.ess > 1_000
    assert (posterior.low, posterior.high) == pytest.approx((classical.low, classical.high), abs=0.02)
    assert not compare_widths(posterior, classical).differs


def test_trial_model_takes_other_trials_in_each_arm():
    (a, _), (_, b) = (simulated(0.3, 0.6, 0.5, 0.5, 80, k, seed=6) for k in (2, 6))
    posterior = paired_posterior_trials(a, b, 2, 6, rng=rng())
    assert posterior.mean == pytest.approx((b / 6 - a / 2).mean(), abs=0.03)
    mirrored = paired_posterior_trials(b, a, 6, 2, rng=rng(2))
    assert (mirrored.low, mirrored.high) == pytest.approx((-posterior.high, -posterior.low), abs=0.02)


def test_tasks_that_always_pass_or_always_fail_are_one_trial_each():
    a, b = np.repeat([0, 0, 1, 1], [41, 12, 6, 30]), np.repeat([0, 1, 0, 1], [41, 12, 6, 30])
    once = one_trial(*COUNTS, rng=rng())
    five_times = paired_posterior_trials(5 * a, 5 * b, 5, 5, rng=rng())
    assert five_times.high - five_times.low == pytest.approx(once.high - once.low, rel=0.15)
    assert five_times.mean == pytest.approx(once.mean, abs=0.02)


@pytest.mark.slow
def test_trial_model_is_that_of_its_docstring():
    """The same posterior by plain weights: parameters and task effects from the prior, weighed by the binomials."""
    a, b, n, generator = np.array([0, 1]), np.array([3, 4]), 400_000, rng(9)
    theta, share = generator.random((2, n)), 0.98 * generator.random((2, n))
    rho = 0.99 * (2 * generator.beta(4, 2, n) - 1)
    weight = np.ones(n)
    for c_a, c_b in zip(a, b, strict=True):
        z = generator.normal(size=(2, n))
        z[1] = rho * z[0] + np.sqrt(1 - rho**2) * z[1]
        chance = special.ndtr((special.ndtri(theta) + np.sqrt(share) * z) / np.sqrt(1 - share))
        weight *= chance[0] ** c_a * (1 - chance[0]) ** (3 - c_a) * chance[1] ** c_b * (1 - chance[1]) ** (4 - c_b)
    difference = theta[1] - theta[0]
    order, mean = np.argsort(difference), np.average(difference, weights=weight)
    low, high = np.interp([0.025, 0.975], np.cumsum(weight[order]) / weight.sum(), difference[order])
    posterior = paired_posterior_trials(a, b, 3, 4, rng=rng(), n_draws=20_000)
    assert posterior.ess > 2_000
    assert posterior[:3] == pytest.approx((mean, low, high), abs=0.01)


@pytest.mark.slow
def test_trial_model_is_calibrated():
    generator, hits = rng(7), 0
    for seed in range(60):
        theta_a, theta_b, share = generator.random(3) * [1, 1, 0.98]
        rho = 0.99 * (2 * generator.beta(4, 2) - 1)
        share = (share, 0.98 * generator.random())
        z = generator.multivariate_normal([0, 0], [[1, rho], [rho, 1]], 40)
        chance = special.ndtr((special.ndtri([theta_a, theta_b]) + np.sqrt(share) * z) / np.sqrt(1 - np.array(share)))
        a, b = generator.binomial(3, chance).T
        posterior = paired_posterior_trials(a, b, 3, 3, rng=rng(seed), level=0.8, n_draws=1_500)
        hits += posterior.low <= theta_b - theta_a <= posterior.high
    assert hits / 60 == pytest.approx(0.8, abs=0.13)


def test_draws_repeat_with_the_seed():
    def run(seed):
        return paired_posterior_trials([0, 1, 2, 2], [1, 2, 2, 0], 2, 2, rng=rng(seed), n_draws=500)

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_widths_are_compared_with_the_classical_interval():
    posterior = one_trial(3, 1, 0, 6, rng=rng())
    classical = paired_difference(
        np.repeat([0.0, 1.0, 1.0], [6, 1, 3]), np.repeat([0.0, 0.0, 1.0], [6, 1, 3]), target="T2"
    )
    ratio, differs = compare_widths(posterior, classical)
    assert ratio == pytest.approx((posterior.high - posterior.low) / (classical.high - classical.low))
    assert differs
    assert not compare_widths(posterior, classical, tolerance=10).differs
    narrower = posterior._replace(low=0.0, high=0.75 * (classical.high - classical.low))
    assert compare_widths(narrower, classical).differs
    assert not compare_widths(narrower, classical, tolerance=0.3).differs


def test_zero_width_classical_interval_always_differs():
    classical = paired_difference(np.ones(10), np.zeros(10), target="T2")
    assert compare_widths(one_trial(0, 10, 0, 0, rng=rng()), classical) == (math.inf, True)


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: one_trial(*COUNTS, rng=rng(), level=1), "`level`"),
        (lambda: one_trial(*COUNTS, rng=rng(), n_draws=10), "`n_draws` must be at least 100; got 10"),
        (lambda: paired_posterior_trials([], [], 2, 2, rng=rng()), "same tasks"),
        (lambda: paired_posterior_trials([1, 2], [1], 2, 2, rng=rng()), "same tasks"),
        (lambda: paired_posterior_trials([1, 3], [1, 2], 2, 2, rng=rng()), "`passes_a` must be whole numbers"),
        (lambda: paired_posterior_trials([1, 2], [1, math.nan], 2, 2, rng=rng()), "`passes_b`"),
        (lambda: paired_posterior_trials([0, 0], [0, 0], 2, 0, rng=rng()), "got trials 0"),
        (
            lambda: compare_widths(
                one_trial(3, 1, 0, 6, rng=rng(), level=0.9), paired_difference([0, 1, 1], [0, 0, 0], target="T2")
            ),
            "same confidence level",
        ),
    ],
)
def test_unusable_input_is_refused(call, match):
    with pytest.raises(AnalysisError, match=match):
        call()
