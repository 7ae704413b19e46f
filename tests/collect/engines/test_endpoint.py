"""The endpoint engine against a server that fails in every way we know: no failure becomes a score, no key gets out."""

import asyncio
import dataclasses
import datetime
import json
import time
from email.utils import format_datetime

import pandas as pd
import pytest
from mock_server import FAULTS, MockServer
from parts import expert_script, make_job, noisy_script

from replication.collect import engines, runner
from replication.collect.engines.endpoint import wire
from replication.collect.engines.endpoint.options import Options, check
from replication.collect.engines.endpoint.pool import backoff_s
from replication.collect.engines.endpoint.tool_calls import from_text, to_messages, to_text
from replication.collect.engines.scripted import ScriptedEngine
from replication.collect.interfaces import ModelRef
from replication.errors import ConfigError, EngineError
from replication.records import Call, Message, Reply, Request, Sampling, Tool
from replication.store import Store

MODEL = ModelRef(name="m", path="org/m", revision="abcdef")
REQUEST = Request(
    messages=(Message(role="system", content="be brief"), Message(role="user", content="say hello")),
    sampling=Sampling(temperature=0.7, max_tokens=8), seed=11,
)  # fmt: skip
KEY = "sk-planted-0123456789"
BRIEF = {
    "connect_s": 5.0, "read_s": 5.0, "request_s": 5.0, "retries": 1, "backoff_s": 0.002, "max_backoff_s": 0.01,
    "outage_s": 0.3, "max_reply_mib": 1.0,
}  # fmt: skip
SLOW = {"hangs": {"connect_s": 0.3, "read_s": 0.3}, "drips": {"request_s": 0.3}}
"""Limits that a fault which takes for ever must meet."""
REFUSALS = ("wrong_model", "redirect", "unauthorized")
"""Faults with an answer that would be the same again; these requests are not repeated."""


def make_engine(*servers, context=512, **options):
    urls = [server if isinstance(server, str) else server.url for server in servers]
    return engines.load("endpoint", dtype="float32", context=context, options={"urls": urls, **BRIEF, **options})


def ask(engine, *requests):
    async def main():
        return await asyncio.gather(*(engine.generate(request) for request in requests))

    return asyncio.run(main())


def hello(request):
    return "hello"


def collect(store, engine, job, concurrency=16):
    return runner.collect(store, engine, [job], concurrency=concurrency, title="test")


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A job with the score table of a run without server, whose model errs depending on the seed."""
    job = make_job(n_tasks=8, n_trials=2)
    script = noisy_script(job)
    store = Store(tmp_path_factory.mktemp("whole"))
    collect(store, ScriptedEngine(script), job)
    table = store.score_table()
    assert table["value"].nunique() == 2
    return job, script, table


def preflight_or(script):
    """The preflight's message is no task's."""
    return lambda request: "ok" if "the word ok" in request.messages[-1].content else script(request)


# faults


@pytest.mark.parametrize("fault", [*FAULTS, "unauthorized"])
def test_nothing_is_scored_because_of_a_fault_and_all_is_played_when_the_server_heals(fault, whole, tmp_path):
    job, script, expected = whole
    store = Store(tmp_path)
    with MockServer(preflight_or(script)) as server:
        engine = make_engine(server, **SLOW.get(fault, {}))
        engine.load(MODEL)
        server.begin(fault)
        with pytest.raises(EngineError, match="episodes failed"):
            collect(store, engine, job)
        engine.close()
        assert fault == "refuses" or server.n_faults
        broken = store.score_table()
        reason = "request_refused" if fault in REFUSALS else "engine_error"
        assert broken["value"].isna().all() and set(broken["stop_reason"]) == {reason}
        server.heal()
        engine = make_engine(server)
        engine.load(MODEL)
        collect(store, engine, job)
    pd.testing.assert_frame_equal(store.score_table(), expected)


@pytest.mark.parametrize("fault", sorted({*FAULTS} - {"refuses", "hangs", "drips", "wrong_model", "redirect"}))
def test_a_fault_of_every_third_request_leaves_no_trace_in_the_scores(fault, whole, tmp_path):
    job, script, expected = whole
    store = Store(tmp_path)
    with MockServer(preflight_or(script)) as server:
        engine = make_engine(server, retries=8, outage_s=5)
        engine.load(MODEL)
        server.begin(fault, every=3)
        collect(store, engine, job)
        assert server.n_faults > 5
    pd.testing.assert_frame_equal(store.score_table(), expected)


def test_a_server_that_starts_again_during_the_run_costs_no_episode(whole, tmp_path):
    job, script, expected = whole
    store = Store(tmp_path)
    with MockServer(preflight_or(script)) as server:
        engine = make_engine(server, outage_s=10, retries=3)
        engine.load(MODEL)
        n_before = len(server.bodies)

        def stop_and_start(request):
            if len(server.bodies) == n_before + 10:
                server._loop.call_soon(server._server.close)
                server._loop.call_soon(lambda: [w.transport.abort() for w in server._connections])
                server._loop.call_later(0.2, lambda: server._loop.create_task(start()))
            return script(request)

        async def start():
            server._server = await asyncio.start_server(server._serve, "127.0.0.1", server.port)

        server.script = preflight_or(stop_and_start)
        collect(store, engine, job)
        assert len(server.bodies) > n_before + 10
    pd.testing.assert_frame_equal(store.score_table(), expected)


def test_an_outage_ends_every_request_after_its_time_and_names_the_servers():
    with MockServer(hello) as server:
        engine = make_engine(server, retries=100)
        engine.load(MODEL)
        server.begin("refuses")
        started = time.monotonic()

        async def main():
            return await asyncio.gather(*(engine.generate(REQUEST) for _ in range(50)), return_exceptions=True)

        errors = asyncio.run(main())
        assert 0.25 < time.monotonic() - started < 2
        assert all(isinstance(e, EngineError) for e in errors)
        assert f"answered for 0.3 s (`{server.url}`: ClientConnectorError" in str(errors[0])
        server.heal()
        assert ask(engine, REQUEST)[0].text == "hello"  # the next event loop starts anew


# several servers


def test_requests_go_to_the_least_loaded_server_and_never_exceed_its_limit():
    with MockServer(hello) as one, MockServer(hello) as two:
        engine = make_engine(one, two, max_in_flight=4)
        engine.load(MODEL)
        one.bodies.clear()
        two.bodies.clear()
        one.delay_s = two.delay_s = 0.02
        ask(engine, *[REQUEST] * 40)
        assert one.most_in_flight == two.most_in_flight == 4
        assert len(one.bodies) + len(two.bodies) == 40 and min(len(one.bodies), len(two.bodies)) >= 16


def test_a_server_that_is_down_is_left_out_and_used_when_it_is_back():
    with MockServer(hello) as one, MockServer(hello) as two:
        two.refuse()
        engine = make_engine(one, two, max_in_flight=2, outage_s=5)
        engine.load(MODEL)

        async def main():
            await asyncio.gather(*(engine.generate(REQUEST) for _ in range(10)))
            n_while_down = len(two.bodies)
            await asyncio.to_thread(two.accept)
            await asyncio.sleep(0.1)
            one.delay_s = 0.05
            await asyncio.gather(*(engine.generate(REQUEST) for _ in range(10)))
            return n_while_down

        two.bodies.clear()
        assert asyncio.run(main()) == 0
        assert len(two.bodies) > 0


def test_one_dead_server_of_two_costs_no_episode(whole, tmp_path):
    job, script, expected = whole
    store = Store(tmp_path)
    with MockServer(preflight_or(script)) as one, MockServer(preflight_or(script)) as two:
        engine = make_engine(one, two, retries=3)
        engine.load(MODEL)
        two.begin("internal_error")
        collect(store, engine, job)
        assert two.n_faults
    pd.testing.assert_frame_equal(store.score_table(), expected)


@pytest.mark.parametrize(
    ("listed", "what"), [({"root": "org/m2"}, "`root` is 'org/m' and 'org/m2'"), ({"root": None}, "`root`")]
)
def test_servers_that_state_different_things_are_refused(listed, what):
    with MockServer(hello) as one, MockServer(hello, **listed) as two, pytest.raises(EngineError, match=what):
        make_engine(one, two).load(MODEL)


def test_a_server_that_comes_back_with_another_checkpoint_stops_the_run():
    with MockServer(hello) as server:
        engine = make_engine(server, outage_s=5, retries=50)
        engine.load(MODEL)
        server.listed["root"] = "org/m2"
        server.begin("internal_error")
        with pytest.raises(EngineError, match="do not serve the same: `root` is 'org/m' and 'org/m2'"):
            ask(engine, REQUEST)


def test_a_cancelled_request_gives_its_place_to_the_next():
    with MockServer(hello) as server:
        engine = make_engine(server, max_in_flight=1)
        engine.load(MODEL)
        server.delay_s = 0.05

        async def main():
            tasks = [asyncio.create_task(engine.generate(REQUEST)) for _ in range(4)]
            await asyncio.sleep(0.02)
            tasks[0].cancel()
            tasks[1].cancel()
            return await asyncio.gather(*tasks, return_exceptions=True)

        done = asyncio.run(main())
        assert [isinstance(one, Reply) for one in done] == [False, False, True, True]


# requests and replies


def test_a_request_carries_the_settings_of_the_run():
    schema = {"type": "object"}
    request = dataclasses.replace(
        REQUEST, schema=schema, stop=("Obs",), sampling=Sampling(temperature=0.5, top_p=0.9, top_k=20, max_tokens=7)
    )
    sent = json.loads(wire.body(request, "name", Options(urls=[], extra={"repetition_penalty": 1.0})))
    assert sent == {
        "model": "name", "temperature": 0.5, "top_p": 0.9, "top_k": 20, "max_tokens": 7, "seed": 11, "stop": ["Obs"],
        "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "say hello"}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "reply", "schema": schema, "strict": True}},
        "repetition_penalty": 1.0,
    }  # fmt: skip
    plain = json.loads(wire.body(REQUEST, "name", Options(urls=[], max_tokens_name="max_completion_tokens")))
    assert "top_k" not in plain and "stop" not in plain and plain["max_completion_tokens"] == 8


def test_lone_surrogates_in_a_conversation_are_sent():
    request = dataclasses.replace(REQUEST, messages=(Message(role="user", content="a\ud800b"),))
    assert json.loads(wire.body(request, "m", Options(urls=[])))["messages"][0]["content"] == "a\ud800b"


def test_every_turn_has_its_own_seed(whole, tmp_path):
    job, script, _ = whole
    with MockServer(preflight_or(script)) as server:
        engine = make_engine(server)
        engine.load(MODEL)
        server.bodies.clear()
        store = Store(tmp_path)
        collect(store, engine, job)
        sent = sorted(body["seed"] for body in server.bodies)
    recorded = [seed for e in store.episodes(job.spec.run_id) for seed in e.seeds]
    assert sent == sorted(recorded) and len(set(sent)) == len(sent)


def completion(message, reason="stop", n_completion=5, **more):
    usage = {"prompt_tokens": 3, "completion_tokens": n_completion}
    value = {"model": "m", "choices": [{"message": message, "finish_reason": reason}], "usage": usage, **more}
    return wire.Answer(200, {}, json.dumps(value).encode())


@pytest.mark.parametrize(
    ("message", "reason", "n_completion", "text", "finish"),
    [
        ({"content": "hi"}, "stop", 5, "hi", "stop"),
        ({"content": None}, "stop", 5, "", "stop"),
        ({"content": "hi"}, "length", 4, "hi", "length"),
        ({"content": "hi"}, "length", 5, "hi", "context"),
        (
            {"content": None, "tool_calls": [{"function": {"name": "ls", "arguments": '{"a": 1}'}}]}, "tool_calls", 5,
            '<tool_call>\n{"name": "ls", "arguments": {"a": 1}}\n</tool_call>', "stop",
        ),
    ],
)  # fmt: skip
def test_a_reply_has_its_text_and_the_reason_of_its_end(message, reason, n_completion, text, finish):
    reply = wire.reply(completion(message, reason, n_completion), "m", 8)
    assert reply == Reply(text=text, finish=finish, n_prompt_tokens=3, n_completion_tokens=n_completion)


@pytest.mark.parametrize("name", ["reasoning", "reasoning_content"])
def test_thinking_is_kept_apart_under_both_names_and_sent_back_only_on_request(name):
    reply = wire.reply(completion({"content": "hi", name: "hm"}), "m", 8)
    assert (reply.thinking, reply.text) == ("hm", "hi")
    with pytest.raises(wire.Failure, match="thinking"):
        wire.reply(completion({"content": "hi", name: ["hm"]}), "m", 8)
    messages = (*REQUEST.messages, Message(role="assistant", content="hi", thinking="hm"), REQUEST.messages[1])
    request = dataclasses.replace(REQUEST, messages=messages)
    assert b"hm" not in wire.body(request, "m", Options(urls=[]))
    sent = json.loads(wire.body(request, "m", Options(urls=[], send_thinking=True)))["messages"]
    assert [m.get(name) for m in sent] == [None, None, "hm", None]


@pytest.mark.parametrize(
    ("content", "thinking", "text"),
    [
        ("<think>\nhm\n</think>\n\nhi", "hm", "hi"),
        ("hm\n</think>\nhi", "hm", "hi"),
        ("<think>hm", "hm", ""),
        ("hi", "", "hi"),
    ],
)
def test_thinking_that_a_server_leaves_in_the_content_is_split_off(content, thinking, text):
    reply = wire.reply(completion({"content": content}), "m", 8)
    assert (reply.thinking, reply.text) == (thinking, text)


def test_variables_of_the_chat_template_go_with_every_request():
    with MockServer(hello) as server:
        engine = make_engine(server)
        engine.load(dataclasses.replace(MODEL, template_options={"enable_thinking": False}))
        ask(engine, REQUEST)
        assert [body["chat_template_kwargs"] for body in server.bodies] == [{"enable_thinking": False}] * 2
        engine.load(MODEL)
        assert "chat_template_kwargs" not in server.bodies[-1]


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 512 tokens. However, your prompt contains 600 input tokens",
        "code: context_length_exceeded",
        "max_tokens must be at least 1, got 0",
    ],
)
def test_a_prompt_without_room_is_a_context_overflow(message):
    answer = wire.Answer(400, {}, json.dumps({"error": {"message": message}}).encode())
    assert wire.reply(answer, "m", 8).finish == "context"


def test_another_bad_request_is_an_error_with_the_words_of_the_server():
    answer = wire.Answer(400, {}, b'{"error": {"message": "\\"auto\\" tool choice requires --tool-call-parser"}}')
    with pytest.raises(wire.Refusal, match='HTTP 400: "auto" tool choice requires --tool-call-parser'):
        wire.reply(answer, "m", 8)


def test_a_filtered_reply_is_no_reply_of_the_model():
    with pytest.raises(wire.Refusal, match="filter"):
        wire.reply(completion({"content": ""}, "content_filter"), "m", 8)


def test_retry_after_is_read_in_seconds_and_as_a_date():
    def pause(value):
        return wire.refused(wire.Answer(429, {"Retry-After": value}, b"")).retry_after_s

    later = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=60)
    assert pause("7") == 7 and 55 < pause(format_datetime(later, usegmt=True)) <= 60
    assert pause("soon") == pause("") == pause("-3") == pause("Wed, 21 Oct 2015 07:28:00 GMT") == 0


def test_a_server_that_asks_for_a_pause_gets_it():
    with MockServer(hello) as server:
        engine = make_engine(server, outage_s=5)
        engine.load(MODEL)
        n_before = len(server.bodies)

        async def throttled(server, body, writer):
            server.fault = None
            writer.write(b"HTTP/1.1 429 Slow Down\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")

        import mock_server

        mock_server._FAULT["once"] = throttled
        server.begin("once")
        started = time.monotonic()
        ask(engine, REQUEST, *[REQUEST])
        assert time.monotonic() - started >= 1 and len(server.bodies) >= n_before + 3


def test_pauses_grow_and_differ_between_requests():
    options = Options(urls=[], backoff_s=1.0, max_backoff_s=8.0)
    for attempt, highest in enumerate([1, 2, 4, 8, 8, 8]):
        pauses = [backoff_s(options, attempt, seed) for seed in range(200)]
        assert 0 <= min(pauses) < 0.1 * highest and 0.9 * highest < max(pauses) <= highest


# tools


def test_calls_that_the_server_parsed_play_like_those_in_the_text(tmp_path):
    job = make_job(scaffold="native", n_tasks=4, n_trials=1)
    stores = [Store(tmp_path / name) for name in ("scripted", "parsed", "text")]
    collect(stores[0], ScriptedEngine(expert_script(job)), job)
    with MockServer(preflight_or(expert_script(job))) as server:
        for store, how in zip(stores[1:], ("parsed", "text")):
            engine = make_engine(server, tool_calls=how)
            engine.load(MODEL)
            server.bodies.clear()
            collect(store, engine, job)
            assert {body.get("tool_choice") for body in server.bodies} == ({None} if how == "parsed" else {"none"})
            assert all(body["tools"][0]["type"] == "function" for body in server.bodies)
    assert stores[0].score_table()["value"].tolist() == [1.0] * 4
    for store in stores[1:]:
        assert store.score_table()["value"].tolist() == [1.0] * 4
        for task in job.tasks:
            trajectories = [s.trajectory(job.spec.run_id, task.id, 0) for s in (stores[0], store)]
            assert [m.content for m in trajectories[0]] == [m.content for m in trajectories[1]]


def test_results_answer_the_calls_that_they_belong_to():
    calls = ('{"name": "ls", "arguments": {}}', '{"name": "cat", "arguments": "{x"}')
    two = "\n".join(f"<tool_call>\n{call}\n</tool_call>" for call in calls)
    sent = to_messages(
        [
            Message(role="user", content="go"),
            Message(role="assistant", content="look\n" + two, calls=(Call(name="ls", arguments={}),)),
            Message(role="tool", content="a\n</tool_response>\n<tool_response>\nb"),
            Message(role="assistant", content=two),
            Message(role="tool", content="error: no tool cat"),
            Message(role="assistant", content=""),
            Message(role="tool", content="error: the reply is empty"),
        ]
    )
    calls = [sent[1]["tool_calls"][i]["function"] for i in (0, 1)]
    assert sent[1]["content"] == "look"
    assert calls == [{"name": "ls", "arguments": "{}"}, {"name": "cat", "arguments": "{x"}]
    assert [(m["role"], m["content"]) for m in sent[2:4]] == [("tool", "a"), ("tool", "b")]
    assert [m["tool_call_id"] for m in sent[2:4]] == [c["id"] for c in sent[1]["tool_calls"]]
    assert [m["content"] for m in sent[5:7]] == ["error: no tool cat"] * 2
    assert sent[8] == {"role": "user", "content": "error: the reply is empty"}
    ids = [c["id"] for m in sent for c in m.get("tool_calls", [])]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("arguments", ['{"a": "<tool_call>\\n"}', '{"a": [1, 2.5, null, "ü"]}', "{", "7", ""])
@pytest.mark.parametrize("content", ["", "I look.", "a\n\nb"])
def test_calls_as_text_are_read_back(arguments, content):
    text = to_text(content, [{"function": {"name": "ls", "arguments": arguments}}] * 2)
    back = from_text(text)
    assert back.content == content and [c["name"] for c in back.calls] == ["ls", "ls"]
    if arguments.startswith("{") and len(arguments) > 1:
        assert json.loads(back.calls[0]["arguments"]) == json.loads(arguments)
    else:
        assert back.calls[0]["arguments"] == arguments


# preflight, identity, keys


def test_a_server_without_the_checkpoint_is_refused_with_the_names_that_it_has():
    with MockServer(hello, model="org/other") as server, pytest.raises(EngineError, match="it serves `org/other`"):
        make_engine(server).load(MODEL)


def test_another_name_at_the_server_and_in_its_replies_can_be_stated():
    with MockServer(hello, model="alias") as server:
        engine = make_engine(server, model="alias")
        engine.load(MODEL)
        assert server.bodies[-1]["model"] == "alias"
        with pytest.raises(EngineError, match="answered as model 'alias' instead of 'dated'"):
            make_engine(server, model="alias", reply_model="dated").load(MODEL)


def test_another_context_or_commit_is_refused():
    with MockServer(hello) as server, pytest.raises(EngineError, match=r"Set `engine.context=512`"):
        make_engine(server, context=1024).load(MODEL)
    root = f"/cache/models--org--m/snapshots/{'b' * 40}"
    with MockServer(hello, root=root) as server, pytest.raises(EngineError, match="serves commit bbbbbb"):
        make_engine(server).load(MODEL)
    with MockServer(hello, root=root) as server:
        make_engine(server).load(dataclasses.replace(MODEL, revision="b" * 40))


def test_no_server_at_all_is_an_error_at_once():
    with MockServer(hello) as server:
        server.refuse()
        started = time.monotonic()
        with pytest.raises(EngineError, match="no server of"):
            make_engine(server, outage_s=60).load(MODEL)
        assert time.monotonic() - started < 2
        with pytest.raises(EngineError, match="no checkpoint is loaded"):
            ask(make_engine(server), REQUEST)


def test_the_manifest_has_what_the_server_states_and_no_address():
    with MockServer(hello) as server:
        engine = make_engine(server, extra={"repetition_penalty": 1.0})
        engine.load(MODEL)
        described = engine.describe()
    stated = {"model": "org/m", "root": "org/m", "max_model_len": 512, "version": "0.32.0", "fingerprint": "fp_1"}
    assert described["stated"] == stated and described["version"] == "0.32.0"
    assert described["hosts"] == ["127.0.0.1"]
    assert described["settings"]["extra"] == {"repetition_penalty": 1.0} and described["settings"]["context"] == 512
    assert str(server.port) not in json.dumps(described)


def test_addresses_and_waiting_change_no_run_id_and_all_else_does():
    base = {"urls": ["http://a/v1"]}
    assert engines.text_options("endpoint", base) == engines.text_options(
        "endpoint", {"urls": ["http://b/v1"], "api_key_env": "KEY", "retries": 9, "request_s": 5.0}
    )
    for change in ({"model": "x"}, {"tool_calls": "text"}, {"extra": {"top_p": 1}}, {"strict_schema": False}):
        assert engines.text_options("endpoint", base) != engines.text_options("endpoint", base | change)


@pytest.mark.parametrize("fault", ["unauthorized", "internal_error", "garbage", "error_in_200"])
def test_a_key_is_sent_and_is_in_no_error_and_no_stored_file(fault, whole, tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("PLANTED_KEY", KEY)
    job, script, _ = whole
    with MockServer(preflight_or(script)) as server:
        server.secret = KEY
        server.listed["root"] = f"root-{KEY}"
        engine = make_engine(server, api_key_env="PLANTED_KEY")
        engine.load(MODEL)
        assert f"Authorization: Bearer {KEY}" in server.headers[-1]
        server.begin(fault)
        with pytest.raises(EngineError) as error:
            collect(Store(tmp_path), engine, job)
    assert KEY not in str(error.value) and error.value.__cause__ is None
    assert "***" in str(error.value) and "***" in engine.describe()["stated"]["root"]
    texts = [file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()]
    assert len(texts) > 3 and not any(KEY.encode() in text for text in texts)
    episodes = Store(tmp_path).episodes(job.spec.run_id, trajectories=True)
    assert not any(KEY in repr(episode) for episode in episodes)
    assert KEY not in "".join(capfd.readouterr())


def test_a_key_that_is_not_set_is_named_without_its_value(monkeypatch):
    monkeypatch.delenv("PLANTED_KEY", raising=False)
    with pytest.raises(EngineError, match="`PLANTED_KEY`, which is not set"):
        make_engine("http://127.0.0.1:1/v1", api_key_env="PLANTED_KEY").load(MODEL)
    monkeypatch.setenv("PLANTED_KEY", "a\nb")
    with pytest.raises(EngineError, match="characters that no header may have"):
        make_engine("http://127.0.0.1:1/v1", api_key_env="PLANTED_KEY").load(MODEL)


@pytest.mark.parametrize(
    ("options", "what"),
    [
        ({"urls": []}, "is empty"),
        ({"urls": ["http://user:hidden@host/v1"]}, "has a user or a password"),
        ({"urls": ["http://host/v1?api_key=hidden"]}, "has a query"),
        ({"urls": ["host:8000"]}, "is not an address"),
        ({"urls": ["http://host:hidden/v1"]}, "is not an address"),
        ({"urls": ["http://host/v1", "http://host/v1"]}, "twice"),
        ({"api_key_env": "sk-hidden"}, "never holds the key itself"),
        ({"extra": {"api_key": "hidden"}}, "names a key or a password"),
        ({"extra": {"seed": 1}}, "sets `seed`"),
        ({"tool_calls": "server"}, "allowed: parsed, text"),
        ({"max_tokens_name": "n"}, "allowed: max_tokens, max_completion_tokens"),
        ({"max_in_flight": 0}, "must be at least 1; got 0"),
        ({"retries": -1}, "must be at least 0; got -1"),
        ({"request_s": 0.0}, "must be above 0; got 0"),
        ({"outage_s": float("nan")}, "must be above 0; got nan"),
    ],
)
def test_options_out_of_range_are_refused_without_repeating_a_secret(options, what):
    with pytest.raises(ConfigError, match=what) as error:
        check(Options(**{"urls": ["http://host/v1"], **options}))
    assert "hidden" not in str(error.value)


def test_connections_are_closed_with_each_event_loop():
    with MockServer(hello) as server:
        engine = make_engine(server)
        engine.load(MODEL)
        ask(engine, *[REQUEST] * 20)
        until = time.monotonic() + 5
        while server.n_connections and time.monotonic() < until:
            time.sleep(0.01)
        assert server.n_connections == 0


def test_tools_have_the_form_of_the_api():
    tool = Tool(name="ls", description="List.", parameters={"type": "object", "properties": {}})
    sent = json.loads(wire.body(dataclasses.replace(REQUEST, tools=(tool,)), "m", Options(urls=[])))
    assert sent["tools"] == [
        {"type": "function", "function": {"name": "ls", "description": "List.", "parameters": tool.parameters}}
    ]
