"""Batches of Claw-Eval that end in the middle: what is graded is kept, and only the rest is played again.

The tool is a stand-in with its rules of `--continue`. Where REPLICATION_CLAW_EVAL names a clone at commit 9365e1a with its
packages in `.venv`, the real one is killed in the middle of a batch.
"""

import json
import os
import signal
import sys
from pathlib import Path

import pytest
from chat_endpoint import ChatEndpoint, one_round_of_calls
from harness_runs import harness_run, put, statuses

from replication.collect.benchmarks import official
from replication.errors import HarnessError

REAL = os.environ.get("REPLICATION_CLAW_EVAL")
SCORES = {"completion": 1.0, "robustness": 1.0, "safety": 1.0}
CLI = """
import json, sys, uuid
from pathlib import Path

def _load_completed_results(folder):
    tasks = {}
    for path in sorted(folder.glob("*.jsonl")):
        event = json.loads(path.read_text())
        tasks.setdefault(event["task_id"], []).append({"trace": str(path), **event})
    return [{"task_id": task, "trials": trials, "error": None} for task, trials in tasks.items()]

def main(argv):
    get = lambda name: argv[argv.index(name) + 1]
    folder, trials, plan = Path(get("--continue")), int(get("--trials")), json.loads(Path(get("--config") + ".plan").read_text())
    done = {r["task_id"]: len(r["trials"]) for r in _load_completed_results(folder)}
    todo = {task: trials - done.get(task, 0) for task in plan if done.get(task, 0) < trials}
    if not todo:
        return
    results = []
    for task, n in todo.items():
        made = []
        for _ in range(n):
            kind = plan[task].pop(0) if plan[task] else "ok"
            with open(folder.parent / "played.txt", "a") as file:
                file.write(task + "\\n")
            if kind == "kill":
                sys.exit(9)
            if kind == "ok":
                event = {"task_id": task, "completion": 1.0, "robustness": 1.0, "safety": 1.0, "task_score": 1.0,
                         "passed": True, "model_input_tokens": 3, "model_output_tokens": 2}
                path = folder / (f"{0xfff - len(list(folder.iterdir())):03x}.jsonl")
                path.write_text(json.dumps(event))
                made.append({"trace": str(path), **event})
            else:
                made.append({"trial": 0, "error": kind, "task_score": 0.0, "passed": False})
            if kind == "cut":
                sys.exit(9)
        errors = [t["error"] for t in made if t.get("error")]
        results.append({"task_id": task, "trials": made, "error": errors[0] if len(errors) == len(made) else None})
        (folder / "batch_results.json").write_text(json.dumps(results))
    results = _load_completed_results(folder) or results
    (folder / "batch_results.json").write_text(json.dumps(results))
    (folder / "batch_summary.json").write_text(json.dumps({"tasks": len(results), "avg_score": 1.0, f"pass_hat_{trials}": len(results)}))
"""  # noqa: E501, of the stand-in


@pytest.fixture
def play(tmp_path):
    """Play a batch; `plan` lists by task what becomes of its next trials, all others are graded."""
    put(tmp_path / "ce" / "src" / "claw_eval" / "cli.py", CLI)
    put(tmp_path / "ce" / "src" / "claw_eval" / "__init__.py", "")
    (tmp_path / "ce" / "tasks").mkdir()
    run = harness_run(tmp_path / "run", n_tasks=2, n_trials=2)

    def played(plan):
        with ChatEndpoint(lambda body: "x") as model, ChatEndpoint(lambda body: "x", model="j") as judges:
            launch = {"venv": sys.prefix, "checkout": str(tmp_path / "ce"), "container": "none",
                      "endpoint": model.endpoint().url}  # fmt: skip
            judging = {"url": judges.endpoint().url, "served": "j"}
            harness = official.load("claw_eval", {"judging": judging, "launch": launch})
            put(tmp_path / "run" / "config.yaml.plan", plan)
            (tmp_path / "run" / "played.txt").unlink(missing_ok=True)
            harness.prepare(run)
            harness.launch(run)
            rows = {(row.task_id, row.trial): row for row in harness.ingest(run)}
            path = tmp_path / "run" / "played.txt"
            return rows, harness.validate(run), path.read_text().split() if path.is_file() else []

    return played


OK = {(task, trial): (1.0, "ok") for task in "ab" for trial in (0, 1)}


def test_batch_that_runs_through_has_the_summary_of_the_tool_and_is_not_played_again(play, tmp_path):
    rows, problems, played = play({"a": [], "b": []})
    assert statuses(rows) == OK and problems == [] and played == ["a", "a", "b", "b"]
    assert (tmp_path / "run" / "batch" / "batch_summary.json").is_file()
    assert play({"a": [], "b": []})[2] == []


def test_batch_that_was_killed_plays_the_rest_and_counts_no_trial_twice(play, tmp_path):
    with pytest.raises(HarnessError, match="`python` ended with code 9"):
        play({"a": [], "b": ["ok", "kill"]})
    rows, problems, played = play({"a": [], "b": []})
    assert statuses(rows) == OK and problems == [] and played == ["b"]
    assert not (tmp_path / "run" / "batch" / "batch_summary.json").exists(), "it would be of one trial"


def test_trials_that_failed_have_no_score_and_are_played_again_behind_those_that_have(play):
    rows, _, _ = play({"a": ["Connection error.", "ok"], "b": ["judge", "judge"]})
    assert statuses(rows) == {
        ("a", 0): (1.0, "ok"), ("a", 1): (None, "engine_error"),
        ("b", 0): (None, "judge_failed"), ("b", 1): (None, "judge_failed"),
    }  # fmt: skip
    source = rows["a", 0].details
    rows, problems, played = play({"a": [], "b": ["ok", "fixture not found"]})
    assert played == ["a", "b", "b"] and problems == [] and rows["a", 0].details == source
    assert statuses(rows) == OK | {("b", 1): (None, "infra_error")}


def test_batch_that_was_killed_after_its_last_grade_has_its_results(play):
    with pytest.raises(HarnessError, match="ended with code 9"):
        play({"a": [], "b": ["ok", "last"]} | {"b": ["ok", "ok"], "c": ["kill"]})
    rows, problems, played = play({"a": [], "b": []})
    assert statuses(rows) == OK and problems == [] and played == []


@pytest.mark.slow
@pytest.mark.skipif(not REAL, reason="REPLICATION_CLAW_EVAL names no clone of Claw-Eval")
def test_real_batch_that_is_killed_goes_on_and_leaves_no_service_on_its_ports(tmp_path):
    dies_at = [4]

    def agent(body):
        dies_at[0] -= 1
        if not dies_at[0]:
            for place in Path("/proc").glob("[0-9]*/cmdline"):
                text = place.read_bytes().split(b"\0") if place.exists() else []
                if b"-P" in text and str(tmp_path / "run" / "batch").encode() in text:
                    os.kill(int(place.parent.name), signal.SIGKILL)
                    break
        return one_round_of_calls(body)

    def judge(body):
        return json.dumps({"score": 0.6, "reasoning": "r"})

    run = harness_run(tmp_path / "run", n_tasks=1, n_trials=3)
    with ChatEndpoint(agent) as model, ChatEndpoint(judge, model="j") as judges:
        launch = {"venv": str(Path(REAL) / ".venv"), "checkout": REAL, "endpoint": model.endpoint().url, "workers": 1,
                  "container": "none"}  # fmt: skip
        options = {"judge": "j", "judging": {"url": judges.endpoint().url}, "launch": launch, "filter": "T012"}
        harness = official.load("claw_eval", options)
        harness.prepare(run)
        with pytest.raises(HarnessError, match="`python` ended with code -9"):
            harness.launch(run)
        n_before = len(model.bodies)
        assert n_before == 4 and not any(
            b"mock_services" in p.read_bytes() for p in Path("/proc").glob("[0-9]*/cmdline")
        )
        harness.prepare(run)
        harness.launch(run)
    rows = {(row.task_id, row.trial): row for row in harness.ingest(run)}
    assert harness.validate(run) == [] and len(rows) == 3
    assert [row.value for row in rows.values()] == [pytest.approx(0.504)] * 3
    assert len(model.bodies) == n_before + 4, "one trial was graded, and two were played"
