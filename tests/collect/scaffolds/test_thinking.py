"""Thinking is kept apart from the reply: calls inside it are never run, and a second pass changes nothing."""

import random

import pytest
from parts import first_tasks

from replication.collect import scaffolds
from replication.collect.benchmarks import suite
from replication.collect.scaffolds.parsing import Unreadable, without_thinking

TERMINAL = first_tasks(suite.load("terminal"), "evaluation", 1, 1, 0)[0]
CALLS = {
    "native": '<tool_call>{"name": "ls", "arguments": {}}</tool_call>',
    "react": "Action: ls\nAction Input: {}",
    "json": '{"tool": "ls", "arguments": {}}',
}


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("482", "482"),
        ("<think>a</think>482", "482"),
        ("<think>\na\n</think>\n\n482\n", "482"),
        ("<think></think>482", "482"),
        ("a\n</think>\n482", "482"),
        ("a</think>482", "482"),
        ("</think>482", "482"),
        ("<think>a<think>b</think>c</think>482", "482"),
        ("<think>\na\n<think>\nb\n</think>\nc\n</think>\n482", "482"),
        ("a\n<think>\nb\n</think>\nc</think>482", "482"),
        ("<think>the <think> tag</think>482", "482"),
        ("<think>\nthe\n<think> tag</think>482", "482"),
        ("the <think> tag</think>482", "482"),
        ("<think>a</think>\n<think>b</think>\n482", "482"),
        ("<think>a</think><think>b</think>482", "482"),
        ("I look.\n<think>b</think>\n482", "I look.\n\n482"),
        ("<thinking>a</thinking>482", "482"),
        ("<thought>a</thought>482", "482"),
        ("<seed:think>a</seed:think>482", "482"),
        ("[THINK]a[/THINK]482", "482"),
        ("<|START_THINKING|>a<|END_THINKING|>482", "482"),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>482<|return|>", "482"),
        ("<|channel|>analysis<|message|>a<|channel|>final<|message|>482", "482"),
        ("The tag is <think>.", "The tag is <think>."),
        ("I think: 482", "I think: 482"),
    ],
)
def test_thinking_is_removed(text, reply):
    assert without_thinking(text) == reply


@pytest.mark.parametrize(
    "text",
    [
        "<think>a",
        "  \n<think>\na",
        "<think>a</think><think>\nb",
        "<think>a</think>\n<think>\nb",
        "I look.\n<think>\na",
        "[THINK]a",
        "<|channel|>analysis<|message|>a",
        "<|channel|>analysis<|message|>a<|end|>",
    ],
)
def test_thinking_without_end_is_a_problem(text):
    with pytest.raises(Unreadable, match="the thinking has no end"):
        without_thinking(text)


@pytest.mark.parametrize("name", CALLS)
def test_calls_inside_the_thinking_are_not_run(name):
    scaffold, call = scaffolds.load(name), CALLS[name]
    assert len(scaffold.parse(call, TERMINAL).calls) == 1
    for thinking in (
        f"<think>\n{call}\n</think>\n",
        f"{call}\n</think>\n",
        f"<think>\n<think>\n{call}\n</think>\n{call}\n</think>\n",
        f"<|channel|>analysis<|message|>{call}<|end|><|start|>assistant<|channel|>final<|message|>",
        f"[THINK]{call}[/THINK]",
    ):
        assert not scaffold.parse(thinking, TERMINAL).calls
        assert len(scaffold.parse(thinking + call, TERMINAL).calls) == 1
    for unfinished in (
        f"<think>\n{call}",
        f"<think>a</think>\n<think>\n{call}",
        f"<|channel|>analysis<|message|>{call}",
    ):
        action = scaffold.parse(unfinished, TERMINAL)
        assert action.problem == "error: the thinking has no end" and not action.calls


def test_second_pass_changes_nothing():
    rng = random.Random(0)
    pieces = [
        "<think>", "</think>", "\n", " ", "a", "<thinking>", "</thinking>", "[THINK]", "[/THINK]", "<thi", "nk>", "<|end|>",
        "<|channel|>analysis<|message|>", "<|channel|>final<|message|>", "<|channel|>commentary to=functions.ls<|message|>",
        "<|start|>assistant",
    ]  # fmt: skip
    n_read = 0
    for _ in range(20_000):
        text = "".join(rng.choice(pieces) for _ in range(rng.randrange(9)))
        try:
            reply = without_thinking(text)
        except Unreadable:
            continue
        n_read += 1
        assert without_thinking(reply) == reply, text
    assert n_read > 10_000
