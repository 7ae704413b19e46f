"""Measured components agree with the analysis of the same data; data that cannot be decomposed is named."""

import numpy as np
import pandas as pd
import pytest
from parts import index_of, labels_of
from plan_studies import SEVEN, composed, freeze, normal_scores, origins

from replication.analyse.planning.precision import MEAN
from replication.analyse.stats.estimates.differences import Pair, mean_paired_difference, paired_difference
from replication.commands.plan import planned
from replication.errors import AnalysisError, ConfigError
from replication.records import Episode, RunSpec, Sampling, Task
from replication.store import Store
from replication.store.index import write_index


def test_measured_components_reproduce_the_errors_of_the_analysis(tmp_path):
    arrays, table = normal_scores(n_tasks=20)
    freeze(tmp_path, "controlled", table.sample(frac=1, random_state=1))
    same = [f"benchmarks.{name}.n_tasks=20" for name in SEVEN]
    found = planned(composed(tmp_path, "study=controlled", "study.n_trials=2", *same))
    for name, array in arrays.items():
        estimate = paired_difference(array[1], array[0], target="T2")
        assert found.precision[name].half_width_t2 == pytest.approx((estimate.high - estimate.low) / 2)
    pairs = [Pair(array[1], array[0]) for array in arrays.values()]
    t2, t3 = (mean_paired_difference(pairs, target=target) for target in ("T2", "T3"))
    mean = found.precision[MEAN]
    assert mean.half_width_t2 == pytest.approx((t2.high - t2.low) / 2)
    assert found.allocation.current.se == pytest.approx(t3.se)
    assert mean.half_width_t3 > mean.half_width_t2
    assumptions = origins(found)
    assert assumptions["variance parts, lwm_then_sft and agent_sft"] == "measured: frozen `controlled`"
    assert "SD between training runs, per arm" not in assumptions and "pass rate, icc, rho" not in assumptions
    assert found.volumes["terminal"].prompt_tokens == pytest.approx(
        found.volumes["terminal"].episodes * 100 + found.volumes["terminal"].predictions * 118
    )


def test_one_trial_per_task_names_the_confounded_components(tmp_path):
    arrays, table = normal_scores(n_tasks=20, n_trials=1)
    freeze(tmp_path, "controlled", table)
    found = planned(composed(tmp_path, "study=controlled", *[f"benchmarks.{name}.n_tasks=20" for name in SEVEN]))
    assert any("counted as trial noise" in name for name in origins(found))
    assert all(parts.interaction2 == 0 < parts.s2 for parts in found.variances.values())
    estimate = paired_difference(arrays["office"][1], arrays["office"][0], target="T2")
    assert found.precision["office"].half_width_t2 == pytest.approx((estimate.high - estimate.low) / 2)


def test_one_training_run_measures_all_but_the_spread_between_runs(tmp_path):
    freeze(tmp_path, "controlled", normal_scores(n_tasks=20, n_runs=1)[1])
    found = planned(composed(tmp_path, "study=controlled"))
    assert all(parts.tau == 0.02 and parts.omega2 > 0 for parts in found.variances.values())
    assert origins(found)["SD between training runs, per arm"] == "given: plan.tau"


def test_public_checkpoints_are_measured_and_two_of_one_arm_are_not_runs_of_one_training(tmp_path):
    table = normal_scores(n_tasks=20)[1]
    freeze(tmp_path, "controlled", table[table["training_seed"] == 0])
    freeze(
        tmp_path,
        "public",
        table[(table["training_seed"] == 0) | (table["arm"] == "agent_sft")].assign(training_seed=None),
    )
    one, public = (planned(composed(tmp_path, "study=controlled", f"plan.data={d}")) for d in ("controlled", "public"))
    assert public.variances == one.variances


def test_seed_effects_that_both_arms_share_cancel_in_the_components_of_their_difference(tmp_path):
    table = normal_scores(n_tasks=20)[1]
    freeze(tmp_path, "controlled", table)
    alone = planned(composed(tmp_path, "study=controlled"))
    rng = np.random.default_rng(3)
    shared = {key: rng.normal(0, 0.5) for key in table.groupby(["benchmark", "training_seed", "task_id"]).groups}
    keys = zip(table["benchmark"], table["training_seed"], table["task_id"], strict=True)
    table["value"] += [shared[key] for key in keys]
    freeze(tmp_path / "with", "controlled", table)
    together = planned(composed(tmp_path, "study=controlled", f"paths.paper={tmp_path}/with"))
    for name, parts in alone.variances.items():
        assert together.variances[name][:3] == pytest.approx(parts[:3])


def test_scores_of_another_training_run_under_the_same_seed_are_refused(tmp_path):
    freeze(tmp_path, "controlled", normal_scores(n_tasks=20)[1])
    path = tmp_path / "data/controlled/scores.csv"
    scores = pd.read_csv(path)
    retrained = scores[(scores["training_seed"] == 0) & (scores["arm"] == "agent_sft")].assign(
        unit="again@1", revision="1"
    )
    pd.concat([scores, retrained.assign(run_id="again-" + retrained["run_id"])]).to_csv(path, index=False)
    with pytest.raises(AnalysisError, match="2 checkpoints of one training run"):
        planned(composed(tmp_path, "study=controlled"))


def test_public_checkpoints_are_not_measured_as_training_runs(tmp_path):
    table = normal_scores(n_tasks=20)[1]
    freeze(tmp_path, "controlled", table)
    path = tmp_path / "data/controlled/scores.csv"
    scores = pd.read_csv(path)
    scores["training_seed"] = scores["training_seed"].where(scores["arm"] != "agent_sft").astype("Int64")
    scores.to_csv(path, index=False)
    found = planned(composed(tmp_path, "study=controlled"))
    assert origins(found)["SD between training runs, per arm"] == "given: plan.tau"


def test_another_study_s_data_can_be_used_and_is_named(tmp_path):
    freeze(tmp_path, "controlled", normal_scores(n_tasks=20)[1], wall_s=36.0)
    found = planned(composed(tmp_path, "study=controlled_full", "plan.data=controlled"))
    assert "measured: frozen `controlled`" in origins(found).values()
    with pytest.raises(ConfigError, match="names study 'elsewhere'"):
        planned(composed(tmp_path, "study=controlled_full", "plan.data=elsewhere"))


def test_data_that_cannot_be_decomposed_leaves_the_assumed_components_and_names_the_reason(tmp_path):
    table = normal_scores(n_tasks=20)[1]
    freeze(tmp_path, "controlled", table.drop(table.index[table["benchmark"] == "office"][0]))
    found = planned(composed(tmp_path, "study=controlled"))
    assert found.variances["office"].tau == 0.02 != found.variances["calling"].tau
    assert any("not balanced" in value for _, value, _ in found.assumptions)
    assumptions = origins(found)
    assert assumptions["pass rate, icc, rho (office)"].startswith("given")
    assert assumptions["SD between training runs, per arm"] == "given: plan.tau"


def store_episodes(tmp_path, study, *, wall_s, n_episodes):
    """One checkpoint's run of episodes that took 90 + 10 tokens each."""
    store = Store(tmp_path / "results/store")
    spec = RunSpec(
        model="organism/x", revision="r", engine="scripted", engine_options={}, max_malformed=3, dtype="float32",
        context=1024, benchmark="terminal", benchmark_version="1",
        scaffold="compact", scaffold_version="1", max_turns=8, max_episode_tokens=512,
        sampling=Sampling(temperature=0.6, max_tokens=64), seed=0,
    )  # fmt: skip
    task = Task(id="terminal/evaluation/1/0", benchmark="terminal", prompt="", tools=(), setup={})
    with store.writer(spec, labels_of(spec), {"engine": "scripted"}, [task]) as writer:
        for trial in range(n_episodes):
            writer.append(
                Episode(run_id=spec.run_id, task_id=task.id, task_hash=task.content_hash, trial=trial, trajectory=(),
                        stop_reason="answer", n_turns=1, n_malformed=0, n_prompt_tokens=90, n_completion_tokens=10,
                        seeds=(trial,), wall_s=wall_s)
            )  # fmt: skip
    write_index(tmp_path / "results", index_of(study, run_ids=(spec.run_id,)))


@pytest.mark.parametrize(("concurrency", "expected"), [(2, 100.0), (128, 400.0)])
def test_throughput_is_that_of_stored_episodes_side_by_side(tmp_path, concurrency, expected):
    store_episodes(tmp_path, "controlled", wall_s=2.0, n_episodes=8)
    # 8 x 100 tokens; two at a time: 8 s; all eight at once: 2 s.
    found = planned(composed(tmp_path, "study=controlled", f"engine.concurrency={concurrency}"))
    tokens = sum(s.prompt_tokens + s.completion_tokens for s in found.volumes.values())
    assert found.engine_hours == pytest.approx(tokens / expected / 3600)
    assert origins(found)["tokens per second and engine"].startswith("measured")
