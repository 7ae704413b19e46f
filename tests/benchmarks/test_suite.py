"""Both environments: experts solve, floors do not, splits are disjoint, hostile input does nothing."""

import dataclasses
import os
import random
import subprocess
import sys

import pytest

from replication import scaffolds
from replication.benchmarks import suite
from replication.benchmarks.suite.words import SPLITS, Lexicon, split_of
from replication.errors import ConfigError
from replication.interfaces import Action
from replication.records import Call, Episode, Message

NAMES = ("calling", "terminal")


def episode(task, actions, stop_reason="answer"):
    messages = [Message(role="assistant", content="", calls=a.calls, answer=a.answer) for a in actions]
    return Episode(
        run_id="r", task_id=task.id, task_hash=task.content_hash, trial=0, trajectory=tuple(messages),
        stop_reason=stop_reason, n_turns=len(messages), n_malformed=0, n_prompt_tokens=0, n_completion_tokens=0,
        seeds=(), seconds_s=0.0,
    )  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("level", suite.LEVELS)
def test_expert_solves_every_task_and_doing_nothing_solves_none(name, level):
    bench = suite.load(name)
    for task, draft in bench.items("evaluation", level, 60, 0):
        assert bench.grade(task, episode(task, draft.expert)).value == 1.0, task.id
        assert bench.grade(task, episode(task, [Action(answer="")])).value == 0.0, task.id


@pytest.mark.parametrize("name", NAMES)
def test_random_valid_calls_solve_almost_nothing(name):
    bench, rng = suite.load(name), random.Random(0)
    total = 0.0
    for task, draft in bench.items("evaluation", 1, 200, 0):
        words = [*task.prompt.split(), "done", "1"]
        actions = []
        for _ in range(3):
            tool = rng.choice(task.tools)
            kinds = {k: v["type"] for k, v in tool.parameters["properties"].items()}
            actions.append(Action(calls=(Call(name=tool.name, arguments={
                k: rng.randrange(100) if kind == "integer" else rng.choice(words) for k, kind in kinds.items()
            }),)))  # fmt: skip
        total += bench.grade(task, episode(task, actions)).value
        assert draft.key
    assert total / 200 <= 0.05


@pytest.mark.parametrize("name", NAMES)
def test_expert_is_written_and_read_back_by_the_compact_scaffold(name):
    bench, scaffold = suite.load(name), scaffolds.load("compact")
    for level in suite.LEVELS:
        for task, draft in bench.items("train", level, 50, 3):
            for action in draft.expert:
                assert scaffold.parse(scaffold.write(action), task) == action


@pytest.mark.parametrize("name", NAMES)
def test_answer_key_does_not_stand_in_prompt_or_tools(name):
    bench = suite.load(name)
    for task, draft in bench.items("evaluation", 1, 100, 0):
        shown = task.prompt + str([dataclasses.asdict(t) for t in task.tools])
        if name == "terminal":
            for call in draft.expert[-2].calls:
                value = call.arguments.get("text")
                assert value is None or value not in task.prompt.split()
        assert "expert" not in shown


@pytest.mark.parametrize("name", NAMES)
def test_splits_share_no_content_and_no_made_up_name(name):
    bench = suite.load(name)
    hashes = {split: {t.content_hash for t in bench.tasks(split, 1, 500, 0)} for split in SPLITS}
    assert all(len(found) == 500 for found in hashes.values())
    assert not hashes["train"] & hashes["evaluation"]
    assert not hashes["calibration"] & hashes["evaluation"]
    prompts = {split: {t.prompt for t in bench.tasks(split, 1, 500, 0)} for split in SPLITS}
    assert not prompts["train"] & prompts["evaluation"]


def test_made_up_names_belong_to_their_split():
    import numpy as np

    for split in SPLITS:
        lexicon = Lexicon(np.random.default_rng(0), split)
        assert {split_of(name) for name in lexicon.names(300)} == {split}


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_gives_same_tasks_in_another_process_with_another_hash_seed(name):
    code = f"""
from replication.benchmarks import suite
print("".join(t.content_hash for t in suite.load({name!r}).tasks("evaluation", 3, 50, 7)))
"""
    here = "".join(t.content_hash for t in suite.load(name).tasks("evaluation", 3, 50, 7))
    env = os.environ | {"PYTHONHASHSEED": "12345", "PYTHONPATH": os.pathsep.join(sys.path)}
    there = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=env)
    assert there.stdout.strip() == here
    other = "".join(t.content_hash for t in suite.load(name).tasks("evaluation", 3, 50, 8))
    assert other != here


HOSTILE = [
    None, True, -1, 10**30, 1.5, [], {}, "", " ", "\x00", "../../etc/passwd", "a" * 100_000, "ls; rm -rf /", "\ud800",
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_hostile_calls_get_a_bounded_answer_and_never_raise(name):
    bench, rng = suite.load(name), random.Random(1)
    (task,) = bench.tasks("evaluation", 2, 1, 0)
    world = bench.start(task)
    names = [tool.name for tool in task.tools] + ["", "__class__", "step", "files", "a" * 10_000]
    keys = ["file", "target", "text", "word", "who", "id", "people", "x" * 1000]
    for _ in range(5_000):
        arguments = {rng.choice(keys): rng.choice(HOSTILE) for _ in range(rng.randrange(4))}
        seen = world.step(Call(name=rng.choice(names), arguments=arguments))
        assert isinstance(seen, str) and len(seen) <= 4_100


def test_terminal_memory_stays_bounded():
    bench = suite.load("terminal")
    (task,) = bench.tasks("evaluation", 1, 1, 0)
    world = bench.start(task)
    for i in range(1000):
        world.step(Call(name="write", arguments={"file": f"f{i}", "text": "x" * 4000}))
    assert len(world.files) <= 64


def test_terminal_change_elsewhere_fails():
    bench = suite.load("terminal")
    for task, draft in bench.items("evaluation", 1, 20, 0):
        extra = Action(calls=(Call(name="write", arguments={"file": "stray", "text": "x"}),))
        assert bench.grade(task, episode(task, [*draft.expert[:-1], extra])).value == 0.0


def test_terminal_right_files_count_even_when_the_turn_limit_ended_the_episode():
    bench = suite.load("terminal")
    for task, draft in bench.items("evaluation", 1, 20, 0):
        assert bench.grade(task, episode(task, draft.expert[:-1], "turn_limit")).value == 1.0


def test_calling_wrong_value_or_doubled_call_fails():
    bench = suite.load("calling")
    checked = 0
    for task, draft in bench.items("evaluation", 1, 60, 0):
        acting = [a for a in draft.expert if a.calls and not a.calls[-1].name.startswith("find_")]
        if acting:
            checked += 1
            assert bench.grade(task, episode(task, [*draft.expert[:-1], acting[-1]])).value == 0.0
    assert checked > 20


def test_calling_refusal_must_name_its_reason():
    bench = suite.load("calling")
    refusing = [(t, d) for t, d in bench.items("evaluation", 1, 100, 0) if d.key["answer"] != "done"]
    assert len(refusing) > 10
    for task, draft in refusing:
        assert bench.grade(task, episode(task, [*draft.expert[:-1], Action(answer="done")])).value == 0.0


@pytest.mark.parametrize("name", NAMES)
def test_failed_engine_is_unscored_not_zero(name):
    bench = suite.load(name)
    (task,) = bench.tasks("evaluation", 1, 1, 0)
    assert bench.grade(task, episode(task, [], "engine_error")).value is None


def test_unknown_benchmark_split_and_level_are_named():
    with pytest.raises(ConfigError, match="not in the suite"):
        suite.load("chess")
    with pytest.raises(ConfigError, match="split='test'"):
        suite.load("calling").tasks("test", 1, 1, 0)
    with pytest.raises(ConfigError, match="level=9"):
        suite.load("calling").tasks("train", 9, 1, 0)
