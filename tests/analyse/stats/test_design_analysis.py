import numpy as np
import pytest
from scipy import stats

from replication.analyse.stats.two_studies.design_analysis import design_analysis, two_sided_power
from replication.errors import AnalysisError


def test_power_sign_error_and_exaggeration():
    # oracle design-analysis: closed form of Lu et al. 2018 in R 4.2.2; Gelman & Carlin 2014 print .05/.46/77, .06/.24/9.5
    found = design_analysis([0.1, 2, 0.3, 1], [3.28, 8.1, 3.28, 3.28])
    assert found.power == pytest.approx([0.050106482, 0.057012941, 0.050958837, 0.060714721], rel=1e-6)
    assert found.type_s == pytest.approx([0.464422843, 0.239617654, 0.394684666, 0.193712287], rel=1e-6)
    assert found.exaggeration == pytest.approx([76.689164, 9.536628, 25.587356, 7.749187], rel=1e-6)


# Audit of the published table (arXiv 2606.24597, Table 9), one run, unpaired
ROWS = [  # scores of both arms, tasks; power at the estimate; power, type S, exaggeration if the truth is half of it
    (0.3325, 0.3955, 89, 0.1413, 0.07222, 0.1142, 5.446),
    (0.6447, 0.6786, 500, 0.2053, 0.08754, 0.06575, 4.245),
    (0.4218, 0.4742, 731, 0.5229, 0.1722, 0.008685, 2.471),
    (0.3338, 0.4617, 200, 0.7504, 0.2609, 0.002004, 1.945),
    (0.5360, 0.6488, 104, 0.3847, 0.1325, 0.01969, 2.949),
    (0.3976, 0.4943, 100, 0.2821, 0.1063, 0.03776, 3.515),
    (0.6229, 0.7125, 882, 0.98, 0.5185, 7.037e-05, 1.383),
]


@pytest.mark.parametrize(("p_a", "p_b", "n", "power", "half_power", "type_s", "exaggeration"), ROWS)
def test_design_analysis_of_the_published_rows(p_a, p_b, n, power, half_power, type_s, exaggeration):
    se = ((p_a * (1 - p_a) + p_b * (1 - p_b)) / n) ** 0.5
    assert two_sided_power(p_b - p_a, se) == pytest.approx(power, rel=1e-3)
    assert design_analysis((p_b - p_a) / 2, se) == pytest.approx((half_power, type_s, exaggeration), rel=1e-3)


def test_design_analysis_is_the_share_in_simulated_studies():
    rng = np.random.default_rng(4)
    effect, se, alpha = 1.3, 1.0, 0.1
    estimates = effect + se * rng.standard_normal(400_000)
    significant = np.abs(estimates) > stats.norm.isf(alpha / 2) * se
    found = design_analysis(effect, se, alpha=alpha)
    assert found.power == pytest.approx(significant.mean(), abs=0.003)
    assert found.type_s == pytest.approx((estimates[significant] < 0).mean(), abs=0.001)
    assert found.exaggeration == pytest.approx(np.abs(estimates[significant]).mean() / effect, rel=0.003)


def test_no_effect_has_the_level_as_power_and_a_coin_toss_as_sign():
    found = design_analysis(0.0, 2.0, alpha=0.1)
    assert found.power == pytest.approx(0.1)
    assert found.type_s == pytest.approx(0.5)
    assert found.exaggeration == np.inf


def test_a_large_effect_is_seen_as_it_is():
    found = design_analysis([30.0, -30.0], 1.0)
    assert found.power == pytest.approx([1, 1]) and found.type_s == pytest.approx([0, 0])
    assert found.exaggeration == pytest.approx([1, 1], rel=1e-12)


def test_sign_of_the_effect_does_not_matter_and_unit_neither():
    assert design_analysis(-2.0, 8.1) == design_analysis(2.0, 8.1)
    assert design_analysis(2.0, 8.1).exaggeration == pytest.approx(design_analysis(0.02, 0.081).exaggeration)


def test_power_counts_both_tails():
    z = 1.959963984540054
    assert two_sided_power(0.3, 1.0) == pytest.approx(stats.norm.sf(z - 0.3) + stats.norm.cdf(-z - 0.3), rel=1e-12)
    assert two_sided_power(z + stats.norm.ppf(0.8), 1.0) == pytest.approx(0.8, abs=2e-6)
    assert two_sided_power([0.0, -0.3], 1.0) == pytest.approx([0.05, two_sided_power(0.3, 1.0)])


def test_bad_input_is_refused():
    for effect, se in ((np.nan, 1.0), (1.0, 0.0), (1.0, np.inf), ([], [])):
        with pytest.raises(AnalysisError, match=r"`(effect|se)` must be (finite|above 0)"):
            design_analysis(effect, se)
    with pytest.raises(AnalysisError, match="`alpha` must lie"):
        two_sided_power(1.0, 1.0, alpha=0.0)
