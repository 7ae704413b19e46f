"""The check of a checkpoint before its episodes are played."""

import dataclasses

import pytest
from mock_server import MockServer
from parts import expert_script, make_job, prompt_of

from replication.collect import build, engines, preflight, runner
from replication.collect.engines.scripted import ScriptedEngine
from replication.collect.interfaces import Action, ModelRef
from replication.errors import EngineError, RequestRefused
from replication.records import Call, Reply
from replication.store import Store


@pytest.mark.parametrize("syntax", ["hermes", "qwen3_coder", "llama3"])
def test_a_checkpoint_that_replies_and_shows_its_tools_passes_with_one_short_request(tmp_path, syntax):
    job = make_job(scaffold="native", tool_syntax=syntax, n_tasks=3)
    engine = ScriptedEngine(lambda request: "ok")
    preflight.check(Store(tmp_path), engine, [job, make_job(scaffold="native", tool_syntax=syntax, seed=1)])
    (request,) = engine.requests
    assert request.sampling.max_tokens == min(preflight.MAX_CALL_TOKENS, job.spec.sampling.max_tokens) and request.tools
    assert Store(tmp_path).runs() == []


def test_a_dead_engine_is_found_before_anything_is_stored(tmp_path):
    def refuse(request):
        raise EngineError("connection refused.")

    message = r"`org/m` gave no reply in scaffold `compact` .*: connection refused\. Nothing was stored\. Correct"
    with pytest.raises(EngineError, match=message):
        preflight.check(Store(tmp_path), ScriptedEngine(refuse), [make_job()])
    assert Store(tmp_path).runs() == []


def test_one_task_that_is_refused_does_not_stop_the_run(tmp_path):
    job = make_job(n_tasks=3)

    def script(request):
        if prompt_of(request) == job.tasks[0].prompt:
            raise RequestRefused("a schema that cannot be compiled")
        return "ls"

    engine = ScriptedEngine(script)
    preflight.check(Store(tmp_path), engine, [job])
    assert [prompt_of(request) for request in engine.requests] == [job.tasks[0].prompt, job.tasks[2].prompt]


class WithoutTools(ScriptedEngine):
    """A template that leaves the tools out without a word."""

    def n_prompt_tokens(self, request):
        return super().n_prompt_tokens(dataclasses.replace(request, tools=()))


class Server(ScriptedEngine):
    """Counts tokens only in its replies."""

    def __init__(self, shows_tools):
        super().__init__(
            lambda request: Reply(
                text="ok", finish="stop", n_prompt_tokens=20 + shows_tools * len(request.tools), n_completion_tokens=1
            )
        )

    def n_prompt_tokens(self, request):
        return 0


@pytest.mark.parametrize("engine", [WithoutTools(lambda request: "ok"), Server(False)])
def test_a_template_that_does_not_show_the_tools_is_refused_with_advice(tmp_path, engine):
    job = make_job(scaffold="native")
    with pytest.raises(
        EngineError, match=r"template of `org/m` does not show the tools .* Use scaffold `react`, `json`"
    ):
        preflight.check(Store(tmp_path), engine, [job])
    preflight.check(Store(tmp_path), engine, [make_job()])


def test_a_server_that_shows_the_tools_passes(tmp_path):
    preflight.check(Store(tmp_path), Server(True), [make_job(scaffold="native")])


def test_a_scaffold_that_does_not_read_its_own_calls_is_refused(tmp_path):
    class Deaf:
        def __init__(self, scaffold):
            self._scaffold = scaffold

        def __getattr__(self, name):
            return getattr(self._scaffold, name)

        def parse(self, text, task):
            return self._scaffold.parse("an answer", task)

    job = make_job(scaffold="native")
    deaf = dataclasses.replace(job, scaffold=Deaf(job.scaffold))
    with pytest.raises(EngineError, match=r"`native` does not read a call of `\w+` in its own syntax .*`tool_syntax`"):
        preflight.check(Store(tmp_path), ScriptedEngine(lambda request: "ok"), [deaf])


def test_a_complete_run_is_not_asked(tmp_path):
    job, store = make_job(n_tasks=1), Store(tmp_path)
    runner.collect(store, ScriptedEngine(expert_script(job)), [job], concurrency=1, title="test")
    engine = ScriptedEngine(lambda request: "ok")
    preflight.check(store, engine, [job])
    assert engine.requests == []


def call_of(syntax):
    """Call the first tool of a request in a syntax, as the scaffold that reads it writes."""

    def script(request):
        return build.native(syntax).write(Action(calls=(Call(name=request.tools[0].name, arguments={}),)))

    return script


@pytest.mark.parametrize(
    ("read", "written"), [("hermes", "qwen3_coder"), ("llama3", "qwen3_coder"), ("hermes", "llama3")]
)
def test_calls_that_arrive_in_another_syntax_are_refused_before_anything_is_stored(tmp_path, read, written):
    job = dataclasses.replace(make_job("office", scaffold="native", tool_syntax=read, n_tasks=3), tool_syntax=read)
    assert not job.scaffold.parse(call_of(written)(runner.first_request(job, job.tasks[0])), job.tasks[0]).calls
    engine = ScriptedEngine(call_of(written))
    with pytest.raises(
        EngineError, match=rf"in syntax `{written}`, and scaffold `native` reads `{read}`.*tool_calls=text"
    ):
        preflight.check(Store(tmp_path), engine, [job])
    assert len(engine.requests) == 2 and Store(tmp_path).runs() == []


def test_one_call_in_another_syntax_is_a_mistake_of_the_model(tmp_path):
    job = dataclasses.replace(make_job("office", scaffold="native", n_tasks=3), tool_syntax="hermes")

    def script(request):
        return call_of("hermes" if prompt_of(request) == job.tasks[2].prompt else "qwen3_coder")(request)

    engine = ScriptedEngine(script)
    preflight.check(Store(tmp_path), engine, [job])
    assert len(engine.requests) == 2


@pytest.mark.parametrize("syntax", ["hermes", "llama3"])
def test_calls_of_a_server_pass_where_it_parses_them_and_are_named_where_it_leaves_them_in_the_text(tmp_path, syntax):
    job = dataclasses.replace(make_job("office", scaffold="native", n_tasks=3), tool_syntax="hermes")

    def script(request):
        # Prompts with tools are longer, and `hermes` is the syntax that this server parses.
        n_tools = len(server.bodies[-1].get("tools", ()))
        text = call_of(syntax)(runner.first_request(job, job.tasks[0])) if n_tools else "ok"
        return Reply(text=text, finish="stop", n_prompt_tokens=20 + n_tools, n_completion_tokens=1)

    with MockServer(script) as server:
        engine = engines.load("endpoint", dtype="float32", context=512, options={"urls": [server.url]})
        engine.load(ModelRef(name="org/m", path="org/m", revision="r1"))
        if syntax == "hermes":
            preflight.check(Store(tmp_path), engine, [job])
        else:
            with pytest.raises(EngineError, match=r"in syntax `llama3`.*--tool-call-parser"):
                preflight.check(Store(tmp_path), engine, [job])


def test_a_run_that_was_begun_is_not_refused_for_the_calls_of_its_last_tasks(tmp_path):
    job = dataclasses.replace(make_job("office", scaffold="native", n_tasks=3, n_trials=1), tool_syntax="hermes")
    store, begun = Store(tmp_path), dataclasses.replace(job, tasks=job.tasks[:1])
    runner.collect(store, ScriptedEngine(lambda request: "done"), [begun], concurrency=1, title="test")
    preflight.check(store, ScriptedEngine(call_of("qwen3_coder")), [job])
