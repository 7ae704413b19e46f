"""How busy the engine is in a sweep over checkpoints, between its first and last step: the share of the time that it steps.

One process loads organisms of one shape in turn, as command `run` does, and each plays all environments. Printed per order
of the episodes and per concurrency: the share of the time in steps, the time between the pools of two checkpoints, how full
the batch was, and the CPU time. Where the batch is seldom full, further engines on the card fill it: `engine.processes`.
On a GPU the engine steps in a process of its own, also while we read its last outputs; so the share of the time with
requests in flight counts there, and what NVML says of the card is printed beside it.
Run: python tests/performance/bench_sweep.py [n_episodes per checkpoint] [n_checkpoints] [cpu or cuda]
"""

import dataclasses
import itertools
import os
import shutil
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import NamedTuple

os.environ |= {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}  # as the engine's option `threads`
sys.path.insert(0, str(Path(__file__).parents[1]))

from parts import make_job

from replication import settings
from replication.collect import build, ordering, preflight, runner
from replication.collect.benchmarks import suite
from replication.collect.engines.vllm import VllmEngine
from replication.collect.interfaces import ModelRef
from replication.store import Store

MIN_BUSY = 0.95
"""Least share of the time that the engine is busy, on a GPU."""
SAMPLE_S = 0.02


class Sampler(threading.Thread):
    """Samples whether requests are in flight, and how busy the card is, until stopped."""

    def __init__(self, engine: VllmEngine, device: str):
        super().__init__(daemon=True)
        self._engine, self._on_card = engine, device == "cuda"
        self.samples: list[tuple[float, bool, float]] = []
        """Time, whether requests are in flight, and the share of the last moments in which the card computed."""
        self._stopped = threading.Event()

    def run(self) -> None:
        card = None
        if self._on_card:
            import pynvml

            pynvml.nvmlInit()
            card = pynvml.nvmlDeviceGetHandleByIndex(0)
        while not self._stopped.wait(SAMPLE_S):
            used = pynvml.nvmlDeviceGetUtilizationRates(card).gpu / 100 if card else 0.0
            self.samples.append((time.perf_counter(), self._engine._stepper.busy, used))

    def shares(self, start: float, end: float) -> tuple[float, float]:
        """Return the share of the time with requests in flight, and in which the card computed."""
        self._stopped.set()
        within = [sample for sample in self.samples if start <= sample[0] <= end]
        return tuple(statistics.fmean(float(sample[at]) for sample in within) for at in (1, 2))


class Step(NamedTuple):
    start: float
    end: float
    n_requests: int


def note_steps(engine: VllmEngine) -> list[Step]:
    """Note each step of the engine from now on."""
    steps: list[Step] = []
    core = engine._llm.llm_engine
    plain = core.step

    def step():
        n, start = len(engine._stepper._in_flight), time.perf_counter()
        outputs = plain()
        steps.append(Step(start, time.perf_counter(), n))
        return outputs

    core.step = step
    return steps


def organisms(n: int, folder: Path) -> list[ModelRef]:
    """Write checkpoints that differ in their weights: the base of scale xs, its layers a little noisy."""
    import torch
    from safetensors.torch import load_file, save_file

    base = build.base_folder(configuration("cpu"), "xs")
    weights = load_file(base / "model.safetensors")
    refs = []
    for at in range(n):
        rng = torch.Generator().manual_seed(at)
        made = {
            name: w + 0.02 * at * w.std() * torch.randn(w.shape, generator=rng) if w.ndim == 2 else w
            for name, w in weights.items()
        }
        shutil.copytree(base, folder / f"c{at}")
        save_file(made, folder / f"c{at}" / "model.safetensors", metadata={"format": "pt"})
        refs.append(ModelRef(name=f"c{at}", path=str(folder / f"c{at}"), revision="r"))
    return refs


def configuration(device: str) -> settings.Root:
    from hydra import compose, initialize_config_dir

    settings.register()
    engine = {"cpu": "vllm_cpu", "cuda": "organism_gpu"}[device]
    with initialize_config_dir(str(settings.CONF), version_base=None):
        return settings.checked(compose("config", overrides=["study=controlled", f"engine={engine}"]))


def jobs_of(ref: ModelRef, jobs: list[runner.Job]) -> list[runner.Job]:
    """Return the same jobs for another checkpoint; tasks are generated once, as in `build`."""
    return [
        dataclasses.replace(
            job, spec=dataclasses.replace(job.spec, model=ref.name), labels=dataclasses.replace(job.labels, model=ref.name)
        )
        for job in jobs
    ]  # fmt: skip


def sweep(
    engine: VllmEngine,
    refs: list[ModelRef],
    plan: list[runner.Job],
    concurrency: int,
    order: str,
    steps: list[Step],
    device: str,
):
    """Play all checkpoints and print a line."""
    pools: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as root:
        store = Store(Path(root))
        steps.clear()
        sampler = Sampler(engine, device)
        sampler.start()
        cpu = time.process_time()
        for ref in refs:
            engine.load(ref)
            jobs = jobs_of(ref, plan)
            preflight.check(store, engine, jobs)
            sort = ordering.by_length(store) if order == "longest_first" else None
            first = len(steps)
            runner.collect(store, engine, jobs, concurrency=concurrency, title=ref.name, order=sort)
            pools.append((steps[first].start, steps[-1].end))
    cpu = time.process_time() - cpu
    whole = steps[-1].end - steps[0].start
    in_steps = sum(step.end - step.start for step in steps)
    between = sum(b[0] - a[1] for a, b in itertools.pairwise(pools)) / max(1, len(pools) - 1)
    full = sum((step.end - step.start) * step.n_requests for step in steps) / in_steps / concurrency
    low = sum(step.end - step.start for step in steps if step.n_requests < concurrency / 2) / in_steps
    in_flight, computing = sampler.shares(steps[0].start, steps[-1].end)
    busy = in_flight if device == "cuda" else in_steps / whole
    on_card = f", card computing {computing:.1%}" if device == "cuda" else ""
    print(
        f"{order:<14} {concurrency:5d} in flight: {whole:6.1f} s, {cpu:6.1f} CPU s, busy {busy:5.1%} of {MIN_BUSY:.0%}"
        f"{' <' if busy < MIN_BUSY else ''} (in steps {in_steps / whole:.1%}, with requests {in_flight:.1%}{on_card}), "
        f"{between:5.2f} s between checkpoints, batch {full:4.0%} full, {low:4.0%} of the time less than half",
        flush=True,
    )


def main(n: int, n_checkpoints: int, device: str) -> None:
    cfg = configuration(device)
    engine = build.engine(cfg)
    with tempfile.TemporaryDirectory() as folder:
        refs = organisms(n_checkpoints, Path(folder))
        engine.load(refs[-1])
        steps = note_steps(engine)
        limits = {"max_turns": 12, "max_episode_tokens": 400}
        plan = [make_job(name, n_tasks=n // len(suite.NAMES), n_trials=1, seed=5, **limits) for name in suite.NAMES]
        sweep(engine, refs[:1], plan, cfg.engine.concurrency, "listed", steps, device)  # warm
        for concurrency, order in ((1, "listed"), (1, "longest_first"), (2, "listed")):
            sweep(engine, refs, plan, concurrency * cfg.engine.options["max_num_seqs"], order, steps, device)
    engine.close()


if __name__ == "__main__":
    given = sys.argv[1:]
    main(int(given[0]) if given else 560, int(given[1]) if given[1:] else 6, given[2] if given[2:] else "cpu")
