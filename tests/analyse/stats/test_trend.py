"""Trends over scales: against metafor, statsmodels and scipy, by hand, and under simulation."""

import itertools
import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from replication.analyse.stats.families.trend import (
    line_band,
    permuted_order,
    scale_trend,
)
from replication.errors import AnalysisError

X, Y, SE = np.array([-3.3, -2.6, -1.9, -1.2]), np.array([0.02, 0.09, 0.05, 0.16]), np.array([0.02, 0.03, 0.025, 0.05])

# Thirteen trials of a vaccine, treated and control cases and others, and latitude; metafor's dat.bcg (Colditz 1994).
BCG = np.array(
    [
        (4, 119, 11, 128, 44), (6, 300, 29, 274, 55), (3, 228, 11, 209, 42), (62, 13536, 248, 12619, 52),
        (33, 5036, 47, 5761, 13), (180, 1361, 372, 1079, 44), (8, 2537, 10, 619, 19), (505, 87886, 499, 87892, 13),
        (29, 7470, 45, 7232, 27), (17, 1699, 65, 1600, 42), (186, 50448, 141, 27197, 18), (5, 2493, 3, 2338, 33),
        (27, 16886, 29, 17825, 33),
    ], float,
)  # fmt: skip


def test_meta_regression_agrees_with_metafor():
    # metafor manual, rma(yi, vi, mods = ~ ablat, data = dat.bcg): tau^2 .0764, intercept .2515, slope -.0291, SE .0072
    a, b, c, d, latitude = BCG.T
    y, v = np.log(a / (a + b) / (c / (c + d))), 1 / a - 1 / (a + b) + 1 / c - 1 / (c + d)
    fit = scale_trend(latitude, y, np.sqrt(v))
    assert fit.tau**2 == pytest.approx(0.0764, abs=1e-4)
    assert (fit.intercept, fit.slope) == pytest.approx((0.2515, -0.0291), abs=5e-5)
    w = 1 / (v + fit.tau**2)
    q = w @ (y - fit.intercept - fit.slope * latitude) ** 2 / 11
    assert q > 1 and fit.se / math.sqrt(q) == pytest.approx(0.0072, abs=5e-5)


def test_line_with_fixed_spread_is_that_of_statsmodels_with_its_limits():
    for tau in (0.0, 0.03):
        fit = scale_trend(X, Y, SE, tau=tau, floor=False, level=0.9)
        reference = sm.WLS(Y, sm.add_constant(X), weights=1 / (SE**2 + tau**2)).fit()
        assert (fit.intercept, fit.slope) == pytest.approx(tuple(reference.params))
        assert fit.covariance == pytest.approx(reference.cov_params())
        assert fit.se == pytest.approx(reference.bse[1]) and fit.df == 2
        assert (fit.low, fit.high) == pytest.approx(tuple(reference.conf_int(0.1)[1]))
        assert fit.p_two_sided == pytest.approx(reference.pvalues[1])
        assert fit.p_one_sided == pytest.approx(reference.pvalues[1] / 2) and fit.tau == pytest.approx(tau)


def test_floor_gives_the_given_errors_where_gaps_are_closer_to_a_line_than_their_errors():
    y = 0.1 + 0.05 * X
    fit, without = scale_trend(X, y, SE), scale_trend(X, y, SE, floor=False)
    design = np.column_stack([np.ones(4), X])
    assert fit.covariance == pytest.approx(np.linalg.inv(design.T @ (design / SE[:, None] ** 2)))
    assert fit.slope == pytest.approx(0.05) and fit.tau == 0 and without.se == pytest.approx(0, abs=1e-9)
    scattered = Y * 10
    spread, bare = scale_trend(X, scattered, SE, tau=0.0), scale_trend(X, scattered, SE, tau=0.0, floor=False)
    assert spread.se == bare.se


def test_given_errors_give_the_classic_error_and_the_quantile_of_the_confidence():
    fit = scale_trend(X, Y * 5, SE, tau=0.01, se_df=math.inf)
    design, w = np.column_stack([np.ones(4), X]), 1 / (SE**2 + 0.01**2)
    assert fit.covariance == pytest.approx(np.linalg.inv(design.T @ (w[:, None] * design)))
    assert fit.high - fit.slope == pytest.approx(stats.norm.ppf(0.975) * fit.se) and fit.df == math.inf
    assert fit.p_one_sided == pytest.approx(stats.norm.sf(fit.slope / fit.se))
    assert line_band(fit, [-2.0]).critical == pytest.approx(math.sqrt(stats.chi2.ppf(0.95, 2)))
    ten = scale_trend(X, Y * 5, SE, tau=0.01, se_df=10)
    assert ten.se == fit.se and ten.high - ten.slope == pytest.approx(stats.t.ppf(0.975, 10) * ten.se)
    assert line_band(ten, [-2.0]).critical == pytest.approx(math.sqrt(2 * stats.f.ppf(0.95, 2, 10)))


def test_several_gaps_at_a_scale_count_each_and_the_scale_once():
    x, y, se = [1, 1, 2, 3], [0.1, 0.2, 0.2, 0.4], [0.1] * 4
    fit = scale_trend(x, y, se, tau=0.0)
    assert fit.df == 2 and fit.slope == pytest.approx(stats.linregress(x, y).slope)


def test_falling_gaps_give_the_mirrored_slope():
    up, down = scale_trend(X, Y, SE), scale_trend(X, -Y, SE)
    assert (down.slope, down.low, down.high) == pytest.approx((-up.slope, -up.high, -up.low))
    assert up.p_one_sided + down.p_one_sided == pytest.approx(1) and up.p_two_sided == pytest.approx(down.p_two_sided)


def test_equal_gaps_have_no_slope():
    fit = scale_trend(X, [0.07] * 4, SE)
    assert fit.slope == pytest.approx(0, abs=1e-12) and fit.p_two_sided == pytest.approx(1)


def test_restricted_likelihood_is_highest_at_the_estimated_spread():
    y = Y * 4
    tau2 = scale_trend(X, y, SE).tau ** 2
    assert tau2 > 0.001

    def likelihood(t):
        w = 1 / (SE**2 + t)
        design = np.column_stack([np.ones(4), X])
        inner = design.T @ (w[:, None] * design)
        r = y - design @ np.linalg.solve(inner, design.T @ (w * y))
        return 0.5 * (np.log(w).sum() - np.linalg.slogdet(inner)[1] - w @ r**2)

    assert likelihood(tau2) > max(likelihood(tau2 * 0.99), likelihood(tau2 * 1.01))


def test_line_band_is_that_of_working_and_hotelling():
    fit = scale_trend(X, Y, SE, tau=0.02, floor=False)
    points = np.linspace(X[0], X[-1], 9)
    band = line_band(fit, points)
    reference = sm.WLS(Y, sm.add_constant(X), weights=1 / (SE**2 + 0.02**2)).fit()
    predicted = reference.get_prediction(sm.add_constant(points))
    half = math.sqrt(2 * stats.f.ppf(0.95, 2, 2)) * predicted.se_mean
    assert band.value == pytest.approx(predicted.predicted_mean)
    assert band.high - band.value == pytest.approx(half) and band.value - band.low == pytest.approx(half)
    assert band.critical > stats.t.ppf(0.975, 2)


@pytest.mark.parametrize("beyond", [[-1.19], [-3.31], [-2.0, 0.0], [math.nan], []])
def test_points_beyond_the_scales_are_refused(beyond):
    with pytest.raises(AnalysisError, match=r"between the scales -3.3 and -1.2"):
        line_band(scale_trend(X, Y, SE), beyond)


def test_rising_gaps_have_the_smallest_exact_p_that_orders_allow():
    for n in (3, 4, 5):
        rising = permuted_order(range(n), np.arange(n) ** 2)
        assert rising.p_one_sided == pytest.approx(1 / math.factorial(n))
        assert rising.p_two_sided == pytest.approx(2 / math.factorial(n))
        falling = permuted_order(range(n), -(np.arange(n) ** 2))
        assert falling.p_one_sided == 1 and falling.p_two_sided == pytest.approx(2 / math.factorial(n))
    assert permuted_order([1, 2, 3], [0.1] * 3).p_two_sided == 1


def test_weighted_statistic_is_the_weighted_slope_and_equal_weights_are_none():
    found = permuted_order(X, Y, 1 / SE**2)
    assert found.statistic == pytest.approx(scale_trend(X, Y, SE, tau=0.0).slope)
    assert permuted_order(X, Y, [3.0] * 4) == pytest.approx(permuted_order(X, Y))
    assert permuted_order(X, Y).statistic == pytest.approx(stats.linregress(X, Y).slope)
    slopes = [np.polyfit(X, np.array(p), 1)[0] for p in itertools.permutations(Y)]
    assert permuted_order(X, Y).p_one_sided == np.mean(np.array(slopes) >= slopes[0] - 1e-12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: scale_trend([1, 2], [0, 1], [1, 1]), "needs at least three different scales"),
        (lambda: scale_trend([1, 1, 2], [0, 1, 2], [1, 1, 1]), "at least three different scales"),
        (lambda: scale_trend([1, 2, 3], [0, 1], [1, 1, 1]), r"got \(3,\) and \(2,\)"),
        (lambda: scale_trend([1, 2, math.nan], [0, 1, 2], [1, 1, 1]), "`log_parameters` must be finite"),
        (lambda: scale_trend([1, 2, 3], [0, 1, 2], [1, 0, 1]), "`se` must be above 0"),
        (lambda: scale_trend([1, 2, 3], [0, 1, 2], [1, 1]), "`gaps` and `se` must have the same shape"),
        (lambda: scale_trend([1, 2, 3], [0, 1, 2], [1, 1, 1], tau=-1), "`tau` must be at least 0"),
        (lambda: scale_trend([1, 2, 3], [0, 1, 2], [1, 1, 1], se_df=0), "`se_df` must be above 0"),
        (lambda: scale_trend([1, 2, 3], [0, 1, 2], [1, 1, 1], level=95), "`level` must lie between 0 and 1; got 95"),
        (lambda: permuted_order([1, 2], [0, 1]), "at least three different scales"),
        (lambda: permuted_order([1, 2, 2], [0, 1, 2]), "at least three different scales"),
        (lambda: permuted_order(range(9), range(9)), "at most 8 gaps; got 9"),
        (lambda: permuted_order([1, 2, 3], [0, 1, 2], [1, 0, 1]), "`weights` must be above 0"),
    ],
)
def test_invalid_scales_are_refused(call, message):
    with pytest.raises(AnalysisError, match=message):
        call()


@pytest.mark.slow
def test_slope_and_bands_have_nominal_coverage():
    rng, n, level = np.random.default_rng(0), 4000, 0.95
    truth = 0.05 + 0.04 * X
    holds = np.zeros(5)
    for _ in range(n):
        y = truth + rng.normal(0, SE)
        fits = [
            scale_trend(X, y, SE, tau=0.0, floor=False),
            scale_trend(X, y, SE, tau=0.0, se_df=math.inf),
            scale_trend(X, y, SE),
        ]
        bands = [line_band(fit, X) for fit in fits[:2]]
        holds += [fit.low <= 0.04 <= fit.high for fit in fits] + [
            ((band.low <= truth) & (truth <= band.high)).all() for band in bands
        ]
    holds /= n
    print("slope by residuals, known errors, default; line bands:", holds)
    margin = 3 * math.sqrt(level * (1 - level) / n)
    exact, default = holds[[0, 1, 3, 4]], holds[2]
    # The band is for all of the line, so its four points alone hold a little more often.
    assert (exact >= level - margin).all() and (exact <= level + margin + np.array([0, 0, 0.02, 0.02])).all()
    assert default >= level
