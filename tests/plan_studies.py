"""Composed studies and frozen scores with all variance components, for the tests of the plan."""

import numpy as np
import pandas as pd
from hydra import compose, initialize_config_dir
from parts import index_of

from replication import files, settings
from replication.analyse.planning.plan import Plan
from replication.records import to_json
from replication.store.frozen import CURVE, CURVE_KEY, TRAINING
from replication.store.table import COLUMNS

SEVEN = ("assistant", "calling", "office", "repair", "repository", "research", "terminal")


def composed(tmp_path, *overrides):
    settings.register()
    with initialize_config_dir(str(settings.CONF), version_base="1.3"):
        here = [f"paths.results={tmp_path}/results", f"paths.paper={tmp_path}"]
        return settings.checked(compose("config", overrides=[*here, *overrides]))


def freeze(tmp_path, study, scores, wall_s=40.0):
    folder = tmp_path / "data" / study
    name = scores["unit"]
    run_id = name.str.replace("/", "-") + "-" + scores["benchmark"]
    others = {
        "run_id": run_id, "unit": name + "@0", "model": name, "revision": "0", "params_b": 0.001, "seed": 0,
        "task_hash": "0", "level": 1, "grader": "exact-1", "stop_reason": "answer", "n_turns": 1, "n_malformed": 0,
    }  # fmt: skip
    files.write_csv(folder / "scores.csv", scores.assign(**others).reindex(columns=list(COLUMNS)))
    runs = scores[["arm", "scale", "training_seed"]].dropna().drop_duplicates()
    numbers = {"wall_s": wall_s, "n_parameters": 1000, "n_tokens": 1000, "n_sampled_tokens": 0}
    files.write_csv(folder / "training.csv", runs.assign(**numbers).reindex(columns=list(TRAINING)))
    files.write_csv(folder / "curves.csv", pd.DataFrame(columns=[*CURVE_KEY, *CURVE]))
    files.write_json(folder / "manifest.json", to_json(index_of(study, run_ids=tuple(sorted(set(run_id))))))


def normal_scores(n_tasks, n_trials=2, n_runs=3, seed=0):
    """Return scores with large variance components, as {benchmark: (arm, training run, trial, task)} and as a table."""
    rng = np.random.default_rng(seed)
    arrays, rows = {}, []
    shared = rng.normal(0, 0.1, (2, n_runs, 1, 1))
    for name in SEVEN:
        arrays[name] = (
            0.5 + shared + rng.normal(0, 0.2, (2, 1, 1, n_tasks)) + rng.normal(0, 0.05, (2, n_runs, 1, 1))
            + rng.normal(0, 0.1, (2, n_runs, 1, n_tasks)) + rng.normal(0, 0.1, (2, n_runs, n_trials, n_tasks))
        )  # fmt: skip
        rows += [
            ("xs", ("agent_sft", "lwm_then_sft")[a], r, name, "compact", f"{name}/{t:03}", k, value, 100, 20)
            for (a, r, k, t), value in np.ndenumerate(arrays[name])
        ]
    columns = "scale arm training_seed benchmark scaffold task_id trial value n_prompt_tokens n_completion_tokens"
    table = pd.DataFrame(rows, columns=columns.split())
    return arrays, table.assign(unit="organism/" + table["arm"] + "/s" + table["training_seed"].astype(str))


def origins(plan: Plan):
    return {name: origin for name, _, origin in plan.assumptions}
