"""Native: calls in another syntax are malformed and told the right one; answers with JSON, tags and code stay answers."""

import dataclasses
import time

import pytest
from parts import first_tasks

from replication.collect import scaffolds
from replication.collect.benchmarks import suite
from replication.collect.scaffolds.native import SYNTAXES
from replication.records import Task, Tool

TERMINAL = first_tasks(suite.load("terminal"), "evaluation", 1, 1, 0)[0]
"""Its tools: ls, cat, grep, write, mv, cp, rm."""


def tool(name, **properties):
    schema = {"type": "object", "properties": {key: {"type": kind} for key, kind in properties.items()}}
    return Tool(name=name, description="", parameters=schema)


WORDS = Task(
    id="t", benchmark="b", prompt="p", setup={},
    tools=(tool("list"), tool("open", page="integer"), tool("set", item="string"), tool("search.web", query="string")),
)  # fmt: skip
"""Tools whose names are words that an answer may have."""

MALFORMED = {
    "hermes": [
        '{"name": "grep", "arguments": {"word": "kavo"}}',
        '```json\n{"name": "grep", "arguments": {"word": "kavo"}}\n```',
        '```\n{"name": "grep", "arguments": {"word": "kavo"}}\n```',
        'I look.\n\n{"name": "grep", "arguments": {"word": "kavo"}}',
        '{"arguments": {"word": "kavo"}, "name": "grep"}',
        '[{"name": "grep", "arguments": {"word": "kavo"}}]',
        '{"name": "grep", "parameters": {"word": "kavo"}}',
        '{"tool": "grep", "arguments": {"word": "kavo"}}',
        '{"tool_name": "grep", "tool_input": {"word": "kavo"}}',
        '{"action": "grep", "action_input": {"word": "kavo"}}',
        '{"type": "function", "function": {"name": "grep", "arguments": "{}"}}',
        '{"recipient_name": "functions.grep", "parameters": {"word": "kavo"}}',
        '{"grep": {"word": "kavo"}}',
        '```json\n{"grep": {"word": "kavo"}}\n```',
        '{"name": "ls"}',
        '```json\n{"name": "ls"}\n```',
        '{"ls": {}}',
        "{'name': 'grep', 'arguments': {'word': 'kavo'}}",
        '{"name": "grep", "arguments": {"word": "ka',
        '{"name": "grep", "arguments": {"word": "kavo"}}\n</tool_call>',
        '<tool_call\n{"name": "grep", "arguments": {"word": "kavo"}}',
        '<tool_call>grep("kavo")</tool_call>',
        'The call goes within <tool_call></tool_call> XML tags:\n```\n{"name": "grep", "arguments": {"word": "kavo"}}\n```',
        '<tools>{"name": "grep", "arguments": {"word": "kavo"}}</tools>',
        "<tools>\ngrep kavo\n</tools>",
        '<tools>{"type": "function", "function": {"name": "ls", "parameters": {}}}</tools>',
        '<function_call>{"name": "grep", "arguments": {"word": "kavo"}}</function_call>',
        '<functioncall> {"name": "grep", "arguments": \'{"word": "kavo"}\'}',
        "<function=grep><parameter=word>kavo</parameter></function>",
        "<function=grep>\n<parameter=word>\nkavo",
        '<function=grep>{"word": "kavo"}</function>',
        '<invoke name="grep"><parameter name="word">kavo</parameter></invoke>',
        '<|python_tag|>grep.call(word="kavo")',
        '<|python_tag|>{"name": "grep", "parameters": {"word": "kavo"}}',
        '[TOOL_CALLS][{"name": "grep", "arguments": {"word": "kavo"}}]',
        '[TOOL_CALLS]grep[ARGS]{"word": "kavo"}',
        '<|tool_call|>[{"name": "grep", "arguments": {"word": "kavo"}}]',
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>grep\n```json\n{}\n```",
        '<|channel|>commentary to=functions.grep <|constrain|>json<|message|>{"word": "kavo"}<|call|>',
        '```tool_code\nprint(grep("kavo"))\n```',
        'grep("kavo")',
        "grep('kavo')",
        'grep(word="kavo")',
        'grep({"word": "kavo"})',
        "grep(kavo)",
        "`ls()`",
        'I look into it.\n\ngrep("kavo")',
        '```python\ngrep(word="kavo")\n```',
        '```python\nprint(grep(word="kavo"))\n```\nThis finds it.',
        '[grep(word="kavo")]',
        'Action: grep\nAction Input: {"word": "kavo"}',
        "Thought: look.\n**Action:** `ls`",
        "Tool: ls",
    ],
    "llama3": [
        '{"tool": "grep", "arguments": {"word": "kavo"}}',
        '{"name": "ls"}',
        "<function=grep>{\"word\": \"kavo\"}</function>",
        '[grep(word="kavo")]',
        'grep("kavo")',
        "<tool_call>ls</tool_call>",
    ],
    "qwen3_coder": [
        '{"name": "grep", "arguments": {"word": "kavo"}}',
        '```json\n{"name": "grep", "arguments": {"word": "kavo"}}\n```',
        'grep("kavo")',
        "<tools>ls</tools>",
    ],
}  # fmt: skip

ANSWERS = [
    '{"answer": 482}',
    '```json\n{"code": 482}\n```',
    '[{"name": "kavo", "code": 482}]',
    '{"name": "sudo", "arguments": {"word": "kavo"}}',
    '{"name": "kavo", "parameters": "three"}',
    "```python\ndef grep(word):\n    return word\n```",
    "```python\nx = read('a.txt')\nprint(x)\n```",
    'I used grep("kavo") and found 482.',
    "The files are those that ls() lists: a.txt, b.txt.",
    "grep found 482.",
    "grep(kavo) found 482 in a.txt (line 3)",
    "ls() and cat(file) show it",
    "The task is to mark a door, 604 as floor, and 245 as line.",  # this and the next: replies of SmolLM2-135M-Instruct
    'Here is the code:\n\n```python\ndef mend(x):\n    return {"name": f"mend{x}", "arguments": [{"name": "mend"}]}\n```',
    "ls, cat and grep",
    "grep kavo",
    "<b>482</b>",
    "The tag is <tools>.",
    "<function=other> is in a.txt",
    "Use <code>cat</code> to see it.",
    "cat (the animal) and rm (the command)",
    "no tool",
    "missing word",
    "482",
    "f(3) = 12",
    "The action: none was needed.",
    "Action: none",
    '"name": "kavo"',
    '{"files": {"a.txt": "482"}, "tool": "hammer"}',
]

ANSWERS_IN_WORDS = [
    '{"list": ["a", "b"]}',
    '{"list": {"a": 1}}',
    '{"open": {"day": 3}}',
    '[{"name": "list", "size": 3}]',
    "The tag is <tools> in the list.",
    "open (the shop) is on the list",
    "```python\nx = list()\nwith open(path) as f:\n    set(f)\n```",
    "```python\nfor line in open(name):\n    open(line, mode)\n```",
    "The <function> tag lists them.",
]

CALLS_OF_UNKNOWN_TOOLS = {
    "llama3": ('{"name": "sudo"', '{"name": "kavo", "parameters"'),
    "xlam": ('{"name": "sudo"', '{"name": "kavo", "parameters"'),
    "qwen3_coder": ("<function=other>",),
}
"""What is a call in the syntax itself, of whatever tool."""


@pytest.mark.parametrize(("syntax", "text"), [(syntax, text) for syntax in MALFORMED for text in MALFORMED[syntax]])
def test_call_in_another_syntax_is_malformed_and_the_right_one_is_told(syntax, text):
    action = scaffolds.load("native", syntax).parse(text, TERMINAL)
    assert action.answer is None and not action.calls
    if "<tool_call>" in text:  # the reader of the syntax finds what is wrong in its own tag
        assert SYNTAXES[syntax].form.split("NAME")[0] in action.problem
    else:
        name = "grep" if "grep" in text else "ls"
        assert f"to use {name}, reply {SYNTAXES[syntax].form.replace('NAME', name)}" in action.problem


@pytest.mark.parametrize("syntax", SYNTAXES)
@pytest.mark.parametrize("text", ANSWERS)
def test_answer_with_json_tags_or_code_stays_an_answer(syntax, text):
    if text.startswith(CALLS_OF_UNKNOWN_TOOLS.get(syntax, ())):
        pytest.skip("a call of an unknown tool in this syntax")
    action = scaffolds.load("native", syntax).parse(text, TERMINAL)
    assert (action.answer, action.calls, action.problem) == (text, (), None)


@pytest.mark.parametrize("text", ANSWERS_IN_WORDS)
def test_names_of_tools_that_are_common_words_do_not_make_an_answer_a_call(text):
    action = scaffolds.load("native").parse(text, WORDS)
    assert (action.answer, action.problem) == (text, None)


@pytest.mark.parametrize(
    ("text", "name"), [("list()", "list"), ("open(3)", "open"), ('search.web(query="x")', "search.web")]
)
def test_a_call_of_such_a_tool_is_one_all_the_same(text, name):
    assert f"to use {name}, reply" in scaffolds.load("native").parse(text, WORDS).problem


def test_right_call_beside_one_in_another_syntax_is_run():
    text = '{"name": "ls"}\n<tool_call>{"name": "grep", "arguments": {"word": "kavo"}}</tool_call>'
    assert [call.name for call in scaffolds.load("native").parse(text, TERMINAL).calls] == ["grep"]


def test_form_that_is_told_is_read_once_its_gaps_are_filled():
    fill = {"hermes": ("{...}", "{}"), "llama3": ("{...}", "{}"), "qwen3_coder": ("<parameter=...>...</parameter>", "")}
    for syntax, (gap, value) in fill.items():
        scaffold, form = scaffolds.load("native", syntax), SYNTAXES[syntax].form.replace("NAME", "ls")
        assert not scaffold.parse(form, TERMINAL).answer and gap in form
        assert [call.name for call in scaffold.parse(form.replace(gap, value), TERMINAL).calls] == ["ls"]


def test_task_without_tools_has_no_calls():
    text = '{"name": "grep", "arguments": {}}'
    assert scaffolds.load("native").parse(text, dataclasses.replace(TERMINAL, tools=())).answer == text


HARD = [
    "grep(", "grep(\n", "grep('", 'grep("', "grep('\\'", "grep([", "grep(word=", "grep({", "grep(a=1,", "\nprint(grep(",
    "print(", '{"name": "grep" ', '{"grep": {', '{"arguments": {"', '<tool_call>{"name":', "<tool_call>", "<tools>",
    "```json\n",
    "```", "`", "Action: ", "Action: grep(", "Action: ls\n", "Action: ls\n\n\n\n\n", "\nAction: ls(", "\nAction Input: ",
    "Final Answer", "Final Answer: **", "\nAnswer: ", "\n> - # * `", "**", "_*`", " ", "\n", "\t\n", "'\\", ",", "<think>",
    "</think>", "\n<think>", "</think>\n<think>", "<|channel|>", "<|channel|>analysis<|message|>",
    "<|channel|>x<|constrain|>",
]  # fmt: skip


@pytest.mark.parametrize("piece", HARD)
@pytest.mark.parametrize("name", ["native", "react", "json"])
def test_time_of_a_parser_grows_with_the_length_of_a_reply_and_not_with_its_square(name, piece):
    scaffold = scaffolds.load(name)
    for text in (piece * (99_000 // len(piece)), "Final Answer: " + piece * (99_000 // len(piece)) + "x"):
        started = time.process_time()
        scaffold.parse(text, TERMINAL)
        assert time.process_time() - started < 1.5  # about 0.02 s; a square of 100,000 steps takes minutes
