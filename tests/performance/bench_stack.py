"""Tokens per second of training on a GPU: runs in a stack, one run alone, and one core of the CPU for comparison.

Arms of scale xs and s with the recipe of conf/training/gpu.yaml, one process; texts are made ahead. Printed also: the time
to the first step, in which kernels are loaded and recorded. With `base`, the base of scale m as `make bases
TRAINING=bases_gpu` trains it, stopped after so many million tokens.
Run: python tests/performance/bench_stack.py [cuda or cpu] [runs in the stack] [tokens per run] [million tokens of the base]
"""

import dataclasses
import sys
import tempfile
import time
from pathlib import Path

from replication import settings
from replication.collect import build
from replication.collect.training import curricula, runs

MIN_GAIN = 10.0
"""Of a stack of ten runs on a GPU over one core of the CPU."""
MAX_BASE_S = 180.0
"""For 40 million tokens of the base of scale m."""


def configuration(*overrides: str) -> settings.Root:
    from hydra import compose, initialize_config_dir

    settings.register()
    with initialize_config_dir(str(settings.CONF), version_base=None):
        return settings.checked(compose("config", overrides=list(overrides)))


def arms(training: str, scale: str, n: int, n_tokens: int, device: str) -> list[runs.TrainingRun]:
    """Return `n` runs of one arm with other seeds and this budget."""
    cfg = configuration("study=controlled", f"training={training}", f"training.device={device}")
    run = next(r for r in build.training_runs(cfg) if (r.arm, r.scale) == ("agent_sft", scale))
    phases = tuple(dataclasses.replace(phase, n_tokens=n_tokens) for phase in run.phases)
    return [dataclasses.replace(run, phases=phases, training_seed=seed) for seed in range(n)]


def seconds(items: list[runs.TrainingRun], n_processes: int) -> tuple[float, int, float]:
    """Train; returns the time, the tokens read, and the time to the first step that was reported or the whole time."""
    with tempfile.TemporaryDirectory() as folder:
        started, first = time.perf_counter(), []

        def report(run: runs.TrainingRun, progress: curricula.Progress) -> None:
            if not first:
                first.append(time.perf_counter() - started)

        folders = [Path(folder) / str(at) for at in range(len(items))]
        if items[0].is_stackable:
            runs.execute_stack([(r, f, None) for r, f in zip(items, folders, strict=True)], report, n_processes)
        else:
            runs.execute(items[0], folders[0], lambda progress: report(items[0], progress))
        took = time.perf_counter() - started
        records = [runs.read_finished(r, f) for r, f in zip(items, folders, strict=True)]
        return took, sum(record.n_tokens for record in records if record), first[0] if first else took


def show(what: str, items: list[runs.TrainingRun], n_processes: int = 0) -> float:
    took, n_tokens, first = seconds(items, n_processes)
    steady = n_tokens / took
    print(
        f"{what:<34} {n_tokens:10,} tokens in {took:6.1f} s (first report {first:.1f} s): {steady:9,.0f} tokens/s",
        flush=True,
    )
    return steady


def main(device: str, n: int, n_tokens: int, million: int) -> None:
    for kind in ("cpu", "gpu"):
        show(f"to begin with, {kind}", arms(kind, "xs", 1, 2_000, "cpu" if kind == "cpu" else device))
    for scale in ("xs", "s"):
        core = show(f"{scale}, one core, written out", arms("cpu", scale, 1, max(20_000, n_tokens // 4), "cpu"))
        show(f"{scale}, one run, {device}", arms("gpu", scale, 1, n_tokens, device), 4)
        stack = show(f"{scale}, a stack of {n}, {device}", arms("gpu", scale, n, n_tokens, device), 4)
        gain = stack / core
        print(
            f"{scale}, stack over one core: {gain:.1f} of at least {MIN_GAIN}{' <' if gain < MIN_GAIN else ''}",
            flush=True,
        )
    if million:
        cfg = configuration("study=controlled_full", "training=bases_gpu", f"training.device={device}")
        base = next(run for run in build.bases(cfg) if run.scale == "m")
        phase = dataclasses.replace(base.phases[0], n_tokens=million * 10**6)
        rate = show(f"base m, {device}", [dataclasses.replace(base, phases=(phase,))], 8)
        took = 40e6 / rate
        print(
            f"40 million tokens of it: {took:.0f} s of at most {MAX_BASE_S:.0f}{' <' if took > MAX_BASE_S else ''}",
            flush=True,
        )


if __name__ == "__main__":
    given = sys.argv[1:]
    main(
        given[0] if given else "cuda",
        *(int(given[at]) if given[at:] else d for at, d in ((1, 10), (2, 300_000), (3, 40))),
    )
