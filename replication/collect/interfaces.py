"""Interfaces between the components of the collect half: protocols, and the small records that cross them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Generic, Protocol, TypeVar, runtime_checkable

from replication.records import (
    Call,
    Episode,
    Json,
    Message,
    Reply,
    Request,
    RunSpec,
    Score,
    StopReason,
    Task,
    Tool,
)

Options = TypeVar("Options")


@dataclass(frozen=True, kw_only=True)
class Action:
    """A parsed reply: calls, a final answer, both, or a problem."""

    calls: tuple[Call, ...] = ()
    answer: str | None = None
    problem: str | None = None
    """Reason why the reply cannot be used; shown to the model."""


@dataclass(frozen=True, kw_only=True)
class RequestOptions:
    """The part of a request that is the same in every turn of an episode."""

    tools: tuple[Tool, ...] = ()
    """For the chat template's tool slot."""
    schema: Mapping[str, Json] | None = None
    """JSON schema that constrains every reply; None leaves replies free."""
    stop: tuple[str, ...] = ()
    """Texts before which every reply ends; they are not part of it."""


@dataclass(frozen=True, kw_only=True)
class ModelRef:
    """Location and identity of a checkpoint."""

    name: str
    path: str
    """Local folder, or hub id."""
    revision: str
    """Hub commit, hash of a folder's files, or SHA-256 of an organism's weights."""
    files_sha256: str | None = None
    """Hash of all files of a folder that can change its text; an engine serves no others. None for a hub id, whose commit
    fixes them."""
    reasoning_parser: str | None = None
    """Reasoning parser of vLLM with the tags of the model's thinking; None if it does not think."""
    template_options: Mapping[str, Json] = field(default_factory=dict)
    """Variables of the chat template."""


class Engine(Protocol):
    """Turns requests into text; many coroutines may call `generate` at once."""

    async def generate(self, request: Request) -> Reply:
        """Generate the reply of one turn. Raises EngineError if the engine fails."""

    def n_prompt_tokens(self, request: Request) -> int:
        """Count the tokens of a request's prompt; nothing is generated."""

    def load(self, model: ModelRef) -> None:
        """Serve this checkpoint from now on; no request may be in flight."""

    def describe(self) -> Mapping[str, Json]:
        """Return name, version and resolved settings, for the manifest."""

    def close(self) -> None:
        """Release memory and threads."""


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where one of several engines on a machine runs."""

    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables of its process, such as the cards that it sees."""
    is_shared: bool = False
    """Whether another engine of the same command is on its cards."""


def anywhere(options: object, n: int) -> list[Place]:
    """Let `n` engines run side by side as they are."""
    return [Place()] * n


@dataclass(frozen=True, kw_only=True)
class EngineKind(Generic[Options]):
    """A kind of engine as a module of `engines` declares it under the name `KIND`."""

    options: type[Options]
    """Plain dataclass of the options that `engine.options` may set; an option without default is required, and one with the
    metadata `omit_default` enters the run_id only where it differs from its default."""
    speed_only: frozenset[str]
    """Options that change speed or memory and no text, nested ones as `option.key`; all others enter the run_id."""
    build: Callable[[str, int, Options], Engine]
    """(dtype, context, instance of `options`) -> engine; nothing is started before `load`."""
    place: Callable[[Options, int], Sequence[Place]] = anywhere
    """(instance of `options`, number of engines) -> place of each; ConfigError if they cannot run side by side here."""


class Environment(Protocol):
    """The state of one task while it is being attempted."""

    def step(self, call: Call) -> str:
        """Run one call and return the text that the model sees. Must not raise on invalid input."""


class Grader(Protocol):
    """Scores episodes without a model."""

    grader: str
    """Name and version."""

    def grade(self, task: Task, episode: Episode) -> Score:
        """Score the attempt; the value is None if it cannot be scored."""


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
        """Create a fresh environment for one attempt."""


class Scaffold(Protocol):
    """The prompts, tool rendering and parser around a model."""

    name: str
    version: str
    """Must change with every prompt and with the parser."""

    def open(self, task: Task) -> list[Message]:
        """Return the first messages of an episode."""

    def request_options(self, task: Task) -> RequestOptions:
        """Return the tools, the schema and the stop texts that every request of an episode carries."""

    def parse(self, text: str, task: Task) -> Action:
        """Parse a reply. Must accept any text."""

    def observe(self, results: Sequence[str]) -> Message:
        """Return the message that shows the results of the calls of one turn, or a problem."""

    def write(self, action: Action) -> str:
        """Write an action as a model would in this scaffold; the inverse of `parse`, for experts."""


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """An OpenAI-compatible server that holds the checkpoint of a run."""

    url: str
    """Base address, which ends in /v1."""
    served: str
    """Name of the checkpoint there."""
    api_key_env: str | None = None
    """Environment variable with the key; None if it needs none."""


@dataclass(frozen=True, kw_only=True)
class HarnessRun:
    """One run that an official harness collects by itself, in its own process and folder."""

    spec: RunSpec
    model: ModelRef
    folder: Path
    """Of this run alone: several harnesses reuse old results in their folder."""
    n_tasks: int
    """Items of the benchmark; the denominator of every score, however many of them the harness reports."""
    n_trials: int
    """Attempts per item."""
    endpoint: Endpoint | None = None
    """That the harness asks; None where results exist already."""


@dataclass(frozen=True, kw_only=True)
class ItemResult:
    """One attempt at one item as a harness reports it; a harness has no access to `run_id` and hashes."""

    task_id: str
    trial: int
    value: float | None
    """In [0, 1]; None if no score could be assigned, for example because the server was down: never 0."""
    stop_reason: StopReason
    error: str | None = None
    n_turns: int = 0
    n_prompt_tokens: int = 0
    """0 if the harness does not report it, as for all counts and times here."""
    n_completion_tokens: int = 0
    wall_s: float = 0.0
    trajectory: tuple[Message, ...] = ()
    """Empty if the harness keeps no messages."""
    details: Mapping[str, Json] = field(default_factory=dict)
    """Of the score, such as the name of a judge."""
    cluster: str | None = None
    """Group of items that are not independent, such as those of one repository; None makes every item its own."""
    source: str
    """File and line, for messages about this result."""


class Harness(Protocol):
    """An official benchmark that plays and grades by itself; called in this order, each step reads files only.

    A harness runs as an external command in its own virtual environment and is never imported. Its mean is never used:
    scores are computed from items over a fixed denominator, because several harnesses count a dead server as 0 or 1.
    """

    name: str
    version: str
    """Of the adapter and of the harness; part of `Score.grader`."""

    def prepare(self, run: HarnessRun) -> None:
        """Write the inputs of the external command into the run's folder."""

    def launch(self, run: HarnessRun) -> None:
        """Run the external command; does nothing where results exist. Raises HarnessError if the command fails."""

    def validate(self, run: HarnessRun) -> list[str]:
        """Return the problems of the results as text, empty if there are none; the general checks are in `ingest`."""

    def ingest(self, run: HarnessRun) -> list[ItemResult]:
        """Read the result of every attempt; those that failed in the infrastructure have value None."""


@runtime_checkable
class DescribedHarness(Harness, Protocol):
    """A harness that states what it did beside its results."""

    variant: str
    """Of the options that change results, such as a selection of items or another judge; part of the run's identity.
    Empty: as published."""

    def facts(self, run: HarnessRun) -> Mapping[str, Json]:
        """Return what the run's manifest keeps: sampling as sent, composites, the sandbox, deviations."""


@runtime_checkable
class ServedHarness(DescribedHarness, Protocol):
    """A harness that can be launched here, against an endpoint that the run names."""

    is_served: bool
    """Whether it is: false where its settings name results or a server of their own."""

    def pending(self, run: HarnessRun) -> bool:
        """Tell whether attempts are left that need the endpoint."""
