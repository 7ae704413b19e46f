"""The harness `qwenclawbench`: grading.json of each run, in which an agent that never ran may have a score."""

import pytest
from harness_runs import harness_run, put, read, statuses

HYBRID = {"automated.a": 1.0, "llm_judge.b": 0.5}


def graded(
    folder, task, score, *, run=None, errors=(), breakdown=HYBRID, notes="", kind="hybrid", simple=None, **execution
):
    items = [{"id": name, "severity": "error", "description": "d"} for name in errors]
    put(
        folder / "m" / (task if run is None else f"{task}_run_{run}") / "grading.json",
        {
            "task_id": task, "score": score, "score_simple": score if simple is None else simple, "max_score": 1.0,
            "grading_type": kind, "breakdown": breakdown, "notes": notes,
            "anomalies": {"is_anomalous": bool(items), "has_error": bool(items), "items": items},
            "execution": {"execution_time": 3.5, "timed_out": False, "transcript_length": 8} | execution,
        },
    )  # fmt: skip


def test_the_metric_names_which_of_the_two_scores_is_meant(tmp_path):
    graded(tmp_path, "task_1", 0.4, simple=0.7, run=1)
    graded(tmp_path, "task_1", 0.6, simple=0.8, run=2)
    put(tmp_path / "m" / "summary.json", {"scoring": "penalized", "mean_score": 0.5})
    run = harness_run(tmp_path, n_tasks=1, n_trials=2)
    rows, problems = read("qwenclawbench", run)
    assert problems == [] and [row.value for row in rows.values()] == [0.4, 0.6] and rows["task_1", 0].wall_s == 3.5
    rows, problems = read("qwenclawbench", run, metric="score_simple")
    assert problems == [] and [row.value for row in rows.values()] == [0.7, 0.8]
    put(tmp_path / "m" / "summary.json", {"scoring": "penalized", "mean_score": 0.6})
    assert "mean score of these rows is 0.5" in read("qwenclawbench", run)[1][0]


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"errors": ["EMPTY_TRANSCRIPT"]}, "engine_error"),
        ({"errors": ["ZERO_TOKEN_RESPONSE", "API_SERVER_ERROR"]}, "engine_error"),
        ({"errors": ["TASK_TIMED_OUT", "TERMINAL_API_FAILURE"]}, "engine_error"),
        ({"transcript_length": 0}, "engine_error"),
        ({"errors": ["EXIT_CODE_OOM"]}, "infra_error"),
        ({"errors": ["GRADING_SCRIPT_ERROR"]}, "judge_failed"),
        ({"breakdown": {"automated.a": 1.0}}, "judge_failed"),
        ({"breakdown": {}}, "judge_failed"),
    ],
)
def test_score_of_an_agent_that_never_ran_or_of_a_judge_that_failed_is_none(tmp_path, changes, status):
    graded(tmp_path, "task_1", 0.66, **changes)
    graded(tmp_path, "task_2", 0.5)
    rows, problems = read("qwenclawbench", harness_run(tmp_path))
    assert problems == [] and statuses(rows) == {("task_1", 0): (None, status), ("task_2", 0): (0.5, "ok")}


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"errors": ["TASK_TIMED_OUT", "EXIT_CODE_NONZERO"], "timed_out": True}, "agent_timeout"),
        ({"errors": ["SHORT_TRANSCRIPT"]}, "ok"),
        ({"breakdown": {"automated.a": 1.0}, "notes": "Score extracted from prose (JSON parse failed)"}, "ok"),
        ({"breakdown": {"a": 1.0}, "kind": "automated"}, "ok"),
    ],
)
def test_what_the_agent_did_itself_keeps_its_score(tmp_path, changes, status):
    graded(tmp_path, "task_1", 0.25, **changes)
    rows, _ = read("qwenclawbench", harness_run(tmp_path, n_tasks=1))
    assert statuses(rows) == {("task_1", 0): (0.25, status)}


def test_results_of_two_models_in_one_folder_and_of_another_task_are_problems(tmp_path):
    graded(tmp_path, "task_1", 0.5)
    (tmp_path / "m").rename(tmp_path / "n")
    graded(tmp_path, "task_2", 0.5)
    (tmp_path / "m" / "task_2").rename(tmp_path / "m" / "task_3")
    _, problems = read("qwenclawbench", harness_run(tmp_path))
    assert "results of 2 models, m, n" in problems[0]
    assert "is the result of `task_2`: it lies in the folder of another task" in problems[1]


def test_run_that_is_not_there_is_missing(tmp_path):
    graded(tmp_path, "task_1", 0.5, run=2)
    rows, _ = read("qwenclawbench", harness_run(tmp_path, n_tasks=1, n_trials=2))
    assert statuses(rows) == {("task_1", 0): (None, "missing"), ("task_1", 1): (0.5, "ok")}


def test_runs_without_a_score_lose_their_grade_so_that_the_tool_plays_them_again(tmp_path):
    from replication.collect.benchmarks.official import qwenclawbench

    graded(tmp_path, "task_1", 0.5)
    graded(tmp_path, "task_2", 0.0, errors=["TASK_TIMED_OUT"], timed_out=True)
    graded(tmp_path, "task_3", 0.0, errors=["TERMINAL_API_FAILURE"])
    (tmp_path / "m").rename(tmp_path / "replication-m")
    qwenclawbench.forget(harness_run(tmp_path), qwenclawbench.Options())
    assert sorted(path.parent.name for path in tmp_path.glob("*/*/grading.json")) == ["task_1", "task_2"]
