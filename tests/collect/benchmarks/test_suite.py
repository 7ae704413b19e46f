"""What holds for tasks of every environment: splits are disjoint, keys stay hidden, and hostile calls do nothing."""

import re

import numpy as np
import pytest
from suite_checks import fuzz, play

from replication.collect.benchmarks import suite
from replication.collect.benchmarks.suite.code import repair
from replication.collect.benchmarks.suite.kit import LazyMapping
from replication.collect.benchmarks.suite.words import SPLITS, Lexicon, split_of
from replication.collect.interfaces import Action
from replication.errors import ConfigError
from replication.records import canonical_json

each_environment = pytest.mark.parametrize("name", suite.NAMES)
each_level = pytest.mark.parametrize("level", suite.LEVELS)


@each_environment
@each_level
def test_replayed_expert_scores_one_and_an_empty_answer_zero(name, level):
    bench = suite.load(name)
    for task, draft in bench.items("evaluation", level, 5, 0):
        assert play(bench, task, draft.expert).value == 1.0, task.id
        assert play(bench, task, [Action(answer="")]).value == 0.0, task.id


@each_environment
def test_failed_engine_is_unscored_not_zero_and_a_turn_limit_is_scored(name):
    bench = suite.load(name)
    for task, draft in bench.items("evaluation", 1, 10, 0):
        assert play(bench, task, [], "engine_error").value is None
        assert play(bench, task, draft.expert, "turn_limit").value == 1.0


def values_of(draft, parameter, *names):
    calls = [call for action in draft.expert for call in action.calls if call.name in names or not names]
    return [str(call.arguments[parameter]) for call in calls if parameter in call.arguments]


def calls_not_told(task, draft, n_told):
    tests = [call for several in draft.key.values() for call, _ in several]
    told = {call for call in tests if call in task.prompt}
    assert len(told) <= n_told
    return [call for call in tests if call not in told]


def secrets(name, task, draft):
    """What the key wants and the model must find out."""
    key = draft.key
    if name == "terminal":
        return [*values_of(draft, "file", "mv", "rm"), *values_of(draft, "text", "write")]
    if name == "calling":
        return [*values_of(draft, "id"), *([key["answer"]] if key["answer"] != "done" else [])]
    if name == "office":
        return [*map(str, key["entries"].values()), " ".join(key["line"].split()[1:])]
    if name == "assistant":
        return [word for _, *values in key["wanted"] for word in " ".join(map(str, values)).split() if word.isdecimal()]
    if name == "research":
        # Only the bound of the condition may be a cell by chance.
        bound = re.findall(r"over (\d+)", task.prompt)
        return [value for row, cells in key["table"].items() for value in (row, *cells) if value not in bound]
    if name == "repair":
        # Each mistake is told by one call.
        n_told = repair.N_MISTAKES[task.level]
        return [*values_of(draft, "text", "set", "insert"), *calls_not_told(task, draft, n_told)]
    return calls_not_told(task, draft, n_told=1)


@each_environment
@each_level
def test_what_must_be_found_out_stands_neither_in_prompt_nor_in_tools(name, level):
    found_out = 0
    for task, draft in suite.load(name).items("evaluation", level, 40, 0):
        shown = f"{task.prompt}\n{canonical_json(task.tools)}"
        for secret in secrets(name, task, draft):
            found_out += 1
            assert not re.search(rf"(?<![\w.]){re.escape(secret)}(?![\w(])", shown), (task.id, secret)
    assert found_out > 10


def check_splits(name, level, n):
    bench = suite.load(name)
    tasks = {split: bench.tasks(split, level, n, 0) for split in SPLITS}
    for identity in ("content_hash", "prompt"):
        found = {split: {getattr(task, identity) for task in several} for split, several in tasks.items()}
        assert not found["train"] & found["evaluation"]
        assert not found["train"] & found["calibration"]
        assert not found["calibration"] & found["evaluation"]


@each_environment
@each_level
def test_splits_share_no_content_and_no_prompt(name, level):
    check_splits(name, level, 30)


@pytest.mark.slow
@each_environment
@each_level
def test_splits_share_no_content_and_no_prompt_in_a_thousand_tasks(name, level):
    check_splits(name, level, 1_000)


def test_made_up_names_belong_to_their_split():
    for split in SPLITS:
        lexicon = Lexicon(np.random.default_rng(0), split)
        assert {split_of(name) for name in lexicon.names(300)} == {split}


@each_environment
def test_another_seed_gives_other_tasks(name):
    bench = suite.load(name)
    hashes = [{task.content_hash for task in bench.tasks("evaluation", 1, 100, seed)} for seed in (7, 8)]
    assert len(hashes[0] & hashes[1]) < 5


@each_environment
@pytest.mark.parametrize("level", (1, 5))
def test_hostile_calls_get_a_bounded_answer_and_never_raise(name, level):
    bench = suite.load(name)
    (task,) = bench.tasks("evaluation", level, 1, 0)
    fuzz(bench, task, 1_000)


def test_key_is_made_once_and_not_before_it_is_looked_into():
    made = []

    def make():
        made.append(1)
        return {"a": 1, "b": 2}

    key = LazyMapping(make)
    assert not made
    assert (key["a"], list(key), len(key), dict(key)) == (1, ["a", "b"], 2, {"a": 1, "b": 2})
    assert key == {"a": 1, "b": 2}
    assert made == [1]


def test_unknown_benchmark_split_and_level_are_named():
    with pytest.raises(ConfigError, match="not in the suite"):
        suite.load("chess")
    with pytest.raises(ConfigError, match="split='test'"):
        suite.load("calling").tasks("test", 1, 1, 0)
    with pytest.raises(ConfigError, match="level=9"):
        suite.load("calling").tasks("train", 9, 1, 0)
