"""The harness `swe_bench_pro`: eval_results.json, in which a container that did not start is false."""

import pytest
from harness_runs import SAMPLES, harness_run, listed, needs_samples, put, read, statuses

SHA = "0123456789abcdef0123456789abcdef01234567"
A, B, C = (f"instance_org__{name}-{SHA}-v{n}" for n, name in enumerate(("one", "two-words", "three")))


def graded(folder, results, *, outputs=(), patches=None, prefix="s0"):
    put(folder / "eval_results.json", results)
    for task in outputs:
        put(folder / task / f"{prefix}_output.json", {"tests": []})
    if patches is not None:
        put(folder / "patches.json", [{"instance_id": t, "patch": p, "prefix": prefix} for t, p in patches.items()])


def test_false_without_an_output_is_a_failure_of_the_infrastructure_and_with_one_a_failed_test(tmp_path):
    graded(tmp_path, {A: True, B: False, C: False}, outputs=[A, B])
    rows, problems = read("swe_bench_pro", harness_run(tmp_path, n_tasks=3))
    assert problems == []
    assert statuses(rows) == {(A, 0): (1.0, "ok"), (B, 0): (0.0, "ok"), (C, 0): (None, "infra_error")}
    assert [rows[i, 0].cluster for i in (A, B, C)] == ["org/one", "org/two-words", "org/three"]


def test_results_of_a_machine_without_containers_are_refused(tmp_path):
    graded(tmp_path, {A: False, B: False})
    _, problems = read("swe_bench_pro", harness_run(tmp_path))
    assert len(problems) == 1 and "no instance has an output file" in problems[0]
    rows, problems = read("swe_bench_pro", harness_run(tmp_path), outputs=False)
    assert problems == [] and {row.value for row in rows.values()} == {0.0}


def test_instances_that_were_not_submitted_are_missing_and_not_left_out_of_the_denominator(tmp_path):
    graded(tmp_path, {A: True, B: False})
    items = listed(tmp_path, A, B, C)
    rows, problems = read("swe_bench_pro", harness_run(tmp_path, n_tasks=3), outputs=False, **items)
    assert problems == [] and statuses(rows)[C, 0] == (None, "missing")


def test_other_items_are_a_problem_unless_the_list_is_a_stated_subset(tmp_path):
    graded(tmp_path, {A: True, B: False, C: True})
    items = listed(tmp_path, A, B)["items"]
    _, problems = read("swe_bench_pro", harness_run(tmp_path), outputs=False, items=items)
    assert len(problems) == 1 and "results of items that are not in" in problems[0]
    rows, problems = read("swe_bench_pro", harness_run(tmp_path), outputs=False, items=items | {"subset": True})
    assert problems == [] and sorted(rows) == [(A, 0), (B, 0)]
    _, problems = read("swe_bench_pro", harness_run(tmp_path, n_tasks=3), outputs=False, items=items)
    assert len(problems) == 1 and "must list the 3 items of `n_tasks`, each once; it has 2 lines" in problems[0]


def test_output_of_another_patch_or_prefix_is_found(tmp_path):
    graded(tmp_path, {A: True, B: True}, outputs=[A, B], patches={A: "new", B: "same"})
    put(tmp_path / A / "s0_patch.diff", "old")
    put(tmp_path / B / "s0_patch.diff", "same")
    _, problems = read("swe_bench_pro", harness_run(tmp_path))
    assert len(problems) == 1 and "is of another patch" in problems[0] and A in problems[0]
    put(tmp_path / B / "s1_output.json", {})
    assert any("outputs of 2 prefixes" in p for p in read("swe_bench_pro", harness_run(tmp_path))[1])


def test_empty_patch_counts_and_one_that_the_endpoint_caused_does_not(tmp_path):
    graded(tmp_path, {A: False, B: False, C: True}, outputs=[C], patches={A: "", B: "", C: "x"})
    put(tmp_path / "exit_statuses_1.yaml", f"instances_by_exit_status:\n  InternalServerError:\n  - {B}\n")
    rows, _ = read("swe_bench_pro", harness_run(tmp_path, n_tasks=3))
    assert statuses(rows) == {(A, 0): (0.0, "ok"), (B, 0): (None, "engine_error"), (C, 0): (1.0, "ok")}
    assert rows[A, 0].details["empty_patch"] is True


def test_infrastructure_errors_of_newer_versions_are_unscored(tmp_path):
    graded(tmp_path, {A: True}, outputs=[A])
    put(tmp_path / "infra_errors.json", {B: "no image"})
    rows, _ = read("swe_bench_pro", harness_run(tmp_path))
    assert statuses(rows)[B, 0] == (None, "infra_error") and rows[B, 0].error == "no image"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (f'{{"{A}": true, "{A}": false}}', "has the key .* twice"),
        (f'{{"{A}": "true"}}', "must map each instance to true or false"),
        ("{", "is not a JSON file"),
    ],
)
def test_file_that_is_not_a_result_of_each_item_is_a_problem(tmp_path, text, problem):
    import re

    put(tmp_path / "eval_results.json", text)
    _, problems = read("swe_bench_pro", harness_run(tmp_path))
    assert any(re.search(problem, found) for found in problems)


@needs_samples
def test_official_scorer_and_published_results_are_read():
    rows, problems = read("swe_bench_pro", harness_run(SAMPLES / "ours" / "swebench_pro" / "toy_run" / "out"))
    assert problems == [] and sorted(row.value for row in rows.values()) == [0.0, 1.0]
