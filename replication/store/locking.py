"""Append-only files of a run, without partial writes, and the lock of its writer."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import time
import weakref
from collections.abc import Iterator
from pathlib import Path

from replication.errors import StoreError

_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class AppendFile(contextlib.AbstractContextManager):
    """A file without user-space buffer that is truncated to its previous size when a write fails."""

    def __init__(self, path: Path):
        self.path = path
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        _open_files.add(self)
        self._size = os.fstat(self.fd).st_size

    def size(self) -> int:
        """Return the size in bytes, which no other process changes while this one has locked the run."""
        return self._size

    def append(self, data: bytes | bytearray | memoryview) -> None:
        """Append all of `data`, or nothing and raise StoreError."""
        fd, size = self._open_fd(), self._size
        try:
            written = os.write(fd, data)
            while written < len(data):
                written += os.write(fd, memoryview(data)[written:])
            self._size = size + written
        except BaseException as error:
            os.ftruncate(fd, size)
            if isinstance(error, OSError):
                raise store_error(error, self.path) from error
            raise

    def truncate(self, size: int) -> None:
        """Truncate to `size` bytes if the file is longer."""
        if size < self._size:
            os.ftruncate(self._open_fd(), size)
            self._size = size

    def sync(self) -> None:
        """Wait until the file is on the disk."""
        with as_store_error(self.path):
            os.fsync(self._open_fd())

    def __exit__(self, *_: object) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _open_fd(self) -> int:
        if self.fd < 0:
            raise StoreError(f"`{self.path}` is closed. Append inside the `with store.writer(...)` block.")
        return self.fd


_open_files: weakref.WeakSet[AppendFile] = weakref.WeakSet()


def _close_in_child() -> None:
    """Close our files in a forked child (an engine's worker).

    Otherwise the child would keep the lock after the writer was killed, or release it when the child ends.
    """
    for file in list(_open_files):
        file.__exit__()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_close_in_child)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Lock the folder of a run for this process; the lock is released when the process ends, however it ends."""
    try:
        import fcntl
    except ImportError:
        raise StoreError("writing results needs Linux, macOS or WSL; reading works everywhere.") from None
    folder.mkdir(parents=True, exist_ok=True)
    with AppendFile(folder / "lock") as file:
        try:
            fcntl.flock(file.fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                f"`{folder}` is being written by {_holder(file.fd)}. Two writers would mix their results: "
                f"wait until it ends, or stop it, and then run the same command again; it resumes."
            ) from None
        except OSError as error:
            raise StoreError(
                f"`{file.path}` cannot be locked: {error.strerror}. Its file system has no locks; "
                f"put the results on a local disk or on NFS with locking."
            ) from error
        file.truncate(0)
        holder = {"pid": os.getpid(), "host": os.uname().nodename, "since": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        file.append(json.dumps(holder).encode())
        try:
            yield
        finally:
            if file.fd >= 0:  # a forked child has closed it; unlocking there would unlock for the writer too
                fcntl.flock(file.fd, fcntl.LOCK_UN)


def _holder(fd: int) -> str:
    try:
        holder = json.loads(os.pread(fd, 4096, 0))
        return f"process {holder['pid']} on `{holder['host']}` since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return "a process that has just started"


@contextlib.contextmanager
def as_store_error(path: Path) -> Iterator[None]:
    """Convert an OSError inside the block to a StoreError that names the file and the remedy."""
    try:
        yield
    except OSError as error:
        raise store_error(error, Path(error.filename) if isinstance(error.filename, str) else path) from error


def store_error(error: OSError, path: Path) -> StoreError:
    """Return the StoreError of a failed write."""
    remedy = "Free space" if error.errno in _NO_SPACE else "Correct the cause"
    return StoreError(
        f"cannot write `{path}`: {error.strerror}. Nothing that was stored is lost. {remedy} and run the same command "
        f"again: it resumes."
    )
