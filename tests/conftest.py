"""Fixtures that several test files share."""

import functools
import os
import signal

# Before torch is loaded by whichever test comes first: training and serving on the CPU use one thread each.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pandas as pd
import pytest

from replication.store.table import COLUMNS


def pytest_configure() -> None:
    """Remove what a user has set for other programs; it would change tests and the commands that they start."""
    for name in list(os.environ):
        if name.startswith(("HYDRA_", "WANDB_")) or name in ("PYTHONWARNINGS", "PYTHONIOENCODING"):
            del os.environ[name]
    # A shell that starts the tests in the background makes them, and all that they start, ignore Ctrl-C.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # before the fixtures of the test
def pytest_runtest_setup(item) -> None:
    """Skip tests that need a GPU where torch finds none."""
    if item.get_closest_marker("gpu") and not has_gpu():
        pytest.skip("needs an NVIDIA GPU with the packages of DEVICE=gpu; torch finds none here")


@functools.cache
def has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def make_scores():
    """Return a function that makes a score table with planted arm means; binary scores, tasks shared by the arms.

    An arm's mean may be a mapping scale -> mean: the arm then exists at those scales only. `only_first` names arms with
    one training run.
    """

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
        only_first=(),
        seed=0,
    ):
        rng = np.random.default_rng(seed)
        rows = []
        for scale, params_b in scales:
            for benchmark in benchmarks:
                difficulty = rng.normal(0, 0.2, n_tasks)
                for arm, mean in arms.items():
                    mean = mean.get(scale) if isinstance(mean, dict) else mean
                    for training_seed in range(0 if mean is None else 1 if arm in only_first else n_runs):
                        shift = rng.normal(0, tau)
                        for scaffold in scaffolds:
                            chance = np.clip(mean + difficulty + shift, 0, 1)
                            solved = rng.random((n_trials, n_tasks)) < chance
                            run_id = f"{arm}-{scale}-{training_seed}-{benchmark}-{scaffold}"
                            model = f"org/{arm}/{scale}/s{training_seed}"
                            rows += [
                                (run_id, f"{model}@0", arm, None, "base", "organism", scale, params_b, np.nan,
                                 training_seed, model, "0" * 8, benchmark, scaffold, 7,
                                 f"{benchmark}/evaluation/1/{t:03}", f"hash{t:03}", 1, k, float(solved[k, t]), "exact-1",
                                 "answer", 3, 0, 100, 20)
                                for k in range(n_trials) for t in range(n_tasks)
                            ]  # fmt: skip
        return pd.DataFrame(rows, columns=list(COLUMNS)).astype({"training_seed": "Int64", "level": "Int64"})

    return make


@pytest.fixture(scope="session")
def make_probe():
    """Return a function that makes the probe table of the training runs of a score table.

    `skill` maps an arm to its token F1; a training run deviates from it with `sd`.
    """

    def make(scores, skill, *, sd=0.02, n_transitions=10, seed=2):
        rng = np.random.default_rng(seed)
        columns = ["unit", "arm", "scale", "params_b", "training_seed", "benchmark"]
        frames = []
        for run in scores[columns].drop_duplicates().itertuples(index=False):
            f1 = np.clip(skill[run.arm] + rng.normal(0, sd) + rng.normal(0, 0.1, n_transitions), 0, 1)
            ids = [f"{run.benchmark}/probe/1/{i:03}" for i in range(n_transitions)]
            frames.append(
                pd.DataFrame({"task_id": ids, "trial": 0, "value": (f1 > 0.8).astype(float), "token_f1": f1}).assign(
                    **run._asdict()
                )
            )
        return pd.concat(frames, ignore_index=True)[[*columns, "task_id", "trial", "value", "token_f1"]]

    return make


@pytest.fixture(scope="session")
def make_curves():
    """Return a function that makes loss curves of one or two phases per training run; `rl` in the name: a reward."""

    def make(arms=("agent_sft", "lwm_then_sft"), n_runs=3, scales=("tiny",)):
        rng = np.random.default_rng(1)
        rows = []
        for scale in scales:
            for arm in arms:
                for seed in range(n_runs):
                    for step in range(0, 200, 10):
                        second = "then" in arm and step >= 100
                        names = ("episodes", "predictions") if arm.endswith("rl") else ("transitions", "episodes")
                        phase = names[second] if "then" in arm else "episodes"
                        loss = 0.3 + 2.5 * np.exp(-(step % 100 if second else step) / 40) + rng.normal(0, 0.02)
                        reward = step / 200 if phase == "predictions" else np.nan
                        loss = -0.01 if phase == "predictions" else loss
                        rows.append((arm, scale, seed, step, step * 4096, loss, 1e-3, step * 0.1, phase, reward))
        return pd.DataFrame(
            rows,
            columns=["arm", "scale", "training_seed", "step", "n_tokens", "loss", "lr", "wall_s", "phase", "reward"],
        )

    return make
