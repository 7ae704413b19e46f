"""Merging of adapters: the sum of base and product, and refusals of what is more than that."""

import math

import pytest
import torch
from safetensors.torch import load_file
from tiny import model, save_adapter

from replication.collect.weights import lora, shards
from replication.errors import ConfigError

Q, UP = "model.layers.0.self_attn.q_proj", "model.layers.1.mlp.up_proj"


def factors(generator, rank=2):
    return {
        Q: (torch.randn(rank, 64, generator=generator), torch.randn(64, rank, generator=generator)),
        UP: (torch.randn(rank, 64, generator=generator), torch.randn(96, rank, generator=generator)),
    }  # fmt: skip


@pytest.fixture
def base(tmp_path):
    model().save_pretrained(tmp_path / "base")
    return tmp_path / "base"


@pytest.mark.parametrize(
    ("config", "scaling"),
    [
        ({}, {Q: 4.0, UP: 4.0}),
        ({"use_rslora": True}, {Q: 8 / math.sqrt(2), UP: 8 / math.sqrt(2)}),
        ({"alpha_pattern": {"up_proj": 2}}, {Q: 4.0, UP: 1.0}),
    ],
)
def test_merged_matrices_are_base_plus_scaled_product_and_all_others_are_the_bases(tmp_path, base, config, scaling):
    pairs = factors(torch.Generator().manual_seed(0))
    adapter = save_adapter(tmp_path / "adapter", pairs, **config)
    (tmp_path / "merged").mkdir()
    shards.write(tmp_path / "merged", lora.tensors(base, adapter), max_bytes=40_000)
    before = load_file(base / "model.safetensors")
    merged = {}
    for file in sorted((tmp_path / "merged").glob("*.safetensors")):
        merged |= load_file(file)
    assert set(merged) == set(before) and (tmp_path / "merged" / "model.safetensors.index.json").is_file()
    for name, tensor in before.items():
        module = name.removesuffix(".weight")
        if module in pairs:
            a, b = pairs[module]
            tensor = tensor + scaling[module] * (b @ a)
        assert torch.equal(merged[name], tensor), name


def test_a_half_precision_base_is_merged_in_float32_and_keeps_its_type(tmp_path):
    model().to(torch.bfloat16).save_pretrained(tmp_path / "base")
    pairs = factors(torch.Generator().manual_seed(0))
    merged = dict(lora.tensors(tmp_path / "base", save_adapter(tmp_path / "adapter", pairs)))
    before = load_file(tmp_path / "base" / "model.safetensors")[f"{Q}.weight"]
    a, b = pairs[Q]
    assert torch.equal(merged[f"{Q}.weight"], (before.float() + 4.0 * (b @ a)).to(torch.bfloat16))


@pytest.mark.parametrize(
    ("change", "config", "message"),
    [
        ({}, {"use_dora": True}, "`use_dora` of the adapter"),
        ({}, {"bias": "all"}, "`bias` of the adapter"),
        ({}, {"modules_to_save": ["lm_head"]}, "`modules_to_save` of the adapter"),
        ({}, {"r": 0}, "`r` of .* is 0"),
        ({"model.layers.7.mlp.up_proj": (torch.ones(2, 64), torch.ones(96, 2))}, {}, "belongs to another base"),
        ({Q: (torch.ones(2, 32), torch.ones(64, 2))}, {}, r"is for \(64, 32\): it belongs to another base"),
        ({Q: (torch.ones(2, 64), torch.ones(64, 3))}, {}, "do not belong together"),
    ],
)
def test_what_cannot_be_merged_is_refused(tmp_path, base, change, config, message):
    adapter = save_adapter(tmp_path / "adapter", factors(torch.Generator().manual_seed(0)) | change, **config)
    with pytest.raises(ConfigError, match=message):
        list(lora.tensors(base, adapter))


def test_files_that_are_cut_short_are_named(tmp_path, base):
    pairs = factors(torch.Generator().manual_seed(0))
    for name, message in (
        ("adapter_config.json", "is not JSON"),
        ("adapter_model.safetensors", "is cut short or damaged"),
    ):
        adapter = save_adapter(tmp_path / name, pairs)
        (adapter / name).write_bytes((adapter / name).read_bytes()[:40])
        with pytest.raises(ConfigError, match=rf"/{name}` {message}"):
            list(lora.tensors(base, adapter))
    weights = base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(ConfigError, match=r"/base/model\.safetensors` is cut short or damaged"):
        list(lora.tensors(base, save_adapter(tmp_path / "whole", pairs)))


def test_the_base_that_an_adapter_names_is_read_unless_it_is_a_folder_elsewhere(tmp_path):
    for named, expected in (("Org/Base-1.5B", "Org/Base-1.5B"), ("/data/base", None), ("base", None), (None, None)):
        adapter = save_adapter(tmp_path / "adapter", {}, base_model_name_or_path=named)
        assert lora.stated_base(adapter) == expected
