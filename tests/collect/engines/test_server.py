"""The server of a checkpoint: it answers when it is ready, says why it does not, and no process of it outlives its user."""

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from parts import make_job

from replication.collect import engines, runner
from replication.collect.engines.vllm import Options, VllmEngine, guard, server
from replication.collect.interfaces import ModelRef
from replication.errors import EngineError
from replication.store import Store

BASE = Path(__file__).resolve().parents[3] / "replication" / "collect" / "training" / "bases" / "xs"

FAKE = """
import http.server, os, signal, subprocess, sys, time
if "stubborn" in sys.argv:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print("starting", flush=True)
if "dies" in sys.argv:
    sys.exit("no such model")
if "hangs" in sys.argv:
    time.sleep(600)
class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
port = int(sys.argv[sys.argv.index("--port") + 1])
http.server.HTTPServer(("127.0.0.1", port), Healthy).serve_forever()
"""


def group(pid):
    """Return the processes of a group that still run."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, its_group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if its_group == str(pid) and state != "Z":
            found.append(stat.parent.name)
    return found


@pytest.fixture
def started(monkeypatch):
    """The processes that the test starts."""
    processes = []

    class Recorded(subprocess.Popen):
        def __init__(self, *args, **kwargs):
            super().__init__(*args, **kwargs)
            processes.append(self)

    monkeypatch.setattr(server.subprocess, "Popen", Recorded)
    monkeypatch.setattr(guard, "PATIENCE_S", 1.0)
    return processes


def fake(*how):
    return [sys.executable, "-c", FAKE, *how]


@pytest.mark.parametrize("how", ["ready", "stubborn"])
def test_a_server_is_yielded_when_it_answers_and_ends_with_all_its_processes(how, started, tmp_path):
    log = tmp_path / "new" / "x.log"
    with server.server(fake(how), {}, log=log, start_s=60) as url:
        assert url.startswith("http://127.0.0.1:") and url.endswith("/v1")
        assert len(group(started[0].pid)) == 3  # guard, server, its child
    assert group(started[0].pid) == []
    assert "starting" in log.read_text()


def test_a_server_that_dies_shows_the_end_of_its_log(started, tmp_path):
    dying = server.server(fake("dies"), {}, log=tmp_path / "log", start_s=60)
    with (
        pytest.raises(EngineError, match=r"ended before it answered(?s:.*)starting\nno such model\n.*exit code 1"),
        dying,
    ):
        raise AssertionError("it never answers")
    assert group(started[0].pid) == []


def test_a_server_that_never_answers_is_ended_after_its_time(started, tmp_path):
    hanging = server.server(fake("hangs"), {}, log=tmp_path / "log", start_s=1)
    with pytest.raises(EngineError, match=r"within `serve.start_s`, 1 s"), hanging:
        raise AssertionError("it never answers")
    assert group(started[0].pid) == []


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_server_ends_when_its_user_is_killed(number, tmp_path):
    user = f"""
import sys, time
from pathlib import Path
from replication.collect.engines.vllm import server
with server.server({fake("ready")!r}, {{}}, log=Path({str(tmp_path)!r}) / "log", start_s=60):
    print("ready", flush=True)
    time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-c", user], stdout=subprocess.PIPE, text=True, cwd=Path.cwd())
    assert process.stdout.readline() == "ready\n"
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    (leader,) = [int(child) for child in children]
    assert len(group(leader)) == 3
    process.send_signal(number)
    process.wait(60)
    until = time.monotonic() + 30
    while group(leader) and time.monotonic() < until:
        time.sleep(0.05)
    assert group(leader) == []
    process.stdout.close()


def test_the_server_has_the_settings_of_the_engine_in_process():
    model = ModelRef(name="m", path="org/m", revision="abcdef", reasoning_parser="qwen3")
    options = Options(
        device="cpu", max_num_seqs=4, kv_cache_gib=0.5,
        llm={"enforce_eager": True, "enable_chunked_prefill": False, "structured_outputs_config": {"backend": "xgrammar"}},
    )  # fmt: skip
    command = " ".join(server.command(model, dtype="float32", context=64, options=options, tool_syntax="llama3")[1:])
    assert command == (
        "-m vllm.entrypoints.openai.api_server --model org/m --served-model-name org/m --revision abcdef --dtype float32 "
        "--max-model-len 64 --max-num-seqs 4 --kv-cache-memory-bytes 536870912 --seed 0 --generation-config vllm "
        "--enable-auto-tool-choice --tool-call-parser llama3_json --reasoning-parser qwen3 --enforce-eager "
        '--no-enable-chunked-prefill --structured-outputs-config {"backend": "xgrammar"}'
    )


@pytest.mark.slow
@pytest.mark.vllm
def test_episodes_at_the_server_equal_those_of_the_engine_in_process(tmp_path):
    model = ModelRef(name="xs", path=str(BASE), revision="abcdef")
    llm = {"enforce_eager": True, "enable_chunked_prefill": False, "max_num_batched_tokens": 1024}
    options = Options(device="cpu", max_num_seqs=16, kv_cache_gib=0.06, llm=llm)
    jobs = [
        make_job(scaffold=scaffold, n_tasks=3, n_trials=2, temperature=temperature, max_turns=3)
        for scaffold, temperature in (("compact", 0.0), ("compact", 0.7))
    ]
    stores = Store(tmp_path / "in_process"), Store(tmp_path / "endpoint")
    command = server.command(model, dtype="float32", context=512, options=options, tool_syntax="hermes")
    environment = server.environment(model, options)
    with server.server(command, environment, log=tmp_path / "log", start_s=400) as url:
        settings = {"urls": [url], "tool_calls": "text"}
        engine = engines.load("endpoint", dtype="float32", context=512, options=settings)
        engine.load(model)
        described = engine.describe()
        assert described["stated"]["root"] == str(BASE) and described["stated"]["max_model_len"] == 512
        runner.collect(stores[1], engine, jobs, concurrency=8, title="endpoint")
        too_long = make_job(n_tasks=1, n_trials=1)
        assert asyncio.run(engine.generate(_filled(too_long, 600))).finish == "context"
    engine = VllmEngine("float32", 512, options)
    engine.load(model)
    runner.collect(stores[0], engine, jobs, concurrency=8, title="in process")
    engine.close()
    for job in jobs:
        texts = [
            [(e.task_id, e.trial, e.n_prompt_tokens, [m.content for m in e.trajectory]) for e in episodes]
            for episodes in (
                sorted(store.episodes(job.spec.run_id, trajectories=True), key=lambda e: (e.task_id, e.trial))
                for store in stores
            )
        ]
        assert len(texts[0]) == 6 and texts[0] == texts[1]


def _filled(job, n_words):
    from replication.records import Message, Request

    return Request(messages=(Message(role="user", content="word " * n_words),), sampling=job.spec.sampling, seed=0)
