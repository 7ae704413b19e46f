"""The thread that steps vLLM: many coroutines submit requests, and each gets its output or an EngineError.

A coroutine puts its request into a queue and awaits a future; before each step the thread adds all queued requests to the
running batch (continuous batching), so the event loop is never blocked. No request waits for ever: whether the engine lives
is checked under the lock under which a request is queued, the end of the thread settles every open request, whatever ended
it, and the engine counts as failed if it makes no step for too long.
"""

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from replication.errors import EngineError, RequestRefused

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
    """

    def __init__(self, engine: Any, *, refusals: tuple[type[Exception], ...], stall_s: float):
        self._engine, self._refusals, self._stall_s = engine, refusals, stall_s
        self._ids = itertools.count()
        self._wake = threading.Condition()  # guards all that follows
        self._queue: list[_Waiting] = []
        self._in_flight: dict[str, _Waiting] = {}
        self._closed = False
        self._failure: str | None = None
        self._progress = time.monotonic()
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
            self._wake.notify()
        while not future.done():
            await asyncio.wait([future], timeout=max(0.01, self._progress + self._stall_s - time.monotonic()))
            if time.monotonic() - self._progress > self._stall_s:
                self._fail(
                    f"vLLM has made no step for {self._stall_s:g} s. Run the same command again; raise "
                    f"`engine.options.stall_s` if single steps take that long."
                )
        return future.result()

    def close(self) -> None:
        """Stop the thread; open requests fail."""
        with self._wake:
            self._closed = True
            self._wake.notify()
        # A thread that hangs inside vLLM cannot be ended; it is a daemon, so it does not keep the process alive.
        self._thread.join(self._stall_s if self._failure is None else 1.0)
        self._fail("the engine was closed before it answered the request.")

    def _run(self) -> None:
        try:
            while self._step():
                pass
        except BaseException as error:  # vLLM raises many types; every request must learn that the engine has failed
            self._fail(f"vLLM failed while generating: {first_line(error)}")

    def _step(self) -> bool:
        """Wait for requests, add them and make one step; returns whether to go on."""
        with self._wake:
            while not (self._queue or self._in_flight or self._closed or self._failure):
                self._wake.wait()
            if self._closed or self._failure:
                return False
            arrived = {str(next(self._ids)): waiting for waiting in self._queue}
            self._queue.clear()
            self._in_flight.update(arrived)
        for request_id, waiting in arrived.items():
            self._add(request_id, waiting)
        if self.busy:
            finished = [output for output in self._engine.step() if output.finished]
            for output in finished:
                self._settle(output.request_id, output)
            if not finished and self._in_flight and not self._engine.has_unfinished_requests():
                raise RuntimeError("the engine has no open request left, but not all were answered")
        self._progress = time.monotonic()
        return True

    def _add(self, request_id: str, waiting: _Waiting) -> None:
        try:
            waiting.add(request_id)
        except Exception as error:  # vLLM did not take this request; others are unaffected
            kind = RequestRefused if isinstance(error, self._refusals) else EngineError
            self._settle(request_id, kind(f"vLLM refused a request: {first_line(error)}"))
            with contextlib.suppress(Exception):  # of a request that was half added, for example without its grammar
                self._engine.abort_request([request_id])

    def _settle(self, request_id: str, result: Any) -> None:
        with self._wake:
            waiting = self._in_flight.pop(request_id, None)
        if waiting is not None:
            _deliver(waiting, result)

    def _fail(self, failure: str) -> None:
        with self._wake:
            self._failure = self._failure or failure
            open_requests = [*self._queue, *self._in_flight.values()]
            self._queue.clear()
            self._in_flight.clear()
        for waiting in open_requests:
            _deliver(waiting, EngineError(self._failure))


def _deliver(waiting: _Waiting, result: Any) -> None:
    def deliver() -> None:
        if waiting.future.done():
            return
        if isinstance(result, Exception):
            waiting.future.set_exception(result)
        else:
            waiting.future.set_result(result)

    # The loop is closed if the run failed elsewhere, for example on a full disk; then nothing awaits this reply.
    with contextlib.suppress(RuntimeError):
        waiting.loop.call_soon_threadsafe(deliver)


def first_line(error: BaseException) -> str:
    """Return the type of an error and the first line of its text, for a message."""
    text = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {text}"[:400]
