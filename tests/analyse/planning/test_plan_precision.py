"""Precision and designs follow from the variance components by the formulas of the D-study."""

import pytest
from plan_studies import composed
from scipy import stats

from replication import settings
from replication.analyse.planning.precision import MEAN
from replication.analyse.stats.design import dstudy
from replication.commands.plan import planned
from replication.publish.plan import report


def test_given_parts_follow_the_audit_model(tmp_path):
    found = planned(composed(tmp_path, "study=controlled_full", "plan.pass_rate=0.4", "plan.icc=0.35", "plan.rho=0.2"))
    parts = found.variances["terminal"]
    assert parts.omega2 == pytest.approx(0.35 * 2 * 0.24 * 0.8)
    assert parts.s2 == pytest.approx(0.65 * 2 * 0.24)
    assert parts.tau == 0.02 and parts.interaction2 == 0.0
    one, mean = found.precision["terminal"], found.precision[MEAN]
    se = float(dstudy.standard_error(200, 2, 5, omega2=parts.omega2, s2=parts.s2, each_run=True))
    assert one.half_width_t2 == pytest.approx(stats.t(199).ppf(0.975) * se)
    assert mean.half_width_t2 == pytest.approx(stats.t(7 * 199).ppf(0.975) * se / 7**0.5)
    assert one.mde_t2 == pytest.approx((stats.t(199).ppf(0.975) + stats.t(199).ppf(0.8)) * se)
    assert found.joint_t2 == pytest.approx(one.power_t2**7)
    tasks, runs = se**2, 2 * 0.02**2 / 5
    df = (tasks + runs) ** 2 / (tasks**2 / 199 + runs**2 / 8)
    assert one.half_width_t3 == pytest.approx(stats.t(df).ppf(0.975) * (tasks + runs) ** 0.5)
    assert mean.power_t3 < mean.power_t2


def test_the_best_use_of_the_same_budget_is_never_worse_and_more_budget_helps(tmp_path):
    found = planned(composed(tmp_path, "study=controlled_full")).allocation
    assert found.best.se <= found.current.se and found.best.cost <= found.budget * (1 + 1e-9) == found.current.cost * (
        1 + 1e-9
    )
    doubled = planned(composed(tmp_path, "study=controlled_full", f"plan.budget={2 * found.budget}")).allocation
    assert doubled.best.se < found.best.se
    t = stats.t(found.cheapest.df)
    assert (t.ppf(0.975) + t.ppf(0.8)) * found.cheapest.se <= 0.03 * (1 + 1e-9)


def test_two_arms_cost_their_episodes_and_their_training(tmp_path):
    found = planned(composed(tmp_path, "study=controlled_full")).allocation
    episodes = 2 * 7 * 5 * 4 * 200 * 2 * 5  # arms, benchmarks, scales, scaffolds, tasks, trials, training runs
    training = (190_000 + 300_000) * 5 * 5  # both arms' tokens, scales, training runs
    hours = episodes * 752 / 45_000 / 3600 + training / 6000 / 3600
    assert found.current.cost == pytest.approx(hours)


def test_public_models_have_no_t3(tmp_path):
    cfg = composed(tmp_path, "study=controlled")
    model = {"path": "a/b", "revision": "0", "scale": "8b", "params_b": 8.0}
    cfg.arms, cfg.models = {}, {
        "one": settings.Model(role="general", **model), "other": settings.Model(role="agent_specific", **model)
    }  # fmt: skip
    cfg.plan.treatment, cfg.plan.control = "general", "agent_specific"
    found = planned(cfg)
    assert found.training == (0, 0, 0) and found.volumes["office"].episodes == 2 * 80
    assert found.precision["office"].half_width_t2 > 0
    assert found.precision["office"].half_width_t3 is None and found.joint_t3 is None
    assert found.allocation.best.n_training_runs == 1
    assert " T2: hours" in report(cfg, found)
