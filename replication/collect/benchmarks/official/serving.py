"""Serve an application of aiohttp from a thread while a block runs: proxies between a harness and a server."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from aiohttp import ClientSession, web

Handler = Callable[["web.Request", "ClientSession"], Coroutine[Any, Any, "web.Response"]]


@contextlib.contextmanager
def served(
    posts: Mapping[str, Handler],
    socket: Path | None,
    *,
    host: str = "127.0.0.1",
    timeout_s: float = 3600.0,
    headers: Mapping[str, str] | None = None,
) -> Iterator[str]:
    """Answer POST requests at a Unix socket, or without one at a free port of `host`, whose address is yielded.

    posts : handlers by path; each gets a session for requests of its own, which have `headers`.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="harness-server", daemon=True)
    thread.start()

    def do(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(60)

    try:
        application = _application(posts, socket, host, timeout_s, headers or {})
        address: str = do(application.__aenter__())
        try:
            yield address
        finally:
            do(application.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _application(
    posts: Mapping[str, Handler], socket: Path | None, host: str, timeout_s: float, headers: Mapping[str, str]
) -> AbstractAsyncContextManager[str]:
    @contextlib.asynccontextmanager
    async def running() -> AsyncIterator[str]:
        from aiohttp import ClientSession, ClientTimeout, TCPConnector, web

        # A new connection for each request: one that the server has closed meanwhile would look like a failure.
        connector = TCPConnector(force_close=True, limit=0)
        async with ClientSession(
            timeout=ClientTimeout(total=timeout_s), connector=connector, headers=dict(headers)
        ) as session:

            def bound(handler: Handler) -> Callable[["web.Request"], Coroutine[Any, Any, "web.Response"]]:
                return lambda request: handler(request, session)

            application = web.Application(client_max_size=2**30)
            for path, handler in posts.items():
                application.router.add_post(path, bound(handler))
            # Whoever asked is gone when the block ends, so open requests are not waited for.
            runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
            await runner.setup()
            try:
                if socket is not None:
                    await web.UnixSite(runner, str(socket)).start()
                    yield str(socket)
                else:
                    await web.TCPSite(runner, host, 0).start()
                    yield f"http://{host}:{runner.addresses[0][1]}"
            finally:
                await runner.cleanup()

    return running()
