"""Appends per second, and seconds and memory to resume a run and to read its score table; each in a process of its own.

The process that appends kills itself before it leaves the writer, so the run is resumed as after any SIGKILL; once more
without *.scan, as in a copy that lacks them.

Run: python tests/performance/bench_store.py [n_episodes [folder]], such as 1000000. The folder, by default the one for
temporary files, needs 1.6 kB per episode, which are removed at the end. Text is of 1.8 kB per episode, in eight messages.
"""

import json
import os
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "store"))

from test_store import (
    ENGINE,
    GRADER,
    LABELS,
    Episode,
    Message,
    Score,
    Store,
    Task,
    make_episode,
    make_score,
    make_spec,
    make_tasks,
)

from replication.records import Call

N_TASKS, CHUNK = 1000, 5000
STAGES = {
    "append": "append episodes and scores",
    "resume": "resume after SIGKILL",
    "all": "resume without *.scan",
    "missing": "list what is missing",
    "table": "score table",
    "texts": "read 20,000 trajectories",
}


def texts(rng: random.Random) -> list[str]:
    """Return outputs of tools, none like another."""
    return [
        "".join(
            f"-rw-r--r-- 1 user user {rng.randrange(10**5):>6} report_{rng.randrange(10**4)}.csv\n" for _ in range(5)
        )
        for _ in range(500)
    ]


def chunk(
    tasks: list[Task], first: int, n: int, rng: random.Random, known: list[str]
) -> Iterator[tuple[Episode, Score]]:
    spec = make_spec()
    for i in range(first, first + n):
        calls = [
            (Call(name="read", arguments={"path": f"report_{i}.csv"}),) if turn % 2 == 0 else () for turn in range(8)
        ]
        trajectory = tuple(
            Message(role=("assistant", "tool")[turn % 2], content=rng.choice(known), calls=calls[turn])
            for turn in range(8)
        )
        seeds = tuple(rng.getrandbits(31) for _ in range(4))
        episode = make_episode(
            spec,
            tasks[i % N_TASKS],
            i // N_TASKS,
            trajectory=trajectory,
            seeds=seeds,
            wall_s=round(rng.random() * 9, 4),
        )
        yield episode, make_score(episode, rng.random(), n_correct=i % 7)


def append(store: Store, n: int) -> None:
    """Append all episodes and end by SIGKILL; the seconds to make them are not counted."""
    rng, tasks = random.Random(0), make_tasks(N_TASKS)
    known, made_s, started = texts(rng), 0.0, time.perf_counter()
    with store.writer(make_spec(), LABELS, ENGINE, tasks) as writer:
        for first in range(0, n, CHUNK):
            making = time.perf_counter()
            items = list(chunk(tasks, first, min(CHUNK, n - first), rng, known))
            made_s += time.perf_counter() - making
            for episode, score in items:
                writer.append(episode, score)
        writer.flush()
        report(time.perf_counter() - started - made_s)
        os.kill(os.getpid(), signal.SIGKILL)


def resume(store: Store, n: int) -> float:
    started = time.perf_counter()
    with store.writer(make_spec(), LABELS, ENGINE, make_tasks(N_TASKS)) as writer:
        assert len(writer.finished) == n and next(writer.unscored(GRADER), None) is None
    return time.perf_counter() - started


def read_all(store: Store, n: int) -> float:
    """Resume without a scan of the lines."""
    for path in store.root.glob("*/*.scan"):
        path.rename(path.with_suffix(".kept"))
    seconds = resume(store, n)
    for path in store.root.glob("*/*.kept"):
        path.rename(path.with_suffix(".scan"))
    return seconds


def missing(store: Store, n: int) -> float:
    tasks, started = make_tasks(N_TASKS), time.perf_counter()
    assert len(store.missing(make_spec().run_id, tasks, 2 * n // N_TASKS)) == 2 * n // N_TASKS * N_TASKS - n
    return time.perf_counter() - started


def table(store: Store, n: int) -> float:
    store.score_table([])  # imports pandas
    started = time.perf_counter()
    assert len(store.score_table()) == n
    return time.perf_counter() - started


def read_texts(store: Store, n: int) -> float:
    started = time.perf_counter()
    for _, _episode in zip(range(20_000), store.episodes(make_spec().run_id, trajectories=True), strict=False):
        pass
    return time.perf_counter() - started


RUN = dict(zip(STAGES, (append, resume, read_all, missing, table, read_texts), strict=True))


def report(wall_s: float) -> None:
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps({"wall_s": wall_s, "cpu_s": time.process_time(), "peak_mb": peak_mb}), flush=True)


def main(n: int, folder: str | None) -> None:
    with tempfile.TemporaryDirectory(dir=folder, prefix="bench-store-") as root:
        for stage, title in STAGES.items():
            command = [sys.executable, __file__, "--stage", stage, str(n), root]
            done = subprocess.run(command, stdout=subprocess.PIPE)
            assert done.returncode == (-signal.SIGKILL if stage == "append" else 0)
            found = json.loads(done.stdout)
            print(
                f"{title:<28} {found['wall_s']:7.2f} s wall {found['cpu_s']:7.2f} s CPU, process included "
                f"{n / found['wall_s']:10,.0f} episodes/s {found['peak_mb']:5.0f} MB"
            )
        n_bytes = sum(file.stat().st_size for file in Path(root).glob("*/*"))
        print(f"{n:,} episodes, {n_bytes / n:.0f} B each on disk")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--stage"]:
        stage, n, root = sys.argv[2], int(sys.argv[3]), Path(sys.argv[4])
        report(RUN[stage](Store(root), n))
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 20_000, sys.argv[2] if len(sys.argv) > 2 else None)
