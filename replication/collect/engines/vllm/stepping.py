"""The thread that steps vLLM: many coroutines submit requests, and each gets its output or an EngineError.

A coroutine puts its request into a queue and awaits a future; before each step the thread adds all queued requests to the
running batch (continuous batching), so the event loop is never blocked. After a step it wakes the loop once with all outputs
and waits until the loop has gone through them: their episodes' next requests are in the next step, so the batch stays full,
and the two threads do not contend for the interpreter lock at every operation of the model.

No request waits for ever: whether the engine lives is checked under the lock under which a request is queued, the end of
the thread settles every open request, whatever ended it, and the engine counts as failed if it makes no step for too long.
"""

import asyncio
import contextlib
import itertools
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

from replication.collect.engines.vllm.affinity import OneCore
from replication.errors import EngineError, RequestRefused

PATIENCE_S = 0.1
"""Longest wait of the thread for the loop, which may be busy otherwise, for example with writing to a slow disk."""

Add = Callable[[str], object]
"""Adds one request to the engine under this id; called in the stepping thread."""


class _Waiting(NamedTuple):
    add: Add
    future: asyncio.Future
    loop: asyncio.AbstractEventLoop


class Stepper:
    """Steps one engine until it is closed or fails.

    Parameters
    ----------
    engine : vLLM's `LLMEngine`, or an object with its methods `step`, `abort_request` and `has_unfinished_requests`.
    refusals : errors by which the engine refuses a request that it would refuse again.
    stall_s : seconds without the end of a step after which the engine counts as failed.
    enter : called first in the thread, for what vLLM keeps per thread.
    on_one_core : whether to bind the thread and the one that submits to the same core, for an engine of one thread.
    """

    def __init__(
        self,
        engine: Any,
        *,
        refusals: tuple[type[Exception], ...],
        stall_s: float,
        enter: Callable[[], object] = lambda: None,
        on_one_core: bool = False,
    ):
        self._engine, self._refusals, self._stall_s, self._enter = engine, refusals, stall_s, enter
        self._ids = itertools.count()
        self._wake = threading.Condition()  # guards all that follows
        self._queue: list[_Waiting] = []
        self._in_flight: dict[str, _Waiting] = {}
        self._closed = False
        self._failure: str | None = None
        self._progress = time.monotonic()
        self._has_cancelled = False
        self._core = OneCore() if on_one_core and OneCore.is_possible() else None
        self._submitter = 0
        """Native id of the thread that submits."""
        self._watched: weakref.WeakSet[asyncio.AbstractEventLoop] = weakref.WeakSet()
        self._thread = threading.Thread(target=self._run, name="vllm-steps", daemon=True)
        self._thread.start()

    @property
    def failure(self) -> str | None:
        """Why the engine can no longer be used; None while it can."""
        return self._failure

    @property
    def busy(self) -> bool:
        """Whether requests are queued or in flight."""
        with self._wake:
            return bool(self._queue or self._in_flight)

    async def submit(self, add: Add) -> Any:
        """Return the finished output of one request; EngineError if the engine refuses it, fails, stalls or is closed."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future = loop.create_future()
        with self._wake:
            if self._failure is not None:
                raise EngineError(self._failure)
            if not (self._queue or self._in_flight):
                self._progress = time.monotonic()  # the engine was idle
            self._queue.append(_Waiting(add, future, loop))
            self._submitter = threading.get_native_id()
            self._wake.notify()
            if loop not in self._watched:
                self._watched.add(loop)
                loop.call_later(self._stall_s, self._watch, loop)
        try:
            return await future
        except asyncio.CancelledError:
            with self._wake:
                self._has_cancelled = True
            raise

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        """Fail if no step has ended in time; one timer for all requests of a loop, until none is open."""
        with self._wake:
            if self._failure is not None or not (self._queue or self._in_flight):
                self._watched.discard(loop)
                return
            left = self._progress + self._stall_s - time.monotonic()
            if left > 0:
                loop.call_later(max(0.01, left), self._watch, loop)
                return
            self._watched.discard(loop)
        self._fail(
            f"vLLM has made no step for {self._stall_s:g} s. Run the same command again; raise "
            f"`engine.options.stall_s` if single steps take that long."
        )

    def close(self) -> None:
        """Stop the thread; open requests fail."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        # A thread that hangs inside vLLM cannot be ended; it is a daemon, so it does not keep the process alive.
        self._thread.join(self._stall_s if self._failure is None else 1.0)
        self._release_core()  # of this thread, if the other hangs
        self._fail("the engine was closed before it answered the request.")

    def _run(self) -> None:
        try:
            self._enter()
            while self._step():
                pass
        except BaseException as error:  # vLLM raises many types; every request must learn that the engine has failed
            self._fail(f"vLLM failed while generating: {first_line(error)}")
        finally:
            self._release_core()

    def _step(self) -> bool:
        """Wait for requests, add them and make one step; returns whether to go on."""
        with self._wake:
            while not (self._queue or self._in_flight or self._closed or self._failure):
                self._release_core()
                self._wake.wait()
            if self._closed or self._failure:
                return False
            arrived = {str(next(self._ids)): waiting for waiting in self._queue}
            self._queue.clear()
            self._in_flight.update(arrived)
        for request_id, waiting in arrived.items():
            self._add(request_id, waiting)
        if self._has_cancelled:
            self._abort_cancelled()
        if self._core is not None:
            self._core.turn(self._submitter)
        if self._in_flight:  # a step of an engine in another process would wait for an output
            finished = [output for output in self._engine.step() if output.finished]
            self._settle((output.request_id, output) for output in finished).wait(PATIENCE_S)
            if not finished and self._in_flight and not self._engine.has_unfinished_requests():
                raise RuntimeError("the engine has no open request left, but not all were answered")
        self._progress = time.monotonic()
        return True

    def _release_core(self) -> None:
        if self._core is not None:
            self._core.release()

    def _abort_cancelled(self) -> None:
        """Take requests out of the batch that nothing awaits any more, for example after `engine.episode_s`."""
        with self._wake:
            self._has_cancelled = False
            cancelled = [request_id for request_id, waiting in self._in_flight.items() if waiting.future.cancelled()]
            for request_id in cancelled:
                del self._in_flight[request_id]
        self._engine.abort_request(cancelled)

    def _add(self, request_id: str, waiting: _Waiting) -> None:
        try:
            waiting.add(request_id)
        except Exception as error:  # vLLM did not take this request; others are unaffected
            kind = RequestRefused if isinstance(error, self._refusals) else EngineError
            self._settle([(request_id, kind(f"vLLM refused a request: {first_line(error)}"))])
            with contextlib.suppress(Exception):  # of a request that was half added, for example without its grammar
                self._engine.abort_request([request_id])

    def _settle(self, results: Iterable[tuple[str, Any]]) -> threading.Event:
        """Hand over results; the event is set once what awaited them has gone on."""
        with self._wake:
            settled = [(self._in_flight.pop(request_id, None), result) for request_id, result in results]
        return _deliver([(waiting, result) for waiting, result in settled if waiting is not None])

    def _fail(self, failure: str) -> None:
        with self._wake:
            self._failure = self._failure or failure
            open_requests = [*self._queue, *self._in_flight.values()]
            self._queue.clear()
            self._in_flight.clear()
        _deliver([(waiting, EngineError(self._failure)) for waiting in open_requests])


def _deliver(results: Sequence[tuple[_Waiting, Any]]) -> threading.Event:
    """Hand results to the loops that await them, each of which is woken once; returns an event of their receipt."""
    received = threading.Event()
    loops = {waiting.loop for waiting, _ in results}
    for loop in loops:
        of_loop = [(waiting.future, result) for waiting, result in results if waiting.loop is loop]
        # The loop is closed if the run failed elsewhere, for example on a full disk; then nothing awaits these replies.
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(_set_results, loop, of_loop, received)
            continue
        received.set()
    if not loops:
        received.set()
    return received


def _set_results(
    loop: asyncio.AbstractEventLoop, results: Iterable[tuple[asyncio.Future, Any]], received: threading.Event
) -> None:
    for future, result in results:
        if future.done():
            continue
        if isinstance(result, Exception):
            future.set_exception(result)
        else:
            future.set_result(result)
    loop.call_soon(received.set)  # behind the coroutines that these results wake


def first_line(error: BaseException) -> str:
    """Return the type of an error and the first line of its text, for a message."""
    text = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {text}"[:400]
