"""Designs: the standard error by formula, the search against brute force, and what must be monotone."""

import itertools
import math

import pytest
from scipy import stats

from replication.analyse.stats.design import dstudy
from replication.analyse.stats.design.dstudy import Costs, Limits
from replication.analyse.stats.printed import audit_model
from replication.errors import AnalysisError

PARTS = {"omega2": 0.1, "s2": 0.2, "tau": 0.02}


def test_standard_error_is_that_of_the_worked_example():
    # oracle standard-errors-T1-T2-T3: formulas of Miller 2024 extended by 2 tau^2/m
    parts = {"omega2": 0.097948238, "s2": 0.2448}
    errors = dstudy.standard_error(250, 4, [1, 3], **parts, tau=0.015)
    assert errors == pytest.approx([0.0329635094, 0.0280462645], rel=1e-7)
    assert dstudy.standard_error(250, 4, **parts) == pytest.approx(0.0252307937, rel=1e-7)
    assert dstudy.standard_error(250, 4, omega2=0, s2=0.2448) == pytest.approx(0.0156460858, rel=1e-7)
    same = audit_model.standard_error(0.4, 0.48, 250, 4, icc=0.5, rho=0.6, target="T3", tau=0.015, m=3)
    assert same == pytest.approx(0.0280462645, rel=1e-7)
    # SE_T2 1.93, tau 2 points, as one task with that variance
    errors = dstudy.standard_error(1, 1, [1, 3, 5, 10], omega2=0.0193**2, s2=0.0, tau=0.02)
    assert 100 * errors == pytest.approx([3.42416413, 2.52815479, 2.30757448, 2.12718123], rel=1e-7)


def test_each_source_shrinks_with_its_own_number_only():
    def variance(n, k, m, each_run=False, **part):
        return dstudy.standard_error(n, k, m, **{"omega2": 0.0, "s2": 0.0, **part}, each_run=each_run) ** 2

    assert variance(10, 3, 4, omega2=0.3) == pytest.approx(0.03)
    assert variance(10, 3, 4, s2=0.3) == pytest.approx(0.01)
    assert variance(10, 3, 4, s2=0.3, each_run=True) == pytest.approx(0.0025)
    assert variance(10, 3, 4, interaction2=0.4) == pytest.approx(0.01)
    assert variance(10, 3, 4, tau=0.2) == pytest.approx(0.02)
    assert variance(10, 3, 4) == 0.0


def test_degrees_of_freedom_lie_between_those_of_runs_and_of_tasks():
    tasks_only = dstudy.degrees_of_freedom(80, 1, 3, omega2=0.1, s2=0.2)
    runs_only = dstudy.degrees_of_freedom(80, 1, 3, omega2=0.0, s2=0.0, tau=0.02)
    both = dstudy.degrees_of_freedom(80, 1, 3, **PARTS)
    assert tasks_only == 79 and runs_only == pytest.approx(4)
    a, b = 0.3 / 80, 2 * 0.02**2 / 3
    assert both == pytest.approx((a + b) ** 2 / (a**2 / 79 + b**2 / 4))
    assert dstudy.degrees_of_freedom(80, 1, 1, **PARTS) == 0


def test_cost_adds_episodes_tasks_and_training_runs():
    costs = Costs(2.0, 3.0, 50.0, n_arms=4)
    assert dstudy.cost(10, 5, 3, costs) == 2 * 4 * 50 + 3 * 10 + 50 * 4 * 3
    assert dstudy.cost(10, 5, 3, costs, each_run=True) == 2 * 4 * 150 + 3 * 10 + 50 * 4 * 3


def brute_force(costs, limits, good):
    designs = itertools.product(
        range(limits.min_runs, limits.max_runs + 1), range(1, limits.max_trials + 1),
        range(limits.min_tasks, limits.max_tasks + 1),
    )  # fmt: skip
    return [
        (dstudy.cost(n, k, m, costs, each_run=True), float(dstudy.standard_error(n, k, m, **PARTS, each_run=True)))
        for m, k, n in designs
        if good(n, k, m)
    ]


@pytest.mark.parametrize("normal", [True, False])
@pytest.mark.parametrize("goal", [{"half_width": 0.11}, {"effect": 0.16}])
def test_cheapest_design_is_that_of_an_exhaustive_search(goal, normal):
    costs, limits = Costs(1.0, 3.0, 50.0), Limits(70, 3, 4)

    def good(n, k, m):
        if m == 1 and not normal:
            return False
        se = float(dstudy.standard_error(n, k, m, **PARTS, each_run=True))
        df = float(dstudy.degrees_of_freedom(n, k, m, **PARTS, each_run=True))
        reference = stats.norm if normal else stats.t(df)
        q = reference.ppf(0.975) + (reference.ppf(0.8) if "effect" in goal else 0.0)
        return q * se <= next(iter(goal.values()))

    best = dstudy.cheapest(costs=costs, limits=limits, **PARTS, **goal, each_run=True, normal=normal)
    assert (best.cost, best.se) == pytest.approx(min(brute_force(costs, limits, good)))
    assert good(best.n_tasks, best.n_trials, best.n_training_runs)


def test_allocation_is_that_of_an_exhaustive_search():
    costs, limits, budget = Costs(1.0, 3.0, 50.0), Limits(150, 4, 5), 900.0
    best = dstudy.allocate(budget, costs=costs, limits=limits, **PARTS, each_run=True)
    tried = brute_force(costs, limits, lambda n, k, m: dstudy.cost(n, k, m, costs, each_run=True) <= budget)
    assert (best.se, best.cost) == pytest.approx(min((se, cost) for cost, se in tried))


def test_with_free_tasks_and_runs_without_spread_money_goes_to_tasks():
    best = dstudy.allocate(400, costs=Costs(1.0), limits=Limits(1000), omega2=0.1, s2=0.2)
    assert (best.n_tasks, best.n_trials, best.n_training_runs) == (200, 1, 1)
    few = dstudy.allocate(400, costs=Costs(1.0), limits=Limits(40), omega2=0.1, s2=0.2)
    assert (few.n_tasks, few.n_trials, few.cost) == (40, 5, 400.0)
    runs = dstudy.allocate(
        400, costs=Costs(1.0, 0, 1.0), limits=Limits(40), omega2=0.0, s2=0.01, tau=0.1, each_run=True
    )
    assert runs.n_training_runs == 10


def test_a_larger_budget_never_gives_a_larger_error_and_a_tighter_wish_never_costs_less():
    costs, limits = Costs(1.0, 2.0, 30.0), Limits(400)
    errors = [dstudy.allocate(b, costs=costs, limits=limits, **PARTS).se for b in (200, 400, 800, 1600)]
    assert errors == sorted(errors, reverse=True)
    prices = [dstudy.cheapest(costs=costs, limits=limits, **PARTS, half_width=h).cost for h in (0.06, 0.08, 0.12)]
    assert prices == sorted(prices, reverse=True) and prices[0] > prices[-1]


def test_the_impossible_is_none():
    assert dstudy.cheapest(costs=Costs(1.0), limits=Limits(500, 5, 3), **PARTS, half_width=0.02) is None
    assert dstudy.cheapest(costs=Costs(1.0), limits=Limits(500, 5, 1), **PARTS, half_width=0.5) is None  # T3, one run
    assert dstudy.cheapest(costs=Costs(1.0), limits=Limits(500, 5, 1), **PARTS, half_width=0.5, normal=True)
    assert dstudy.allocate(1.0, costs=Costs(1.0), limits=Limits(500), **PARTS) is None
    assert dstudy.allocate(100.0, costs=Costs(1.0, 0, 60.0), limits=Limits(500), **PARTS) is None


def test_without_variance_the_smallest_design_will_do():
    best = dstudy.cheapest(costs=Costs(1.0), limits=Limits(500), omega2=0.0, s2=0.0, half_width=0.01)
    assert (best.n_tasks, best.n_trials, best.n_training_runs, best.se) == (2, 1, 1, 0.0)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: dstudy.standard_error(0, 1, **PARTS), "`n`"),
        (lambda: dstudy.standard_error(5, 1, [1, 0], **PARTS), "`m`"),
        (lambda: dstudy.standard_error(5, math.nan, **PARTS), "`k`"),
        (lambda: dstudy.standard_error(5, 1, omega2=-0.1, s2=0.1), "`omega2`"),
        (lambda: dstudy.cheapest(costs=Costs(1), limits=Limits(9), **PARTS), "either `half_width` or `effect`"),
        (lambda: dstudy.cheapest(costs=Costs(1), limits=Limits(9), **PARTS, half_width=0.1, level=1.0), "`level`"),
        (lambda: dstudy.cheapest(costs=Costs(1), limits=Limits(9), **PARTS, effect=0.0), "not 0"),
        (lambda: dstudy.cheapest(costs=Costs(-1), limits=Limits(9), **PARTS, effect=0.1), "costs"),
        (lambda: dstudy.cheapest(costs=Costs(1), limits=Limits(1), **PARTS, effect=0.1), "one task"),
        (lambda: dstudy.allocate(10, costs=Costs(1), limits=Limits(9, 1, 0), **PARTS), "training run"),
        (lambda: dstudy.allocate(math.inf, costs=Costs(1), limits=Limits(9), **PARTS), "`budget`"),
    ],
)
def test_invalid_designs_are_refused(call, match):
    with pytest.raises(AnalysisError, match=match):
        call()
