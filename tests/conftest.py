"""Fixtures that several test files share."""

import numpy as np
import pandas as pd
import pytest


@pytest.fixture
def make_scores():
    """Return a function that makes a score table with planted arm means; binary scores, tasks shared by the arms."""

    def make(
        arms,
        *,
        benchmarks=("calling", "terminal"),
        scales=(("tiny", 0.001),),
        scaffolds=("compact",),
        n_tasks=40,
        n_trials=2,
        n_runs=3,
        tau=0.02,
        seed=0,
    ):
        rng = np.random.default_rng(seed)
        rows = []
        for scale, params_b in scales:
            for benchmark in benchmarks:
                difficulty = rng.normal(0, 0.2, n_tasks)
                for arm, mean in arms.items():
                    for training_seed in range(n_runs):
                        shift = rng.normal(0, tau)
                        for scaffold in scaffolds:
                            chance = np.clip(mean + difficulty + shift, 0, 1)
                            solved = rng.random((n_trials, n_tasks)) < chance
                            run_id = f"{arm}-{scale}-{training_seed}-{benchmark}-{scaffold}"
                            rows += [
                                (run_id, arm, scale, params_b, training_seed, f"org/{arm}", "0" * 8, benchmark, scaffold, 7,
                                 f"{benchmark}/evaluation/1/{t:03}", f"hash{t:03}", 1, k, float(solved[k, t]), "exact-1",
                                 "answer", 3, 0, 100, 20)
                                for k in range(n_trials) for t in range(n_tasks)
                            ]  # fmt: skip
        columns = (
            "run_id arm scale params_b training_seed model revision benchmark scaffold seed task_id task_hash level trial "
            "value grader stop_reason n_turns n_malformed n_prompt_tokens n_completion_tokens"
        )
        return pd.DataFrame(rows, columns=columns.split())

    return make


@pytest.fixture
def make_curves():
    """Return a function that makes loss curves of two phases per training run."""

    def make(arms=("agent_sft", "lwm_then_sft"), n_runs=3, scale="tiny"):
        rng = np.random.default_rng(1)
        rows = []
        for arm in arms:
            for seed in range(n_runs):
                for step in range(0, 200, 10):
                    phase = "lwm_sft" if arm.startswith("lwm") and step < 100 else "agent_sft"
                    loss = 0.3 + 2.5 * np.exp(-(step % 100 if "lwm" in arm else step) / 40) + rng.normal(0, 0.02)
                    rows.append((arm, scale, seed, step, step * 4096, loss, 1e-3, step * 0.1, phase))
        return pd.DataFrame(
            rows, columns=["arm", "scale", "training_seed", "step", "n_tokens", "loss", "lr", "seconds_s", "phase"]
        )

    return make
