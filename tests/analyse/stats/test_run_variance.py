"""Variance between training runs of a crossed design: against analysis of variance by hand, and coverage in simulations."""

from fractions import Fraction

import numpy as np
import pytest
from scipy import stats

from replication.analyse.stats.estimates.differences import Pair, mean_paired_difference, run_tables
from replication.analyse.stats.estimates.run_variance import (
    add_run_variance,
    pooled_components,
    run_component,
    spreads_more,
)
from tests.analyse.stats.run_coverage import Cell, coverage, draw, intervals

# Three runs on two benchmarks. Two-way table by hand: run means 4, 5, 9; grand mean 6; benchmark means 5, 7.
TABLE = np.array([[2.0, 6.0], [5.0, 5.0], [8.0, 10.0]])
MS_RUN = Fraction(2 * ((4 - 6) ** 2 + (5 - 6) ** 2 + (9 - 6) ** 2), 2)  # B sum of squares/(m - 1) = 14


def test_components_are_those_of_a_two_way_analysis_of_variance():
    residual = TABLE - TABLE.mean(axis=0) - TABLE.mean(axis=1, keepdims=True) + TABLE.mean()
    assert residual.tolist() == [[-1, 1], [1, -1], [0, 0]]
    ms_rest = Fraction(int((residual**2).sum()), 2)
    assert ms_rest == 2
    run, rest = pooled_components(TABLE)
    # var(u) + var(w) = MS_run/B + MS_rest (B - 1)/B, each over m
    assert (run.value, run.df) == (pytest.approx(float(MS_RUN / 2 / 3)), 2)
    assert (rest.value, rest.df) == (pytest.approx(float(ms_rest / 2 / 3)), 2)
    assert run.value + rest.value == pytest.approx(TABLE.var(axis=0, ddof=1).mean() / 3)


def test_one_benchmark_has_its_own_run_variance():
    assert pooled_components(TABLE[:, :1]) == [run_component(TABLE[:, 0])]


def constant(table, n_tasks=10):
    """Scores (n_runs, 1, n_tasks) per benchmark whose run means are the columns of `table`."""
    tasks = np.tile([-0.1, 0.1], n_tasks // 2)
    return [column[:, None, None] + tasks for column in table.T]


def test_pooled_interval_of_one_benchmark_is_the_formula_and_differs_from_its_own():
    treatment = constant(TABLE / 20)
    control = [np.zeros((3, 1, 10)) + 0.05 * (np.arange(10) % 3) for _ in treatment]
    pairs = [Pair(*arms) for arms in zip(treatment, control, strict=True)]
    t2 = mean_paired_difference(pairs[:1], target="T2")
    alone = mean_paired_difference(pairs[:1], target="T3")
    beside = mean_paired_difference(pairs[:1], target="T3", beside=pairs)
    run, rest = pooled_components(TABLE / 20)
    assert alone.se**2 == pytest.approx(t2.se**2 + TABLE[:, 0].var(ddof=1) / 3 / 400)
    assert beside.se**2 == pytest.approx(t2.se**2 + run.value + rest.value)
    spread = t2.se**4 / 9 + run.value**2 / 2 + rest.value**2 / 2
    assert beside.df == pytest.approx(beside.se**4 / spread)
    assert "pooled over benchmarks" in beside.method and "pooled" not in alone.method
    assert beside.value == alone.value == t2.value


def test_benchmark_on_which_the_runs_agree_by_chance_still_has_the_variance_of_the_others():
    rng = np.random.default_rng(0)
    agree, differ = np.full(3, 0.5), np.array([0.2, 0.5, 0.8])
    treatment = constant(np.stack([agree, differ], axis=1))
    control = [np.full((3, 1, 10), 0.4) + 0.2 * rng.random(10) for _ in treatment]
    pairs = [Pair(*arms) for arms in zip(treatment, control, strict=True)]
    t2, t3 = (mean_paired_difference(pairs[:1], target=t, beside=pairs) for t in ("T2", "T3"))
    assert t3.se**2 - t2.se**2 == pytest.approx(1.4 * differ.var(ddof=1) / 3)


@pytest.mark.parametrize("n_runs, factor", [(3, 1.0), (5, 1.4)])
def test_benchmark_whose_own_run_variance_is_zero_has_that_of_the_others(n_runs, factor):
    rng = np.random.default_rng(2)
    table = np.column_stack([np.full(n_runs, 0.5), rng.normal(0.5, 0.1, (n_runs, 3))])
    control = [np.full((n_runs, 1, 10), 0.4) + 0.2 * rng.random(10) for _ in table.T]
    pairs = [Pair(*arms, shared_phase=True) for arms in zip(constant(table), control, strict=True)]
    t2, t3 = (mean_paired_difference(pairs[:1], target=t, beside=pairs) for t in ("T2", "T3"))
    run, rest = pooled_components(table[:, 1:])
    assert t3.se**2 - t2.se**2 == pytest.approx(factor * (run.value + rest.value))
    # of a benchmark whose runs differ, all benchmarks
    t2, t3 = (mean_paired_difference(pairs[1:2], target=t, beside=pairs) for t in ("T2", "T3"))
    assert t3.se**2 - t2.se**2 == pytest.approx(table.var(axis=0, ddof=1).mean() / n_runs)


def test_runs_that_share_a_phase_are_pairs():
    shift = np.array([-0.2, 0.0, 0.2])
    own = np.array([0.01, 0.0, -0.01])
    treatment, control = constant((shift + own)[:, None])[0], constant(shift[:, None])[0] * 1.0
    control = control + 0.05 * (np.arange(10) % 3)
    apart, together = (
        mean_paired_difference([Pair(treatment, control, shared_phase=shared)], target="T3") for shared in (False, True)
    )
    t2 = mean_paired_difference([Pair(treatment, control)], target="T2")
    assert together.se**2 == pytest.approx(t2.se**2 + own.var(ddof=1) / 3)
    assert apart.se**2 == pytest.approx(t2.se**2 + (shift.var(ddof=1) + (shift + own).var(ddof=1)) / 3)
    assert "pairs of training runs" in together.method
    (table,) = run_tables([Pair(treatment, control, shared_phase=True)])
    assert table[:, 0] == pytest.approx((treatment - control).mean(axis=(1, 2)))


def test_several_bases_are_the_replicates():
    base = np.array([0, 0, 1, 1, 2, 2])
    of_base = np.array([0.3, 0.5, 0.7])[base]
    gain = np.array([0.1, 0.1, 0.0, 0.0, 0.2, 0.2]) + np.tile([0.01, -0.01], 3)
    treatment, control = constant((of_base + gain)[:, None])[0], constant(of_base[:, None])[0]
    control = control + 0.05 * (np.arange(10) % 3)
    estimate = mean_paired_difference([Pair(treatment, control, bases=base)], target="T3")
    t2 = mean_paired_difference([Pair(treatment, control)], target="T2")
    assert estimate.se**2 == pytest.approx(t2.se**2 + np.var([0.1, 0.0, 0.2], ddof=1) / 3)
    assert "variance of bases" in estimate.method and estimate.n_training_runs == 6


def test_few_pairs_of_runs_keep_their_full_weight_in_the_degrees_of_freedom():
    few, many = run_component([0.1, 0.2, 0.35]), run_component([0.1, 0.2, 0.35, 0.2, 0.3])
    noise = 0.9 * float(few.value)
    total = add_run_variance(0.001, 50.0, [few], noise)
    assert total.df == pytest.approx(max(float(total.value**2 / (0.001**2 / 50 + few.value**2 / 2)), 2))
    left = 0.1**0.1
    total = add_run_variance(0.001, 50.0, [many], 0.9 * float(many.value))
    assert total.df == pytest.approx(max(float(total.value**2 / (0.001**2 / 50 + left * many.value**2 / 4)), 4))


@pytest.mark.parametrize("rare", [False, True])
def test_scores_at_the_limit_of_the_scale_have_a_conservative_interval(rare):
    treatment, control = np.zeros((3, 1, 80)), np.zeros((3, 1, 80))
    treatment[0, 0, 0] = 1
    estimate = mean_paired_difference([Pair(treatment, control)], target="T2", rare=rare)
    variance = np.array([1 / 3] + [0] * 79).var(ddof=1) / 80 + rare * 2 / 82**2
    assert estimate.se**2 == pytest.approx(variance)
    treatment[0, 0, :6] = 1  # six tasks tell the arms apart: the interval is that of t
    estimate = mean_paired_difference([Pair(treatment, control)], target="T2", rare=rare)
    assert estimate.se**2 == pytest.approx(np.array([1 / 3] * 6 + [0] * 74).var(ddof=1) / 80)


def test_benchmark_on_which_runs_spread_more_is_found_by_the_f_test():
    own, pooled = [run_component([0.1, 0.5, 0.9])], [run_component([0.40, 0.5, 0.52]), run_component([0.3, 0.35, 0.4])]
    value = sum(float(c.value) for c in pooled)
    df = value**2 / sum(float(c.value) ** 2 / 2 for c in pooled)
    p = stats.f.sf(float(own[0].value) / value, 2, df)
    assert 0.001 < p < 0.2
    assert spreads_more(own, pooled, alpha=p * 1.001) and not spreads_more(own, pooled, alpha=p * 0.999)
    assert not spreads_more(own, [run_component([0.5, 0.5, 0.5])])


def test_benchmark_on_which_runs_spread_more_has_the_wider_interval():
    steady = np.array([[0.50, 0.51, 0.49], [0.51, 0.50, 0.49], [0.49, 0.51, 0.50], [0.5, 0.49, 0.51]]).T
    wild = np.array([0.1, 0.5, 0.9])
    treatment = constant(np.column_stack([wild, steady]), n_tasks=40)
    control = [np.full((3, 1, 40), 0.4) + 0.02 * (np.arange(40) % 3) for _ in treatment]
    pairs = [Pair(*arms) for arms in zip(treatment, control, strict=True)]
    alone = mean_paired_difference(pairs[:1], target="T3")
    beside = mean_paired_difference(pairs[:1], target="T3", beside=pairs)
    assert (beside.low, beside.high) == (alone.low, alone.high)
    calm = mean_paired_difference(pairs[1:2], target="T3", beside=pairs)
    assert calm.se > mean_paired_difference(pairs[1:2], target="T3").se


# Coverage in simulated studies.


@pytest.mark.parametrize(
    "cell", [Cell(3, False, 0.07), Cell(3, True, 0.0), Cell(5, True, 0.07), Cell(3, False, 0.0, mean=0.02)]
)
def test_simulated_intervals_are_those_of_the_package(cell):
    scores = draw(np.random.default_rng(1), cell, 12)
    value, half, mean, mean_half, collapsed = intervals(scores, cell.shared)
    assert collapsed.any() and not collapsed.all()
    for i, (control, treatment) in enumerate(scores.astype(float)):
        pairs = [Pair(treatment[:, None, b], control[:, None, b], shared_phase=cell.shared) for b in range(7)]
        for b, pair in enumerate(pairs):
            estimate = mean_paired_difference([pair], target="T3", beside=pairs, rare=True)
            assert (estimate.value, estimate.high - estimate.value) == pytest.approx(
                (value[i, b], half[i, b]), rel=1e-5
            )
        estimate = mean_paired_difference(pairs, target="T3", rare=True)
        assert (estimate.value, estimate.high - estimate.value) == pytest.approx((mean[i], mean_half[i]), rel=1e-5)


CELLS = [
    *[Cell(m, shared, sd) for m in (3, 5, 8) for shared in (False, True) for sd in (0.0, 0.035, 0.07, 0.1, 0.13)],
    *[
        Cell(m, shared, 0.07, kind)
        for kind in ("heavy tails", "collapse")
        for m in (3, 5, 8)
        for shared in (False, True)
    ],
    *[Cell(m, shared, 0.0, mean=mean) for mean in (0.02, 0.98, 0.999) for m in (3, 5, 8) for shared in (False, True)],
]


@pytest.mark.slow
@pytest.mark.parametrize("cell", CELLS)
def test_intervals_of_the_method_cover_as_often_as_they_say(cell):
    found = coverage(cell, 1500, seed=cell.n_runs)
    print(f"{cell}: {found.single:.3f} | {found.collapsed:.3f} ({found.n_collapsed}) | {found.mean:.3f}")
    # 1,500 studies: the error of a share is .6 points for the mean, and less for the single benchmarks, which share runs
    assert found.single >= 0.94 and found.mean >= 0.94 - 0.012
    if found.n_collapsed >= 100:
        assert found.collapsed >= 0.94 - 2.5 * np.sqrt(0.05 * 0.95 / found.n_collapsed)
    if cell.mean == 0.5:  # at the limits of the scale the interval is conservative
        assert found.single <= 0.985 and found.mean <= 0.99


def test_intervals_of_the_method_cover_in_a_small_simulation():
    found = coverage(Cell(3, True, 0.07), 300)
    assert 0.945 <= found.single <= 0.985 and 0.91 <= found.mean <= 0.98
