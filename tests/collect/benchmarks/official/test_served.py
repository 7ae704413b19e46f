"""Harnesses that play against the server of the study's engine: its address reaches every tool, through the proxy."""

import json
import shutil
import sys
from pathlib import Path

import pytest
from chat_endpoint import ChatEndpoint
from harness_runs import harness_run, put

from replication.collect.benchmarks import official
from replication.collect.benchmarks.official import qwenclawbench, serving
from replication.collect.ingest import identity_of, is_served
from replication.collect.interfaces import HarnessRun
from replication.errors import HarnessError

HERE = Path(__file__).parent
PROBE = f"""#!{sys.executable}
import json, os, sys, urllib.request
os.makedirs("attempt_0", exist_ok=True)
names = ("HOSTED_VLLM_API_BASE", "REPLICATION_MODEL_URL", "OPENAI_BASE_URL")
url, key, model = next((os.environ[name] for name in names if name in os.environ), None), "EMPTY", "org--m"
if os.path.exists("openclaw_config/openclaw.json"):
    (provider,) = json.load(open("openclaw_config/openclaw.json"))["models"]["providers"].values()
    url, key, model = provider["baseUrl"], provider["apiKey"], provider["models"][0]["id"]
body = {{"model": model, "messages": [{{"role": "user", "content": "from " + os.path.basename(sys.argv[0])}}]}}
request = urllib.request.Request(url + "/chat/completions", json.dumps(body).encode(), {{"Authorization": "Bearer " + key}})
urllib.request.build_opener(urllib.request.ProxyHandler({{}})).open(request)
"""
PROGRAMS = {
    "terminal_bench": "harbor", "swe_bench": "mini-extra", "swe_bench_pro": "mini-extra", "widesearch": "python",
    "claw_eval": "python", "qwenclawbench": "bash",
}  # fmt: skip
"""The program of each tool that asks the model."""
GOOD = "#!/bin/sh\nexit 0\n"


@pytest.fixture
def judges():
    with ChatEndpoint(lambda body: "x", model="j") as server:
        yield server


def options_of(name, tmp_path, judges, **launch) -> dict:
    """Return options with stand-ins of all that the tool needs besides its own programs."""
    checkout = {"claw_eval": HERE / "fake_claw_eval", "widesearch": HERE / "fake_widesearch"}.get(
        name, tmp_path / "repo"
    )
    for part in ("scripts", "openclaw_config", "helper_code"):
        (tmp_path / "repo" / part).mkdir(parents=True, exist_ok=True)
    for program in ("swebench", "python"):
        put(tmp_path / "venv" / "bin" / program, GOOD).chmod(0o755)
    put(tmp_path / "venv" / "bin" / PROGRAMS[name], PROBE).chmod(0o755)
    put(tmp_path / "web" / "search" / "x.json", {"query": "x", "text": "y"})
    judging = {"judge": "mock", "judging": {"url": judges.endpoint().url, "served": "j"}}
    own = {
        "terminal_bench": {"environment": "module:Class"},
        "swe_bench": {"environment": "local"},
        "swe_bench_pro": {"environment": "local", "agent": "mini-swe-agent", "data": "full.csv"},
        "widesearch": judging | {"tools": {"cache": str(tmp_path / "web")}},
        "claw_eval": judging,
        "qwenclawbench": judging | {"host": "127.0.0.1"},
    }[name]
    launch = {"venv": str(tmp_path / "venv"), "checkout": str(checkout), "container": "none"} | launch
    return own | {"launch": launch}


def run_of(folder, server, **more) -> HarnessRun:
    run = harness_run(folder, temperature=0.6, top_p=0.95, **more)
    return HarnessRun(**{**vars(run), "endpoint": server.endpoint() if server else None})


def prepared(name, tmp_path, judges, monkeypatch, **launch):
    if name == "qwenclawbench":  # the only one without a way around its containers
        put(tmp_path / "bin" / "docker", GOOD).chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
        launch |= {"container": "docker"}
    return official.load(name, options_of(name, tmp_path, judges, **launch))


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_tool_asks_the_server_of_the_study_with_its_sampling_under_the_name_of_the_server(
    name, tmp_path, judges, monkeypatch
):
    harness = prepared(name, tmp_path, judges, monkeypatch)
    with ChatEndpoint(lambda body: "ok", model="/weights/of the study") as server:
        run = run_of(tmp_path / "run", server)
        harness.prepare(run)
        assert is_served(harness) and harness.pending(run)
        harness.launch(run)
        body = server.bodies[0]
        assert body["messages"][0]["content"] == f"from {PROGRAMS[name]}" and body["model"] == "/weights/of the study"
        assert (body["temperature"], body["top_p"]) == (0.6, 0.95) and isinstance(body["seed"], int)
        assert not harness.pending(run) or name in ("widesearch", "claw_eval")  # plays attempts without a score again
        assert harness.facts(run)["measured"]["wire"]["n_requests"] == len(server.bodies)
    port = server.endpoint().url.split(":")[2].split("/")[0]
    commands = (tmp_path / "run" / "launched.json").read_text()
    assert port not in commands and "127.0.0.1" not in commands, "the next server has another address"


@pytest.mark.parametrize("name", PROGRAMS)
def test_without_a_server_nothing_starts_and_another_one_may_be_named(name, tmp_path, judges, monkeypatch):
    harness = prepared(name, tmp_path, judges, monkeypatch)
    with pytest.raises(HarnessError, match=r"`options.launch.endpoint` is null, .* official"):
        harness.launch(run_of(tmp_path / "run", None))
    assert not (tmp_path / "run" / "launched.json").exists()
    with ChatEndpoint(lambda body: "ok") as named, ChatEndpoint(lambda body: "ok") as of_the_study:
        own = prepared(name, tmp_path, judges, monkeypatch, endpoint=named.endpoint().url)
        assert not is_served(own)
        own.launch(run_of(tmp_path / "own", of_the_study))
    assert named.bodies and not of_the_study.bodies


def test_folder_of_a_served_run_is_that_of_its_sampling_and_weights_and_results_from_elsewhere_stay_where_they_are(
    tmp_path, judges, monkeypatch
):
    served = prepared("terminal_bench", tmp_path, judges, monkeypatch)
    named = prepared("terminal_bench", tmp_path, judges, monkeypatch, endpoint="http://127.0.0.1:9/v1")
    folders = {identity_of(served, "v", tmp_path, {"temperature": 0.6}, 0, revision).folder for revision in "ab"}
    assert len(folders) == 2 and {folder.parent for folder in folders} == {tmp_path}
    for other in (named, official.load("terminal_bench"), official.load("csv")):
        assert identity_of(other, "v", tmp_path, {"temperature": 0.6}, 0, "a").folder == tmp_path


def test_grading_alone_needs_no_server(tmp_path, judges):
    options = options_of("swe_bench_pro", tmp_path, judges) | {"agent": "none", "environment": None}
    assert not is_served(official.load("swe_bench_pro", options))


def test_openclaw_gets_a_configuration_that_names_the_proxy_and_keeps_the_rest(tmp_path, judges, monkeypatch):
    harness = prepared("qwenclawbench", tmp_path, judges, monkeypatch)
    mine = {"tools": {"web": 1}, "agents": {"defaults": {"workspace": "/w", "model": {"primary": "a/b"}}},
            "models": {"providers": {"a": {"apiKey": "planted"}}}}  # fmt: skip
    put(tmp_path / "repo" / "openclaw_config" / "openclaw.json", mine)
    put(tmp_path / "repo" / "openclaw_config" / ".env", "BRAVE_API_KEY=planted\n")
    put(tmp_path / "repo" / "scripts" / "run.sh", "#!/bin/sh\n")
    used, copy = tmp_path / "run" / qwenclawbench.CHECKOUT, qwenclawbench.copy_checkout

    def copied(*args):
        copy(*args)
        shutil.copytree(used, tmp_path / "kept", symlinks=True)

    monkeypatch.setattr(qwenclawbench, "copy_checkout", copied)
    with ChatEndpoint(lambda body: "ok") as server:
        harness.launch(run_of(tmp_path / "run", server))
    assert not used.exists()  # it may hold keys
    home = tmp_path / "kept" / "openclaw_config"
    config = json.loads((home / "openclaw.json").read_text())
    (about,) = config["models"]["providers"]["replication"]["models"]
    assert (about["id"], about["contextWindow"], about["maxTokens"]) == ("org--m", 4096, 512)
    assert config["agents"]["defaults"]["model"] == {"primary": "replication/org--m"} and config["tools"] == {"web": 1}
    assert config["agents"]["defaults"]["workspace"] == "/w" and "planted" not in json.dumps(config)
    assert (home / ".env").is_symlink() and not (home.parent / "scripts").is_symlink()
    assert json.loads((tmp_path / "repo" / "openclaw_config" / "openclaw.json").read_text()) == mine


def test_bridge_that_docker_does_not_tell_is_named(tmp_path, monkeypatch):
    put(tmp_path / "bin" / "docker", "#!/bin/sh\necho no daemon >&2\nexit 1\n").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    with pytest.raises(HarnessError, match=r"no daemon. State in `options.host`"):
        qwenclawbench.bridge()
    put(tmp_path / "bin" / "docker", "#!/bin/sh\necho 172.17.0.1\n")
    assert qwenclawbench.bridge() == "172.17.0.1"


def test_reply_to_a_client_that_streams_is_the_whole_one_and_a_stranger_gets_none(tmp_path):
    from openai import AuthenticationError, OpenAI

    from replication.collect.benchmarks.official.proxy import Rules, proxy
    from replication.records import Sampling

    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    with ChatEndpoint(lambda body: {"role": "assistant", "content": "hi", "tool_calls": [call]}) as server:
        rules = Rules(
            endpoint=server.endpoint(), sampling=Sampling(temperature=0.5, max_tokens=9), seed=(0,), refuse=True, token="t",
        )  # fmt: skip
        with proxy(rules, None) as (wire, url):

            def ask(key, **more):
                client = OpenAI(base_url=f"{url}/v1", api_key=key, max_retries=0)
                messages = [{"role": "user", "content": "q"}]
                return client.chat.completions.create(model="org/m", messages=messages, **more)

            chunks = list(ask("t", stream=True, stream_options={"include_usage": True}))
            assert ask("t").choices[0].message.content == "hi"
            with pytest.raises(AuthenticationError):
                ask("other")
    assert [chunk.choices[0].delta.content for chunk in chunks if chunk.choices] == ["hi"]
    (got,) = chunks[0].choices[0].delta.tool_calls
    assert (got.index, got.function.name, got.function.arguments) == (0, "f", '{"a": 1}')
    assert chunks[-1].usage.completion_tokens == 5 and len(list(ask_free(chunks))) == 1
    assert wire.n_requests == 2 and len(server.bodies) == 2 and all("stream" not in body for body in server.bodies)
    assert server.bodies[0]["seed"] == server.bodies[1]["seed"]


def ask_free(chunks):
    """Return the chunks that end a choice."""
    return [chunk for chunk in chunks if chunk.choices and chunk.choices[0].finish_reason == "stop"]


def test_server_listens_where_it_is_told(tmp_path):
    with serving.served({}, None, host="127.0.0.2") as address:
        assert address.startswith("http://127.0.0.2:")
