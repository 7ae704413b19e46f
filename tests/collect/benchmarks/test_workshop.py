"""What `repair` and `repository` share: experts solve, floors do not, hostile input does nothing."""

import random
from itertools import pairwise

import pytest
from parts import first_tasks

from replication.collect.benchmarks.suite import LEVELS, SuiteBenchmark
from replication.collect.benchmarks.suite.code import repair, repository
from replication.collect.benchmarks.suite.code.workshop import MAX_LINES, MAX_OUTPUT, TOOLS
from replication.collect.benchmarks.suite.words import SPLITS, Lexicon
from replication.collect.interfaces import Action
from replication.collect.scaffolds.compact import Compact
from replication.records import Call

each_environment = pytest.mark.parametrize(
    "environment", (repair.ENVIRONMENT, repository.ENVIRONMENT), ids=lambda m: m.name
)
HOSTILE = [
    None, True, False, 0, -1, 1, 10**30, 1.5, float("nan"), [], {}, [[[1]]], {"a": {}}, "", " ", "\x00", "../../etc/passwd",
    "a" * 100_000, "\ud800", "\n", "def f(n)", "f(" * 40, "[" * 60, "1" * 60, '"', "return", "end", "__class__", "é", "²",
]  # fmt: skip


def score(environment, task, key, actions):
    """Play actions on a fresh world and grade it."""
    world = environment.world(task.setup)
    answer = None
    for action in actions:
        for call in action.calls:
            world.step(call)
        answer = action.answer
    return environment.grade(task, key, world, answer).value


def edits(draft):
    """Find the actions of an expert that change something."""
    return [a for a in draft.expert if a.calls and a.calls[0].name in ("set", "insert", "delete")]


def check_expert_and_floor(environment, n):
    bench, turns = SuiteBenchmark(environment), []
    for level in LEVELS:
        total = 0
        for task, draft in bench.items("evaluation", level, n, 0):
            assert score(environment, task, draft.key, draft.expert) == 1.0, task.id
            assert score(environment, task, draft.key, [Action(answer="done")]) == 0.0, task.id
            assert environment.world(task.setup).files.keys() == task.setup["files"].keys()
            total += len(draft.expert)
        turns.append(total / n)
    assert all(after > before + 0.5 for before, after in pairwise(turns)), turns


@each_environment
def test_expert_solves_every_task_doing_nothing_none_and_the_horizon_grows(environment):
    check_expert_and_floor(environment, 12)


@pytest.mark.slow
@each_environment
def test_expert_solves_two_hundred_tasks_of_every_level(environment):
    check_expert_and_floor(environment, 200)


@pytest.mark.slow
@each_environment
def test_equal_error_rate_scores_lower_at_each_level(environment):
    import numpy as np

    bench, means = SuiteBenchmark(environment), []
    for level in LEVELS:
        w, total = Lexicon(np.random.default_rng(level), "evaluation"), 0.0
        for task, draft in bench.items("evaluation", level, 200, 0):
            actions = [environment.perturb(w, task, a) if w.bernoulli(0.08) else a for a in draft.expert[:-1]]
            total += score(environment, task, draft.key, actions)
        means.append(total / 200)
    assert all(after < before for before, after in pairwise(means)), means


@each_environment
@pytest.mark.parametrize("level", (1, 2))
def test_random_valid_calls_solve_almost_nothing(environment, level):
    bench, rng, total = SuiteBenchmark(environment), random.Random(0), 0.0
    for task, draft in bench.items("evaluation", level, 100, 0):
        lines = [line for text in task.setup["files"].values() for line in text.split("\n")]
        actions = []
        for _ in range(8):
            values = {
                "file": rng.choice(list(task.setup["files"])),
                "line": rng.randrange(1, 6),
                "text": rng.choice(lines),
            }
            values["call"] = rng.choice(task.prompt.split())
            tool = rng.choice(TOOLS)
            arguments = {name: values[name] for name in tool.parameters["properties"]}
            actions.append(Action(calls=(Call(name=tool.name, arguments=arguments),)))
        total += score(environment, task, draft.key, actions)
    assert total / 100 <= 0.05


@each_environment
def test_expert_survives_the_round_trip_through_the_compact_scaffold_and_sees_no_error(environment):
    bench, scaffold = SuiteBenchmark(environment), Compact()
    for level in LEVELS:
        for task, draft in bench.items("train", level, 8, 3):
            world = environment.world(task.setup)
            for action in draft.expert:
                assert scaffold.parse(scaffold.write(action), task) == action
                for call in action.calls:
                    assert call.name == "run" or not world.step(call).startswith("error")


@each_environment
def test_level_one_episode_is_short(environment):
    import re

    bench, scaffold, lengths = SuiteBenchmark(environment), Compact(), []
    for task, draft in bench.items("train", 1, 100, 0):
        world = environment.world(task.setup)
        texts = [m.content for m in scaffold.open(task)]
        for action in draft.expert:
            texts += [scaffold.write(action), *map(world.step, action.calls)]
        # A word counts as one token here, a made-up name as two or three: one for each syllable.
        words = re.findall(r"[A-Za-z]+|\s|[^A-Za-z\s]", "\n".join(texts))
        made_up = re.compile(r"([bdfghjklmnprstvz][aeiou]){2,3}")
        lengths.append(sum(len(w) // 2 if made_up.fullmatch(w) else 1 for w in words))
    assert max(lengths) < 350


@each_environment
def test_splits_are_disjoint_and_prompts_hold_a_made_up_name_of_the_split(environment):
    bench = SuiteBenchmark(environment)
    hashes = {split: {t.content_hash for t in first_tasks(bench, split, 1, 150, 0)} for split in SPLITS}
    prompts = {split: {t.prompt for t in first_tasks(bench, split, 1, 150, 0)} for split in SPLITS}
    for found in (hashes, prompts):
        assert not found["train"] & found["evaluation"]
        assert not found["calibration"] & found["evaluation"]


@each_environment
def test_hidden_tests_are_many_more_than_the_prompt_lists(environment):
    bench = SuiteBenchmark(environment)
    for level in LEVELS:
        for task, draft in bench.items("evaluation", level, 10, 1):
            told = [call for tests in draft.key.values() for call, _ in tests if call in task.prompt]
            assert len(told) <= max(3, len(draft.key["fail_to_pass"]) // 3)
            assert len(draft.key["fail_to_pass"]) > 3
            assert level == 1 or draft.key["pass_to_pass"]


@each_environment
def test_hostile_calls_get_a_bounded_answer_and_leave_a_bounded_world(environment):
    bench, rng = SuiteBenchmark(environment), random.Random(1)
    (task,) = first_tasks(bench, "evaluation", 2, 1, 0)
    world = environment.world(task.setup)
    files = list(task.setup["files"])
    names = [tool.name for tool in TOOLS] * 3 + ["", "__class__", "step", "_edit", "a" * 10_000]
    for _ in range(5_000):
        name = rng.choice(names)
        arguments = {
            key: rng.choice(files) if key == "file" and rng.random() < 0.7 else rng.choice([*HOSTILE, 2])
            for key in ("file", "line", "text", "call", "x" * 100)
            if key in repr(TOOLS[names.index(name) % len(TOOLS)].parameters) or rng.random() < 0.05
        }
        seen = world.step(Call(name=name, arguments=arguments))
        assert isinstance(seen, str) and len(seen) <= MAX_OUTPUT
    assert list(world.files) == files
    assert all(len(lines) <= MAX_LINES for lines in world.files.values())


@each_environment
@pytest.mark.parametrize("answer", HOSTILE, ids=lambda a: repr(a)[:20])
def test_text_of_the_answer_does_not_change_the_score(environment, answer):
    bench = SuiteBenchmark(environment)
    ((task, draft),) = bench.items("evaluation", 1, 1, 0)
    assert score(environment, task, draft.key, [*draft.expert[:-1], Action(answer=answer)]) == 1.0
    assert score(environment, task, draft.key, [Action(answer=answer)]) == 0.0


@each_environment
def test_full_file_rejects_more_lines(environment):
    (task,) = first_tasks(SuiteBenchmark(environment), "evaluation", 1, 1, 0)
    world = environment.world(task.setup)
    file = next(iter(world.files))
    for _ in range(2 * MAX_LINES):
        world.step(Call(name="insert", arguments={"file": file, "line": 1, "text": "# x"}))
    assert len(world.files[file]) == MAX_LINES


@each_environment
def test_wrong_turns_are_valid_calls_and_mostly_not_the_expert_s(environment):
    import numpy as np

    bench, scaffold = SuiteBenchmark(environment), Compact()
    w, same, n = Lexicon(np.random.default_rng(0), "train"), 0, 0
    for task, draft in bench.items("train", 2, 40, 0):
        for action in draft.expert:
            wrong = environment.perturb(w, task, action)
            assert scaffold.parse(scaffold.write(wrong), task) == wrong
            same, n = same + (wrong == action), n + 1
    assert same / n < 0.1


@each_environment
def test_description_contains_every_line_of_every_file(environment):
    for task in first_tasks(SuiteBenchmark(environment), "evaluation", 3, 5, 0):
        told = environment.describe(task.setup)
        assert all(line in told for text in task.setup["files"].values() for line in text.split("\n"))
