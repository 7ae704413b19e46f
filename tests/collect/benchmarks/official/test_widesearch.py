"""The harness `widesearch`: an evaluation per question and trial, in which a failed judge or server is 0."""

import pytest
from harness_runs import harness_run, put, read, statuses

METRICS = ("f1_by_item", "f1_by_row", "score")


def evaluated(
    folder, question, trial, item, *, row=0.0, msg="table", columns="a_exact_match", answer="| a |", model="m"
):
    """Write the files of one trial; precision and recall equal F1."""
    stem = f"{model}_{question}_{trial}"
    scores = {
        f"{name}_by_{by}": value
        for by, value in (("row", row), ("item", item))
        for name in ("precision", "recall", "f1")
    }
    put(folder / f"{stem}_eval_result.json", {"instance_id": question, "score": float(item == 1), "msg": msg, **scores})
    if columns is not None:
        put(folder / f"{stem}_eval_result.csv", columns)
    line = {"instance_id": question, "response": answer, "messages": [{"role": "assistant"}] * 2, "trial_idx": trial}
    import json

    put(folder / f"{stem}_response.jsonl", json.dumps(line) + "\n")


def test_item_f1_is_the_score_and_row_f1_and_success_are_details(tmp_path):
    evaluated(tmp_path, "ws_en_001", 0, 0.5, row=0.25)
    evaluated(tmp_path, "ws_zh_001", 0, 1.0, row=1.0)
    rows, problems = read("widesearch", harness_run(tmp_path))
    assert problems == [] and [rows[q, 0].value for q in ("ws_en_001", "ws_zh_001")] == [0.5, 1.0]
    details = rows["ws_en_001", 0].details
    assert (details["f1_by_row"], details["score"], details["judge"]) == (0.25, 0.0, "gpt-4.1-2025-04-14")
    assert rows["ws_en_001", 0].n_turns == 2
    assert read("widesearch", harness_run(tmp_path), metric="f1_by_row")[0]["ws_en_001", 0].value == 0.25


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"columns": "score,msg\n0,llm judge failed due llm return none error"}, "judge_failed"),
        ({"columns": "score,msg\n0,llm judge failed due to parse error"}, "judge_failed"),
        ({"msg": "evaluator error: \nTraceback\nKeyError: 'x'", "columns": None}, "judge_failed"),
        ({"msg": "response is None", "columns": None}, "engine_error"),
        ({"msg": "response_df is None", "columns": None, "answer": None}, "engine_error"),
        ({"msg": "response_df is None", "columns": None, "answer": "NULL"}, "engine_error"),
        ({"msg": "response_df is None", "columns": None, "answer": "I could not do it"}, "ok"),
    ],
)
def test_zero_of_a_failed_judge_or_server_is_no_score_and_one_of_an_answer_without_table_is(tmp_path, changes, status):
    evaluated(tmp_path, "q1", 0, 0.0, **changes)
    evaluated(tmp_path, "q2", 0, 0.5)
    rows, problems = read("widesearch", harness_run(tmp_path))
    assert problems == [] and statuses(rows)["q1", 0] == ((0.0 if status == "ok" else None), status)
    assert rows["q1", 0].stop_reason == ("engine_error" if status == "engine_error" else "answer")


def test_composites_are_the_mean_best_and_worst_of_the_trials_and_agree_with_the_tool(tmp_path):
    for question, items in (("q1", (0.2, 0.6)), ("q2", (0.4, 1.0))):
        for trial, item in enumerate(items):
            evaluated(tmp_path, question, trial, item)
    summary = {"f1_by_item": {"avg_n": 0.55, "max_n": 0.8, "min_n": 0.3}, "score": {"avg_n": 0.25}}
    put(tmp_path / "m_trial_num_2_summary.json", summary)
    run = harness_run(tmp_path, n_trials=2)
    assert read("widesearch", run)[1] == []
    from replication.collect.benchmarks import official

    harness = official.load("widesearch")
    composites = {c.name: (c.value, c.tool) for c in harness.composites(run, harness.ingest(run))}
    assert composites["f1_by_item avg_n"] == (pytest.approx(0.55), 0.55)
    assert composites["f1_by_item max_n"] == (pytest.approx(0.8), 0.8)
    assert composites["f1_by_item min_n"] == (pytest.approx(0.3), 0.3)
    assert composites["f1_by_row max_n"] == (0.0, None) and composites["score avg_n"] == (0.25, 0.25)
    put(tmp_path / "m_trial_num_2_summary.json", {"f1_by_item": {"avg_n": 0.6}})
    _, problems = read("widesearch", run)
    assert problems == [
        "f1_by_item avg_n of these rows is 0.55, the tool's own is 0.6: rows are missing, or not of this run."
    ]


def test_trial_that_is_not_there_is_missing_and_there_is_no_composite(tmp_path):
    evaluated(tmp_path, "q1", 0, 0.2)
    put(tmp_path / "m_trial_num_2_summary.json", {"f1_by_item": {"avg_n": 0.2}})
    run = harness_run(tmp_path, n_tasks=1, n_trials=2)
    rows, problems = read("widesearch", run)
    assert problems == [] and statuses(rows)["q1", 1] == (None, "missing")
    from replication.collect.benchmarks import official

    harness = official.load("widesearch")
    assert {c.value for c in harness.composites(run, harness.ingest(run))} == {None}


def test_wrong_f1_two_models_and_a_score_without_columns_are_problems(tmp_path):
    evaluated(tmp_path, "q1", 0, 0.5)
    evaluated(tmp_path, "q2", 0, 0.5, model="other")
    evaluated(tmp_path, "q3", 0, 0.5, columns=None)
    bad = {f"{name}_by_{by}": 0.5 for by in ("row", "item") for name in ("precision", "recall")}
    put(
        tmp_path / "m_q4_0_eval_result.json",
        {"instance_id": "q4", "score": 0.0, "msg": "response_df is None", "f1_by_row": 0.5, "f1_by_item": 0.9, **bad},
    )
    _, problems = read("widesearch", harness_run(tmp_path, n_tasks=4))
    assert "results of 2 models, m, other" in "".join(problems)
    assert "no m_q3_0_eval_result.csv beside it" in "".join(problems)
    assert len(problems) == 3


def test_judge_and_metric_are_part_of_the_grader():
    from replication.collect.benchmarks import official

    versions = [official.load("widesearch", o).version for o in ({}, {"judge": "local"}, {"metric": "f1_by_row"})]
    assert len(set(versions)) == 3 and "gpt-4.1-2025-04-14" in versions[0]
