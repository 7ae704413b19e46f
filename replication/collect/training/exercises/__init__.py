"""The general corpus: exercises in reading, copying and small reasoning.

An exercise belongs here if it uses no tool and shows no environment: bases are trained on these alone. All are built
around generated names of the training split. A context gets several questions, because only answers are in the loss: a
listing with five questions teaches more per token than five listings.
"""

from collections.abc import Callable

from replication.collect.benchmarks.suite.words import Lexicon
from replication.collect.training.exercises import copying, forms, listings, programs, reasoning
from replication.collect.training.exercises.parts import Turns

Exercise = Callable[[Lexicon], Turns]

EXERCISES: tuple[Exercise, ...] = tuple(
    exercise
    for exercise, weight in {
        copying.copy: 2, copying.copy_lines: 3, copying.replace: 2, copying.several_orders: 1,
        listings.look_up: 3, listings.labelled: 4, listings.find_word: 2, listings.follow: 1, listings.select: 3,
        listings.count: 1, listings.one_by_one: 3, listings.steps: 1,
        reasoning.sort: 1, reasoning.compare: 1, reasoning.add: 1, reasoning.member: 1, reasoning.calendar: 1,
        forms.documentation: 2, forms.fill: 3,
        programs.code: 2, programs.correct: 3, programs.code_lines: 3, programs.assign: 1, programs.trace: 1,
    }.items()
    for _ in range(weight)
)  # fmt: skip
"""The exercises, each as often as its weight; a uniform draw from these chooses one."""

N_EXERCISES = (1, 1, 2, 3, 4)
"""Exercises per conversation, drawn uniformly: long conversations train the positions that episodes use."""


def conversation(w: Lexicon) -> Turns:
    """Generate a conversation of a few exercises."""
    turns: Turns = []
    for _ in range(w.choice(N_EXERCISES)):
        turns += w.choice(EXERCISES)(w)
    return turns
