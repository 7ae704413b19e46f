"""Adjusted and combined p-values against R, statsmodels, scipy and their definitions."""

import itertools

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from replication.analyse.stats.families.multiplicity import (
    fisher,
    holm,
    hommel,
    intersection_union,
    stouffer,
)
from replication.errors import AnalysisError

SEVEN = [0.39, 0.26, 0.045, 0.01, 0.1, 0.17, 0.003]


def test_family_of_seven_agrees_with_r():
    # oracle multiplicity-seven: R 4.2.2 p.adjust; IUT by definition
    assert holm(SEVEN) == pytest.approx([0.52, 0.52, 0.225, 0.06, 0.4, 0.51, 0.021], abs=1e-8)
    assert hommel(SEVEN) == pytest.approx([0.39, 0.39, 0.225, 0.06, 0.34, 0.39, 0.021], abs=1e-8)
    assert intersection_union(SEVEN) == pytest.approx(0.39, abs=1e-8)


def test_family_of_fifteen_agrees_with_the_published_adjustments():
    # oracle multiplicity-fifteen: p-values of Benjamini & Hochberg 1995; R 4.2.2 p.adjust (Holm)
    p = [
        0.0001,
        0.0004,
        0.0019,
        0.0095,
        0.0201,
        0.0278,
        0.0298,
        0.0344,
        0.0459,
        0.324,
        0.4262,
        0.5719,
        0.6528,
        0.759,
        1,
    ]
    assert holm(p) == pytest.approx(
        [0.0015, 0.0056, 0.0247, 0.114, 0.2211, 0.278, 0.278, 0.278, 0.3213, 1, 1, 1, 1, 1, 1], abs=1e-9
    )


def stouffer_of(p, weights=None):
    return stouffer(stats.norm.isf(p), weights)


def test_combined_p_agree_with_scipy():
    # oracle combining-p-values: scipy documentation of combine_pvalues
    p = [0.1, 0.05, 0.02, 0.3]
    assert fisher(p) == pytest.approx((20.828626352604235, 0.007616871850449092), rel=1e-10)
    assert stouffer_of(p).p == pytest.approx(0.002959119121390728, rel=1e-10)
    assert stats.norm.sf(stouffer_of(p).statistic) == pytest.approx(stouffer_of(p).p)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("function", "method"), [(hommel, "hommel"), (holm, "holm")])
def test_adjusted_p_agree_with_statsmodels(function, method, seed):
    rng = np.random.default_rng(seed)
    p = np.round(rng.beta(0.5, 1, size=int(rng.integers(1, 12))), 2)
    assert function(p) == pytest.approx(multipletests(p, method=method)[1], abs=1e-12)


def simes(p):
    """Simes' p-value of the hypothesis that all null hypotheses hold: min_i n p_(i)/i."""
    return (p.size * np.sort(p) / np.arange(1, p.size + 1)).min()


def test_hommel_is_the_closed_test_of_simes():
    p = np.array([0.012, 0.03, 0.02, 0.4, 0.021])
    for i in range(5):
        sets = (s for m in range(1, 6) for s in itertools.combinations(range(5), m) if i in s)
        assert hommel(p)[i] == pytest.approx(max(simes(p[list(s)]) for s in sets))


def test_hommel_lies_between_the_p_values_and_holm():
    p = np.random.default_rng(0).beta(0.4, 1, size=40)
    assert (p <= hommel(p)).all() and (hommel(p) <= holm(p) + 1e-12).all()


def test_combining_one_p_changes_nothing():
    for function in (lambda p: fisher(p).p, lambda p: stouffer_of(p).p, intersection_union):
        assert function([0.037]) == pytest.approx(0.037)
    assert hommel([0.037]) == holm([0.037]) == 0.037


def test_weights_of_stouffer():
    p = [0.01, 0.2]
    assert stouffer_of(p, [1, 0]).p == pytest.approx(0.01)
    z = stats.norm.isf(p)
    assert stouffer_of(p, [3, 4]).statistic == pytest.approx((3 * z[0] + 4 * z[1]) / 5)
    assert stouffer_of(p, [3, 4]) == pytest.approx(stats.combine_pvalues(p, "stouffer", weights=[3, 4]))
    assert stouffer_of([0.5, 0.5]).p == pytest.approx(0.5)


def test_certain_p_values_have_defined_combinations():
    assert fisher([0.0, 0.5]) == (np.inf, 0.0)
    assert stouffer_of([0.0, 0.5]) == (np.inf, 0.0)
    assert stouffer_of([1.0, 0.5]) == (-np.inf, 1.0)


def test_invalid_families_of_p_values_are_refused():
    for function in (holm, hommel, intersection_union, fisher):
        for bad in ([], [0.1, 1.2], [-0.1], [np.nan]):
            with pytest.raises(AnalysisError, match=r"each in \[0, 1\]"):
                function(bad)
    with pytest.raises(AnalysisError, match="`weights` must be"):
        stouffer_of([0.1, 0.2], [1.0])
    with pytest.raises(AnalysisError, match="not all 0"):
        stouffer_of([0.1, 0.2], [0.0, 0.0])
    with pytest.raises(AnalysisError, match="p-values of exactly 0 and exactly 1"):
        stouffer_of([0.0, 1.0])
