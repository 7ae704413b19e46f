"""What experts do is written and read back equal by every scaffold, and solves its tasks through runner and engine."""

import dataclasses

import numpy as np
import pytest
import yaml
from parts import LONG, SCAFFOLDS, first_tasks, make_job, n_turns_so_far, script_of_all

from replication import settings
from replication.collect import runner, scaffolds
from replication.collect.benchmarks import suite
from replication.collect.benchmarks.suite import LEVELS, NAMES, policies
from replication.collect.benchmarks.suite.words import Lexicon
from replication.collect.engines.scripted import ScriptedEngine
from replication.collect.interfaces import Action
from replication.records import Call
from replication.store import Store

every_scaffold = pytest.mark.parametrize(("name", "syntax"), SCAFFOLDS)
every_environment = pytest.mark.parametrize("benchmark", NAMES)
every_level = pytest.mark.parametrize("level", LEVELS)


def check_read_back(benchmark, policy, n):
    """Every action of a policy is written and read back equal by all scaffolds."""
    bench, readers = suite.load(benchmark), [scaffolds.load(*names) for names in SCAFFOLDS]
    for level in LEVELS:
        for i, (task, draft) in enumerate(bench.items("evaluation", level, n, 0)):
            for action in policy(bench, task, draft, Lexicon(np.random.default_rng(i), "evaluation")):
                for scaffold in readers:
                    assert scaffold.parse(scaffold.write(action), task) == action, (task.id, scaffold.name)


@every_environment
def test_experts_are_read_back_as_written(benchmark):
    check_read_back(benchmark, policies.expert, 10)


@pytest.mark.parametrize("policy", [policies.random_valid, policies.erring(1.0)], ids=["random_valid", "erring"])
@every_environment
def test_wrong_turns_and_random_calls_are_read_back_as_written(benchmark, policy):
    check_read_back(benchmark, policy, 5)


@pytest.mark.slow
@every_environment
def test_a_thousand_experts_are_read_back_as_written(benchmark):
    check_read_back(benchmark, policies.expert, 200)


def test_compact_cannot_say_blanks_before_the_last_value_nor_around_a_value_nor_line_breaks():
    # No expert needs them, and its docstring owns up to it.
    (task,) = first_tasks(suite.load("terminal"), "evaluation", 1, 1, 0)
    scaffold = scaffolds.load("compact")
    for file, text in (("a b", "x"), ("a", " x"), ("a", "x "), ("a", ""), ("a", "x\ny")):
        action = Action(calls=(Call(name="write", arguments={"file": file, "text": text}),))
        assert scaffold.parse(scaffold.write(action), task) != action
    assert scaffold.parse("write a  x  y", task).calls[0].arguments == {"file": "a", "text": "x  y"}


@pytest.mark.parametrize(("name", "syntax"), SCAFFOLDS[1:])
def test_hard_values_are_read_back_as_written(name, syntax):
    task = first_tasks(suite.load("terminal"), "evaluation", 1, 1, 0)[0]
    scaffold = scaffolds.load(name, syntax)
    for text in ("", " a ", "a\nb\n", '"{}[]\\', "Action: x\nFinal Answer: y", "é 😀\x00", "{'a'}; {\"name\": 1}"):
        action = Action(calls=(Call(name="write", arguments={"file": "a b.txt", "text": text}),))
        assert scaffold.parse(scaffold.write(action), task) == action
    for answer in ("done", "a | b\nc | d", "482, 12"):
        assert scaffold.parse(scaffold.write(Action(answer=answer)), task) == Action(answer=answer)


@every_scaffold
@every_level
def test_scripted_expert_scores_one_in_every_environment(tmp_path, name, syntax, level):
    jobs = [
        make_job(benchmark, scaffold=name, tool_syntax=syntax, n_tasks=2, n_trials=1, level=level, **LONG)
        for benchmark in NAMES
    ]
    engine, store = ScriptedEngine(script_of_all(jobs)), Store(tmp_path)
    runner.collect(store, engine, jobs, concurrency=4, title="test")
    table = store.score_table()
    assert table["value"].tolist() == [1.0] * 2 * len(NAMES) and set(table["benchmark"]) == set(NAMES)
    assert set(table["stop_reason"]) == {"answer"} and not table["n_malformed"].any()
    assert {(bool(r.tools), r.schema is not None) for r in engine.requests} == {(name == "native", name == "json")}


@every_scaffold
def test_malformed_reply_is_told_and_the_expert_goes_on(tmp_path, name, syntax):
    jobs = [
        make_job(benchmark, scaffold=name, tool_syntax=syntax, n_tasks=2, n_trials=1, **LONG) for benchmark in NAMES
    ]
    script, told = script_of_all(jobs), []
    broken = {"compact": "cat", "json": "{", "native": "<think>"}.get(name, "hm")

    def stumbling(request):
        if n_turns_so_far(request) == 0:
            return broken
        told.append(request.messages[3].content)
        return script(dataclasses.replace(request, messages=request.messages[:2] + request.messages[4:]))

    store = Store(tmp_path)
    runner.collect(store, ScriptedEngine(stumbling), jobs, concurrency=2, title="test")
    table = store.score_table()
    assert table["value"].tolist() == [1.0] * 2 * len(NAMES) and table["n_malformed"].tolist() == [1] * 2 * len(NAMES)
    assert len(told) >= 2 * len(NAMES) and all("error: " in text for text in told)


def check_limits(n):
    # The limits of `compact` are those of organisms, which play level 1 only.
    longest = {
        level: max(len(d.expert) for name in NAMES for _, d in suite.load(name).items("evaluation", level, n, 0))
        for level in LEVELS
    }
    for file in (settings.CONF / "scaffold").glob("*.yaml"):
        reached = longest[1] if file.stem == "compact" else longest[5]
        assert reached < yaml.safe_load(file.read_text())["max_turns"]
    assert longest[5] < LONG["max_turns"]


def test_limits_of_conf_leave_room_for_the_expert():
    check_limits(10)


@pytest.mark.slow
def test_limits_of_conf_leave_room_for_two_hundred_experts():
    check_limits(200)
