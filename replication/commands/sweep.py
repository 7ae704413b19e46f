"""Submit or run the unfinished jobs of a study: `python -m replication sweep study=controlled_full launcher=slurm`.

One job is one checkpoint: it is trained, if the study trains it, and plays all its runs, those of official harnesses last.
The command writes a manifest with one line per job, leaves out jobs that are done, queued or running, and submits an array
job to SLURM, or runs the jobs itself on this machine or on Ray. After a failure the same command starts what is missing.
`python -m replication gather` writes the index once all results are there.
"""

from replication import multirun, settings
from replication.collect import build
from replication.collect.launch import local, queue, ray_tasks, slurm, status
from replication.collect.launch import manifest as manifests
from replication.collect.launch.manifest import Line, Manifest
from replication.collect.training import tracking
from replication.errors import LaunchError


def main(cfg: settings.Root) -> None:
    """Start the jobs that are neither done nor on their way."""
    settings.require_accepted(cfg)  # every job would end with the same error
    tracking.check(cfg.tracking)
    manifest = manifests.plan(cfg, multirun.overrides())
    manifests.write(manifest)
    rows = status.rows(cfg, manifest, queue.read(manifest))
    if any(row.state in status.OPEN for row in rows):
        with queue.held(manifest):
            # Again: since then another command may have started them.
            _start(cfg, manifest, status.rows(cfg, manifest, queue.read(manifest)))
    else:
        _start(cfg, manifest, rows)


def _start(cfg: settings.Root, manifest: Manifest, rows: list[status.Row]) -> None:
    todo = [row.line for row in rows if row.state in status.OPEN]
    print(f"sweep: {manifest.path}, {len(rows)} lines, {len(todo)} to start", flush=True)
    if not todo:
        print(status.report(manifest, rows))
        return
    build.require_weights(cfg, [line.checkpoint for line in todo])  # every job would end with an error of its own
    if cfg.launcher.kind == "slurm":
        jobs = slurm.submit(cfg, manifest, todo)
        print(f"sweep: array job {', '.join(jobs)} of SLURM; `python -m replication status` shows its progress")
    else:
        with queue.driven(manifest, todo):
            (ray_tasks if cfg.launcher.kind == "ray" else local).run(cfg, manifest, todo)
        _report(cfg, manifest, todo)


def _report(cfg: settings.Root, manifest: Manifest, started: list[Line]) -> None:
    rows = status.rows(cfg, manifest, queue.read(manifest))
    print(status.report(manifest, rows))
    failed = [row for row in rows if row.line in started and row.state in status.OPEN]
    if failed:
        raise LaunchError(
            f"{len(failed)} of {len(started)} lines did not end well, the first is {failed[0].line.line}: "
            f"{failed[0].note.rstrip('.') or failed[0].state}. Each has a log at `{manifest.folder}`; correct the cause and "
            f"run the same command again."
        )
