"""The react scaffold: thought and action as labelled text, for models without a tool slot (ReAct, arXiv:2210.03629).

    Thought: the code of kavo must be somewhere.
    Action: grep
    Action Input: {"word": "kavo"}

    Observation: notes.txt: kavo code 482

    Thought: now I know.
    Final Answer: 482

A reply ends before an `Observation:`, which the model would only invent, by stop strings and by the parser. It may contain
several actions. The first label decides what it is: an answer after an action was given without the action's result and is
ignored, so that the result is shown; an action after an answer is ignored too. Results are shown as role `user`, which every
chat template has.

Models write the labels as headings, in bold, in other cases and with numbers; a tool with brackets or arguments behind its
name; the arguments in a fence or without their label; and `Answer:`, which is the final answer only where no other label is.
Markup around an answer is removed, and nothing inside it.
"""

import itertools
import json
import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from replication.collect.interfaces import Action, RequestOptions, Scaffold
from replication.collect.scaffolds.near import python_arguments
from replication.collect.scaffolds.parsing import (
    MAX_CALLS,
    PARSER,
    Unreadable,
    answer,
    bounded,
    call,
    decode,
    filled,
    without_thinking,
)
from replication.collect.scaffolds.prompts import ANSWER, REFUSALS, TASK, example, listing
from replication.records import Call, Message, Task, stable_hash

TOOLS = f"""{TASK} {REFUSALS}

The tools, each with the JSON schema of its arguments:
"""
# Behind the tools, because small models forget what stands before a long list; the action last, because they copy the end.
FORMAT = f"""

When the task is done, reply in this format:

Thought: <thought>
Final Answer: {ANSWER}

Before that, use tools. Reply in this format, and you are shown the result after `Observation:`.

Thought: <thought>
"""
STOP = ("\nObservation:", "\n**Observation", "\n### Observation")
"""No call contains them: in its JSON a line break is written as two characters."""

_MARKS = r"[*_`]{0,3}"
_LABEL = re.compile(
    rf"^[ \t>#-]{{0,9}}(?P<mark>{_MARKS})[ \t]{{0,9}}"
    r"(?P<name>thought|action[ _]input|action|observation|final answer|answer)(?:[ \t]{0,3}\d{1,3})?[ \t]{0,9}"
    rf"(?P<closed>{_MARKS})[ \t]{{0,9}}(?:(?P<colon>[:：])(?P<after>{_MARKS})|$)",
    re.MULTILINE | re.IGNORECASE,
)
_INPUT = re.compile(
    rf"\s*(?P<label>[ \t>#*_`-]{{0,9}}action[ _]input[ \t]{{0,3}}\d{{0,3}}[ \t*_`]{{0,9}}[:：]{_MARKS}\s*)?(?:```\w*\s*|`)?",
    re.IGNORECASE,
)
_OPENED = re.compile(r"[({]")
_FENCED = re.compile(r"```\w*\n(?P<text>(?:[^`]|`(?!``))*)\n```")
_WRAPPED = re.compile(r"(\*\*|`)(?P<text>[^*`\n]+)\1")
_AROUND = " \t\r*`'\"[].:"
"""Characters that models put around the name of a tool."""


class _Step(NamedTuple):
    call: Call
    end: int


class React:
    """Lists the tools in the system message and parses labelled lines."""

    name = "react"
    version = stable_hash(["react-2", PARSER, TOOLS, FORMAT, STOP], 8)

    def open(self, task: Task) -> list[Message]:
        """Return the system message with the tools and the format, then the task."""
        system = TOOLS + listing(task.tools) + FORMAT + _form(task)
        return [Message(role="system", content=system), Message(role="user", content=task.prompt)]

    def request_options(self, task: Task) -> RequestOptions:
        """Return the texts that end a reply; the messages contain the tools."""
        return RequestOptions(stop=STOP)

    def parse(self, text: str, task: Task) -> Action:
        """Parse actions, or the final answer, up to an observation or the end."""
        try:
            reply = without_thinking(text)
            steps = list(itertools.islice(_steps(reply, task), MAX_CALLS + 1))
            calls = bounded(filled(step) for step in steps if isinstance(step, Call))
        except Unreadable as error:
            return Action(problem=str(error))
        match steps:
            case [Call(), *_]:
                return Action(calls=calls)
            case [str(final)]:
                return Action(answer=final)
        return Action(problem=f"error: write Action: and Action Input:, or Final Answer:, as in\n{_form(task)}"[:500])

    def observe(self, results: Sequence[str]) -> Message:
        """Label the results, one a line."""
        return Message(role="user", content="\n".join(f"Observation: {result}" for result in results))

    def write(self, action: Action) -> str:
        """Write an action as labelled lines: calls or an answer, never both."""
        if action.answer is not None:
            return f"Final Answer: {action.answer}"
        return "\n".join(_written(one) for one in action.calls)


def _written(one: Call) -> str:
    return f"Action: {one.name}\nAction Input: {json.dumps(one.arguments, ensure_ascii=False)}"


def _form(task: Task) -> str:
    return _written(example(task.tools)) if task.tools else f"Final Answer: {ANSWER}"


def _steps(text: str, task: Task) -> Iterator[Call | str]:
    """Yield the calls in order up to a final answer, or that answer."""
    at, n_steps = 0, 0
    plain: re.Match[str] | None = None
    while label := _LABEL.search(text, at):
        at, name = label.end(), label["name"].lower()
        if name == "final answer":
            yield _answer(text, label, task)
            return
        if not label["colon"]:
            continue
        if name == "observation":
            break
        if name == "action":
            step = _action(text, at, task)
            yield step.call
            at, n_steps = step.end, n_steps + 1
        elif name == "answer" and plain is None:
            plain = label
    if plain and not n_steps:
        yield _answer(text, plain, task)


def _action(text: str, at: int, task: Task) -> _Step:
    """Read the name of a tool on the rest of the line, and its arguments there or after it."""
    tools = {tool.name: tool for tool in task.tools}
    line = _line(text, at)
    name, end = _name(line), at + len(line)
    if name not in tools:
        call(line.strip(_AROUND), {}, task)  # raises, with the names that there are
    opened = _OPENED.search(line)
    if opened and opened[0] == "{":
        return _read_input(text, at + opened.start(), name, task)
    if opened and (read := python_arguments(text, at + opened.end(), tools[name])) and read.value:
        return _Step(call(name, read.value, task), read.end)
    start = _INPUT.match(text, end)
    assert start is not None, "the pattern matches the empty text"
    if text.startswith("{", start.end()):
        return _read_input(text, start.end(), name, task)
    if tools[name].parameters["properties"]:
        raise Unreadable("error: after Action: name comes Action Input: with a JSON object")
    return _Step(call(name, {}, task), end)


def _line(text: str, at: int) -> str:
    end = text.find("\n", at)
    return text[at : end if end >= 0 else len(text)]


def _name(line: str) -> str:
    return _OPENED.split(line, maxsplit=1)[0].strip(_AROUND)


def _read_input(text: str, at: int, name: str, task: Task) -> _Step:
    arguments, end = decode(text, at)
    return _Step(call(name, arguments, task), end)


def _answer(text: str, label: re.Match[str], task: Task) -> str:
    """Return what follows a label up to the next one, without the markup around it."""
    start, mark = label.end(), label["mark"]
    if label["after"] and not (mark and not label["closed"]) and text[start : start + 1].strip():
        start, mark = label.start("after"), ""
    content = text[start : _end_of_answer(text, start, task)].strip()
    if mark and not label["closed"] and not label["after"]:
        # **Final Answer: 482** closes its mark behind the answer.
        first, line_break, rest = content.partition("\n")
        if first.rstrip().endswith(mark):
            content = first.rstrip().removesuffix(mark) + line_break + rest
        else:
            content = content.removesuffix(mark)
    for around in (_FENCED, _WRAPPED):
        if found := around.fullmatch(content.strip()):
            content = found["text"]
    if not content.strip():
        raise Unreadable("error: the final answer is empty")
    return answer(content.strip())


def _end_of_answer(text: str, at: int, task: Task) -> int:
    # `Action: ...` may be part of an answer, unless it names a tool.
    names = {tool.name for tool in task.tools}
    while label := _LABEL.search(text, at):
        at, name = label.end(), label["name"].lower()
        is_action = name == "action" and _name(_line(text, at)) in names
        if label["colon"] and (name in ("thought", "observation", "final answer") or is_action):
            return label.start()
    return len(text)


def build(tool_syntax: str) -> Scaffold:
    """Build the scaffold; `tool_syntax` does not apply."""
    return React()
