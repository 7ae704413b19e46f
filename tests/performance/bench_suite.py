"""Tasks generated and steps executed per second, for every environment and level, on one core.

A task is generated with its content hash; its answer key is computed on first access, which is measured separately.
Steps are those of experts. Each figure is the best of three rounds. `<` marks rates below the minimum.
Run: python tests/performance/bench_suite.py [n_tasks]
"""

import sys
import time
from collections import deque
from collections.abc import Callable

from replication.collect.benchmarks import suite

MIN_TASKS, MIN_STEPS = 1_000, 20_000
"""Per second."""


def rate(n: int, work: Callable[[], None]) -> float:
    """Return how many of `n` items are processed per second of processor time."""
    started = time.process_time()
    work()
    return n / (time.process_time() - started)


def best_rates(bench: suite.SuiteBenchmark, level: int, n: int) -> tuple[float, float, float]:
    """Return tasks, keys and steps per second."""
    rates = []
    for seed in range(3):
        # Tasks are not stored, as when a corpus is written.
        tasks = rate(n, lambda seed=seed: deque(bench.items("evaluation", level, n, seed), maxlen=0))
        kept = list(bench.items("evaluation", level, max(n // 10, 1), seed))
        keys = rate(len(kept), lambda kept=kept: [len(draft.key) for _, draft in kept])
        episodes = [(bench.start(task), [c for a in draft.expert for c in a.calls]) for task, draft in kept]
        n_steps = sum(len(calls) for _, calls in episodes)
        steps = rate(n_steps, lambda played=episodes: [world.step(call) for world, calls in played for call in calls])
        rates.append((tasks, keys, steps))
    return tuple(map(max, zip(*rates, strict=True)))


def main(n: int) -> None:
    print(f"{'environment':<12} level {'tasks/s':>10}   {'keys/s':>10}   {'steps/s':>10}")
    for name in suite.NAMES:
        for level in suite.LEVELS:
            tasks, keys, steps = best_rates(suite.load(name), level, n)
            marks = ["<" if tasks < MIN_TASKS else " ", "<" if steps < MIN_STEPS else ""]
            print(
                f"{name:<12} {level:5} {tasks:10,.0f} {marks[0]} {keys:10,.0f}   {steps:10,.0f} {marks[1]}", flush=True
            )


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
