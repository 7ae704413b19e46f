"""Power and sample sizes: published numbers, inversions, limits, refusals."""

import math

import numpy as np
import pytest
from scipy import stats

from replication.analyse.stats.design import power
from replication.analyse.stats.printed import audit_model
from replication.errors import AnalysisError

Z = 1.959963984540054 + 0.8416212335729143


def test_tasks_needed_and_mde_are_miller_s_numbers():
    # oracle power-tasks-and-mde: Miller 2024, arXiv:2411.00640, sections 3 and 5
    assert math.ceil(power.tasks_needed(0.03, omega2=1 / 9)) == 969
    found = [power.mde_of_design(198, omega2=1 / 9, s2_a=1 / 6, s2_b=1 / 6, k_a=k, k_b=k) for k in (1, 10)]
    assert found == pytest.approx([0.1327333, 0.0756696], rel=1e-6)


def test_floor_trials_and_tipping_point_of_the_worked_example():
    # oracle standard-errors-T1-T2-T3: Miller 2024, extended by 2 tau^2/m
    omega2, s2, n, k = 0.097948238, 0.5 * (0.24 + 0.2496), 250, 4
    per_arm = {"omega2": omega2, "s2_a": 0.12, "s2_b": 0.1248}
    assert power.mde_of_design(n, **per_arm, k_a=k, k_b=k) == pytest.approx(0.0706862187, rel=1e-7)
    assert power.mde_floor(n, omega2=omega2) == pytest.approx(0.0554539067, rel=1e-7)
    assert power.tasks_needed(0.08, **per_arm, k_a=k, k_b=k) == pytest.approx(195.177403, rel=1e-7)
    assert power.trials_needed(0.08, n, omega2=omega2, s2=s2) == pytest.approx(2.31155996, rel=1e-7)
    se = float(audit_model.standard_error(0.4, 0.48, n, k, icc=0.5, rho=0.6))
    assert power.tipping_tau(0.08, se) == pytest.approx(0.0226874501, rel=1e-7)


def test_at_the_tipping_point_the_t3_difference_is_just_significant():
    for m in (1, 3):
        tau = power.tipping_tau(0.08, 0.025, m)
        assert 0.08 / math.sqrt(0.025**2 + 2 * tau**2 / m) == pytest.approx(stats.norm.ppf(0.975))
    assert power.tipping_tau(0.04, 0.025) is None
    assert power.tipping_tau(-0.08, 0.025) == power.tipping_tau(0.08, 0.025)


def test_tasks_trials_and_mde_invert_each_other():
    parts = {"omega2": 0.1, "s2_a": 0.1, "s2_b": 0.2}
    n = power.tasks_needed(0.05, **parts, k_a=2, k_b=4, alpha=0.1, power=0.9)
    assert power.mde_of_design(n, **parts, k_a=2, k_b=4, alpha=0.1, power=0.9) == pytest.approx(0.05)
    k = power.trials_needed(0.05, 500, omega2=0.1, s2=0.3)
    assert power.mde_of_design(500, **parts, k_a=k, k_b=k) == pytest.approx(0.05)
    assert power.trials_needed(0.03, 100, omega2=0.1, s2=0.3) is None
    assert power.trials_needed(0.05, 500, omega2=0.1, s2=0.0) == 0.0
    assert power.mde_floor(400, omega2=0.1) == pytest.approx(power.mde_floor(100, omega2=0.1) / 2)


def test_each_arm_s_noise_is_divided_by_its_own_trials():
    n = power.tasks_needed(0.05, omega2=0.1, s2_a=0.1, s2_b=0.2, k_a=2, k_b=4)
    assert n == pytest.approx(Z**2 * (0.1 + 0.05 + 0.05) / 0.0025)


def test_power_at_the_minimal_detectable_effect_is_the_given_power():
    delta = power.minimal_detectable_effect(0.02, power=0.8)
    assert power.power_two_sided(delta, 0.02) == pytest.approx(0.8, abs=1e-5)
    # The other tail, which the formula of the effect leaves out.
    assert power.power_two_sided(delta, 0.02) - 0.8 == pytest.approx(stats.norm.cdf(-Z - stats.norm.ppf(0.975)))


def test_power_is_alpha_at_no_effect_and_symmetric_and_one_far_away():
    assert power.power_two_sided(0.0, 0.02) == pytest.approx(0.05)
    assert power.power_two_sided(0.0, 0.02, 4, alpha=0.1) == pytest.approx(0.1)
    assert power.power_two_sided(-0.03, 0.02) == power.power_two_sided(0.03, 0.02)
    assert power.power_two_sided(0.9, 0.02, 5) == power.power_two_sided(0.03, 0.0) == 1.0
    assert power.power_two_sided(0.0, 0.0) == 0.05


def test_power_with_few_degrees_of_freedom_is_that_of_simulated_t_tests():
    rng = np.random.default_rng(0)
    samples = rng.normal(1.0, 1.0, (20_000, 5))
    rejected = stats.ttest_1samp(samples, 0, axis=1).pvalue < 0.05
    assert power.power_two_sided(1.0, 5**-0.5, 4) == pytest.approx(rejected.mean(), abs=0.01)


def test_joint_power_is_a_product():
    assert power.joint_power([0.9, 0.8]) == pytest.approx(0.72)
    assert power.joint_power([0.8 ** (1 / 7)] * 7) == pytest.approx(0.8)


@pytest.mark.parametrize(
    ("call", "match"),
    [
        (lambda: power.tasks_needed(0.0, omega2=0.1), "`delta`"),
        (lambda: power.tasks_needed(0.1, omega2=-0.1), "`omega2`"),
        (lambda: power.tasks_needed(0.1, omega2=0.1, alpha=1.0), "`alpha`"),
        (lambda: power.tasks_needed(0.1, omega2=0.1, power=0.0), "`power`"),
        (lambda: power.tasks_needed(0.1, omega2=0.1, k_b=0), "`k_b`"),
        (lambda: power.mde_of_design(0, omega2=0.1), "`n`"),
        (lambda: power.trials_needed(math.nan, 10, omega2=0.1, s2=0.1), "`delta`"),
        (lambda: power.power_two_sided(0.1, math.nan), "`se`"),
        (lambda: power.joint_power([]), "`powers`"),
        (lambda: power.joint_power([1.2]), "`powers`"),
        (lambda: power.tipping_tau(0.1, -1.0), "`se`"),
    ],
)
def test_invalid_arguments_of_power_are_refused(call, match):
    with pytest.raises(AnalysisError, match=match):
        call()
