"""Random effects, multiplicity, equivalence, power and cost ratios against published and reference values."""

import math

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.meta_analysis import combine_effects
from statsmodels.stats.multitest import multipletests

from replication.analyse.stats.design.power import minimal_detectable_effect
from replication.analyse.stats.estimates.ratios import log_cost_ratio
from replication.analyse.stats.families.meta import random_effects
from replication.analyse.stats.families.multiplicity import holm, intersection_union
from replication.analyse.stats.two_studies.equivalence import tost_p
from replication.errors import AnalysisError

# Seven published differences with their errors; expected values: metafor 3.8-1 on R 4.2.2,
# rma(y, sei = se, method = "REML", test = "knha").
Y = [6.3, 3.39, 5.24, 12.79, 11.28, 9.67, 8.96]
SE = [4.26, 1.93, 1.68, 4.2, 4.37, 4.52, 1.93]


def test_random_effects_agree_with_metafor():
    fit = random_effects(Y, SE)
    assert fit.mean == pytest.approx(7.10846817471, rel=1e-5)
    assert fit.tau**2 == pytest.approx(4.08413385351, rel=1e-5)
    assert fit.se == pytest.approx(1.23253539173, rel=1e-5)
    assert fit.p_two_sided == pytest.approx(0.00118572950924, rel=1e-5)
    assert (fit.low, fit.high) == pytest.approx((4.09256271774, 10.1243736317), rel=1e-5)
    assert (fit.prediction_low, fit.prediction_high) == pytest.approx((1.31632372683, 12.9006126226), rel=1e-5)
    assert (fit.q, fit.q_p) == pytest.approx((8.70178932154, 0.191056803107), rel=1e-5)


def test_without_heterogeneity_the_fit_is_the_fixed_effect_of_statsmodels_with_hartung_knapp():
    y, se = [1.0, 1.1, 0.9, 1.05], [0.5, 0.4, 0.6, 0.5]
    fit, reference = random_effects(y, se), combine_effects(np.array(y), np.square(se), method_re="dl")
    assert fit.tau == 0
    assert fit.mean == pytest.approx(reference.mean_effect_fe)
    assert fit.se == pytest.approx(reference.sd_eff_w_fe_hksj)


def test_floor_keeps_two_agreeing_benchmarks_from_certainty():
    plain, floored = (random_effects([0.1, 0.1], [0.2, 0.2], floor=floor) for floor in (False, True))
    assert plain.se == pytest.approx(0, abs=1e-12)
    assert floored.se == pytest.approx(0.2 / math.sqrt(2))
    assert floored.low < 0 < floored.high
    assert random_effects(Y, SE, floor=True).se == pytest.approx(1.31779026206, rel=1e-5)  # metafor's plain REML error


def test_random_effects_need_two_benchmarks_with_errors():
    with pytest.raises(AnalysisError, match="n of at least 2"):
        random_effects([1.0], [1.0])
    with pytest.raises(AnalysisError, match="without variation cannot be weighted"):
        random_effects([0.0, 1.0], [0.0, 1.0])


def test_holm_and_intersection_union_of_seven():
    # R 4.2.2 p.adjust(method = "holm"); intersection-union by definition.
    p = [0.39, 0.26, 0.045, 0.01, 0.1, 0.17, 0.003]
    assert holm(p) == pytest.approx([0.52, 0.52, 0.225, 0.06, 0.4, 0.51, 0.021])
    assert intersection_union(p) == 0.39


def test_holm_is_that_of_statsmodels_with_ties_and_ones():
    rng = np.random.default_rng(3)
    for n in (1, 2, 3, 7, 20):
        p = rng.random(n).round(1)
        assert holm(p) == pytest.approx(multipletests(p, method="holm")[1])


@pytest.mark.parametrize("p", [[], [0.5, 1.5], [float("nan")]])
def test_family_of_no_or_impossible_p_values_is_refused(p):
    with pytest.raises(AnalysisError, match="at least one p-value"):
        holm(p)


def test_equivalence_of_one_sample():
    # TOSTER test file: mean .54, mu .5, sd 1.2, n 100, bound .3 sd: p .0006040021 and .004474619.
    assert tost_p(0.04, 1.2 / 10, 99, 0.36) == pytest.approx(0.004474619, rel=2e-6)
    assert tost_p(-0.04, 1.2 / 10, 99, 0.36) == pytest.approx(0.004474619, rel=2e-6)


def test_equivalence_is_the_ninety_percent_interval_inside_the_margin():
    value, se, df = 0.01, 0.02, 12
    edge = abs(value) + stats.t(df).ppf(0.95) * se
    assert tost_p(value, se, df, edge) == pytest.approx(0.05)


def test_equivalence_without_error_is_decided_by_the_value():
    assert tost_p(0.0, 0.0, None, 0.03) == 0
    assert tost_p(0.05, 0.0, None, 0.03) == 1
    with pytest.raises(AnalysisError, match="`margin` must be above 0"):
        tost_p(0.0, 1.0, None, 0.0)


def test_minimal_detectable_effect_of_miller():
    # Miller 2024, arXiv:2411.00640, section 5: omega^2 = 1/9, sigma^2 = 1/6 each, 198 tasks, K = 1 and 10.
    for k, expected in ((1, 0.1327333), (10, 0.0756696)):
        assert minimal_detectable_effect(math.sqrt((1 / 9 + 2 / 6 / k) / 198)) == pytest.approx(expected, rel=1e-6)


def test_minimal_detectable_effect_has_its_nominal_power():
    rng, n = np.random.default_rng(11), 40
    effect = minimal_detectable_effect(1 / math.sqrt(n), n - 1)
    found = stats.ttest_1samp(rng.normal(effect, 1, (4000, n)), 0, axis=1).pvalue <= 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.025)


def test_cost_ratio_of_arms_that_solve_the_same_is_the_ratio_of_costs():
    rng = np.random.default_rng(5)
    score, cost = (rng.random((3, 2, 200)) < 0.5).astype(float), rng.uniform(1, 2, (3, 2, 200))
    estimate = log_cost_ratio(0.5 * cost, score, cost, score, target="T3")
    assert math.exp(estimate.value) == pytest.approx(0.5)
    # The runs of an arm differ no more than its tasks explain: the df are the smallest of the runs', 2.
    assert estimate.df == 2 and estimate.kind == "log_ratio"


def test_cost_ratio_for_the_method_adds_the_variance_of_the_log_costs_of_runs():
    # Every task costs the same and is solved, so tasks contribute nothing; runs differ by factors of 2 and of 3.
    treatment = np.array([1.0, 2.0, 4.0])[:, None, None] * np.ones((3, 2, 10))
    control = np.array([1.0, 3.0])[:, None, None] * np.ones((2, 2, 10))
    estimate = log_cost_ratio(treatment, np.ones((3, 2, 10)), control, np.ones((2, 2, 10)), target="T3")
    assert math.exp(estimate.value) == pytest.approx((7 / 3) / 2)
    assert estimate.se**2 == pytest.approx(math.log(2) ** 2 / 3 + math.log(3) ** 2 / 2 / 2)
    a, b = math.log(2) ** 2 / 3, math.log(3) ** 2 / 2 / 2
    df = (a + b) ** 2 / (a**2 / 2 + b**2 / 1)  # Satterthwaite 1946, of three and of two runs
    assert estimate.df == pytest.approx(df) and estimate.n_training_runs == 2
    assert estimate.high - estimate.value == pytest.approx(stats.t(df).ppf(0.975) * estimate.se)


def test_cost_ratio_error_for_tasks_agrees_with_the_jackknife():
    rng = np.random.default_rng(6)
    n = 150
    scores = [(rng.random((1, 2, n)) < p).astype(float) for p in (0.6, 0.4)]
    costs = [rng.gamma(4, 1, (1, 2, n)) for _ in scores]

    def value(keep):
        logs = [np.log(c[..., keep].sum() / s[..., keep].sum()) for c, s in zip(costs, scores, strict=True)]
        return logs[0] - logs[1]

    left_out = np.array([value(np.arange(n) != i) for i in range(n)])
    jackknife = math.sqrt((n - 1) / n * ((left_out - left_out.mean()) ** 2).sum())
    estimate = log_cost_ratio(costs[0], scores[0], costs[1], scores[1], target="T2")
    assert estimate.se == pytest.approx(jackknife, rel=0.02)


def test_cost_of_an_arm_that_solves_nothing_is_undefined():
    with pytest.raises(AnalysisError, match="solved no task"):
        log_cost_ratio(np.ones((1, 1, 3)), np.zeros((1, 1, 3)), np.ones((1, 1, 3)), np.ones((1, 1, 3)), target="T2")
