"""Submit lines of a manifest as array jobs of SLURM, and read its queue.

sbatch itself, not Hydra's launcher for it: nothing has to live on the login node until the last job ends, the exit code
of a line becomes the state of its job, and a requeued job is the same command, which resumes.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

from replication import settings
from replication.collect.launch import manifest as manifests
from replication.collect.launch.line import command
from replication.collect.launch.manifest import Line, Manifest, Waiting
from replication.collect.parallel import gpus_of_job
from replication.errors import LaunchError
from replication.files import write_text

JOBS = "slurm.txt"
"""File of the ids of the array jobs that were submitted for a manifest."""
REQUEUES = "REPLICATION_REQUEUES"
"""Environment variable of a job: how often it may queue itself again."""
_ABSENT = "Use launcher=slurm where SLURM is, or launcher=local or launcher=ray."
_REFUSED = "Correct `launcher.*` for this cluster; nothing was submitted."
_REMEDIES = {
    "squeue": f"Jobs of this sweep were submitted to SLURM: use a machine where it answers, or, once they have ended, "
    f"remove `{JOBS}` beside the manifest.",
    "scontrol": "The same sweep starts the line again.",
    "scancel": "Cancel the jobs by hand.",
}
"""What to do if a program of SLURM is absent or fails; for sbatch, one of the two texts above."""
_WAITS = (
    "PENDING", "CONFIGURING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SUSPENDED", "RUNNING", "COMPLETING",
    "RESV_DEL_HOLD", "RESIZING", "SIGNALING", "SPECIAL_EXIT", "STAGE_OUT", "STOPPED",
)  # fmt: skip


def submit(cfg: settings.Root, manifest: Manifest, lines: Sequence[Line]) -> list[str]:
    """Submit these lines, an array job for each number of GPUs, and return the ids; all are submitted, or none is."""
    by_gpus: dict[int, list[Line]] = {}
    for line in lines:
        by_gpus.setdefault(gpus_of_job(cfg, line.checkpoint), []).append(line)
    jobs: list[str] = []
    try:
        for gpus, own in sorted(by_gpus.items(), reverse=True):
            arguments = [*_sbatch(cfg.launcher, manifest, own, gpus), "/dev/stdin"]
            jobs.append(_call(arguments, _script(cfg.launcher, manifest)).strip().partition(";")[0])  # `id;cluster`
    except LaunchError:
        if jobs:
            _call(["scancel", *jobs])
        raise
    write_text(manifest.folder / JOBS, "\n".join([*_jobs(manifest.folder), *jobs, ""]))
    return jobs


def _sbatch(asked: settings.Launcher, manifest: Manifest, lines: Sequence[Line], gpus: int) -> list[str]:
    log = manifest.folder.absolute() / "line-%a" / manifests.LOG
    limit = f"%{asked.parallel}" if asked.parallel else ""
    chosen = {
        "job-name": manifest.folder.name, "array": ",".join(str(line.line) for line in lines) + limit, "output": str(log),
        "open-mode": "append", "cpus-per-task": asked.cpus, "gres": f"gpu:{gpus}" if gpus else None,
        "mem": f"{asked.memory_gib}G" if asked.memory_gib else None, "time": asked.time_min, "partition": asked.partition,
        "signal": "B:USR1@60",  # a minute before the time limit; some sites send it before they preempt a job, too
    }  # fmt: skip
    options = [f"--{key}={value}" for key, value in chosen.items() if value is not None]
    return ["sbatch", "--parsable", "--requeue" if asked.requeue else "--no-requeue", *options, *asked.options]


def _script(asked: settings.Launcher, manifest: Manifest) -> str:
    run = shlex.join(command(manifest, "N")[:-1])
    return "\n".join(
        [
            "#!/bin/sh", *asked.setup,
            f"export {REQUEUES}={asked.retries if asked.requeue else 0}",
            "trap '' USR1",  # until the command can record it
            f'exec {run} "$SLURM_ARRAY_TASK_ID"',  # exec: the command itself gets the signals of SLURM
            "",
        ]
    )  # fmt: skip


def interrupt_before_the_end() -> None:
    """Let the signal that SLURM sends before it ends a job interrupt this process, as SIGTERM does."""
    if REQUEUES in os.environ:
        signal.signal(signal.SIGUSR1, signal.getsignal(signal.SIGTERM))


def requeue(exit_code: int) -> None:
    """Queue this job again if that signal ended it: SLURM does so itself only with jobs that it had to kill.

    After `launcher.retries` requeues it is not: a time limit may be too short for any progress.
    """
    # By its task: the id of one of its jobs is that of the array too, and would queue all others again, or end them.
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    job = f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID")
    most = int(os.environ.get(REQUEUES, "0"))
    if exit_code == 128 + signal.SIGUSR1 and job and int(os.environ.get("SLURM_RESTART_COUNT", "0")) < most:
        print(f"line: SLURM is about to end job {job}, which is queued again", flush=True)
        _call(["scontrol", "requeue", job])


def queue(manifest: Manifest) -> dict[int, Waiting]:
    """Read, by line, what SLURM says of the jobs that were submitted and have not ended."""
    jobs = set(_jobs(manifest.folder))
    if not jobs:
        return {}
    found: dict[int, Waiting] = {}
    for text in _call(["squeue", "-h", "-r", "-u", str(os.getuid()), "-o", "%F|%K|%T|%r"]).splitlines():
        job, task, state, reason = text.split("|", 3)
        if job in jobs and task.isdigit() and state in _WAITS:
            note = f"job {job}_{task} {state.lower()}" + (f", {reason}" if reason != "None" else "")
            found[int(task)] = Waiting(state == "RUNNING", note)
    return found


def _jobs(folder: Path) -> list[str]:
    path = folder / JOBS
    return path.read_text(encoding="utf-8").split() if path.exists() else []


def _call(arguments: list[str], text: str | None = None) -> str:
    try:
        done = subprocess.run(arguments, input=text, capture_output=True, text=True)
    except FileNotFoundError:
        raise LaunchError(f"`{arguments[0]}` is not on this machine. {_REMEDIES.get(arguments[0], _ABSENT)}") from None
    if done.returncode:
        raise LaunchError(
            f"`{shlex.join(arguments)}` failed: {' '.join(done.stderr.split()) or f'exit code {done.returncode}'}. "
            f"{_REMEDIES.get(arguments[0], _REFUSED)}"
        )
    return done.stdout
