"""The probe of world modelling: predict one observation of a held-out episode, to measure the effect of a warm-up.

A task is a dialogue (see dialogues.py) up to a random turn. The score is exact match; token F1 is among the details.
Not covered: predictions that depend on predicted observations, as in a rollout; the history is always the true one.
"""

import itertools
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from replication.collect.benchmarks.dialogues import Write, dialogue
from replication.collect.benchmarks.observations import exact, token_f1
from replication.collect.benchmarks.suite import SuiteBenchmark, place_of, tasks_per_level
from replication.collect.benchmarks.suite.words import Lexicon
from replication.collect.interfaces import Environment, Selection
from replication.records import UNSCORED_REASONS, Call, Episode, Score, Task, stable_seed


class _NoTools:
    def step(self, call: Call) -> str:
        return "error: a prediction has no tools"


class Prediction(NamedTuple):
    """A task of the probe with its key."""

    task: Task
    observation: str
    """The world's true answer."""


class Probe:
    """Single predictions about one environment of the suite, as a Benchmark of the same name."""

    def __init__(self, bench: SuiteBenchmark, write: Write):
        self._bench, self._write = bench, write
        self.name = bench.name
        self.version = f"{bench.version}-probe-1"
        self.grader = f"probe-{bench.name}-{self.version}"

    def tasks(self, selection: Selection) -> list[Task]:
        """Return one prediction from each of the first tasks of every level in which the expert makes a call."""
        return [
            prediction.task
            for level, n in tasks_per_level(selection).items()
            for prediction in itertools.islice(self._predictions(selection.split, level, selection.seed), n)
        ]

    def start(self, task: Task) -> Environment:
        """Return an environment without tools: the observations are part of the dialogue."""
        return _NoTools()

    def grade(self, task: Task, episode: Episode) -> Score:
        """Compare the reply, complete or truncated, with the world's true answer."""
        if episode.stop_reason in UNSCORED_REASONS:
            return Score.of(episode, self.grader, None)
        observed = self.observation(task)
        replies = episode.trajectory[len(task.setup["messages"]) :]
        predicted = next((m.content for m in reversed(replies) if m.role == "assistant"), "")
        match = exact(predicted, observed)
        return Score.of(episode, self.grader, match, {"exact": match, "token_f1": token_f1(predicted, observed)})

    def observation(self, task: Task) -> str:
        """Return the true observation that a task asks for."""
        prediction = self._prediction(**place_of(task))
        assert prediction is not None, task.id
        return prediction.observation

    def _predictions(self, split: str, level: int, seed: int) -> Iterator[Prediction]:
        return filter(None, (self._prediction(split, level, index, seed) for index in itertools.count()))

    def _prediction(self, split: str, level: int, index: int, seed: int) -> Prediction | None:
        task, generated = self._bench.item(split, level, index, seed)
        lexicon = Lexicon(np.random.default_rng([stable_seed("probe", self.name, split, level, seed), index]), split)
        messages = dialogue(lexicon, self._bench, task, generated, self._write)
        if len(messages) < 3:  # the correct attempt answers at once
            return None
        at = 2 * lexicon.integer(1, len(messages) // 2)
        history = [[m.role, m.content] for m in messages[:at]]
        predicted = Task(
            id=f"{self.name}/probe-{split}/{level}/{seed}-{index:05d}", benchmark=self.name, prompt=history[-1][1],
            tools=(), setup={"messages": history}, attributes={**task.attributes, "tags": ["world_model"]},
        )  # fmt: skip
        return Prediction(predicted, messages[at].content)
