"""What the tests of single environments share: episodes without a model, policies, and hostile values."""

import random

import numpy as np

from replication.collect.benchmarks.suite.words import Lexicon
from replication.collect.interfaces import Action
from replication.collect.scaffolds.compact import Compact
from replication.records import Call, Episode, Message, Score

HOSTILE = [
    None, True, False, 0, -1, 10**400, 1.5, float("nan"), [], {}, [[["a"]]], {"a": {"b": None}}, "", " ", "\n", "\x00",
    "../../etc/passwd", "/dev/zero", "a" * 100_000, "a b " * 25_000, "ls; rm -rf /", "\ud800", "__class__", "\u0663",
]  # fmt: skip


def play(bench, task, actions, stop_reason="answer") -> Score:
    """Grade an episode of these actions."""
    messages = [Message(role="assistant", content="", calls=a.calls, answer=a.answer) for a in actions]
    return bench.grade(task, Episode(
        run_id="r", task_id=task.id, task_hash=task.content_hash, trial=0, trajectory=tuple(messages),
        stop_reason=stop_reason, n_turns=len(messages), n_malformed=0, n_prompt_tokens=0, n_completion_tokens=0,
        seeds=(), wall_s=0.0,
    ))  # fmt: skip


def random_calls(bench, task, rng: random.Random, n: int) -> list[Action]:
    """Make valid calls whose words were seen in the prompt or in results so far."""
    world, words, actions = bench.start(task), task.prompt.replace(".", " ").split(), []
    for _ in range(n):
        tool = rng.choice(task.tools)
        names = list(tool.parameters["properties"])
        arguments = {name: rng.choice(words) for name in names}
        for name, schema in tool.parameters["properties"].items():
            if schema["type"] == "integer":
                arguments[name] = int(rng.choice([word for word in words if word.isdecimal()] or ["1"]))
        if names and names[-1] in ("row", "line"):
            arguments[names[-1]] = " ".join(rng.choice(words) for _ in range(rng.choice((2, 3, 4))))
        actions.append(Action(calls=(Call(name=tool.name, arguments=arguments),)))
        words += world.step(actions[-1].calls[0]).split()
    return actions


def mean_of_nothing_and_of_random_calls(bench, level, n_tasks, n_calls=12) -> tuple[float, float]:
    """Score the two floor policies."""
    rng, nothing, at_random = random.Random(0), 0.0, 0.0
    for task in bench.tasks("evaluation", level, n_tasks, 0):
        nothing += play(bench, task, [Action(answer="done")]).value
        at_random += play(bench, task, [*random_calls(bench, task, rng, n_calls), Action(answer="done")]).value
    return nothing / n_tasks, at_random / n_tasks


def fuzz(bench, task, n, longest=4_100) -> object:
    """Throw hostile calls at a world, right names with wrong values among them; returns the world."""
    rng, world = random.Random(1), bench.start(task)
    tools = {tool.name: list(tool.parameters["properties"]) for tool in task.tools}
    for _ in range(n):
        name = rng.choice([*tools, *tools, "", "step", "__init__", "_read", "a" * 10_000, "\ud800"])
        keys = tools.get(name, ["x"]) if rng.random() < 0.8 else ["x" * 1000, "self"]
        seen = world.step(Call(name=name, arguments={key: rng.choice(HOSTILE) for key in keys}))
        assert isinstance(seen, str) and len(seen) <= longest
    return world


def check_wrong_turns(bench, module, level) -> None:
    """Wrong turns differ from the expert's and can be written by the compact scaffold."""
    scaffold, lexicon = Compact(), Lexicon(np.random.default_rng(0), "train")
    for task, draft in bench.items("train", level, 20, 0):
        for action in draft.expert:
            wrong = module.perturb(lexicon, task, action)
            assert wrong != action
            assert scaffold.parse(scaffold.write(wrong), task) == wrong
