"""Checkpoints as people have them: in several files, with a list of ends, merged from an adapter."""

import json

import pytest
from families import FAMILIES, make_checkpoint
from safetensors.torch import load_file
from test_checkpoint_families import ask, chain_of, engine, request  # noqa: F401 (`engine` is a fixture)

from replication import settings
from replication.collect.interfaces import ModelRef
from replication.collect.weights import shards, sources

pytestmark = [pytest.mark.vllm, pytest.mark.slow]


def serve(engine, path):  # noqa: F811
    engine.load(ModelRef(name="m", path=str(path), revision="r"))
    (reply,) = ask(engine, request())
    return reply.text, reply.finish


@pytest.fixture
def base(tmp_path):
    return make_checkpoint(tmp_path / "base", FAMILIES["qwen2"], chain_of("qwen2"))


def test_weights_in_several_files_are_served_as_in_one(engine, base):  # noqa: F811
    assert serve(engine, base) == ("ok", "stop")
    tensors = load_file(base / "model.safetensors")
    (base / "model.safetensors").unlink()
    shards.write(base, tensors.items(), max_bytes=200_000)
    assert len(list(base.glob("model-*.safetensors"))) > 1
    assert serve(engine, base) == ("ok", "stop")


def test_each_token_of_a_list_of_ends_ends_a_reply(engine, base):  # noqa: F811
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    (k,) = tokenizer("k", add_special_tokens=False).input_ids
    stated = {"eos_token_id": [tokenizer.eos_token_id, k]}
    (base / "generation_config.json").write_text(json.dumps(stated))
    assert serve(engine, base) == ("o", "stop")


def test_an_adapter_that_is_merged_changes_the_reply_of_its_base(engine, base, tmp_path):  # noqa: F811
    import torch
    from safetensors.torch import save_file
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    head = load_file(base / "model.safetensors")["lm_head.weight"]
    ((k,), before) = (
        tokenizer("k", add_special_tokens=False).input_ids,
        tokenizer("\n", add_special_tokens=False).input_ids,
    )
    a, b = torch.zeros(1, head.shape[1]), torch.zeros(head.shape[0], 1)
    a[0, before[-1]], b[k, 0] = 1.0, 1.0  # after the prompt `k` is likelier than `o`
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    factors = {"base_model.model.lm_head.lora_A.weight": a, "base_model.model.lm_head.lora_B.weight": b}
    save_file(factors, adapter / "adapter_model.safetensors")
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 1, "lora_alpha": 2}))
    model = settings.Model(
        path=str(adapter), source="lora", base=str(base), role="agent_specific", scale="t", params_b=0.1
    )
    at = sources.Place(tmp_path / "weights", tmp_path / "revisions.lock")
    assert serve(engine, base) == ("ok", "stop")
    assert serve(engine, sources.fetch(model, "models.m", at)) == ("k", "stop")
