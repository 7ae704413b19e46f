"""A sweep over many checkpoints in one process, and processes that are killed while they play."""

import json
import os
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
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


N_TASKS = 900

SERVER = """
import os, sys
sys.path[:0] = [{tests!r}, {here!r}]
from parts import make_job
from test_vllm import BASE, make_engine, ref
from replication.collect import runner
from replication.store import Store
os.environ.update(make_engine()._environment)
import vllm.v1.worker.cpu_worker, vllm.model_executor.models.qwen3
from vllm import LLM

def play(root):
    engine = make_engine()
    engine.load(ref(BASE))
    jobs = [make_job(name, n_tasks={n_tasks}, n_trials=1, temperature=1.0) for name in ("terminal", "calling")]
    print("playing", flush=True)
    runner.collect(Store(root), engine, jobs, concurrency=8, title="test")
    engine.close()
    os._exit(0)

for line in sys.stdin:
    process = os.fork()
    if process == 0:
        play(line.strip())
    print(process, flush=True)
    print(os.waitpid(process, 0)[1], flush=True)
"""
"""Plays into each folder that it reads, in a process of its own; prints the process, "playing" and the exit status. The
processes are forked from one that has imported vLLM, which takes most of the time that an engine takes to start."""


def test_a_hundred_kills_at_random_moments_give_the_undisturbed_table(tmp_path):
    rng, here, killed = random.Random(0), Path(__file__).parent, tmp_path / "killed"
    server = subprocess.Popen(
        [sys.executable, "-c", SERVER.format(tests=str(here.parents[1]), here=str(here), n_tasks=N_TASKS)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip

    def start(root):
        server.stdin.write(f"{root}\n")
        server.stdin.flush()
        process = int(server.stdout.readline())
        assert server.stdout.readline() == "playing\n"
        return process

    def status():
        return os.waitstatus_to_exitcode(int(server.stdout.readline()))

    with server:
        for _ in range(100):
            process = start(killed)
            time.sleep(rng.random())
            os.kill(process, signal.SIGKILL)
            assert status() == -signal.SIGKILL, "it ended before it could be killed"
        store = Store(killed)
        assert 100 < sum(len(store.finished(run)) for run in store.runs()) < 2 * N_TASKS
        for root in (killed, tmp_path / "whole"):
            start(root)
            assert status() == 0
        server.stdin.close()
    table = store.score_table()
    assert len(table) == 2 * N_TASKS
    pd.testing.assert_frame_equal(table, Store(tmp_path / "whole").score_table())
