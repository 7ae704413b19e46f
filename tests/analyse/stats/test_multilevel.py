"""Multilevel random effects: against metafor and its use of clubSandwich, in closed forms, and under simulation.

Values of metafor are those that its own tests expect (tests/testthat of version 5.1-12, commit 71ae8f5a): files
test_analysis_example_konstantopoulos2011.r, test_misc_robust.r, test_misc_pub_bias.r and test_misc_tes.r. Data: its
companion package metadat, commit 0cb96ce4, each from the publication named there.
"""

import numpy as np
import pytest

from replication.analyse.stats.families.meta import random_effects
from replication.analyse.stats.families.multilevel import multilevel, prediction, spread, variance_bounds
from replication.analyse.stats.families.small_study import asymmetry, excess_significance
from replication.errors import AnalysisError

# Konstantopoulos 2011: achievement in 56 schools of 11 districts; district, difference, sampling variance.
SCHOOLS = """11 -.18 .118|11 -.22 .118|11 .23 .144|11 -.30 .144|12 .13 .014|12 -.26 .014|12 .19 .015|12 .32 .024|18 .45 .023
18 .38 .043|18 .29 .012|27 .16 .020|27 .65 .004|27 .36 .004|27 .60 .007|56 .08 .019|56 .04 .007|56 .19 .005|56 -.06 .004
58 -.18 .020|58 .00 .018|58 .00 .019|58 -.28 .022|58 -.04 .020|58 -.30 .021|58 .07 .006|58 .00 .007|58 .05 .007|58 -.08 .007
58 -.09 .007|71 .30 .015|71 .98 .011|71 1.19 .010|86 -.07 .001|86 -.05 .001|86 -.01 .001|86 .02 .001|86 -.03 .001
86 .00 .001|86 .01 .001|86 -.10 .001|91 .50 .010|91 .66 .011|91 .20 .010|91 .00 .009|91 .05 .013|91 .07 .013|108 -.52 .031
108 .70 .031|108 -.03 .030|108 .27 .030|108 -.34 .030|644 .12 .087|644 .61 .082|644 .04 .067|644 -.05 .067"""
DISTRICT, Y, SE = [], [], []
for line in SCHOOLS.replace("\n", "|").split("|"):
    district, value, variance = line.split()
    DISTRICT.append(district)
    Y.append(float(value))
    SE.append(float(variance) ** 0.5)

# Colditz et al. 1994: treated and control cases and others, latitude and year of thirteen vaccine trials.
VACCINE = np.array(
    [
        [4, 119, 11, 128, 44, 1948], [6, 300, 29, 274, 55, 1949], [3, 228, 11, 209, 42, 1960],
        [62, 13536, 248, 12619, 52, 1977], [33, 5036, 47, 5761, 13, 1973], [180, 1361, 372, 1079, 44, 1953],
        [8, 2537, 10, 619, 19, 1973], [505, 87886, 499, 87892, 13, 1980], [29, 7470, 45, 7232, 27, 1968],
        [17, 1699, 65, 1600, 42, 1961], [186, 50448, 141, 27197, 18, 1974], [5, 2493, 3, 2338, 33, 1969],
        [27, 16886, 29, 17825, 33, 1976],
    ],
    float,
)  # fmt: skip
TRIALS = [str(i) for i in range(13)]

# Egger et al. 2001: deaths and patients, magnesium and control, of sixteen trials.
MAGNESIUM = np.array(
    [
        [1, 40, 2, 36], [9, 135, 23, 135], [2, 200, 7, 200], [1, 48, 1, 46], [10, 150, 8, 148], [1, 59, 9, 56],
        [1, 25, 3, 23], [0, 22, 1, 21], [6, 76, 11, 75], [1, 27, 7, 27], [2, 89, 12, 80], [5, 23, 13, 33],
        [4, 130, 8, 122], [90, 1159, 118, 1157], [4, 107, 17, 108], [2216, 29011, 2103, 29039],
    ],
    float,
)  # fmt: skip

# Dorn et al. 2007: improved and all, placebo and treated, of nineteen trials.
PLACEBO = np.array(
    [
        [11, 32, 29, 38], [21, 30, 20, 31], [30, 46, 14, 23], [5, 13, 17, 30], [6, 23, 11, 27], [5, 29, 24, 29],
        [9, 22, 26, 32], [13, 18, 17, 18], [5, 13, 4, 12], [26, 59, 21, 60], [8, 17, 15, 17], [20, 52, 37, 51],
        [17, 33, 13, 33], [3, 20, 19, 20], [30, 46, 29, 50], [5, 16, 13, 16], [8, 26, 25, 33], [17, 50, 37, 57],
        [37, 90, 55, 90],
    ],
    float,
)  # fmt: skip


def vaccine():
    treated, others, control, rest = VACCINE[:, :4].T
    y = np.log(treated / (treated + others)) - np.log(control / (control + rest))
    return y, np.sqrt(1 / treated - 1 / (treated + others) + 1 / control - 1 / (control + rest))


def test_three_levels_agree_with_metafor():
    fit = multilevel(Y, SE, DISTRICT)
    assert fit.mean.value == pytest.approx(0.1847, abs=5e-5)
    assert fit.mean.model_se == pytest.approx(0.0846, abs=5e-5)
    assert (fit.between, fit.within) == pytest.approx((0.0651, 0.0327), abs=5e-5)
    assert fit.log_likelihood == pytest.approx(-7.9587, abs=5e-5)
    assert fit.n_clusters == 11


def test_profile_intervals_of_the_variances_agree_with_metafor():
    between, within = variance_bounds(Y, SE, DISTRICT)
    assert tuple(between) == pytest.approx((0.0222, 0.2072), abs=5e-5)
    assert tuple(within) == pytest.approx((0.0163, 0.0628), abs=5e-5)


def test_robust_errors_of_a_mean_agree_with_club_sandwich():
    y, se = vaccine()
    fit = multilevel(y, se, TRIALS)
    assert fit.mean.se**2 == pytest.approx(0.03229357, rel=1e-5)
    assert fit.mean.df == pytest.approx(11.04125, rel=1e-6)
    assert fit.mean.value / fit.mean.se == pytest.approx(-3.97616, rel=1e-5)
    assert np.exp([fit.mean.low, fit.mean.high]) == pytest.approx([0.3295991, 0.7267400], rel=1e-6)
    assert np.exp(prediction(fit, n_effects=1)) == pytest.approx([0.1342926, 1.7836640], rel=1e-5)


def test_robust_errors_of_moderators_agree_with_club_sandwich():
    y, se = vaccine()
    fit = multilevel(y, se, TRIALS, x=np.column_stack([np.ones(13), VACCINE[:, 4:]]))
    assert [c.se for c in fit.coefficients] == pytest.approx([33.655367, 0.011994, 0.016963], rel=5e-5)
    assert [c.df for c in fit.coefficients] == pytest.approx([2.724625, 2.112895, 2.745919], rel=5e-6)
    assert [c.value / c.se for c in fit.coefficients] == pytest.approx([-0.105347, -2.335398, 0.112456], rel=1e-4)


def test_regression_on_the_error_agrees_with_metafor():
    deaths, treated, controls, patients = MAGNESIUM.T
    cells = np.array([deaths, treated - deaths, controls, patients - controls])
    cells = cells + 0.5 * (cells == 0).any(axis=0)  # metafor adds 1/2 to tables with an empty cell
    y, se = np.log(cells[0] * cells[3] / (cells[1] * cells[2])), np.sqrt((1 / cells).sum(axis=0))
    slope = asymmetry(y, se, [str(i) for i in range(16)]).slope
    assert slope.value / slope.model_se == pytest.approx(-4.6686, abs=5e-5)


def test_excess_significance_agrees_with_metafor():
    placebo, n_placebo, active, n_active = PLACEBO.T
    y = np.log(active / n_active) - np.log(placebo / n_placebo)
    se = np.sqrt(1 / active - 1 / n_active + 1 / placebo - 1 / n_placebo)
    found = excess_significance(y, se)
    assert found.observed == 10 and found.expected == pytest.approx(4.923333, rel=1e-6)
    assert found.p_chi2 == pytest.approx(0.003928794, rel=1e-6)
    assert found.p_binomial == pytest.approx(0.01159554, rel=1e-6)


def test_no_more_significant_results_than_expected_is_no_excess():
    found = excess_significance([0.1, -0.2, 0.0], [1.0, 1.0, 1.0], mean=2.0)
    assert found.observed == 0 and found.expected == pytest.approx(3 * 0.5160, abs=1e-3)
    assert found.p_binomial == 1 and found.p_chi2 > 0.9


def test_heterogeneity_leaves_the_power_of_a_null_effect_above_alpha():
    known, spread_out = (excess_significance([1.0, 2.0], [1.0, 1.0], mean=0.0, variance=v).expected for v in (0.0, 3.0))
    assert known == pytest.approx(2 * 0.05) and spread_out == pytest.approx(2 * 0.32707, abs=1e-4)


def test_balanced_clusters_with_equal_errors_are_a_t_test_of_cluster_means():
    y = np.array([[1.0, 3.0], [2.0, 6.0], [7.0, 9.0], [4.0, 4.5]])
    means = y.mean(axis=1)
    fit = multilevel(y.ravel(), np.full(8, 0.5), np.repeat(list("abcd"), 2))
    assert fit.mean.value == pytest.approx(means.mean())
    assert fit.mean.se == pytest.approx(means.std(ddof=1) / 2) == fit.mean.model_se
    assert fit.mean.df == pytest.approx(3)
    assert fit.within == pytest.approx(y.var(axis=1, ddof=1).mean() - 0.25)  # the table of an analysis of variance
    assert fit.between == pytest.approx(means.var(ddof=1) - y.var(axis=1, ddof=1).mean() / 2)


def test_one_effect_per_cluster_is_the_random_effects_mean():
    y, se = vaccine()
    fit, two_levels = multilevel(y, se, TRIALS), random_effects(y, se)
    assert fit.within == 0 and fit.between == pytest.approx(two_levels.tau**2, rel=1e-5)
    assert fit.mean.value == pytest.approx(two_levels.mean, rel=1e-6)


def test_copying_every_effect_within_its_cluster_narrows_the_model_but_not_the_robust_error():
    y, se = vaccine()
    once = multilevel(y, se, TRIALS)
    twice = multilevel(np.repeat(y, 2), np.repeat(se, 2), np.repeat(TRIALS, 2))
    assert twice.mean.se == pytest.approx(once.mean.se, rel=0.1)
    fixed = 1 / np.sqrt((1 / se**2).sum())
    assert twice.mean.model_se > fixed / np.sqrt(2)


def test_prediction_of_a_mean_of_more_effects_is_narrower_down_to_that_of_the_cluster():
    fit = multilevel(Y, SE, DISTRICT)
    widths = [np.subtract(*prediction(fit, n_effects=n)) for n in (1, 7, np.inf)]
    assert widths == sorted(widths)
    assert spread(fit, n_effects=7, own=0.01) ** 2 == pytest.approx(
        fit.mean.se**2 + fit.between + fit.within / 7 + 0.01
    )


def test_no_heterogeneity_gives_zero_variances_and_the_fixed_effect_mean():
    se = np.array([1.0, 2.0, 1.0, 3.0])
    y = np.array([5.0, 5.1, 4.9, 5.0])
    fit = multilevel(y, se, list("aabb"))
    assert (fit.between, fit.within) == (0, 0)
    assert fit.mean.value == pytest.approx(se**-2.0 @ y / (se**-2.0).sum())
    between, within = variance_bounds(y, se, list("aabb"))
    assert between.low == within.low == 0 < within.high


def test_one_cluster_has_a_mean_but_no_robust_error():
    fit = multilevel([1.0, 2.0, 4.0], [0.1, 0.1, 0.1], ["a"] * 3)
    assert fit.between == 0 and fit.mean.value == pytest.approx(7 / 3)
    assert np.isnan([fit.mean.se, fit.mean.df, fit.mean.low, fit.mean.p_two_sided]).all()


@pytest.mark.parametrize(
    "arguments, message",
    [
        (([1.0], [1.0], ["a"]), "n of at least 2"),
        (([1.0, 2.0], [1.0, 0.0], ["a", "b"]), "`se` must be above 0"),
        (([1.0, 2.0], [1.0, 1.0], ["a"]), "one name per effect; got 1 for 2"),
    ],
)
def test_effects_that_cannot_be_fitted_are_refused(arguments, message):
    with pytest.raises(AnalysisError, match=message):
        multilevel(*arguments)


def test_a_constant_moderator_is_refused():
    with pytest.raises(AnalysisError, match="full rank"):
        multilevel([1.0, 2.0, 3.0], [1.0, 1.0, 1.0], list("abc"), x=np.ones((3, 2)))
    with pytest.raises(AnalysisError, match="2 coefficients need more effects"):
        multilevel([1.0, 2.0], [1.0, 1.0], list("ab"), x=[[1, 0], [1, 1]])


@pytest.mark.slow
def test_robust_interval_holds_its_level_when_a_shared_control_ties_the_errors():
    rng, covered, naive, n = np.random.default_rng(16), 0, 0, 600
    clusters = np.repeat(list("abcdef"), 4)
    for _ in range(n):
        shared, own = rng.normal(0, 1.0, 6).repeat(4), rng.normal(0, 1.0, 24)
        y = shared + own + rng.normal(0, 0.5, 6).repeat(4)  # each control's error is in four effects
        fit = multilevel(y, np.full(24, 2**0.5), clusters)
        covered += fit.mean.low <= 0 <= fit.mean.high
        naive += abs(y.mean()) <= 1.96 * y.std(ddof=1) / 24**0.5
    assert 0.925 <= covered / n <= 0.975 and naive / n < 0.85
