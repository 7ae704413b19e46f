"""The react scaffold reads labelled actions and the final answer."""

import pytest
from parts import first_tasks

from replication.collect import scaffolds
from replication.collect.benchmarks import suite
from replication.records import Call

SCAFFOLD = scaffolds.load("react")
TERMINAL = first_tasks(suite.load("terminal"), "evaluation", 1, 1, 0)[0]
GREP = Call(name="grep", arguments={"word": "kavo"})
LS = Call(name="ls", arguments={})


def read(text):
    return SCAFFOLD.parse(text, TERMINAL)


@pytest.mark.parametrize(
    "text",
    [
        'Thought: look.\nAction: grep\nAction Input: {"word": "kavo"}',
        '<think>\nAction: rm\n</think>\nAction: grep\nAction Input: {"word": "kavo"}',
        '**Thought:** look.\n**Action:** `grep`\n**Action Input:** {"word": "kavo"}',
        'Action: "grep"\n\nAction Input:\n```json\n{"word": "kavo"}\n```',
        'Action: grep\r\nAction Input: {"word": "kavo"}\r\nObservation: nothing\nFinal Answer: 482',
    ],
)
def test_action_is_read_and_an_invented_observation_is_not(text):
    action = read(text)
    assert action.calls == (GREP,) and action.answer is None and action.problem is None


def test_final_answer_takes_the_rest_of_the_reply():
    assert read("Thought: done.\nFinal Answer: a, b\nc | d\n").answer == "a, b\nc | d"


def test_several_actions_are_read_in_order_and_before_the_answer():
    action = read('Action: ls\nAction Input: {}\nThought: and\nAction: grep\nAction Input: {"word": "kavo"}')
    assert action.calls == (LS, GREP) and action.answer is None
    action = read('Action: grep\nAction Input: {"word": "kavo"}\nFinal Answer: done')
    assert action.calls == (GREP,) and action.answer == "done"


def test_tool_without_parameters_needs_no_input():
    assert read("Action: ls").calls == (LS,)
    assert read("Action: ls\nAction Input: none").calls == (LS,)


def test_labels_inside_a_string_are_its_text():
    text = 'Action: write\nAction Input: {"file": "a.txt", "text": "x\nFinal Answer: y"}'
    action = read(text)
    assert action.calls[0].arguments["text"] == "x\nFinal Answer: y" and action.answer is None


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "write Action:"),
        ("I would look into the files.", "write Action:"),
        ("Observation: done\nFinal Answer: done", "write Action:"),
        ("Action: grep", "after Action: name comes Action Input:"),
        ("Action: grep\nAction Input: kavo", "after Action: name comes Action Input:"),
        ('Action: grep\nAction Input: {"word": "kavo"', "bad JSON"),
        ("Action: sudo\nAction Input: {}", "no tool sudo; there are: ls"),
        ("Action: ls\n" * 9, "at most 8 calls"),
    ],
)
def test_reply_that_is_no_action_is_a_problem(text, problem):
    action = read(text)
    assert problem in action.problem and not action.calls and action.answer is None


def test_everything_stands_in_messages_that_any_template_has():
    assert SCAFFOLD.request_options(TERMINAL).tools == () and SCAFFOLD.request_options(TERMINAL).schema is None
    system, user = SCAFFOLD.open(TERMINAL)
    assert all(tool.description in system.content for tool in TERMINAL.tools) and user.content == TERMINAL.prompt
    shown = SCAFFOLD.observe(["a.txt", "ok"])
    assert (shown.role, shown.content) == ("user", "Observation: a.txt\nObservation: ok")
