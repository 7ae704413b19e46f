"""An engine of any OpenAI-compatible chat servers: preflight at `load`, then requests with retries.

Nothing that a server does becomes a score: a reply is used if it is complete and of the right model; all else is tried
again, and in the end an EngineError, so that the episode is unscored and played again.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import TypeVar

import aiohttp

from replication.collect.engines.endpoint import facts, wire
from replication.collect.engines.endpoint.http import Client, one_line, session_of_loop
from replication.collect.engines.endpoint.options import Options, api_key, check
from replication.collect.engines.endpoint.pool import Pool, backoff_s
from replication.collect.interfaces import ModelRef
from replication.errors import EngineError, RequestRefused
from replication.records import Json, Message, Reply, Request, Sampling

Read = TypeVar("Read")

_PREFLIGHT = Request(
    messages=(Message(role="user", content="Reply with the word ok."),),
    # Models that think refuse a temperature other than 1, and some servers very short replies.
    sampling=Sampling(temperature=1.0, max_tokens=16),
    seed=0,
)


class EndpointEngine:
    """Serves one checkpoint, which one or more servers hold already.

    Parameters
    ----------
    dtype : of the weights, as the servers were started; stated, since no server tells.
    context : longest prompt plus reply, tokens; compared with what the servers state.
    options : see `Options`.
    """

    def __init__(self, dtype: str, context: int, options: Options):
        check(options)
        self._dtype, self._context, self._options = dtype, context, options
        self._urls = [url.rstrip("/") for url in options.urls]
        self._model: ModelRef | None = None
        self._facts: facts.Facts | None = None
        self._template_options: dict[str, Json] = {}
        self._fingerprint: str | None = None
        self._key: str | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sessions: AsyncGenerator[aiohttp.ClientSession, None] | None = None

    # -- checkpoints ----------------------------------------------------------------------------------------------

    def load(self, model: ModelRef) -> None:
        """Check that the servers serve this checkpoint, and that one gives a complete reply."""
        self._key = api_key(self._options)
        self._model, self._facts, self._template_options = model, None, dict(model.template_options)
        try:
            asyncio.run(self._preflight())
        except EngineError:
            self._model = None
            raise

    async def _preflight(self) -> None:
        await self._connect()
        found = await asyncio.gather(*(self._ask(url) for url in self._urls))
        answered = [one for one in found if isinstance(one, facts.Facts)]
        if not answered:
            problems = "; ".join(f"`{url}`: {one}" for url, one in zip(self._urls, found))
            raise EngineError(
                f"no server of `engine.options.urls` answers ({problems}). Start one, for example with "
                f"`python -m replication serve`, or fix the address."
            )
        self._facts = answered[0]
        for url, one in zip(self._urls, found):
            if isinstance(one, facts.Facts):
                self._agrees(url, one)
        self._start_pool([url for url, one in zip(self._urls, found) if not isinstance(one, facts.Facts)])
        self._fingerprint = await self._request(_PREFLIGHT, self._read_fingerprint)

    async def _ask(self, url: str) -> "facts.Facts | wire.Failure":
        """Ask a server what it serves; returns the failure if it does not answer, raises EngineError if it is wrong."""
        for attempt in range(self._options.retries + 1):
            try:
                return await self._check(url)
            except wire.Failure as failure:
                if failure.unreachable or attempt == self._options.retries:
                    return failure
                await asyncio.sleep(backoff_s(self._options, attempt, url))
        raise AssertionError("the last attempt returns")

    async def _check(self, url: str) -> facts.Facts:
        assert self._model is not None
        return await facts.ask(self._client, url, self._model, name=self._name, context=self._context)

    async def _is_healthy(self, url: str) -> None:
        self._agrees(url, await self._check(url))

    def _agrees(self, url: str, found: facts.Facts) -> None:
        assert self._facts is not None
        if found != self._facts:
            raise EngineError(
                f"the servers do not serve the same: {facts.difference(self._facts, found)} (`{url}` is the second). "
                f"Start all of `engine.options.urls` alike, or leave some out."
            )

    # -- requests -------------------------------------------------------------------------------------------------

    @property
    def _name(self) -> str:
        assert self._model is not None
        return self._options.model or self._model.path

    async def generate(self, request: Request) -> Reply:
        """Send one request, and again after a failure that may pass."""
        if self._model is None:
            raise EngineError("no checkpoint is loaded; call `load` first.")
        if self._loop is not asyncio.get_running_loop():
            await self._connect()
            self._start_pool([])
        return await self._request(request, self._read)

    def n_prompt_tokens(self, request: Request) -> int:
        """Return 0, unknown: the tokenizer is the server's, whose reply to the first request tells."""
        return 0

    async def _request(self, request: Request, read: Callable[[wire.Answer], Read]) -> Read:
        data = wire.body(request, self._name, self._options, self._template_options)
        problem = ""
        for attempt in range(self._options.retries + 1):
            if attempt:
                await asyncio.sleep(backoff_s(self._options, attempt - 1, request.seed))
            endpoint = await self._pool.acquire()
            try:
                result = read(await self._client.post(f"{endpoint.url}/chat/completions", data))
            except wire.Refusal as refusal:
                raise RequestRefused(f"`{endpoint.url}` refused a request: {one_line(str(refusal))}.") from None
            except wire.Failure as failure:
                problem = f"`{endpoint.url}`: {failure}"
                self._pool.failed(endpoint, failure)
            else:
                self._pool.succeeded(endpoint)
                return result
            finally:
                self._pool.release(endpoint)
        raise EngineError(
            f"{self._options.retries + 1} attempts of a request failed, the last at {one_line(problem)}. "
            f"See the log of the server; `engine.options.retries` is the number of further attempts."
        )

    def _read(self, answer: wire.Answer) -> Reply:
        return wire.reply(answer, self._options.reply_model or self._name, self._context)

    def _read_fingerprint(self, answer: wire.Answer) -> str | None:
        self._read(answer)
        fingerprint = wire.parse(answer.data).get("system_fingerprint")
        return one_line(fingerprint) if isinstance(fingerprint, str) else None

    async def _connect(self) -> None:
        # A session belongs to an event loop, and the runner starts one for each checkpoint.
        self._loop = asyncio.get_running_loop()
        self._sessions = session_of_loop()
        self._client = Client(await anext(self._sessions), self._options, self._key)

    def _start_pool(self, down: list[str]) -> None:
        self._pool = Pool(self._urls, self._options, self._is_healthy)
        for endpoint in self._pool.endpoints:
            if endpoint.url in down:
                self._pool.rest(endpoint)

    # -- description ----------------------------------------------------------------------------------------------

    def describe(self) -> Mapping[str, Json]:
        """Return what the servers state of themselves, and our settings; neither a key nor a port, which is chosen anew."""
        if self._facts is None:
            raise EngineError("no checkpoint is loaded; call `load` first.")
        return facts.description(
            self._facts, self._fingerprint, self._urls, self._options, dtype=self._dtype, context=self._context
        )

    def close(self) -> None:
        """Forget the checkpoint; connections end with the event loop that they belong to."""
        self._model = self._facts = self._loop = self._sessions = None
