"""What environments are built from: tools, actions of one call, the check of a call against its tool, and late keys."""

import functools
from collections.abc import Callable, Iterator, Mapping

from replication.collect.interfaces import Action
from replication.records import Call, Json, Tool

NUMBER: Json = {"type": "integer"}
MAX_TEXT = 200
"""Longest string that a tool takes."""
MAX_NUMBER = 10**6


def text(description: str) -> dict[str, Json]:
    """Describe a string parameter."""
    return {"type": "string", "description": description}


def tool(name: str, description: str, /, **properties: Json) -> Tool:
    """Make a tool all of whose parameters are required."""
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return Tool(name=name, description=description, parameters=schema)


def act(name: str, /, **arguments: Json) -> Action:
    """Make an action of one call."""
    return Action(calls=(Call(name=name, arguments=arguments),))


def validate_call(call: Call, tools: Mapping[str, Tool]) -> str | None:
    """Say why a call, hostile or not, cannot be run; None if name, parameters and types are right."""
    if not isinstance(call.name, str) or call.name not in tools:
        return f"error: no command {str(call.name)[:40]}"
    properties = tools[call.name].parameters["properties"]
    if not isinstance(call.arguments, Mapping) or call.arguments.keys() != properties.keys():
        return f"error: {call.name} takes {' '.join(properties) or 'nothing'}"
    for name, schema in properties.items():
        value = call.arguments[name]
        if schema["type"] == "integer":
            # type() and not isinstance(): True is an int too.
            fits = type(value) is int and abs(value) <= MAX_NUMBER
        else:
            fits = isinstance(value, str) and len(value) <= MAX_TEXT and "\n" not in value
        if not fits:
            return f"error: bad {name}"
    return None


class LazyMapping(Mapping[str, Json]):
    """A mapping that is made when it is first looked into: most answer keys never are."""

    def __init__(self, make: Callable[[], Mapping[str, Json]]):
        self._make = make

    @functools.cached_property
    def _made(self) -> Mapping[str, Json]:
        return self._make()

    def __getitem__(self, name: str) -> Json:
        return self._made[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._made)

    def __len__(self) -> int:
        return len(self._made)
