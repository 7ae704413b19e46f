import numpy as np
import pytest
from scipy import stats

from replication.analyse.stats.two_studies.classical import (
    edgington,
    harmonic_mean_test,
    original_in_replication_interval,
    pooled,
    prediction_interval,
    q_test,
    shrunken_prediction_interval,
    significant_same_direction,
)
from replication.errors import AnalysisError

Z = 1.959963984540054


def test_heterogeneity_and_pooling():
    # oracle q-test-and-pooling: ReplicationSuccess 1.3.3 (Q); inverse-variance formula (pooled)
    assert q_test(0.2, 0.05, 0.15, 0.04).p == pytest.approx(0.434879658496, rel=1e-9)
    found = pooled(0.2, 0.05, 0.15, 0.04)
    assert found.value == pytest.approx(0.16951219512195, rel=1e-9)
    assert found.se == pytest.approx(0.03123475237772, rel=1e-9)
    assert found.z == pytest.approx(5.42703822562906, rel=1e-9)
    assert found.p_two_sided == pytest.approx(2 * stats.norm.sf(5.42703822562906), rel=1e-7)
    assert pooled(-0.2, 0.05, -0.15, 0.04).p_two_sided == found.p_two_sided


def test_heterogeneity_between_settings_widens_the_variance_twice():
    assert q_test(5.0, 1.0, 1.0, 2.0, tau=1.5).q == pytest.approx(16 / (1 + 4 + 2 * 2.25))
    assert q_test(5.0, 1.0, 5.0, 2.0).p == 1


def test_prediction_intervals():
    # oracle prediction-intervals: ReplicationSuccess 1.3.3
    plain = prediction_interval([0.2, 2], [0.05, 1], [0.04, 0.5])
    assert plain.low == pytest.approx([0.074501071, -0.191306351441454], abs=2e-8)
    assert plain.high == pytest.approx([0.32549893, 4.191306351441454], abs=2e-8)
    shrunken = shrunken_prediction_interval([0.2, 2], [0.05, 1], [0.04, 0.5])
    assert shrunken.low == pytest.approx([0.064415666, -0.459963984540054], abs=2e-8)
    assert shrunken.high == pytest.approx([0.31058433, 3.459963984540054], abs=2e-8)


def test_prediction_intervals_with_heterogeneity_by_hand():
    plain = prediction_interval(4.0, 1.0, 0.5, tau=0.8, level=0.9)
    assert plain.se == pytest.approx((1 + 0.25 + 2 * 0.64) ** 0.5)
    assert plain.high - plain.low == pytest.approx(2 * 1.6448536269514722 * plain.se)
    shrunken = shrunken_prediction_interval(-4.0, 1.0, 0.5, tau=0.8)
    s = 1 - 1.64 / 16
    assert shrunken.centre == pytest.approx(-4 * s)
    assert shrunken.se == pytest.approx((s * 1.64 + 0.25 + 0.64) ** 0.5)


def test_an_original_of_noise_is_shrunk_to_zero():
    found = shrunken_prediction_interval([0.5, 0.0, -0.9], 1.0, 0.5)
    assert found.centre == pytest.approx([0, 0, 0])
    assert found.se == pytest.approx([0.5, 0.5, 0.5])


def test_prediction_interval_and_q_test_say_the_same():
    theta_r = np.linspace(-3, 7, 41)
    inside = np.abs(theta_r - 2) <= (prediction_interval(2.0, 1.0, 1.3).high - 2)
    assert (inside == (q_test(2.0, 1.0, theta_r, 1.3).p >= 0.05)).all()
    assert 0 < inside.sum() < 41


# Audit of the published table at the stated runs, icc = rho = .5, points: shrunken effect, interval of an equal repeat
ROWS = [
    (6.30, 4.259, 3.421, -5.505, 18.11),
    (3.39, 1.931, 2.291, -1.961, 8.741),
    (5.24, 1.677, 4.703, 0.5924, 9.888),
    (12.79, 4.203, 11.41, 1.139, 24.44),
    (11.28, 4.371, 9.586, -0.8351, 23.4),
    (9.67, 4.516, 7.561, -2.849, 22.19),
    (8.96, 1.934, 8.542, 3.598, 14.32),
]


@pytest.mark.parametrize(("theta_o", "se", "shrunken", "low", "high"), ROWS)
def test_an_equal_sized_repeat_of_each_published_row(theta_o, se, shrunken, low, high):
    found = prediction_interval(theta_o, se, se)
    # the standard errors are rounded to .0005: three of them in each limit
    assert found.low == pytest.approx(low, abs=0.002, rel=1e-3)
    assert found.high == pytest.approx(high, abs=0.002, rel=1e-3)
    assert shrunken_prediction_interval(theta_o, se, se).centre == pytest.approx(shrunken, abs=0.002, rel=1e-3)


def test_significance_needs_the_direction_of_the_original():
    assert significant_same_direction([1, -1, 1, -1, 0], [2, -2, -2, 2, 2], 1.0).tolist() == [
        True,
        True,
        False,
        False,
        False,
    ]
    assert not significant_same_direction(1, Z - 1e-9, 1.0)
    assert significant_same_direction(1, 2 * Z + 1e-9, 2.0)


def test_original_in_interval_passes_for_83_percent_of_equal_studies():
    rng = np.random.default_rng(0)
    n = 100_000
    passed = original_in_replication_interval(3 + rng.standard_normal(n), 3 + rng.standard_normal(n), 1.0).mean()
    assert passed == pytest.approx(1 - 2 * stats.norm.sf(Z / 2**0.5), abs=0.005)  # .834
    assert original_in_replication_interval(2 * Z - 1e-9, 0.0, 2.0)
    assert not original_in_replication_interval(2 * Z + 1e-9, 0.0, 2.0)


def test_harmonic_mean_chi_square():
    # oracle harmonic-mean-chi-square: ReplicationSuccess 1.3.3
    assert harmonic_mean_test([2, 2.5]).p == pytest.approx(0.00044682226, rel=1e-7)
    assert harmonic_mean_test([2, 2.5], alternative="two-sided").p == pytest.approx(0.00089364452, rel=1e-7)
    assert harmonic_mean_test([-2, -2.5]).p == pytest.approx(0.00044682226, rel=1e-7)


def test_harmonic_mean_of_three_studies_and_of_columns():
    # equal z: n^2/(n/z^2) = n z^2
    assert harmonic_mean_test([1.5, 1.5, 1.5]).z2 == pytest.approx(3 * 2.25)
    assert harmonic_mean_test([1.5, 1.5, 1.5]).p == pytest.approx(stats.chi2.sf(6.75, 1) / 8)
    columns = harmonic_mean_test([[2, 2, 2], [2.5, -2.5, 0]])
    assert columns.p == pytest.approx([0.00044682226, np.nan, 0.25], rel=1e-7, nan_ok=True)


def test_harmonic_mean_p_is_uniform_under_no_effect():
    z = np.abs(np.random.default_rng(1).standard_normal((2, 100_000)))
    assert stats.kstest(4 * harmonic_mean_test(z).p, "uniform").pvalue > 0.001


def test_edgington_of_two_p_values():
    # oracle edgington: ReplicationSuccess 1.3.3
    assert edgington(0.01, 0.03) == pytest.approx(0.0008, abs=1e-12)
    assert edgington(0.01, 0.03, weight=2) == pytest.approx(0.001225, abs=1e-12)


@pytest.mark.parametrize("r", [0.5, 1.0, 2.0])
def test_edgington_in_each_of_its_ranges(r):
    def by_range(e):
        m, big = min(1, r), max(1, r)
        if e <= m:
            return e**2 / (2 * r)
        return (e - m / 2) / big if e <= big else 1 + (e * (1 + r) - (1 + r) ** 2 / 2 - e**2 / 2) / r

    for p_o, p_r in ((0.1, 0.2), (0.3, 0.9), (0.7, 0.7), (1.0, 0.95), (1.0, 1.0), (0.0, 0.0)):
        assert edgington(p_o, p_r, weight=r) == pytest.approx(by_range(p_o + r * p_r), abs=1e-14)
    u = np.random.default_rng(2).random((2, 100_000))
    assert stats.kstest(edgington(*u, weight=r), "uniform").pvalue > 0.001


def test_bad_input_is_refused():
    with pytest.raises(AnalysisError, match="must be finite"):
        q_test(np.nan, 1, 1, 1)
    with pytest.raises(AnalysisError, match="must be finite"):
        pooled([], [], [], [])
    with pytest.raises(AnalysisError, match="`s_o` must be above 0"):
        pooled(1, 0, 1, 1)
    with pytest.raises(AnalysisError, match="shapes that broadcast"):
        pooled([1, 2, 3], 1, [1, 2], 1)
    with pytest.raises(AnalysisError, match="`tau` must be at least 0"):
        prediction_interval(1, 1, 1, tau=-1)
    with pytest.raises(AnalysisError, match="`level` must lie"):
        prediction_interval(1, 1, 1, level=1)
    with pytest.raises(AnalysisError, match="at least 2 studies"):
        harmonic_mean_test([2])
    with pytest.raises(AnalysisError, match="`alternative` must be"):
        harmonic_mean_test([2, 2], alternative="less")
    for p_o, p_r in ((-0.1, 0.2), (0.2, -0.1), (1.1, 0.2), (0.2, 1.1), (np.nan, 0.2), ([], [])):
        with pytest.raises(AnalysisError, match=r"p-values must lie in \[0, 1\]"):
            edgington(p_o, p_r)
    with pytest.raises(AnalysisError, match="`weight`"):
        edgington(0.1, 0.2, weight=0)
