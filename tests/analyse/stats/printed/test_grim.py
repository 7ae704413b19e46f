"""Printed digits against brute force over whole numbers, and against published examples."""

from decimal import ROUND_DOWN, ROUND_HALF_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal, getcontext
from fractions import Fraction
from itertools import combinations_with_replacement, product

import numpy as np
import pytest

from replication.analyse.stats.printed import grim
from replication.errors import AnalysisError

DECIMAL = {
    "half_up": ROUND_HALF_UP, "half_even": ROUND_HALF_EVEN, "half_down": ROUND_HALF_DOWN, "truncate": ROUND_DOWN
}  # fmt: skip


def printed(value: Fraction, decimals: int, rounding: str) -> str:
    """Round an exact value with the decimal module, which the code under test does not use."""
    getcontext().prec = 60
    exact = Decimal(value.numerator) / Decimal(value.denominator)
    return str(exact.quantize(Decimal(1).scaleb(-decimals), rounding=DECIMAL[rounding]))


def test_percentages_averaged_over_runs():
    # oracle grim-k-runs: exact rational arithmetic on the published table (arXiv 2606.24597, table 9)
    reported = ["33.25", "39.55", "64.47", "67.86", "42.18", "47.42"]
    designs = list(zip(reported, [89, 89, 500, 500, 731, 731], [5, 5, 3, 3, 3, 3], strict=True))
    half_up = [[], [176], [967], [], [925], [1040]]
    truncated = [[148], [176], [], [1018], [], [1040]]
    p0 = [0.0445955404, 0.0445955404, 0.150084992, 0.150084992, 0.219378062, 0.219378062]
    assert [list(grim.totals(p, n, k)) for p, n, k in designs] == half_up
    assert [list(grim.totals(p, n, k, rounding="truncate")) for p, n, k in designs] == truncated
    assert [grim.chance_of_fit(n, k) for _, n, k in designs] == pytest.approx(p0, rel=1e-8)
    assert [grim.totals(p, n, 1) for p, n, _ in designs] == [()] * 6


@pytest.mark.parametrize("rounding", DECIMAL)
def test_totals_against_brute_force_for_all_small_designs(rounding):
    # Every whole total of every n <= 60, k <= 5, printed exactly by integer arithmetic in half units of the last digit.
    for n, k in product(range(1, 61), range(1, 6)):
        size = n * k
        twice, rest = np.divmod(2 * 10_000 * np.arange(size + 1), size)
        digit, upper = twice // 2, twice % 2 == 1
        above = {
            "truncate": np.zeros(size + 1, bool), "half_up": upper, "half_down": upper & (rest > 0),
            "half_even": upper & ((rest > 0) | (digit % 2 == 1)),
        }[rounding]  # fmt: skip
        prints = digit + above
        for value in np.unique(prints):
            text = f"{value // 100}.{value % 100:02d}"
            assert grim.totals(text, n, k, rounding=rounding) == tuple(np.flatnonzero(prints == value))
        for value in sorted(set(range(0, 10_001, 97)) - set(prints.tolist())):
            assert grim.totals(f"{value // 100}.{value % 100:02d}", n, k, rounding=rounding) == ()


@pytest.mark.parametrize("rounding", DECIMAL)
def test_totals_against_the_decimal_module_with_credit_steps(rounding):
    for n, k, grain, decimals in ((7, 2, 4, 1), (16, 1, 2, 1), (40, 5, 1, 0), (13, 3, 3, 3)):
        size = n * k * grain
        prints = [printed(Fraction(100 * t, size), decimals, rounding) for t in range(size + 1)]
        for text in sorted(set(prints)):
            expected = tuple(t for t, p in enumerate(prints) if p == text)
            assert grim.totals(text, n, k, grain=grain, rounding=rounding) == expected


def test_ties_tell_the_rounding_rules_apart():
    # 1 of 8 is 12.5 %, 3 of 8 is 37.5 %.
    assert [grim.totals("13", 8, rounding=r) for r in grim.ROUNDINGS] == [(1,), (), (), (), (1,)]
    assert [grim.totals("12", 8, rounding=r) for r in grim.ROUNDINGS] == [(), (1,), (1,), (1,), (1,)]
    assert [grim.totals("38", 8, rounding=r) for r in grim.ROUNDINGS] == [(3,), (3,), (), (), (3,)]


def test_chance_of_fit_is_the_share_of_two_decimal_percentages_that_fit():
    fits = sum(bool(grim.totals(f"{v // 100}.{v % 100:02d}", 17, 3)) for v in range(10_001))
    assert grim.chance_of_fit(17, 3) == pytest.approx(fits / 10_001)
    assert grim.chance_of_fit(9_999, 3) == 1.0
    assert grim.chance_of_fit(10, 2, decimals=0, grain=2) == pytest.approx(41 / 101)


def rounded_run_spreads(n: int, k: int, run_decimals: int, decimals: int) -> dict[str, int]:
    """Try every combination of k runs: printed mean -> smallest spread in tasks."""
    unit = 10**run_decimals
    values = [(200 * unit * t + n) // (2 * n) for t in range(n + 1)]
    found = {}
    for runs in combinations_with_replacement(range(n + 1), k):
        total = Fraction(sum(values[t] for t in runs), k * unit)
        text = printed(total, decimals, "half_up")
        found[text] = min(found.get(text, n), runs[-1] - runs[0])
    return found


@pytest.mark.parametrize(
    "n, k, run_decimals", [(7, 2, 1), (7, 5, 2), (12, 4, 1), (11, 3, 2), (30, 3, 1), (59, 2, 1), (60, 2, 2), (3, 5, 0)]
)
def test_mean_of_rounded_runs_against_all_combinations(n, k, run_decimals):
    found = rounded_run_spreads(n, k, run_decimals, 2)
    nearby = {f"{int(v * 100) // 100}.{int(v * 100) % 100:02d}" for v in np.linspace(0, 100, 203)}
    for text in sorted(set(list(found)[::7]) | nearby):
        result = grim.mean_of_rounded_runs(text, n, k, run_decimals=run_decimals)
        assert result.possible == (text in found)
        assert result.spread_tasks == found.get(text)
        assert result.spread_points == (pytest.approx(100 * found[text] / n) if text in found else None)


def test_one_published_number_needs_runs_28_points_apart():
    result = grim.mean_of_rounded_runs("33.25", 89, 5, run_decimals=2)
    assert result.possible and result.spread_tasks == 25 and result.spread_points == pytest.approx(28.09, abs=0.01)
    assert not grim.mean_of_rounded_runs("33.25", 89, 5, run_decimals=1).possible
    assert grim.mean_of_rounded_runs("50", 10, 3, run_decimals=1) == (True, 0, 0.0)


def test_smaller_denominators_are_those_that_every_number_fits():
    numbers = ("42.18", "47.42")
    result = grim.smaller_denominators(numbers, 40, ks=(2, 3), from_share="0.9", limit=120)
    tried = [(k, m) for k in (2, 3) for m in range(36, 41) if k * m < 120]
    fitting = tuple((k, m) for k, m in tried if all(grim.totals(p, m, k) for p in numbers))
    assert result.hits == fitting and result.n_tried == len(tried) == 9
    assert result.expected_hits == pytest.approx(sum(((k * m + 1) / 10_001) ** 2 for k, m in tried))
    known = grim.smaller_denominators(("50.00",), 40, ks=(1,), from_share="0.9")
    assert known.hits == ((1, 36), (1, 38), (1, 40))


def test_weighted_mean_of_printed_parts():
    parts, weights = ["67.50", "54.19", "47.25", "78.17", "77.28", "82.32"], ["0.2", "0.2", "0.3", "0.1", "0.1", "0.1"]
    assert grim.weighted_mean_is_consistent(parts, weights, "62.29")
    assert not grim.weighted_mean_is_consistent(parts, weights, "62.31")
    assert not grim.weighted_mean_is_consistent(parts, weights, "62.27")


@pytest.mark.parametrize(("n", "k", "decimals"), [(7, 3, 1), (9, 2, 1), (5, 4, 1), (13, 2, 2)])
def test_deviation_between_runs_against_all_combinations(n, k, decimals):
    halves = ("half_up", "half_down")
    real = set()
    for runs in combinations_with_replacement(range(n + 1), k):
        means = {printed(Fraction(100 * sum(runs), n * k), decimals, half) for half in halves}
        squares = Fraction(sum(x * x for x in runs)) - Fraction(sum(runs) ** 2, k)
        for freedom in (k - 1, k):
            variance = squares / freedom * Fraction(100, n) ** 2
            sd = Fraction((Decimal(variance.numerator) / Decimal(variance.denominator)).sqrt())
            real |= set(product(means, {printed(sd, decimals, half) for half in halves}))
    tried = [f"{s / 10**decimals:.{decimals}f}" for s in range(0, 60 * 10**decimals, 1 if decimals == 1 else 7)]
    for mean in sorted({mean for mean, _ in real})[:10]:
        fits = {sd for sd in tried if grim.deviation_fits(sd, mean, n, k)}
        assert fits == {sd for m, sd in real if m == mean} & set(tried)


def test_deviation_of_runs_that_exist_fits_and_of_no_runs_does_not():
    # 50, 52 and 57 of 100: mean 53.0, SD 3.61 (n - 1) or 2.94; 3.7 needs a sum of squares between those of whole runs.
    runs = np.array([50, 52, 57])
    assert grim.deviation_fits(f"{runs.std(ddof=1):.2f}", "53.00", 100, 3)
    assert grim.deviation_fits(f"{runs.std():.2f}", "53.00", 100, 3)
    assert not grim.deviation_fits("3.70", "53.00", 100, 3)
    assert grim.deviation_fits("0.0", "50.0", 10, 4) and not grim.deviation_fits("0.0", "52.5", 10, 4)
    assert not grim.deviation_fits("60.0", "50.0", 100, 8)  # half at 0 and half at 100 is the widest, 53.5
    assert grim.deviation_fits("53.5", "50.0", 100, 8)


def test_printed_difference_needs_two_totals_that_print_as_the_scores():
    # 160 and 185 of 400: 40.00, 46.25, difference 6.25, printed with one decimal as 6.2 or 6.3.
    assert [grim.difference_fits(d, "40.00", "46.25", 80, 5) for d in ("6.25", "6.3", "6.2", "6.4")] == [
        True, True, True, False,
    ]  # fmt: skip
    assert grim.difference_fits("-6.25", "46.25", "40.00", 80, 5)
    # 33.3 and 66.7 are 1 and 2 of 3, so 33.3 is right and 33.4, the difference of the digits, is not.
    assert grim.difference_fits("33.3", "33.3", "66.7", 3) and not grim.difference_fits("33.4", "33.3", "66.7", 3)
    assert grim.difference_fits("33.4", "33.3", "66.7", None)  # any value in between is possible
    assert not grim.difference_fits("33.6", "33.3", "66.7", None)
    assert not grim.difference_fits("10.0", "25.8", "35.8", 300, 1)  # 25.8 is no whole count of 300


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: grim.totals(33.25, 89), "must be a string of digits such as '33.25'; got 33.25"),
        (lambda: grim.totals("nan", 89), "must be a string of digits"),
        (lambda: grim.totals("", 89), "must be a string of digits"),
        (lambda: grim.totals("33.25", 0), "`n` must be a whole number of at least 1; got 0"),
        (lambda: grim.totals("33.25", 89, 0), "`k` must be a whole number"),
        (lambda: grim.totals("33.25", 89, rounding="up"), "must be one of half_up, half_even"),
        (lambda: grim.smaller_denominators([], 89), "at least one number"),
        (lambda: grim.weighted_mean_is_consistent(["1", "2"], ["0.5", "0.4"], "1.5"), "sum to 1"),
        (lambda: grim.weighted_mean_is_consistent(["1"], ["0.5", "0.5"], "1.5"), "must match the 1 parts"),
    ],
)
def test_wrong_input_is_one_clear_error(call, message):
    with pytest.raises(AnalysisError, match=message):
        call()
