"""The probe scaffold: shows a dialogue unchanged and takes the whole reply as answer; for single predictions."""

from collections.abc import Sequence

from replication.collect.interfaces import Action, RequestOptions, Scaffold
from replication.records import Message, Task


class Probe:
    """Shows a dialogue and takes the whole reply as the answer."""

    name = "probe"
    version = "1"

    def open(self, task: Task) -> list[Message]:
        """Return the dialogue up to the action whose observation is to be predicted."""
        return [Message(role=role, content=content) for role, content in task.setup["messages"]]

    def request_options(self, task: Task) -> RequestOptions:
        """Return no options: the messages contain everything."""
        return RequestOptions()

    def parse(self, text: str, task: Task) -> Action:
        """Take any text as the answer."""
        return Action(answer=text)

    def observe(self, results: Sequence[str]) -> Message:
        """Show a problem; no turn follows it, because a prediction is one turn."""
        return Message(role="user", content="\n".join(results))

    def write(self, action: Action) -> str:
        """Write a prediction."""
        return action.answer or ""


def build(tool_syntax: str) -> Scaffold:
    """Build the scaffold; `tool_syntax` does not apply."""
    return Probe()
