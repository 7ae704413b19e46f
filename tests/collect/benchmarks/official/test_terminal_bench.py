"""The harness `terminal_bench`: trials of harbor's jobs, with each failure that the mean of a job hides."""

import pytest
from harness_runs import SAMPLES, harness_run, needs_samples, put, read, statuses

from replication.collect.benchmarks import official
from replication.errors import HarnessError


def trial(
    folder, name, *, task=None, reward=1.0, exception=None, message="", tokens=60, start=0, checksum="c", **agent
):
    kwargs = {"temperature": 1.0, "llm_call_kwargs": {"seed": 7, "top_p": 1.0}}
    return put(
        folder / name / "result.json",
        {
            "task_name": task or name.partition("__")[0], "trial_name": name, "task_checksum": checksum,
            "config": {"agent": {"name": "terminus-2", "override_timeout_sec": None, "kwargs": kwargs} | agent},
            "agent_info": {"name": "terminus-2", "model_info": {"name": "m"}},
            "agent_result": {"n_input_tokens": 300, "n_output_tokens": tokens, "metadata": {"n_episodes": 3}},
            "verifier_result": None if reward is None else {"rewards": {"reward": reward}},
            "exception_info": exception and {"exception_type": exception, "exception_message": message},
            "started_at": f"2026-11-23T16:50:{start:02}Z",
            "agent_execution": {"started_at": "2026-11-23T16:50:18Z", "finished_at": "2026-11-23T16:50:20.5Z"},
        },
    )  # fmt: skip


def job(folder, n, *, finished="2026-11-23T17:00:00", retries=0, mean=0.0):
    stats = {
        "n_completed_trials": n,
        "n_retries": retries,
        "evals": {"e": {"n_trials": 0, "metrics": [{"mean": mean}]}},
    }
    put(folder / "result.json", {"n_total_trials": n, "finished_at": finished, "stats": stats})


def test_trials_become_rows_with_tokens_turns_and_time(tmp_path):
    trial(tmp_path / "j", "a__1")
    trial(tmp_path / "j", "b__1", reward=0.0)
    job(tmp_path / "j", 2)
    rows, problems = read("terminal_bench", harness_run(tmp_path))
    assert problems == [] and {key: row.value for key, row in rows.items()} == {("a", 0): 1.0, ("b", 0): 0.0}
    a = rows["a", 0]
    assert (a.n_prompt_tokens, a.n_completion_tokens, a.n_turns, a.wall_s, a.stop_reason) == (300, 60, 3, 2.5, "answer")


def test_dead_endpoint_gives_no_score_although_the_job_says_mean_zero(tmp_path):
    trial(tmp_path / "j", "a__1")
    trial(tmp_path / "j", "b__1", reward=None, exception="InternalServerError", message="litellm.X", tokens=0)
    job(tmp_path / "j", 2, mean=0.0)
    rows, problems = read("terminal_bench", harness_run(tmp_path))
    assert problems == [] and statuses(rows) == {("a", 0): (1.0, "ok"), ("b", 0): (None, "engine_error")}
    assert rows["b", 0].stop_reason == "engine_error"


def test_endpoint_that_never_answered_is_a_problem_even_where_the_tests_wrote_a_reward(tmp_path):
    trial(tmp_path / "j", "a__1", reward=0.0, exception="AgentTimeoutError", tokens=0)
    _, problems = read("terminal_bench", harness_run(tmp_path, n_tasks=1))
    assert any("no trial generated a token" in problem for problem in problems)


@pytest.mark.parametrize(
    ("exception", "reward", "expected"),
    [
        ("AgentTimeoutError", 1.0, (1.0, "agent_timeout", "turn_limit")),
        ("AgentTimeoutError", 0.0, (0.0, "agent_timeout", "turn_limit")),
        ("VerifierTimeoutError", None, (0.0, "agent_timeout", "turn_limit")),
        ("ContextLengthExceededError", None, (0.0, "context_overflow", "context_overflow")),
        ("APIConnectionError", 0.0, (None, "engine_error", "engine_error")),
        ("EnvironmentStartTimeoutError", None, (None, "infra_error", "environment_error")),
        (None, None, (None, "infra_error", "environment_error")),
    ],
)
def test_failure_of_the_agent_counts_and_failure_of_the_set_up_does_not(tmp_path, exception, reward, expected):
    trial(tmp_path / "j", "a__1", reward=reward, exception=exception)
    rows, _ = read("terminal_bench", harness_run(tmp_path, n_tasks=1))
    row = rows["a", 0]
    assert (row.value, row.details["status"], row.stop_reason) == expected


def test_trials_are_numbered_by_start_and_a_failed_one_gives_its_number_to_a_later_one(tmp_path):
    for at, (reward, exception) in enumerate([(None, "APIConnectionError"), (1.0, None), (0.0, None), (0.5, None)]):
        trial(tmp_path / "j", f"a__{9 - at}", reward=reward, exception=exception, start=at)
    rows, problems = read("terminal_bench", harness_run(tmp_path, n_tasks=1, n_trials=3))
    assert problems == [] and [rows["a", n].value for n in range(3)] == [0.5, 1.0, 0.0] and len(rows) == 3


def test_scored_trial_beyond_the_stated_number_is_kept_for_the_general_check(tmp_path):
    for at in range(3):
        trial(tmp_path / "j", f"a__{at}", start=at)
    rows, _ = read("terminal_bench", harness_run(tmp_path, n_tasks=1, n_trials=2))
    assert sorted(rows) == [("a", 0), ("a", 1), ("a", 2)]


def test_attempt_that_is_not_there_is_missing_and_not_zero(tmp_path):
    trial(tmp_path / "j", "a__1")
    job(tmp_path / "j", 2)
    rows, problems = read("terminal_bench", harness_run(tmp_path, n_tasks=1, n_trials=2))
    assert statuses(rows)["a", 1] == (None, "missing")
    assert problems == ["job `j` has 2 trials; 1 of them have a result.json."]


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"finished": None}, "job `j` is not finished"),
        ({"retries": 2}, "retried 2 trials, and what they replaced was not kept; `options.max_retries` is 0"),
    ],
)
def test_job_that_is_not_whole_is_a_problem(tmp_path, changes, problem):
    trial(tmp_path / "j", "a__1")
    job(tmp_path / "j", 1, **changes)
    _, problems = read("terminal_bench", harness_run(tmp_path, n_tasks=1))
    assert len(problems) == 1 and problem in problems[0]


@pytest.mark.parametrize(
    ("agent", "problem"),
    [
        ({"kwargs": {"temperature": 0.7}}, "sent temperature 0.7, `sampling.temperature` is 1.0"),
        ({"kwargs": {}}, "states no temperature, so its own default was sent"),
        ({"kwargs": {"temperature": 1.0, "llm_call_kwargs": {"top_p": 0.5}}}, "sent top_p 0.5"),
        ({"override_timeout_sec": 60.0}, "agent timeout of 60.0, and `options.agent_timeout_s` is null"),
    ],
)
def test_parameters_that_differ_from_the_study_are_a_problem(tmp_path, agent, problem):
    trial(tmp_path / "j", "a__1", **agent)
    _, problems = read("terminal_bench", harness_run(tmp_path, n_tasks=1))
    assert len(problems) == 1 and problem in problems[0]


def test_two_versions_of_a_task_or_a_reward_outside_the_range_are_problems(tmp_path):
    trial(tmp_path / "j", "a__1", checksum="2.0")
    trial(tmp_path / "j", "a__2", checksum="2.1", start=1)
    trial(tmp_path / "j", "b__1", reward=3.0)
    _, problems = read("terminal_bench", harness_run(tmp_path, n_trials=2))
    assert any("task `a` has two checksums" in problem for problem in problems)
    assert any("trial `b__1` has the reward 3.0" in problem for problem in problems)


def test_folder_without_results_says_what_to_do(tmp_path):
    with pytest.raises(HarnessError, match=r"no `\*\*/result.json` in .* name the tool's virtual environment"):
        official.load("terminal_bench").prepare(harness_run(tmp_path))


@needs_samples
@pytest.mark.parametrize(
    ("name", "n_trials", "mean", "unscored"),
    [("oracle1", 3, 0.5, 0), ("terminus-mock", 3, 4 / 6, 0), ("down", 1, None, 2)],
)
def test_saved_jobs_of_harbor_have_the_scores_that_their_trials_had(name, n_trials, mean, unscored):
    folder = SAMPLES / "ours" / "harbor_terminal_bench" / "jobs" / name
    rows, problems = read(
        "terminal_bench", harness_run(folder, n_trials=n_trials, temperature=0.7, top_p=0.95, top_k=20)
    )
    values = [row.value for row in rows.values()]
    assert values.count(None) == unscored and len(values) == 2 * n_trials
    assert ("no trial generated a token" in "".join(problems)) == (name == "down")
    assert mean is None or sum(values) / len(values) == pytest.approx(mean)
