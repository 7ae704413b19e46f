"""Simulated decisions are those of the rules, and a claim without a published effect says why it has no power."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from replication.analyse import analysis_settings, reanalysis
from replication.analyse.claims import load_claims
from replication.analyse.rules import power
from replication.analyse.stats.estimates.intervals import t_estimate
from replication.analyse.stats.families.meta import random_effects
from replication.analyse.stats.families.reml import reml_tau2, reml_tau2_of_many
from replication.analyse.verdicts import decide
from replication.publish.verdict_tables import UNPUBLISHED, verdict_markdown

CLAIMS = load_claims(Path(__file__).parents[3] / "conf/claim")
PUBLISHED = reanalysis.study_data(CLAIMS, analysis_settings.default())
FOUR = ("compact", "json", "native", "react")


def verdict(name, scores, **changes):
    data = dataclasses.replace(PUBLISHED, study="ours", kind="controlled", scores=scores, **changes)
    return next(v for v in decide(CLAIMS, data) if v.claim_id == name and v.outcome != "estimate")


def test_reml_of_many_is_that_of_each():
    rng = np.random.default_rng(0)
    se = np.array([0.02, 0.03, 0.05, 0.02])
    y = rng.normal(0, [[0.02], [0.1], [0.0]], (3, 4))
    assert reml_tau2_of_many(y, se) == pytest.approx([reml_tau2(row, se) for row in y], abs=1e-12)
    assert reml_tau2_of_many(np.zeros((1, 4)), se) == [0.0]


@pytest.mark.parametrize("n_groups", [2, 4, 6])
def test_prediction_limits_of_simulated_studies_are_those_of_the_random_effects(n_groups):
    se = np.linspace(0.02, 0.04, n_groups)
    estimates = [
        t_estimate(0.05, s, None, level=0.95, method="", target="T2", n_tasks=9, n_trials=1, n_training_runs=1)
        for s in se
    ]
    draws = power.Draws(np.full(n_groups, 0.05), estimates, 0.0001, np.random.default_rng(1))
    low = power._predicted_low(draws, se, 0.05)
    for i in range(0, 40):
        fit = random_effects(draws.value[i], se, floor=n_groups < 5)
        assert low[i] == pytest.approx(fit.prediction_low, abs=1e-9)


@pytest.mark.parametrize("shared", [0.0, 0.6, 1.0])
def test_sample_variances_are_correlated_by_the_square_of_the_values_correlation(shared):
    found = power._relative_variances(np.sqrt([shared, shared]), 6.0, np.random.default_rng(0))
    assert found.mean(axis=0) == pytest.approx(1, abs=0.03)
    assert found.var(axis=0) == pytest.approx(2 / 6, abs=0.04)  # of a chi-square over its degrees of freedom
    assert np.corrcoef(found.T)[0, 1] == pytest.approx(shared**2, abs=0.05)


def test_precision_of_few_runs_is_not_taken_as_measured():
    how = {"level": 0.95, "method": "", "n_tasks": 9, "n_trials": 1, "n_training_runs": 3}
    lucky = power.likely_precision(t_estimate(0.0, 0.02, 500.0, target="T3", **how))
    assert (lucky.df, lucky.se) == (6, pytest.approx(0.02 * np.sqrt(7 / 6)))
    usual = power.likely_precision(t_estimate(0.0, 0.02, 3.0, target="T3", **how))
    assert (usual.df, usual.se) == (3, pytest.approx(0.02 * np.sqrt(4 / 3)))
    tasks = t_estimate(0.0, 0.02, 79.0, target="T2", **how)
    assert power.likely_precision(tasks) == tasks
    decide, chances = power.mean_decision(0.05, 0.03), {}
    for planned in (True, False):
        estimate = t_estimate(0.0, 0.02, 500.0, target="T3", **how)
        chances[planned] = power.probabilities(decide, [0.06], [estimate], 0.0, 1, planned=planned)["published"]
    assert chances[True]["replicated"] == pytest.approx(0.85, abs=0.02)  # normal, 3 standard errors: 1 - Phi(1.96 - 3)
    assert chances[False]["replicated"] < chances[True]["replicated"] - 0.1


def test_consistency_over_scaffolds_has_the_power_of_the_published_effect(make_scores):
    arms = {"agent_sft": 0.4, "lwm_then_sft": 0.62}
    found = verdict("C", make_scores(arms, scaffolds=FOUR, n_tasks=60, n_runs=5))
    chances = found.criteria["power"]
    assert set(chances) == {"published", "half"}
    assert 0.3 < chances["published"]["replicated"] <= 1
    assert chances["half"]["replicated"] < chances["published"]["replicated"]
    two = verdict("C", make_scores(arms, scaffolds=FOUR[:2], n_tasks=60, n_runs=5))
    assert two.criteria["power"]["published"]["replicated"] < 0.05 and "out of reach" in two.reason


@pytest.mark.parametrize(
    "name, reason",
    [
        ("E", "no cost of a solved task was published"),
        ("B", "no effect of `general` over `agent_sft` was published"),
    ],
)
def test_claim_without_a_published_effect_says_why_it_has_no_power(make_scores, name, reason):
    found = verdict(name, make_scores({"agent_sft": 0.4, "general": 0.45, "lwm_then_sft": 0.4}))
    assert found.criteria["power"] == {"reason": reason}
    assert found.reason.partition("; no power: ")[2].startswith(reason)
    assert f"| {UNPUBLISHED} |" in verdict_markdown([found])
