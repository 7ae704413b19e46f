"""Speed of collecting: the cost of everything around a model, and the share of an offline batch that the engine reaches.

First an engine that answers at once, so what is left is ours: compare `runner` with `loop only`, the same episodes without
runner and store. Then the base of scale xs on vLLM on the CPU, over all environments: new tokens per second while
collecting, with as many episodes in flight as the batch holds and with twice as many, against one offline batch
(`LLM.generate`) of the same prompts, seeds and lengths, in turns in one process. CPU time counts, since it depends less on
other work on the machine than wall time, but not little: compare within a round only. On a GPU wall time
counts, and a few texts may differ. `<` marks a ratio below its limit.
Run: python tests/performance/bench_collect.py [n_episodes] [rounds] [cpu or cuda]
"""

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # as the engine's option `threads`
sys.path.insert(0, str(Path(__file__).parents[1]))

from parts import expert_script, make_job

from replication import settings
from replication.collect import build, runner
from replication.collect.benchmarks import suite
from replication.collect.engines.scripted import ScriptedEngine
from replication.collect.engines.vllm import VllmEngine
from replication.collect.episodes import play
from replication.collect.interfaces import ModelRef
from replication.records import Reply, Request
from replication.store import Store

MIN_RATIO = {"cpu": 0.9, "cuda": 0.75}
"""Least share of the offline batch's new tokens per second."""
ENGINES = {"cpu": "vllm_cpu", "cuda": "organism_gpu"}
MAX_DIFFERENT = {"cpu": 0.0, "cuda": 0.01}
"""Greatest share of texts that differ between collecting and the batch."""


def rate(what: str, n: int, unit: str, started: float) -> None:
    seconds = time.perf_counter() - started
    print(f"{what:<34} {n / seconds:12,.0f} {unit}/s {1e3 * seconds / n:9.4f} ms each")


def without_a_model(n: int) -> None:
    job = make_job(n_tasks=n // 2, n_trials=2)
    script = expert_script(job)
    started = time.perf_counter()
    for trial in range(2):
        for task in job.tasks:
            turns = play(job.spec, task, trial, job.benchmark.start(task), job.scaffold)
            request = next(turns)
            try:
                while True:
                    request = turns.send(
                        Reply(text=script(request), finish="stop", n_prompt_tokens=1, n_completion_tokens=1)
                    )
            except StopIteration as end:
                job.benchmark.grade(task, end.value)
    rate("loop only, with grading", 2 * len(job.tasks), "episode", started)
    with tempfile.TemporaryDirectory() as root:
        started = time.perf_counter()
        runner.collect(Store(Path(root)), ScriptedEngine(script), [job], concurrency=64, title="runner")
        rate("runner and store, 64 in flight", 2 * len(job.tasks), "episode", started)


class Measured(NamedTuple):
    n_tokens: int
    cpu_s: float
    wall_s: float


def measured(generate: Callable[[], int]) -> Measured:
    cpu, wall = time.process_time(), time.perf_counter()
    n_tokens = generate()
    return Measured(n_tokens, time.process_time() - cpu, time.perf_counter() - wall)


class Noting:
    """The engine, whose requests and replies are kept."""

    def __init__(self, engine: VllmEngine):
        self._engine = engine
        self.seen: list[tuple[Request, Reply]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._engine, name)

    async def generate(self, request: Request) -> Reply:
        reply = await self._engine.generate(request)
        self.seen.append((request, reply))
        return reply


def jobs_of_all_environments(n: int) -> list[runner.Job]:
    limits = {"max_turns": 12, "max_episode_tokens": 400}
    return [make_job(name, n_tasks=n // len(suite.NAMES), n_trials=1, seed=5, **limits) for name in suite.NAMES]


def offline(engine: VllmEngine, seen: list[tuple[Request, Reply]], device: str) -> Callable[[], int]:
    """Prepare the same requests as one batch; their texts must be those of the replies."""
    from vllm import SamplingParams

    prompts = [{"prompt_token_ids": engine._chat.prompt(request).ids} for request, _ in seen]
    params = [
        SamplingParams(temperature=r.sampling.temperature, seed=r.seed, max_tokens=r.sampling.max_tokens)
        for r, _ in seen
    ]

    def generate() -> int:
        outputs = [one.outputs[0] for one in engine._llm.generate(prompts, params, use_tqdm=False)]
        same = sum(output.text == reply.text for output, (_, reply) in zip(outputs, seen, strict=True))
        different = len(seen) - same
        assert different <= MAX_DIFFERENT[device] * len(seen), (
            f"{different} of {len(seen)} texts differ from the batch's"
        )
        return sum(len(output.token_ids) for output in outputs)

    return generate


def against_a_batch(n: int, rounds: int, device: str) -> None:
    from hydra import compose, initialize_config_dir

    settings.register()
    with initialize_config_dir(str(settings.CONF), version_base=None):
        cfg = settings.checked(compose("config", overrides=["study=controlled", f"engine={ENGINES[device]}"]))
    engine = build.engine(cfg)
    base = ModelRef(name="base", path=str(build.base_folder(cfg, "xs")), revision="r")
    engine.load(base)
    jobs = jobs_of_all_environments(n)
    noting = Noting(engine)

    def collect(seen_by: Any, played: list[runner.Job], concurrency: int) -> int:
        with tempfile.TemporaryDirectory() as root:
            store = Store(Path(root))
            runner.collect(store, seen_by, played, concurrency=concurrency, title="collect")
            return int(store.score_table()["n_completion_tokens"].sum())

    size = cfg.engine.options["max_num_seqs"]
    collect(engine, [make_job(name, n_tasks=4, n_trials=1, seed=6) for name in suite.NAMES], size)  # warm
    engine._llm.reset_prefix_cache()
    collect(noting, jobs, size)
    print(f"{sum(len(job.tasks) for job in jobs)} episodes, {len(noting.seen)} requests")
    ways = {
        f"collect, {size} in flight": lambda: collect(engine, jobs, size),
        f"collect, {2 * size} in flight": lambda: collect(engine, jobs, 2 * size),
        "offline batch, same requests": offline(engine, noting.seen, device),
    }
    compare(ways, rounds, engine._llm.reset_prefix_cache, device)
    engine.close()


def compare(ways: dict[str, Callable[[], int]], rounds: int, reset: Callable[[], object], device: str) -> None:
    """Measure all ways in each round, each first in turn, and print the ratios to the last one."""
    done: dict[str, list[Measured]] = {what: [] for what in ways}
    names = list(ways)
    for at in range(rounds):
        shift = at % len(names)
        for what in names[shift:] + names[:shift]:
            reset()
            done[what].append(measured(ways[what]))
    speeds = {
        what: [one.n_tokens / (one.cpu_s if device == "cpu" else one.wall_s) for one in all_]
        for what, all_ in done.items()
    }
    for what, all_ in done.items():
        wall = statistics.median(one.n_tokens / one.wall_s for one in all_)
        cpu = statistics.median(one.n_tokens / one.cpu_s for one in all_)
        print(f"{what:<34} {cpu:12,.0f} new tokens per CPU s, {wall:,.0f} per s")
    for what in names[:-1]:
        ratios = [own / raw for own, raw in zip(speeds[what], speeds[names[-1]], strict=True)]
        ratio, each = statistics.median(ratios), ", ".join(f"{one:.2f}" for one in ratios)
        least, unit = MIN_RATIO[device], {"cpu": "CPU s", "cuda": "s"}[device]
        mark = " <" if ratio < least else ""
        print(f"ratio per {unit:<5}, {what:<17} {ratio:8.2f} of at least {least}{mark} (rounds {each})")


def main(n: int, rounds: int, device: str) -> None:
    without_a_model(n)
    against_a_batch(n, rounds, device)


if __name__ == "__main__":
    given = sys.argv[1:]
    main(int(given[0]) if given else 2100, int(given[1]) if given[1:] else 3, given[2] if given[2:] else "cpu")
