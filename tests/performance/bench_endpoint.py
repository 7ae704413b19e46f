"""CPU of the client per episode of two turns, against a server in another process that answers at once.

Side by side in interleaved rounds: the engine with runner and store, whose records are durable, and the same requests by a
bare aiohttp loop, which keeps nothing. `<` marks a figure above its limit.
Run: python tests/performance/bench_endpoint.py [n_episodes]
"""

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import aiohttp

from replication.collect import engines, runner, scaffolds
from replication.collect.interfaces import ModelRef, Selection
from replication.records import Call, Episode, Labels, RunSpec, Sampling, Score, Task, Tool
from replication.store import Store

MAX_MS, MAX_RATIO = 1.5, 3.0
"""Limits of the engine: CPU per episode, and ratio to the bare loop."""

ROUNDS, IN_FLIGHT = 5, 64
NUMBER = {"type": "integer"}
ADD = Tool(
    name="add", description="Add two numbers.",
    parameters={"type": "object", "properties": {"x": NUMBER, "y": NUMBER}, "required": ["x", "y"]},
)  # fmt: skip
PROMPT = "What is 1+2? Use the tool."


class Adding:
    """The smallest benchmark: one call of a tool, then the answer."""

    name, version, grader = "adding", "1", "includes-1"

    def tasks(self, selection: Selection) -> list[Task]:
        return [
            Task(id=f"add/{i}", benchmark=self.name, prompt=PROMPT, tools=(ADD,), setup={"i": i})
            for i in range(selection.n_tasks)
        ]

    def start(self, task: Task) -> "Adding":
        return self

    def step(self, call: Call) -> str:
        return str(call.arguments["x"] + call.arguments["y"])

    def grade(self, task: Task, episode: Episode) -> Score:
        return Score.of(episode, self.grader, float("3" in (episode.trajectory[-1].answer or "")))


def make_job(n: int) -> runner.Job:
    benchmark, scaffold = Adding(), scaffolds.load("native", "hermes")
    spec = RunSpec(
        model="org/m", revision="abcdef", engine="endpoint", dtype="float32", context=512, engine_options={},
        benchmark=benchmark.name, benchmark_version="1", scaffold=scaffold.name, scaffold_version=scaffold.version,
        max_turns=8, max_episode_tokens=1000, max_malformed=3, sampling=Sampling(temperature=1.0, max_tokens=64), seed=0,
    )  # fmt: skip
    labels = Labels(model="org/m", revision="abcdef", arm="general", scale="s", params_b=1.0)
    tasks = benchmark.tasks(Selection(split="evaluation", n_tasks=n, seed=0))
    return runner.Job(spec=spec, labels=labels, benchmark=benchmark, scaffold=scaffold, tasks=tasks, n_trials=1)


def play(url: str, n: int) -> Callable[[], None]:
    """Prepare the engine and a store; returns the work that is measured."""
    options = {"urls": [url], "max_in_flight": IN_FLIGHT}
    engine = engines.load("endpoint", dtype="float32", context=512, options=options)
    engine.load(ModelRef(name="m", path="org/m", revision="abcdef"))
    job = make_job(n)

    def work() -> None:
        with tempfile.TemporaryDirectory() as root:
            store = Store(Path(root))
            runner.collect(store, engine, [job], concurrency=IN_FLIGHT, title="bench")
            assert store.finished(job.spec.run_id) and len(store.finished(job.spec.run_id)) == n

    return work


def bare(url: str, n: int) -> Callable[[], None]:
    tools = [{"type": "function", "function": vars(ADD)}]

    async def episode(session: aiohttp.ClientSession) -> None:
        messages: list[dict] = [{"role": "user", "content": PROMPT}]
        while True:
            body = {"model": "org/m", "messages": messages, "tools": tools, "max_tokens": 64, "temperature": 1.0}
            async with session.post(f"{url}/chat/completions", json=body | {"seed": 0}) as response:
                message = (await response.json())["choices"][0]["message"]
            messages.append(message)
            if not message.get("tool_calls"):
                assert "3" in message["content"]
                return
            for call in message["tool_calls"]:
                arguments = json.loads(call["function"]["arguments"])
                result = str(arguments["x"] + arguments["y"])
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": result})

    async def main() -> None:
        todo = iter(range(n))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=IN_FLIGHT)) as session:

            async def work() -> None:
                for _ in todo:
                    await episode(session)

            await asyncio.gather(*(work() for _ in range(IN_FLIGHT)))

    return lambda: asyncio.run(main())


def main(n: int) -> None:
    source = Path(__file__).parents[1] / "mock_server.py"
    server = subprocess.Popen([sys.executable, source], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdin is not None and server.stdout is not None
    try:
        url = f"http://127.0.0.1:{int(server.stdout.readline())}/v1"
        cpu_ms: dict[str, list[float]] = {"bare aiohttp loop": [], "engine, runner and store": []}
        for work in (bare(url, 64), play(url, 64)):  # imports and connections
            work()
        for _ in range(ROUNDS):
            for name, work in zip(cpu_ms, (bare(url, n), play(url, n))):
                started = time.process_time()
                work()
                cpu_ms[name].append(1e3 * (time.process_time() - started) / n)
    finally:
        server.stdin.close()
        server.wait()
    floor, ours = (statistics.median(values) for values in cpu_ms.values())
    print(f"{n} episodes of 2 turns, {IN_FLIGHT} in flight, median of {ROUNDS} interleaved rounds, CPU of the client")
    for (name, values), value in zip(cpu_ms.items(), (floor, ours)):
        mark = "<" if value is ours and (value > MAX_MS or value > MAX_RATIO * floor) else ""
        each = " ".join(f"{v:.2f}" for v in values)
        print(f"{name:<28} {value:6.2f} ms {value / floor:5.2f} x bare {mark:1}  ({each})")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 1000)
