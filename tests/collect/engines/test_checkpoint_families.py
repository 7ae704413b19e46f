"""Foreign families through vLLM: checkpoints whose replies are known, in every scaffold."""

import asyncio
import dataclasses
import os
import subprocess
import sys

import pytest
from families import FAMILIES, make_checkpoint
from parts import make_job

from replication.collect import runner
from replication.collect.engines.vllm import Options, VllmEngine
from replication.collect.interfaces import ModelRef
from replication.errors import EngineError, RequestRefused
from replication.records import Message, Request, Sampling
from replication.store import Store

pytestmark = [pytest.mark.vllm, pytest.mark.slow]

OBJECT = {
    "type": "object", "properties": {"a": {"enum": ["b"]}}, "required": ["a"], "additionalProperties": False,
}  # fmt: skip
SCAFFOLDS = ("native", "react", "json", "compact")


def make_engine():
    llm = {
        "enforce_eager": True, "enable_chunked_prefill": False, "max_num_batched_tokens": 8192,
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
    }  # fmt: skip
    return VllmEngine("float32", 8192, Options(device="cpu", max_num_seqs=8, kv_cache_gib=0.5, llm=llm))


@pytest.fixture(scope="module")
def engine():
    engine = make_engine()
    yield engine
    engine.close()


class Recording:
    """An engine that records the prompts of another as text."""

    def __init__(self, engine):
        self._engine, self.prompts = engine, []

    def __getattr__(self, name):
        return getattr(self._engine, name)

    async def generate(self, request):
        self.prompts.append((request, self._engine._tokenizer.decode(self._engine._chat.prompt(request).ids)))
        return await self._engine.generate(request)


def chain_of(name):
    """The reply is "ok" and the end of the turn, before that the thinking "hm"; after the end, "x" without end."""
    family = FAMILIES[name]
    end = {family.end_of_turn: "x", "o": "k", "k": family.end_of_turn}
    if name == "qwen3":
        return end | {"\n": "<think>", "<think>": "h", "h": "m", "m": "</think>", "</think>": "o"}
    return end | {family.before_reply: "o"}


def load(engine, folder, name):
    family = FAMILIES[name]
    path = make_checkpoint(folder / name, family, chain_of(name))
    engine.load(
        ModelRef(
            name=name, path=str(path), revision="r", reasoning_parser=family.reasoning_parser,
            template_options=family.options,
        )
    )  # fmt: skip


def ask(engine, *requests):
    async def main():
        return await asyncio.gather(*(engine.generate(r) for r in requests), return_exceptions=True)

    return asyncio.run(main())


def request(text="u", max_tokens=40, **fields):
    return Request(
        messages=(Message(role="user", content=text),), sampling=Sampling(temperature=0.0, max_tokens=max_tokens),
        seed=0, **fields,
    )  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(FAMILIES) - {"none"}))
def test_every_family_plays_an_episode_in_every_scaffold(engine, tmp_path, name):
    family = FAMILIES[name]
    load(engine, tmp_path, name)
    # The end of a turn is not part of the reply, and nothing follows it.
    (reply,) = ask(engine, request())
    n_thinking = 4 if name == "qwen3" else 0
    assert (reply.text, reply.thinking, reply.finish) == ("ok", "hm" if n_thinking else "", "stop")
    assert reply.n_completion_tokens == n_thinking + 3

    jobs = [
        make_job(
            "terminal",
            scaffold=s,
            tool_syntax=family.syntax,
            n_tasks=1,
            n_trials=1,
            model=s,
            max_turns=2,
            context=8_192,
        )
        for s in SCAFFOLDS
    ]
    has_slot = name != "gemma"
    recording, store = Recording(engine), Store(tmp_path / "store")
    for job in jobs:
        if job.scaffold.name != "native" or has_slot:
            assert runner.collect(store, recording, [job], concurrency=1, title="test").n_episodes == 1
            continue
        with pytest.raises(RequestRefused, match="no tool slot"):
            raise ask(engine, dataclasses.replace(request(), tools=job.tasks[0].tools))[0]
    table = store.score_table().set_index("scaffold")
    assert set(table.index) == set(SCAFFOLDS if has_slot else SCAFFOLDS[1:]) and table["value"].notna().all()
    assert not has_slot or table.loc["native", "stop_reason"] == "answer"
    assert table.loc["react", "stop_reason"] == "turn_limit"
    for asked, prompt in recording.prompts:
        system, task = asked.messages[0].content, asked.messages[1].content
        assert system in prompt and task in prompt
        assert all(tool.name in prompt for tool in jobs[0].tasks[0].tools)
        assert all(message.content.strip() in prompt for message in asked.messages if message.role == "user")
    assert max(len(asked.messages) for asked, _ in recording.prompts) == 4  # the second turn, after an observation
    if name == "qwen3":
        (episode,) = store.episodes(jobs[1].spec.run_id, trajectories=True)
        assert [m.thinking for m in episode.trajectory if m.role == "assistant"] == ["hm", "hm"]


def test_a_checkpoint_without_template_is_refused_when_it_is_loaded(engine, tmp_path):
    with pytest.raises(EngineError, match="`none` needs a chat template and has none"):
        load(engine, tmp_path, "none")
    with pytest.raises(EngineError, match="no checkpoint is loaded"):
        raise ask(engine, request())[0]


def test_a_schema_applies_after_the_thinking_and_at_once_where_it_is_switched_off(engine, tmp_path):
    load(engine, tmp_path, "qwen3")
    # An earlier turn that shows its thinking does not count as the end of this one.
    earlier = (
        Message(role="user", content="u"), Message(role="assistant", content="v", thinking="w"),
        Message(role="user", content="again"),
    )  # fmt: skip
    held = request(schema=OBJECT)
    replies = ask(engine, held, request(), dataclasses.replace(held, messages=earlier))
    assert [(r.thinking, r.text) for r in replies] == [("hm", '{"a":"b"}'), ("hm", "ok"), ("hm", '{"a":"b"}')]
    load(engine, tmp_path, "qwen3_no_thinking")
    assert [(r.thinking, r.text) for r in ask(engine, held)] == [("", '{"a":"b"}')]


REFUSED = {
    "multipleOf": {"type": "integer", "multipleOf": 3},
    "open reference": {"$ref": "#/$defs/nowhere"},
    "pattern": {"type": "string", "pattern": "(["},
    "no schema": {"type": 7},
    # Found when the grammar is compiled, after vLLM took the request: it then ends with reason `error`.
    "endless reference": {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}},
}


def test_refused_requests_fail_alone_and_the_engine_goes_on(engine, tmp_path):
    load(engine, tmp_path, "qwen2")
    refused = [request(schema=schema) for schema in REFUSED.values()]
    refused += [dataclasses.replace(request(), sampling=Sampling(temperature=0.0, top_p=7.0, max_tokens=4))]
    good = [request(), request(schema=OBJECT)]
    results = ask(engine, good[0], *refused, good[1])
    assert [getattr(r, "text", r) for r in (results[0], results[-1])] == ["ok", '{"a":"b"}']
    for one in results[1:-1]:
        assert isinstance(one, RequestRefused), one
        assert str(one).startswith("vLLM ") and "\n" not in str(one)
    # Nothing is left behind: other weights can be swapped in.
    assert not engine._stepper.busy and not engine._llm.llm_engine.has_unfinished_requests()
    assert [r.text for r in ask(engine, *good)] == ["ok", '{"a":"b"}']


@pytest.mark.parametrize(
    ("parser", "message"),
    [("deepseek", "no reasoning parser `deepseek`; allowed: .*deepseek_r1"), ("ernie45", "does not fit|cannot serve")],
)
def test_a_reasoning_parser_that_does_not_exist_or_fit_is_named(engine, tmp_path, parser, message):
    path = make_checkpoint(tmp_path / "m", FAMILIES["qwen2"], {})
    with pytest.raises(EngineError, match=message):
        engine.load(ModelRef(name="m", path=str(path), revision="r", reasoning_parser=parser))


def test_mkl_num_threads_of_the_environment_does_not_count():
    # torch with MKL prefers it to OMP_NUM_THREADS.
    code = """
import os
from replication.collect.engines.vllm import Options, VllmEngine
os.environ.update(VllmEngine("float32", 256, Options(device="cpu", max_num_seqs=2))._environment)
import torch
print(torch.get_num_threads())
"""
    environment = {**os.environ, "MKL_NUM_THREADS": "2", "OMP_NUM_THREADS": "2"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "1"
