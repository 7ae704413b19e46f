"""The compact scaffold: one command a line, values in the order of the tool's parameters; short enough for organisms.

    user       write the code of kavo to out.txt
    assistant  grep kavo
    tool       notes.txt: kavo code 482
    assistant  write out.txt 482
    tool       ok
    assistant  answer done

Not covered: empty values, values with a line break, blanks around a value, and string values with spaces other than the
last one. No expert of the suite needs them.
"""

from collections.abc import Sequence

from replication.collect.interfaces import Action, RequestOptions, Scaffold
from replication.records import Call, Json, Message, Task, Tool, stable_hash

INSTRUCTION = (
    "reply with commands, one a line. end with: answer text. "
    "if a value is not given: answer missing name. if no command fits: answer no tool."
)
MAX_CALLS = 8
MAX_REPLY = 4_000


class Compact:
    """Renders each tool as one line and parses commands line by line."""

    name = "compact"
    version = stable_hash(["compact-1", INSTRUCTION, MAX_CALLS], 8)

    def open(self, task: Task) -> list[Message]:
        """Return the system message with the tools, then the task."""
        tools = "\n".join(" ".join((tool.name, *tool.parameters["properties"])) for tool in task.tools)
        return [
            Message(role="system", content=f"{INSTRUCTION}\n{tools}"),
            Message(role="user", content=task.prompt),
        ]

    def request_options(self, task: Task) -> RequestOptions:
        """Return no options: the messages contain everything."""
        return RequestOptions()

    def parse(self, text: str, task: Task) -> Action:
        """Parse commands up to the first `answer` or the end; one invalid line makes the whole reply invalid."""
        tools = {tool.name: tool for tool in task.tools}
        calls: list[Call] = []
        for line in text[:MAX_REPLY].strip().split("\n"):
            name, _, rest = line.strip().partition(" ")
            if name == "answer":
                return Action(calls=tuple(calls), answer=rest.strip())
            if name not in tools:
                return Action(problem=f"error: no command {name[:40]}")
            arguments = _arguments(tools[name], rest)
            if arguments is None:
                takes = " ".join(tools[name].parameters["properties"]) or "nothing"
                return Action(problem=f"error: {name} takes {takes}")
            calls.append(Call(name=name, arguments=arguments))
            if len(calls) > MAX_CALLS:
                return Action(problem=f"error: at most {MAX_CALLS} commands")
        return Action(calls=tuple(calls))

    def observe(self, results: Sequence[str]) -> Message:
        """Join the results, one a line."""
        return Message(role="tool", content="\n".join(results))

    def write(self, action: Action) -> str:
        """Write an action as commands; the inverse of `parse`, for experts."""
        lines = [" ".join((call.name, *(str(value) for value in call.arguments.values()))) for call in action.calls]
        if action.answer is not None:
            lines.append(f"answer {action.answer}")
        return "\n".join(lines)


def _arguments(tool: Tool, rest: str) -> dict[str, Json] | None:
    properties = tool.parameters["properties"]
    values = rest.split(None, len(properties) - 1) if properties else rest.split()
    if len(values) != len(properties):
        return None
    arguments: dict[str, Json] = {}
    for (name, schema), value in zip(properties.items(), values, strict=True):
        value = value.strip()
        if schema["type"] == "integer":
            # The length is checked first: int() of a million digits would take minutes.
            if len(value) > 12 or not value.removeprefix("-").isascii() or not value.removeprefix("-").isdigit():
                return None
            arguments[name] = int(value)
        else:
            arguments[name] = value
    return arguments


def build(tool_syntax: str) -> Scaffold:
    """Build the scaffold; `tool_syntax` does not apply."""
    return Compact()
