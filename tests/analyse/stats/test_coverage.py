"""Coverage of 95 % intervals in simulated studies, and false positives of the verdict on studies of one method.

Tasks' success probabilities are Beta with mean 1/2 and between-task share `icc`, correlated between the arms by a Gaussian
copula; scores are binary. Run with `-m slow -s` to see the table.
"""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from replication.analyse import analysis_settings, reanalysis
from replication.analyse.claims import load_claims
from replication.analyse.stats.estimates.differences import paired_difference
from replication.analyse.verdicts import decide
from replication.settings import CONF

GRID = np.linspace(0, 1, 4001)


def success_probabilities(n_tasks, icc, rng, rho=0.5):
    """Draw success probabilities (2, n_tasks) of two arms that do not differ over all tasks."""
    shape = 0.5 * (1 / icc - 1)
    normal = np.sqrt(rho) * rng.standard_normal(n_tasks) + np.sqrt(1 - rho) * rng.standard_normal((2, n_tasks))
    return np.interp(stats.norm.cdf(normal), GRID, stats.beta.ppf(GRID, shape, shape))


def covered(target, *, n_tasks, n_trials, n_runs=1, tau=0.0, icc=0.5, n_studies, seed=0):
    """Share of simulated studies whose interval covers the true difference, which is 0."""
    rng, hits = np.random.default_rng(seed), 0
    for _ in range(n_studies):
        chance = success_probabilities(n_tasks, icc, rng)[:, None, None, :] + tau * rng.standard_normal(
            (2, n_runs, 1, 1)
        )
        chance = np.broadcast_to(np.clip(chance, 0, 1), (2, n_runs, n_trials, n_tasks))
        scores = (rng.random(chance.shape) < chance).astype(float)
        estimate = paired_difference(scores[1], scores[0], target=target)
        hits += estimate.low <= 0 <= estimate.high
    return hits / n_studies


T2 = [(89, 1, 0.5), (89, 5, 0.5), (100, 3, 0.35), (200, 1, 0.7), (500, 3, 0.5), (731, 3, 0.35)]
T3 = [(89, 5, 3, 0.02), (100, 1, 3, 0.05), (200, 1, 3, 0.02), (200, 1, 5, 0.03), (500, 3, 3, 0.02), (500, 1, 10, 0.03),
      (731, 3, 5, 0.01), (89, 1, 10, 0.05)]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("n_tasks, n_trials, icc", T2)
def test_intervals_for_tasks_like_these_have_nominal_coverage(n_tasks, n_trials, icc):
    share = covered("T2", n_tasks=n_tasks, n_trials=n_trials, icc=icc, n_studies=6000)
    print(f"T2 n={n_tasks} k={n_trials} icc={icc}: {share:.4f}")
    assert 0.94 - 0.006 <= share <= 0.96 + 0.006  # twice the simulation's own error


@pytest.mark.slow
@pytest.mark.parametrize("n_tasks, n_trials, n_runs, tau", T3)
def test_intervals_for_the_method_have_nominal_coverage(n_tasks, n_trials, n_runs, tau):
    share = covered("T3", n_tasks=n_tasks, n_trials=n_trials, n_runs=n_runs, tau=tau, n_studies=4000)
    print(f"T3 n={n_tasks} k={n_trials} m={n_runs} tau={tau}: {share:.4f}")
    assert 0.93 - 0.007 <= share <= 0.97 + 0.007


def test_intervals_have_coverage_near_nominal_in_a_small_simulation():
    assert 0.90 <= covered("T2", n_tasks=100, n_trials=1, n_studies=300) <= 0.99
    assert 0.90 <= covered("T3", n_tasks=100, n_trials=1, n_runs=3, tau=0.03, n_studies=300) <= 1.0


def null_study(rng, *, tau, n_benchmarks=7, n_tasks=80, n_runs=3):
    """Draw a score table whose two arms are the same method: other training runs, same tasks."""
    shift = tau * rng.standard_normal((2, n_runs))
    frames = []
    for b in range(n_benchmarks):
        chance = success_probabilities(n_tasks, 0.5, rng)[0]
        for a, arm in enumerate(("agent_sft", "lwm_then_sft")):
            for r in range(n_runs):
                solved = rng.random(n_tasks) < np.clip(chance + shift[a, r], 0, 1)
                frames.append((f"b{b}", arm, r, solved))
    key = [f"t{t:03}" for t in range(n_tasks)]
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "unit": f"{arm}@{r}", "arm": arm, "scale": "tiny", "params_b": 0.001, "training_seed": r,
                    "benchmark": benchmark,
                    "scaffold": "compact", "seed": 0, "task_id": key, "task_hash": key, "trial": 0,
                    "value": solved.astype(float),
                }
            )
            for benchmark, arm, r, solved in frames
        ],
        ignore_index=True,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("target, tau", [("T2", 0.0), ("T3", 0.0), ("T3", 0.03)])
def test_verdict_on_the_average_effect_decides_wrongly_in_five_percent_of_studies_of_one_method(target, tau):
    claims = load_claims(CONF / "claim")
    claim = dataclasses.replace(next(c for c in claims if c.id == "A1"), target=target)  # decided at that target
    settings = dataclasses.replace(analysis_settings.default(), sesois=())
    published = reanalysis.study_data(claims, settings)
    rng, n_studies, wrong = np.random.default_rng(7), 600, 0
    for _ in range(n_studies):
        data = dataclasses.replace(published, study="null", kind="controlled", scores=null_study(rng, tau=tau))
        verdict = next(v for v in decide([claim], data) if v.target == target)
        wrong += verdict.replication.low > 0 or verdict.replication.high < 0
        assert (verdict.replication.low > 0) == (verdict.outcome == "replicated")
    print(f"A1 {target} tau={tau}: {wrong / n_studies:.4f}")
    # T3 is conservative where training runs do not differ: its df are those of three runs.
    assert (0.04 if target == "T2" or tau > 0 else 0.02) - 0.018 <= wrong / n_studies <= 0.06 + 0.018
