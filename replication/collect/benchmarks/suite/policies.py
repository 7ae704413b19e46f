"""Policies that need no model: two floors, and an expert that makes errors at a given rate."""

from collections.abc import Callable, Mapping

import numpy as np

from replication.collect.benchmarks.suite import GeneratedTask, SuiteBenchmark
from replication.collect.benchmarks.suite.words import Lexicon
from replication.collect.interfaces import Action
from replication.records import Call, Json, Task, stable_seed

Policy = Callable[[SuiteBenchmark, Task, GeneratedTask, Lexicon], list[Action]]
"""All actions in a task at once; only `erring` and `expert` use more than the task and the length of a correct attempt."""

SPLIT = "evaluation"


def expert(bench: SuiteBenchmark, task: Task, generated: GeneratedTask, lexicon: Lexicon) -> list[Action]:
    """Make the correct attempt."""
    return list(generated.expert)


def nothing(bench: SuiteBenchmark, task: Task, generated: GeneratedTask, lexicon: Lexicon) -> list[Action]:
    """Answer `done` at once."""
    return [Action(answer="done")]


def random_valid(bench: SuiteBenchmark, task: Task, generated: GeneratedTask, lexicon: Lexicon) -> list[Action]:
    """Make as many valid calls as the expert has turns, with words from the prompt and the tools' descriptions."""
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
    for _ in generated.expert:
        tool = lexicon.choice(task.tools)
        # Only the last value may contain blanks, because the grammar of scaffold `compact` has no quotes.
        names = list(tool.parameters["properties"])
        arguments = {
            name: value(tool.parameters["properties"][name], lexicon.integer(1, 3) if name == names[-1] else 1)
            for name in names
        }
        actions.append(Action(calls=(Call(name=tool.name, arguments=arguments),)))
    return [*actions, Action(answer=lexicon.choice(words))]


def erring(share: float) -> Policy:
    """Return the expert that replaces each of its actions by a wrong one with probability `share`."""

    def policy(bench: SuiteBenchmark, task: Task, generated: GeneratedTask, lexicon: Lexicon) -> list[Action]:
        # All errors are drawn first: with equal seeds the errors of a short episode are among those of a longer one.
        errs = [lexicon.bernoulli(share) for _ in generated.expert]
        turns = zip(generated.expert, errs, strict=True)
        return [bench.environment.perturb(lexicon, task, action) if wrong else action for action, wrong in turns]

    return policy


def evaluate(bench: SuiteBenchmark, policy: Policy, level: int, n: int, seed: int) -> float:
    """Return the mean score of a policy on the first `n` evaluation tasks of a level, without scaffold and engine.

    The policy's random draws depend on the seed and the task's position, not on the level, so levels are compared in pairs.
    """
    total = 0.0
    for i, (task, generated) in enumerate(bench.items(SPLIT, level, n, seed)):
        lexicon = Lexicon(np.random.default_rng([stable_seed("policy", seed), i]), SPLIT)
        world, answer = bench.start(task), None
        for action in policy(bench, task, generated, lexicon):
            for call in action.calls:
                world.step(call)
            answer = action.answer if action.answer is not None else answer
        total += bench.environment.grade(task, generated.key, world, answer).value
    return total / n
