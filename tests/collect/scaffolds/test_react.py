"""The react scaffold reads labelled actions and the final answer."""

import pytest
from parts import LONG, expert_script, first_tasks, make_job

from replication.collect import runner, scaffolds
from replication.collect.benchmarks import suite
from replication.collect.engines.scripted import ScriptedEngine
from replication.collect.interfaces import Action
from replication.records import Call
from replication.store import Store

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


def test_several_actions_are_read_in_order():
    action = read('Action: ls\nAction Input: {}\nThought: and\nAction: grep\nAction Input: {"word": "kavo"}')
    assert action.calls == (LS, GREP) and action.answer is None


def test_answer_after_an_action_is_given_without_its_result_and_ignored():
    action = read('Action: grep\nAction Input: {"word": "kavo"}\nThought: 482.\nFinal Answer: 482')
    assert action.calls == (GREP,) and action.answer is None


def test_action_after_an_answer_is_ignored():
    action = read("Final Answer: 482\n\nAction: ls\nAction Input: {}")
    assert action.answer == "482" and not action.calls


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("**Final Answer: 482**", "482"),
        ("**Final Answer: 482**\nThought: done.", "482"),
        ("**Final Answer:** 482", "482"),
        ("**Final Answer**: 482", "482"),
        ("**Final Answer:**\n482", "482"),
        ("### Final Answer: 482", "482"),
        ("### Final Answer:\n482", "482"),
        ("### Final Answer\n\n482", "482"),
        ("## **Final Answer**\n482", "482"),
        ("Final answer: 482", "482"),
        ("final answer: 482", "482"),
        ("FINAL ANSWER: 482", "482"),
        ("FINAL ANSWER\n482", "482"),
        ("- Final Answer: 482", "482"),
        ("> Final Answer: 482", "482"),
        ("`Final Answer: 482`", "482"),
        ("*Final Answer: 482*", "482"),
        ("_Final Answer_: 482", "482"),
        ("Final Answer 1: 482", "482"),
        ("Final Answer：482", "482"),
        ("Final Answer : 482", "482"),
        ("Thought: I know.\nAnswer: 482", "482"),
        ("Answer: maybe\nFinal Answer: 482", "482"),
        ("Final Answer: **482**", "482"),
        ("Final Answer: `no tool`", "no tool"),
        ("Final Answer:\n```\n482\n```", "482"),
        ("Final Answer: 482\n\nThought: that is all.", "482"),
        ("Final Answer: 482\n**Observation:** right", "482"),
        ("Final Answer: 482\nFinal Answer: 482", "482"),
        # Content, which is kept.
        ("Final Answer: 482.", "482."),
        ("Final Answer: **kwargs", "**kwargs"),
        ("Final Answer:**kwargs", "**kwargs"),
        ("**Final Answer:** **kwargs", "**kwargs"),
        ("**Final Answer: f(**kwargs)**", "f(**kwargs)"),
        ("Final Answer: __init__", "__init__"),
        ("Final Answer: **a** and **b**", "**a** and **b**"),
        ("Final Answer: `a` or `b`", "`a` or `b`"),
        ("Final Answer: a*", "a*"),
        ('Final Answer: "482"', '"482"'),
        ("Final Answer: # 482", "# 482"),
        ("Final Answer: Decision\nAction: call Bob\nAnswer: yes", "Decision\nAction: call Bob\nAnswer: yes"),
        ("Final Answer: run\n```\nls\n```\nnow", "run\n```\nls\n```\nnow"),
        ("Final Answer: Observations: none", "Observations: none"),
        ('Final Answer: {"a": [1]}', '{"a": [1]}'),
    ],
)
def test_answer_is_read_without_the_markup_around_it_and_with_all_inside(text, answer):
    action = read(text)
    assert (action.answer, action.calls, action.problem) == (answer, (), None)


@pytest.mark.parametrize(
    ("text", "calls"),
    [
        ("Action: ls()", (LS,)),
        ("Action: `ls()`", (LS,)),
        ("Action: ls.", (LS,)),
        ("Action: [ls]", (LS,)),
        ("ACTION: ls", (LS,)),
        ("### Action: ls", (LS,)),
        ("**Action: ls**", (LS,)),
        ("Action 1: ls", (LS,)),
        ("Action：ls", (LS,)),
        ("Action: ls {}", (LS,)),
        ('Action: grep("kavo")', (GREP,)),
        ("Action: grep('kavo')", (GREP,)),
        ('Action: grep(word="kavo")', (GREP,)),
        ('Action: grep({"word": "kavo"})', (GREP,)),
        ('Action: grep {"word": "kavo"}', (GREP,)),
        ('Action: grep: {"word": "kavo"}', (GREP,)),
        ('Action: grep\n{"word": "kavo"}', (GREP,)),
        ('Action: grep()\nAction Input: {"word": "kavo"}', (GREP,)),
        ('Action: grep (to find it)\nAction Input: {"word": "kavo"}', (GREP,)),
        ('Action: grep\nAction Input:\n{"word": "kavo"}', (GREP,)),
        ('Action: grep\nAction Input: ```json\n{"word": "kavo"}\n```', (GREP,)),
        ('Action: grep\nAction Input: `{"word": "kavo"}`', (GREP,)),
        ('action: grep\naction input: {"word": "kavo"}', (GREP,)),
        ('Action: grep\nAction_Input: {"word": "kavo"}', (GREP,)),
        ('Action 1: grep\nAction Input 1: {"word": "kavo"}', (GREP,)),
        ('- **Action**: grep\n- **Action Input**: {"word": "kavo"}', (GREP,)),
        ('Answer: I must look.\nAction: grep\nAction Input: {"word": "kavo"}', (GREP,)),
        (
            "Action: write('a(b).txt', 'it\\'s\\n)')",
            (Call(name="write", arguments={"file": "a(b).txt", "text": "it's\n)"}),),
        ),
    ],
)
def test_action_is_read_as_models_write_it(text, calls):
    action = read(text)
    assert (action.calls, action.answer, action.problem) == (calls, None, None)


def test_values_in_brackets_have_the_types_that_were_written():
    action = read('Action: write(file=None, text=[True, {"a": 1.5}])')
    assert action.problem and not action.calls  # True is no JSON inside a list
    assert read("Action: write(file=None, text=True)").calls[0].arguments == {"file": None, "text": True}
    assert read("Action: write(-3, [true, 1.5])").calls[0].arguments == {"file": -3, "text": [True, 1.5]}


def test_engine_ends_replies_before_an_observation():
    stop = SCAFFOLD.request_options(TERMINAL).stop
    thought = 'Thought: look.\nAction: grep\nAction Input: {"word": "kavo"}'
    for label in ("Observation:", "**Observation:**", "**Observation**:", "### Observation:"):
        text = f"{thought}\n{label} 482\nThought: good.\nFinal Answer: 482"
        cut = min(text.find(one) for one in stop if one in text)
        assert text[:cut] == thought
    # No expert writes one of them, whatever its values.
    written = SCAFFOLD.write(Action(calls=(Call(name="write", arguments={"file": "a", "text": "x\nObservation: y"}),)))
    assert not any(one in written for one in stop)


def test_model_that_invents_its_observations_plays_on_with_the_true_ones(tmp_path):
    job = make_job("terminal", scaffold="react", n_tasks=2, n_trials=1, **LONG)
    expert = expert_script(job)

    def inventing(request):
        assert request.stop
        text = f"Thought: go on.\n{expert(request)}\nObservation: invented\n\nThought: so.\nFinal Answer: invented"
        return text[: min(text.find(one) for one in request.stop if one in text)]

    store = Store(tmp_path)
    runner.collect(store, ScriptedEngine(inventing), [job], concurrency=2, title="test")
    table = store.score_table()
    assert table["value"].tolist() == [1.0, 1.0] and not table["n_malformed"].any()
    assert all("invented" not in m.content for e in store.episodes(job.spec.run_id, True) for m in e.trajectory)


def test_placeholders_of_the_prompt_are_no_content():
    system = SCAFFOLD.open(TERMINAL)[0].content
    assert "what to do next" not in system and "Final Answer: <answer>" in system
    assert "in place of <answer>" in read("Thought: <thought>\nFinal Answer: <answer>").problem
    example = 'Action: cat\nAction Input: {"file": "<file>"}'
    assert system.endswith(f"Thought: <thought>\n{example}") and read("hm").problem.endswith(example)
    assert read(example).problem == "error: write the value of file in place of <file>" and not read(example).calls
    assert read('Action: cat\nAction Input: {"file": "<file>.txt"}').calls
    assert read("Final Answer: <answer> is a tag").answer == "<answer> is a tag"


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
        ("Final Answer:", "the final answer is empty"),
        ("Action: None", "no tool None; there are: ls"),
        ("Action: look into the files\nAction Input: {}", "no tool look into the files"),
        ("Action: grep(kavo)", "after Action: name comes Action Input:"),
        ("Action: grep('a', 'b')", "after Action: name comes Action Input:"),
        ("Action: ls\nAction Input: {}\nAction: sudo\nAction Input: {}", "no tool sudo"),
        ("The final answer is 482.", "write Action:"),
        ("<tool_call>{}</tool_call>", "write Action:"),
        ("<think>\nAction: ls", "the thinking has no end"),
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
