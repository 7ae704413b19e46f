"""List the jobs of a study: `python -m replication status study=controlled`, with the overrides of its sweep.

Episodes and items of official harnesses are counted in the store. A job is done when all its runs are complete, whatever its
scheduler says; `left` is estimated from its rate since it started to play.
"""

import sys

from replication import multirun, settings
from replication.collect.launch import manifest as manifests
from replication.collect.launch import queue, status
from replication.errors import LaunchError


def main(cfg: settings.Root) -> None:
    """Print the state of each job."""
    manifest = manifests.plan(cfg, multirun.overrides())
    try:
        waiting = queue.read(manifest)
    except LaunchError as error:  # the store answers all the same
        print(f"status: WARNING, nothing is known of queued jobs: {error}", file=sys.stderr)
        waiting = {}
    print(status.report(manifest, status.rows(cfg, manifest, waiting)))
