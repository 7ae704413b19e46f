"""Prompts of foreign families: what a template cannot show is adapted or refused, and no text becomes a control token."""

import dataclasses
import datetime
import json
from pathlib import Path

import pytest
from families import FAMILIES, Family, make_tokenizer
from parts import SCAFFOLDS, first_tasks

from replication.collect import scaffolds
from replication.collect.benchmarks import suite
from replication.collect.engines.vllm.chat import Chat
from replication.collect.engines.vllm.control_tokens import ControlTokens
from replication.collect.engines.vllm.thinking import Thinking
from replication.collect.training.organism import load_tokenizer
from replication.errors import EngineError, RequestRefused
from replication.records import Message, Request, Sampling, Tool

BASE = Path(__file__).resolve().parents[3] / "replication" / "collect" / "training" / "bases" / "s"
TEXTS = (
    "hello world, the code of kavo is 482",
    "grep kavo notes.txt",
    "def f(x): return x + 1",
    "<|im_end|> [/INST] </s>",
)
TALKING = sorted(set(FAMILIES) - {"none"})
TOOL = Tool(name="grep", description="find", parameters={"type": "object", "properties": {"word": {"type": "string"}}})


def system(text):
    return Message(role="system", content=text)


def user(text):
    return Message(role="user", content=text)


def assistant(text, thinking=""):
    return Message(role="assistant", content=text, thinking=thinking)


def result(text):
    return Message(role="tool", content=text)


def request(*messages, **fields):
    return Request(messages=messages, sampling=Sampling(temperature=0.0, max_tokens=8), seed=0, **fields)


def chat_of(tokenizer, options=None, date=datetime.date(2026, 1, 1)):
    return Chat(tokenizer, name="m", date=date, thinking=Thinking(tokenizer), options=options or {})


@pytest.fixture(scope="module")
def tokenizers():
    return {name: make_tokenizer(FAMILIES[name], TEXTS) for name in FAMILIES}


def family_chat(tokenizers, name):
    return chat_of(tokenizers[name], FAMILIES[name].options)


def shown(tokenizers, name, *messages, **fields):
    """Render as text."""
    return tokenizers[name].decode(family_chat(tokenizers, name).prompt(request(*messages, **fields)).ids)


# templates


@pytest.mark.parametrize("name", TALKING)
def test_a_whole_episode_is_shown_by_every_family(tokenizers, name):
    dialogue = [
        system("be brief"),
        user("find kavo"),
        assistant("grep kavo"),
        result("kavo 1"),
        assistant("hm"),
        result("done"),
    ]
    text = shown(tokenizers, name, *dialogue)
    at = [text.index(message.content) for message in dialogue]
    # Mistral shows the system text in the last message of a user.
    assert at[1:] == sorted(at[1:]) and (at[0] < at[1] or name == "mistral")


@pytest.mark.parametrize("name", TALKING)
def test_adaptations_are_those_that_the_family_needs_and_are_named(tokenizers, name):
    facts = family_chat(tokenizers, name).facts()
    expected = [f"messages of role {role} are shown as role user" for role in FAMILIES[name].adaptations]
    assert facts["adaptations"] == expected and facts["date"] == "2026-01-01"


def test_system_text_is_joined_with_the_first_message_where_there_is_no_system_role(tokenizers):
    text = shown(tokenizers, "gemma", system("be brief"), user("find kavo"), assistant("ls"), result("notes"))
    assert text == (
        "<bos><start_of_turn>user\nbe brief\n\nfind kavo<end_of_turn>\n<start_of_turn>model\nls<end_of_turn>\n"
        "<start_of_turn>user\nnotes<end_of_turn>\n<start_of_turn>model\n"
    )


def test_of_a_list_of_templates_the_one_for_tools_is_used_with_tools(tokenizers):
    assert "<tools>" in shown(tokenizers, "hermes", system("s"), user("u"), tools=(TOOL,))
    assert "<tools>" not in shown(tokenizers, "hermes", system("s"), user("u"))


@pytest.mark.parametrize(
    ("template", "message"),
    [
        (None, "`m` needs a chat template and has none.*chat_template.jinja"),
        (
            {"rag": "{{ messages }}", "tool_use": "{{ messages }}"},
            "several chat templates, rag, tool_use, none named default",
        ),
        ("{{ raise_exception('only for images') }}", "refused a conversation: TemplateError: only for images"),
        ("{% for m in messages %}{{ m.content.text }}{% endfor %}", "does not show the text of a user"),
        ("{{ messages[0].content }}", "does not show all messages of a dialogue"),
        ("{% if %}", "TemplateSyntaxError"),
        ("{{ 1 // 0 }}", "ZeroDivisionError"),
    ],
)
def test_a_checkpoint_whose_template_cannot_hold_an_episode_is_refused_when_it_is_loaded(tokenizers, template, message):
    tokenizer = make_tokenizer(dataclasses.replace(FAMILIES["qwen2"], template=template))
    with pytest.raises(EngineError, match=message):
        chat_of(tokenizer)


def test_the_single_entry_of_a_list_is_the_template():
    family = dataclasses.replace(
        FAMILIES["hermes"], template=[{"name": "chatml", "template": FAMILIES["qwen2"].template}]
    )
    assert chat_of(make_tokenizer(family)).facts()["adaptations"] == []


@pytest.mark.parametrize("name", TALKING)
def test_a_tool_slot_is_found_by_rendering(tokenizers, name):
    if name == "gemma":
        with pytest.raises(RequestRefused, match="no tool slot"):
            shown(tokenizers, name, system("s"), user("u"), tools=(TOOL,))
    else:
        assert '"grep"' in shown(tokenizers, name, system("s"), user("u"), tools=(TOOL,))


def test_a_template_that_only_mentions_tools_has_no_slot():
    template = "{# tools are not supported #}" + FAMILIES["hermes"].template[0]["template"]
    chat = chat_of(make_tokenizer(dataclasses.replace(FAMILIES["hermes"], template=template)))
    with pytest.raises(RequestRefused, match="no tool slot"):
        chat.prompt(request(user("u"), tools=(TOOL,)))


def test_a_message_that_the_template_drops_is_refused_with_its_text():
    template = (
        FAMILIES["hermes"].template[0]["template"].replace("{{ m.content }}", "{{ m.content.replace('kavo', '') }}")
    )
    chat = chat_of(make_tokenizer(dataclasses.replace(FAMILIES["hermes"], template=template)))
    with pytest.raises(RequestRefused, match="does not show a message of role user: 'find kavo'"):
        chat.prompt(request(user("find kavo")))


def test_text_that_the_tokenizer_refuses_fails_its_request(tokenizers):
    with pytest.raises(RequestRefused, match="refused a prompt"):
        family_chat(tokenizers, "qwen2").prompt(request(user("a lone \ud800 surrogate")))


@pytest.mark.parametrize("name", TALKING)
def test_a_turn_ends_with_the_token_of_the_template(tokenizers, name):
    family, stops = FAMILIES[name], family_chat(tokenizers, name).stop_token_ids
    ends = {*tokenizers[name].convert_ids_to_tokens(stops), family.eos}
    assert family.end_of_turn in ends and len(stops) == (name in ("llama3", "gemma"))


# the date


def test_the_date_in_a_prompt_is_that_of_the_options(tokenizers):
    assert "Today Date: 01 Jan 2026\n" in shown(tokenizers, "llama3", system("s"), user("u"))
    chat = chat_of(tokenizers["llama3"], date=datetime.date(2031, 12, 24))
    assert "Today Date: 24 Dec 2031\n" in tokenizers["llama3"].decode(chat.prompt(request(user("u"))).ids)
    assert chat.facts()["date"] == "2031-12-24"


# thinking


def test_a_variable_that_the_template_does_not_have_is_refused(tokenizers):
    with pytest.raises(EngineError, match="no variable `enable_thinkin`"):
        chat_of(tokenizers["qwen3"], {"enable_thinkin": False})


def test_earlier_thinking_is_shown_as_the_template_has_it(tokenizers):
    dialogue = [user("u"), assistant("ls", thinking="where is it?"), user("kavo")]
    assert "<think>\nwhere is it?\n</think>\n\nls<|im_end|>" in shown(tokenizers, "qwen3", *dialogue)
    assert "where is it?" not in shown(tokenizers, "qwen2", *dialogue)


def test_prompts_say_whether_the_thinking_is_open(tokenizers):
    opening = dataclasses.replace(
        FAMILIES["qwen3"], template=FAMILIES["qwen2"].template.removesuffix("{% endif %}") + "<think>\n{% endif %}"
    )
    states = {
        name: family_chat(tokenizers, name).prompt(request(user("u"))).state
        for name in ("qwen2", "qwen3", "qwen3_no_thinking")
    }
    assert states == {"qwen2": "free", "qwen3": "free", "qwen3_no_thinking": "closed"}
    chat = chat_of(make_tokenizer(opening))
    assert chat.prompt(request(user("u"))).state == "open" and chat.thinks


def test_a_schema_for_a_model_that_thinks_needs_its_parser(tokenizers):
    with pytest.raises(RequestRefused, match="reasoning_parser"):
        family_chat(tokenizers, "qwen3").prompt(request(user("u"), schema={"type": "object"}))
    for name in ("qwen3_no_thinking", "qwen2"):
        assert family_chat(tokenizers, name).prompt(request(user("u"), schema={"type": "object"})).ids


@pytest.mark.parametrize(
    ("reply", "state", "thinking", "text"),
    [
        ("<think>\na\n</think>\n\nls", "free", "a", "ls"),
        ("a</think>ls", "open", "a", "ls"),
        ("a and no end", "open", "a and no end", ""),
        ("<think>a and no end", "free", "a and no end", ""),
        ("ls", "free", "", "ls"),
        ("ls", "closed", "", "ls"),
        ("grep </think> notes", "free", "", "grep </think> notes"),
        ("grep <think> notes", "closed", "", "grep <think> notes"),
        ("<think></think>a</think>b", "free", "", "a</think>b"),
    ],
)
def test_thinking_is_split_from_the_reply(tokenizers, reply, state, thinking, text):
    assert Thinking(tokenizers["qwen3"]).split(reply, state) == (thinking, text)


# control tokens

SPELT = (
    "<|im_end|>",
    "<|im_start|>system",
    "[INST]",
    "[/INST]",
    "</s>",
    "<|eot_id|>",
    "<end_of_turn>",
    "<bos>",
    "<|endoftext|>",
)


@pytest.mark.parametrize("name", TALKING)
def test_text_never_becomes_a_control_token(tokenizers, name):
    tokenizer, chat = tokenizers[name], family_chat(tokenizers, name)
    control = set(tokenizer.all_special_ids) | {tokenizer.convert_tokens_to_ids(t) for t in FAMILIES[name].special}

    def frame(text):
        dialogue = [system(text), user(f"a {text}"), assistant(f"b{text}", thinking=text), result(f"{text} c")]
        ids = chat.prompt(request(*dialogue)).ids
        return ids, [index for index in ids if index in control]

    _, plain = frame("word")
    for spelt in (*SPELT, "".join(SPELT), "<|im_<|im_end|>end|>", "\ufdd00\ufdd1 </s>", "\ufdd10\ufdd0 </s>"):
        ids, found = frame(spelt)
        assert found == plain, spelt
        assert "\ufdd0" in spelt or tokenizer.decode(ids).count(spelt) >= 4, spelt


@pytest.mark.parametrize("name", [*TALKING, "organism"])
def test_a_control_token_in_one_message_leaves_the_ids_of_the_others_unchanged(tokenizers, name):
    tokenizer = load_tokenizer(BASE) if name == "organism" else tokenizers[name]
    chat = chat_of(tokenizer, FAMILIES[name].options if name != "organism" else {})
    # Blanks and breaks at the borders, where pieces that are encoded apart would merge otherwise.
    before = [user(" the code \n"), assistant("grep kavo  "), user("\tx + 1"), assistant("hm")]
    ordinary = chat.prompt(request(*before, user("and 482"))).ids
    spelt = chat.prompt(request(*before, user(f"and {tokenizer.eos_token}482"))).ids
    same = next(i for i, (a, b) in enumerate(zip(ordinary, spelt)) if a != b)
    assert tokenizer.decode(ordinary[:same]).endswith(("and", "and "))
    after = next(i for i, (a, b) in enumerate(zip(ordinary[::-1], spelt[::-1])) if a != b)
    rest = tokenizer.decode(chat.prompt(request(*before, user("and"))).ids).rpartition("and")[2]
    assert tokenizer.decode(ordinary[-after:]).endswith(rest)


def test_tokens_of_calls_in_the_models_own_messages_stay_tokens():
    family = Family(
        **{f.name: getattr(FAMILIES["llama3"], f.name) for f in dataclasses.fields(Family)}
        | {"special": (*FAMILIES["llama3"].special, "<|python_tag|>")}
    )
    tokenizer = make_tokenizer(family)
    chat, tag, end = chat_of(tokenizer), *tokenizer.convert_tokens_to_ids(["<|python_tag|>", "<|eot_id|>"])
    dialogue = [user("u <|python_tag|>"), assistant('<|python_tag|>{"name": "ls"}<|eot_id|>'), result("<|python_tag|>")]
    native = chat.prompt(request(*dialogue, tools=(TOOL,))).ids
    # One end for each message, and one for the system message that the template adds.
    assert native.count(tag) == 1 and native.count(end) == 4
    assert tag not in chat.prompt(request(*dialogue)).ids


# Of the families that adapt a role, only conversations without it are shown as they are.
AS_THEY_ARE = [
    (name, scaffold)
    for name in ("organism", *TALKING)
    for scaffold in SCAFFOLDS
    if name != "gemma" and not (name == "mistral" and scaffold[0] in ("native", "compact"))
]


@pytest.mark.parametrize(("name", "scaffold"), AS_THEY_ARE)
def test_ordinary_prompts_have_the_ids_of_the_template(tokenizers, name, scaffold):
    tokenizer = load_tokenizer(BASE) if name == "organism" else tokenizers[name]
    chat = chat_of(tokenizer, FAMILIES[name].options if name != "organism" else {})
    chosen = scaffolds.load(*scaffold)
    for benchmark in suite.NAMES:
        task = first_tasks(suite.load(benchmark), "evaluation", 1, 1, 0)[0]
        expert = suite.load(benchmark).generate(**suite.place_of(task)).expert
        messages = [*chosen.open(task), assistant(chosen.write(expert[0])), chosen.observe(["ok: 482 "])]
        tools = chosen.request_options(task).tools
        described = [
            {"type": "function", "function": {"name": t.name, "description": t.description, "parameters": t.parameters}}
            for t in tools
        ]
        text = tokenizer.apply_chat_template(
            [{"role": m.role, "content": m.content} for m in messages], tools=described or None, tokenize=False,
            add_generation_prompt=True, strftime_now=lambda form: datetime.date(2026, 1, 1).strftime(form),
            **(FAMILIES[name].options if name != "organism" else {}),
        )  # fmt: skip
        ordinary = tokenizer(text, add_special_tokens=False).input_ids
        assert chat.prompt(request(*messages, tools=tools)).ids == ordinary


def test_a_vocabulary_that_cannot_spell_a_control_token_refuses_it():
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    # A Unigram model takes the piece itself, as it is in its vocabulary.
    tokenizer = Tokenizer(models.Unigram([("</s>", 0.0), ("a", -1.0), ("▁", -1.0)], 1, False))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    wrapped = PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>")
    control = ControlTokens(wrapped)
    assert control.encode(control.hide("a a")) == wrapped("a a").input_ids
    with pytest.raises(RequestRefused, match=r"</s>.*cannot be written as ordinary text"):
        control.encode(control.hide("a </s>"))


def test_control_tokens_in_the_descriptions_of_tools_are_text_too(tokenizers):
    tool = dataclasses.replace(
        TOOL, description="<|im_end|>", parameters=TOOL.parameters | {"description": ["<|im_start|>"]}
    )
    chat, end = family_chat(tokenizers, "qwen2"), tokenizers["qwen2"].convert_tokens_to_ids("<|im_end|>")
    ids = chat.prompt(request(user("u"), tools=(tool,))).ids
    assert ids.count(end) == chat.prompt(request(user("u"), tools=(TOOL,))).ids.count(end)
    assert json.dumps("<|im_end|>") in tokenizers["qwen2"].decode(ids)
