"""What the tests of single environments share: episodes without a model, policies, and hostile values."""

import random

import numpy as np
from parts import first_tasks

from replication.collect.benchmarks.suite.code.compiler import read
from replication.collect.benchmarks.suite.code.language import link
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
    for task in first_tasks(bench, "evaluation", level, n_tasks, 0):
        nothing += play(bench, task, [Action(answer="done")]).value
        at_random += play(bench, task, [*random_calls(bench, task, rng, n_calls), Action(answer="done")]).value
    return nothing / n_tasks, at_random / n_tasks


def compiled(files):
    """Compile and link the files of a program."""
    return link({file: read(tuple(lines)) for file, lines in files.items()})


def values_of(draft, parameter, *names):
    """Return the expert's values of a parameter, of all tools or of those named."""
    calls = [call for action in draft.expert for call in action.calls if call.name in names or not names]
    return [str(call.arguments[parameter]) for call in calls if parameter in call.arguments]


def calls_not_in_prompt(task, draft, n_in_prompt):
    """Return the hidden tests' calls that the prompt does not list; it lists at most `n_in_prompt`."""
    tests = [call for pairs in draft.key.values() for call, _ in pairs]
    listed = {call for call in tests if call in task.prompt}
    assert len(listed) <= n_in_prompt
    return [call for call in tests if call not in listed]


def fuzz(bench, task, n, longest=4_100) -> object:
    """Send hostile calls to a world, also right names with wrong values; returns the world."""
    rng, world = random.Random(1), bench.start(task)
    tools = {tool.name: list(tool.parameters["properties"]) for tool in task.tools}
    for _ in range(n):
        name = rng.choice([*tools, *tools, "", "step", "__init__", "_read", "a" * 10_000, "\ud800"])
        keys = tools.get(name, ["x"]) if rng.random() < 0.8 else ["x" * 1000, "self"]
        seen = world.step(Call(name=name, arguments={key: rng.choice(HOSTILE) for key in keys}))
        assert isinstance(seen, str) and len(seen) <= longest
    return world


def check_wrong_turns(bench, level) -> None:
    """Wrong turns differ from the expert's and can be written by the compact scaffold."""
    scaffold, lexicon = Compact(), Lexicon(np.random.default_rng(0), "train")
    for task, draft in bench.items("train", level, 20, 0):
        for action in draft.expert:
            wrong = bench.environment.perturb(lexicon, task, action)
            assert wrong != action
            assert scaffold.parse(scaffold.write(wrong), task) == wrong
