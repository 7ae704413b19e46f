"""Distribution functions against scipy.stats, in the tails and outside of their domains; roots against closed forms."""

import math

import numpy as np
import pytest
from scipy import stats

from replication.analyse.stats import distributions as d
from replication.analyse.stats.printed.audit_model import fisher_p_value
from replication.analyse.stats.roots import decreasing_root

Z = np.array([-math.inf, -40.0, -3.0, -1e-9, 0.0, 2.5, 40.0, math.inf, math.nan])
P = np.array([-0.1, 1e-300, 0.025, 0.5, 0.975, 1.0, 1.1, math.nan])
DF = (0.5, 1, 3.7, 50, 1e6, math.inf)


def test_normal_distribution_is_that_of_scipy_stats():
    for ours, theirs, x in (
        (d.normal_cdf, stats.norm.cdf, Z), (d.normal_sf, stats.norm.sf, Z), (d.normal_pdf, stats.norm.pdf, Z),
        (d.normal_ppf, stats.norm.ppf, P), (d.normal_isf, stats.norm.isf, P),
    ):  # fmt: skip
        np.testing.assert_array_equal(ours(x), theirs(x))
    np.testing.assert_allclose(d.normal_logpdf(Z, 1.0, 2.0), stats.norm.logpdf(Z, 1.0, 2.0), rtol=1e-15)


@pytest.mark.parametrize("df", DF)
def test_t_and_chi_squared_are_those_of_scipy_stats(df):
    np.testing.assert_array_equal(d.t_cdf(Z, df), stats.t.cdf(Z, df))
    np.testing.assert_array_equal(d.t_sf(Z, df), stats.t.sf(Z, df))
    np.testing.assert_array_equal(d.t_ppf(P, df), stats.t.ppf(P, df))
    if math.isfinite(df):
        np.testing.assert_array_equal(d.chi2_sf(Z, df), stats.chi2.sf(Z, df))
        np.testing.assert_array_equal(d.chi2_ppf(P, df), stats.chi2.ppf(P, df))


def test_t_without_degrees_of_freedom_is_normal():
    np.testing.assert_array_equal(d.t_cdf(Z, None), d.normal_cdf(Z))
    np.testing.assert_array_equal(d.t_sf(Z, None), d.normal_sf(Z))
    np.testing.assert_array_equal(d.t_ppf(P, None), d.normal_ppf(P))


@pytest.mark.parametrize(
    ("p_a", "p_b", "n"), [(0.3, 0.4, 100), (0.5, 0.5, 7), (0, 1, 12), (0, 0, 5), (0.62, 0.64, 4441)]
)
def test_fisher_p_is_that_of_scipy_stats(p_a, p_b, n):
    passed = [round(p_a * n), round(p_b * n)]
    expected = stats.fisher_exact([[x, n - x] for x in passed]).pvalue
    assert fisher_p_value(p_a, p_b, n) == pytest.approx(expected, rel=1e-11)


def test_root_is_the_last_float_at_which_the_function_is_not_above_zero():
    root = decreasing_root(lambda x: 2.0 - x * x, 0.0, 2.0)
    assert root == pytest.approx(math.sqrt(2), rel=1e-15)
    assert 2.0 - root**2 <= 0 < 2.0 - np.nextafter(root, 0) ** 2
