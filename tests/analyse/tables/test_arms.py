"""The score table becomes arrays without mixing up runs, trials or tasks."""

import numpy as np
import pytest

from replication.analyse.stats.estimates.differences import paired_difference
from replication.analyse.tables.arms import arm_arrays, arm_means, pairs, run_differences
from replication.errors import AnalysisError

ARMS = {"lwm_then_sft": 0.6, "agent_sft": 0.4}


def test_arrays_hold_runs_trials_and_tasks_in_this_order(make_scores):
    scores = make_scores(ARMS)
    pair = pairs(scores.sample(frac=1, random_state=0), *ARMS)["calling"]
    assert np.shape(pair.treatment) == (3, 2, 40)
    row = scores.query("arm == 'lwm_then_sft' and benchmark == 'calling' and training_seed == 2 and trial == 1")
    assert np.asarray(pair.treatment)[2, 1].tolist() == row.sort_values("task_id")["value"].tolist()


def test_scaffolds_are_items_of_one_task(make_scores):
    pair = pairs(make_scores(ARMS, scaffolds=("compact", "react")), *ARMS)["terminal"]
    assert np.shape(pair.treatment)[2] == 80
    assert paired_difference(*pair[:2], target="T2", clusters=pair.clusters).n_tasks == 40


def test_episode_that_was_not_played_is_a_missing_score(make_scores):
    scores = make_scores(ARMS).drop(index=5)
    assert sum(int(np.isnan(pair.treatment).sum()) for pair in pairs(scores, *ARMS).values()) == 1


def test_scale_that_only_one_arm_has_is_left_out(make_scores):
    scores = make_scores(ARMS, scales=(("tiny", 0.001), ("small", 0.005)))
    scores = scores[(scores["scale"] == "tiny") | (scores["arm"] == "agent_sft")]
    assert np.shape(pairs(scores, *ARMS)["calling"].treatment) == (3, 2, 40)


def test_changed_task_content_is_another_task(make_scores):
    scores = make_scores(ARMS)
    scores.loc[(scores["arm"] == "agent_sft") & (scores["task_id"] == "calling/evaluation/1/003"), "task_hash"] = (
        "changed"
    )
    with pytest.raises(AnalysisError, match="must have played the same tasks of `calling`; 2 differ"):
        pairs(scores, *ARMS)


def test_arm_that_was_not_run_is_named(make_scores):
    with pytest.raises(AnalysisError, match="arm `general` was not run; the study has agent_sft, lwm_then_sft"):
        pairs(make_scores(ARMS), "general", "agent_sft")


def test_unequal_numbers_of_training_runs_over_scales_are_refused(make_scores):
    scores = make_scores(ARMS, scales=(("tiny", 0.001), ("small", 0.005)))
    with pytest.raises(AnalysisError, match="same number of training runs at every scale"):
        pairs(scores[(scores["scale"] == "tiny") | (scores["training_seed"] < 2)], *ARMS)


def test_run_differences_average_to_the_difference_of_means(make_scores):
    scores = make_scores(ARMS)
    runs, means = run_differences(scores, *ARMS), arm_means(scores).set_index(["arm", "benchmark"])["mean"]
    for benchmark in ("calling", "terminal"):
        expected = means["lwm_then_sft", benchmark] - means["agent_sft", benchmark]
        assert runs.query("benchmark == @benchmark")["value"].mean() == pytest.approx(expected)
    assert runs.query("benchmark == 'all'")["value"].tolist() == pytest.approx(
        runs.query("benchmark != 'all'").groupby("replicate")["value"].mean().tolist()
    )


def test_arm_means_count_unscored(make_scores):
    scores = make_scores(ARMS)
    scores.loc[3, "value"] = np.nan
    assert arm_means(scores)["n_unscored"].sum() == 1


def test_arrays_of_one_arm_average_over_scaffolds_and_leave_incomplete_tasks_out(make_scores):
    scores = make_scores(ARMS, scaffolds=("compact", "react"))
    part = scores[scores["arm"] == "agent_sft"].copy()
    part.loc[part.index[0], "value"] = np.nan
    arrays = arm_arrays(part.sample(frac=1, random_state=1).sort_values("trial", kind="stable"))
    assert {name: array.shape for name, array in arrays.items()} == {"calling": (3, 2, 39), "terminal": (3, 2, 40)}
    rows = part.query("benchmark == 'terminal' and training_seed == 2 and trial == 1")
    assert arrays["terminal"][2, 1].tolist() == pytest.approx(rows.groupby("task_id")["value"].mean().tolist())
