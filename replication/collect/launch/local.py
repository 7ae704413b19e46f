"""Run lines of a manifest on this machine, some of them side by side."""

from collections.abc import Sequence

from replication import processes, settings
from replication.collect.launch.line import logged
from replication.collect.launch.manifest import Line, Manifest


def run(cfg: settings.Root, manifest: Manifest, lines: Sequence[Line]) -> None:
    """Run these lines to their end; how each ended is in its record."""
    with processes.workers(min(cfg.launcher.parallel or len(lines), len(lines))) as pool:
        futures = [pool.submit(processes.call, processes.run_stage, logged(manifest, line)) for line in lines]
        for future in futures:
            future.result()
