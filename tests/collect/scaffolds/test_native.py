"""The native scaffold reads the call syntax of each family, and a message without a call as the answer."""

import pytest
from parts import first_tasks

from replication.collect import scaffolds
from replication.collect.benchmarks import suite
from replication.collect.scaffolds.native import SYNTAXES
from replication.errors import ConfigError
from replication.records import Call, Task, Tool

TERMINAL = first_tasks(suite.load("terminal"), "evaluation", 1, 1, 0)[0]
GREP = Call(name="grep", arguments={"word": "kavo"})
LS = Call(name="ls", arguments={})


def read(syntax, text, task=TERMINAL):
    return scaffolds.load("native", syntax).parse(text, task)


def typed_task():
    kinds = {"n": "integer", "x": "number", "yes": "boolean", "items": "array", "text": "string"}
    properties = {name: {"type": kind} for name, kind in kinds.items()}
    tool = Tool(name="set", description="", parameters={"type": "object", "properties": properties})
    return Task(id="t", benchmark="b", prompt="p", tools=(tool,), setup={})


# As the templates of the families write them; a text before the first call is thought and not part of it.
AS_TAUGHT = {
    "hermes": '<tool_call>\n{"name": "grep", "arguments": {"word": "kavo"}}\n</tool_call>\n'
    '<tool_call>\n{"name": "ls", "arguments": {}}\n</tool_call>',
    "qwen3_coder": "<tool_call>\n<function=grep>\n<parameter=word>\nkavo\n</parameter>\n</function>\n</tool_call>\n"
    "<tool_call>\n<function=ls>\n</function>\n</tool_call>",
    "llama3": '<|python_tag|>{"name": "grep", "parameters": {"word": "kavo"}}; {"name": "ls", "parameters": {}}',
    "xlam": '[{"name": "grep", "arguments": {"word": "kavo"}}, {"name": "ls", "arguments": {}}]',
    "pythonic": '[grep(word="kavo"), ls()]',
}


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_calls_are_read_as_the_family_was_taught_to_write_them(syntax):
    for text in (
        AS_TAUGHT[syntax],
        f"I look.\n{AS_TAUGHT[syntax]}",
        f"<think>\n{{ ls?\n</think>\n\n{AS_TAUGHT[syntax]}",
    ):
        action = read(syntax, text)
        assert action.calls == (GREP, LS) and action.answer is None and action.problem is None


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_message_without_a_call_is_the_answer_without_its_thinking(syntax):
    assert read(syntax, "The code is {482}.\n").answer == "The code is {482}."
    assert read(syntax, "<think>\nhm\n</think>\n\nno tool").answer == "no tool"
    assert read(syntax, "hm\n</think>\nno tool").answer == "no tool"
    assert read(syntax, "  \n").problem == "error: the reply is empty"
    assert read(syntax, "<think> and so on").problem == "error: the thinking has no end"


@pytest.mark.parametrize(
    ("syntax", "text"),
    [
        ("hermes", '<tool_call>{"name": "grep", "arguments": {"word": "kavo"}}'),
        ("hermes", '<tool_call>{"name": "grep", "arguments": "{\\"word\\": \\"kavo\\"}"}</tool_call>'),
        ("hermes", '<tool_call>{"name": "grep", "parameters": {"word": "kavo"}}</tool_call>'),
        ("qwen3_coder", "<function=grep><parameter=word>kavo</parameter></function>"),
        ("qwen3_coder", "<tool_call><function=grep><parameter=word>\nkavo"),
        ("llama3", '{"type": "function", "name": "grep", "parameters": {"word": "kavo"}}'),
        ("llama3", 'I call\n{"parameters": {"word": "kavo"}, "name": "grep"} now'),
        ("llama3", '{"name": "grep", "arguments": {"word": "kavo"}}'),
        ("xlam", '```json\n[{"name": "grep", "arguments": {"word": "kavo"}}]\n```'),
        ("xlam", '{"name": "grep", "parameters": {"word": "kavo"}}'),
        ("pythonic", "I look: [ grep( word='kavo' ) ]"),
        ("pythonic", '[grep(word="""kavo""",)]'),
    ],
)
def test_usual_slips_of_a_family_are_forgiven(syntax, text):
    assert read(syntax, text).calls == (GREP,)


@pytest.mark.parametrize(
    ("syntax", "text", "problem"),
    [
        ("hermes", '<tool_call>{"name": "grep", "arguments": {"word": "ka', "bad JSON: Unterminated string"),
        ("hermes", "<tool_call></tool_call>", "bad JSON: Expecting value"),
        ("hermes", "<tool_call>[1]</tool_call>", "must be a JSON object"),
        (
            "hermes",
            '<tool_call>{"name": "grep", "arguments": 3}</tool_call>',
            "arguments of grep must be a JSON object",
        ),
        (
            "hermes",
            '<tool_call>{"name": "sudo", "arguments": {}}</tool_call>',
            "no tool sudo; there are: ls, cat, grep",
        ),
        ("hermes", '<tool_call>{"name": {}, "arguments": {}}</tool_call>', "no tool of that name"),
        ("hermes", '<tool_call>{"name": "ls", "arguments": {"n": 1e999}}</tool_call>', "number too long"),
        ("hermes", '<tool_call>{"name": "ls", "arguments": {"n": NaN}}</tool_call>', "NaN is no JSON number"),
        ("hermes", '<tool_call>{"name": "ls", "arguments": {}}' * 9, "at most 8 calls"),
        ("qwen3_coder", "<tool_call>grep kavo</tool_call>", "no <function=name>"),
        ("qwen3_coder", "<function=sudo></function>", "no tool sudo"),
        ("llama3", '{"name": "grep", "parameters": {"word"', "bad JSON"),
        ("llama3", '<|python_tag|>brave_search.call(query="kavo")', "no JSON object with name and parameters"),
        ("xlam", '[{"name": "grep", "arguments": {"word"', "not a call; to use grep"),
        ("xlam", '[{"name": "sudo", "arguments": {}}]', "no tool sudo"),
        ("pythonic", '[grep(word="kavo"', "the list of calls is not closed"),
        ("pythonic", '[grep("kavo")]', "a list of calls with named arguments"),
        ("pythonic", "[grep(word=open('x'))]", "bad list of calls at 'open'"),
        ("pythonic", "[grep(word=b'kavo')]", "bad list of calls at 'b'"),
        ("pythonic", "[grep(word=1e999)]", "number too long"),
        ("pythonic", '[sudo(word="kavo")]', "no tool sudo"),
        ("pythonic", "[ls()" + ", ls()" * 8 + "]", "at most 8 calls"),
        ("pythonic", "[grep(word=" + "(" * 5000 + ")]", "nested too deeply"),
    ],
)
def test_malformed_call_is_a_problem_and_not_an_answer(syntax, text, problem):
    action = read(syntax, text)
    assert problem in action.problem and not action.calls and action.answer is None


def test_values_of_the_xml_syntax_get_the_type_of_the_schema_and_stay_text_where_they_have_another():
    def given(**values):
        inner = "".join(f"<parameter={k}>\n{v}\n</parameter>" for k, v in values.items())
        return read("qwen3_coder", f"<function=set>{inner}</function>", typed_task()).calls[0].arguments

    assert given(n="12", x="0.5", yes="true", items='["a"]') == {"n": 12, "x": 0.5, "yes": True, "items": ["a"]}
    assert given(text="12") == {"text": "12"} and given(text="\n{\n") == {"text": "\n{\n"}
    assert given(n="twelve", items="[1", unknown="7") == {"n": "twelve", "items": "[1", "unknown": "7"}


def test_object_with_a_name_but_no_arguments_is_part_of_an_answer():
    table = '[{"name": "kavo", "code": 482}]'
    assert read("llama3", table).answer == table


def test_tags_inside_a_string_of_a_call_are_its_text():
    text = '<tool_call>{"name": "grep", "arguments": {"word": "</tool_call><tool_call>"}}</tool_call>'
    assert read("hermes", text).calls == (Call(name="grep", arguments={"word": "</tool_call><tool_call>"}),)


def test_tools_go_to_the_template_and_results_come_back_as_tool_messages():
    scaffold = scaffolds.load("native")
    options = scaffold.request_options(TERMINAL)
    assert options.tools == TERMINAL.tools and options.schema is None
    assert all(tool.description not in m.content for m in scaffold.open(TERMINAL) for tool in TERMINAL.tools)
    message = scaffold.observe(["a.txt", "ok"])
    assert message.role == "tool"
    assert message.content == "a.txt\n</tool_response>\n<tool_response>\nok"


def test_each_syntax_is_another_version_and_an_unknown_one_is_named():
    assert len({scaffolds.load("native", syntax).version for syntax in SYNTAXES}) == len(SYNTAXES)
    with pytest.raises(ConfigError, match="`tool_syntax` 'mistral' is unknown; allowed: hermes"):
        scaffolds.load("native", "mistral")


@pytest.mark.slow
@pytest.mark.vllm
@pytest.mark.parametrize(
    ("syntax", "parser"),
    [("hermes", "hermes"), ("llama3", "llama3_json"), ("xlam", "xlam"), ("pythonic", "pythonic")],
)
def test_calls_are_those_that_vllm_reads(syntax, parser):
    # Its parser for Qwen3-Coder needs a package that the CPU lock does not hold.
    import json
    from pathlib import Path

    from transformers import AutoTokenizer
    from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
    from vllm.tool_parsers import ToolParserManager

    import replication.collect.training

    tokenizer = AutoTokenizer.from_pretrained(Path(replication.collect.training.__file__).parent / "bases" / "s")
    tokenizer.add_tokens(["<tool_call>", "</tool_call>", "<|python_tag|>"])
    reference = ToolParserManager.get_tool_parser(parser)(tokenizer)
    request = ChatCompletionRequest(messages=[{"role": "user", "content": "x"}], model="m")
    scaffold = scaffolds.load("native", syntax)
    texts = [(TERMINAL, AS_TAUGHT[syntax])]
    for name in suite.NAMES:
        for task, draft in suite.load(name).items("evaluation", 5, 10, 0):
            texts += [(task, scaffold.write(action)) for action in draft.expert]
    for task, text in texts:
        found = reference.extract_tool_calls(text, request).tool_calls
        expected = tuple(Call(name=c.function.name, arguments=json.loads(c.function.arguments)) for c in found)
        assert scaffold.parse(text, task).calls == expected
