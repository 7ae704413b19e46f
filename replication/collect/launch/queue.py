"""The lines of a sweep that wait: in SLURM's queue, or for a command on some machine that runs them in turn."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from replication.collect.launch import manifest as manifests
from replication.collect.launch import slurm
from replication.collect.launch.manifest import Line, Manifest, Waiting
from replication.files import write_json
from replication.store.locking import locked

DRIVER = "driver.json"


@contextmanager
def driven(manifest: Manifest, lines: Sequence[Line]) -> Iterator[None]:
    """Show these lines as queued until the block, which runs them, has started each; StoreError if another runs some."""
    with locked(manifest.folder):
        write_json(
            manifest.folder / DRIVER,
            {
                "host": os.uname().nodename,
                "pid": os.getpid(),
                "since": time.time(),
                "lines": [line.line for line in lines],
            },
        )
        yield


def read(manifest: Manifest) -> dict[int, Waiting]:
    """Return what the queues say of each line that has not ended; a line without an entry waits for nothing."""
    return _driver(manifest) | slurm.queue(manifest)


def _driver(manifest: Manifest) -> dict[int, Waiting]:
    path = manifest.folder / DRIVER
    if not path.exists() or not manifests.is_running(manifest.folder):
        return {}
    driver = json.loads(path.read_text(encoding="utf-8"))
    attempts = {line.line: manifests.read_attempt(manifest.folder_of(line)) for line in manifest.lines}
    return {
        number: Waiting(False, f"process {driver['pid']} on {driver['host']}")
        for number in driver["lines"]
        if (attempt := attempts.get(number)) is None or attempt.started < driver["since"]
    }
