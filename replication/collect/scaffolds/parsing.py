"""Parse JSON and calls that a model wrote: accepts any text, bounded in size and depth.

vLLM's own parsers are not used. They need the model's tokenizer (the one for Llama refuses any other), they log a stack
trace for each bad call, and they return a reply with one bad call as plain text, which would end the episode as an answer.
Here a bad call is a problem that is shown to the model. Nor may importing a scaffold import vllm.
"""

import json
import math
import re
from collections.abc import Iterable
from typing import NamedTuple, NoReturn

from replication.collect.scaffolds.compact import MAX_CALLS
from replication.records import Call, Json, Task

MAX_REPLY = 100_000
"""Characters after the thinking."""
MAX_DEPTH = 16
"""Of nested JSON: deeper values could be parsed here, but not serialised further up the stack."""
MAX_DIGITS = 300


class Unreadable(Exception):
    """A reply cannot be used; the text is shown to the model."""


class Decoded(NamedTuple):
    """A JSON value and the position after its text."""

    value: Json
    end: int


def without_thinking(text: str) -> str:
    """Remove the thinking before a reply. Templates may open it in the prompt, so only its end is required."""
    before, closed, after = text.partition("</think>")
    if not closed and before.lstrip()[:7] == "<think>":
        raise Unreadable("error: the thinking has no end")
    reply = after if closed else text
    if len(reply) > MAX_REPLY:
        raise Unreadable("error: reply too long")
    return reply.strip()


def decode(text: str, at: int = 0) -> Decoded:
    """Parse the JSON value that starts at a position, after blanks; text after it is ignored."""
    try:
        value, end = _DECODER.raw_decode(text, _after_blanks(text, at))
    except json.JSONDecodeError as error:
        raise Unreadable(f"error: bad JSON: {error.msg} at character {error.pos - at}") from None
    except ValueError as error:
        raise Unreadable(f"error: bad JSON: {error}") from None
    except RecursionError:
        raise Unreadable("error: bad JSON: nested too deeply") from None
    return Decoded(_clean(value, 0), end)


def call(name: Json, arguments: Json, task: Task) -> Call:
    """Return a call of one of the task's tools; the environment checks the arguments."""
    tools = [tool.name for tool in task.tools]
    if name not in tools:
        wrong = name[:40] if isinstance(name, str) else "of that name"
        raise Unreadable(f"error: no tool {wrong}; there are: {', '.join(tools)}"[:400])
    if isinstance(arguments, str):  # some models write the object as a JSON string, like OpenAI's API
        arguments = decode(arguments).value
    if not isinstance(arguments, dict):
        raise Unreadable(f"error: the arguments of {name} must be a JSON object")
    return Call(name=name, arguments=arguments)


def bounded(calls: Iterable[Call]) -> tuple[Call, ...]:
    """Return the calls of one reply; too many for a turn are a problem."""
    collected: list[Call] = []
    for one in calls:
        if len(collected) == MAX_CALLS:
            raise Unreadable(f"error: at most {MAX_CALLS} calls")
        collected.append(one)
    return tuple(collected)


def _after_blanks(text: str, at: int) -> int:
    blanks = _BLANKS.match(text, at)
    assert blanks is not None, "the pattern matches the empty text"
    return blanks.end()


def _clean(value: Json, depth: int) -> Json:
    if depth > MAX_DEPTH:
        raise Unreadable("error: bad JSON: nested too deeply")
    if isinstance(value, str):
        # "\ud800" is valid JSON, but tokenizers reject a lone surrogate when a result shows the text again.
        return value if value.isascii() else value.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    if isinstance(value, list):
        return [_clean(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {_clean(key, depth): _clean(item, depth + 1) for key, item in value.items()}
    return value


def _integer(digits: str) -> int:
    if len(digits) > MAX_DIGITS:
        raise ValueError("number too long")
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits) if len(digits) <= MAX_DIGITS else math.inf
    if math.isinf(number):
        raise ValueError("number too long")
    return number


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


# Not strict: models write line breaks into strings without escaping them.
_DECODER = json.JSONDecoder(strict=False, parse_int=_integer, parse_float=_float, parse_constant=_constant)
_BLANKS = re.compile(r"\s*")
