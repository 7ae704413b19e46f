"""Run one line of a manifest: train the checkpoint if it has to be, then play its missing episodes and official items."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import replace

from replication import processes, settings
from replication.collect.launch import manifest as manifests
from replication.collect.launch.manifest import Attempt, Line, Manifest
from replication.collect.launch.status import progress

STAGES = ("train", "run", "official")


def command(manifest: Manifest, line: Line | str) -> list[str]:
    """Return the command that runs a line: an argument list, for any scheduler and by hand."""
    number = line if isinstance(line, str) else str(line.line)
    return [sys.executable, "-m", "replication", "line", str(manifest.path.absolute()), number]


def logged(manifest: Manifest, line: Line) -> list[str]:
    """Return the command that runs a line and appends what it prints to the log of the line."""
    log = manifest.folder_of(line) / manifests.LOG
    return ["sh", "-c", 'exec "$@" >>"$0" 2>&1', str(log.absolute()), *command(manifest, line)]


def run_line(manifest: Manifest, line: Line, cfg: settings.Root) -> int:
    """Run a line and return its exit code; the attempt is recorded beside the manifest.

    Each stage is a process, so that training and serving never share memory or threads. A line that is done already
    costs the time to check it. Raises StoreError if another process runs the line.
    """
    folder = manifest.folder_of(line)
    with manifests.running(folder):
        last = manifests.read_attempt(folder)
        attempt = Attempt(
            number=last.number + 1 if last else 1, host=os.uname().nodename, job=_job(), started=time.time()
        )
        print(f"line: {line.line}, `{line.checkpoint}`, attempt {attempt.number}", flush=True)
        code = 1
        try:
            for stage in STAGES if cfg.ingest else STAGES[:-1]:
                n_before = progress(cfg, line.checkpoint).n_done
                attempt = replace(attempt, stage=stage, stage_started=time.time(), n_before=n_before)
                manifests.write_attempt(folder, attempt)
                code = processes.run_stage([sys.executable, "-m", "replication", stage, *overrides(line)])
                if code:
                    break
        except KeyboardInterrupt:
            code = processes.exit_code()
            raise
        finally:
            manifests.write_attempt(folder, replace(attempt, ended=time.time(), exit_code=code))
    return code


def overrides(line: Line) -> list[str]:
    """Return the overrides that compose the study of a line with its checkpoint alone."""
    return [*line.overrides, f"serve.only=[{line.checkpoint}]"]


def compose(line: Line) -> settings.Root:
    """Compose the settings of a line as its stages will; ConfigError if they no longer compose."""
    from hydra import compose as composed
    from hydra import initialize_config_dir

    settings.register()
    with settings.clear_errors(), initialize_config_dir(str(settings.CONF), version_base="1.3"):
        return settings.checked(composed("config", overrides=overrides(line)))


def _job() -> str:
    array, task = os.environ.get("SLURM_ARRAY_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    return f"{array}_{task}" if array and task else os.environ.get("SLURM_JOB_ID", str(os.getpid()))
