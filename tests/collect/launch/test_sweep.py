"""A sweep has one line per checkpoint, runs what is missing, and shows what became of each line."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from parts import prompt_of
from sweeps import command, composed, planned, states, study
from test_end_to_end import pretend_trained

from replication import multirun
from replication.collect import build, serve
from replication.collect.engines.scripted import ScriptedEngine
from replication.collect.launch import line as lines
from replication.collect.launch import manifest as manifests
from replication.collect.launch import queue, ray_tasks, slurm, status
from replication.collect.launch.manifest import Attempt, Waiting
from replication.commands import run, sweep, train
from replication.commands import status as status_command
from replication.errors import ConfigError, EngineError, LaunchError, StoreError
from replication.files import write_json


@pytest.fixture
def small(tmp_path):
    return [*study(tmp_path / "results"), "study.training_seeds=[0]"]


def test_a_line_names_its_checkpoint_and_composes_its_study_again(small):
    manifest = planned([*small, "launcher=slurm", "launcher.gpus=2", "hydra.verbose=false"])
    assert [line.checkpoint for line in manifest.lines] == ["organism/agent_sft/xs/s0", "organism/lwm_then_sft/xs/s0"]
    assert not any("launcher" in text or "hydra" in text for text in manifest.lines[0].overrides)
    assert manifest == planned(small)
    assert manifest.folder != planned([*small, "study.seed=5"]).folder
    manifests.write(manifest)
    again, line = manifests.read_line(manifest.path, 1)
    assert again == manifest and line == manifest.lines[1]
    cfg = lines.compose(line)
    assert cfg.serve.only == [line.checkpoint] and cfg.study.training_seeds == [0] and cfg.launcher.kind == "local"


def test_a_sweep_of_chosen_checkpoints_and_of_a_monitored_study(small):
    chosen = planned([*small, "serve.only=[organism/lwm_then_sft/xs/s0]"])
    assert [(line.line, line.checkpoint) for line in chosen.lines] == [(0, "organism/lwm_then_sft/xs/s0")]
    assert lines.compose(chosen.lines[0]).serve.only == ["organism/lwm_then_sft/xs/s0"]
    with pytest.raises(ConfigError, match=r"has no checkpoint `qwen`; it has `organism/agent_sft/xs/s0`, "):
        planned([*small, "serve.only=[qwen]"])
    with pytest.raises(ConfigError, match=r"Set `monitor=off`"):
        planned([*small, "monitor=on"])
    with pytest.raises(ConfigError, match="`reanalysis` has no checkpoints"):
        planned(["study=reanalysis"])


def test_a_broken_manifest_and_an_unknown_line_are_refused(small, tmp_path):
    manifest = planned(small)
    manifests.write(manifest)
    with pytest.raises(LaunchError, match=r"has the lines 0 to 1; got 2"):
        manifests.read_line(manifest.path, 2)
    (tmp_path / "m").write_text('{"line": 0}\n')
    with pytest.raises(LaunchError, match=r"is not a manifest of a sweep \(KeyError: 'checkpoint'\)"):
        manifests.read_line(tmp_path / "m", 0)
    done = command("line", str(manifest.path))
    assert done.returncode == 2 and "`line` takes a manifest and the number of a line" in done.stderr


def attempt(**values):
    return Attempt(**{"number": 1, "host": "node", "job": "7", "started": time.time(), "stage": "run", **values})


def test_each_state_follows_from_lock_queue_attempt_and_store(small):
    cfg, manifest = composed(small), planned(small)
    manifests.write(manifest)
    pretend_trained(cfg)
    folder = manifest.folder_of(manifest.lines[0])

    def state(waits=None):
        return status.rows(cfg, manifest, {0: waits} if waits else {})[0]

    assert state().state == "not started" and state().progress.n_planned == 12
    assert (state(Waiting(False, "job 3_0 pending")).state, state(Waiting(True, "")).state) == ("queued", "running")
    manifests.write_attempt(folder, attempt())
    assert state().state == "killed" and state().note == "job 7 on node ended without a word"
    with manifests.running(folder):
        assert state().state == "running" and state().note == "run on node, job 7"
        with pytest.raises(StoreError, match="is being written by process"), manifests.running(folder):
            pass
    for code, name in ((143, "interrupted"), (2, "failed"), (0, "incomplete")):
        manifests.write_attempt(folder, attempt(ended=time.time(), exit_code=code))
        assert state().state == name and name in status.OPEN
    log = folder / manifests.LOG
    log.write_text("line: 0\nerror (EngineError): of the first attempt\nline: 0, attempt 2\nrun: text\n")
    manifests.write_attempt(folder, attempt(ended=time.time(), exit_code=2))
    assert state().note == "run, exit code 2"
    log.write_text(log.read_text() + "0/12 [00:00<?, ?episode/s]error (EngineError): no memory\nmore\n")
    assert state().note == "error (EngineError): no memory"
    log.unlink()


def test_lines_that_a_command_runs_in_turn_are_queued_until_it_starts_them(small):
    manifest = planned(small)
    manifests.write(manifest)
    with queue.held(manifest), queue.driven(manifest, manifest.lines):
        assert {number: waits.is_running for number, waits in queue.read(manifest).items()} == {0: False, 1: False}
        manifests.write_attempt(manifest.folder_of(manifest.lines[0]), attempt(started=time.time() + 1))
        assert list(queue.read(manifest)) == [1]
        with pytest.raises(StoreError, match="is being written by process"), queue.held(manifest):
            pass
    assert queue.read(manifest) == {}


def test_lines_of_a_command_that_was_killed_do_not_wait_for_the_next_one(small):
    manifest = planned(small)
    manifests.write(manifest)
    write_json(manifest.folder / queue.DRIVER, {"host": "node", "pid": 1, "since": 0.0, "lines": [0, 1]})
    assert queue.read(manifest) == {}
    with queue.held(manifest):
        assert queue.read(manifest) == {}


def test_time_left_is_that_of_the_lines_that_ended_well(small):
    manifest = planned(small)
    counted = status.Progress(n_planned=12)
    ended = attempt(started=100.0, ended=160.0, exit_code=0)

    def row(at, state, tried):
        return status.Row(line=manifest.lines[at], state=state, progress=counted, attempt=tried, left_s=None, note="")

    assert status.left([row(0, "done", ended), row(1, "running", attempt())]) == 60.0
    assert status.left([row(0, "failed", attempt()), row(1, "queued", None)]) is None
    assert status.left([row(0, "done", ended)]) == 0.0


def test_the_array_job_asks_for_what_conf_states(small):
    cfg = composed([*small, "launcher=slurm", "launcher.partition=gpu", "launcher.parallel=3", "launcher.memory_gib=9"])
    manifest = planned(small)
    options = slurm._sbatch(cfg.launcher, manifest, manifest.lines, cfg.launcher.gpus)
    expected = [
        "--array=0,1%3",
        "--gres=gpu:1",
        "--partition=gpu",
        "--time=1440",
        "--mem=9G",
        "--cpus-per-task=4",
        "--requeue",
    ]
    assert set(expected) <= set(options)
    script = slurm._script(cfg.launcher, manifest)
    assert script.startswith("#!/bin/sh\n") and f'{manifest.path} "$SLURM_ARRAY_TASK_ID"' in script


def test_a_sweep_names_all_missing_weights_of_its_lines_before_it_starts_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(multirun, "overrides", lambda: [])
    small = ["study=released_small", f"paths.results={tmp_path}/results", f"paths.weights={tmp_path}/weights"]
    with pytest.raises(ConfigError, match=r"`models\.smollm2_135m`: .*; `models\.smollm2_135m_agent`: .*make weights"):
        sweep.main(composed(small))
    cfg = composed([*small, "serve.only=[smollm2_135m]"])
    for stage in (sweep, train):  # training is the first stage of a line, and needs no weights of others
        with pytest.raises(ConfigError, match=r"`models\.smollm2_135m`: ") as raised:
            stage.main(cfg)
        assert "smollm2_135m_agent" not in str(raised.value)
    assert not list(tmp_path.rglob("state.json"))


def test_where_no_slurm_answers_status_reads_the_store_and_a_sweep_says_why_it_stops(
    small, tmp_path, monkeypatch, capsys
):
    manifest = planned(small)
    manifests.write(manifest)
    (manifest.folder / slurm.JOBS).write_text("7\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(multirun, "overrides", lambda: small)
    status_command.main(composed(small))
    out, err = capsys.readouterr()
    assert states(out) == {0: "not started", 1: "not started"}
    assert "WARNING, nothing is known of queued jobs: `squeue` is not on this machine." in err
    with pytest.raises(LaunchError, match=r"once they have ended, remove `slurm\.txt` beside the manifest"):
        sweep.main(composed(small))


PRETENDED = """#!/bin/sh
# Notes how it was called, and answers as the command of SLURM of this name; sbatch fails for what FAILS names.
echo "$(basename "$0") $*" >> "$NOTES"
case "$*" in *"$FAILS"*) echo "sbatch: error: Batch job submission failed" >&2; exit 1 ;; esac
wc -l < "$NOTES"
"""


@pytest.fixture
def notes(tmp_path, monkeypatch):
    """Put programs with the names of SLURM's before all others; returns the calls that they noted."""
    for name in ("sbatch", "scancel", "scontrol"):
        (tmp_path / "bin" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(PRETENDED)
        (tmp_path / "bin" / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("NOTES", str(tmp_path / "notes"))
    monkeypatch.setenv("FAILS", "nothing that is there")
    return lambda: (tmp_path / "notes").read_text().splitlines()


def released(tmp_path, *more):
    return ["study=released", f"paths.results={tmp_path}/results", "launcher=slurm", *more]


def test_each_checkpoint_gets_the_gpus_that_its_engine_needs_in_an_array_of_its_size(tmp_path, notes):
    cfg, manifest = (made(released(tmp_path)) for made in (composed, planned))
    manifests.write(manifest)
    jobs = slurm.submit(cfg, manifest, manifest.lines)
    needed = {line.line: cfg.models[line.checkpoint].tensor_parallel_size or 1 for line in manifest.lines}
    sizes = sorted(set(needed.values()), reverse=True)
    assert len(sizes) > 2 and jobs == [str(1 + at) for at in range(len(sizes))]
    for call, size in zip(notes(), sizes, strict=True):
        lines = ",".join(str(line) for line, gpus in needed.items() if gpus == size)
        assert f"--gres=gpu:{size} " in call and f"--array={lines} " in call
    assert slurm._jobs(manifest.folder) == jobs


@pytest.mark.parametrize(("more", "sizes"), [(["launcher.gpus=8"], {8}), (["launcher.gpus=0"], {None}), (
    ["launcher.gpus=2"], {2, 4}
)])  # fmt: skip
def test_the_gpus_of_the_launcher_are_the_least_and_none_are_asked_for_where_options_name_them(
    tmp_path, notes, more, sizes
):
    cfg, manifest = (made(released(tmp_path, *more)) for made in (composed, planned))
    manifests.write(manifest)
    slurm.submit(cfg, manifest, manifest.lines)
    asked = {next((part for part in call.split() if part.startswith("--gres")), None) for call in notes()}
    assert asked == {size and f"--gres=gpu:{size}" for size in sizes}


def test_a_job_queues_itself_again_and_not_its_array(notes, monkeypatch):
    for name, value in {"JOB_ID": "7", "ARRAY_JOB_ID": "7", "ARRAY_TASK_ID": "3", "RESTART_COUNT": "1"}.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    monkeypatch.setenv(slurm.REQUEUES, "2")
    slurm.requeue(128 + signal.SIGUSR1)
    assert notes() == ["scontrol requeue 7_3"]
    slurm.requeue(128 + signal.SIGTERM)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    slurm.requeue(128 + signal.SIGUSR1)
    assert notes() == ["scontrol requeue 7_3"]


def test_where_one_array_is_refused_none_is_submitted(tmp_path, notes, monkeypatch):
    cfg, manifest = (made(released(tmp_path)) for made in (composed, planned))
    manifests.write(manifest)
    monkeypatch.setenv("FAILS", "gres=gpu:1")
    with pytest.raises(LaunchError, match="nothing was submitted"):
        slurm.submit(cfg, manifest, manifest.lines)
    *submitted, _, cancelled = notes()
    assert cancelled == f"scancel {' '.join(str(1 + at) for at in range(len(submitted)))}" and submitted
    assert slurm._jobs(manifest.folder) == []


def test_a_machine_without_slurm_or_ray_is_told_what_to_do(small, tmp_path, monkeypatch):
    bare = {**os.environ, "PATH": str(tmp_path)}
    done = command("sweep", *small, "launcher=slurm", env=bare)
    assert (
        done.returncode == 2
        and "error (LaunchError): `sbatch` is not on this machine. Use launcher=slurm" in done.stderr
    )
    monkeypatch.setitem(sys.modules, "ray", None)  # an import of it fails
    with pytest.raises(LaunchError, match=r"launcher=ray needs the package ray .*requirements/cluster\.lock"):
        ray_tasks.run(composed(small), planned(small), planned(small).lines)


@pytest.mark.slow
def test_a_local_sweep_runs_what_is_missing_and_resumes_after_an_interruption(small):
    waiting = command("status", *small)
    assert states(waiting.stdout) == {0: "not started", 1: "not started"}
    refused = command("gather", *small)
    assert refused.returncode == 2 and "2 of 2 training runs are not finished: `agent_sft-xs-s0-" in refused.stderr
    manifest = planned(small)
    manifests.write(manifest)
    process = subprocess.Popen(
        lines.command(manifest, manifest.lines[1]), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    folder = manifest.folder_of(manifest.lines[1])
    while not (folder / manifests.STATE).exists():
        time.sleep(0.1)
    assert states(command("status", *small).stdout)[1] == "running"
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 143
    assert states(command("status", *small).stdout) == {0: "not started", 1: "interrupted"}
    done = command("sweep", *small, "launcher.parallel=2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "2 lines, 2 to start" in done.stdout and states(done.stdout) == {0: "done", 1: "done"}
    assert json.loads((folder / manifests.STATE).read_text())["number"] == 2
    again = command("sweep", *small)
    assert again.returncode == 0 and "2 lines, 0 to start" in again.stdout
    assert command("gather", *small).returncode == 0


def test_episodes_that_the_set_up_ended_are_counted_as_failed_and_not_as_done(small, monkeypatch):
    cfg = composed(small)
    pretend_trained(cfg)
    name = "organism/agent_sft/xs/s0"
    cfg.serve.only, cfg.engine.processes = [name], 1
    _, jobs = serve.assignments(cfg, [name])[0]
    (bad,) = {task.prompt for task in jobs[0].tasks[:1]}

    def reply(request):
        if prompt_of(request) == bad:
            raise EngineError("out of memory.")
        return "answer no"

    monkeypatch.setattr(build, "engine", lambda cfg: ScriptedEngine(reply))
    with pytest.raises(EngineError, match="1 of 12 episodes failed"):
        run.main(cfg)
    counted = status.progress(cfg, name)
    assert (counted.n_planned, counted.n_done, counted.n_failed, counted.complete) == (12, 11, 1, False)
    bad = ""
    run.main(cfg)
    counted = status.progress(cfg, name)
    assert (counted.n_done, counted.n_failed, counted.complete) == (12, 0, True)
