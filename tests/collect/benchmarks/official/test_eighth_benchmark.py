"""CONTRIBUTING's example of a further official benchmark works as printed, in at most 40 lines."""

import dataclasses
import re
import sys

import pytest
from chat_endpoint import ChatEndpoint
from harness_runs import harness_run, listed, put, read, statuses

from replication import settings
from replication.collect.benchmarks import official
from replication.errors import HarnessError

GUIDE = (settings.CONF.parent / "CONTRIBUTING.md").read_text(encoding="utf-8")
TOOL = """#!/bin/sh
echo "$@" > seen.txt; echo "$OPENAI_BASE_URL" > url.txt
echo '[{"id": "a", "attempt": 0, "correct": true, "error": null},
       {"id": "b", "attempt": 0, "correct": false, "error": null},
       {"id": "c", "attempt": 0, "correct": false, "error": "connection refused"}]' > results.json
"""


@pytest.fixture
def mybench(tmp_path, monkeypatch):
    """The module of the guide, beside those of the package."""
    (code,) = re.findall(
        r"```python\n(.*?)```", GUIDE.partition("## Add a benchmark with an official harness")[2], re.DOTALL
    )[:1]
    assert len(code.splitlines()) <= 40
    put(tmp_path / "plugins" / "mybench.py", code)
    monkeypatch.setattr(official, "__path__", [*official.__path__, str(tmp_path / "plugins")])
    yield
    sys.modules.pop(f"{official.__name__}.mybench")


def test_results_of_the_example_are_read_over_the_fixed_items(tmp_path, mybench):
    put(tmp_path / "run" / "results.json", [{"id": "a", "attempt": 0, "correct": True, "error": None}, {"id": "b"}])
    rows, problems = read(
        "mybench", harness_run(tmp_path / "run", n_tasks=3), **listed(tmp_path / "run", "a", "b", "c")
    )
    assert statuses(rows) == {("a", 0): (1.0, "ok"), ("b", 0): (None, "missing"), ("c", 0): (None, "missing")}
    assert len(problems) == 1 and "lacks a field" in problems[0]


def test_tool_of_the_example_is_launched_and_a_dead_endpoint_is_no_score(tmp_path, mybench):
    put(tmp_path / "venv" / "bin" / "mybench", TOOL).chmod(0o755)
    run = harness_run(tmp_path / "run", n_tasks=3)
    with ChatEndpoint(lambda body: "x", model="m") as server:
        run = dataclasses.replace(run, endpoint=server.endpoint())
        rows, problems = read("mybench", run, launch={"venv": str(tmp_path / "venv"), "served": "m"})
    assert problems == []
    assert statuses(rows) == {("a", 0): (1.0, "ok"), ("b", 0): (0.0, "ok"), ("c", 0): (None, "engine_error")}
    assert (tmp_path / "run" / "seen.txt").read_text() == "run --model m\n"
    assert re.fullmatch(r"http://127\.0\.0\.1:[0-9]+/v1\n", (tmp_path / "run" / "url.txt").read_text())
    with pytest.raises(HarnessError, match=r"no `results\.json` in"):
        official.load("mybench").prepare(harness_run(tmp_path / "empty"))
