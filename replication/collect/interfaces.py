"""What the parts of the collect half look like to each other, as typing.Protocol."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from replication.records import Call, Episode, Json, Message, Reply, Request, Score, Task, Tool


@dataclass(frozen=True, kw_only=True)
class Action:
    """What a scaffold read in a reply: calls, a final answer, or neither."""

    calls: tuple[Call, ...] = ()
    answer: str | None = None
    problem: str | None = None
    """Why the reply is no usable action; told to the model."""


@dataclass(frozen=True, kw_only=True)
class RequestOptions:
    """What a scaffold asks of the engine besides the messages."""

    tools: tuple[Tool, ...] = ()
    """For the chat template's tool slot."""
    schema: Mapping[str, Json] | None = None
    """JSON schema that every reply is held to."""


@dataclass(frozen=True, kw_only=True)
class ModelRef:
    """Where a checkpoint is and how its identity is written."""

    name: str
    path: str
    """Local folder, or hub id."""
    revision: str
    architecture: str
    """Equal strings can share one engine by swapping weights."""


class Engine(Protocol):
    """Turns requests into text; safe to call from many coroutines at once."""

    async def generate(self, request: Request) -> Reply:
        """Answer one turn. Raises EngineError when the engine, not the model, failed."""

    def load(self, model: ModelRef) -> None:
        """Serve this checkpoint from now on; nothing may be in flight."""

    def describe(self) -> Mapping[str, Json]:
        """Name, version and resolved settings, for the manifest."""

    def close(self) -> None:
        """Release memory and threads."""


class Environment(Protocol):
    """The state of one task while it is being attempted."""

    def step(self, call: Call) -> str:
        """Run one call, hostile or not, and return what the model sees. Never raises on bad input."""


class Grader(Protocol):
    """Turns an episode into a score without a model."""

    grader: str

    def grade(self, task: Task, episode: Episode) -> Score:
        """Score the attempt; value None when it cannot be scored."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The tasks of a benchmark that are played."""

    split: str
    n_tasks: int
    seed: int
    """Of benchmarks whose tasks are generated or sampled."""
    levels: tuple[int, ...] = ()
    """Difficulties to spread the tasks over, for benchmarks that have them; one listed twice gets two shares."""


class Benchmark(Grader, Protocol):
    """A named, versioned set of tasks."""

    name: str
    version: str

    def tasks(self, selection: Selection) -> list[Task]:
        """Return the selected tasks, none twice, in a fixed order."""

    def start(self, task: Task) -> Environment:
        """Put up a fresh environment for one attempt."""


class Scaffold(Protocol):
    """Prompts, tool rendering and parser around a model."""

    name: str
    version: str
    """Changes whenever a prompt or the parser changes."""

    def open(self, task: Task) -> list[Message]:
        """Write the first messages."""

    def slots(self, task: Task) -> RequestOptions:
        """Say what every request of an episode carries besides its messages."""

    def parse(self, text: str, task: Task) -> Action:
        """Read a reply; total on any text."""

    def observe(self, results: Sequence[str]) -> Message:
        """Show the results of the calls of one turn, or a problem."""

    def write(self, action: Action) -> str:
        """Write an action as this scaffold's model would; the inverse of `parse`, for experts."""
