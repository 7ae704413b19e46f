"""Read JSON and calls that a model wrote: total on any text, bounded in size and depth.

vLLM's own parsers are not used. They need the model's tokenizer (the one for Llama refuses any other), they write a
stack trace for each bad call, and they hand a reply with one bad call back as plain text, which would end the episode
as an answer. Here a bad call is an outcome of its own. Importing a scaffold must not import vllm either.
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
"""Of nested JSON: what is deeper could be read here, but not written again further up the stack."""
MAX_DIGITS = 300


class Unreadable(Exception):
    """A reply is no usable action; the text is what the model is told."""


class Decoded(NamedTuple):
    """A JSON value and where its text ends."""

    value: Json
    end: int


def said(text: str) -> str:
    """Drop the thinking in front of a reply. Templates may open it in the prompt, so only its end need be there."""
    before, closed, after = text.partition("</think>")
    if not closed and before.lstrip()[:7] == "<think>":
        raise Unreadable("error: the thinking has no end")
    reply = after if closed else text
    if len(reply) > MAX_REPLY:
        raise Unreadable("error: reply too long")
    return reply.strip()


def decode(text: str, at: int = 0) -> Decoded:
    """Read the JSON value that starts at a position, after blanks; what follows it is left alone."""
    try:
        value, end = _DECODER.raw_decode(text, _BLANKS.match(text, at).end())
    except json.JSONDecodeError as error:
        raise Unreadable(f"error: bad JSON: {error.msg} at character {error.pos - at}") from None
    except ValueError as error:
        raise Unreadable(f"error: bad JSON: {error}") from None
    except RecursionError:
        raise Unreadable("error: bad JSON: nested too deeply") from None
    return Decoded(_clean(value, 0), end)


def call(name: Json, arguments: Json, task: Task) -> Call:
    """Make a call of one of the task's tools; whether the arguments fit is the environment's to say."""
    tools = [tool.name for tool in task.tools]
    if name not in tools:
        wrong = name[:40] if isinstance(name, str) else "of that name"
        raise Unreadable(f"error: no tool {wrong}; there are: {', '.join(tools)}"[:400])
    if isinstance(arguments, str):  # some models write the object as a JSON string, as it stands in OpenAI's API
        arguments = decode(arguments).value
    if not isinstance(arguments, dict):
        raise Unreadable(f"error: the arguments of {name} must be a JSON object")
    return Call(name=name, arguments=arguments)


def bounded(calls: Iterable[Call]) -> tuple[Call, ...]:
    """Collect the calls of one reply, not more than a turn may hold."""
    found: list[Call] = []
    for one in calls:
        if len(found) == MAX_CALLS:
            raise Unreadable(f"error: at most {MAX_CALLS} calls")
        found.append(one)
    return tuple(found)


def _clean(value: Json, depth: int) -> Json:
    if depth > MAX_DEPTH:
        raise Unreadable("error: bad JSON: nested too deeply")
    if isinstance(value, str):
        # "\ud800" is valid JSON, but no tokenizer takes a lone surrogate when the text comes back in a result.
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


# Not strict: models write line breaks into strings as they are.
_DECODER = json.JSONDecoder(strict=False, parse_int=_integer, parse_float=_float, parse_constant=_constant)
_BLANKS = re.compile(r"\s*")
