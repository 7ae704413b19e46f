"""The check of a loaded checkpoint before its episodes are played: it replies, its tools are shown, its calls are read."""

import asyncio
import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from replication import settings
from replication.collect import build, runner
from replication.collect.interfaces import Action, Engine
from replication.errors import EngineError
from replication.records import Call, Json, Reply, Request, Task
from replication.store import Store

MAX_TOKENS = 4
"""New tokens of a reply of the preflight whose text is not read."""
MAX_CALL_TOKENS = 256
"""New tokens of a reply in which calls are looked for."""


def check(store: Store, engine: Engine, jobs: Sequence[runner.Job]) -> None:
    """Raise EngineError, before anything is stored, if the checkpoint cannot play these jobs at all.

    Of each scaffold one first request gets a short reply; if it fails, another task has to do, because a
    request of one task only may be refused. Where a request has tools, its prompt must be longer than without them, the
    scaffold must read a call in its own syntax, and the calls in the first replies to two tasks not be in another
    one: a server then has the wrong parser of calls, or none.
    """
    for job, tasks in _first_of_each(store, jobs):
        if runner.first_request(job, tasks[0]).tools:
            _check_parser(job, tasks[0])
        first = _first_answered(engine, job, tasks)
        if first.request.tools:
            _check_tools(engine, first.request, first.reply, job)
            if not store.finished(job.spec.run_id):  # else the model's own mistakes could be all that is left
                _check_syntax(engine, job, first, [task for task in tasks if task is not first.task])


class _Answered(NamedTuple):
    task: Task
    request: Request
    reply: Reply


def _first_of_each(store: Store, jobs: Sequence[runner.Job]) -> list[tuple[runner.Job, list[Task]]]:
    """List one job of each scaffold with its first and last missing task."""
    found: dict[str, tuple[runner.Job, list[Task]]] = {}
    for job in jobs:
        if job.spec.scaffold not in found and (missing := runner.missing(store, job)):
            found[job.spec.scaffold] = (job, list({task.id: task for task, _ in (missing[0], missing[-1])}.values()))
    return list(found.values())


def _short(request: Request) -> Request:
    sampling = request.sampling
    most = MAX_CALL_TOKENS if request.tools else MAX_TOKENS
    return dataclasses.replace(
        request, sampling=dataclasses.replace(sampling, max_tokens=min(most, sampling.max_tokens))
    )


def _ask(engine: Engine, job: runner.Job, task: Task) -> _Answered:
    request = _short(runner.first_request(job, task))
    return _Answered(task, request, asyncio.run(engine.generate(request)))


def _first_answered(engine: Engine, job: runner.Job, tasks: Sequence[Task]) -> _Answered:
    first: EngineError | None = None
    for task in tasks:
        try:
            return _ask(engine, job, task)
        except EngineError as error:
            first = first or error
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


def _check_syntax(engine: Engine, job: runner.Job, first: _Answered, others: Sequence[Task]) -> None:
    """Check that the model's calls arrive in the syntax that the scaffold reads; a reply without a call proves nothing."""
    found = _foreign_syntax(job, first)
    try:
        # A model may err once: a second reply has to confirm it.
        if found is None or not others or _foreign_syntax(job, _ask(engine, job, others[0])) != found:
            return
    except EngineError:
        return
    raise EngineError(
        f"`{job.spec.model}` calls tools in syntax `{found}`, and scaffold `{job.spec.scaffold}` reads `{job.tool_syntax}`: "
        f"every call would be lost. Set `tool_syntax: {found}` in conf/model/. With engine=endpoint either start the server "
        f"with the parser of the model's family (vLLM: --tool-call-parser), or set `engine.options.tool_calls=text` too."
    )


def _foreign_syntax(job: runner.Job, answered: _Answered) -> str | None:
    """Return the syntax in which a complete reply has calls that the scaffold does not read; None if there is none."""
    task, _, reply = answered
    if reply.finish != "stop" or job.scaffold.parse(reply.text, task).calls:
        return None
    readers = {syntax: build.native(syntax) for syntax in settings.TOOL_SYNTAXES if syntax != job.tool_syntax}
    return next((syntax for syntax, reader in readers.items() if reader.parse(reply.text, task).calls), None)
