"""Episodes, tokens, hours and prices equal those counted by hand."""

import pytest
from plan_studies import composed, origins

from replication.commands.plan import planned


def test_counts_of_a_study_never_collected_are_those_done_by_hand(tmp_path):
    cfg = composed(tmp_path, "study=controlled_full")
    found = planned(cfg)
    # Seven arms with five training seeds and the base with one, each at five scales.
    n_runs = found.training.n_runs
    assert n_runs == (7 * 5 + 1) * 5
    one = found.volumes["terminal"]
    assert one.episodes == n_runs * 4 * 200 * 2
    assert one.predictions == n_runs * 200
    assert one.prompt_tokens == one.episodes * 720 + one.predictions * 118
    assert one.completion_tokens == one.episodes * 32 + one.predictions * 10
    assert found.training.tokens == sum(
        sum(phase.n_tokens for phase in arm.phases)
        * (len(arm.scales) or len(cfg.scales))
        * len(arm.training_seeds or cfg.study.training_seeds)
        for arm in cfg.arms.values()
    )
    assert found.training_hours == pytest.approx(found.training.tokens / 6000 / 3600)
    all_tokens = 7 * (one.prompt_tokens + one.completion_tokens)
    assert found.engine_hours == pytest.approx(all_tokens / 45_000 / 3600)
    assert all(origin.startswith(("given", "follows")) for origin in origins(found).values())


def test_money_is_hours_and_tokens_at_their_prices(tmp_path):
    prices = ["plan.price_per_hour=2", "plan.price_per_million_prompt_tokens=3"]
    free = planned(composed(tmp_path, "study=controlled_full"))
    paid = planned(composed(tmp_path, "study=controlled_full", *prices, "plan.price_per_million_completion_tokens=5"))
    prompt, new = (
        sum(getattr(s, key) for s in free.volumes.values()) for key in ("prompt_tokens", "completion_tokens")
    )
    hours = free.engine_hours + free.training_hours
    assert free.money is None and free.allocation.unit == "hours"
    assert paid.money == pytest.approx(2 * hours + (3 * prompt + 5 * new) / 1e6) and paid.allocation.unit == "USD"
