"""Several servers of one checkpoint: the least loaded is chosen, one that fails is rested and comes back when healthy."""

import asyncio
import itertools
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from replication.collect.engines.endpoint.options import Options
from replication.collect.engines.endpoint.wire import Failure
from replication.errors import EngineError
from replication.records import stable_seed

REST_AFTER = 3
"""Failures in a row after which a server is rested; one that cannot be reached is rested at once."""


@dataclass(eq=False)
class Endpoint:
    """One server."""

    url: str
    in_flight: int = 0
    is_up: bool = True
    n_failures: int = 0
    """In a row."""
    problem: str = ""
    """The last one."""


class Pool:
    """The servers during one event loop; requests wait in order of arrival until a server has room.

    is_healthy : asks a server whether it is back; raises Failure if it is not, EngineError if it must not be used.
    """

    def __init__(self, urls: Sequence[str], options: Options, is_healthy: Callable[[str], Awaitable[object]]):
        self.endpoints = [Endpoint(url) for url in urls]
        self._options = options
        self._is_healthy = is_healthy
        self._waiting: deque[asyncio.Future[Endpoint]] = deque()
        self._revivals: set[asyncio.Task[None]] = set()
        self._stopped: str | None = None
        self._outage: asyncio.TimerHandle | None = None

    async def acquire(self) -> Endpoint:
        """Wait for a server with room; `release` gives it back. EngineError if all are down for too long."""
        if self._stopped is not None:
            raise EngineError(self._stopped)
        if not self._waiting and (endpoint := self._least_loaded()):
            endpoint.in_flight += 1
            return endpoint
        future: asyncio.Future[Endpoint] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        try:
            return await future
        except asyncio.CancelledError:
            if future.done() and not future.cancelled() and future.exception() is None:
                self.release(future.result())
            raise

    def release(self, endpoint: Endpoint) -> None:
        """Give a server back; the request that waits longest gets it."""
        endpoint.in_flight -= 1
        self._dispatch()

    def succeeded(self, endpoint: Endpoint) -> None:
        """Note that a server answered."""
        endpoint.n_failures = 0

    def failed(self, endpoint: Endpoint, failure: Failure) -> None:
        """Note that a server failed, and rest it if it fails again and again, cannot be reached or asks for a pause."""
        endpoint.n_failures += 1
        endpoint.problem = str(failure)
        if failure.unreachable or failure.retry_after_s or endpoint.n_failures >= REST_AFTER:
            self.rest(endpoint, failure.retry_after_s)

    def rest(self, endpoint: Endpoint, pause_s: float = 0.0) -> None:
        """Send no requests to a server until it is healthy again, and none for `pause_s` seconds."""
        if not endpoint.is_up:
            return
        endpoint.is_up = False
        revival = asyncio.create_task(self._revive(endpoint, pause_s))
        self._revivals.add(revival)  # the loop itself keeps no strong reference to a task
        revival.add_done_callback(self._revivals.discard)
        if not any(e.is_up for e in self.endpoints):
            self._outage = asyncio.get_running_loop().call_later(self._options.outage_s, self._declare_outage)

    async def _revive(self, endpoint: Endpoint, pause_s: float) -> None:
        for attempt in itertools.count():
            await asyncio.sleep(max(pause_s, backoff_s(self._options, attempt, endpoint.url)))
            pause_s = 0.0
            try:
                await self._is_healthy(endpoint.url)
            except Failure as failure:
                endpoint.problem = str(failure)
            except EngineError as error:
                return self.stop(str(error))
            else:
                break
        endpoint.is_up = True
        if self._outage is not None:
            self._outage.cancel()
            self._outage = None
        self._dispatch()

    def stop(self, problem: str) -> None:
        """Let every request fail from now on, also those that wait."""
        self._stopped = problem
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_exception(EngineError(problem))

    def _declare_outage(self) -> None:
        problems = "; ".join(f"`{e.url}`: {e.problem or 'unreachable'}" for e in self.endpoints)
        self.stop(
            f"no server of `engine.options.urls` answered for {self._options.outage_s:g} s ({problems}). "
            f"Start them again and run the same command: it resumes."
        )

    def _least_loaded(self) -> Endpoint | None:
        usable = [e for e in self.endpoints if e.is_up and e.in_flight < self._options.max_in_flight]
        return min(usable, key=lambda e: e.in_flight, default=None)

    def _dispatch(self) -> None:
        while self._waiting and (endpoint := self._least_loaded()):
            future = self._waiting.popleft()
            if not future.done():
                endpoint.in_flight += 1
                future.set_result(endpoint)


def backoff_s(options: Options, attempt: int, *who: object) -> float:
    """Return the pause after an attempt, from 0: exponential, with full jitter, which is a hash: no generator is needed."""
    highest = min(options.max_backoff_s, options.backoff_s * 2 ** min(attempt, 30))
    return highest * stable_seed("backoff", attempt, *who) / 2**31
