"""Parse JSON, calls and answers that a model wrote: accepts any text, bounded in size and depth.

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
from replication.collect.scaffolds.prompts import ANSWER
from replication.records import Call, Json, Task

PARSER = "parser-2"
"""Version of this module and of `near`, part of the version of every scaffold that uses them."""

MAX_REPLY = 100_000
"""Characters after the thinking."""
MAX_DEPTH = 16
"""Of nested JSON: deeper values could be parsed here, but not serialised further up the stack."""
MAX_DIGITS = 300


class Unreadable(Exception):
    """A reply cannot be used; the text is shown to the model."""


class Malformed(Unreadable):
    """JSON or a call that is written wrongly; it helps to see the right form."""


class Decoded(NamedTuple):
    """A JSON value and the position after its text."""

    value: Json
    end: int


def without_thinking(text: str) -> str:
    """Remove the thinking of a reply; a second pass changes nothing.

    Covers the tags of `_THINK`, nested or several, and the channels of gpt-oss. Templates may open the thinking in the
    prompt, so that an end without a beginning ends all that stands before it.
    """
    reply = _outside_tags(_outside_channels(text))
    if len(reply) > MAX_REPLY:
        raise Unreadable("error: reply too long")
    return reply.strip()


def _outside_tags(text: str) -> str:
    tags = [(tag.start(), tag.end(), "/" in tag[0] or "END" in tag[0]) for tag in _THINK.finditer(text)]
    # Thinking that the template opened: the depth at the start with which every end has its beginning.
    depth = deficit = 0
    for _, _, closes in tags:
        deficit += 1 if closes else -1
        depth = max(depth, deficit)
    kept: list[str] = []
    at = 0
    last_end: int | None = None
    for start, end, closes in tags:
        if closes:
            depth, last_end = depth - 1, end
            at = end if depth == 0 else at
        else:
            if depth == 0:
                kept.append(text[at:start])
                at, last_end = start, None
            depth += 1
    # Thinking with more beginnings than ends speaks of its own tag: the last end counts.
    kept.append(text[at if depth == 0 or last_end is None else last_end :])
    outside = "".join(kept)
    if _THINK_LINE.search(outside):
        raise Unreadable("error: the thinking has no end")
    return outside


def _outside_channels(text: str) -> str:
    channels = list(_CHANNEL.finditer(text))
    if not channels:
        return text
    kept = [text[: channels[0].start()]]
    for channel in channels:
        end = _CHANNEL_END.search(text, channel.end())
        content = text[channel.end() : end.start() if end else len(text)]
        if channel[1] == "final":
            kept.append(content)
        elif channel[1] != "analysis":
            kept.append(channel[0] + content)
    if channels[-1][1] == "analysis":
        raise Unreadable("error: the thinking has no end")
    return "".join(kept)


def answer(text: str) -> str:
    """Return the text of a final answer, unless it is the placeholder of the prompt."""
    if text.strip() == ANSWER:
        raise Unreadable(f"error: write the answer itself in place of {ANSWER}")
    return text


def filled(call: Call) -> Call:
    """Return a call, unless a value is the placeholder of the prompt."""
    for name, value in call.arguments.items():
        if value == f"<{name}>":
            raise Unreadable(f"error: write the value of {name[:100]} in place of <{name[:100]}>")
    return call


def decode(text: str, at: int = 0) -> Decoded:
    """Parse the JSON value that starts at a position, after blanks; text after it is ignored."""
    try:
        value, end = _DECODER.raw_decode(text, _after_blanks(text, at))
    except json.JSONDecodeError as error:
        raise Malformed(f"error: bad JSON: {error.msg} at character {error.pos - at}") from None
    except ValueError as error:
        raise Malformed(f"error: bad JSON: {error}") from None
    except RecursionError:
        raise Malformed("error: bad JSON: nested too deeply") from None
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
        raise Malformed(f"error: the arguments of {name} must be a JSON object")
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
        raise Malformed("error: bad JSON: nested too deeply")
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
# A beginning counts at the start of a line only: elsewhere a text speaks of the tag.
_BEGIN = r"^[ \t]*(?:<(?:think|thinking|thought|seed:think)>|\[THINK\]|<\|START_THINKING\|>)"
_END = r"</(?:think|thinking|thought|seed:think)>|\[/THINK\]|<\|END_THINKING\|>"
_THINK = re.compile(f"{_BEGIN}|{_END}", re.MULTILINE)
_THINK_LINE = re.compile(_BEGIN, re.MULTILINE)
_CHANNEL = re.compile(
    r"<\|channel\|>\s{0,9}(\w{1,40})[^<>]{0,200}(?:<\|constrain\|>\s{0,9}\w{0,40}\s{0,9})?<\|message\|>"
)
_CHANNEL_END = re.compile(r"<\|(?:end|start|return|call|channel)\|>")
