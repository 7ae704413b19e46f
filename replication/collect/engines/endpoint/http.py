"""One HTTP exchange with a server, limited in time and size; a key is in no text that it returns or raises."""

import re
from collections.abc import AsyncGenerator

import aiohttp

from replication.collect.engines.endpoint.options import Options
from replication.collect.engines.endpoint.wire import Answer, Failure

MIN_SECRET = 8
"""Characters from which a key is looked for in answers; shorter ones are placeholders such as EMPTY."""


class Client:
    """Sends requests over the connections of one session, which belongs to one event loop."""

    def __init__(self, session: aiohttp.ClientSession, options: Options, key: str | None):
        self._session = session
        self._max_bytes = int(options.max_reply_mib * 2**20)
        self._headers = {"Content-Type": "application/json", "Accept-Encoding": "identity"}
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key}"
        self._secret = key.encode() if key is not None and len(key) >= MIN_SECRET else None
        self._usual = aiohttp.ClientTimeout(
            total=options.request_s, sock_connect=options.connect_s, sock_read=options.read_s
        )
        self._brief = aiohttp.ClientTimeout(total=options.connect_s)

    async def post(self, url: str, data: bytes) -> Answer:
        """Send a request and read the answer whole; Failure if it does not arrive whole."""
        return await self._exchange("POST", url, data, self._usual)

    async def get(self, url: str) -> Answer:
        """Ask for a document that a healthy server has at once: the time to connect is the limit of the whole exchange."""
        return await self._exchange("GET", url, None, self._brief)

    async def _exchange(self, method: str, url: str, data: bytes | None, timeout: aiohttp.ClientTimeout) -> Answer:
        try:
            async with self._session.request(
                method, url, data=data, headers=self._headers, timeout=timeout, allow_redirects=False
            ) as response:
                read = await self._read(response)
                return Answer(response.status, response.headers, read)
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise Failure(self._named(error), unreachable=True) from None
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Failure(self._named(error)) from None

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        pieces, size = [], 0
        async for piece in response.content.iter_any():
            size += len(piece)
            if size > self._max_bytes:
                response.close()
                raise Failure(f"its answer is longer than `engine.options.max_reply_mib`, {self._max_bytes:,} bytes")
            pieces.append(piece)
        data = b"".join(pieces)
        return data if self._secret is None else data.replace(self._secret, b"***")

    def _named(self, error: BaseException) -> str:
        # Only the text: the repr of aiohttp's errors has the headers of the request.
        text = one_line(str(error) or "no answer in time")
        if self._secret is not None:
            text = text.replace(self._secret.decode(), "***")
        return f"{type(error).__name__}: {text}"


async def session_of_loop() -> AsyncGenerator[aiohttp.ClientSession, None]:
    """Yield a session once; `asyncio.run` closes the generators of its loop at the end, and with this one the session."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,  # a compressed answer, which was not asked for, may expand without limit
        trust_env=False,  # nor is a key read from ~/.netrc
    ) as session:
        yield session


def one_line(text: str) -> str:
    """Return a text of a server or a library as one short printable line."""
    printable = "".join(c if c.isprintable() else " " for c in text[:2000])
    return re.sub(r"\s+", " ", printable).strip()[:300]
