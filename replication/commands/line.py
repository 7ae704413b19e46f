"""Run one job of a sweep: `python -m replication line results/sweeps/NAME/lines.jsonl NUMBER`.

The line trains its checkpoint, if the study trains it, and plays its missing episodes. It may be run on any machine that
shares the results, by any scheduler (the index of an indexed job of Kubernetes is the number of the line) or by hand, and
any number of times: what is finished is kept.
"""

from pathlib import Path

from replication import processes
from replication.collect.launch import line as lines
from replication.collect.launch import manifest as manifests
from replication.collect.launch import slurm
from replication.errors import LaunchError


def main(arguments: list[str]) -> int:
    """Run a line and return its exit code."""
    from replication.collect.launch.mirror import log_job

    if len(arguments) != 2 or not arguments[1].isdecimal():
        raise LaunchError(
            f"`line` takes a manifest and the number of a line; got {' '.join(arguments) or 'nothing'}. "
            f"`python -m replication sweep` writes the manifest and prints its path."
        )
    manifest, line = manifests.read_line(Path(arguments[0]), int(arguments[1]))
    cfg = lines.compose(line)
    slurm.interrupt_before_the_end()
    try:
        code = lines.run_line(manifest, line, cfg)
    except KeyboardInterrupt:
        slurm.requeue(processes.exit_code())
        raise
    if not code:
        log_job(cfg, line.checkpoint, manifest.folder_of(line))
    return code
