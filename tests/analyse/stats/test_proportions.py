"""Proportions against published numbers, other formulas and degenerate counts."""

import math

import numpy as np
import pytest
from scipy import integrate, stats
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.proportion import proportion_confint

from replication.analyse.stats.estimates.proportions import (
    PairedTable,
    beta_interval,
    beta_superiority,
    binomial_p,
    clopper_pearson,
    mcnemar_chi2,
    mcnemar_exact,
    newcombe,
    newcombe_paired,
    paired_counts,
    wilson,
)
from replication.errors import AnalysisError

TABLE = {"both": 60, "b_only": 25, "a_only": 12, "neither": 3}


@pytest.mark.parametrize(
    "x, n, low, high",
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_interval_is_newcombes(x, n, low, high):
    # oracle wilson-interval: Newcombe 1998 (single proportion)
    assert wilson(x, n) == pytest.approx((low, high), abs=6e-5)


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_intervals_of_one_proportion_agree_with_statsmodels_at_every_level(level):
    for x in (0, 3, 17, 40):
        assert wilson(x, 40, level=level) == pytest.approx(proportion_confint(x, 40, 1 - level, "wilson"), abs=1e-12)
        exact = proportion_confint(x, 40, 1 - level, "beta")
        assert clopper_pearson(x, 40, level=level) == pytest.approx(exact, abs=1e-9)


def test_clopper_pearson_and_exact_p_are_those_of_r():
    # oracle exact-binomial: R documentation of binom.test
    assert clopper_pearson(682, 925) == pytest.approx((0.7076683, 0.7654066), abs=6e-5)
    assert binomial_p(682, 925, 0.75) == pytest.approx(0.3825, abs=6e-5)


def test_exact_p_sums_the_outcomes_that_are_not_likelier():
    pmf = stats.binom.pmf(np.arange(13), 12, 0.3)
    assert binomial_p(6, 12, 0.3) == pytest.approx(pmf[pmf <= pmf[6] * (1 + 1e-9)].sum(), rel=1e-12)
    assert binomial_p(0, 5, 0.0) == 1


def test_beta_interval_holds_the_posterior_mass():
    low, high = beta_interval(3, 10, level=0.9)
    assert stats.beta(4, 8).cdf([low, high]) == pytest.approx([0.05, 0.95], abs=1e-12)


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


def test_newcombe_paired_interval_is_the_published_one():
    # Cavo et al. 2012 (Fagerland, Lydersen & Laake, ch. 8): the R package contingencytables prints -0.1186 to -0.0046.
    assert newcombe_paired(both=59, b_only=6, a_only=16, neither=80) == pytest.approx((-0.1186, -0.0046), abs=6e-5)


@pytest.mark.parametrize(
    "both, b_only, a_only, neither, phi",
    [
        (30, 9, 4, 17, (30 * 17 - 36 - 30) / math.sqrt(39 * 21 * 34 * 26)),
        (30, 14, 11, 5, (150 - 154) / math.sqrt(44 * 16 * 41 * 19)),
        (30, 12, 11, 5, 0.0),
        (60, 0, 0, 0, 0.0),
    ],
    ids=["corrected by n/2", "negative", "small and positive is 0", "empty margin"],
)
def test_newcombe_paired_correlation_is_corrected(both, b_only, a_only, neither, phi):
    n, (x_b, x_a) = both + b_only + a_only + neither, (both + b_only, both + a_only)
    (l_b, u_b), (l_a, u_a) = (proportion_confint(x, n, 0.1, "wilson") for x in (x_b, x_a))
    b, a = x_b / n, x_a / n
    below = math.sqrt((b - l_b) ** 2 + (u_a - a) ** 2 - 2 * phi * (b - l_b) * (u_a - a))
    above = math.sqrt((u_b - b) ** 2 + (a - l_a) ** 2 - 2 * phi * (u_b - b) * (a - l_a))
    got = newcombe_paired(both, b_only, a_only, neither, level=0.9)
    assert got == pytest.approx((b - a - below, b - a + above), abs=1e-12)


def test_arms_change_places_and_the_paired_interval_is_mirrored():
    low, high = newcombe_paired(40, 14, 5, 30)
    assert newcombe_paired(40, 5, 14, 30) == pytest.approx((-high, -low), abs=1e-12)


def test_paired_interval_is_shorter_than_the_unpaired_one_where_arms_agree():
    paired, unpaired = newcombe_paired(40, 8, 4, 37), newcombe(48, 89, 44, 89)
    assert paired.high - paired.low < 0.7 * (unpaired.high - unpaired.low)


def test_counts_of_two_binary_arrays_name_the_arm():
    assert paired_counts([0, 0, 1, 1, 0, 0], [1, 1, 0, 1, 0, 1]) == PairedTable(both=1, b_only=3, a_only=1, neither=1)


def test_exact_mcnemar_p_is_that_of_r():
    # oracle discordant-pairs: R 4.2.2 binom.test
    assert mcnemar_exact(26, 14) == pytest.approx(0.080690467752, rel=1e-7)
    assert mcnemar_exact(40, 14) == pytest.approx(0.000535435502857, rel=1e-7)
    assert mcnemar_exact(14, 40) == pytest.approx(0.000535435502857, rel=1e-7)
    assert mcnemar_exact(25, 12) == pytest.approx(0.0470310274, rel=1e-7)


def test_mcnemar_chi_square_difference_and_standard_error():
    # oracle discordant-pairs: chi-square, difference and SE of the full table
    test = mcnemar_chi2(**TABLE)
    assert (test.chi2, test.difference, test.se) == pytest.approx((4.56756757, 0.13, 0.0594222181), rel=1e-7)
    assert test.p == pytest.approx(mcnemar([[60, 25], [12, 3]], exact=False, correction=False).pvalue, rel=1e-12)


def test_mcnemar_standard_error_is_that_of_the_paired_differences():
    d = np.repeat([0, 1, -1, 0], [60, 25, 12, 3])
    assert mcnemar_chi2(**TABLE).se == pytest.approx(d.std() / 10, rel=1e-12)


def test_no_discordant_task_says_nothing():
    assert mcnemar_exact(0, 0) == 1
    assert mcnemar_chi2(5, 0, 0, 7) == (0, 1, 0, 0)


def test_every_task_discordant_has_no_spread():
    test = mcnemar_chi2(0, 7, 0, 0)
    assert (test.difference, test.se, test.chi2) == (1, 0, 7)


@pytest.mark.parametrize("counts, p", [((30, 89, 35, 89), 0.780283943596), ((3, 10, 6, 10), 0.900809716599)])
def test_chance_that_b_is_better(counts, p):
    # oracle two-beta-posterior: quadrature and finite beta-function sum; model of Bowyer, Aitchison & Ivanova 2025
    assert beta_superiority(*counts) == pytest.approx(p, abs=1e-9)


@pytest.mark.parametrize("x_a, n_a, x_b, n_b", [(0, 4, 2, 9), (5, 5, 0, 3), (40, 120, 3, 7)])
def test_chance_that_b_is_better_agrees_with_quadrature(x_a, n_a, x_b, n_b):
    a, b = stats.beta(1 + x_a, 1 + n_a - x_a), stats.beta(1 + x_b, 1 + n_b - x_b)
    expected = integrate.quad(lambda t: b.pdf(t) * a.cdf(t), 0, 1, epsabs=1e-12)[0]
    assert beta_superiority(x_a, n_a, x_b, n_b) == pytest.approx(expected, abs=1e-9)
    assert beta_superiority(x_b, n_b, x_a, n_a) == pytest.approx(1 - expected, abs=1e-9)


def test_chance_that_b_is_better_is_a_half_for_equal_counts_and_one_at_most():
    assert beta_superiority(700, 2000, 700, 2000) == pytest.approx(0.5, abs=1e-9)
    assert 1 - 1e-9 < beta_superiority(0, 1000, 1000, 1000) <= 1


@pytest.mark.parametrize(
    "call, match",
    [
        (lambda: wilson(5, 4), "whole number of passes.*got 5 of 4"),
        (lambda: clopper_pearson(0, 0), "at least one trial"),
        (lambda: wilson(1.5, 4), "whole number"),
        (lambda: beta_interval(-1, 4), "whole number"),
        (lambda: wilson(1, 4, level=95), "`level` must lie between 0 and 1; got 95"),
        (lambda: newcombe(1, 2, 1, 2, level=0), "`level`"),
        (lambda: binomial_p(1, 2, 1.5), "`p0` must lie"),
        (lambda: newcombe_paired(0, 0, 0, 0), "`a_only` and `neither` must be whole numbers"),
        (lambda: mcnemar_chi2(1, -1, 0, 0), r"got \(1, -1, 0, 0\)"),
        (lambda: mcnemar_exact(3, -1), "whole number"),
        (lambda: beta_superiority(1, 2, 3, 2), "got 3 of 2"),
        (lambda: paired_counts([1, 0], [1]), "same tasks"),
        (lambda: paired_counts([], []), "same tasks"),
        (lambda: paired_counts([1, math.nan], [1, 0]), "0 or 1"),
        (lambda: paired_counts([1, 0.5], [1, 0]), "0 or 1"),
    ],
)
def test_invalid_counts_are_refused(call, match):
    with pytest.raises(AnalysisError, match=match):
        call()
