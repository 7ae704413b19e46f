"""Tasks of all environments: splits are disjoint, keys stay hidden, and hostile calls do no harm."""

import re
import subprocess
import sys
from dataclasses import replace
from importlib import import_module

import numpy as np
import pytest
from parts import first_tasks, split_of
from suite_checks import fuzz, play

from replication.collect import benchmarks
from replication.collect.benchmarks import suite
from replication.collect.benchmarks.suite.kit import LazyMapping
from replication.collect.benchmarks.suite.words import SPLITS, Lexicon
from replication.collect.interfaces import Action, Selection
from replication.errors import ConfigError
from replication.records import canonical_json
from replication.settings import CONF

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


@each_environment
@each_level
def test_secrets_of_the_key_are_neither_in_the_prompt_nor_in_the_tools(name, level):
    # The test file of each environment defines `secrets(task, draft)`: the parts of the key that a model must look up.
    secrets = import_module(f"test_{name}").secrets
    n_secrets = 0
    for task, draft in suite.load(name).items("evaluation", level, 40, 0):
        visible = f"{task.prompt}\n{canonical_json(task.tools)}"
        for secret in secrets(task, draft):
            n_secrets += 1
            assert not re.search(rf"(?<![\w.]){re.escape(secret)}(?![\w(])", visible), (task.id, secret)
    assert n_secrets > 10


def check_splits(name, level, n):
    bench = suite.load(name)
    tasks = {split: first_tasks(bench, split, level, n, 0) for split in SPLITS}
    for identity in ("content_hash", "prompt"):
        values = {split: {getattr(task, identity) for task in listed} for split, listed in tasks.items()}
        assert not values["train"] & values["evaluation"]
        assert not values["train"] & values["calibration"]
        assert not values["calibration"] & values["evaluation"]


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
    hashes = [{task.content_hash for task in first_tasks(bench, "evaluation", 1, 100, seed)} for seed in (7, 8)]
    assert len(hashes[0] & hashes[1]) < 5


@each_environment
@pytest.mark.parametrize("level", (1, 5))
def test_hostile_calls_get_a_bounded_answer_and_never_raise(name, level):
    bench = suite.load(name)
    (task,) = first_tasks(bench, "evaluation", level, 1, 0)
    fuzz(bench, task, 1_000)


def test_lazy_mapping_is_computed_once_and_not_before_first_access():
    n_computed = []

    def compute():
        n_computed.append(1)
        return {"a": 1, "b": 2}

    key = LazyMapping(compute)
    assert not n_computed
    assert (key["a"], list(key), len(key), dict(key)) == (1, ["a", "b"], 2, {"a": 1, "b": 2})
    assert key == {"a": 1, "b": 2}
    assert n_computed == [1]


def test_unknown_benchmark_split_and_level_are_named():
    with pytest.raises(ConfigError, match="not in the suite"):
        suite.load("chess")
    with pytest.raises(ConfigError, match="`benchmark` 'chess' is unknown; allowed: assistant, calling"):
        benchmarks.load("chess")
    with pytest.raises(ConfigError, match="split='test'"):
        first_tasks(suite.load("calling"), "test", 1, 1, 0)
    with pytest.raises(ConfigError, match="level=9"):
        first_tasks(suite.load("calling"), "train", 9, 1, 0)
    with pytest.raises(ConfigError, match="`levels` of a generated environment"):
        suite.load("calling").tasks(Selection(split="train", n_tasks=1, seed=0))


def test_environments_are_the_files_that_define_one_and_load_by_both_doors():
    seven = {"assistant", "calling", "office", "repair", "repository", "research", "terminal"}
    assert seven <= set(suite.NAMES) and list(suite.NAMES) == sorted(set(suite.NAMES))
    for name in suite.NAMES:
        assert benchmarks.load(name).environment is suite.load(name).environment
        assert (suite.load(name).name, benchmarks.load(name).grader) == (name, suite.load(name).grader)


def test_listing_environments_imports_none_of_them():
    code = """
import sys
from replication.collect import benchmarks
from replication.collect.benchmarks import suite
print(suite.NAMES, [name for name in sys.modules if name.startswith(suite.__name__ + ".")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=CONF.parent)
    assert "'terminal')" in done.stdout and done.stdout.endswith("['replication.collect.benchmarks.suite.words']\n")


@pytest.mark.parametrize(
    ("levels", "n_tasks", "counts"),
    [((1,), 5, {1: 5}), ((1, 1, 2), 10, {1: 6, 2: 4}), ((3, 1), 5, {1: 3, 3: 2}), ((1, 2, 3), 2, {1: 0, 2: 1, 3: 1})],
)
def test_selection_is_spread_evenly_over_its_levels_and_sorted_by_level(levels, n_tasks, counts):
    selection = Selection(split="evaluation", n_tasks=n_tasks, seed=3, levels=levels)
    assert suite.tasks_per_level(selection) == counts
    tasks = suite.load("terminal").tasks(selection)
    assert [task.attributes["level"] for task in tasks] == [level for level, n in counts.items() for _ in range(n)]
    assert len({task.content_hash for task in tasks}) == n_tasks


def test_attributes_generate_a_task_again_and_do_not_change_its_content_hash():
    bench = suite.load("calling")
    for task, generated in bench.items("train", 2, 5, 7):
        assert task.attributes == {**suite.place_of(task), "tags": list(generated.tags)}
        assert bench.item(**suite.place_of(task)).task == task
        assert replace(task, attributes={}).content_hash == task.content_hash
