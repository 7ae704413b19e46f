"""What experts do is written and read back equal by every scaffold, and solves its tasks through runner and engine."""

import dataclasses

import pytest
from parts import expert_script, make_job

from replication import runner, scaffolds
from replication.benchmarks import suite
from replication.engines.scripted import ScriptedEngine
from replication.interfaces import Action
from replication.records import Call
from replication.scaffolds.native import SYNTAXES
from replication.store import Store

SCAFFOLDS = [("compact", "hermes"), ("react", "hermes"), ("json", "hermes"), *(("native", s) for s in SYNTAXES)]
every_scaffold = pytest.mark.parametrize(("name", "syntax"), SCAFFOLDS)


@every_scaffold
@pytest.mark.parametrize("benchmark", ["terminal", "calling"])
def test_experts_are_read_back_as_written(benchmark, name, syntax):
    scaffold = scaffolds.load(name, syntax)
    for level in suite.LEVELS:
        for task, draft in suite.load(benchmark).items("evaluation", level, 20, 0):
            for action in draft.expert:
                assert scaffold.parse(scaffold.write(action), task) == action


@pytest.mark.parametrize(("name", "syntax"), SCAFFOLDS[1:])
def test_hard_values_are_read_back_as_written(name, syntax):
    task = suite.load("terminal").tasks("evaluation", 1, 1, 0)[0]
    scaffold = scaffolds.load(name, syntax)
    for text in ("", " a ", "a\nb\n", '"{}[]\\', "Action: x\nFinal Answer: y", "é 😀\x00", "{'a'}; {\"name\": 1}"):
        action = Action(calls=(Call(name="write", arguments={"file": "a b.txt", "text": text}),))
        assert scaffold.parse(scaffold.write(action), task) == action
    for answer in ("done", "a | b\nc | d", "482, 12"):
        assert scaffold.parse(scaffold.write(Action(answer=answer)), task) == Action(answer=answer)


@every_scaffold
@pytest.mark.parametrize("level", [1, 5])
def test_scripted_expert_scores_one_in_every_environment(tmp_path, name, syntax, level):
    scaffold, jobs = scaffolds.load(name, syntax), []
    for benchmark in ("terminal", "calling"):
        job = make_job(benchmark, n_tasks=4, n_trials=1, level=level)
        spec = dataclasses.replace(
            job.spec, scaffold=name, scaffold_version=scaffold.version, max_turns=60, max_episode_tokens=10_000
        )
        jobs.append(dataclasses.replace(job, spec=spec, scaffold=scaffold))
    scripts = {task.prompt: expert_script(job) for job in jobs for task in job.tasks}
    engine = ScriptedEngine(lambda r: scripts[next(m.content for m in r.messages if m.role == "user")](r))
    store = Store(tmp_path)
    runner.collect(store, engine, jobs, concurrency=4, title="test")
    table = store.score_table()
    assert table["value"].tolist() == [1.0] * 8 and set(table["stop_reason"]) == {"answer"}
    assert {(bool(r.tools), r.schema is not None) for r in engine.requests} == {(name == "native", name == "json")}


@every_scaffold
def test_malformed_reply_is_told_and_the_expert_goes_on(tmp_path, name, syntax):
    scaffold = scaffolds.load(name, syntax)
    job = dataclasses.replace(make_job(n_tasks=2, n_trials=1), scaffold=scaffold)
    script, told = expert_script(job), set()
    broken = {"compact": "cat", "react": "hm", "json": "{", "native": "<think>"}[name]

    def stumbling(request):
        seen = [m for m in request.messages if m.content != broken and "error: " not in m.content]
        if len(request.messages) == len(seen):
            return broken
        told.add(request.messages[3].content)
        return script(dataclasses.replace(request, messages=tuple(seen)))

    store = Store(tmp_path)
    runner.collect(store, ScriptedEngine(stumbling), [job], concurrency=2, title="test")
    table = store.score_table()
    assert table["value"].tolist() == [1.0] * 2 and table["n_malformed"].tolist() == [1, 1]
    assert len(told) == 1 and "error: " in told.pop()
