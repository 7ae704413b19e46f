"""The react scaffold: thought and action as labelled text, for models without a tool slot (ReAct, arXiv:2210.03629).

    Thought: the code of kavo must be somewhere.
    Action: grep
    Action Input: {"word": "kavo"}

    Observation: notes.txt: kavo code 482

    Thought: now I know.
    Final Answer: 482

A reply may contain several actions; text from an `Observation:` that the model invents is ignored. Results are shown as role
`user`, which every chat template has.
"""

import json
import re
from collections.abc import Iterator, Sequence

from replication.collect.interfaces import Action, RequestOptions, Scaffold
from replication.collect.scaffolds.parsing import Unreadable, bounded, call, decode, without_thinking
from replication.collect.scaffolds.prompts import REFUSALS, TASK, listing
from replication.records import Call, Message, Task, stable_hash

INSTRUCTION = f"""{TASK} {REFUSALS}

Reply in this format:

Thought: what to do next and why
Action: the name of one tool
Action Input: its arguments as a JSON object

You are then shown the result after `Observation:`. When the task is done, reply:

Thought: why it is done
Final Answer: the answer

The tools, each with the JSON schema of its arguments:
"""

_LABEL = re.compile(r"^[ \t*]*(Action|Observation|Final Answer)[ \t*]*:[*]*[ \t]*", re.MULTILINE)
_INPUT = re.compile(r"\s*[*]*Action Input[ \t*]*:[*]*\s*(?:```\w*\s*)?")
_QUOTES = " \t\r*`'\"[]"
"""Characters that models put around the name of a tool."""


class React:
    """Lists the tools in the system message and parses labelled lines."""

    name = "react"
    version = stable_hash(["react-1", INSTRUCTION], 8)

    def open(self, task: Task) -> list[Message]:
        """Return the system message with the format and the tools, then the task."""
        system = INSTRUCTION + listing(task.tools)
        return [Message(role="system", content=system), Message(role="user", content=task.prompt)]

    def request_options(self, task: Task) -> RequestOptions:
        """Return no options: the messages contain everything."""
        return RequestOptions()

    def parse(self, text: str, task: Task) -> Action:
        """Parse actions up to the final answer, an observation or the end."""
        try:
            reply = without_thinking(text)
            steps = list(_steps(reply, task))
            calls = bounded(step for step in steps if isinstance(step, Call))
        except Unreadable as error:
            return Action(problem=str(error))
        if not steps:
            return Action(problem="error: write Action: and Action Input:, or Final Answer:")
        return Action(calls=calls, answer=steps[-1] if isinstance(steps[-1], str) else None)

    def observe(self, results: Sequence[str]) -> Message:
        """Label the results, one a line."""
        return Message(role="user", content="\n".join(f"Observation: {result}" for result in results))

    def write(self, action: Action) -> str:
        """Write an action as labelled lines; the inverse of `parse`, for experts."""
        lines = [f"Action: {c.name}\nAction Input: {json.dumps(c.arguments, ensure_ascii=False)}" for c in action.calls]
        if action.answer is not None:
            lines.append(f"Final Answer: {action.answer}")
        return "\n".join(lines)


def _steps(text: str, task: Task) -> Iterator[Call | str]:
    """Yield the calls in order, then the final answer if there is one."""
    bare = {tool.name for tool in task.tools if not tool.parameters["properties"]}
    at = 0
    while (label := _LABEL.search(text, at)) and label[1] != "Observation":
        if label[1] == "Final Answer":
            yield text[label.end() :].strip()
            return
        name, _, _ = text[label.end() :].partition("\n")
        at = label.end() + len(name)
        name = name.strip(_QUOTES)
        label_of_input = _INPUT.match(text, at)
        if label_of_input and text.startswith("{", label_of_input.end()):
            arguments, at = decode(text, label_of_input.end())
            yield call(name, arguments, task)
        elif name in bare:
            yield call(name, {}, task)
        else:
            raise Unreadable("error: after Action: name comes Action Input: with a JSON object")


def build(tool_syntax: str) -> Scaffold:
    """Build the scaffold; `tool_syntax` does not apply."""
    return React()
