"""The react scaffold: thought and action as labelled text, for models without a tool slot (ReAct, arXiv:2210.03629).

    Thought: the code of kavo must be somewhere.
    Action: grep
    Action Input: {"word": "kavo"}

    Observation: notes.txt: kavo code 482

    Thought: now I know.
    Final Answer: 482

Several actions may stand in one reply; what the model invents from `Observation:` on is not read. Results are shown as
role `user`, which every chat template has.
"""

import json
import re
from collections.abc import Iterator, Sequence

from replication.collect.interfaces import Action, RequestOptions
from replication.collect.scaffolds.parsing import Unreadable, bounded, call, decode, said
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
"""What models put around the name of a tool."""


class React:
    """Lists the tools in the system message and reads labelled lines."""

    name = "react"
    version = stable_hash(["react-1", INSTRUCTION], 8)

    def open(self, task: Task) -> list[Message]:
        """Write the system message with the format and the tools, then the task."""
        system = INSTRUCTION + listing(task.tools)
        return [Message(role="system", content=system), Message(role="user", content=task.prompt)]

    def slots(self, task: Task) -> RequestOptions:
        """Everything stands in the messages."""
        return RequestOptions()

    def parse(self, text: str, task: Task) -> Action:
        """Read actions until the final answer, an observation or the end."""
        try:
            reply = said(text)
            steps = list(_steps(reply, task))
            calls = bounded(step for step in steps if isinstance(step, Call))
        except Unreadable as error:
            return Action(problem=str(error))
        if not steps:
            return Action(problem="error: write Action: and Action Input:, or Final Answer:")
        return Action(calls=calls, answer=steps[-1] if isinstance(steps[-1], str) else None)

    def observe(self, results: Sequence[str]) -> Message:
        """Show each result after its label."""
        return Message(role="user", content="\n".join(f"Observation: {result}" for result in results))

    def write(self, action: Action) -> str:
        """Write an action as this scaffold's model would; the inverse of `parse`, for experts."""
        lines = [f"Action: {c.name}\nAction Input: {json.dumps(c.arguments, ensure_ascii=False)}" for c in action.calls]
        if action.answer is not None:
            lines.append(f"Final Answer: {action.answer}")
        return "\n".join(lines)


def _steps(text: str, task: Task) -> Iterator[Call | str]:
    """Find the calls, in order, and the final answer as last item if there is one."""
    bare = {tool.name for tool in task.tools if not tool.parameters["properties"]}
    at = 0
    while (label := _LABEL.search(text, at)) and label[1] != "Observation":
        if label[1] == "Final Answer":
            yield text[label.end() :].strip()
            return
        name, _, _ = text[label.end() :].partition("\n")
        at = label.end() + len(name)
        name = name.strip(_QUOTES)
        given = _INPUT.match(text, at)
        if given and text.startswith("{", given.end()):
            arguments, at = decode(text, given.end())
            yield call(name, arguments, task)
        elif name in bare:
            yield call(name, {}, task)
        else:
            raise Unreadable("error: after Action: name comes Action Input: with a JSON object")
