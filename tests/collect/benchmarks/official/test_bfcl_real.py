"""BFCL by its official program, in its own environment; skipped where `make harness NAME=bfcl` was not run.

The environment is looked for where REPLICATION_HARNESSES says, else in `results/harnesses`.
"""

import json

import pytest

from replication.collect.benchmarks.official import bfcl, bfcl_files, venvs
from replication.errors import HarnessError
from tests.collect.benchmarks.official.bfcl_oracle import Oracle
from tests.collect.benchmarks.official.chat_endpoint import ChatEndpoint
from tests.collect.benchmarks.official.test_bfcl import harness, play, run_of, values, works

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not venvs.is_installed(bfcl.RECIPE), reason="bfcl-eval is not installed: make harness NAME=bfcl"
    ),
    pytest.mark.skipif(not works("unshare") and not works("bwrap"), reason="no sandbox works here"),
]
CATEGORIES = ["simple_python", "irrelevance", "multi_turn_base"]


def oracle(categories, wrong=()):
    (data,) = bfcl.RECIPE.folder.glob("lib/python*/site-packages/bfcl_eval/data")
    return Oracle(data, categories, wrong)


def test_answers_of_the_key_score_one_and_a_wrong_one_in_five_scores_four_fifths(tmp_path):
    adapter = harness(categories=CATEGORIES, items=5, sandbox="auto")
    wrong = {"simple_python_2", "irrelevance_4", "multi_turn_base_1"}
    with ChatEndpoint(oracle(CATEGORIES).answer) as server:
        right = play(adapter, run_of(tmp_path / "right", server, n_tasks=15))
    assert [row.value for row in right.values()] == [1.0] * 15
    with ChatEndpoint(oracle(CATEGORIES, wrong).answer) as server:
        run = run_of(tmp_path / "wrong", server, n_tasks=15)
        rows = play(adapter, run)
    assert {task for (task, _), row in rows.items() if row.value == 0.0} == wrong
    assert adapter.facts(run)["measured"]["wire"]["sent"]["temperature"] == {"0.6": len(server.bodies)}


def test_calls_in_the_text_of_a_reply_are_read_in_prompt_mode(tmp_path):
    adapter = harness(categories=["simple_python"], items=2, sandbox="auto", mode="prompt")
    with ChatEndpoint(lambda body: "[calculate_triangle_area(base=10, height=5, unit='units')]") as server:
        rows = play(adapter, run_of(tmp_path, server, n_tasks=2))
    assert [row.value for row in rows.values()] == [1.0, 0.0]
    # The two requests are in flight together, so either may come first.
    assert not any("tools" in body for body in server.bodies)
    assert any("calculate_triangle_area" in body["messages"][0]["content"] for body in server.bodies)


def test_an_endpoint_that_dies_after_some_items_is_resumed(tmp_path):
    adapter = harness(categories=["irrelevance", "simple_python"], items=10, sandbox="auto", threads=2)
    with ChatEndpoint(oracle(["irrelevance", "simple_python"]).answer) as server:
        run = run_of(tmp_path, server, n_tasks=20)
        server.dies_after = 7
        adapter.prepare(run)
        with pytest.raises(HarnessError, match="does not answer after the harness ran"):
            adapter.launch(run)
        server.dies_after = None
        rows = play(adapter, run)
    assert [row.value for row in rows.values()] == [1.0] * 20
    assert len(server.bodies) == 20


def test_the_overall_score_equals_that_of_the_official_table(tmp_path):
    adapter = harness(categories=list(bfcl_files.CATEGORIES), sandbox="auto")
    run = run_of(tmp_path, None, n_tasks=5106)
    adapter.prepare(run)
    folder, chosen = run.folder / "trial_0", adapter._selection(run)
    assert {name: len(items) for name, items in chosen.items.items()}["live_multiple"] == 1053
    written = {}
    for category, items in chosen.items.items():
        key = oracle([category.replace("memory_kv", "memory")] if category == "memory_kv" else []).items
        answers = [truth[0] for _, truth in key] if key else [None] * len(items)
        for at, (item, answer) in enumerate(zip(items, answers)):
            turns = 5 if category.startswith("multi_turn") else 1
            result = [["No."]] * turns if turns > 1 else [[answer]] if answer and at % 3 else "No."
            row = {"id": item, "result": result, "input_token_count": 1, "output_token_count": 1, "latency": 1.0}
            written.setdefault(category, []).append(json.dumps(row) + "\n")
    for category, lines in written.items():
        path = folder / "result" / "replication" / "group" / f"BFCL_v4_{category}_result.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(lines))
    with bfcl._locked(folder) as held:
        adapter._evaluate(run, folder, chosen, "unshare", bfcl.RECIPE.python, held)
    assert adapter.validate(run) == []
    rows = {(row.task_id, 0): row for row in adapter.ingest(run)}
    assert sum(values(rows, "irrelevance")) == 240 and 0 < sum(values(rows, "memory_kv")) < 155
    assert bfcl_files.overall(list(rows.values())) == pytest.approx(bfcl_files.overall_of_harness(folder), abs=0.5e-4)
    (table,) = folder.glob("score/data_overall.csv")
    table.write_text(table.read_text().replace("%", "9%", 1))
    assert "in the harness's table" in adapter.validate(run)[0]


def test_a_failure_before_memory_items_runs_the_whole_category_again(tmp_path):
    adapter = harness(categories=["memory_kv"], sandbox="auto", threads=1)
    # Requests 12 to 14 are one of a conversation before the items: the client of the harness asks three times.
    with ChatEndpoint(lambda body: (500, "broken") if 12 <= len(server.bodies) <= 14 else "I do not know.") as server:
        run = run_of(tmp_path, server, n_tasks=155)
        rows = play(adapter, run)
    assert [row.value for row in rows.values()] == [0.0] * 155
    assert adapter.facts(run)["measured"]["wire"]["failures"] == {"engine_error": 3}
    first = [json.dumps(body["messages"]) for body in server.bodies].count(json.dumps(server.bodies[0]["messages"]))
    assert first == 2
