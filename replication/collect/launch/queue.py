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

DRIVER = "driver.json"


@contextmanager
def held(manifest: Manifest) -> Iterator[None]:
    """Start lines of a sweep in this block; StoreError if another command starts or runs some."""
    with manifests.running(manifest.folder):
        (manifest.folder / DRIVER).unlink(missing_ok=True)  # of a command that is gone
        yield


@contextmanager
def driven(manifest: Manifest, lines: Sequence[Line]) -> Iterator[None]:
    """Show these lines as queued until the block, which runs them in a held sweep, has started each."""
    path = manifest.folder / DRIVER
    write_json(
        path,
        {
            "host": os.uname().nodename,
            "pid": os.getpid(),
            "since": time.time(),
            "lines": [line.line for line in lines],
        },
    )
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def read(manifest: Manifest) -> dict[int, Waiting]:
    """Return what the queues say of each line that has not ended; a line without an entry waits for nothing."""
    return _driver(manifest) | slurm.queue(manifest)


def _driver(manifest: Manifest) -> dict[int, Waiting]:
    if not manifests.is_running(manifest.folder):
        return {}
    try:
        driver = json.loads((manifest.folder / DRIVER).read_text(encoding="utf-8"))
    except FileNotFoundError:  # all lines are started, or SLURM starts them
        return {}
    attempts = {line.line: manifests.read_attempt(manifest.folder_of(line)) for line in manifest.lines}
    return {
        number: Waiting(False, f"process {driver['pid']} on {driver['host']}")
        for number in driver["lines"]
        if (attempt := attempts.get(number)) is None or attempt.started < driver["since"]
    }
