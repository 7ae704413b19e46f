"""Proportions against published numbers, other formulas and degenerate counts."""

import pytest
from statsmodels.stats.proportion import confint_proportions_2indep, proportion_confint

from replication.analyse.stats.estimates.proportions import clopper_pearson, newcombe
from replication.errors import AnalysisError


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_intervals_of_one_proportion_agree_with_statsmodels_at_every_level(level):
    for x in (0, 3, 17, 40):
        exact = proportion_confint(x, 40, 1 - level, "beta")
        assert clopper_pearson(x, 40, level=level) == pytest.approx(exact, abs=1e-9)


def test_clopper_pearson_is_that_of_r():
    # oracle exact-binomial: R documentation of binom.test
    assert clopper_pearson(682, 925) == pytest.approx((0.7076683, 0.7654066), abs=6e-5)


@pytest.mark.parametrize(
    "counts, low, high",
    [
        ((9, 10, 3, 10), 0.17052272, 0.80901797),
        ((6, 7, 2, 7), 0.05822793, 0.80624964),
        ((5, 56, 0, 29), -0.03813715, 0.19256001),
        ((10, 10, 0, 20), 0.67908604, 1.0),
    ],
)
def test_newcombe_interval_of_independent_samples(counts, low, high):
    # oracle newcombe-unpaired: statsmodels 0.15.0 confint_proportions_2indep(method='newcomb')
    assert newcombe(*counts) == pytest.approx((low, high), abs=1e-7)


@pytest.mark.parametrize("level", [0.8, 0.99])
def test_newcombe_interval_agrees_with_statsmodels_at_every_level(level):
    expected = confint_proportions_2indep(31, 89, 44, 104, method="newcomb", alpha=1 - level)
    assert newcombe(31, 89, 44, 104, level=level) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: clopper_pearson(5, 4), "whole number of passes.*got 5 of 4"),
        (lambda: clopper_pearson(0, 0), "at least one trial"),
        (lambda: clopper_pearson(1.5, 4), "whole number"),
        (lambda: clopper_pearson(1, 4, level=95), "`level` must lie between 0 and 1; got 95"),
        (lambda: newcombe(3, 2, 1, 2), "got 3 of 2"),
        (lambda: newcombe(1, 2, 1, 2, level=0), "`level`"),
    ],
)
def test_invalid_counts_are_refused(call, match):
    with pytest.raises(AnalysisError, match=match):
        call()
