"""The json scaffold reads one object per reply, and its schema allows exactly what it reads."""

import dataclasses

import pytest
from parts import first_tasks

from replication.collect import scaffolds
from replication.collect.benchmarks import suite
from replication.records import Call

SCAFFOLD = scaffolds.load("json")
TERMINAL = first_tasks(suite.load("terminal"), "evaluation", 1, 1, 0)[0]
GREP = Call(name="grep", arguments={"word": "kavo"})
LS = Call(name="ls", arguments={})


def read(text):
    return SCAFFOLD.parse(text, TERMINAL)


@pytest.mark.parametrize(
    ("text", "calls", "answer"),
    [
        ('{"tool": "grep", "arguments": {"word": "kavo"}}', (GREP,), None),
        ('\n{ "arguments" : {"word":"kavo"},\n"tool":"grep"}\n', (GREP,), None),
        ('```json\n{"tool": "grep", "arguments": {"word": "kavo"}}\n```', (GREP,), None),
        ('```json\n{"tool": "ls"}', (LS,), None),
        ('```\n{"answer": "```"}\n```\n', (), "```"),
        ('<think>{"tool"</think>{"tool": "ls"}', (LS,), None),
        ('hm\n</think>\n\n{"tool": "ls"}', (LS,), None),
        ('{"answer": "<b>482</b>."}', (), "<b>482</b>."),
        ('{"calls": [{"tool": "ls", "arguments": {}}, {"tool": "grep", "arguments": {"word": "kavo"}}]}', (LS, GREP), None),
        ('{"answer": "a\\nb"}', (), "a\nb"),
        ('{"answer": ""}', (), ""),
    ],
)  # fmt: skip
def test_object_is_read_as_calls_or_answer(text, calls, answer):
    action = read(text)
    assert (action.calls, action.answer, action.problem) == (calls, answer, None)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "bad JSON"),
        ("done", "bad JSON"),
        ('{"tool": "grep", "arg', "bad JSON"),
        ('{"answer": "a"} {"answer": "b"}', "one JSON object and nothing else"),
        ('I look. {"tool": "ls"}', "one JSON object and nothing else"),
        ('{"tool": "ls"} now', "one JSON object and nothing else"),
        ('I look.\n```json\n{"tool": "ls"}\n```', "one JSON object and nothing else"),
        ('<think>{"tool": "ls"}', "the thinking has no end"),
        ('{"answer": "<answer>"}', "in place of <answer>"),
        ('{"tool": "<tool>", "arguments": {}}', "no tool <tool>"),
        ('{"name": "grep", "arguments": {"word": "kavo"}}', "write an object with tool"),
        ('{"grep": {"word": "kavo"}}', "write an object with tool"),
        ('["ls"]', "write an object with tool"),
        ('{"answer": 482}', "write an object with tool"),
        ('{"answer": "a", "tool": "ls"}', "a call must be an object with tool and arguments"),
        ('{"calls": []}', "write an object with tool"),
        ('{"calls": ["ls"]}', "a call must be"),
        ('{"tool": "ls", "arguments": {}, "why": "so"}', "a call must be"),
        ('{"tool": "sudo", "arguments": {}}', "no tool sudo"),
        ('{"tool": "ls", "arguments": []}', "arguments of ls must be a JSON object"),
        ('{"calls": [' + ",".join(['{"tool": "ls"}'] * 9) + "]}", "at most 8 calls"),
    ],
)
def test_reply_that_is_no_such_object_is_a_problem(text, problem):
    action = read(text)
    assert problem in action.problem and not action.calls and action.answer is None


def test_placeholders_of_the_prompt_are_no_content():
    system = SCAFFOLD.open(TERMINAL)[0].content
    forms = [line[line.index("{") :] for line in system.splitlines()[-3:]]
    assert [form.split(":")[0] for form in forms] == ['{"answer"', '{"calls"', '{"tool"']
    assert all(SCAFFOLD.parse(form, TERMINAL).problem for form in forms)


def test_lone_surrogates_of_escapes_do_not_reach_the_environment():
    text = SCAFFOLD.parse(r'{"answer": "\ud800 \ud83d\ude00 \udc00"}', TERMINAL).answer
    assert text == "\ufffd 😀 \ufffd"


def test_schema_allows_what_experts_write_and_nothing_that_names_no_tool():
    jsonschema = pytest.importorskip("jsonschema")
    import json

    for name in suite.NAMES:
        for level in suite.LEVELS:
            for task, draft in suite.load(name).items("evaluation", level, 5, 0):
                allows = jsonschema.Draft202012Validator(SCAFFOLD.request_options(task).schema).is_valid
                assert all(allows(json.loads(SCAFFOLD.write(action))) for action in draft.expert)
                wrong = (
                    {"tool": "sudo", "arguments": {}},
                    {"answer": 1},
                    {},
                    {"answer": "a", "tool": task.tools[0].name},
                )
                assert not any(allows(value) for value in wrong)


def test_task_without_tools_can_only_be_answered():
    schema = SCAFFOLD.request_options(dataclasses.replace(TERMINAL, tools=())).schema
    assert list(schema["properties"]) == ["answer"]
