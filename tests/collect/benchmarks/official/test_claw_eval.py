"""The harness `claw_eval`: trials of batch_results.json, whose failures the tool's summary leaves out."""

import pytest
from harness_runs import SAMPLES, harness_run, needs_samples, put, read, statuses

from replication.collect.benchmarks import official

CONFIG = (
    "model: {model_id: m, extra_body: {temperature: 1.0}}\njudge: {model_id: gemini-3-flash-preview, enabled: true}\n"
)


def scored(completion, *, robustness=1.0, safety=1.0, tokens=20, **changes):
    score = safety * (0.8 * completion + 0.2 * robustness)
    return {
        "completion": completion, "robustness": robustness, "safety": safety, "task_score": score, "passed": score >= 0.75,
        "model_input_tokens": 100, "model_output_tokens": tokens, "wall_time_s": 0.5,
    } | changes  # fmt: skip


def batch(folder, tasks, summary=None, config=CONFIG):
    put(
        folder / "m_1" / "batch_results.json",
        [{"task_id": task, "error": None} | of_task for task, of_task in tasks.items()],
    )
    if summary:
        put(folder / "m_1" / "batch_summary.json", summary)
    if config:
        put(folder / "config.yaml", config)


def test_trials_become_rows_and_the_composites_agree_with_the_tool(tmp_path):
    batch(
        tmp_path, {"a": {"trials": [scored(1.0), scored(0.9)]}, "b": {"trials": [scored(0.75), scored(0.5)]}},
        {"tasks": 2, "avg_score": (1 + 0.92 + 0.8 + 0.6) / 4, "pass_hat_2": 1},
    )  # fmt: skip
    run = harness_run(tmp_path, n_trials=2)
    rows, problems = read("claw_eval", run)
    assert problems == [] and [row.value for row in rows.values()] == pytest.approx([1.0, 0.92, 0.8, 0.6])
    assert (rows["a", 0].n_prompt_tokens, rows["a", 0].n_completion_tokens, rows["a", 0].wall_s) == (100, 20, 0.5)
    harness = official.load("claw_eval")
    average, every = harness.composites(run, harness.ingest(run))
    assert average.value == pytest.approx(0.83) == average.tool and (every.name, every.value, every.tool) == (
        "pass^2",
        0.5,
        0.5,
    )
    assert [row.value for row in read("claw_eval", run, metric="passed")[0].values()] == [1.0, 1.0, 1.0, 0.0]


@pytest.mark.parametrize(
    ("error", "status"),
    [
        ("'NoneType' object has no attribute 'score'", "judge_failed"),
        ("Connection error.", "engine_error"),
        ("Error code: 500 - internal", "engine_error"),
        ("fixture not found", "infra_error"),
    ],
)
def test_failed_trial_has_no_score_although_the_file_has_a_zero(tmp_path, error, status):
    failed = {"trial": 1, "error": error, "task_score": 0.0, "passed": False}
    batch(tmp_path, {"a": {"trials": [scored(1.0), failed]}}, {"tasks": 1, "avg_score": 1.0, "pass_hat_2": 1})
    rows, problems = read("claw_eval", harness_run(tmp_path, n_tasks=1, n_trials=2))
    assert problems == [] and statuses(rows) == {("a", 0): (1.0, "ok"), ("a", 1): (None, status)}


def test_task_that_failed_as_a_whole_and_trials_that_are_not_there_have_no_score(tmp_path):
    batch(tmp_path, {"a": {"trials": [], "error": "Connection error."}, "b": {"trials": [scored(1.0)]}})
    rows, _ = read("claw_eval", harness_run(tmp_path, n_trials=2))
    assert statuses(rows) == {
        ("a", 0): (None, "engine_error"), ("a", 1): (None, "engine_error"),
        ("b", 0): (1.0, "ok"), ("b", 1): (None, "missing"),
    }  # fmt: skip


def test_trial_without_a_generated_token_is_a_dead_endpoint(tmp_path):
    batch(tmp_path, {"a": {"trials": [scored(0.0, tokens=0)]}, "b": {"trials": [scored(1.0)]}})
    assert statuses(read("claw_eval", harness_run(tmp_path))[0])["a", 0] == (None, "engine_error")


def test_temperature_zero_that_the_tool_sends_by_itself_is_a_problem(tmp_path):
    batch(tmp_path, {"a": {"trials": [scored(1.0)]}}, config="model: {model_id: m}\n")
    _, problems = read("claw_eval", harness_run(tmp_path, n_tasks=1))
    assert problems == [
        "claw-eval sent temperature 0.0, `sampling.temperature` is 1.0. Run it again, or state what was sent."
    ]
    assert read("claw_eval", harness_run(tmp_path, n_tasks=1, temperature=0.0))[1] == []
    (tmp_path / "config.yaml").unlink()
    assert "without a temperature there claw-eval sends 0" in read("claw_eval", harness_run(tmp_path, n_tasks=1))[1][0]


@pytest.mark.parametrize(
    ("trials", "config", "problem"),
    [
        ([scored(1.0), scored(1.0)], CONFIG, "has 2 trials where `n_trials` is 1: a retry appended them"),
        ([scored(1.0, task_score=0.5)], CONFIG, "is not safety x"),
        ([scored(0.5, passed=True)], CONFIG, "passed is True with task_score 0.6"),
        ([{"task_score": 1.0}], CONFIG, "lacks a field"),
        ([scored(1.0)], CONFIG.replace("gemini-3", "local"), "`judge` was local-flash-preview"),
        ([scored(1.0)], CONFIG.replace("enabled: true", "enabled: false"), "the judge was switched off"),
    ],
)
def test_batch_that_cannot_be_used_is_named(tmp_path, trials, config, problem):
    batch(tmp_path, {"a": {"trials": trials}}, config=config)
    _, problems = read("claw_eval", harness_run(tmp_path, n_tasks=1))
    assert len(problems) == 1 and problem in problems[0]


def test_summary_of_other_rows_is_a_problem(tmp_path):
    batch(tmp_path, {"a": {"trials": [scored(1.0)]}}, {"tasks": 1, "avg_score": 0.5, "pass_hat_1": 1})
    _, problems = read("claw_eval", harness_run(tmp_path, n_tasks=1))
    assert len(problems) == 1 and problems[0].startswith("average of these rows is 1, the tool's own is 0.5")


@needs_samples
def test_official_batch_has_the_average_that_the_tool_printed(tmp_path):
    import shutil

    shutil.copytree(SAMPLES / "ours" / "claw_eval" / "traces" / "my-model_26-11-23-17-04", tmp_path / "run")
    put(tmp_path / "config.yaml", CONFIG.replace("1.0", "0.7"))
    run = harness_run(tmp_path, n_tasks=12, n_trials=3, temperature=0.7)
    rows, problems = read("claw_eval", run)
    assert problems == [] and len(rows) == 36
    assert sum(row.value for row in rows.values()) / 36 == pytest.approx(0.4236, abs=5e-5)
