"""The harness `swe_bench`: predictions and the report of swebench, with each failure that a resolved rate hides."""

import json

import pytest
from harness_runs import SAMPLES, harness_run, listed, needs_samples, put, read, statuses

A, B, C, D = "django__django-1", "django__django-2", "sympy__sympy-3", "sympy__sympy-4"


def report(folder, **lists):
    names = (
        "resolved",
        "unresolved",
        "empty_patch",
        "error",
        "infra_failure",
        "ambiguous_failure",
        "incomplete",
        "submitted",
    )
    ids = {f"{name}_ids": lists.get(name, []) for name in names}
    put(folder / "m.run1.json", {"total_instances": 500, **ids, "schema_version": lists.get("schema_version", 2)})


def predicted(folder, patches):
    put(
        folder / "preds.json",
        {i: {"instance_id": i, "model_name_or_path": "m", "model_patch": p} for i, p in patches.items()},
    )


def trajectory(folder, task, status="Submitted", **sent):
    kwargs = {"temperature": 1.0, "top_p": 1.0} | sent
    usage = {"extra": {"response": {"usage": {"prompt_tokens": 100, "completion_tokens": 7}}}}
    info = {"exit_status": status, "model_stats": {"api_calls": 2}, "config": {"model": {"model_kwargs": kwargs}}}
    messages = [{"role": "user"}, {"role": "assistant", **usage}, {"role": "assistant", **usage}]
    put(folder / task / f"{task}.traj.json", {"info": info, "messages": messages})


def test_lists_of_the_report_become_rows_clustered_by_repository(tmp_path):
    report(tmp_path, resolved=[A], unresolved=[B], empty_patch=[C])
    predicted(tmp_path, {A: "x", B: "y", C: ""})
    trajectory(tmp_path, A)
    rows, problems = read("swe_bench", harness_run(tmp_path, n_tasks=3))
    assert problems == [] and [rows[i, 0].value for i in (A, B, C)] == [1.0, 0.0, 0.0]
    assert [rows[i, 0].cluster for i in (A, B, C)] == ["django/django", "django/django", "sympy/sympy"]
    assert (rows[A, 0].n_turns, rows[A, 0].n_prompt_tokens, rows[A, 0].n_completion_tokens) == (2, 200, 14)
    rows, _ = read("swe_bench", harness_run(tmp_path, n_tasks=3), clusters="none")
    assert {row.cluster for row in rows.values()} == {None}


@pytest.mark.parametrize("name", ["error", "infra_failure", "ambiguous_failure", "incomplete"])
def test_instance_that_was_not_graded_has_no_score_even_where_it_is_listed_as_unresolved(tmp_path, name):
    report(tmp_path, resolved=[A], unresolved=[B], **{name: [B]})
    rows, _ = read("swe_bench", harness_run(tmp_path))
    assert statuses(rows) == {(A, 0): (1.0, "ok"), (B, 0): (None, "infra_error")} and f"{name}_ids" in rows[B, 0].error


def test_agent_that_the_endpoint_stopped_has_no_score_and_one_at_its_limit_has(tmp_path):
    report(tmp_path, empty_patch=[A, B, C])
    put(
        tmp_path / "exit_statuses_1.yaml",
        f"instances_by_exit_status:\n  APIConnectionError:\n  - {A}\n  LimitsExceeded:\n  - {B}\n"
        f"  ContextWindowExceededError:\n  - {C}\n",
    )
    rows, _ = read("swe_bench", harness_run(tmp_path, n_tasks=3))
    assert statuses(rows) == {
        (A, 0): (None, "engine_error"), (B, 0): (0.0, "turn_limit"), (C, 0): (0.0, "context_overflow"),
    }  # fmt: skip


def test_rate_over_submitted_instances_is_never_used_missing_ones_are_listed(tmp_path):
    report(tmp_path, resolved=[A], unresolved=[B], submitted=[A, B, C])
    rows, problems = read("swe_bench", harness_run(tmp_path, n_tasks=4), **listed(tmp_path, A, B, C, D))
    assert problems == []
    assert statuses(rows)[C, 0] == statuses(rows)[D, 0] == (None, "missing")


def test_grade_of_another_patch_is_found(tmp_path):
    report(tmp_path, resolved=[A], unresolved=[B])
    predicted(tmp_path, {A: "new", B: "same"})
    logs = tmp_path / "logs" / "run_evaluation" / "run1" / "m"
    for task, patch, resolved in ((A, "old", True), (B, "same", False)):
        put(logs / task / "report.json", {task: {"resolved": resolved}})
        put(logs / task / "patch.diff", patch)
    _, problems = read("swe_bench", harness_run(tmp_path))
    assert len(problems) == 1 and f"the grade of `{A}` is of another patch" in problems[0]
    put(logs / B / "report.json", {B: {"resolved": True}})
    assert any(f"`{B}` is resolved in its report.json" in p for p in read("swe_bench", harness_run(tmp_path))[1])


def test_temperature_that_the_study_does_not_state_or_that_was_not_sent_is_a_problem(tmp_path):
    report(tmp_path, resolved=[A], unresolved=[B])
    trajectory(tmp_path, A, temperature=0.0)
    trajectory(tmp_path, B, temperature=None)
    _, problems = read("swe_bench", harness_run(tmp_path))
    assert len(problems) == 2 and any("sent temperature 0.0" in p for p in problems)
    assert any("the server's default was sent" in p for p in problems)


def test_report_of_an_older_grader_two_reports_and_repeated_predictions_are_problems(tmp_path):
    report(tmp_path, resolved=[A], unresolved=[B], schema_version=1)
    lines = [f'{{"instance_id": "{A}", "model_patch": "{patch}"}}' for patch in "xy"]
    put(tmp_path / "preds.jsonl", "\n".join(lines))
    _, problems = read("swe_bench", harness_run(tmp_path))
    assert len(problems) == 2 and "schema version 1: swebench 4.x grades otherwise" in "".join(problems)
    assert f"the predictions have `{A}` twice" in "".join(problems)
    put(tmp_path / "m.run2.json", {"resolved_ids": []})
    assert any("must have one report" in p for p in read("swe_bench", harness_run(tmp_path))[1])


def test_every_attempt_has_its_own_folder(tmp_path):
    report(tmp_path / "attempt_0", resolved=[A], unresolved=[B])
    report(tmp_path / "attempt_1", unresolved=[A, B])
    rows, problems = read("swe_bench", harness_run(tmp_path, n_trials=2))
    assert problems == [] and [rows[A, n].value for n in range(2)] == [1.0, 0.0]


@needs_samples
def test_report_and_predictions_of_the_official_tools_are_read():
    rows, problems = read("swe_bench", harness_run(SAMPLES / "ours" / "swebench", n_tasks=4))
    assert [rows[f"demo__demo-{n}", 0].value for n in (1, 2, 3, 4)] == [1.0, 0.0, 0.0, 0.0] and problems == []


@needs_samples
def test_trajectory_of_mini_swe_agent_shows_what_it_sent(tmp_path):
    from replication.collect.benchmarks.official.swe_bench import agent_ends

    end = agent_ends(SAMPLES / "ours" / "mini_swe_agent" / "out", [])["demo__demo-1"]
    assert (end.status, end.n_turns, dict(end.sent)) == ("ok", 3, {"temperature": 1.0, "top_p": 0.95})


def test_instances_whose_agent_the_set_up_ended_are_played_and_graded_again(tmp_path):
    from replication.collect.benchmarks.official import swe_bench

    folder = tmp_path / "attempt_0"
    put(
        folder / "preds.json",
        {name: {"instance_id": name, "model_patch": ""} for name in ("o__r-1", "o__r-2", "o__r-3")},
    )
    ends = {"o__r-1": "Submitted", "o__r-2": "InternalServerError", "o__r-3": "LimitsExceeded"}
    for name, status in ends.items():
        put(folder / name / f"{name}.traj.json", {"info": {"exit_status": status}, "messages": []})
        put(folder / "logs" / "run_evaluation" / "r" / "m" / name / "report.json", {name: {"resolved": False}})
    swe_bench.forget(harness_run(tmp_path))
    assert sorted(json.loads((folder / "preds.json").read_text())) == ["o__r-1", "o__r-3"]
    assert sorted(path.name for path in (folder / "logs").glob("*/*/*/*")) == ["o__r-1", "o__r-3"]
