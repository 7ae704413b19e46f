"""The probe scaffold: the messages of a dialogue as they are, and the reply as it is; for single predictions."""

from collections.abc import Sequence

from replication.collect.interfaces import Action, RequestOptions
from replication.records import Message, Task


class Probe:
    """Shows a dialogue and takes the whole reply as the answer."""

    name = "probe"
    version = "1"

    def open(self, task: Task) -> list[Message]:
        """Give the dialogue up to the action whose observation is wanted."""
        return [Message(role=role, content=content) for role, content in task.setup["messages"]]

    def slots(self, task: Task) -> RequestOptions:
        """Everything stands in the messages."""
        return RequestOptions()

    def parse(self, text: str, task: Task) -> Action:
        """Take any text."""
        return Action(answer=text)

    def observe(self, results: Sequence[str]) -> Message:
        """Show a problem; nothing follows it, because a prediction is one turn."""
        return Message(role="user", content="\n".join(results))

    def write(self, action: Action) -> str:
        """Write a prediction."""
        return action.answer or ""
