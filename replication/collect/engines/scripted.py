"""An engine that answers from a function: the test double for everything above it."""

import asyncio
from collections.abc import Callable, Mapping

from replication.collect.interfaces import ModelRef
from replication.records import Json, Reply, Request

Script = Callable[[Request], str | Reply]
"""Answers a request; may raise EngineError to play a failing engine."""


class ScriptedEngine:
    """Plays back replies; keeps every request it saw."""

    def __init__(self, script: Script, name: str = "scripted"):
        self._script = script
        self._name = name
        self.requests: list[Request] = []
        self.models: list[ModelRef] = []

    async def generate(self, request: Request) -> Reply:
        """Answer from the script; gives way once, so that episodes interleave as on a real engine."""
        self.requests.append(request)
        await asyncio.sleep(0)
        reply = self._script(request)
        if isinstance(reply, Reply):
            return reply
        n_prompt = sum(len(m.content.split()) for m in request.messages)
        return Reply(text=reply, finish="stop", n_prompt_tokens=n_prompt, n_completion_tokens=len(reply.split()))

    def load(self, model: ModelRef) -> None:
        """Remember which model was asked for."""
        self.models.append(model)

    def describe(self) -> Mapping[str, Json]:
        """Say that no model was involved."""
        return {"engine": self._name, "version": "1", "settings": {}}

    def close(self) -> None:
        """Nothing to release."""
