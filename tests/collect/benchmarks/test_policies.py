"""The policies without a model: seeded, of valid calls, and errors that levels share."""

import dataclasses

import numpy as np
import pytest

from replication.collect.benchmarks import suite
from replication.collect.benchmarks.suite import LEVELS, policies
from replication.collect.benchmarks.suite.words import Lexicon
from replication.collect.scaffolds.compact import Compact

BENCH = suite.load("terminal")
NAMES = ("calling", "terminal")


def lexicon(seed=0):
    return Lexicon(np.random.default_rng(seed), policies.SPLIT)


@pytest.mark.parametrize("policy", [policies.random_valid, policies.erring(0.5)], ids=["random_valid", "erring"])
def test_equal_seeds_give_equal_actions_and_other_seeds_others(policy):
    ((task, draft),) = BENCH.items("evaluation", 3, 1, 0)
    assert policy(BENCH, task, draft, lexicon(0)) == policy(BENCH, task, draft, lexicon(0))
    assert policy(BENCH, task, draft, lexicon(0)) != policy(BENCH, task, draft, lexicon(1))


def test_mean_score_depends_on_the_seed_alone():
    policy = policies.erring(0.5)
    first = policies.evaluate(BENCH, policy, 2, 20, 0)
    assert policies.evaluate(BENCH, policy, 2, 20, 0) == first
    assert policies.evaluate(BENCH, policy, 2, 20, 1) != first


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("level", LEVELS)
def test_random_calls_and_wrong_turns_can_be_written_in_the_compact_grammar(name, level):
    bench, scaffold = suite.load(name), Compact()
    for task, draft in bench.items("evaluation", level, 10, 0):
        for policy in (policies.random_valid, policies.erring(1.0)):
            for action in policy(bench, task, draft, lexicon()):
                assert scaffold.parse(scaffold.write(action), task).problem is None


@pytest.mark.parametrize("name", NAMES)
def test_description_contains_the_answers_of_the_world(name):
    bench = suite.load(name)
    for task, draft in bench.items("train", 2, 40, 0):
        text = bench.environment.describe(task.setup)
        for setup in (task.setup.get("files", {}), task.setup.get("ids", {})):
            assert all(key in text for key in setup)
        world = bench.start(task)
        for call in (call for action in draft.expert for call in action.calls):
            seen = world.step(call)
            assert seen == "ok" or all(line.split(": ")[-1] in text for line in seen.split("\n"))


@pytest.mark.parametrize("name", NAMES)
def test_wrong_turn_of_a_changing_call_never_is_that_call(name):
    bench = suite.load(name)
    for task, draft in bench.items("train", 2, 40, 0):
        wrong = policies.erring(1.0)(bench, task, draft, lexicon())
        changing = [(a, b) for a, b in zip(draft.expert, wrong, strict=True) if a.calls and a.calls[0].name != "grep"]
        assert all(a != b for a, b in changing)


def test_errors_of_a_short_episode_are_among_those_of_a_longer_one():
    ((task, draft),), policy = BENCH.items("evaluation", 5, 1, 0), policies.erring(0.5)

    def errors(n):
        cut = dataclasses.replace(draft, expert=draft.expert[:n])
        actions = policy(BENCH, task, cut, lexicon(3))
        return [i for i, (a, b) in enumerate(zip(actions, cut.expert, strict=True)) if a != b]

    assert errors(6) == [i for i in errors(12) if i < 6] != []


def test_policy_that_never_errs_is_the_expert():
    assert policies.evaluate(BENCH, policies.erring(0.0), 3, 20, 0) == 1.0
