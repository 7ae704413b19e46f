"""The native scaffold: tools in the chat template's tool slot, calls in the syntax of the model's family.

    hermes       <tool_call>{"name": "grep", "arguments": {"word": "kavo"}}</tool_call>         Hermes, Qwen2.5, Qwen3
    qwen3_coder  <tool_call><function=grep><parameter=word>kavo</parameter></function></tool_call>   Qwen3-Coder, Qwen3.5
    llama3       {"name": "grep", "parameters": {"word": "kavo"}}; {"name": ...}                Llama 3.1 to 3.3
    xlam         [{"name": "grep", "arguments": {"word": "kavo"}}, {"name": ...}]               xLAM-2, Hammer
    pythonic     [grep(word="kavo"), ls()]                                                      ToolACE, watt-tool

A message without a call is the final answer. A call of one of the task's tools in another syntax is malformed and no answer:
the model is told the right syntax. Its own messages are shown to it unchanged, and results as role `tool`. Calls inside the
thinking are not executed.
"""

import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from replication.collect.interfaces import Action, RequestOptions, Scaffold
from replication.collect.scaffolds.near import attempted
from replication.collect.scaffolds.parsing import PARSER, Malformed, Unreadable, bounded, call, decode, without_thinking
from replication.collect.scaffolds.prompts import REFUSALS, TASK
from replication.collect.scaffolds.python_calls import read_calls
from replication.errors import ConfigError
from replication.records import Call, Json, Message, Task, stable_hash

INSTRUCTION = f"{TASK} When it is done, reply without a tool call: that reply is the final answer. {REFUSALS}"


@dataclass(frozen=True, kw_only=True)
class Syntax:
    """The syntax in which a family of models writes calls."""

    read: Callable[[str, Task], Iterator[Call]]
    write: Callable[[Sequence[Call]], str]
    form: str
    """How a call is written, for a model that wrote it otherwise."""
    between: str
    """Separator of the results of one turn; for Qwen that of its template between two tool messages."""


class Native:
    """Leaves the rendering of tools to the chat template and parses calls in one syntax."""

    name = "native"

    def __init__(self, syntax: str = "hermes"):
        if syntax not in SYNTAXES:
            raise ConfigError(f"`tool_syntax` {syntax!r} is unknown; allowed: {', '.join(SYNTAXES)}.")
        self._syntax = SYNTAXES[syntax]
        self.version = stable_hash(["native-2", PARSER, syntax, INSTRUCTION, self._syntax.form], 8)

    def open(self, task: Task) -> list[Message]:
        """Return the system message, to which the template adds the tools, then the task."""
        return [Message(role="system", content=INSTRUCTION), Message(role="user", content=task.prompt)]

    def request_options(self, task: Task) -> RequestOptions:
        """Return the tools, for the template."""
        return RequestOptions(tools=task.tools)

    def parse(self, text: str, task: Task) -> Action:
        """Parse the calls; without any, the message is the answer."""
        try:
            reply = without_thinking(text)
            calls = bounded(self._syntax.read(reply, task))
        except Malformed as error:
            return Action(problem=f"{error}; a call is {self._syntax.form.replace('NAME', '<tool>')}"[:400])
        except Unreadable as error:
            return Action(problem=str(error))
        if calls:
            return Action(calls=calls)
        if name := attempted(reply, task):
            form = self._syntax.form.replace("NAME", name)
            return Action(problem=f"error: not a call; to use {name}, reply {form}"[:400])
        return Action(answer=reply) if reply else Action(problem="error: the reply is empty")

    def observe(self, results: Sequence[str]) -> Message:
        """Join the results with the separator of the syntax."""
        return Message(role="tool", content=self._syntax.between.join(results))

    def write(self, action: Action) -> str:
        """Write an action: calls in the syntax, or an answer, never both."""
        return self._syntax.write(action.calls) if action.answer is None else action.answer


# --- Hermes ----------------------------------------------------------------------------------------------------------

_OPEN = "<tool_call>"


def _read_hermes(text: str, task: Task) -> Iterator[Call]:
    # The end tag is not searched for: a string of the call may contain it, and the reply may end without it.
    at = text.find(_OPEN)
    while at >= 0:
        value, end = decode(text, at + len(_OPEN))
        yield _from_object(value, task)
        at = text.find(_OPEN, end)


def _write_hermes(calls: Sequence[Call]) -> str:
    return "\n".join(f"<tool_call>\n{_json({'name': c.name, 'arguments': c.arguments})}\n</tool_call>" for c in calls)


# --- Qwen3-Coder -----------------------------------------------------------------------------------------------------

# Names are short and without brackets; else a reply full of opening tags would be searched to its end for each of them.
_FUNCTION = re.compile(r"<function=([^<>\n]{1,200})>(.*?)(?:</function>|(?=<function=)|\Z)", re.DOTALL)
_PARAMETER = re.compile(r"<parameter=([^<>\n]{1,200})>(.*?)(?:</parameter>|(?=<parameter=)|\Z)", re.DOTALL)


def _read_qwen3_coder(text: str, task: Task) -> Iterator[Call]:
    tools = {tool.name: tool for tool in task.tools}
    n_read = 0
    for function in _FUNCTION.finditer(text):
        n_read += 1
        name = function[1].strip()
        schemas = tools[name].parameters["properties"] if name in tools else {}
        arguments = {
            parameter[1].strip(): _typed(parameter[2], schemas.get(parameter[1].strip(), {}))
            for parameter in _PARAMETER.finditer(function[2])
        }
        yield call(name, arguments, task)
    if not n_read and _OPEN in text:
        raise Malformed("error: no <function=name> after <tool_call>")


def _typed(text: str, schema: Json) -> Json:
    # The template puts a line break before and after each value; more of them belong to the value.
    text = text.removeprefix("\n").removesuffix("\n")
    # Every value is text in this syntax: unless its schema is of a string it is decoded as JSON, or stays text if it is not.
    if schema.get("type", "string") == "string":
        return text
    try:
        value, end = decode(text)
    except Unreadable:
        return text
    return text if text[end:].strip() else value


def _write_qwen3_coder(calls: Sequence[Call]) -> str:
    def one(c: Call) -> str:
        values = {k: v if isinstance(v, str) else _json(v) for k, v in c.arguments.items()}
        parameters = "".join(f"<parameter={k}>\n{v}\n</parameter>\n" for k, v in values.items())
        return f"<tool_call>\n<function={c.name}>\n{parameters}</function>\n</tool_call>"

    return "\n".join(one(c) for c in calls)


# --- Llama 3 ---------------------------------------------------------------------------------------------------------

_TAG = "<|python_tag|>"
_START = re.compile(r'\{\s*"(?:type|name|parameters|arguments)"\s*:')


def _read_llama3(text: str, task: Task) -> Iterator[Call]:
    at, n_read = 0, 0
    while start := _START.search(text, at):
        try:
            value, at = decode(text, start.start())
        except Unreadable:
            if n_read or _TAG in text or not start.start():
                raise
            break  # an object inside a text that is no JSON is code, unless it names a tool: see `attempted`
        # A row of a table may have a name too: only an object with arguments is a call.
        if "parameters" in value or "arguments" in value:
            n_read += 1
            yield _from_object(value, task)
    if not n_read and _TAG in text:
        raise Malformed(f"error: no JSON object with name and parameters after {_TAG}")


def _write_llama3(calls: Sequence[Call]) -> str:
    return "; ".join(_json({"name": c.name, "parameters": c.arguments}) for c in calls)


# --- xLAM, whose list of objects the reader of Llama 3 takes one by one -----------------------------------------------


def _write_xlam(calls: Sequence[Call]) -> str:
    return _json([{"name": c.name, "arguments": c.arguments} for c in calls])


# --- Python's call syntax --------------------------------------------------------------------------------------------

_LIST = re.compile(r"\[\s{0,9}([A-Za-z_]\w{0,99})\s{0,9}\(")


def _read_pythonic(text: str, task: Task) -> Iterator[Call]:
    tools = {tool.name for tool in task.tools}
    # A list of another name is a call only where it is the whole reply; elsewhere it is code in an answer.
    whole = text.endswith("]") and _LIST.match(text)
    start = next((found for found in _LIST.finditer(text) if found[1] in tools), whole)
    if not start:
        return
    for name, arguments in read_calls(text[start.start() : text.rfind("]") + 1]):
        yield call(name, arguments, task)


def _write_pythonic(calls: Sequence[Call]) -> str:
    return f"[{', '.join(f'{c.name}({_keywords(c)})' for c in calls)}]"


def _keywords(one: Call) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in one.arguments.items())


# ---------------------------------------------------------------------------------------------------------------------


def _from_object(value: Json, task: Task) -> Call:
    if not isinstance(value, dict):
        raise Malformed("error: a call must be a JSON object with name and arguments")
    # Families use different keys, and models that were trained on both confuse them.
    return call(value.get("name"), value.get("arguments", value.get("parameters", {})), task)


def _json(value: Json) -> str:
    return json.dumps(value, ensure_ascii=False)


_BETWEEN_RESPONSES = "\n</tool_response>\n<tool_response>\n"

SYNTAXES = {
    "hermes": Syntax(
        read=_read_hermes, write=_write_hermes, between=_BETWEEN_RESPONSES,
        form='<tool_call>{"name": "NAME", "arguments": {...}}</tool_call>',
    ),
    "qwen3_coder": Syntax(
        read=_read_qwen3_coder, write=_write_qwen3_coder, between=_BETWEEN_RESPONSES,
        form="<tool_call><function=NAME><parameter=...>...</parameter></function></tool_call>",
    ),
    "llama3": Syntax(
        read=_read_llama3, write=_write_llama3, between="\n", form='{"name": "NAME", "parameters": {...}}',
    ),
    "xlam": Syntax(
        read=_read_llama3, write=_write_xlam, between="\n", form='[{"name": "NAME", "arguments": {...}}]',
    ),
    "pythonic": Syntax(read=_read_pythonic, write=_write_pythonic, between="\n", form="[NAME(argument=...)]"),
}  # fmt: skip


def build(tool_syntax: str) -> Scaffold:
    """Build the scaffold."""
    return Native(tool_syntax)
