"""The check of a loaded checkpoint before its episodes are played: short replies, and tools that its template shows."""

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence

from replication.collect import runner
from replication.collect.interfaces import Action, Engine
from replication.errors import EngineError
from replication.records import Call, Json, Reply, Request, Task
from replication.store import Store

MAX_TOKENS = 4
"""New tokens of a reply of the preflight; its text is not read."""


def check(store: Store, engine: Engine, jobs: Sequence[runner.Job]) -> None:
    """Raise EngineError, before anything is stored, if the checkpoint cannot play these jobs at all.

    Of each scaffold one first request gets a short reply; if it fails, another task has to do, because a
    request of one task only may be refused. Where a request has tools, its prompt must be longer than without them, and the
    scaffold must read a call in its own syntax.
    """
    for job, (task, *others) in _first_of_each(store, jobs):
        request = _short(runner.first_request(job, task))
        if request.tools:
            _check_parser(job, task)
        try:
            reply = asyncio.run(engine.generate(request))
        except EngineError as error:
            reply = _second_attempt(engine, job, others, error)
            request = _short(runner.first_request(job, others[-1])) if others else request
        if request.tools:
            _check_tools(engine, request, reply, job)


def _first_of_each(store: Store, jobs: Sequence[runner.Job]) -> list[tuple[runner.Job, list[Task]]]:
    """List one job of each scaffold with its first and last missing task."""
    found: dict[str, tuple[runner.Job, list[Task]]] = {}
    for job in jobs:
        if job.spec.scaffold not in found and (missing := runner.missing(store, job)):
            found[job.spec.scaffold] = (job, list({task.id: task for task, _ in (missing[0], missing[-1])}.values()))
    return list(found.values())


def _short(request: Request) -> Request:
    sampling = request.sampling
    return dataclasses.replace(
        request, sampling=dataclasses.replace(sampling, max_tokens=min(MAX_TOKENS, sampling.max_tokens))
    )


def _second_attempt(engine: Engine, job: runner.Job, tasks: Sequence[Task], first: EngineError) -> Reply:
    for task in tasks:
        try:
            return asyncio.run(engine.generate(_short(runner.first_request(job, task))))
        except EngineError:
            continue
    raise EngineError(
        f"`{job.spec.model}` gave no reply in scaffold `{job.spec.scaffold}` when it was tried before the run: "
        f"{str(first).rstrip('.')}. Nothing was stored. Correct the engine or the checkpoint, or leave the scaffold out."
    ) from first


def _check_parser(job: runner.Job, task: Task) -> None:
    """Check that the scaffold reads what it writes, the call of a tool with a value for each of its arguments."""
    tool = task.tools[0]
    schemas: Mapping[str, Json] = tool.parameters["properties"]
    call = Call(name=tool.name, arguments={name: _example(schema) for name, schema in schemas.items()})
    action = job.scaffold.parse(job.scaffold.write(Action(calls=(call,))), task)
    if action.calls != (call,):
        raise EngineError(
            f"scaffold `{job.spec.scaffold}` does not read a call of `{tool.name}` in its own syntax "
            f"({action.problem or 'it reads another one'}), so calls of `{job.spec.model}` would be lost. Correct the "
            f"parser, or choose another `tool_syntax` in conf/model/."
        )


def _example(schema: Mapping[str, Json]) -> Json:
    if "enum" in schema:
        return schema["enum"][0]
    return {"integer": 1, "number": 1.5, "boolean": True, "array": [], "object": {}}.get(schema.get("type", ""), "a")


def _check_tools(engine: Engine, request: Request, reply: Reply, job: runner.Job) -> None:
    """Check that the prompt is longer with the tools than without; the reply tells where the engine cannot count."""
    without = dataclasses.replace(request, tools=())
    n_with, n_without = engine.n_prompt_tokens(request), engine.n_prompt_tokens(without)
    if not n_with and not n_without:
        n_with, n_without = reply.n_prompt_tokens, asyncio.run(engine.generate(without)).n_prompt_tokens
    if n_with <= n_without:
        raise EngineError(
            f"the chat template of `{job.spec.model}` does not show the tools of scaffold `{job.spec.scaffold}`: a prompt "
            f"has {n_with} tokens with {len(request.tools)} tools and {n_without} without. Use scaffold `react`, `json` or "
            f"`compact`, or a checkpoint or server whose template has a slot for tools."
        )
