"""A sweep over many checkpoints in one process, and processes that are killed while they play."""

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import pandas as pd
import pytest
from test_vllm import BASE, PROMPTS, ask, make_engine, ref, request

from replication.collect.engines.vllm import Options, VllmEngine
from replication.store import Store

pytestmark = [pytest.mark.vllm, pytest.mark.slow]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Twenty checkpoints that differ in their weights."""
    from safetensors.torch import load_file, save_file

    folders = []
    for i in range(20):
        folder = tmp_path_factory.mktemp("checkpoints") / f"c{i}"
        shutil.copytree(BASE, folder)
        weights = load_file(BASE / "model.safetensors")
        weights = {name: (w.roll(i, 0).contiguous() if "embed" in name else w) for name, w in weights.items()}
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        folders.append(folder)
    return folders


def current_mib():
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 2**20


def test_twenty_checkpoints_in_one_process_are_ready_at_once_and_leave_memory_flat(checkpoints):
    engine, ready, memory, texts = make_engine(), [], [], []
    requests = [request(text, seed=i) for i, text in enumerate(PROMPTS * 4)]
    for folder in [*checkpoints, *checkpoints]:
        cpu = time.process_time()
        engine.load(ref(folder))
        ready.append(time.process_time() - cpu)
        texts.append(ask(engine, requests))
        memory.append(current_mib())
    engine.close()
    assert texts[:20] == texts[20:] and len({tuple(one) for one in texts}) == 20
    assert statistics.median(ready[1:]) <= 0.5, ready
    assert memory[-1] - memory[4] < 30, memory


def test_an_engine_in_a_process_of_its_own_gives_the_same_texts_and_swaps(checkpoints):
    code = (
        "import json, os, sys\n"
        "from test_vllm_sweep import separate_texts\n"
        "if __name__ == '__main__':\n"
        "    print('TEXTS', json.dumps(separate_texts(sys.argv[1:])))\n"
    )
    env = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    out = subprocess.run(
        [sys.executable, "-c", code, *map(str, checkpoints[:2])], env=env, capture_output=True, text=True
    )
    assert out.returncode == 0, out.stderr
    (line,) = [line for line in out.stdout.splitlines() if line.startswith("TEXTS ")]
    engine = make_engine()
    expected = []
    for folder in checkpoints[:2]:
        engine.load(ref(folder))
        expected.append(ask(engine, [request(text, seed=i) for i, text in enumerate(PROMPTS)]))
    engine.close()
    assert json.loads(line.removeprefix("TEXTS ")) == expected and expected[0] != expected[1]


def separate_texts(folders):
    """Play two checkpoints on an engine whose core is a process of its own."""
    llm = {"enforce_eager": True, "enable_chunked_prefill": False, "max_num_batched_tokens": 1024}
    options = Options(device="cpu", max_num_seqs=16, kv_cache_gib=0.06, multiprocessing=True, llm=llm)
    engine, texts = VllmEngine("float32", 256, options), []
    for folder in folders:
        engine.load(ref(folder))
        texts.append(ask(engine, [request(text, seed=i) for i, text in enumerate(PROMPTS)]))
    engine.close()
    return texts


N_KILLS, N_TASKS, LIMIT_S = 100, 900, 1500

SERVER = """
import os, signal, sys, time, traceback
sys.path[:0] = [{tests!r}, {here!r}]
from parts import make_job
from test_vllm import BASE, make_engine, ref
from replication.collect import runner
from replication.store import Store
os.environ.update(make_engine()._environment)
import vllm.v1.worker.cpu_worker, vllm.model_executor.models.qwen3
from vllm import LLM

def play(root, begun):
    engine = make_engine()
    engine.load(ref(BASE))
    jobs = [make_job(name, n_tasks={n_tasks}, n_trials=1, temperature=1.0) for name in ("terminal", "calling")]
    os.write(begun, b".")
    runner.collect(Store(root), engine, jobs, concurrency=8, title="test")
    engine.close()

for line in sys.stdin:
    root, seconds = line.split()
    read, write = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            play(root, write)
            os._exit(0)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
    os.close(write)
    if os.read(read, 1) and float(seconds) >= 0:
        time.sleep(float(seconds))
        os.kill(process, signal.SIGKILL)
    os.close(read)
    print(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]), flush=True)
"""
"""Plays into each folder that it reads, in a process of its own, which it kills after so many seconds of playing, or never
if they are negative; prints the exit status. The processes are forked from one that has imported vLLM, which takes most of
the time that an engine takes to start."""


@contextlib.contextmanager
def players(tmp_path):
    """Yield a function that plays into a folder and returns the exit status."""
    here, errors = Path(__file__).parent, tmp_path / "errors"
    with errors.open("wb") as file:
        server = subprocess.Popen(
            [sys.executable, "-c", SERVER.format(tests=str(here.parents[1]), here=str(here), n_tasks=N_TASKS)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=file, text=True, start_new_session=True,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "TMPDIR": str(tmp_path)},
        )  # fmt: skip
    timer = threading.Timer(LIMIT_S, os.killpg, (server.pid, signal.SIGKILL))
    timer.start()

    def play(root, seconds=-1.0):
        server.stdin.write(f"{root} {seconds}\n")
        server.stdin.flush()
        line = server.stdout.readline()
        assert line, f"it ended: {errors.read_text(encoding='utf-8')[-2000:]}"
        return int(line)

    try:
        yield play
    finally:
        timer.cancel()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)
        server.communicate()


def finished(root):
    store = Store(root)
    return {(run, key) for run in store.runs() for key in store.finished(run)}


def test_a_hundred_kills_at_random_moments_give_the_undisturbed_table(tmp_path):
    rng, killed, whole = random.Random(0), tmp_path / "killed", tmp_path / "whole"
    before, n_effective = set(), 0
    with players(tmp_path) as play:
        for _ in range(N_KILLS):
            share = len(before) / (2 * N_TASKS)
            assert play(killed, 2 * (1 - share) * rng.random()) == -signal.SIGKILL
            after = finished(killed) if killed.exists() else set()
            assert before <= after, "an episode that was recorded is lost"
            n_effective += before < after
            before = after
        assert n_effective >= N_KILLS // 3 and len(before) < 2 * N_TASKS
        assert play(killed) == play(whole) == 0
    assert len(finished(killed)) == 2 * N_TASKS
    pd.testing.assert_frame_equal(Store(killed).score_table(), Store(whole).score_table())
    for run in Store(whole).runs():
        ours, theirs = (
            {e.key: e.trajectory for e in Store(root).episodes(run, trajectories=True)} for root in (killed, whole)
        )
        assert ours == theirs
