import numpy as np
import pytest
from scipy import integrate, stats
from scipy.special import lambertw

from replication.analyse.stats.two_studies.bayes_factors import (
    evidence_update,
    minimum_bf,
    replication_bf,
    sceptical_bf,
)
from replication.errors import AnalysisError

# Pawel & Held 2022, JRSS B, Table 1: an example, Derex 2013, Gneezy 2014
THETA_O = np.array([0.2, 0.582737811761101, 0.226778691550525])
S_O = np.array([0.05, 0.144337567297406, 0.0755928946018454])
THETA_R = np.array([0.15, 0.37746393971232, 0.184400291006785])
S_R = np.array([0.04, 0.127000127000191, 0.0497518595104995])
STUDIES = (THETA_O / S_O, THETA_R / S_R, S_O**2 / S_R**2)


def test_replication_bayes_factor_of_published_studies():
    # oracle replication-bayes-factor: Pawel & Held 2022, JRSS B, Table 1
    expected = [0.0019191358, 0.0323155569085302, 0.00211057610414055]
    assert replication_bf(*STUDIES) == pytest.approx(expected, rel=1e-6)


def test_sceptical_bayes_factor_of_published_studies():
    # oracle sceptical-bayes-factor: Pawel & Held 2022, JRSS B, Table 1
    assert sceptical_bf(*STUDIES) == pytest.approx([0.050401003, 0.117135677207107, 0.144938815030417], rel=2e-4)


def test_replication_bayes_factor_is_the_ratio_of_integrated_likelihoods():
    theta_o, s_o, theta_r, s_r = 3.0, 1.0, 1.5, 0.8
    marginal = integrate.quad(lambda t: stats.norm.pdf(theta_r, t, s_r) * stats.norm.pdf(t, theta_o, s_o), -10, 15)[0]
    expected = stats.norm.pdf(theta_r, 0, s_r) / marginal
    assert replication_bf(theta_o / s_o, theta_r / s_r, s_o**2 / s_r**2) == pytest.approx(expected, rel=1e-8)
    assert replication_bf(-3.0, -1.5 / 0.8, 1 / 0.64) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(("z_o", "z_r"), [(3.0, 2.5), (4.0, 2.0), (-2.5, -3.0)])
def test_sceptical_bayes_factor_at_equal_precision_is_in_closed_form(z_o, z_r):
    # with u = 1 + g: log(u/sqrt 2) = z_o^2/2 + (z_r - z_o)^2/4 - (z_o^2 + z_r^2)/(2u), solved by Lambert's W_{-1}
    k, w = 2**0.5 * np.exp(z_o**2 / 2 + (z_r - z_o) ** 2 / 4), (z_o**2 + z_r**2) / 2
    u = -w / lambertw(-w / k, -1).real
    assert 1 < u < z_o**2
    assert sceptical_bf(z_o, z_r, 1) == pytest.approx(u**0.5 * np.exp(-(z_o**2) * (1 - 1 / u) / 2), rel=1e-11)


def test_sceptical_bayes_factor_is_where_both_factors_agree():
    z_o, z_r, c = 3.2, 3.0, 2.4
    value = sceptical_bf(z_o, z_r, c)
    g = np.linspace(0, z_o**2 - 1, 2_000_001)
    original = stats.norm.pdf(z_o) / stats.norm.pdf(z_o, 0, np.sqrt(1 + g))
    replication = stats.norm.pdf(z_r, 0, np.sqrt(1 + c * g)) / stats.norm.pdf(z_r, z_o * c**0.5, (1 + c) ** 0.5)
    assert value == pytest.approx(original[replication <= original].min(), rel=1e-5)


def test_sceptical_bayes_factor_has_no_value_without_success_and_a_floor():
    assert np.isnan(sceptical_bf(3, [-2, 0, 1], 1)).all()  # the curves do not cross
    assert np.isnan(sceptical_bf(0.9, 2, 1))  # no sceptic's prior
    # a replication far more precise convinces the most sceptical prior: the floor of the original
    assert sceptical_bf(2, 2 * 10, 100) == pytest.approx(minimum_bf(2), rel=1e-12)
    assert (sceptical_bf(3, [2.0, 3.0, 4.0], 1.5) >= minimum_bf(3)).all()


def test_least_factor_of_an_original():
    assert minimum_bf([3.0, -3.0]) == pytest.approx(2 * [3 * np.exp(-4)])
    assert minimum_bf([0.0, 0.7, 1.0]) == pytest.approx([1, 1, 1])
    g = np.linspace(0, 50, 200_001)
    assert minimum_bf(3) == pytest.approx((stats.norm.pdf(3) / stats.norm.pdf(3, 0, np.sqrt(1 + g))).min(), rel=1e-8)


def test_joint_evidence_is_that_of_both_studies_together():
    z_o, z_r, c, g = 2.4, 1.7, 1.8, 3.0
    update = evidence_update(z_o, z_r, c, g=g)
    # under N(0, g s_o^2) the pair (z_o, z_r) is normal with covariance I + g (1, sqrt c)'(1, sqrt c)
    load = np.array([1, c**0.5])
    null = stats.multivariate_normal.pdf([z_o, z_r], [0, 0], np.eye(2))
    alternative = stats.multivariate_normal.pdf([z_o, z_r], [0, 0], np.eye(2) + g * np.outer(load, load))
    assert update.joint == pytest.approx(null / alternative, rel=1e-10)
    assert update.joint == pytest.approx(update.original * update.replication, rel=1e-12)
    assert update.original == pytest.approx(stats.norm.pdf(z_o) / stats.norm.pdf(z_o, 0, 2), rel=1e-12)


def test_evidence_given_the_original_becomes_the_replication_factor_for_a_flat_prior():
    assert evidence_update(2.4, 1.7, 1.8, g=1e10).replication == pytest.approx(replication_bf(2.4, 1.7, 1.8), rel=1e-8)


def test_extreme_studies_have_factors_without_warnings():
    assert replication_bf(1000, -1000, 1) == np.inf
    assert replication_bf(3, 60, 1) == 0


def test_bad_input_is_refused():
    with pytest.raises(AnalysisError, match="must be finite"):
        replication_bf(np.nan, 1, 1)
    with pytest.raises(AnalysisError, match="must be finite"):
        sceptical_bf(2, 1, 0)
    with pytest.raises(AnalysisError, match="`g` must be above 0"):
        evidence_update(2, 1, 1, g=0)
