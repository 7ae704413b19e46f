"""The suite: generated agent environments, deterministic parallel forms of what the published benchmarks measure.

An environment is a module with NAME, VERSION, `draft(lexicon, level) -> GeneratedTask`, a `World` that plays calls and
`grade(task, key, world, answer) -> Grade`. This file turns such a module into a Benchmark.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import ModuleType

import numpy as np

from replication.collect.benchmarks.suite.words import SPLITS, Lexicon
from replication.collect.interfaces import Action, Environment
from replication.errors import ConfigError
from replication.records import UNSCORED_REASONS, Episode, Json, Score, Task, Tool, stable_seed

LEVELS = (1, 2, 3, 4, 5)
ENVIRONMENTS = {
    "assistant": "assistant", "calling": "calling", "office": "office", "repair": "code.repair",
    "repository": "code.repository", "research": "research", "terminal": "terminal",
}  # fmt: skip
"""Module of each environment, below this package."""

NAMES = tuple(ENVIRONMENTS)


@dataclass(frozen=True, kw_only=True)
class GeneratedTask:
    """Everything a generator knows about a task; only the Task made from it reaches a model."""

    prompt: str
    tools: tuple[Tool, ...]
    setup: Mapping[str, Json]
    key: Mapping[str, Json]
    """What a correct attempt leads to; stays here."""
    expert: tuple[Action, ...]
    """A correct attempt, one action per turn."""
    tags: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Grade:
    """A score in [0, 1] and why."""

    value: float
    details: Mapping[str, Json] = field(default_factory=dict)


class SuiteBenchmark:
    """One environment of the suite as a Benchmark."""

    def __init__(self, module: ModuleType):
        self.module = module
        """The environment behind it, for policies and corpora."""
        self.name: str = module.NAME
        self.version: str = module.VERSION
        self.grader = f"suite-{self.name}-{self.version}"

    def __reduce__(self):
        # Jobs go to other processes by name, because a module cannot be pickled.
        return load, (self.name,)

    def draft(self, split: str, level: int, index: int, seed: int) -> GeneratedTask:
        """Generate one task with its key and expert, the same on every machine."""
        if split not in SPLITS or level not in LEVELS:
            raise ConfigError(
                f"`{self.name}` has no task at split={split!r}, level={level!r}; "
                f"allowed are splits {', '.join(SPLITS)} and levels {LEVELS[0]} to {LEVELS[-1]}. Mend conf/benchmark/."
            )
        rng = np.random.default_rng([stable_seed(self.name, split, level, seed), index])
        return self.module.draft(Lexicon(rng, split), level)

    def task(self, split: str, level: int, index: int, seed: int) -> Task:
        """Make one task; its id repeats the arguments, so that the key can be found again."""
        return self._as_task(self.draft(split, level, index, seed), split, level, index, seed)

    def item(self, split: str, level: int, index: int, seed: int) -> "tuple[SuiteBenchmark, Task, GeneratedTask]":
        """Make one task with its draft; the benchmark itself comes first, for loops over several."""
        draft = self.draft(split, level, index, seed)
        return self, self._as_task(draft, split, level, index, seed), draft

    def tasks(self, split: str, level: int, n: int, seed: int) -> list[Task]:
        """Make the first `n` tasks of a split at a level, none twice."""
        return [task for task, _ in self.items(split, level, n, seed)]

    def items(self, split: str, level: int, n: int, seed: int) -> Iterator[tuple[Task, GeneratedTask]]:
        """Make `n` tasks with distinct content and their drafts; the training corpora and the checks use these."""
        seen: set[str] = set()
        index = 0
        while len(seen) < n:
            draft = self.draft(split, level, index, seed)
            task = self._as_task(draft, split, level, index, seed)
            if task.content_hash not in seen:
                seen.add(task.content_hash)
                yield task, draft
            index += 1

    def _as_task(self, draft: GeneratedTask, split: str, level: int, index: int, seed: int) -> Task:
        return Task(
            id=f"{self.name}/{split}/{level}/{seed}-{index:05d}", benchmark=self.name, split=split, level=level,
            index=index, prompt=draft.prompt, tools=draft.tools, setup=draft.setup, tags=draft.tags,
        )  # fmt: skip

    def start(self, task: Task) -> Environment:
        """Put up a fresh world."""
        return self.module.World(task.setup)

    def grade(self, task: Task, episode: Episode) -> Score:
        """Replay the calls of an episode on a fresh world and compare with the key."""
        if episode.stop_reason in UNSCORED_REASONS:
            return Score.of(episode, self.grader, None)
        seed = int(task.id.rsplit("/", 1)[1].split("-")[0])
        key = self.draft(task.split, task.level, task.index, seed).key
        world, answer = self.module.World(task.setup), None
        for message in episode.trajectory:
            for call in message.calls:
                world.step(call)
            answer = message.answer if message.answer is not None else answer
        grade = self.module.grade(task, key, world, answer)
        return Score.of(episode, self.grader, grade.value, grade.details)


def load(name: str) -> SuiteBenchmark:
    """Find an environment of the suite by name."""
    import importlib

    if name not in NAMES:
        raise ConfigError(f"`benchmark` {name!r} is not in the suite; allowed: {', '.join(NAMES)}.")
    return SuiteBenchmark(importlib.import_module(f"replication.collect.benchmarks.suite.{ENVIRONMENTS[name]}"))
