"""Play one episode: the loop, on one screen, which uses only the interfaces.

`play` is a generator, so any driver can advance it: the runner awaits an engine with many episodes in flight, a test
sends fixed texts.
"""

import functools
import time
from collections.abc import Generator
from typing import NamedTuple

from replication.collect.interfaces import Action, Environment, Scaffold
from replication.errors import EngineError, EnvironmentFault, EpisodeTimeout, ParserFault, RequestRefused
from replication.records import Episode, Message, Reply, Request, RunSpec, StopReason, Task, stable_seed

PARSER_BUGS = (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError)
"""What a parser raises on a reply that its author did not expect; a parser must return a problem instead."""

Turns = Generator[Request, Reply, Episode]
"""Yields a request per turn, receives its reply, and returns the episode."""


class _Ending(NamedTuple):
    """Why an episode ends."""

    reason: StopReason
    error: str | None


def play(spec: RunSpec, task: Task, trial: int, environment: Environment, scaffold: Scaffold) -> Turns:
    """Attempt a task once; returns the Episode. An EngineError thrown into the generator ends it as unscored."""
    messages, options = scaffold.open(task), scaffold.request_options(task)
    request = functools.partial(
        Request, tools=options.tools, schema=options.schema, stop=options.stop, sampling=spec.sampling
    )
    assert spec.max_turns is not None and spec.max_episode_tokens is not None, "a harness plays its own episodes"
    seeds: list[int] = []
    n_prompt = n_completion = n_malformed = n_in_a_row = 0
    started = time.monotonic()
    stop, error = _Ending("turn_limit", None)
    for turn in range(spec.max_turns):
        seeds.append(stable_seed(spec.seed, task.id, trial, turn))
        try:
            reply = yield request(messages=tuple(messages), seed=seeds[-1])
        except EngineError as failure:
            stop, error = _failed(failure)
            break
        n_prompt += reply.n_prompt_tokens
        n_completion += reply.n_completion_tokens
        if reply.finish == "context":
            messages.append(_said(reply, Action()))
            stop, error = _overflow(spec, reply, turn)
            break
        try:
            action = _action(reply, scaffold, task)
        except ParserFault as fault:
            messages.append(_said(reply, Action()))
            stop, error = "parser_error", str(fault)
            break
        messages.append(_said(reply, action))
        if action.problem is not None:
            n_malformed += 1
            n_in_a_row += 1
            if n_in_a_row == spec.max_malformed:
                stop = "malformed"
                break
            messages.append(scaffold.observe([action.problem]))
        else:
            n_in_a_row = 0
            try:
                results = [environment.step(call) for call in action.calls]
            except EnvironmentFault as fault:
                stop, error = "environment_error", str(fault)
                break
            if results:
                messages.append(scaffold.observe(results))
            if action.answer is not None:
                stop = "answer"
                break
        if n_completion >= spec.max_episode_tokens:
            stop = "token_limit"
            break

    return Episode(
        run_id=spec.run_id, task_id=task.id, task_hash=task.content_hash, trial=trial, trajectory=tuple(messages),
        stop_reason=stop, error=error, n_turns=len(seeds), n_malformed=n_malformed, n_prompt_tokens=n_prompt,
        n_completion_tokens=n_completion, seeds=tuple(seeds), wall_s=round(time.monotonic() - started, 4),
    )  # fmt: skip


def _failed(failure: EngineError) -> _Ending:
    if isinstance(failure, EpisodeTimeout):
        return _Ending("timeout", str(failure))
    return _Ending("request_refused" if isinstance(failure, RequestRefused) else "engine_error", str(failure))


def _overflow(spec: RunSpec, reply: Reply, turn: int) -> _Ending:
    if turn > 0:
        return _Ending("context_overflow", None)
    # The model has used nothing of the context: the set-up is at fault.
    return _Ending(
        "prompt_too_long",
        f"the first request has {reply.n_prompt_tokens} tokens, too many for a context of {spec.context}.",
    )


def _action(reply: Reply, scaffold: Scaffold, task: Task) -> Action:
    if reply.thinking and not reply.text.strip():
        return Action(problem="error: nothing follows the thinking")
    try:
        action = scaffold.parse(reply.text, task)
    except PARSER_BUGS as bug:
        raise ParserFault(
            f"the parser of scaffold `{scaffold.name}` failed on a reply of {len(reply.text)} characters: "
            f"{type(bug).__name__}: {bug}. Correct the parser; its new version makes a new run."
        ) from bug
    if reply.finish == "length" and action.problem is None:
        # A truncated reply may look complete ("write out.txt 48" of "482"); executing it would change the attempt.
        return Action(problem="error: reply too long")
    return action


def _said(reply: Reply, action: Action) -> Message:
    return Message(
        role="assistant", content=reply.text, calls=action.calls, answer=action.answer, thinking=reply.thinking
    )
