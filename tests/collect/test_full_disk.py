"""A disk that fills, and a second process on the same run: one clear error, and the same command resumes."""

import os
import resource
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from parts import make_job, noisy_script
from test_multirun import small  # noqa: F401  # a fixture

from replication.collect import runner
from replication.collect.engines.scripted import ScriptedEngine
from replication.store import Store
from replication.store.locking import locked

ROOT = Path(__file__).parents[2]

CHILD = """
import resource, sys
sys.path.insert(0, {tests!r})
from parts import make_job, noisy_script
from replication.collect import runner
from replication.collect.engines.scripted import ScriptedEngine
from replication.errors import StoreError
from replication.store import Store
from replication.store.locking import locked
job = make_job(n_tasks=60, n_trials=2)
for limit in {limits!r}:
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        runner.collect(Store({root!r}), ScriptedEngine(noisy_script(job)), [job], concurrency=8, title="test")
    except StoreError as error:
        print(str(error).split("`")[1].split("/")[-1], [p.name for p in Store({root!r}).root.glob("*/.*")])
"""


def limited(n_bytes: int | None):
    """Return a function that limits the size of files in a child: they fail as on a full disk, after a short write."""
    return lambda: n_bytes and resource.setrlimit(resource.RLIMIT_FSIZE, (n_bytes, resource.RLIM_INFINITY))


def command(*arguments: str, n_bytes: int | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "replication", *arguments], capture_output=True, text=True,
        cwd=ROOT, preexec_fn=limited(n_bytes),
    )  # fmt: skip


def error_of(done: subprocess.CompletedProcess[str]) -> str:
    """Return the one line of an error; nothing else may be reported as one."""
    assert done.returncode == 2 and "Traceback" not in done.stderr, done.stderr
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error")]
    return line


def test_a_disk_that_fills_at_any_file_of_a_run_leaves_what_resumes_to_the_undisturbed_table(tmp_path):
    job, whole = make_job(n_tasks=60, n_trials=2), Store(tmp_path / "whole")
    runner.collect(whole, ScriptedEngine(noisy_script(job)), [job], concurrency=8, title="test")
    sizes = {path.name: path.stat().st_size for path in whole.root.glob("*/*")}
    limits = [sizes["manifest.json"] // 2, *(sizes["episodes.jsonl"] * k // 8 for k in (2, 3, 4, 5, 6, 7))]
    assert limits == sorted(limits)
    code = CHILD.format(tests=str(Path(__file__).parents[1]), root=str(tmp_path / "full"), limits=limits)
    env = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=env, check=True)
    failed = [line.split(" ", 1) for line in done.stdout.splitlines()]
    names = {name for name, _ in failed}
    assert len(failed) == len(limits) and all(left == "[]" for _, left in failed)
    assert "manifest.json" in names and {"episodes.jsonl", "trajectories.raw"} <= names
    store = Store(tmp_path / "full")
    assert 0 < len(store.score_table()) < 120
    runner.collect(store, ScriptedEngine(noisy_script(job)), [job], concurrency=8, title="test")
    pd.testing.assert_frame_equal(store.score_table(), whole.score_table())


def test_commands_on_a_full_disk_end_with_one_error_and_resume(small, tmp_path):  # noqa: F811
    line = error_of(command("run", *small, n_bytes=600))
    assert "cannot write `" in line and "Free space and run the same command again: it resumes." in line
    done = command("run", *small)
    assert done.returncode == 0, done.stderr
    (index,) = (tmp_path / "studies").glob("*.json")
    kept = index.read_bytes()
    line = error_of(command("gather", *small, n_bytes=600))
    assert f"cannot write `{index.relative_to(index.parents[1])}`" in line or f"cannot write `{index}`" in line
    assert index.read_bytes() == kept and [path.name for path in index.parent.iterdir()] == [index.name]
    table = Store(tmp_path / "store").score_table()
    assert command("run", *small).returncode == 0
    pd.testing.assert_frame_equal(Store(tmp_path / "store").score_table(), table)


def test_a_file_that_does_not_fit_is_named_and_the_old_one_is_kept(tmp_path):
    path = tmp_path / "study.monitor.json"
    path.write_text("{}")
    code = f"from pathlib import Path; from replication.files import write_json; write_json(Path({str(path)!r}), 'x' * 999)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, preexec_fn=limited(500)
    )
    assert done.stderr.splitlines()[-1] == f"OSError: [Errno 27] File too large: '{path}'"
    assert path.read_text() == "{}" and list(tmp_path.iterdir()) == [path]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["run", "replicate"])
def test_the_second_process_on_a_run_ends_with_the_process_to_wait_for(small, tmp_path, name):  # noqa: F811
    assert command("run", *small).returncode == 0
    store = Store(tmp_path / "store")
    run_id = store.runs()[0]
    for path in (tmp_path / "store" / run_id).glob("*.jsonl"):
        path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))  # an episode is missing
    before = (tmp_path / "store" / run_id / "episodes.jsonl").read_bytes()
    with locked(tmp_path / "store" / run_id):
        done = command(name, *small)
    assert f"is being written by process {os.getpid()} on `{os.uname().nodename}`" in error_of(done)
    assert (tmp_path / "store" / run_id / "episodes.jsonl").read_bytes() == before
    assert command("run", *small).returncode == 0
