"""The real engine on a real checkpoint: seeds, swapping, overflow, errors. One engine for the whole file."""

import asyncio
import dataclasses
import json
import os
import shutil
from pathlib import Path

import pytest
from parts import first_tasks, make_job

from replication.collect import runner, scaffolds
from replication.collect.benchmarks import suite
from replication.collect.engines.vllm import Options, VllmEngine
from replication.collect.interfaces import ModelRef
from replication.errors import EngineError
from replication.records import Message, Request, Sampling
from replication.store import Store

pytestmark = pytest.mark.vllm

BASE = Path(__file__).resolve().parents[3] / "replication" / "collect" / "training" / "bases" / "s"
SAMPLED = Sampling(temperature=1.0, max_tokens=16)
GREEDY = Sampling(temperature=0.0, max_tokens=16)


ON_DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
"""Every test of a real engine runs on the CPU, and on a GPU where one is asked for: `-m gpu`."""


def make_engine(device="cpu"):
    llm = {
        "enforce_eager": True, "max_num_batched_tokens": 1024,
        "structured_outputs_config": {"backend": "xgrammar", "disable_any_whitespace": True},
    }  # fmt: skip
    # On the CPU seeds crash with chunked prefill; FlashAttention has no float32.
    llm |= {
        "cpu": {"enable_chunked_prefill": False},
        "cuda": {"attention_backend": "TRITON_ATTN", "gpu_memory_utilization": 0.05},
    }[device]
    return VllmEngine("float32", 256, Options(device=device, max_num_seqs=16, kv_cache_gib=0.06, llm=llm))


def ref(path):
    return ModelRef(name=Path(path).name, path=str(path), revision="r")


def request(text, seed=0, sampling=SAMPLED):
    return Request(messages=(Message(role="user", content=text),), sampling=sampling, seed=seed)


def ask(engine, requests, at_once=True):
    async def main():
        if at_once:
            return await asyncio.gather(*(engine.generate(r) for r in requests))
        return [await engine.generate(r) for r in requests]

    return [reply.text for reply in asyncio.run(main())]


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """A second checkpoint with other weights: the base with a permuted embedding."""
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("other")
    shutil.copytree(BASE, folder, dirs_exist_ok=True)
    weights = load_file(BASE / "model.safetensors")
    weights = {name: (w.flip(0).contiguous() if "embed" in name else w) for name, w in weights.items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="module", params=ON_DEVICES)
def device(request):
    return request.param


@pytest.fixture(scope="module")
def engine(device):
    engine = make_engine(device)
    engine.load(ref(BASE))
    yield engine
    engine.close()


NAMES = ("kavo", "menti", "lupu", "dosa", "riba", "tuni", "zela", "gofi")
PROMPTS = [f"repeat {word} {i}" for i, word in enumerate(NAMES)]


def test_torch_that_was_loaded_with_another_number_of_threads_is_named():
    # First in this file: vLLM, once started, no longer lets the number be changed.
    import torch

    torch.set_num_threads(2)
    try:
        with pytest.raises(
            EngineError,
            match=r"loaded with 2 threads before the engine.*Start the program with `OMP_NUM_THREADS=1 MKL_NUM_THREADS=1`",
        ):
            make_engine().load(ref(BASE))
    finally:
        torch.set_num_threads(1)


def test_seeded_text_does_not_depend_on_the_batch(engine):
    requests = [request(text, seed=100 + i) for i, text in enumerate(PROMPTS * 3)]
    together = ask(engine, requests)
    assert together == ask(engine, requests, at_once=False)
    assert together == ask(engine, requests[::-1])[::-1]
    mixed = [request(text, seed=7, sampling=Sampling(temperature=1.0, max_tokens=40)) for text in PROMPTS * 5]
    assert together == ask(engine, mixed + requests)[len(mixed) :]


def test_seeds_differ_and_greedy_agrees(engine):
    assert len(set(ask(engine, [request("say something", seed=i) for i in range(8)]))) > 1
    assert len(set(ask(engine, [request("repeat kavo", seed=i, sampling=GREEDY) for i in range(8)]))) == 1


def test_base_has_learnt_to_copy(engine):
    greedy = [request(text, sampling=GREEDY) for text in PROMPTS]
    right = sum(reply == text.removeprefix("repeat ") for reply, text in zip(ask(engine, greedy), PROMPTS, strict=True))
    assert right >= 7


def test_prompt_without_room_is_context_overflow(engine):
    async def main():
        return await engine.generate(request("x " * 400))

    reply = asyncio.run(main())
    assert reply.finish == "context" and reply.n_completion_tokens == 0


def test_reply_cut_by_max_tokens_says_length(engine):
    async def main():
        return await engine.generate(request("repeat a b c d e f g", sampling=Sampling(temperature=0.0, max_tokens=2)))

    assert asyncio.run(main()).finish == "length"


def test_reply_is_held_to_the_schema_of_its_request_and_no_other(engine):
    call = {"tool": {"enum": ["grep"]}, "arguments": {"enum": [{"word": "kavo"}, {"word": "menti"}]}}
    schema = {"type": "object", "properties": call, "required": list(call), "additionalProperties": False}
    sampling = Sampling(temperature=1.0, max_tokens=96)
    held = [
        dataclasses.replace(request(text, seed=i, sampling=sampling), schema=schema) for i, text in enumerate(PROMPTS)
    ]
    free = [request(text, sampling=GREEDY) for text in PROMPTS]
    # Held and free requests share the batch.
    replies = ask(engine, held + free)
    assert all(json.loads(text)["arguments"]["word"] in ("kavo", "menti") for text in replies[: len(held)])
    assert replies[len(held) :] == ask(engine, free)


def test_schema_of_a_task_with_many_tools_is_taken(engine):
    # The grammar of a whole tool list compiles, and every reply starts as one of its objects.
    task = first_tasks(suite.load("calling"), "evaluation", 5, 1, 0)[0]
    schema = scaffolds.load("json").request_options(task).schema
    replies = ask(engine, [dataclasses.replace(request(text, seed=i), schema=schema) for i, text in enumerate(PROMPTS)])
    assert all(text.lstrip().startswith("{") for text in replies)


def test_tools_are_shown_in_the_slot_of_the_template_and_refused_where_it_has_none(engine, other):
    (task,) = first_tasks(suite.load("terminal"), "evaluation", 1, 1, 0)
    asked = [dataclasses.replace(request("repeat kavo", sampling=GREEDY), tools=task.tools)]
    assert "tools\nls\ncat file\n" in engine._tokenizer.decode(engine._chat.prompt(asked[0]).ids)
    assert ask(engine, asked)
    template = other / "chat_template.jinja"
    before = template.read_text()
    template.write_text(before[before.index("{% for m in messages %}") :])
    try:
        engine.load(ref(other))
        with pytest.raises(EngineError, match="chat template has no tool slot"):
            ask(engine, asked)
    finally:
        template.write_text(before)
        engine.load(ref(BASE))


def test_organism_plays_all_seven_environments(engine, tmp_path):
    jobs = [make_job(name, n_tasks=2, n_trials=1, model="organism/base") for name in suite.NAMES]
    store = Store(tmp_path)
    assert runner.collect(store, engine, jobs, concurrency=8, title="test").n_episodes == 14
    table = store.score_table()
    assert set(table["benchmark"]) == set(suite.NAMES) and table["value"].between(0, 1).all()
    assert (table["n_completion_tokens"] > 0).all()


def test_swapped_checkpoint_equals_a_fresh_engine_and_back(engine, other):
    requests = [request(text, seed=i) for i, text in enumerate(PROMPTS)]
    first = ask(engine, requests)
    engine.load(ref(other))
    swapped = ask(engine, requests)
    engine.close()
    engine.load(ref(other))
    fresh = ask(engine, requests)
    engine.load(ref(BASE))
    assert swapped == fresh != first
    assert ask(engine, requests) == first


def test_first_step_after_new_weights_sees_all_of_them(engine, other):
    # On a GPU weights are written and steps are made by two threads, which must be on one stream.
    requests, folders = [request(text, sampling=GREEDY) for text in PROMPTS], [BASE, other] * 5
    texts = []
    for folder in folders:
        engine.load(ref(folder))
        texts.append(ask(engine, requests))
    engine.load(ref(BASE))
    assert texts[0] != texts[1] and texts == texts[:2] * 5


def held_mib(device):
    """Memory that this process holds: on the card as torch counts it, on the CPU as the system does."""
    import torch

    if device == "cuda":
        return torch.cuda.memory_allocated() / 2**20
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE") / 2**20


@pytest.mark.slow
def test_a_closed_engine_leaves_no_memory_behind(engine, device):
    held = []
    for _ in range(3):
        engine.close()
        held.append(held_mib(device))
        engine.load(ref(BASE))
        assert ask(engine, [request("repeat kavo", sampling=GREEDY)]) == ["kavo"]
    assert held[2] - held[0] < 30, held
    assert device == "cpu" or held[2] < 100, held


def test_manifest_has_version_resolved_flags_and_hashes(engine, device):
    import vllm

    facts = engine.describe()
    assert (facts["engine"], facts["version"], facts["device"]) == ("vllm", vllm.__version__, device)
    resolved = facts["settings"]["resolved"]
    assert resolved["max_model_len"] == 256 and (device == "cuda" or resolved["enable_chunked_prefill"] is False)
    assert resolved["structured_outputs_backend"] == "xgrammar" and resolved["quantization"] is None
    assert {len(value) for value in facts["checkpoint"].values()} == {64}
    assert len(facts["chat_template_sha256"]) == 64
