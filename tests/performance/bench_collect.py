"""Cost of everything around a model: playing and storing an episode.

The engine answers at once, so what is left is ours: compare `runner` with `loop only`, the same episodes without
runner and store. Run: python tests/performance/bench_collect.py [n_episodes]
"""

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from parts import expert_script, make_job

from replication.collect import runner
from replication.collect.engines.scripted import ScriptedEngine
from replication.collect.episodes import play
from replication.records import Reply
from replication.store import Store


def rate(what: str, n: int, unit: str, started: float) -> None:
    seconds = time.perf_counter() - started
    print(f"{what:<34} {n / seconds:12,.0f} {unit}/s {1e3 * seconds / n:9.4f} ms each")


def main(n: int) -> None:
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


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
