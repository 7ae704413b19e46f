import itertools

import numpy as np
import pytest
from scipy import integrate, stats

from replication.analyse.stats.printed.audit_model import standard_error
from replication.analyse.stats.two_studies.sceptical import (
    GOLDEN,
    minimum_relative_effect,
    relative_sample_size,
    sceptical_p,
    sceptical_z,
    significance_power,
    success_power,
    threshold_z,
)
from replication.errors import AnalysisError

KINDS = ("nominal", "golden", "controlled")


def type_one_error(level, c, kind="golden"):
    """Probability that two studies of a zero effect succeed, the original positive (Micheloud, Balabdaoui & Held 2023).

    int_t^inf (1 - Phi(t sqrt(1 + c/(u^2/t^2 - 1)))) phi(u) du, t the threshold of z_S.
    """
    t = float(threshold_z(level, kind=kind, c=c))

    def integrand(u):
        excess = (u - t) * (u + t) / t**2
        return stats.norm.sf(t * np.sqrt(1 + c / excess)) * stats.norm.pdf(u) if excess > 0 else 0.0

    peak = t * (1 + c**0.5) ** 0.5  # the integrand is about 1 wide there
    cuts = [t, max((t + peak) / 2, peak - 8), peak, peak + 8, peak + 40]
    return sum(
        integrate.quad(integrand, *ends, epsabs=0.0, epsrel=1e-12, limit=200)[0] for ends in itertools.pairwise(cuts)
    )


def test_z_is_that_of_the_reference_program():
    # oracle sceptical-z: ReplicationSuccess 1.3.3 test files
    got = sceptical_z([4, 4, 4], [2, 2, 4], [2, 0.5, 2])
    assert got == pytest.approx([1.67518610156176, 1.87285276984854, 2.57437701162233], abs=1e-10, rel=0)


def test_z_solves_its_equation_for_every_precision():
    for z_o, z_r, c in ((4, 2, 0.01), (4, 2, 1), (1.3, 2.9, 1 + 1e-9), (0.2, 0.1, 7), (5, 5, 1e4)):
        z2 = sceptical_z(z_o, z_r, c) ** 2
        assert (z_o**2 / z2 - 1) * (z_r**2 / z2 - 1) == pytest.approx(c, rel=1e-9)


def test_z_at_equal_precision_is_half_the_harmonic_mean_and_at_none_the_smaller_z():
    assert sceptical_z(3, 2.5, 1) ** 2 == pytest.approx(1 / (1 / 9 + 1 / 6.25))
    assert sceptical_z(3, 2.5, 1e-13) == pytest.approx(2.5, rel=1e-9)
    assert sceptical_z(0, 0, 2) == 0


def test_one_sided_p_is_that_of_the_reference_program():
    # oracle sceptical-p: ReplicationSuccess 1.3.3 test files; controlled: the accurate values of its note
    z_o, z_r, c = [4, 4], [2, 2], [2, 0.5]
    assert sceptical_p(z_o, z_r, c) == pytest.approx([0.0165499416760937, 0.00860230836312371], rel=1e-8)
    nominal = [0.0469488618047047, 0.0305443593405044]
    assert sceptical_p(z_o, z_r, c, kind="nominal") == pytest.approx(nominal, rel=1e-8)
    controlled = [0.00789852693816, 0.01114845718310]
    assert sceptical_p(z_o, z_r, c, kind="controlled") == pytest.approx(controlled, rel=1e-11)
    assert sceptical_p(z_o, z_r, c, kind="controlled") == pytest.approx(
        [0.00789852693213, 0.0111484571656534], rel=1e-8
    )


def test_direction_and_two_sided_version_are_those_of_the_reference_program():
    # oracle sceptical-p-direction: ReplicationSuccess 1.3.3 test files
    got = sceptical_p([4, -4, 0, 2], [-2, -2, 2, 2], [2, 2, 2, 0.5])
    expected = [0.983450058323906, 0.0165499416760937, 0.5, 0.0257599721993693]
    assert got == pytest.approx(expected, rel=1e-8)
    assert sceptical_p(4, 2, 2, alternative="two-sided") == pytest.approx(0.0330998833521875, rel=1e-8)
    assert sceptical_p(4, -2, 2, alternative="two-sided") == pytest.approx(0.0330998833521875, rel=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_directions_mirror_for_every_kind(kind):
    same = sceptical_p(3, 2, 1.5, kind=kind)
    assert sceptical_p(-3, -2, 1.5, kind=kind) == same
    assert sceptical_p(-3, 2, 1.5, kind=kind) == pytest.approx(1 - same, rel=1e-14)
    assert sceptical_p(0, 2, 1.5, kind=kind) == pytest.approx(0.5, rel=1e-12)


def test_published_examples():
    # oracle sceptical-p-published-examples: Held 2020, JRSS A
    first = sceptical_p(12.19**0.5, 3.99**0.5, 1, kind="nominal", alternative="two-sided")
    assert first == pytest.approx(0.083, abs=5e-4)
    assert sceptical_p(2.33, 2.33, 1, kind="nominal") == pytest.approx(0.05, abs=5e-4)


def test_p_at_equal_precision():
    # oracle sceptical-p-equal-precision: ReplicationSuccess 1.3.3
    for kind, expected in zip(KINDS, (0.0273940301075, 0.00728324385503, 0.00553355689656)):
        assert sceptical_p(3, 2.5, 1, kind=kind) == pytest.approx(expected, rel=1e-8)
    z2 = sceptical_z(3, 2.5, 1) ** 2
    gamma = np.sqrt(stats.gamma.sf(z2, 0.5, scale=0.5)) / 2
    assert sceptical_p(3, 2.5, 1, kind="controlled") == pytest.approx(gamma, rel=1e-13)


@pytest.mark.parametrize("kind", ["nominal", "golden"])
def test_type_one_error_is_that_of_the_reference_program(kind):
    # oracle sceptical-type-one-error: Micheloud, Balabdaoui & Held 2023; ReplicationSuccess 1.3.3
    if kind == "golden":
        assert [type_one_error(0.025, c) for c in (1, 2, 5)] == pytest.approx(
            [5.146301128e-4, 1.904034898e-4, 2.572536588e-5], rel=1e-6
        )
    else:
        assert type_one_error(0.05, 1, kind=kind) == pytest.approx(2.507291664e-4, rel=1e-6)


@pytest.mark.parametrize("c", [1e-3, 0.3, 1.0, 1 + 1e-7, 2.5, 40.0, 1e4])
@pytest.mark.parametrize("level", [0.4, 0.025, 1e-6])
def test_controlled_p_squared_is_the_overall_type_one_error(c, level):
    # two independent integrals: the p-value is one over an angle, the error one over z_o
    assert type_one_error(level, c, kind="controlled") == pytest.approx(level**2, rel=2e-12)


def test_type_one_error_is_the_share_of_successes_over_the_plane_of_z_values():
    # brute force: integrate over z_o > 0 the chance of the z_r that first succeeds
    c, level = 2.0, 0.025
    t = threshold_z(level)

    def chance(z_o):
        return stats.norm.pdf(z_o) * stats.norm.sf(minimum_relative_effect(z_o, c) * z_o * c**0.5)

    assert type_one_error(level, c) == pytest.approx(integrate.quad(chance, t, t + 12)[0], rel=1e-8)


def test_golden_type_one_error_is_below_the_squared_level_from_equal_precision_on():
    assert all(type_one_error(0.025, c) <= 0.025**2 for c in (1, 1.5, 3, 10))
    assert type_one_error(0.025, 0.5) > 0.025**2


def test_thresholds():
    assert threshold_z(0.025, kind="nominal") == pytest.approx(1.959963984540054)
    assert threshold_z(0.025) == pytest.approx(1.540829, abs=1e-6)
    for kind in KINDS:  # with z_o just above the threshold only an infinite replication reaches the level
        z = threshold_z(0.025, kind=kind, c=0.7)
        assert sceptical_p(z, 1e6, 0.7, kind=kind) == pytest.approx(0.025, rel=1e-6)
    # without a replication to speak of, controlled is nominal
    assert threshold_z(0.025, kind="controlled", c=1e-12) == pytest.approx(1.959963984540054, rel=1e-5)


def test_minimum_relative_effect_is_that_of_the_reference_program():
    # oracle minimum-relative-effect: ReplicationSuccess 1.3.3
    got = minimum_relative_effect([2.5, 2, 1.5, -2.5], [2, 0.5, 1, 2])
    assert got == pytest.approx([0.650090929703, 1.43310599554, np.nan, 0.650090929703], rel=1e-9, nan_ok=True)
    assert minimum_relative_effect(3, 1, kind="nominal") == pytest.approx(0.86294802702, rel=1e-9)
    assert np.isnan(minimum_relative_effect(0, 1))


@pytest.mark.parametrize("kind", KINDS)
def test_minimum_relative_effect_is_where_the_p_value_meets_the_level(kind):
    z_o, c = 2.8, 1.7
    d = minimum_relative_effect(z_o, c, level=0.01, kind=kind)
    assert sceptical_p(z_o, d * z_o * c**0.5, c, kind=kind) == pytest.approx(0.01, rel=1e-9)


def test_golden_level_lets_an_original_at_the_level_not_shrink():
    # Held, Micheloud & Pawel 2022: z_o = z_level needs d_min = 1 with an infinite replication
    assert minimum_relative_effect(1.959963984540054, 1e12) == pytest.approx(1.0, rel=1e-9)
    assert pytest.approx((1 + 5**0.5) / 2) == GOLDEN


def test_power_and_sample_size_are_those_of_the_reference_program():
    # oracle replication-power-and-sample-size: ReplicationSuccess 1.3.3
    success = {"conditional": 0.88574639, "predictive": 0.80275618, "empirical-bayes": 0.73684802}
    significance = {"conditional": 0.85083842, "predictive": 0.76895707, "empirical-bayes": 0.69644452}
    for prior in success:
        assert success_power(3, 1, prior=prior) == pytest.approx(success[prior], abs=1e-6)
        assert success_power(-3, 1, prior=prior) == pytest.approx(success[prior], abs=1e-6)
        assert significance_power(3, 1, prior=prior) == pytest.approx(significance[prior], abs=1e-6)
    size = relative_sample_size(1.959963984540054, power=0.8, kind="significance", prior="conditional")
    assert size.c == pytest.approx(2.0432029, abs=1e-6)
    assert relative_sample_size(3, power=0.8, prior="conditional").c == pytest.approx(0.73602369, abs=1e-6)
    assert relative_sample_size(3, power=0.8).c == pytest.approx(0.98559054, abs=1e-6)


@pytest.mark.parametrize("prior", ["conditional", "predictive", "empirical-bayes"])
def test_power_is_the_share_of_simulated_successes(prior):
    rng = np.random.default_rng(5)
    z_o, c, n = 2.2, 2.0, 200_000
    shrinkage = {"conditional": 1.0, "predictive": 1.0, "empirical-bayes": 1 - 1 / z_o**2}[prior]
    spread = {"conditional": 0.0, "predictive": 1.0, "empirical-bayes": shrinkage**0.5}[prior]
    truth = shrinkage * z_o + spread * rng.standard_normal(n)  # in units of s_o
    z_r = truth * c**0.5 + rng.standard_normal(n)
    share = (sceptical_p(z_o, z_r, c) <= 0.025).mean()
    assert success_power(z_o, c, prior=prior) == pytest.approx(share, abs=4 * (0.25 / n) ** 0.5)
    assert significance_power(z_o, c, prior=prior) == pytest.approx((z_r > 1.959964).mean(), abs=4 * (0.25 / n) ** 0.5)


def test_sample_size_for_significance_is_the_textbook_formula():
    needed = (stats.norm.isf(0.025) + stats.norm.ppf(0.9)) ** 2 / 2.5**2
    size = relative_sample_size(2.5, power=0.9, kind="significance", prior="conditional")
    assert size.c == pytest.approx(needed, rel=1e-9)
    assert size.max_power == 1


# Audit of the published table (arXiv 2606.24597, Table 9) at the stated runs, icc = rho = .5; goal: predictive power .8
ROWS = [  # scores of both arms, tasks, runs; d_min at c = 1, c for 80 %, largest predictive power, its limit
    (0.3325, 0.3955, 89, 5, np.nan, None, 0.0, 0.0),
    (0.6447, 0.6786, 500, 3, 1.83, None, 0.1516, 0.1439),
    (0.4218, 0.4742, 731, 3, 0.5667, 0.8517, 0.9878, 0.9878),
    (0.3338, 0.4617, 200, 1, 0.5872, 0.9354, 0.9837, 0.9837),
    (0.5360, 0.6488, 104, 3, 0.7443, 2.123, 0.9242, 0.9242),
    (0.3976, 0.4943, 100, 3, 1.036, None, 0.7068, 0.7068),
    (0.6229, 0.7125, 882, 1, 0.3528, 0.2979, 1.0, 1.0),
]


@pytest.mark.parametrize(("p_a", "p_b", "n", "k", "d_min", "c", "most", "limit"), ROWS)
def test_size_and_power_of_a_replication_of_each_published_row(p_a, p_b, n, k, d_min, c, most, limit):
    z_o = float((p_b - p_a) / standard_error(p_a, p_b, n, k, icc=0.5, rho=0.5))
    size = relative_sample_size(z_o, power=0.8)
    assert size.max_power == pytest.approx(most, rel=1e-3)
    assert success_power(z_o, 1e12) == pytest.approx(limit, rel=1e-3)
    assert size.c is None if c is None else size.c == pytest.approx(c, rel=1e-3)
    assert np.isnan(size.c_at_max) == (most == 0)
    assert minimum_relative_effect(z_o, 1) == pytest.approx(d_min, rel=1e-3, nan_ok=True)


def test_predictive_power_near_the_threshold_peaks_at_a_finite_size_above_its_limit():
    z_o = 1.7559728
    size = relative_sample_size(z_o, power=0.8)
    assert 0.5 < size.c_at_max < 3
    assert size.max_power == pytest.approx(success_power(z_o, size.c_at_max), rel=1e-12)
    assert (success_power(z_o, np.geomspace(1e-4, 1e6, 300)) <= size.max_power + 1e-12).all()
    assert success_power(z_o, 1e8) < size.max_power - 0.007
    just_below = relative_sample_size(z_o, power=size.max_power - 1e-7)
    assert success_power(z_o, just_below.c) == pytest.approx(size.max_power - 1e-7, abs=1e-12)


@pytest.mark.parametrize("prior", ["conditional", "predictive", "empirical-bayes"])
@pytest.mark.parametrize("z_o", [2.5, 4.0])
def test_power_limit_is_the_power_of_a_huge_replication(prior, z_o):
    size = relative_sample_size(z_o, power=0.5, prior=prior)
    assert size.c_at_max == np.inf
    assert size.max_power == pytest.approx(success_power(z_o, 1e13, prior=prior), rel=1e-5)
    size = relative_sample_size(z_o, power=0.5, prior=prior, kind="significance")
    assert size.max_power == pytest.approx(significance_power(z_o, 1e13, prior=prior), rel=1e-5)


def test_sample_size_for_the_controlled_p_value_has_the_given_power():
    size = relative_sample_size(2.0, power=0.7, kind="controlled")
    assert success_power(2.0, size.c, kind="controlled") == pytest.approx(0.7, abs=1e-9)
    assert size.c < relative_sample_size(2.5, power=0.7).c * 10


def test_a_power_below_that_of_no_data_needs_no_data():
    assert relative_sample_size(3, power=0.001).c == 0


def test_an_original_of_noise_is_shrunk_to_nothing():
    assert significance_power(0.5, 9, prior="empirical-bayes") == pytest.approx(0.025)
    assert success_power(0.5, 9, prior="empirical-bayes") == 0
    size = relative_sample_size(0.0, power=0.5, kind="significance", prior="conditional")
    assert size.c is None and size.max_power == pytest.approx(0.025)


def test_bad_input_is_refused():
    for z_o, z_r, c in ((np.nan, 2, 1), (2, np.inf, 1), (2, 2, 0), (2, 2, -1), ([], [], [])):
        with pytest.raises(AnalysisError, match="must be finite"):
            sceptical_z(z_o, z_r, c)
    with pytest.raises(AnalysisError, match="shapes that broadcast"):
        sceptical_z([1, 2], [1, 2, 3], 1)
    with pytest.raises(AnalysisError, match="`kind` must be one of nominal, golden, controlled"):
        sceptical_p(2, 2, 1, kind="silver")
    with pytest.raises(AnalysisError, match="`alternative` must be"):
        sceptical_p(2, 2, 1, alternative="greater")
    with pytest.raises(AnalysisError, match="`prior` must be"):
        success_power(2, 1, prior="flat")
    for level in (0.0, 0.5, np.nan):
        with pytest.raises(AnalysisError, match="`level` is one-sided"):
            minimum_relative_effect(2, 1, level=level)
    with pytest.raises(AnalysisError, match="`power` must lie"):
        relative_sample_size(2, power=1.0)
