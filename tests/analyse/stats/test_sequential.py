"""E-values and confidence sequences: against reference numbers, martingale theory, by hand and under continuous peeking."""

import itertools
import math

import numpy as np
import pytest

from replication.analyse.stats.design import sequential
from replication.errors import AnalysisError

PATTERN = [1, 0.5, 0.5, 1, 0, 0.5, 1, 0.5] * 10


def test_betting_sequence_and_evidence_agree_with_the_reference():
    # oracle betting-confidence-sequence: root finding; confseq betting_cs to one grid step
    found = sequential.betting_sequence(PATTERN, alpha=0.05, times=[20, 50, 80])
    assert found.times.tolist() == [20, 50, 80]
    assert found.low == pytest.approx([0.420204, 0.490548, 0.516045], abs=2e-5, rel=1e-5)
    assert found.high == pytest.approx([0.837256, 0.764292, 0.73758], abs=2e-5, rel=1e-5)
    running = sequential.betting_sequence(PATTERN, alpha=0.05, times=[80], running=True)
    assert (running.low[0], running.high[0]) == pytest.approx((0.51767, 0.737207), abs=2e-5, rel=1e-5)
    assert sequential.betting_e(PATTERN, alpha=0.05)[-1] == pytest.approx(49.5186, rel=1e-5)


def test_capital_is_the_product_written_out():
    x, m, alpha = [1.0, 0.25, 0.75, 0.0, 1.0], 0.3, 0.1
    up = down = 0.5
    for i in range(1, 6):
        before = x[: i - 1]
        means = [(0.5 + sum(before[: j + 1])) / (j + 2) for j in range(i - 1)]
        variance = (0.25 + sum((a - b) ** 2 for a, b in zip(before, means))) / i
        bet = math.sqrt(2 * math.log(2 / alpha) / (variance * i * math.log(1 + i)))
        up *= 1 + min(bet, 0.5 / m) * (x[i - 1] - m)
        down *= 1 - min(bet, 0.5 / (1 - m)) * (x[i - 1] - m)
        found = np.exp(sequential.betting_log_capital(x[:i], m, alpha)[:, -1])
        assert found == pytest.approx([up, down], rel=1e-12)
        assert sequential.betting_e(x, m, alpha=alpha)[i - 1] == pytest.approx(max(up, down), rel=1e-12)


def test_limits_are_where_the_capital_reaches_one_over_alpha():
    found = sequential.betting_sequence(PATTERN, alpha=0.1, times=[64])
    for m, side in ((found.low[0], 0), (found.high[0], 1)):
        assert np.exp(sequential.betting_log_capital(PATTERN[:64], m, 0.1)[side, -1]) == pytest.approx(10, rel=1e-9)
        inward = 1e-6 if side == 0 else -1e-6
        assert sequential.betting_e(PATTERN[:64], m + inward, alpha=0.1)[-1] < 10
        assert sequential.betting_e(PATTERN[:64], m - inward, alpha=0.1)[-1] > 10


def test_running_limits_are_the_intersection_over_all_times():
    x = np.random.default_rng(3).random(60)
    all_times = sequential.betting_sequence(x)
    running = sequential.betting_sequence(x, running=True)
    assert running.low == pytest.approx(np.maximum.accumulate(all_times.low), abs=1e-14)
    assert running.high == pytest.approx(np.minimum.accumulate(all_times.high), abs=1e-14)
    assert (running.high - running.low < all_times.high - all_times.low - 1e-6).any()
    some = sequential.betting_sequence(x, running=True, times=[60, 7])
    assert some.low.tolist() == [running.low[59], running.low[6]]


def test_mirrored_values_give_mirrored_limits_and_equal_evidence():
    x = np.random.default_rng(1).beta(3, 1, 40)
    one, other = sequential.betting_sequence(x), sequential.betting_sequence(1 - x)
    assert one.low == pytest.approx(1 - other.high, abs=1e-12) and one.high == pytest.approx(1 - other.low, abs=1e-12)
    assert sequential.betting_e(x) == pytest.approx(sequential.betting_e(1 - x), rel=1e-9)


def test_limits_are_0_and_1_before_there_is_evidence_and_close_in_on_constant_values():
    first = sequential.betting_sequence([0.5])
    assert (first.low[0], first.high[0]) == (0.0, 1.0)
    flat = sequential.betting_sequence([0.5] * 200, times=[200])
    assert flat.low[0] == pytest.approx(1 - flat.high[0], abs=1e-12) and 0.4 < flat.low[0] < 0.5
    assert sequential.betting_e([0.5] * 200)[-1] == 0.5
    ones = sequential.betting_sequence([1.0] * 200, times=[200])
    assert ones.high[0] == 1.0 and ones.low[0] > 0.9


@pytest.mark.parametrize("m", [0.2, 0.5, 0.9])
def test_capital_is_a_fair_game_at_the_true_mean(m):
    # Expectation over all 2^9 sequences of coins with chance m: each bettor keeps half of the stake.
    expected = np.zeros(2)
    for coins in itertools.product([0.0, 1.0], repeat=9):
        chance = math.prod(m if c else 1 - m for c in coins)
        expected += chance * np.exp(sequential.betting_log_capital(coins, m, 0.05)[:, -1])
    assert expected == pytest.approx([0.5, 0.5], rel=1e-12)


def test_differences_map_onto_the_unit_interval_and_back():
    d = [-1.0, 0.0, 0.25, 1.0]
    assert sequential.to_unit(d).tolist() == [0.0, 0.5, 0.625, 1.0]
    assert sequential.from_unit(sequential.to_unit(d)).tolist() == d


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sequential.to_unit([0.1, math.nan]), "none missing"),
        (lambda: sequential.to_unit([3.0]), r"differences must be numbers in \[-1, 1\]"),
        (lambda: sequential.betting_e([]), r"got shape \(0,\)"),
        (lambda: sequential.betting_e([[0.5]]), r"got shape \(1, 1\)"),
        (lambda: sequential.betting_e([0.5, math.nan]), "none missing"),
        (lambda: sequential.betting_e([0.5], 1.5), r"`m` must lie in \[0, 1\]; got 1.5"),
        (lambda: sequential.betting_sequence([0.5], alpha=0), "`alpha` must lie"),
        (lambda: sequential.betting_sequence([0.5], times=[2]), "from 1 to 1"),
        (lambda: sequential.betting_sequence([0.5], times=[]), "`times` must be"),
    ],
)
def test_input_that_supports_no_evidence_is_refused(call, message):
    with pytest.raises(AnalysisError, match=message):
        call()


@pytest.mark.slow
def test_peeking_after_every_task_calls_a_difference_that_is_not_there_in_at_most_one_of_twenty_runs():
    rng, n_runs, n = np.random.default_rng(0), 2000, 500
    e_ever = naive_ever = missed = 0
    for _ in range(n_runs):
        chance = rng.beta(1, 1, n)
        a, b = rng.random(n) < chance, rng.random(n) < chance
        d = b.astype(float) - a
        e_ever += sequential.betting_e(sequential.to_unit(d)).max() >= 20
        ever = sequential.betting_sequence(sequential.to_unit(d), times=[n], running=True)
        missed += not ever.low[0] <= 0.5 <= ever.high[0]
        t = np.arange(2, n + 1)
        mean, squares = np.cumsum(d)[1:] / t, np.cumsum(d**2)[1:]
        error = np.sqrt(np.maximum(squares - t * mean**2, 1e-12) / (t - 1) / t)
        naive_ever += (np.abs(mean / error)[19:] > 1.96).any()
    monte_carlo = 2.33 * math.sqrt(0.05 * 0.95 / n_runs)
    print(f"betting {e_ever / n_runs:.4f}, t interval {naive_ever / n_runs:.4f}")
    assert e_ever == missed and e_ever / n_runs <= 0.05 + monte_carlo
    assert naive_ever / n_runs > 0.2  # what peeking does to an interval made for one look
