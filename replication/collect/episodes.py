"""Play one episode: the loop, on one screen, which uses only the interfaces.

`play` is a generator, so any driver can advance it: the runner awaits an engine with many episodes in flight, a test
sends fixed texts.
"""

import functools
import time
from collections.abc import Generator

from replication.collect.interfaces import Action, Environment, Scaffold
from replication.errors import EngineError, EnvironmentFault
from replication.records import Episode, Message, Reply, Request, RunSpec, StopReason, Task, stable_seed

Turns = Generator[Request, Reply, Episode]
"""Yields a request per turn, receives its reply, and returns the episode."""


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
    stop: StopReason = "turn_limit"
    error: str | None = None

    for turn in range(spec.max_turns):
        seeds.append(stable_seed(spec.seed, task.id, trial, turn))
        try:
            reply = yield request(messages=tuple(messages), seed=seeds[-1])
        except EngineError as failure:
            stop, error = "engine_error", str(failure)
            break
        n_prompt += reply.n_prompt_tokens
        n_completion += reply.n_completion_tokens
        if reply.finish == "context":
            messages.append(_said(reply, Action()))
            stop = "context_overflow"
            if turn == 0:  # the model has used nothing of the context: the set-up is at fault
                stop, error = "prompt_too_long", _too_long(spec, reply)
            break
        action = _action(reply, scaffold, task)
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


def _too_long(spec: RunSpec, reply: Reply) -> str:
    return f"the first request has {reply.n_prompt_tokens} tokens, too many for a context of {spec.context}."


def _action(reply: Reply, scaffold: Scaffold, task: Task) -> Action:
    if reply.thinking and not reply.text.strip():
        return Action(problem="error: nothing follows the thinking")
    action = scaffold.parse(reply.text, task)
    if reply.finish == "length" and action.problem is None:
        # A truncated reply may look complete ("write out.txt 48" of "482"); executing it would change the attempt.
        return Action(problem="error: reply too long")
    return action


def _said(reply: Reply, action: Action) -> Message:
    return Message(
        role="assistant", content=reply.text, calls=action.calls, answer=action.answer, thinking=reply.thinking
    )
