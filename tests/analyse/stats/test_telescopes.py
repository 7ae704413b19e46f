import numpy as np
import pytest
from scipy import stats

from replication.analyse.stats.two_studies.telescopes import (
    k33,
    small_telescopes,
    theta_33,
)
from replication.errors import AnalysisError


@pytest.mark.parametrize(
    ("power", "k"),
    [
        (0.33, 1.519356679),
        (1 / 3, 1.528568713),
    ],
)
def test_effect_of_the_normal_case(power, k):
    # oracle small-telescopes-normal: root finding in R 4.2.2
    assert k33(power=power) == pytest.approx(k, rel=1e-8)


def test_a_replication_of_3_7_times_the_precision_refutes_a_true_zero_with_power_90_percent():
    # oracle small-telescopes-normal: root finding in R 4.2.2; Simonsohn 2015 rounds the multiple for 80 % to 2.5
    s_o, detect = 2.0, 0.9
    s_r = s_o / 3.70979096**0.5
    edge = theta_33(s_o) - stats.norm.isf(0.05) * s_r  # refuted below
    assert stats.norm.cdf(edge / s_r) == pytest.approx(detect, rel=1e-8)


def test_refutation_is_the_upper_limit_below_theta_33():
    edge = theta_33(1.677) - stats.norm.isf(0.05) * 1.0
    below, above = (small_telescopes(5.24, 1.677, edge + step, 1.0) for step in (-1e-9, 1e-9))
    assert below.refutes and not above.refutes
    assert below.p == pytest.approx(0.05, rel=1e-6)
    assert below.upper == pytest.approx(below.theta_33, abs=1e-8)


def test_a_negative_original_turns_the_signs():
    plus, minus = small_telescopes(5.0, 2.0, 0.3, 1.0), small_telescopes(-5.0, 2.0, -0.3, 1.0)
    assert plus == minus
    assert plus.refutes and plus.upper == pytest.approx(0.3 + 1.6448536269514722)
    assert not small_telescopes(-5.0, 2.0, -3.0, 1.0).refutes


def test_theta_33_of_the_published_rows():
    # plan 4.7: theta_33 exceeds the published effect of the first row only
    se = np.array([4.259, 1.931, 1.677, 4.203, 4.371, 4.516, 1.934])
    delta = np.array([6.30, 3.39, 5.24, 12.79, 11.28, 9.67, 8.96])
    test = small_telescopes(delta, se, 0.0, 1.0)
    assert test.theta_33 == pytest.approx([6.471, 2.933, 2.548, 6.386, 6.641, 6.862, 2.939], abs=1.1e-3)
    assert test.informative.tolist() == [False] + 6 * [True]


def test_bad_input_is_refused():
    with pytest.raises(AnalysisError, match="`power` must lie between `alpha` and 1"):
        k33(power=0.05)
    with pytest.raises(AnalysisError, match="`s_o` must be above 0"):
        theta_33([1.0, 0.0])
    with pytest.raises(AnalysisError, match="`theta_r` must be finite"):
        small_telescopes(1.0, 1.0, np.nan, 1.0)
    with pytest.raises(AnalysisError, match="`s_r` must be above 0"):
        small_telescopes(1.0, 1.0, 1.0, 0.0)
