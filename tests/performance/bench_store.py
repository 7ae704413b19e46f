"""Appends per second, and seconds to reopen and to read the table, for trajectories of about 2 kB.

Run: python tests/performance/bench_store.py [n_episodes]
"""

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "store"))

from test_store import ENGINE, GRADER, LABELS, make_episode, make_score, make_spec, make_tasks

from replication.records import Message
from replication.store import Store

TURN = """$ ls -la /srv/data
total 24
drwxr-xr-x 3 user user 4096 report_{i}.csv
-rw-r--r-- 1 user user 812 notes_{j}.txt
"""


def timed(what: str, n: int, action: Callable[[], None]) -> None:
    wall_s, cpu_s = time.perf_counter(), time.process_time()
    action()
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    print(f"{what:<28} {wall_s:7.3f} s wall {cpu_s:7.3f} s CPU {n / wall_s:10,.0f} episodes/s")


def main(n: int) -> None:
    spec, tasks = make_spec(), make_tasks(200)
    turns = [TURN.format(i=t * 7, j=t * 13) + TURN.format(i=t * 7, j=t * 13 + 1) for t in range(8)]
    trajectory = [Message(role=("assistant", "tool")[t % 2], content=turn) for t, turn in enumerate(turns)]
    episodes = [
        make_episode(spec, tasks[i % 200], i // 200, trajectory=(*trajectory, Message(role="user", content=str(i))))
        for i in range(n)
    ]
    with tempfile.TemporaryDirectory() as root:
        store = Store(Path(root))

        def append() -> None:
            with store.writer(spec, LABELS, ENGINE, tasks) as writer:
                for episode in episodes:
                    writer.append(episode, make_score(episode, 0.5))

        def reopen() -> None:
            with store.writer(spec, LABELS, ENGINE, tasks) as writer:
                assert len(writer.finished) == n and not list(writer.unscored(GRADER))

        print(f"{n} episodes, {sum(len(m.content) for m in episodes[0].trajectory)} characters each")
        timed("append episode and score", n, append)
        timed("reopen to resume", n, reopen)
        store.score_table([])  # imports pandas
        timed("score table", n, lambda: store.score_table())
        timed("score table again", n, lambda: store.score_table())
        timed("one trajectory", 1, lambda: store.trajectory(spec.run_id, tasks[7].id, 0))
        timed("all trajectories", n, lambda: list(store.episodes(spec.run_id, trajectories=True)))
        n_bytes = sum(f.stat().st_size for f in (Path(root) / spec.run_id).iterdir())
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
        print(f"on disk {n_bytes / n:.0f} B per episode; peak memory {peak} MB")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000)
