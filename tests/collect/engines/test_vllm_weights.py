"""Headers of weights: files that are not whole, and tensors that a model needs and a checkpoint lacks."""

import json
import struct

import pytest

from replication.collect.engines.vllm.weights import Tensor, read_headers, require_all_tensors
from replication.errors import EngineError


def write(file, names, n_missing=0, **changes):
    """Write a safetensors file of tensors of two float32 values; without its last bytes."""
    entries = {
        name: {"dtype": "F32", "shape": [2], "data_offsets": [8 * i, 8 * i + 8]} | changes
        for i, name in enumerate(names)
    }
    header = json.dumps({"__metadata__": {"format": "pt"}} | entries).encode()
    data = struct.pack("<Q", len(header)) + header + bytes(8 * len(names))
    file.write_bytes(data[: len(data) - n_missing])


def write_index(folder, **weight_map):
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": weight_map}))


def test_tensors_of_all_shards_are_read(tmp_path):
    write(tmp_path / "1.safetensors", ["a", "b"])
    write(tmp_path / "2.safetensors", ["c"])
    assert read_headers(tmp_path) == dict.fromkeys("abc", Tensor("F32", (2,)))
    write_index(tmp_path, a="1.safetensors", b="1.safetensors")
    assert set(read_headers(tmp_path)) == {"a", "b"}  # as vLLM: only files that the index names


def test_consolidated_weights_are_those_that_vllm_prefers(tmp_path):
    write(tmp_path / "model.safetensors", ["a"])
    write(tmp_path / "consolidated.safetensors", ["b"])
    assert set(read_headers(tmp_path)) == {"b"}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: write(f, ["a", "b"], n_missing=3), "13 bytes of tensors, and its header states 16"),
        (lambda f: write(f, ["a"], data_offsets=[0, 4]), "8 bytes of tensors, and its header states 4"),
        (lambda f: write(f, ["a", "b"], data_offsets=[0, 8]), "16 bytes of tensors, and its header states 8"),
        (lambda f: f.write_bytes(f.read_bytes()[:40]), "cut short or no safetensors file"),
        (lambda f: f.write_bytes(b""), "cut short or no safetensors file"),
        (lambda f: write(f, ["a"], shape=None), "cut short or no safetensors file"),
        (lambda f: f.write_bytes(struct.pack("<Q", 2) + b"[]"), "cut short or no safetensors file"),
        (lambda f: f.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0"), "is a Git LFS pointer"),
        (lambda f: write_index(f.parent, a="model.safetensors", b="2.safetensors"), "2.safetensors` is missing"),
        (lambda f: write_index(f.parent, a="model.safetensors", c="model.safetensors"), "same tensors: `b`, `c`"),
        (lambda f: (f.parent / "model.safetensors.index.json").write_text("[]"), "is not an index of weights"),
        (lambda f: write(f.parent / "2.safetensors", ["b"]), "tensor `b` is in .* and in `2.safetensors`"),
    ],
)
def test_a_file_that_is_not_whole_is_named(tmp_path, damage, message):
    file = tmp_path / "model.safetensors"
    write(file, ["a", "b"])
    assert len(read_headers(tmp_path)) == 2
    damage(file)
    with pytest.raises(EngineError, match=message) as raised:
        read_headers(tmp_path)
    assert str(tmp_path) in str(raised.value)


@pytest.fixture(scope="module")
def saved():
    """Return a function that gives the configuration of a small model, and its tensors as transformers saves them."""
    import torch
    import transformers
    from transformers.core_model_loading import revert_weight_conversion

    def make(kind, **settings):
        cls = getattr(transformers, kind)
        small = {"vocab_size": 32, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "head_dim": 8,
                 "num_attention_heads": 2, "num_key_value_heads": 1}  # fmt: skip
        config = cls.config_class(**small | settings)
        config.architectures = [kind]
        with torch.device("meta"):
            model = cls(config)
        tensors = revert_weight_conversion(model, model.state_dict())
        return config, {name: Tensor("F32", tuple(value.shape)) for name, value in tensors.items()}

    return make


MOE = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "decoder_sparse_step": 1}


@pytest.mark.parametrize(
    ("kind", "settings", "name"),
    [
        ("Qwen3ForCausalLM", {}, "model.layers.1.self_attn.k_proj.weight"),
        ("Qwen3ForCausalLM", {}, "model.embed_tokens.weight"),
        ("LlamaForCausalLM", {"tie_word_embeddings": False}, "lm_head.weight"),
        ("Qwen2ForCausalLM", {}, "model.layers.2.self_attn.v_proj.bias"),
        ("Qwen3MoeForCausalLM", MOE, "model.layers.0.mlp.experts.3.up_proj.weight"),
        ("Gemma2ForCausalLM", {}, "model.layers.0.mlp.gate_proj.weight"),
    ],
)
def test_a_tensor_that_the_model_needs_is_missed(saved, kind, settings, name):
    config, tensors = saved(kind, **settings)
    assert require_all_tensors(config, tensors, "m")
    whole = {key.removeprefix("model."): value for key, value in tensors.items()}
    assert require_all_tensors(config, whole, "m")  # names without the prefix of the whole model
    with pytest.raises(EngineError, match=rf"of `m` lacks 1 of \d+ tensors: `{name.removeprefix('model.')}`"):
        require_all_tensors(config, {key: value for key, value in tensors.items() if key != name}, "m")


def test_a_tied_head_may_be_absent_or_present(saved):
    config, tensors = saved("Qwen3ForCausalLM", tie_word_embeddings=True)
    head = {"lm_head.weight": tensors["model.embed_tokens.weight"]}
    without = {key: value for key, value in tensors.items() if key not in head}
    assert require_all_tensors(config, without, "m") and require_all_tensors(config, without | head, "m")
    lacking = {key: value for key, value in (without | head).items() if "norm" not in key}
    with pytest.raises(EngineError, match="lacks 13 of"):
        require_all_tensors(config, lacking, "m")


def test_a_shape_that_is_not_that_of_the_configuration_is_named(saved):
    config, tensors = saved("Qwen3ForCausalLM")
    name = "model.norm.weight"
    with pytest.raises(EngineError, match=r"`norm\.weight \(4,\), not \(16,\)`"):
        require_all_tensors(config, tensors | {name: Tensor("F32", (4,))}, "m")


def test_names_of_their_own_are_not_refused_but_a_gap_between_layers_is(saved):
    config, tensors = saved("Qwen3ForCausalLM")
    fused = {key: value for key, value in tensors.items() if "_proj" not in key or "self_attn" not in key}
    fused |= {f"model.layers.{i}.self_attn.qkv.weight": Tensor("F32", (32, 16)) for i in range(3)}
    assert not require_all_tensors(config, fused, "m")
    del fused["model.layers.1.mlp.up_proj.weight"]
    with pytest.raises(EngineError, match=r"lacks 1 of .*`layers\.1\.mlp\.up_proj\.weight`"):
        require_all_tensors(config, fused, "m")


def test_of_a_quantized_checkpoint_the_modules_are_compared(saved):
    config, tensors = saved("LlamaForCausalLM", tie_word_embeddings=False)
    config.quantization_config = {"quant_method": "awq"}
    packed = {key.replace("proj.weight", "proj.qweight"): Tensor("I32", (1,)) for key in tensors}
    assert require_all_tensors(config, packed, "m")
    with pytest.raises(EngineError, match=r"lacks 1 of .*`layers\.0\.self_attn\.q_proj`"):
        require_all_tensors(config, {k: v for k, v in packed.items() if "layers.0.self_attn.q_proj" not in k}, "m")


def test_a_class_that_transformers_lacks_is_not_checked(saved):
    config, _ = saved("Qwen3ForCausalLM")
    config.architectures = ["NotInTransformers"]
    assert not require_all_tensors(config, {}, "m")
