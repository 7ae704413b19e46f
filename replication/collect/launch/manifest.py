"""The manifest of a sweep, one line per checkpoint, and the record of each line's last attempt."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from replication import settings
from replication.collect import build
from replication.errors import ConfigError, LaunchError, StoreError
from replication.files import write_json, write_text
from replication.records import stable_hash, to_json
from replication.store.locking import locked
from replication.store.reader import from_json

LINES, STATE, LOG = "lines.jsonl", "state.json", "log.txt"
_PATIENCE_S = 2.0


@dataclass(frozen=True, kw_only=True)
class Line:
    """One job of a sweep: a checkpoint with the settings of its study."""

    line: int
    """Number of the line, from 0, as array jobs count."""
    checkpoint: str
    overrides: tuple[str, ...]
    """Of Hydra; they compose the study."""


class Manifest(NamedTuple):
    """The lines of a sweep and the folder of its records."""

    folder: Path
    lines: tuple[Line, ...]

    @property
    def path(self) -> Path:
        """Return the file with one line per checkpoint."""
        return self.folder / LINES

    def folder_of(self, line: Line) -> Path:
        """Return the folder with log, lock and last attempt of a line."""
        return self.folder / f"line-{line.line}"


@dataclass(frozen=True, kw_only=True)
class Attempt:
    """The last start of a line; what it has collected is in the store."""

    number: int
    """Of the start, from 1."""
    host: str
    job: str
    """Id of the scheduler's job, or of the process."""
    started: float
    """Unix time, seconds; so are the others."""
    stage: str = ""
    """Command that runs, or ran last."""
    stage_started: float = 0.0
    n_before: int = 0
    """Episodes that were finished when the stage started."""
    ended: float | None = None
    """None while it runs, and for ever if it was killed."""
    exit_code: int | None = None


class Waiting(NamedTuple):
    """What a queue says of a line that has not ended."""

    is_running: bool
    note: str


def plan(cfg: settings.Root, overrides: Sequence[str]) -> Manifest:
    """List the checkpoints of a study, trained or not, each as one line; writes nothing.

    overrides : those that compose the study. The folder is named by their content, so another study never meets the
        records of this one.
    """
    if cfg.monitor.enabled:
        raise ConfigError(
            "a sweep plays each checkpoint in a job of its own, and monitoring compares two arms on one engine. Set "
            "`monitor=off`, or use `python -m replication run`."
        )
    names = [*map(build.organism_name, build.training_runs(cfg)), *sorted(cfg.models)]
    unknown = sorted(set(cfg.serve.only) - set(names))
    if unknown or not names:
        raise ConfigError(
            f"study `{cfg.study.name}` has {f'no checkpoint `{unknown[0]}`' if unknown else 'no checkpoints'}; it has "
            f"{', '.join(f'`{name}`' for name in names) or 'none'}. Name some of them in `serve.only`, or choose a study."
        )
    kept = tuple(text for text in overrides if not _is_of_the_launch(text))
    if not any(text.startswith("study.name=") for text in kept):
        kept = (*kept, f"study.name={cfg.study.name}")  # a job of a multirun has a name of its own
    chosen = [name for name in names if not cfg.serve.only or name in cfg.serve.only]
    lines = tuple(Line(line=at, checkpoint=name, overrides=kept) for at, name in enumerate(chosen))
    name = f"{cfg.study.name}-{stable_hash([to_json(line) for line in lines], 8)}"
    return Manifest(Path(cfg.paths.results) / "sweeps" / name, lines)


def _is_of_the_launch(override: str) -> bool:
    key = override.lstrip("+~").partition("=")[0]
    return key.startswith(("launcher.", "hydra.", "hydra/")) or key in ("launcher", "hydra", "serve.only")


def write(manifest: Manifest) -> None:
    """Write the manifest and the folders of its lines; the same study gives the same files."""
    for line in manifest.lines:
        manifest.folder_of(line).mkdir(parents=True, exist_ok=True)
    write_text(manifest.path, "".join(f"{json.dumps(to_json(line))}\n" for line in manifest.lines))


def read_line(path: Path, number: int) -> tuple[Manifest, Line]:
    """Read a manifest and return it with one of its lines."""
    try:
        rows = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]
        lines = tuple(
            Line(line=int(row["line"]), checkpoint=str(row["checkpoint"]), overrides=tuple(map(str, row["overrides"])))
            for row in rows
        )
    except (ValueError, KeyError, TypeError) as error:
        raise LaunchError(
            f"`{path}` is not a manifest of a sweep ({type(error).__name__}: {error}). Write it again with "
            f"`python -m replication sweep`."
        ) from error
    found = [line for line in lines if line.line == number]
    if not found:
        raise LaunchError(f"`{path}` has the lines 0 to {len(lines) - 1}; got {number}. Name one of them.")
    return Manifest(path.parent, lines), found[0]


def read_attempt(folder: Path) -> Attempt | None:
    """Read the record of a line's last attempt; None if it was never started."""
    path = folder / STATE
    try:
        return from_json(Attempt, json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise LaunchError(
            f"`{path}` is not the record of an attempt ({error}). Remove it: nothing depends on it."
        ) from None


def write_attempt(folder: Path, attempt: Attempt) -> None:
    """Replace the record of a line's last attempt."""
    write_json(folder / STATE, to_json(attempt))


@contextmanager
def running(folder: Path) -> Iterator[None]:
    """Hold the lock of a line, or of a sweep; StoreError if another process runs it."""
    deadline = time.monotonic() + _PATIENCE_S
    with ExitStack() as stack:
        while True:
            try:
                stack.enter_context(locked(folder))
                break
            except StoreError:  # `is_running` holds it for a moment
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
        yield


def is_running(folder: Path) -> bool:
    """Tell whether a process, on any machine that shares the file system's locks, runs a line."""
    import fcntl

    path = folder / "lock"
    if not path.exists():
        return False
    with path.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
