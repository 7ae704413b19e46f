"""Requirements of all environments: experts solve every task, floors none, levels grow, and no task comes twice."""

import os
import subprocess
import sys
from itertools import pairwise

import pytest

from replication.collect.benchmarks import suite
from replication.collect.benchmarks.suite import LEVELS, policies

N_TASKS = 200
N_DISTINCT = 10_000

each_environment = pytest.mark.parametrize("name", suite.NAMES)
each_level = pytest.mark.parametrize("level", LEVELS)


def check_expert_and_floors(name, level, n):
    bench = suite.load(name)
    for task, draft in bench.items(policies.SPLIT, level, n, 0):
        world = bench.start(task)
        for call in (call for action in draft.expert for call in action.calls):
            world.step(call)
        assert bench.environment.grade(task, draft.key, world, draft.expert[-1].answer).value == 1.0, task.id
    assert policies.evaluate(bench, policies.nothing, level, n, 0) == 0.0
    assert policies.evaluate(bench, policies.random_valid, level, n, 0) <= 0.05


@each_environment
@each_level
def test_expert_solves_every_task_and_floors_none(name, level):
    check_expert_and_floors(name, level, 10)


@pytest.mark.slow
@each_environment
@each_level
def test_expert_solves_two_hundred_tasks_and_floors_none(name, level):
    check_expert_and_floors(name, level, N_TASKS)


@each_environment
def test_environment_names_itself_and_its_domain(name):
    environment = suite.load(name).environment
    assert environment.name == name
    assert environment.domain in ("in", "out")
    assert all((environment.version, environment.modelled_on, environment.metric, environment.about))


@pytest.mark.slow
@each_environment
def test_fixed_error_rate_costs_more_at_every_level(name):
    bench = suite.load(name)
    scores = [policies.evaluate(bench, policies.erring(0.1), level, N_TASKS, 0) for level in LEVELS]
    assert all(harder < easier for easier, harder in pairwise(scores)), scores


@pytest.mark.slow
@each_environment
def test_ten_thousand_tasks_contain_none_twice(name):
    bench = suite.load(name)
    assert len({bench.item("train", 1, index, 0).task.content_hash for index in range(N_DISTINCT)}) == N_DISTINCT


PRINT_HASHES = """
from replication.collect.benchmarks.suite import LEVELS, load
from replication.records import stable_hash
for name in {names}:
    bench = load(name)
    print(name, stable_hash([bench.generate("train", level, index, 7) for level in LEVELS for index in range({n})]))
"""


def hashes_elsewhere(n, hash_seed):
    # Prompt, tools, setup, key and expert, not the content hash alone.
    environment = os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.pathsep.join(sys.path)}
    code = PRINT_HASHES.format(names=list(suite.NAMES), n=n)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return done.stdout.split("\n")


def check_bytes(n):
    one, other = hashes_elsewhere(n, "1"), hashes_elsewhere(n, "54321")
    assert one == other
    assert len(set(one)) == len(suite.NAMES) + 1


def test_same_seed_gives_the_same_bytes_in_another_process_with_another_hash_seed():
    check_bytes(1)


@pytest.mark.slow
def test_same_seed_gives_the_same_bytes_of_many_drafts_in_another_process_with_another_hash_seed():
    check_bytes(100)
