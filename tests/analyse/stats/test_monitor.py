"""The stopping rule: decisions, directions, looks that see only the past."""

import json

import numpy as np
import pytest

from replication.analyse.stats.design import monitor, sequential
from replication.analyse.stats.design.monitor import Rule
from replication.errors import AnalysisError

RULE = Rule(alpha=0.05, sesoi=0.05)


def stopped(looks):
    """The first look that decided, or None."""
    return next((look for look in looks if look.decision != "continue"), None)


def test_a_look_is_the_confidence_sequence_on_the_scale_of_differences():
    d = np.random.default_rng(0).choice([-1.0, 0.0, 0.0, 1.0], 60)
    found, limits = monitor.trajectory(d, RULE)[-1], sequential.betting_sequence((d + 1) / 2, alpha=0.05)
    assert (found.n_tasks, found.estimate) == (60, pytest.approx(d.mean()))
    assert found.low == pytest.approx(2 * limits.low[-1] - 1) and found.high == pytest.approx(2 * limits.high[-1] - 1)
    assert found.e_value == pytest.approx(sequential.betting_e((d + 1) / 2, 0.5, alpha=0.05)[-1])


def test_oracle_pattern_is_a_success_of_the_treatment_at_its_end_and_mirrored_one_of_the_control():
    # oracle betting-confidence-sequence: e_half at 80 is 49.5186; limits in [0, 1], here doubled less 1
    pattern = 2 * np.array([1, 0.5, 0.5, 1, 0, 0.5, 1, 0.5] * 10) - 1
    looks = monitor.trajectory(pattern, RULE)
    assert [look.n_tasks for look in looks] == [20, 40, 60, 80]
    assert looks[-1].e_value == pytest.approx(49.5186, rel=1e-5)
    assert (looks[0].low, looks[0].high) == pytest.approx((-0.159592, 0.674512), abs=4e-5)
    assert (looks[-1].decision, looks[-1].direction) == ("success", "treatment")
    assert stopped(looks) == next(look for look in looks if look.e_value >= 20)
    other = monitor.trajectory(-pattern, RULE)
    assert (other[-1].decision, other[-1].direction) == ("success", "control")
    assert [look.e_value for look in other] == pytest.approx([look.e_value for look in looks])
    assert [-look.high for look in other] == pytest.approx([look.low for look in looks])


def test_success_is_exactly_where_the_limits_leave_zero_out():
    rng = np.random.default_rng(5)
    for _ in range(20):
        for look in monitor.trajectory(rng.choice([-1.0, 0.0, 1.0], 100, p=[0.2, 0.3, 0.5]), RULE):
            assert (look.decision == "success") == (not look.low <= 0 <= look.high)


def test_no_difference_at_all_is_futile_once_the_limits_lie_within_the_smallest_effect_of_interest():
    looks = monitor.trajectory(np.zeros(400), Rule(alpha=0.05, sesoi=0.1))
    decided = stopped(looks)
    assert decided is not None and decided.decision == "futility" and decided.direction == "neither"
    assert decided.low > -0.1 and decided.high < 0.1 and decided.e_value == 0.5
    before = looks[looks.index(decided) - 1]
    assert before.high >= 0.1 and before.decision == "continue"
    assert stopped(monitor.trajectory(np.zeros(400), Rule(alpha=0.05, sesoi=0.001))) is None


@pytest.mark.parametrize("sign", [1, -1])
def test_futility_needs_both_limits_within_the_smallest_effect_of_interest(sign):
    rule = Rule(alpha=0.05, sesoi=0.1, block=200)
    look = monitor.trajectory(sign * np.tile([0.34, -0.26], 100), rule)[-1]
    outside, inside = (look.high, look.low) if sign > 0 else (-look.low, -look.high)
    assert inside > -0.1 and outside > 0.1 and look.decision == "continue"


def test_success_goes_before_futility():
    d = np.full(4000, 0.02)
    found = monitor.trajectory(d, Rule(alpha=0.05, sesoi=0.05, block=4000))[-1]
    assert found.low > 0 and found.high < 0.05 and found.decision == "success"


def test_nothing_is_decided_before_the_smallest_number_of_blocks():
    looks = monitor.trajectory(np.ones(40), Rule(alpha=0.05, sesoi=0.05, block=10, min_blocks=3))
    assert all(look.e_value >= 20 for look in looks)
    assert [look.decision for look in looks] == ["continue", "continue", "success", "success"]


def test_look_sees_only_its_past_and_a_trajectory_is_its_looks():
    d = np.random.default_rng(2).choice([-1.0, 0.0, 1.0], 50)
    rule = Rule(alpha=0.05, sesoi=0.05, block=15)
    looks = monitor.trajectory(d, rule)
    assert [look.n_tasks for look in looks] == [15, 30, 45, 50]
    for look in looks:
        assert monitor.trajectory(d[: look.n_tasks], rule)[-1] == look
    assert [look.n_tasks for look in monitor.trajectory(d[:30], rule)] == [15, 30]


def test_looks_survive_json_also_where_the_evidence_is_beyond_all_numbers():
    records = monitor.to_records(monitor.trajectory(np.ones(5000), Rule(alpha=0.05, sesoi=0.05, block=2500)))
    assert json.loads(json.dumps(records, allow_nan=False)) == records
    assert set(records[0]) == {"n_tasks", "estimate", "low", "high", "e_value", "direction", "decision"}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alpha": 0.0}, "`alpha` must lie between 0 and 1"),
        ({"alpha": float("nan")}, "`alpha` must lie between 0 and 1"),
        ({"sesoi": 5.0}, "`sesoi` must lie between 0 and 1"),
        ({"sesoi": 0.0}, "`sesoi` must lie between 0 and 1"),
        ({"block": 0}, "`block` must be at least 1; got 0"),
        ({"min_blocks": 0}, "`min_blocks` must be at least 1; got 0"),
    ],
)
def test_invalid_rules_are_refused(changes, message):
    with pytest.raises(AnalysisError, match=message):
        Rule(**{"alpha": 0.05, "sesoi": 0.05} | changes)


@pytest.mark.parametrize("differences", [[], [[0.5]], 0.5, [float("nan")], [2.0]])
def test_invalid_differences_are_refused(differences):
    with pytest.raises(AnalysisError, match=r"a look needs|must be numbers in"):
        monitor.trajectory(differences, RULE)
