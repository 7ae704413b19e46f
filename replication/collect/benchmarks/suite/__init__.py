"""The suite: generated, deterministic agent environments, parallel forms of published benchmarks.

One file per environment, here or in `code/`: it defines the simulated world, the generator of tasks and the grader, and
ends with `ENVIRONMENT = EnvironmentSpec(...)`, by which it is found. This file wraps an environment as a Benchmark.
Not here: adapters of published harnesses, prompts, parsing of replies.
"""

import functools
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any, Generic, Literal, NamedTuple, TypeVar

import numpy as np

from replication.collect.benchmarks.suite.words import SPLITS, Lexicon
from replication.collect.interfaces import Action, Environment, Selection
from replication.errors import ConfigError
from replication.records import UNSCORED_REASONS, Episode, Json, Score, Task, Tool, stable_seed
from replication.settings import MAX_LEVEL

LEVELS = tuple(range(1, MAX_LEVEL + 1))

W = TypeVar("W", bound=Environment)


@dataclass(frozen=True, kw_only=True)
class GeneratedTask:
    """A task with its answer key and a correct attempt; a model sees only the Task built from it."""

    prompt: str
    tools: tuple[Tool, ...]
    setup: Mapping[str, Json]
    key: Mapping[str, Json]
    """Answer key: the result of a correct attempt; never shown to a model."""
    expert: tuple[Action, ...]
    """A correct attempt, one action per turn."""
    tags: tuple[str, ...]
    """Kinds of work: code_generation, research_synthesis, planning, tool_use, memory, multi_step."""


@dataclass(frozen=True, kw_only=True)
class Grade:
    """A score in [0, 1] with its parts."""

    value: float
    details: Mapping[str, Json] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class EnvironmentSpec(Generic[W]):
    """The interface of an environment's module; `W` is the class of its simulated world."""

    name: str
    """Name of the module's file and of the benchmark."""
    version: str
    """Changes whenever a generated task, a tool's result or a grade changes."""
    domain: Literal["in", "out"]
    """Whether the warm-up of training may see this environment; conf/benchmark repeats it."""
    modelled_on: str
    """The published benchmark."""
    metric: str
    """The score in a few words, for the page of the suite."""
    about: str
    """The module's docstring, for the page of the suite."""
    generate: Callable[[Lexicon, int], GeneratedTask]
    """(lexicon, level) -> task; all randomness comes from the lexicon."""
    world: Callable[[Mapping[str, Json]], W]
    """setup -> a fresh world."""
    grade: Callable[[Task, Mapping[str, Json], W, str | None], Grade]
    """(task, key, world after the attempt, final answer) -> grade."""
    describe: Callable[[Mapping[str, Json]], str]
    """setup -> the complete state as text, for the dialogues of world modelling."""
    perturb: Callable[[Lexicon, Task, Action], Action]
    """(lexicon, task, the expert's action) -> a plausible wrong action."""


MAX_KEYS = 10_000
"""Keys that an environment keeps at most."""


class SuiteItem(NamedTuple):
    """A task as a model may see it, and its complete form."""

    task: Task
    generated: GeneratedTask


class SuiteBenchmark:
    """One environment of the suite as a Benchmark."""

    def __init__(self, environment: EnvironmentSpec[Any]):
        self.environment = environment
        self.name = environment.name
        self.version = environment.version
        self.grader = f"suite-{self.name}-{self.version}"
        self._keys: dict[str, Mapping[str, Json]] = {}

    def __reduce__(self) -> tuple[Callable[[str], "SuiteBenchmark"], tuple[str]]:
        # Jobs go to other processes by name.
        return load, (self.name,)

    def generate(self, split: str, level: int, index: int, seed: int) -> GeneratedTask:
        """Generate one task with its key and expert, the same on every machine."""
        if split not in SPLITS or level not in LEVELS:
            raise ConfigError(
                f"`{self.name}` has no task at split={split!r}, level={level!r}; "
                f"allowed are splits {', '.join(SPLITS)} and levels {LEVELS[0]} to {LEVELS[-1]}. "
                "Fix conf/ or the command line."
            )
        rng = np.random.default_rng([stable_seed(self.name, split, level, seed), index])
        return self.environment.generate(Lexicon(rng, split), level)

    def item(self, split: str, level: int, index: int, seed: int) -> SuiteItem:
        """Generate one task, as a model may see it and in complete form."""
        generated = self.generate(split, level, index, seed)
        task = Task(
            id=f"{self.name}/{split}/{level}/{seed}-{index:05d}", benchmark=self.name, prompt=generated.prompt,
            tools=generated.tools, setup=generated.setup,
            attributes={"split": split, "level": level, "index": index, "seed": seed, "tags": list(generated.tags)},
        )  # fmt: skip
        return SuiteItem(task, generated)

    def items(self, split: str, level: int, n: int, seed: int) -> Iterator[SuiteItem]:
        """Generate the first `n` tasks of a split at a level with distinct content."""
        seen: set[str] = set()
        index = 0
        while len(seen) < n:
            item = self.item(split, level, index, seed)
            if item.task.content_hash not in seen:
                seen.add(item.task.content_hash)
                yield item
            index += 1

    def tasks(self, selection: Selection) -> list[Task]:
        """Generate the selected tasks, none twice, sorted by level."""
        tasks = []
        for level, n in tasks_per_level(selection).items():
            for task, generated in self.items(selection.split, level, n, selection.seed):
                self._keep_key(task, generated.key)
                tasks.append(task)
        return tasks

    def _key(self, task: Task) -> Mapping[str, Json]:
        """Return the key of a task, which is generated again if it is not kept."""
        if task.id not in self._keys:
            self._keep_key(task, self.generate(**place_of(task)).key)
        return self._keys[task.id]

    def _keep_key(self, task: Task, key: Mapping[str, Json]) -> None:
        if len(self._keys) >= MAX_KEYS:
            self._keys.clear()
        self._keys[task.id] = key

    def start(self, task: Task) -> Environment:
        """Create a fresh world."""
        return self.environment.world(task.setup)

    def grade(self, task: Task, episode: Episode) -> Score:
        """Replay the calls of an episode on a fresh world and compare with the key."""
        if episode.stop_reason in UNSCORED_REASONS:
            return Score.of(episode, self.grader, None)
        key = self._key(task)
        world, answer = self.environment.world(task.setup), None
        for message in episode.trajectory:
            for call in message.calls:
                world.step(call)
            answer = message.answer if message.answer is not None else answer
        grade = self.environment.grade(task, key, world, answer)
        return Score.of(episode, self.grader, grade.value, grade.details)


def place_of(task: Task) -> dict[str, Json]:
    """Return the arguments of `SuiteBenchmark.generate` and `item` that generated a task."""
    return {name: task.attributes[name] for name in ("split", "level", "index", "seed")}


def tasks_per_level(selection: Selection) -> dict[int, int]:
    """Spread the tasks of a selection evenly over its levels; a level that is listed twice gets two shares."""
    n, levels = selection.n_tasks, selection.levels
    if not levels:
        raise ConfigError("`levels` of a generated environment must name at least one level. Fix conf/benchmark/.")
    ends = [n * i // len(levels) for i in range(len(levels) + 1)]
    counts: Counter[int] = Counter()
    for level, low, high in zip(levels, ends, ends[1:]):
        counts[level] += high - low
    return dict(sorted(counts.items()))


@functools.cache
def _modules() -> dict[str, str]:
    """Return the module of each environment, relative to this package; no environment is imported."""
    folder = Path(__file__).parent
    modules = {
        path.stem: ".".join(path.relative_to(folder).with_suffix("").parts)
        for path in (*folder.glob("*.py"), *folder.glob("*/*.py"))
        if "\nENVIRONMENT = " in path.read_text(encoding="utf-8")
    }
    return dict(sorted(modules.items()))


NAMES = tuple(_modules())
"""Names of all environments, sorted."""


def load(name: str) -> SuiteBenchmark:
    """Return an environment of the suite as a Benchmark; raises ConfigError for an unknown name."""
    if name not in NAMES:
        raise ConfigError(f"`benchmark` {name!r} is not in the suite; allowed: {', '.join(NAMES)}.")
    environment: EnvironmentSpec[Any] = import_module(f"{__name__}.{_modules()[name]}").ENVIRONMENT
    if environment.name != name:
        raise ConfigError(f"the environment in `{name}.py` has the name {environment.name!r}; use the file's name.")
    return SuiteBenchmark(environment)
