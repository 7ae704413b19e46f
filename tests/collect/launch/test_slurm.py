"""A sweep on a real SLURM of one node: what preemption, time limit, a killed and a failing job leave is completed."""

import json
import os
import signal
import subprocess
import time

import pandas as pd
import pytest
from slurm_cluster import cluster, lacking, squeue
from sweeps import command, composed, planned, scores, states, study

from replication.collect import build
from replication.collect.launch import manifest as manifests
from replication.files import write_json

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(lacking()), reason=lacking())]
SMALL = ("launcher=slurm", "launcher.cpus=1", "launcher.memory_gib=1")


@pytest.fixture(scope="module")
def slurm():
    with cluster() as env:
        yield env


def until(condition, what, timeout=300.0):
    deadline = time.monotonic() + timeout
    while not (found := condition()):
        assert time.monotonic() < deadline, f"{what} took too long"
        time.sleep(0.2)
    return found


def call(env, *arguments):
    subprocess.run(arguments, env=env, check=True, capture_output=True, timeout=60)


class Sweep:
    """A sweep on the cluster, seen through its commands and records."""

    def __init__(self, overrides, env):
        self.overrides, self.env, self.manifest = overrides, env, planned(overrides)

    def start(self):
        done = command("sweep", *self.overrides, *SMALL, env=self.env)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def states(self):
        done = command("status", *self.overrides, env=self.env)
        assert done.returncode == 0, done.stderr
        return states(done.stdout)

    def attempt(self, number):
        return manifests.read_attempt(self.manifest.folder_of(self.manifest.lines[number]))

    def trains(self, number):
        """Wait until a line trains, and return the process that runs it."""
        folder = self.manifest.folder_of(self.manifest.lines[number])
        until(
            lambda: (tried := self.attempt(number)) and tried.stage == "train" and tried.ended is None, f"line {number}"
        )
        return json.loads((folder / "lock").read_text())["pid"]

    def training(self):
        """List the lines that train now; not for one that was killed, whose record ends there."""
        tried = {line.line: self.attempt(line.line) for line in self.manifest.lines[1:]}
        return [n for n, one in tried.items() if one and one.stage == "train" and one.ended is None]

    def ended_by(self, number):
        tried = {line.line: self.attempt(line.line) for line in self.manifest.lines}
        return [n for n, one in tried.items() if one and one.exit_code == 128 + number]

    def let(self, word, *numbers):
        """Hold pending jobs of lines, or release them."""
        for text in squeue(self.env, "-t", "PENDING", "-o", "%F_%K %K"):
            job, number = text.split()
            if int(number) in numbers:
                call(self.env, "scontrol", word, job)

    def begin(self):
        """Start jobs now that SLURM holds for two minutes after they were queued again."""
        for text in squeue(self.env, "-t", "PENDING", "-o", "%F_%K %r"):
            if text.endswith("BeginTime"):
                call(self.env, "scontrol", "update", f"JobId={text.split()[0]}", "StartTime=now")

    def end(self):
        def empty():
            self.begin()
            return not squeue(self.env, "-o", "%i")

        until(empty, "the queue", 600.0)


def break_training(overrides, number):
    """Leave a checkpoint whose weights are not those of its record; returns its folder."""
    cfg = composed(overrides)
    folder = build.training_folder(cfg, build.training_runs(cfg)[number])
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_bytes(b"not the recorded weights")
    write_json(folder / "training.json", {"schema_version": 0})
    return folder


def test_a_sweep_survives_preemption_time_limit_a_killed_and_a_failing_job(slurm, tmp_path):
    overrides = study(tmp_path / "results")
    sweep = Sweep(overrides, slurm)
    broken = break_training(overrides, 5)
    assert "6 lines, 6 to start" in sweep.start()
    sweep.let("hold", 2, 3, 4, 5)  # until they are looked at: on a busy machine they could end before

    killed = sweep.trains(0)
    ending = sweep.trains(1)
    found = sweep.states()
    assert [found[n] for n in range(6)] == ["running"] * 2 + ["queued"] * 4
    assert "6 lines, 0 to start" in sweep.start()  # nothing is submitted twice

    os.kill(killed, signal.SIGKILL)
    until(lambda: sweep.states()[0] == "killed", "the end of line 0")

    os.kill(ending, signal.SIGUSR1)  # as SLURM does a minute before the time limit
    until(lambda: sweep.attempt(1).exit_code == 138, "the end of line 1")
    until(lambda: sweep.states()[1] == "queued", "the requeue of line 1")

    sweep.let("release", 2, 3, 4, 5)
    until(lambda: len(sweep.training()) == 2, "the start of two lines")  # of any: SLURM chooses the order
    call(slurm, "sbatch", "--partition=urgent", "--gres=gpu:1", "--output=/dev/null", "--wrap=sleep 1")
    preempted = until(lambda: sweep.ended_by(signal.SIGTERM), "preemption")
    assert len(preempted) == 1
    until(lambda: sweep.states()[preempted[0]] == "queued", "the requeue of the preempted line")

    sweep.end()
    assert sweep.states() == {0: "killed", 1: "done", 2: "done", 3: "done", 4: "done", 5: "failed"}
    assert sweep.attempt(1).number == (3 if preempted == [1] else 2)
    assert preempted == [1] or sweep.attempt(preempted[0]).number == 2
    refused = command("gather", *overrides)
    assert refused.returncode == 2 and not (tmp_path / "results/studies").exists()
    for path in broken.iterdir():
        path.unlink()
    refused = command("gather", *overrides)
    assert refused.returncode == 2 and "2 of 6 training runs are not finished: `agent_sft-xs-s0-" in refused.stderr
    assert "lwm_then_sft-xs-s2-" in refused.stderr and "xs-s1-" not in refused.stderr

    assert "6 lines, 2 to start" in sweep.start()
    sweep.end()
    assert set(sweep.states().values()) == {"done"}
    assert command("gather", *overrides).returncode == 0

    local = study(tmp_path / "local")
    for stage in ("train", "run"):
        done = command(stage, *local)
        assert done.returncode == 0, done.stderr
    pd.testing.assert_frame_equal(scores(tmp_path / "results", overrides), scores(tmp_path / "local", local))
    assert scores(tmp_path / "local", local)["unit"].nunique() == 6


def test_a_multirun_of_hydra_runs_through_its_launcher_for_slurm(slurm, tmp_path):
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    chosen = [*study(tmp_path / "results"), "study.training_seeds=[0]", "~arms.lwm_then_sft", "study.comparisons=[]"]
    assert command("train", *chosen).returncode == 0
    asked = ("hydra/launcher=submitit_slurm", "hydra.launcher.timeout_min=15", "hydra.launcher.mem_per_cpu=1000M")
    asked = (*asked, "hydra.launcher.cpus_per_task=1", "hydra.launcher.gres=gpu:1")
    done = command("run", "-m", *chosen, *asked, "study.seed=0,1", env=slurm, timeout=300)
    assert done.returncode == 0, done.stderr
    written = {path.stem for path in (tmp_path / "results/studies").glob("*.json")}
    here = command("gather", "-m", *chosen, "study.seed=0,1")
    assert here.returncode == 0, here.stderr
    assert len(written) == 2 and written == {path.stem for path in (tmp_path / "results/studies").glob("*.json")}
