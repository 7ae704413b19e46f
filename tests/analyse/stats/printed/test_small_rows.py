"""Exact tests and score intervals of rows with few passes, against scipy, published examples and enumeration."""

import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from replication.analyse.stats.estimates import proportions
from replication.analyse.stats.printed import audit_model, small_rows
from replication.analyse.stats.printed.small_rows import evaluate, mid_p, paired_counts, square_and_add


def table(*rows):
    """Rows of (p_a, p_b, n, k)."""
    columns = {"p_a": float, "p_b": float, "n": int, "k": int}
    frame = pd.DataFrame(rows, columns=list(columns)).astype(columns)
    names = [f"r{i}" for i in range(len(frame))]
    return frame.assign(benchmark=names, name=names, upper_bound=False)


@pytest.mark.parametrize(("b", "a"), [(3, 0), (4, 1), (7, 7), (26, 14), (0, 5), (1, 12), (0, 0)])
def test_mid_p_is_that_of_the_binomial(b, a):
    x = stats.binom(b + a, 0.5)
    assert float(mid_p(b, a)) == pytest.approx(x.sf(b) + x.pmf(b) / 2, rel=1e-12)


def test_mid_p_of_a_published_example():
    # Fagerland, Lydersen & Laake 2013, table 2: airway responses, 1 and 7 discordant pairs; exact .0703, mid-p .0391.
    assert stats.binomtest(7, 8).pvalue == pytest.approx(0.0703, abs=5e-5)
    assert 2 * float(mid_p(7, 1)) == pytest.approx(0.0391, abs=5e-5)


def test_mid_p_falls_smoothly_between_whole_numbers():
    b = np.linspace(0, 12, 241)
    p = mid_p(b, 3.0)
    assert (np.diff(p) < 0).all() and p[60] == pytest.approx(0.5) and p[240] == pytest.approx(float(mid_p(12, 3)))


def test_interval_without_correlation_is_newcombes_and_with_it_that_of_paired_data():
    # Newcombe 1998, method 10 of independent samples, as `proportions.newcombe` has it; 56/70 - 48/80.
    ends = square_and_add(0.2, 0.7, 10.0, 0.0)
    assert tuple(map(float, ends)) == pytest.approx(proportions.newcombe(7, 10, 2, 10))
    # Paired with phi = 0.5 by hand: Wilson limits of 2 and 7 of 10 from scipy.
    (l_a, u_a), (l_b, u_b) = (
        (i.low, i.high) for i in (stats.binomtest(x, 10).proportion_ci(method="wilson") for x in (2, 7))
    )
    f, g, e, h = 0.7 - l_b, u_a - 0.2, u_b - 0.7, 0.2 - l_a
    expected = 0.5 - math.sqrt(f * f + g * g - f * g), 0.5 + math.sqrt(e * e + h * h - e * h)
    assert tuple(map(float, square_and_add(0.2, 0.7, 10.0, 0.5))) == pytest.approx(expected)


def test_one_of_five_against_four_of_five_is_not_significant_at_any_assumption():
    row = table((0.2, 0.8, 5, 1))
    # By hand: phi = .5 x .5, discordant control passes 5 (.2 x .2 - .25 x .16) = 0; three tasks for the treatment, .5^3/2.
    at = evaluate(row, icc=0.5, rho=0.5)
    assert at.p_one_sided[0] == pytest.approx(0.0625) and at.p_two_sided[0] == pytest.approx(0.125)
    assert at.low[0] == 0  # the score interval alone would exclude 0
    for icc in (0.0, 0.35, 0.7, 1.0):
        for rho in (0.0, 0.5, 1.0):
            assert evaluate(row, icc=icc, rho=rho).p_two_sided[0] >= 0.125 - 1e-12
    assert audit_model.fisher_p_value(0.2, 0.8, 5) == pytest.approx(stats.fisher_exact([[1, 4], [4, 1]]).pvalue)
    assert small_rows.best_pairing_p(0.2, 0.8, 5) == pytest.approx(stats.binomtest(3, 3).pvalue)


@pytest.mark.parametrize(("x_a", "x_b", "n"), [(1, 4, 5), (3, 9, 12), (9, 3, 12), (0, 6, 8), (2, 2, 9)])
def test_fisher_mid_p_counts_the_observed_table_half(x_a, x_b, n):
    x = stats.hypergeom(2 * n, x_a + x_b, n)
    tail = min(x.cdf(x_b) - x.pmf(x_b) / 2, x.sf(x_b) + x.pmf(x_b) / 2)
    assert small_rows.fisher_mid_p(x_a / n, x_b / n, n) == pytest.approx(min(1.0, 2 * tail), rel=1e-9)


def test_counts_have_the_variance_of_the_audit_model():
    rows = table((0.3, 0.45, 12, 5), (0.5, 0.5, 8, 1))
    counts = paired_counts(rows, icc=0.4, rho=0.6)
    v_a, v_b = (rows[p] * (1 - rows[p]) for p in ("p_a", "p_b"))
    variance = (v_a + v_b - 2 * counts.phi * np.sqrt(v_a * v_b)) / counts.size
    expected = audit_model.standard_error(rows["p_a"], rows["p_b"], rows["n"], rows["k"], icc=0.4, rho=0.6) ** 2
    assert variance.to_numpy() == pytest.approx(expected)
    # McNemar's variance of b - a is that plus the squared difference over N.
    d = (rows["p_b"] - rows["p_a"]).to_numpy()
    assert (counts.b_only + counts.a_only) / counts.size**2 == pytest.approx(expected + d**2 / counts.size)


def test_these_very_tasks_are_never_less_certain_than_tasks_like_them():
    rows = table((0.2, 0.8, 5, 1), (0.1, 0.4, 20, 3), (0.9, 0.95, 30, 2))
    t1 = evaluate(rows, icc=0.5, rho=0.0, target="T1")
    for rho in (0.0, 0.3, 0.7, 0.95):
        t2 = evaluate(rows, icc=0.5, rho=rho)
        assert (t1.p_one_sided <= t2.p_one_sided + 1e-12).all() and (t1.low >= t2.low - 1e-12).all()


def test_rows_with_ten_passes_and_failures_keep_the_normal_model():
    rows = table((0.5, 0.6, 20, 1), (0.5, 0.6, 25, 1), (0.45, 0.6, 20, 1))
    assert small_rows.is_small(rows).tolist() == [True, False, True]
    at = evaluate(rows, icc=0.5, rho=0.5)
    expected = audit_model.difference(0.5, 0.6, 25, 1, icc=0.5, rho=0.5)
    assert (at.low[1], at.high[1], at.p_two_sided[1]) == pytest.approx(
        (expected.low, expected.high, expected.p_two_sided)
    )
    over = evaluate(rows, icc=np.array([[0.35], [0.5]]), rho=np.array([[0.0], [0.5]]))
    assert over.low.shape == (2, 3) and over.low[1] == pytest.approx(at.low)


def test_interval_and_test_agree_on_zero():
    scores = [
        (a / 12, b / 12, 12, k) for a in range(13) for b in range(13) for k in (1, 4) if {a, b} not in ({0}, {12})
    ]
    at = evaluate(table(*scores), icc=0.5, rho=0.5)
    assert not ((at.p_one_sided > 0.025) & (at.low > 0)).any()
    assert not ((1 - at.p_one_sided > 0.025) & (at.high < 0)).any()
    assert (at.low >= -1).all() and (at.high <= 1).all()


def joint(n, p, phi):
    """Probabilities of (passes of a, passes of b) of n paired tasks, (n + 1, n + 1)."""
    both = p * p + phi * p * (1 - p)
    cell = np.array([[1 - 2 * p + both, p - both], [p - both, both]])
    total = np.zeros((n + 1, n + 1))
    total[0, 0] = 1
    for _ in range(n):
        moved = cell[0, 0] * total
        moved[1:, :] += cell[1, 0] * total[:-1, :]
        moved[:, 1:] += cell[0, 1] * total[:, :-1]
        moved[1:, 1:] += cell[1, 1] * total[:-1, :-1]
        total = moved
    return total


@pytest.mark.parametrize("n", [5, 12, 30])
@pytest.mark.parametrize("icc, rho", [(0.5, 0.0), (0.5, 0.5), (0.7, 0.7), (0.85, 0.95)])
def test_equal_arms_are_told_apart_in_at_most_five_percent(n, icc, rho):
    passes = [(a, b) for a in range(n + 1) for b in range(n + 1)]
    p = evaluate(table(*((a / n, b / n, n, 1) for a, b in passes)), icc=icc, rho=rho).p_two_sided
    rejected = np.array(p <= 0.05).reshape(n + 1, n + 1)
    rejected[0, 0] = rejected[n, n] = False  # such rows are left out of an audit
    errors = [(joint(n, rate, icc * rho) * rejected).sum() for rate in (0.05, 0.1, 0.2, 0.35, 0.5)]
    assert max(errors) < 0.058  # normal where both arms have ten passes and failures; else at most .052


def test_turning_point_is_where_the_interval_leaves_zero():
    row = table((0.1, 0.225, 40, 1))
    point = small_rows.turning_point(row, icc=0.7)
    assert 0 < point < 1
    assert evaluate(row, icc=0.7, rho=point).low[0] > 0 >= evaluate(row, icc=0.7, rho=point - 0.002).low[0]
    assert small_rows.turning_point(table((0.0, 0.9, 40, 1)), icc=0.5) == 0
    assert math.isnan(small_rows.turning_point(table((0.2, 0.8, 5, 1)), icc=0.5))


def test_limits_of_one_proportion_are_the_published_ones():
    # oracle wilson-interval: Newcombe 1998 (single proportion)
    x, n = np.array([81, 15, 0, 1]), np.array([263, 148, 20, 29])
    ends = small_rows._wilson(x / n, n, 0.95)
    assert ends.low == pytest.approx([0.2553, 0.0624, 0, 0.0061], abs=6e-5)
    assert ends.high == pytest.approx([0.3662, 0.1605, 0.1611, 0.1718], abs=6e-5)


@pytest.mark.parametrize(
    ("b", "a", "p"), [(26, 14, 0.080690467752), (40, 14, 0.000535435502857), (25, 12, 0.0470310274)]
)
def test_mid_p_of_discordant_pairs_lies_half_an_outcome_below_the_exact_p(b, a, p):
    # oracle discordant-pairs: exact two-sided p-values, binom.test of R 4.2.2
    assert 2 * float(mid_p(b, a)) + stats.binom.pmf(b, b + a, 0.5) == pytest.approx(p, rel=1e-7)
