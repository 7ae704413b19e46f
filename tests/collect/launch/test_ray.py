"""A sweep through Ray on this machine gives the score table of a local run."""

import importlib.util
import json
import os
import subprocess
import sys
import time

import pandas as pd
import pytest
from sweeps import ROOT, command, planned, scores, states, study

from replication.collect.launch import manifest as manifests

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray (requirements/cluster.lock)"),
]


def test_ray_runs_the_missing_lines_and_a_job_that_no_machine_fits_is_refused(tmp_path):
    overrides = [*study(tmp_path / "results"), "study.training_seeds=[0]"]
    here = ("launcher=ray", "launcher.cpus=1", "launcher.gpus=0")
    refused = command("sweep", *overrides, *here, "launcher.gpus=1000")
    assert (
        refused.returncode == 2
        and "a job asks for 1 CPUs and 1000 GPUs, and no machine of Ray has them" in refused.stderr
    )
    refused = command("sweep", *overrides, *here, "launcher.memory_gib=9000")
    assert (
        refused.returncode == 2 and "1 CPUs and 0 GPUs and 9000 GiB, and no machine of Ray has them" in refused.stderr
    )
    assert states(command("status", *overrides).stdout) == {0: "not started", 1: "not started"}
    manifest = planned(overrides)
    interrupted = subprocess.Popen(
        [sys.executable, "-m", "replication", "sweep", *overrides, *here], cwd=ROOT, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    while interrupted.poll() is None and not manifests.read_attempt(manifest.folder_of(manifest.lines[0])):
        time.sleep(0.2)
    interrupted.terminate()
    said = interrupted.communicate(timeout=120)[1]
    assert interrupted.returncode == 143 and said.endswith("interrupted; the same command resumes\n"), said
    done = command("sweep", *overrides, *here)
    assert done.returncode == 0, done.stdout + done.stderr
    assert states(done.stdout) == {0: "done", 1: "done"}
    for line in manifest.lines:
        assert json.loads((manifest.folder_of(line) / manifests.STATE).read_text())["exit_code"] == 0
    assert command("gather", *overrides).returncode == 0
    local = [*study(tmp_path / "local"), "study.training_seeds=[0]"]
    for stage in ("train", "run"):
        assert command(stage, *local).returncode == 0
    pd.testing.assert_frame_equal(scores(tmp_path / "results", overrides), scores(tmp_path / "local", local))
