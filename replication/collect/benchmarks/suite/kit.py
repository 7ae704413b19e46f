"""Building blocks of environments: tools, actions of one call, validation of calls, and mappings computed on first use."""

import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

from replication.collect.interfaces import Action
from replication.records import Call, Json, Tool

NUMBER: Json = {"type": "integer"}


def text(description: str) -> dict[str, Json]:
    """Describe a string parameter."""
    return {"type": "string", "description": description}


def tool(name: str, description: str, /, **properties: Json) -> Tool:
    """Create a tool all of whose parameters are required."""
    schema = {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}
    return Tool(name=name, description=description, parameters=schema)


def by_name(tools: tuple[Tool, ...]) -> dict[str, Tool]:
    """Index tools by their names."""
    return {tool.name: tool for tool in tools}


def act(name: str, /, **arguments: Json) -> Action:
    """Create an action of one call."""
    return Action(calls=(Call(name=name, arguments=arguments),))


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Values that the tools of an environment accept."""

    max_text: int = 200
    """Longest string."""
    max_number: int = 10**6
    """Largest absolute value of an integer."""
    multiline: bool = False
    """Whether a string may contain line breaks."""
    enums: bool = False
    """Whether values outside an `enum` are rejected here; else by the environment itself."""


class Mismatch(NamedTuple):
    """The first difference between a call and the tools."""

    kind: Literal["name", "parameters", "value"]
    """Unknown tool, wrong set of parameters, or a value of the wrong type or size."""
    parameter: str = ""
    """The parameter of a wrong value."""


LIMITS = Limits()


def mismatch(call: Call, tools: Mapping[str, Tool], limits: Limits = LIMITS) -> Mismatch | None:
    """Compare a call, which is untrusted, with the tools; None if name, parameters, types and sizes are right."""
    if not isinstance(call.name, str) or call.name not in tools:
        return Mismatch("name")
    properties = tools[call.name].parameters["properties"]
    if not isinstance(call.arguments, Mapping) or call.arguments.keys() != properties.keys():
        return Mismatch("parameters")
    for name, schema in properties.items():
        if not _accepted(call.arguments[name], schema, limits):
            return Mismatch("value", name)
    return None


def _accepted(value: Json, schema: Mapping[str, Json], limits: Limits) -> bool:
    if schema["type"] == "integer":
        # type() and not isinstance(): True is an int too.
        fits = type(value) is int and abs(value) <= limits.max_number
    else:
        fits = isinstance(value, str) and len(value) <= limits.max_text and (limits.multiline or "\n" not in value)
    return fits and (not limits.enums or "enum" not in schema or value in schema["enum"])


def validate_call(call: Call, tools: Mapping[str, Tool]) -> str | None:
    """Return the error text for a call that the tools do not accept, None for a valid call."""
    problem = mismatch(call, tools)
    if problem is None:
        return None
    if problem.kind == "name":
        return f"error: no command {str(call.name)[:40]}"
    if problem.kind == "parameters":
        return f"error: {usage(tools[call.name])}"
    return f"error: bad {problem.parameter}"


def usage(tool: Tool) -> str:
    """Return the reminder of a tool's parameters in error texts."""
    return f"{tool.name} takes {' '.join(tool.parameters['properties']) or 'nothing'}"


class LazyMapping(Mapping[str, Json]):
    """A mapping computed on first access; most answer keys are never read."""

    def __init__(self, compute: Callable[[], Mapping[str, Json]]):
        self._compute = compute

    @functools.cached_property
    def _content(self) -> Mapping[str, Json]:
        return self._compute()

    def __getitem__(self, name: str) -> Json:
        return self._content[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._content)

    def __len__(self) -> int:
        return len(self._content)
