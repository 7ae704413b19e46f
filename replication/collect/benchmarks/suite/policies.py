"""Policies that need no model: two floors, and an expert who errs."""

from collections.abc import Callable, Mapping

import numpy as np

from replication.collect.benchmarks.suite import GeneratedTask, SuiteBenchmark
from replication.collect.benchmarks.suite.words import Lexicon
from replication.collect.interfaces import Action
from replication.records import Call, Json, Task, stable_seed

Policy = Callable[[SuiteBenchmark, Task, GeneratedTask, Lexicon], list[Action]]
"""What to do in a task, all turns at once; only `erring` and `expert` look at more than the task and its length."""

SPLIT = "evaluation"


def expert(bench: SuiteBenchmark, task: Task, draft: GeneratedTask, lexicon: Lexicon) -> list[Action]:
    """Do what the generator knows to be right."""
    return list(draft.expert)


def nothing(bench: SuiteBenchmark, task: Task, draft: GeneratedTask, lexicon: Lexicon) -> list[Action]:
    """Say at once that it is done."""
    return [Action(answer="done")]


def random_valid(bench: SuiteBenchmark, task: Task, draft: GeneratedTask, lexicon: Lexicon) -> list[Action]:
    """Make as many calls as the expert has turns, all of the right form, of words that prompt and tools show."""
    described = (f"{tool.name} {tool.description} {' '.join(tool.parameters['properties'])}" for tool in task.tools)
    words = [word.strip(".,;:") for word in " ".join((task.prompt, *described)).split()]
    words = [word for word in words if word]
    numbers = [int(word) for word in words if word.isascii() and word.isdecimal()]

    def value(schema: Mapping[str, Json], n_words: int) -> Json:
        if "enum" in schema:
            return lexicon.choice(schema["enum"])
        if schema["type"] == "integer":
            return lexicon.choice(numbers) if numbers and lexicon.bernoulli(0.5) else lexicon.number()
        return " ".join(lexicon.choice(words) for _ in range(n_words))

    actions = []
    for _ in draft.expert:
        tool = lexicon.choice(task.tools)
        # Only the last value may hold blanks, or scaffold `compact` could not say it.
        names = list(tool.parameters["properties"])
        arguments = {
            name: value(tool.parameters["properties"][name], lexicon.integer(1, 3) if name == names[-1] else 1)
            for name in names
        }
        actions.append(Action(calls=(Call(name=tool.name, arguments=arguments),)))
    return [*actions, Action(answer=lexicon.choice(words))]


def erring(share: float) -> Policy:
    """Make the expert take a wrong turn instead of the right one with this probability at each turn."""

    def policy(bench: SuiteBenchmark, task: Task, draft: GeneratedTask, lexicon: Lexicon) -> list[Action]:
        # All chances are drawn first: with equal seeds the errors of a short episode are among those of a longer one.
        errs = [lexicon.bernoulli(share) for _ in draft.expert]
        turns = zip(draft.expert, errs, strict=True)
        return [bench.module.perturb(lexicon, task, action) if wrong else action for action, wrong in turns]

    return policy


def evaluate(bench: SuiteBenchmark, policy: Policy, level: int, n: int, seed: int) -> float:
    """Give the mean score of a policy on the first `n` evaluation tasks of a level, without scaffold and engine.

    The policy's chances depend on seed and place of the task, not on the level, so that levels are compared pairwise.
    """
    total = 0.0
    for i, (task, draft) in enumerate(bench.items(SPLIT, level, n, seed)):
        lexicon = Lexicon(np.random.default_rng([stable_seed("policy", seed), i]), SPLIT)
        world, answer = bench.start(task), None
        for action in policy(bench, task, draft, lexicon):
            for call in action.calls:
                world.step(call)
            answer = action.answer if action.answer is not None else answer
        total += bench.module.grade(task, draft.key, world, answer).value
    return total / n
