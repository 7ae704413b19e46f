"""An engine without a model, which replies from a function: the test double for everything that needs an engine."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from replication.collect.interfaces import EngineKind, ModelRef
from replication.records import Json, Reply, Request, canonical_json

Script = Callable[[Request], str | Reply]
"""Replies to a request; may raise EngineError to simulate a failing engine."""


class ScriptedEngine:
    """Replies from a script and records every request and model; a token is a word.

    context : longest prompt plus reply, tokens; None has no limit.
    keeps_requests : whether to record requests; a long run would fill the memory with them.
    """

    def __init__(
        self, script: Script, name: str = "scripted", context: int | None = None, *, keeps_requests: bool = True
    ):
        self._script = script
        self._name = name
        self._context = context
        self._keeps_requests = keeps_requests
        self.requests: list[Request] = []
        self.models: list[ModelRef] = []

    async def generate(self, request: Request) -> Reply:
        """Reply from the script, after one switch to other coroutines, so that episodes interleave as on a real engine."""
        if self._keeps_requests:
            self.requests.append(request)
        await asyncio.sleep(0)
        n_prompt = self.n_prompt_tokens(request)
        if self._context is not None and n_prompt >= self._context:
            return Reply(text="", finish="context", n_prompt_tokens=n_prompt, n_completion_tokens=0)
        reply = self._script(request)
        if isinstance(reply, Reply):
            return reply
        return Reply(text=reply, finish="stop", n_prompt_tokens=n_prompt, n_completion_tokens=len(reply.split()))

    def n_prompt_tokens(self, request: Request) -> int:
        """Count the words of all messages and of the tools."""
        tools = sum(len(canonical_json(tool).split()) for tool in request.tools)
        return tools + sum(len(m.content.split()) for m in request.messages)

    def load(self, model: ModelRef) -> None:
        """Record the model; no weights are read."""
        self.models.append(model)

    def describe(self) -> Mapping[str, Json]:
        """Return a name and a version; there are no settings."""
        return {"engine": self._name, "version": "1", "settings": {}}

    def close(self) -> None:
        """Release nothing."""


@dataclass
class Options:
    """Settings `engine.options` of kind scripted."""

    reply: str | None = None  # to every request; null echoes the last message


def _build(dtype: str, context: int, options: Options) -> ScriptedEngine:
    reply = options.reply
    return ScriptedEngine(
        lambda request: request.messages[-1].content if reply is None else reply, context=context, keeps_requests=False
    )


KIND = EngineKind(options=Options, speed_only=frozenset(), build=_build)
