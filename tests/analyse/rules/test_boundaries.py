"""Every threshold of a decision rule is where its docstring puts it: just inside decides, just outside does not."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from replication.analyse import analysis_settings, reanalysis
from replication.analyse.claims import load_claims
from replication.analyse.rules.registry import RULES
from replication.analyse.rules.shared import average_outcome, average_reason, each_of
from replication.analyse.stats.estimates.intervals import t_estimate
from replication.analyse.stats.two_studies.equivalence import tost_p
from replication.analyse.stats.two_studies.telescopes import theta_33

CLAIMS = {claim.id: claim for claim in load_claims(Path(__file__).parents[3] / "conf/claim")}
PAIRS = reanalysis.study_data(CLAIMS.values(), analysis_settings.default())
ONE_CELL = {"icc": [0.5], "rho": [0.5]}
INSIDE, OUTSIDE = 1 + 1e-6, 1 - 1e-6
"""Factors of the p-value at hand that give an alpha just above and just below it."""


def study(scores):
    return dataclasses.replace(PAIRS, study="controlled", kind="controlled", scores=scores)


def decided(claim_id, data, target="T2", **parameters):
    claim = CLAIMS[claim_id]
    claim = dataclasses.replace(claim, parameters={**claim.parameters, **parameters})
    return RULES[claim.rule].on(claim, data)(claim, data, target, "exclude")


def mean(value, se):
    """A mean over benchmarks with a normal reference, without its data."""
    return t_estimate(value, se, None, level=0.95, method="", target="T2", n_tasks=9, n_trials=1, n_training_runs=1)


@pytest.fixture(scope="module")
def null(make_scores):
    """Two arms of one method on one benchmark."""
    return study(make_scores({"agent_sft": 0.5, "lwm_then_sft": 0.5, "general": 0.5}, benchmarks=("terminal",), seed=3))


@pytest.fixture(scope="module")
def gain(make_scores):
    """A small gain on two benchmarks, tasks shared by two scaffolds."""
    return study(make_scores({"agent_sft": 0.45, "lwm_then_sft": 0.55}, scaffolds=("json", "react"), n_tasks=60))


# --- the mean over benchmarks -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("alpha", [0.05, 0.1])
def test_mean_is_judged_against_the_published_one_at_one_sided_alpha_half(gain, alpha):
    judged = {c["name"]: c for c in decided("A1", gain, alpha=alpha).criteria["replication_criteria"]}
    assert judged["sceptical p-value, golden"]["threshold"] == pytest.approx(alpha / 2)


def test_mean_is_refuted_as_equivalent_at_alpha_and_not_at_half_of_it():
    claim = CLAIMS["A1"]
    sesoi = claim.parameters["sesoi"]
    for z, outcome in ((1.6448, "inconclusive"), (1.6449, "not_replicated"), (1.9, "not_replicated")):
        assert average_outcome(claim, mean(0.0, sesoi / z)).outcome == outcome
    # p between alpha/2 and alpha: within the margin at level 1 - 2 alpha, as the rule says, not at 1 - alpha.
    p = average_outcome(claim, mean(0.0, sesoi / 1.8)).criteria["equivalence_p"]
    assert claim.parameters["alpha"] / 2 < p < claim.parameters["alpha"]
    assert average_outcome(claim, mean(0.0, sesoi / 1.8)).outcome == "not_replicated"
    for z, how in ((1.6448, "interval holds 0 and effects of interest"), (1.8, "points of 0")):
        estimate = mean(0.0, sesoi / z)
        criteria = average_outcome(claim, estimate).criteria
        assert criteria["equivalent"] is (z == 1.8)
        assert average_reason(claim, estimate, 9, criteria).endswith(how)


def test_mean_is_decided_by_the_ends_of_its_interval():
    claim = CLAIMS["A1"]
    for value, outcome in ((1.9601, "replicated"), (1.9599, "inconclusive"), (-1.9599, "inconclusive"),
                           (-1.9601, "not_replicated")):  # fmt: skip
        assert average_outcome(claim, mean(value, 1.0)).outcome == outcome


def test_mean_above_zero_is_replicated_though_smaller_than_the_smallest_effect_of_interest():
    result = average_outcome(CLAIMS["A1"], mean(0.01, 0.001))
    assert result.criteria["equivalent"] and result.outcome == "replicated"


# --- all benchmarks ---------------------------------------------------------------------------------------------------


def test_all_benchmarks_are_above_zero_at_one_sided_alpha_half(gain):
    p = decided("A2", gain).criteria["iut_p"]
    assert decided("A2", gain, alpha=2 * p * INSIDE).outcome == "replicated"
    assert decided("A2", gain, alpha=2 * p * OUTSIDE).outcome != "replicated"


def test_one_benchmark_is_below_zero_at_one_sided_alpha_half(null):
    data = dataclasses.replace(null, scores=null.scores.replace({"arm": {"lwm_then_sft": "x", "agent_sft": "lwm_then_sft"}})
                               .replace({"arm": {"x": "agent_sft"}}))  # fmt: skip
    lower = min((null, data), key=lambda study: decided("A2", study).estimate.value)
    p = 1 - decided("A2", lower).estimate.p_one_sided
    never = {"sesoi": 1e-9}
    assert decided("A2", lower, alpha=2 * p * INSIDE, **never).outcome == "not_replicated"
    assert decided("A2", lower, alpha=2 * p * OUTSIDE, **never).outcome == "inconclusive"


def test_one_benchmark_is_equivalent_to_zero_at_alpha_half_and_refutes_only_where_the_claim_says_so(null):
    estimate = decided("A2", null).estimate
    p = tost_p(estimate.value, estimate.se, estimate.df, 0.2)
    assert decided("A2", null, alpha=2 * p * INSIDE, sesoi=0.2).outcome == "not_replicated"
    assert decided("A2", null, alpha=2 * p * OUTSIDE, sesoi=0.2).outcome == "inconclusive"
    assert not CLAIMS["B"].parameters["equivalence_refutes"]
    assert decided("B", null, sesoi=0.2).criteria["equivalent_after_holm"] == []


# --- rows, scaffolds, scales, costs -----------------------------------------------------------------------------------


def test_row_replicates_at_one_sided_alpha_half(make_scores):
    scores = make_scores({"agent_sft": 0.35, "lwm_then_sft": 0.5}, benchmarks=("office",), n_runs=5, n_tasks=100)
    data = study(scores)
    low, high = 1e-4, 0.5
    for _ in range(40):  # the alpha at which the outcome changes
        alpha = (low + high) / 2
        outcome = decided("A3", data, alpha=alpha, **ONE_CELL).outcome
        low, high = (low, alpha) if outcome == "replicated" else (alpha, high)
    (panel,) = decided("A3", data, alpha=high, **ONE_CELL).criteria["panels"].values()
    p = next(criterion["value"] for criterion in panel if criterion["name"] == "sceptical p-value, golden")
    assert p == pytest.approx(high / 2, rel=1e-6)


def test_rows_are_refuted_at_alpha_after_holm_over_rows_and_both_ways(make_scores):
    arms = {"agent_sft": 0.5, "lwm_then_sft": 0.5}
    data = study(make_scores(arms, benchmarks=("office", "research"), n_runs=3, n_tasks=25, seed=4))
    result = decided("A3", data, sesoi=1e-9, **ONE_CELL)
    audit = data.published.audit("sft_lwm_rl", "sft")
    errors = dict(zip(audit.rows["benchmark"], (e.se for e in audit.differences("T2")), strict=True))
    p = []
    for name, row in (("office", "qwenclawbench"), ("research", "widesearch")):
        estimate = each_of(data.prepared.pairs("lwm_then_sft", "agent_sft"), "T2", 0.95, "exclude")[name]
        p.append(stats.t.cdf((estimate.value - theta_33(errors[row])) / estimate.se, estimate.df))
    needed = 4 * min(p)  # two rows, each by small telescopes and by equivalence
    assert 1e-6 < needed < 0.5 and result.criteria["uninformative"] == []
    assert decided("A3", data, sesoi=1e-9, alpha=needed * INSIDE, **ONE_CELL).outcome == "not_replicated"
    assert decided("A3", data, sesoi=1e-9, alpha=needed * OUTSIDE, **ONE_CELL).outcome == "inconclusive"


def test_scaffolds_agree_at_one_sided_alpha_half(make_scores):
    names = ("compact", "json", "native", "react")
    data = study(make_scores({"agent_sft": 0.45, "lwm_then_sft": 0.55}, scaffolds=names, n_tasks=60))
    p = decided("C", data).criteria["iut_p"]
    assert decided("C", data, alpha=2 * p * INSIDE).outcome == "replicated"
    assert decided("C", data, alpha=2 * p * OUTSIDE).outcome == "inconclusive"


def test_scaffolds_agree_only_with_a_prediction_interval_above_zero(gain):
    result = decided("C", gain)
    assert result.criteria["iut_p"] < 0.025 and result.criteria["prediction_interval"][0] < 0
    assert result.outcome == "inconclusive"


def test_scaffolds_interact_at_alpha_half(make_scores):
    up = make_scores({"agent_sft": 0.45, "lwm_then_sft": 0.56}, seed=1)
    down = make_scores({"agent_sft": 0.56, "lwm_then_sft": 0.45}, scaffolds=("react",), seed=2)
    data = study(pd.concat([up, down], ignore_index=True))
    p = decided("C", data).criteria["qualitative_interaction_p"]
    assert not decided("C", data, alpha=2 * p * INSIDE).criteria["opposite_signs"]
    assert decided("C", data, alpha=2 * p * INSIDE).outcome == "not_replicated"
    assert decided("C", data, alpha=2 * p * OUTSIDE).outcome == "inconclusive"


@pytest.fixture(scope="module")
def scales(make_scores):
    parts = [
        make_scores({"agent_sft": 0.4, "lwm_then_sft": 0.5}, scales=((f"s{i}", 0.001 * 4**i),), seed=i)
        for i in range(3)
    ]
    return study(pd.concat(parts, ignore_index=True))


def test_gain_holds_at_all_scales_at_one_sided_alpha_half(scales):
    p = max(of_scale["p_two_sided"] for of_scale in decided("D", scales).criteria["per_scale"].values())
    assert decided("D", scales, alpha=p * INSIDE).outcome == "replicated"
    assert decided("D", scales, alpha=p * OUTSIDE).outcome != "replicated"


def test_gain_at_the_largest_scale_is_refuted_below_the_smallest_effect_of_interest(scales):
    largest = decided("D", scales, alpha=1e-4).estimate
    assert decided("D", scales, alpha=1e-4, sesoi=largest.high * INSIDE).outcome == "not_replicated"
    assert decided("D", scales, alpha=1e-4, sesoi=largest.high * OUTSIDE).outcome == "inconclusive"


def test_ratio_of_costs_is_decided_by_the_ends_of_its_interval(make_scores):
    scores = make_scores({"agent_sft": 0.5, "general": 0.55}, n_tasks=60)
    p = decided("E", study(scores)).estimate.p_two_sided
    assert decided("E", study(scores), alpha=p * INSIDE).outcome == "replicated"
    assert decided("E", study(scores), alpha=p * OUTSIDE).outcome == "inconclusive"
    dearer = scores.assign(
        n_prompt_tokens=np.where(scores["arm"] == "general", 1.25, 1) * scores["n_prompt_tokens"],
        n_completion_tokens=np.where(scores["arm"] == "general", 1.25, 1) * scores["n_completion_tokens"],
    )
    p = decided("E", study(dearer)).estimate.p_two_sided
    assert decided("E", study(dearer), alpha=p * INSIDE).outcome == "not_replicated"
    assert decided("E", study(dearer), alpha=p * OUTSIDE).outcome == "inconclusive"


# --- published numbers ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["T1", "T2"])
def test_published_table_is_established_at_one_sided_alpha_half_in_every_cell(target):
    rhos = {
        "rho": [0.3, 0.5, 0.7]
    }  # at smaller ones the level of the boundary is one at which no replication can succeed
    grid = [cell["iut_p"] for cell in decided("P", PAIRS, target, **rhos).criteria["grid"]]
    assert decided("P", PAIRS, target, **rhos, alpha=2 * max(grid) * INSIDE).outcome == "established"
    assert decided("P", PAIRS, target, **rhos, alpha=2 * max(grid) * OUTSIDE).outcome == "not_established"
    assert decided("P", PAIRS, target, **rhos, alpha=2 * min(grid) * OUTSIDE).outcome == "not_established"


def test_leaderboards_lie_below_zero_at_one_sided_alpha_half_after_holm():
    leaderboards = decided("B", PAIRS, "T3").criteria["per_leaderboard"].values()
    smallest = len(leaderboards) * min(1 - leaderboard["p_one_sided"] for leaderboard in leaderboards)
    assert decided("B", PAIRS, "T3", alpha=2 * smallest * INSIDE).criteria["below_zero_after_holm"]
    assert not decided("B", PAIRS, "T3", alpha=2 * smallest * OUTSIDE).criteria["below_zero_after_holm"]


def with_general_models_better_by(points):
    table = PAIRS.model_pairs
    return dataclasses.replace(PAIRS, model_pairs=table.assign(p_general=table["p_general"] + points))


def test_published_gap_is_more_than_the_claim_allows_where_its_band_is_below_the_smallest_effect_of_interest():
    shifted = with_general_models_better_by(0.2)
    high = decided("D2", shifted, "T3").criteria["band"][-1]["high_all"]
    assert high > 0
    assert "more than the claim allows" in decided("D2", shifted, "T3", sesoi=high * INSIDE).reason
    assert "more than the claim allows" not in decided("D2", shifted, "T3", sesoi=high * OUTSIDE).reason
