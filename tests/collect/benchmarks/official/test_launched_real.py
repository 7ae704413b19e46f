"""harbor and mini-swe-agent themselves on toy tasks, without containers; skipped where they are not installed.

`make harness NAME=terminal_bench` and `NAME=swe_bench` install them, where REPLICATION_HARNESSES says. Their toy tasks and
an environment of namespaces are in the folder of samples.
"""

import csv
import dataclasses
import json
import os
import re
import shutil
from pathlib import Path

import pytest
from chat_endpoint import ChatEndpoint
from harness_runs import SAMPLES, harness_run, needs_samples, statuses

from replication.collect.benchmarks import official
from replication.collect.benchmarks.official import launching, swe_bench, terminal_bench, venvs
from replication.errors import HarnessError

pytestmark = [pytest.mark.slow, needs_samples]
TOY = SAMPLES / "ours" / "harbor_terminal_bench"


def installed(recipe):
    return pytest.mark.skipif(not venvs.is_installed(recipe), reason=f"not installed: make harness NAME={recipe.name}")


def terminus(body):
    """Write the file that the task names, then say that it is complete."""
    file = re.search(r"/app/\w+\.txt", json.dumps(body["messages"]))[0]
    first = not any(message["role"] == "assistant" for message in body["messages"])
    commands = [{"keystrokes": f"echo 'Hello, world!' > {file}\n", "duration": 0.5}] if first else []
    return json.dumps({"analysis": "a", "plan": "p", "commands": commands, "task_complete": not first})


@installed(terminal_bench.RECIPE)
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("tmux"), reason="needs root for namespaces, and tmux")
def test_harbor_plays_toy_tasks_with_the_sampling_of_the_run_and_one_seed_an_attempt(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(TOY))
    with ChatEndpoint(terminus) as server:
        launch = {"venv": "auto", "endpoint": server.endpoint().url, "workers": 1, "keys": ["PYTHONPATH"]}
        options = {"tasks": str(TOY / "tasks"), "environment": "nsenv:NamespaceEnvironment", "launch": launch}
        harness = official.load("terminal_bench", options)
        run = harness_run(tmp_path / "run", n_trials=2, temperature=0.7, top_p=0.95, top_k=20)
        harness.prepare(run)
        harness.launch(run)
        assert harness.validate(run) == []
        rows = {(row.task_id, row.trial): row for row in harness.ingest(run)}
    assert set(statuses(rows)) == {(task, trial) for task in ("hello-file", "never-file") for trial in (0, 1)}
    assert set(statuses(rows).values()) == {(1.0, "ok")}
    assert {body["seed"] for body in server.bodies} == {0, 1} and {body["model"] for body in server.bodies} == {"org/m"}
    sent = harness.facts(run)["measured"]["wire"]["sent"]
    assert (
        set(sent["temperature"]) == {"0.7"} and set(sent["top_k"]) == {"20"} and harness.facts(run)["deviations"] == []
    )


@installed(terminal_bench.RECIPE)
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("tmux"), reason="needs root for namespaces, and tmux")
def test_harbor_plays_a_trial_again_whose_server_died_and_keeps_the_others(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(TOY))
    with ChatEndpoint(terminus) as server:
        launch = {"venv": "auto", "workers": 1, "keys": ["PYTHONPATH"]}
        options = {"tasks": str(TOY / "tasks"), "environment": "nsenv:NamespaceEnvironment", "launch": launch}
        harness, run = (
            official.load("terminal_bench", options),
            harness_run(tmp_path / "run", temperature=0.7, top_p=0.95),
        )
        run = dataclasses.replace(run, endpoint=server.endpoint())
        server.dies_after = 2  # a task takes two requests, or three where the agent is asked to confirm
        harness.prepare(run)
        with pytest.raises(HarnessError, match="does not answer after the harness ran"):
            harness.launch(run)
        first = {row.task_id: row.details["status"] for row in harness.ingest(run)}
        assert "engine_error" in first.values() and harness.pending(run)
        server.dies_after = None
        harness.launch(run)
        rows = {(row.task_id, row.trial): row for row in harness.ingest(run)}
        assert harness.validate(run) == [] and not harness.pending(run)
    assert set(statuses(rows).values()) == {(1.0, "ok")} and len(rows) == 2


PATCH = "diff --git a/m.py b/m.py\n--- a/m.py\n+++ b/m.py\n"


def swe_agent(body):
    """Write a patch and submit it."""
    commands = [
        f"printf '{PATCH.encode('unicode_escape').decode()}' > patch.txt",
        "echo COMPLETE_TASK_AND_SUBMIT_FINAL_OUTPUT && cat patch.txt",
    ]
    turn = sum(message["role"] == "assistant" for message in body["messages"])
    function = {"name": "bash", "arguments": json.dumps({"command": commands[min(turn, 1)]})}
    call = {"id": f"c{turn}", "type": "function", "function": function}
    return {"role": "assistant", "content": "THOUGHT: go", "tool_calls": [call]}


@installed(swe_bench.RECIPE)
@pytest.mark.skipif(Path("/var/run/docker.sock").exists(), reason="grading would start containers")
def test_mini_swe_agent_submits_a_patch_and_grading_without_docker_is_an_error_and_no_score(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "place").mkdir()
    lines = (SAMPLES / "ours" / "mini_swe_agent" / "test.jsonl").read_text().splitlines()
    (tmp_path / "data" / "test.jsonl").write_text(lines[0] + "\n")
    with ChatEndpoint(swe_agent) as server:
        launch = {"venv": "auto", "endpoint": server.endpoint().url, "workers": 1}
        options = {
            "data": str(tmp_path / "data"),
            "environment": "local",
            "cwd": str(tmp_path / "place"),
            "launch": launch,
        }
        harness, run = official.load("swe_bench", options), harness_run(tmp_path / "run", n_tasks=1, top_p=0.95)
        harness.prepare(run)
        with pytest.raises(HarnessError, match=r"(?s)`swebench` ended with code 1; .*DockerException"):
            harness.launch(run)
    preds = json.loads((tmp_path / "run" / "attempt_0" / "preds.json").read_text())
    assert preds["demo__demo-1"]["model_patch"].startswith("diff --git a/m.py")
    assert len(server.bodies) == 2 and {body["seed"] for body in server.bodies} == {0}
    assert launching.wire_of(run.folder).sent["temperature"] == {"1.0": 2}
    with pytest.raises(HarnessError, match="partial results in"):
        official.load("swe_bench").prepare(run)


PRO = os.environ.get("REPLICATION_SWE_BENCH_PRO")


@installed(swe_bench.RECIPE)
@pytest.mark.skipif(not PRO, reason="REPLICATION_SWE_BENCH_PRO names no clone of SWE-bench_Pro-os")
def test_mini_swe_agent_plays_rows_of_swe_bench_pro_and_a_grader_without_containers_gives_no_score(tmp_path):
    (tmp_path / "place").mkdir()
    name = "instance_demo__demo-" + "0" * 40 + "-vnan"
    row = {"instance_id": name, "repo": "Demo/Demo", "base_commit": "c", "problem_statement": "It breaks.",
           "requirements": "Works, with a \"comma\".", "interface": "None", "fail_to_pass": "['t']", "pass_to_pass": "[]",
           "before_repo_set_cmd": "true", "selected_test_files_to_run": "['t']"}  # fmt: skip
    with (tmp_path / "rows.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(row))
        writer.writeheader()
        writer.writerow(row)
    with ChatEndpoint(swe_agent) as server:
        options = {
            "data": str(tmp_path / "rows.csv"), "agent": "mini-swe-agent", "environment": "local",
            "cwd": str(tmp_path / "place"), "launch": {"venv": "auto", "checkout": PRO, "workers": 1},
        }  # fmt: skip
        harness, run = official.load("swe_bench_pro", options), harness_run(tmp_path / "run", n_tasks=1, top_p=0.95)
        run = dataclasses.replace(run, endpoint=server.endpoint())
        harness.prepare(run)
        try:
            harness.launch(run)
        except HarnessError as error:
            assert "swe_bench_pro_eval" in str(error) or "`python` ended" in str(error)
    line = json.loads((tmp_path / "run" / "instances" / "test.jsonl").read_text())
    assert line["image_name"] == "docker.io/jefzda/sweap-images:demo.demo-demo__demo-" + "0" * 40
    assert line["problem_statement"].startswith("It breaks.\n\nRequirements:\nWorks, with a")
    (patch,) = json.loads((tmp_path / "run" / "attempt_0" / "patches.json").read_text())
    assert patch["instance_id"] == name and patch["patch"].startswith("diff --git a/m.py")
    assert "Requirements:" in json.dumps(server.bodies[0]["messages"]) and len(server.bodies) == 2
    assert not any(result.value for result in harness.ingest(run))
