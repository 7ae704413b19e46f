"""Texts shared by the scaffolds for public checkpoints; `compact` has shorter ones."""

import json
from collections.abc import Iterable, Sequence

from replication.records import Call, Tool

TASK = "Do the task with the tools. Look things up instead of guessing, and change nothing that was not asked for."
REFUSALS = (
    "If a value that a tool needs is not given and cannot be looked up, give as final answer the word `missing` and "
    "the name of the parameter. If no tool fits a request, give as final answer `no tool`."
)


ANSWER = "<answer>"
"""Marks the place of the answer; a reply that copies it is malformed, like one that copies a value of `example`."""


def example(tools: Sequence[Tool]) -> Call:
    """Return a call that shows the format: of a tool with few parameters, with `<name>` in the place of each value."""
    tool = min(tools, key=lambda tool: abs(len(tool.parameters["properties"]) - 1))
    return Call(name=tool.name, arguments={name: f"<{name}>" for name in tool.parameters["properties"]})


def listing(tools: Iterable[Tool]) -> str:
    """Render tools as one JSON object a line, for scaffolds that do not use the chat template's tool slot."""
    return "\n".join(
        json.dumps({"name": t.name, "description": t.description, "parameters": t.parameters}, ensure_ascii=False)
        for t in tools
    )
