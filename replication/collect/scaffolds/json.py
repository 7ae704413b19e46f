"""The json scaffold: each reply is one JSON object, and a schema constrains its decoding.

    {"tool": "grep", "arguments": {"word": "kavo"}}
    {"calls": [{"tool": "grep", "arguments": {"word": "kavo"}}, {"tool": "ls", "arguments": {}}]}
    {"answer": "482"}

An engine that constrains decoding lets the model write only names of tools and well-formed arguments; the parser does not
rely on it. Results are shown as role `user`, which every chat template has.
"""

import json
import re
from collections.abc import Sequence

from replication.collect.interfaces import Action, RequestOptions, Scaffold
from replication.collect.scaffolds.parsing import (
    MAX_CALLS,
    PARSER,
    Unreadable,
    answer,
    bounded,
    call,
    decode,
    without_thinking,
)
from replication.collect.scaffolds.prompts import ANSWER, REFUSALS, TASK, listing
from replication.records import Call, Json, Message, Task, stable_hash

TOOLS = f"""{TASK} {REFUSALS}

The tools, each with the JSON schema of its arguments:
"""
# Behind the tools, because small models forget what stands before a long list; a call last, because they copy the end.
# No example with a tool of the task: decoding that is held to the schema would be drawn to its placeholders.
FORMAT = f"""

Each reply is one JSON object and nothing else. When the task is done: {{"answer": "{ANSWER}"}}
Before that, use several tools at once: {{"calls": [{{"tool": "<tool>", "arguments": {{...}}}}, ...]}}
or one: {{"tool": "<tool>", "arguments": {{"<parameter>": <value>}}}}"""

NOTHING_ELSE = "error: bad JSON: write one JSON object and nothing else"

_FENCE = re.compile(r"```\w*\s(.*?)(?:```)?", re.DOTALL)


class JsonObjects:
    """Lists the tools in the system message and parses one object per reply."""

    name = "json"
    version = stable_hash(["json-2", PARSER, TOOLS, FORMAT, MAX_CALLS], 8)

    def open(self, task: Task) -> list[Message]:
        """Return the system message with the tools and the format, then the task."""
        system = TOOLS + listing(task.tools) + FORMAT
        return [Message(role="system", content=system), Message(role="user", content=task.prompt)]

    def request_options(self, task: Task) -> RequestOptions:
        """Return the schema of a call of one of the tools, several calls, or an answer."""
        one = [_object(tool={"type": "string", "enum": [tool.name]}, arguments=tool.parameters) for tool in task.tools]
        answer = _object(answer={"type": "string"})
        if not one:
            return RequestOptions(schema=answer)
        several = _object(calls={"type": "array", "items": {"anyOf": one}, "minItems": 2, "maxItems": MAX_CALLS})
        return RequestOptions(schema={"anyOf": [*one, several, answer]})

    def parse(self, text: str, task: Task) -> Action:
        """Parse the object; a code fence around it is allowed, closed or not; other text is not, before or after."""
        try:
            reply = without_thinking(text)
            if fenced := _FENCE.fullmatch(reply):
                reply = fenced[1]
            if reply and not reply.lstrip().startswith(("{", "[")):
                raise Unreadable(NOTHING_ELSE)
            value, end = decode(reply)
            if reply[end:].strip():
                raise Unreadable(NOTHING_ELSE)
            return _action(value, task)
        except Unreadable as error:
            return Action(problem=str(error))

    def observe(self, results: Sequence[str]) -> Message:
        """Label the results, one a line."""
        return Message(role="user", content="\n".join(f"result: {result}" for result in results))

    def write(self, action: Action) -> str:
        """Write an action as one object: calls or an answer, never both."""
        if action.answer is not None:
            return _written({"answer": action.answer})
        calls = [{"tool": c.name, "arguments": c.arguments} for c in action.calls]
        return _written(calls[0] if len(calls) == 1 else {"calls": calls})


def _action(value: Json, task: Task) -> Action:
    match value:
        case {"answer": str(text)} if len(value) == 1:
            return Action(answer=answer(text))
        case {"calls": [_, *_] as several} if len(value) == 1:
            return Action(calls=bounded(_call(one, task) for one in several))
        case {"tool": _}:
            return Action(calls=(_call(value, task),))
    raise Unreadable("error: write an object with tool and arguments, with calls, or with answer")


def _call(value: Json, task: Task) -> Call:
    match value:
        case {"tool": name, **rest} if rest.keys() <= {"arguments"}:
            return call(name, rest.get("arguments", {}), task)
    raise Unreadable("error: a call must be an object with tool and arguments")


def _written(value: Json) -> str:
    # Without blanks, like the engine's grammar (conf/engine).
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def _object(**properties: Json) -> dict[str, Json]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def build(tool_syntax: str) -> Scaffold:
    """Build the scaffold; `tool_syntax` does not apply."""
    return JsonObjects()
