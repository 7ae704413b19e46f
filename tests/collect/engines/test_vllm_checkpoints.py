"""The engine serves the checkpoint that it was asked for: a swap equals a fresh engine, and a failed load leaves nothing."""

import asyncio
import json
import shutil
from pathlib import Path

import huggingface_hub.constants
import pytest
from parts import write_hub_cache

from replication.collect import checkpoints
from replication.collect.engines.vllm import Options, VllmEngine
from replication.collect.interfaces import ModelRef
from replication.errors import EngineError
from replication.records import Message, Request, Sampling

pytestmark = [pytest.mark.vllm, pytest.mark.slow]

BASE = Path(__file__).resolve().parents[3] / "replication" / "collect" / "training" / "bases" / "s"
PROMPTS = [
    f"repeat {word} {i}" for i, word in enumerate(("kavo", "menti", "lupu", "dosa", "riba", "tuni", "zela", "gofi"))
]


@pytest.fixture
def engine():
    llm = {"enforce_eager": True, "enable_chunked_prefill": False, "max_num_batched_tokens": 1024}
    engine = VllmEngine("float32", 256, Options(device="cpu", max_num_seqs=16, kv_cache_gib=0.06, llm=llm))
    yield engine
    engine.close()


def ref(path, **about):
    return ModelRef(name="m", path=str(path), **{"revision": "r"} | about)


def texts(engine):
    """Greedy and sampled replies of the loaded checkpoint, each with the length of its prompt."""

    async def main():
        requests = [
            Request(
                messages=(Message(role="user", content=text),), seed=i,
                sampling=Sampling(temperature=temperature, max_tokens=24),
            )
            for i, text in enumerate(PROMPTS) for temperature in (0.0, 1.0)
        ]  # fmt: skip
        return await asyncio.gather(*(engine.generate(request) for request in requests))

    return [(reply.text, reply.n_prompt_tokens) for reply in asyncio.run(main())]


def edit_json(file, **changes):
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def edit_weights(folder, change):
    from safetensors.torch import load_file, save_file

    weights = load_file(folder / "model.safetensors")
    change(weights)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


def permute(weights):
    weights["model.embed_tokens.weight"] = weights["model.embed_tokens.weight"].flip(0).contiguous()


def spell_every_word(folder):
    tokenizer = json.loads((folder / "tokenizer.json").read_text())
    tokenizer["model"]["merges"] = []
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))


def add_a_word(folder):
    template = folder / "chat_template.jinja"
    template.write_text(template.read_text().replace("m['content']", "m['content'] + ' zela'"))


def end_at_a_frequent_token(folder):
    vocabulary = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    edit_json(folder / "generation_config.json", eos_token_id=[2, vocabulary["Ġ"]])


VARIANTS = {
    "weights": lambda folder: edit_weights(folder, permute),
    "rope": lambda folder: edit_json(folder / "config.json", rope_parameters={"rope_theta": 20.0, "rope_type": "default"}),
    "eos": end_at_a_frequent_token,
    "defaults": lambda folder: edit_json(folder / "generation_config.json", repetition_penalty=9.0, top_k=1),
    "tokenizer": spell_every_word,
    "template": add_a_word,
}  # fmt: skip
"""What a second checkpoint has that the base has not."""


def variant(tmp_path, name, change=None):
    folder = tmp_path / name
    shutil.copytree(BASE, folder)
    (change or VARIANTS[name])(folder)
    return folder


def test_text_after_any_other_checkpoint_is_that_of_a_fresh_engine(engine, tmp_path):
    folders = {"base": BASE} | {name: variant(tmp_path, name) for name in VARIANTS}
    fresh, after = {}, {}
    for name, folder in folders.items():
        engine.close()
        engine.load(ref(folder))
        fresh[name] = texts(engine)
    swapped = set()
    for name in ("base", "weights", "base", "rope", "weights", "eos", "tokenizer", "defaults"):  # after the template
        before = engine._llm
        engine.load(ref(folders[name]))
        swapped |= {name} if engine._llm is before else set()
        after[name] = texts(engine)
        assert after[name] == fresh[name], name
    assert swapped == {"weights", "base"}
    assert fresh["defaults"] == fresh["base"]
    assert all(fresh[name] != fresh["base"] for name in VARIANTS if name != "defaults")
    facts = engine.describe()["generation_config"]
    assert facts["stated"]["repetition_penalty"] == 9.0 and facts["taken"] == {"eos_token_id": 2}


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("LlamaForCausalLM", {"tie_word_embeddings": False}),
        ("Qwen2ForCausalLM", {"tie_word_embeddings": True}),
        ("Gemma2ForCausalLM", {"head_dim": 32}),
    ],
)
def test_swap_equals_a_fresh_engine_in_other_architectures(engine, tmp_path, kind, settings):
    import torch
    import transformers

    small = {
        "vocab_size": 1024, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2, "eos_token_id": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 512, "dtype": "float32",
    }  # fmt: skip
    cls = getattr(transformers, kind)
    for seed in range(2):
        torch.manual_seed(seed)
        folder = tmp_path / str(seed)
        cls(cls.config_class(**small | settings)).save_pretrained(folder)
        for file in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
            shutil.copy(BASE / file, folder / file)
    engine.load(ref(tmp_path / "1"))
    fresh, first = texts(engine), engine._llm
    engine.load(ref(tmp_path / "0"))
    other = texts(engine)
    engine.load(ref(tmp_path / "1"))
    assert engine._llm is first and engine.describe()["all_tensors_found"]
    assert texts(engine) == fresh != other
    engine.close()
    engine.load(ref(tmp_path / "0"))
    assert texts(engine) == other


BROKEN = {
    "missing": (
        lambda folder: edit_weights(folder, lambda w: w.pop("model.layers.1.self_attn.k_proj.weight")),
        "lacks 1 of 57 tensors: `layers.1.self_attn.k_proj.weight`",
    ),
    "shape": (
        lambda folder: edit_weights(
            folder, lambda w: w.update({"model.norm.weight": w["model.norm.weight"][:80].clone()})
        ),
        "cannot serve `m`",
    ),
    "tokenizer": (lambda folder: (folder / "tokenizer.json").write_text("{"), "cannot serve `m`"),
    "config": (lambda folder: (folder / "config.json").write_text("{"), "config.json` is not a JSON object"),
    "cut": (
        lambda folder: (folder / "model.safetensors").write_bytes((BASE / "model.safetensors").read_bytes()[:-8]),
        "model.safetensors` has .* cut short",
    ),
    "pointer": (lambda folder: (folder / "model.safetensors").write_text("version https://git-lfs"), "LFS pointer"),
    "nothing": (lambda folder: shutil.rmtree(folder), "no checkpoint of `m` .*make train"),
}  # fmt: skip
"""What makes a checkpoint unusable, and the message."""


@pytest.mark.filterwarnings("ignore")  # of transformers, about a broken tokenizer
def test_a_failed_load_names_the_fault_and_serves_nothing_until_another_checkpoint_is_loaded(engine, tmp_path):
    engine.load(ref(BASE))
    before = texts(engine)
    for name, (change, message) in BROKEN.items():
        with pytest.raises(EngineError, match=message):
            engine.load(ref(variant(tmp_path, name, change)))
        with pytest.raises(EngineError, match="no checkpoint is loaded"):
            texts(engine)
    engine.load(ref(BASE))
    assert texts(engine) == before


def test_weights_that_are_replaced_in_place_are_loaded_or_refused_where_the_run_states_the_old_ones(engine, tmp_path):
    other = variant(tmp_path, "weights")
    folder = variant(tmp_path, "replaced", lambda folder: None)
    stated = ref(folder, files_sha256=checkpoints.files_sha256(folder))
    engine.load(stated)
    before = texts(engine)
    shutil.copy(other / "model.safetensors", folder / "model.safetensors")
    engine.load(ref(folder))
    replaced = texts(engine)
    engine.load(ref(other))
    assert texts(engine) == replaced != before
    with pytest.raises(EngineError, match=rf"of `m` at `{folder}` changed after this command started"):
        engine.load(stated)


def test_two_commits_of_one_hub_id_are_served_each_with_its_own_weights(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    folders = {"a" * 40: BASE, "b" * 40: variant(tmp_path, "weights")}
    write_hub_cache(tmp_path / "cache", "org/name", folders)
    for commit, folder in folders.items():
        engine.load(ref("org/name", revision=commit))
        from_hub = texts(engine)
        engine.load(ref(folder))
        assert texts(engine) == from_hub
    engine.load(ref("org/name", revision="a" * 40))
    assert texts(engine) != from_hub
