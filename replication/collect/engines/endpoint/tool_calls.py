"""Calls that a server has parsed, as text for scaffold native, and back to the fields of a message.

The text has the syntax `hermes`, whatever the model writes itself, so a model behind a server that parses keeps
`tool_syntax: hermes`. Results of several calls arrive in one message, between the tags of that syntax.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

from replication.records import Json, Message

_OPEN, _CLOSE = "<tool_call>\n", "\n</tool_call>"
_BETWEEN_RESULTS = "\n</tool_response>\n<tool_response>\n"


class Parted(NamedTuple):
    """A reply as the API has it."""

    content: str
    calls: list[dict[str, Json]]
    """`function` objects: name, and the arguments as a JSON text."""


def to_text(content: str, tool_calls: Json) -> str:
    """Write the calls of a reply after its content; ValueError if they are not in the form of the API.

    Arguments that are no JSON object, which the model got wrong, stay a text: the scaffold says what is wrong with it.
    """
    texts = []
    for call in tool_calls if isinstance(tool_calls, list) else [None]:
        match call:
            case {"function": {"name": str(name), "arguments": str(arguments)}}:
                written = json.dumps({"name": name, "arguments": _read(arguments)}, ensure_ascii=False)
                texts.append(f"{_OPEN}{written}{_CLOSE}")
            case _:
                raise ValueError("a tool call without name and arguments")
    return "\n".join([content, *texts] if content else texts)


def from_text(text: str) -> Parted:
    """Read a text that `to_text` wrote; any other is content without calls."""
    content, *blocks = text.split(_OPEN)
    calls = []
    for block in blocks:
        try:
            call = json.loads(block.partition(_CLOSE)[0])
            arguments = call["arguments"]
        except (ValueError, TypeError, KeyError):
            return Parted(text, [])
        written = arguments if isinstance(arguments, str) else json.dumps(arguments, ensure_ascii=False)
        calls.append({"name": call["name"], "arguments": written})
    return Parted(content.rstrip("\n") if calls else text, calls)


def to_messages(messages: Sequence[Message]) -> list[dict[str, Json]]:
    """Convert a conversation to messages of the API: each result answers the call that it belongs to."""
    converted: list[dict[str, Json]] = []
    ids: list[str] = []
    for turn, message in enumerate(messages):
        if message.role == "assistant":
            content, calls = from_text(message.content)
            ids = [f"call_{turn}_{at}" for at in range(len(calls))]
            fields: dict[str, Json] = {"role": "assistant", "content": content}
            if calls:
                fields["tool_calls"] = [
                    {"id": id_, "type": "function", "function": function} for id_, function in zip(ids, calls)
                ]
            converted.append(fields)
        elif message.role == "tool" and ids:
            results = message.content.split(_BETWEEN_RESULTS)
            if len(results) != len(ids):  # one problem for all calls, or a result that has the tags
                results = [message.content] * len(ids)
            converted += [{"role": "tool", "tool_call_id": id_, "content": r} for id_, r in zip(ids, results)]
        else:
            # A problem of a reply without calls: the API allows results of calls only.
            converted.append({"role": "user" if message.role == "tool" else message.role, "content": message.content})
    return converted


def _read(arguments: str) -> Json:
    try:
        value = json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments
    return value if isinstance(value, dict) else arguments
