"""Seconds to resample, on one core, side by side: the weight engine, its floor, and scipy's bootstrap of one column.

The floor is the work that no engine with two random bytes per weight can avoid: those bytes, and the same matrix product.
Each figure is the best of five rounds of processor time; a mark `<` shows where the engine is too slow. Peak memory is that
of a process that does nothing else.
Run: python tests/performance/bench_stats.py [n_resamples]
"""

import os

os.environ |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy import stats

from replication.analyse.stats.resampling.weights import bootstrap_benchmark_mean, bootstrap_benchmarks

N_BENCHMARKS, N_TASKS, N_COLUMNS = 7, 200, 80
MAX_S, MAX_RATIO = 0.2, 3.0
"""Limits of the Poisson engine for 20,000 resamples: seconds, and ratio to the floor."""

MAX_MB, MANY = 500, 100_000
"""Limit of the peak memory, and the number of resamples it is measured at."""


def make_columns() -> list[np.ndarray]:
    rng = np.random.Generator(np.random.SFC64(7))
    return [rng.random((N_TASKS, N_COLUMNS)) for _ in range(N_BENCHMARKS)]


def best(work: Callable[[], object], rounds: int = 5) -> float:
    """Return the smallest processor time of `work` in seconds."""
    seconds = []
    for _ in range(rounds):
        started = time.process_time()
        work()
        seconds.append(time.process_time() - started)
    return min(seconds)


def floor(columns: list[np.ndarray], n_resamples: int, rng: np.random.Generator) -> None:
    block = 1000
    weights = np.ones((block, N_TASKS), np.float32)
    for matrix in columns:
        x = matrix.astype(np.float32)
        for _ in range(n_resamples // block):
            rng.integers(0, 2**64 - 1, size=block * N_TASKS // 4, dtype=np.uint64, endpoint=True)
            weights @ x


def scipy_bootstrap(columns: list[np.ndarray], n_resamples: int, rng: np.random.Generator) -> None:
    for matrix in columns:
        difference = (matrix[:, 0] - matrix[:, 1],)
        stats.bootstrap(difference, np.mean, n_resamples=n_resamples, batch=1000, method="percentile", rng=rng)


def peak_mb(work: Callable[..., np.ndarray]) -> float:
    """Return the peak memory of this process after the work, in MB, libraries and columns included (Linux)."""
    work(make_columns(), n_resamples=MANY, rng=np.random.Generator(np.random.SFC64(1)))
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main(n_resamples: int) -> None:
    columns, rng = make_columns(), np.random.Generator(np.random.SFC64(1))
    how = {"n_resamples": n_resamples, "rng": rng}
    print(f"{N_BENCHMARKS} benchmarks x {N_TASKS} tasks x {N_COLUMNS} columns, {n_resamples:,} resamples, one core")
    least = best(lambda: floor(columns, n_resamples, rng))
    print(f"{'floor: random bytes + product':<40} {least:7.3f} s")
    for weights in ("poisson", "multinomial"):
        limited = weights == "poisson"
        for name, work in (("mean", bootstrap_benchmark_mean), ("each benchmark", bootstrap_benchmarks)):
            seconds = best(lambda work=work, weights=weights: work(columns, weights=weights, **how))
            mark = "<" if limited and (seconds > MAX_S * n_resamples / 20_000 or seconds > MAX_RATIO * least) else ""
            print(f"{f'engine, {weights}, {name}':<40} {seconds:7.3f} s {seconds / least:6.1f} x floor {mark}")
    one = [matrix[:, :2] for matrix in columns]
    seconds = best(lambda: bootstrap_benchmarks([m[:, :1] - m[:, 1:] for m in one], **how))
    print(f"{'engine, poisson, one paired difference':<40} {seconds:7.3f} s {seconds / least:6.1f} x floor")
    seconds = best(lambda: scipy_bootstrap(one, n_resamples, rng), rounds=2)
    print(f"{'scipy.stats.bootstrap, the same':<40} {seconds:7.3f} s {seconds / least:6.1f} x floor")
    all_columns = seconds * N_COLUMNS
    print(f"{f'  {N_COLUMNS} times that (not run)':<40} {all_columns:7.3f} s {all_columns / least:6.1f} x floor")
    for name in ("bootstrap_benchmark_mean", "bootstrap_benchmarks"):
        # A fresh process: the peak is that of the whole life of a process.
        done = subprocess.run([sys.executable, __file__, name], capture_output=True, text=True, check=True)
        mb = float(done.stdout)
        print(f"{f'peak of {MANY:,}, {name}':<56} {mb:6.0f} MB {'<' if mb > MAX_MB else ''}")


if __name__ == "__main__":
    argument = sys.argv[1] if len(sys.argv) > 1 else "20000"
    if argument.isdigit():
        main(int(argument))
    else:
        print(peak_mb({"bootstrap_benchmark_mean": bootstrap_benchmark_mean}.get(argument, bootstrap_benchmarks)))
