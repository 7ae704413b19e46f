"""End a command and all processes that it started, by any signal and at any moment."""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from types import FrameType
from typing import TypeVar

T = TypeVar("T")

RESUMES = "interrupted; the same command resumes"
PARENT = "REPLICATION_PARENT"
"""Environment variable: pid of the process without which this one must not go on."""
PATIENCE_S = 20.0
"""Time to end an engine and close files; a process that takes longer is killed."""
_AGAIN_S = 10.0
_received: tuple[int, float] | None = None
"""The first signal of this process and when it came."""


def interrupt_on_signals() -> None:
    """Make SIGTERM and SIGHUP interrupt this process as Ctrl-C does, and end it if its parent, a command, is gone."""
    signal.signal(signal.SIGTERM, _interrupt)
    # nohup ignores SIGHUP, and Windows has none
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:
        signal.signal(signal.SIGHUP, _interrupt)
    parent = os.environ.pop(PARENT, None)
    if parent is not None:
        _watch(int(parent))


def exit_code() -> int:
    """Return the exit code of an interrupted process: 128 and the signal's number, 130 after Ctrl-C."""
    # An interrupt that passes through exec, as in a dataclass being defined, makes CPython end a module that was started
    # by -m with SIGINT, whatever its exit code; the next exec takes that back.
    exec("")
    return 128 + (signal.SIGINT if _received is None else _received[0])


def _interrupt(number: int, frame: FrameType | None) -> None:
    global _received
    now = time.monotonic()
    if _received is not None:
        # make, timeout and SLURM may send a signal twice, to a process and to its group; a later one is impatience.
        if now - _received[1] > _AGAIN_S:
            os._exit(128 + number)
        return
    _received = (number, now)
    handler = signal.getsignal(signal.SIGINT)  # Python's own, or that of asyncio, which cancels its tasks
    if callable(handler):
        handler(signal.SIGINT, frame)
    else:
        raise KeyboardInterrupt


@contextmanager
def signals_deferred() -> Iterator[None]:
    """Let SIGINT and SIGTERM interrupt this process only after the block, which therefore ends or fails as a whole."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals interrupt the main thread only
        return
    arrived: list[int] = []
    # A signal that is ignored, or that ends the process at once, still does.
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    previous = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in previous:
        signal.signal(number, lambda received, frame: arrived.append(received))
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
    if arrived:
        signal.raise_signal(arrived[0])


def _watch(parent: int) -> None:
    """Interrupt this process when its parent is gone, even if that was killed."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(PATIENCE_S)
        os._exit(128 + signal.SIGKILL)

    threading.Thread(target=watch, name="parent-watch", daemon=True).start()


def run_stage(command: Sequence[str]) -> int:
    """Run a command as a process that cannot outlive this one, and return its exit code."""
    # A group of its own: Ctrl-C reaches this process alone, which interrupts the stage once.
    group = None if os.name == "nt" else 0
    stage = subprocess.Popen(command, env={**os.environ, PARENT: str(os.getpid())}, process_group=group)
    try:
        return stage.wait()
    except BaseException:
        stage.terminate()
        try:
            stage.wait(2 * PATIENCE_S)  # longer than the stage waits for its own workers
        except subprocess.TimeoutExpired:
            stage.kill()
            stage.wait()
        raise


# -- workers ----------------------------------------------------------------------------------------------------------


@contextmanager
def workers(
    n: int, initializer: Callable[..., None] | None = None, arguments: Sequence[object] = ()
) -> Iterator[ProcessPoolExecutor]:
    """Open a pool of spawned processes whose tasks are submitted as `call, task, argument, ...`.

    An exception in the block ends the workers: they are interrupted, clean up, and are killed if that takes too long. They
    also end when this process was killed.
    """
    context = multiprocessing.get_context("spawn")
    enter = functools.partial(_enter, os.getpid(), initializer, *arguments)
    pool = ProcessPoolExecutor(n, context, initializer=enter)
    try:
        yield pool
    except BaseException:
        end_children()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def call(task: Callable[..., T], *arguments: object) -> T:
    """Run a task in a worker; a signal interrupts it, and its worker ends when the task has cleaned up."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return task(*arguments)
    except KeyboardInterrupt:
        # The pool would hand the exception to the parent and go on with the next task.
        sys.stderr.flush()
        os._exit(exit_code())
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def end_children() -> None:
    """End the processes that this one has started through multiprocessing, and wait for them."""
    children = multiprocessing.active_children()
    for child in children:
        child.terminate()
    deadline = time.monotonic() + PATIENCE_S
    for child in children:
        child.join(max(0.0, deadline - time.monotonic()))
        if child.is_alive():
            child.kill()
            child.join()


def _enter(parent: int, initializer: Callable[..., None] | None, *arguments: object) -> None:
    # Ctrl-C reaches the whole group of a terminal; the parent alone decides and then ends the workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    _watch(parent)
    if initializer is not None:
        initializer(*arguments)
