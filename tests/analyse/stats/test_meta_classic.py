"""Random-effects means against metafor, statsmodels and a design computed by hand."""

from fractions import Fraction

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects

from replication.analyse.stats.families.meta import (
    dersimonian_laird,
    random_effects,
)
from replication.errors import AnalysisError

Y = [6.3, 3.39, 5.24, 12.79, 11.28, 9.67, 8.96]
SE = [4.26, 1.93, 1.68, 4.2, 4.37, 4.52, 1.93]


def test_classic_means_and_predictions_agree_with_metafor():
    # oracle random-effects-meta-analysis: metafor 3.8-1, R 4.2.2
    dl, hk, floored = dersimonian_laird(Y, SE), random_effects(Y, SE), random_effects(Y, SE, floor=True)
    assert dl.mean == pytest.approx(7.02861122077, rel=1e-5)
    assert dl.se == pytest.approx(1.2514944856, rel=1e-5)
    assert dl.tau2 == pytest.approx(3.17921983312, rel=1e-5)
    assert (dl.q, dl.q_p) == pytest.approx((8.70178932154, 0.191056803107), rel=1e-5)
    assert dl.i2 == pytest.approx(0.310486639208, rel=1e-5)
    assert hk.mean == floored.mean == pytest.approx(7.10846817471, rel=1e-5)
    assert floored.se == pytest.approx(
        1.31779026206, rel=1e-5
    )  # the Hartung-Knapp error is smaller than the classic one
    assert hk.tau**2 == pytest.approx(4.08413385351, rel=1e-5)
    assert hk.se == pytest.approx(1.23253539173, rel=1e-5)
    assert hk.p_two_sided == pytest.approx(0.00118572950924, rel=1e-5)
    assert (hk.low, hk.high) == pytest.approx((4.09256271774, 10.1243736317), rel=1e-5)
    assert (hk.prediction_low, hk.prediction_high) == pytest.approx((1.31632372683, 12.9006126226), rel=1e-5)


@pytest.mark.parametrize("seed", range(5))
def test_dersimonian_laird_agrees_with_statsmodels(seed):
    rng = np.random.default_rng(seed)
    y, se = rng.normal(2, 1.5, size=6), rng.uniform(0.5, 1.5, size=6)
    ours, theirs = dersimonian_laird(y, se), combine_effects(y, se**2, method_re="dl")
    assert ours.tau2 == pytest.approx(max(theirs.tau2, 0))
    assert ours.q == pytest.approx(theirs.q)
    if theirs.tau2 > 0:
        assert (ours.mean, ours.se) == pytest.approx((theirs.mean_effect_re, theirs.sd_eff_w_re))
        assert ours.i2 == pytest.approx(theirs.i2)


def test_without_heterogeneity_it_is_the_fixed_effect_mean():
    y, se = np.array([1.0, 1.1, 0.9]), np.array([0.5, 0.4, 0.6])
    w = se**-2.0
    fit = dersimonian_laird(y, se)
    assert (fit.tau2, fit.i2) == (0, 0)
    assert fit.mean == pytest.approx(w @ y / w.sum())
    assert fit.se == pytest.approx(w.sum() ** -0.5)
    assert fit.q_p == pytest.approx(stats.chi2.sf(fit.q, 2))


def test_equal_errors_give_the_variance_less_the_error():
    y = np.array([1.0, 5.0, 9.0, 2.0])
    classic, reml = dersimonian_laird(y, np.ones(4)), random_effects(y, np.ones(4))
    assert classic.tau2 == pytest.approx(y.var(ddof=1) - 1) and reml.tau**2 == pytest.approx(classic.tau2)
    assert classic.mean == pytest.approx(y.mean()) and reml.mean == pytest.approx(y.mean())
    assert classic.se == pytest.approx(y.std(ddof=1) / 2) and reml.se == pytest.approx(classic.se)


def test_identical_differences_have_no_heterogeneity():
    fit = dersimonian_laird([2.0, 2.0], [1.0, 3.0])
    assert (fit.mean, fit.tau2, fit.q, fit.q_p, fit.i2) == (2, 0, 0, 1, 0)


def test_differences_that_cannot_be_weighted_are_refused():
    for function in (dersimonian_laird, random_effects):
        with pytest.raises(AnalysisError, match="n of at least 2; got shape"):
            function([1.0], [1.0])
        with pytest.raises(AnalysisError, match="`y` and `se` must have the same shape"):
            function([1.0, 2.0], [1.0])
        with pytest.raises(AnalysisError, match="`se` must be above 0"):
            function([1.0, 2.0], [1.0, 0.0])
        with pytest.raises(AnalysisError, match="`y` must be finite"):
            function([1.0, np.nan], [1.0, 1.0])


def test_training_runs_add_the_variance_that_benchmarks_share_and_not_that_of_single_benchmarks():
    # Eight benchmarks of equal error; runs of one arm differ by a constant and, on single benchmarks, by +-.3.
    y, se = np.tile([0.2, 0.6], 4), np.full(8, 0.05)
    interaction = 0.3 * np.outer([1, -1, 0], np.tile([1, -1], 4))
    arms = [np.array([[-0.2], [0.0], [0.2]]) + interaction, np.array([[0.1], [0.1], [0.4]]) + np.zeros(8)]
    without, fit = random_effects(y, se), random_effects(y, se, runs=arms)
    base = Fraction(4, 100) * Fraction(8, 7) / 8  # Hartung-Knapp: variance of y over 8
    parts = [Fraction(4, 100) / 3, Fraction(3, 100) / 3]
    noise = Fraction(16 * 9, 100 * 64) / (3 * 2) * Fraction(8, 7)  # weighted sum of squares/(m (m - 1)), n/(n - 1)
    between = sum(parts) - noise
    assert without.se**2 == pytest.approx(float(base)) and without.df == 7
    assert fit.mean == pytest.approx(without.mean) and fit.tau == without.tau
    assert fit.se**2 == pytest.approx(float(base + between))
    spread = base**2 / 7 + between / sum(parts) * sum(part**2 for part in parts) / 2
    assert fit.df == pytest.approx(float((base + between) ** 2 / spread)) and 5 < fit.df < 6
    assert fit.high - fit.mean == pytest.approx(stats.t(fit.df).ppf(0.975) * fit.se)
    assert fit.p_one_sided == pytest.approx(stats.t(fit.df).sf(fit.mean / fit.se))
    half = stats.t(fit.df).ppf(0.975) * (fit.tau**2 + fit.se**2) ** 0.5
    assert (fit.prediction_low, fit.prediction_high) == pytest.approx((fit.mean - half, fit.mean + half))
