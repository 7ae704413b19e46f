"""The probe of world modelling: predict one observation of a held-out episode; says whether a warm-up taught worlds.

A task is a dialogue (see dialogues.py) up to a random turn. The score is exact match; token F1 stands in the details.
Not covered: predictions that rest on predicted observations, as in a rollout; the history is always the true one.
"""

import itertools

import numpy as np

from replication.collect.benchmarks.dialogues import Write, dialogue
from replication.collect.benchmarks.observations import exact, token_f1
from replication.collect.benchmarks.suite import SuiteBenchmark
from replication.collect.benchmarks.suite.words import Lexicon
from replication.collect.interfaces import Environment
from replication.records import UNSCORED_REASONS, Call, Episode, Score, Task, stable_seed


class _Nothing:
    def step(self, call: Call) -> str:
        return "error: a prediction has no tools"


class Probe:
    """Single predictions about one environment of the suite, as a Benchmark of the same name."""

    def __init__(self, bench: SuiteBenchmark, write: Write):
        self._bench, self._write = bench, write
        self.name = bench.name
        self.version = f"{bench.version}-probe-1"
        self.grader = f"probe-{bench.name}-{self.version}"

    def tasks(self, split: str, level: int, n: int, seed: int) -> list[Task]:
        """Make one prediction from each of the first `n` tasks of a split at a level in which something is done."""
        made = (self._task(split, level, index, seed) for index in itertools.count())
        return [task for task, _ in itertools.islice(filter(None, made), n)]

    def start(self, task: Task) -> Environment:
        """Put up nothing: what the world did stands in the dialogue."""
        return _Nothing()

    def grade(self, task: Task, episode: Episode) -> Score:
        """Compare the reply, whole or cut, with what the world answered."""
        if episode.stop_reason in UNSCORED_REASONS:
            return Score.of(episode, self.grader, None)
        seed = int(task.id.rsplit("/", 1)[1].split("-")[0])
        _, wanted = self._task(task.split, task.level, task.index, seed) or (None, "")
        said = next((m.content for m in reversed(episode.trajectory[len(task.setup["messages"]) :])
                     if m.role == "assistant"), "")  # fmt: skip
        right = exact(said, wanted)
        return Score.of(episode, self.grader, right, {"exact": right, "token_f1": token_f1(said, wanted)})

    def _task(self, split: str, level: int, index: int, seed: int) -> tuple[Task, str] | None:
        _, task, draft = self._bench.item(split, level, index, seed)
        lexicon = Lexicon(np.random.default_rng([stable_seed("probe", self.name, split, level, seed), index]), split)
        messages = dialogue(lexicon, self._bench, task, draft, self._write)
        if len(messages) < 3:  # the right thing is to answer at once
            return None
        at = 2 * lexicon.integer(1, len(messages) // 2)
        shown = [[m.role, m.content] for m in messages[:at]]
        made = Task(
            id=f"{self.name}/probe-{split}/{level}/{seed}-{index:05d}", benchmark=self.name, split=split, level=level,
            index=index, prompt=shown[-1][1], tools=(), setup={"messages": shown}, tags=("world_model",),
        )  # fmt: skip
        return made, messages[at].content
