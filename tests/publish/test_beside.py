"""What the paper says of a study that is shown beside its own."""

import pandas as pd
import pytest
from frozen_studies import freeze

from replication import settings
from replication.analyse import reanalysis
from replication.analyse.analysis_settings import from_conf
from replication.analyse.claims import load_claims
from replication.analyse.results import Beside, study_data
from replication.analyse.verdicts import tabulate
from replication.publish.numbers.collected import beside
from replication.store.frozen import CURVE, CURVE_KEY, read_frozen


@pytest.fixture(scope="module")
def numbers(make_scores, tmp_path_factory):
    """Of a study whose arm `general` solves nothing, and whose other arm learnt by reinforcement for twenty steps."""
    folder = tmp_path_factory.mktemp("beside")
    scores = make_scores({"general": -2.0, "agent_sft": 0.5, "sft_then_lwm_rl": 0.6}, n_runs=2, n_trials=1, n_tasks=20)
    rows = []
    for seed in (0, 1):
        for arm, phases in {"agent_sft": ["episodes"], "sft_then_lwm_rl": ["episodes", "predictions"]}.items():
            steps = [(phase, at) for phase in phases for at in range(20)]
            rows += [
                (arm, scores["scale"].iloc[0], seed, n, phase, n, 1.0, 2e-5 if phase == "predictions" else 2e-4, 1.0,
                 0.01 * (at + seed) if phase == "predictions" else None)
                for n, (phase, at) in enumerate(steps)
            ]  # fmt: skip
    comparisons = (("agent_sft", "general"), ("sft_then_lwm_rl", "agent_sft"), ("sft_then_lwm_rl", "placebo"))
    freeze(
        folder, scores, curves=pd.DataFrame(rows, columns=[*CURVE_KEY, *CURVE]), kind="controlled",
        comparisons=comparisons, engine={"hardware": "one card"},
    )  # fmt: skip
    frozen = read_frozen("mine", folder / "data")
    claims = list(load_claims(settings.CONF / "claim"))
    data = study_data(reanalysis.study_data(claims, from_conf(settings.analysis())), "mine", "controlled", frozen)
    return beside(Beside(frozen=frozen, data=data, tables=tabulate(claims, data)))


def test_phases_have_their_rates_and_the_rewards_of_their_first_and_last_tenth(numbers):
    phases = {arm["arm"]: arm["phases"] for arm in numbers["arms"]}
    supervised = {"name": "episodes", "rate": "0.0002", "first_reward": "–", "last_reward": "–"}
    # Rewards .00 and .01, .18 and .19 with seed 0, each .01 more with seed 1.
    learnt = {"name": "predictions", "rate": "0.00002", "first_reward": "1.0", "last_reward": "19.0"}
    assert phases == {"general": [], "agent_sft": [supervised], "sft_then_lwm_rl": [supervised, learnt]}
    assert numbers["hardware"] == "one card"


def test_a_comparison_that_a_claim_has_the_other_way_round_is_listed_once(numbers):
    pairs = [(c["treatment"], c["control"]) for c in numbers["comparisons"]]
    assert pairs == [("general", "agent_sft"), ("sft_then_lwm_rl", "agent_sft")]


def test_an_arm_that_solves_nothing_is_named_at_the_floor(numbers):
    assert [c["at_floor"] for c in numbers["comparisons"]] == [["general"], []]


def test_only_its_own_comparisons_are_reported_as_left_out(numbers):
    assert [(left["treatment"], left["control"]) for left in numbers["left_out"]] == [("sft_then_lwm_rl", "placebo")]
    assert "placebo" in numbers["left_out"][0]["reason"]
