"""The compact scaffold reads any text without raising and only what is meant."""

import random

import pytest
from parts import first_tasks

from replication.collect import scaffolds
from replication.collect.benchmarks import suite
from replication.errors import ConfigError
from replication.records import Call

SCAFFOLD = scaffolds.load("compact")
TERMINAL = first_tasks(suite.load("terminal"), "evaluation", 1, 1, 0)[0]
CALLING = next(
    t for t in first_tasks(suite.load("calling"), "evaluation", 3, 50, 0)
    if any(s["type"] == "integer" for tool in t.tools for s in tool.parameters["properties"].values())
)  # fmt: skip


def test_lines_become_calls_in_order_and_answer_ends_the_reply():
    action = SCAFFOLD.parse("ls\ncat notes.txt\nanswer all done\nrm notes.txt", TERMINAL)
    assert action.calls == (Call(name="ls", arguments={}), Call(name="cat", arguments={"file": "notes.txt"}))
    assert action.answer == "all done"


def test_last_value_takes_the_rest_of_the_line():
    action = SCAFFOLD.parse("write out.txt two words", TERMINAL)
    assert action.calls[0].arguments == {"file": "out.txt", "text": "two words"}


@pytest.mark.parametrize("text", ["", "hello", "cat", "ls extra", "cat\x00 x", "ls\nhello"])
def test_reply_that_is_no_command_is_a_problem_not_an_exception(text):
    action = SCAFFOLD.parse(text, TERMINAL)
    assert action.problem and not action.calls and action.answer is None


def test_numbers_are_read_as_numbers_and_huge_ones_refused():
    tool = next(t for t in CALLING.tools if any(s["type"] == "integer" for s in t.parameters["properties"].values()))
    kinds = [s["type"] for s in tool.parameters["properties"].values()]
    good = " ".join("12" if kind == "integer" else "mon" for kind in kinds)
    bad = " ".join("9" * 1_000_000 if kind == "integer" else "mon" for kind in kinds)
    words = " ".join("twelve" if kind == "integer" else "mon" for kind in kinds)
    assert 12 in SCAFFOLD.parse(f"{tool.name} {good}", CALLING).calls[0].arguments.values()
    assert SCAFFOLD.parse(f"{tool.name} {bad}", CALLING).problem
    assert SCAFFOLD.parse(f"{tool.name} {words}", CALLING).problem


def test_any_text_is_read_without_raising():
    rng = random.Random(0)
    pieces = ["cat", "write", "answer", " ", "\n", "\t", "\x00", "٣", "\ud800", "{", '"', "9" * 400, "x" * 5_000, "ls"]
    for task in (TERMINAL, CALLING):
        for _ in range(5_000):
            SCAFFOLD.parse("".join(rng.choice(pieces) for _ in range(rng.randrange(12))), task)
        SCAFFOLD.parse("x" * 1_000_000, task)


def test_unknown_scaffold_is_named():
    with pytest.raises(ConfigError, match="`scaffold` 'langchain' is unknown"):
        scaffolds.load("langchain")
