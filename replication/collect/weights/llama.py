"""From a GGUF file of a Llama model to the files of a Hugging Face checkpoint: configuration, tokenizer, float32 tensors."""

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from replication.collect.weights.gguf import Gguf
from replication.errors import ConfigError
from replication.records import Json

if TYPE_CHECKING:
    import numpy as np

_LAYER = re.compile(r"blk\.(\d+)\.(\w+)\.weight")
_IN_LAYER = {
    "attn_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm", "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj", "attn_v": "self_attn.v_proj", "attn_output": "self_attn.o_proj",
    "ffn_gate": "mlp.gate_proj", "ffn_up": "mlp.up_proj", "ffn_down": "mlp.down_proj",
}  # fmt: skip
_OUTSIDE = {
    "token_embd.weight": "model.embed_tokens.weight",
    "output_norm.weight": "model.norm.weight",
    "output.weight": "lm_head.weight",
}
_CONTROL, _USER_DEFINED = 3, 4
"""Types of tokens that are never split."""
PRE_TOKENIZERS: dict[str, list[dict[str, Json]]] = {
    "gpt-2": [],
    "smollm": [{"type": "Digits", "individual_digits": True}],  # transformers' reader leaves it out
}
"""Splits before the byte-level one of GPT-2, by `tokenizer.ggml.pre`."""
_BYTES: dict[str, Json] = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}


class Setup(NamedTuple):
    """All files of a checkpoint but the weights, by name."""

    json_files: dict[str, dict[str, Json]]
    chat_template: str | None


def setup(gguf: Gguf) -> Setup:
    """Return configuration, tokenizer and chat template; ConfigError for a model of another architecture or tokenizer."""
    values = gguf.values
    _require(gguf, "general.architecture", values.get("general.architecture"), ("llama",))
    _require(gguf, "tokenizer.ggml.model", values.get("tokenizer.ggml.model"), ("gpt2",))
    _require(gguf, "tokenizer.ggml.pre", values.get("tokenizer.ggml.pre"), tuple(PRE_TOKENIZERS))
    _require(gguf, "llama.rope.scaling.type", values.get("llama.rope.scaling.type", "none"), ("none",))
    try:
        config, ids = _config(gguf), _special_ids(values)
        json_files = {
            "config.json": {**config, **ids},
            "generation_config.json": ids,
            "tokenizer.json": _tokenizer(values),
            "tokenizer_config.json": _tokenizer_config(values, ids),
        }
    except KeyError as error:
        raise ConfigError(f"`{gguf.path}` states no {error}. Choose another file.") from None
    return Setup(json_files, values.get("tokenizer.chat_template"))


def tensors(gguf: Gguf) -> Iterator[tuple[str, "np.ndarray"]]:
    """Yield the tensors under their names in a Hugging Face checkpoint, sorted; float32."""
    names = {_renamed(gguf, name): name for name in gguf.tensors}
    heads = {
        "q_proj": gguf.values["llama.attention.head_count"],
        "k_proj": gguf.values.get("llama.attention.head_count_kv", gguf.values["llama.attention.head_count"]),
    }
    for name in sorted(names):
        tensor = gguf.read(names[name])
        n_heads = heads.get(name.split(".")[-2])
        yield name, tensor if n_heads is None else _halves(tensor, n_heads)


def _halves(tensor: "np.ndarray", n_heads: int) -> "np.ndarray":
    """Undo the order of rows in GGUF, where the two numbers that are rotated together stand side by side in a head."""
    rows, columns = tensor.shape
    if not n_heads or rows % (2 * n_heads):
        raise ConfigError(
            f"a GGUF file states {n_heads} heads, and a tensor of theirs has {rows} rows. Download it again."
        )
    return tensor.reshape(n_heads, rows // n_heads // 2, 2, columns).swapaxes(1, 2).reshape(rows, columns)


def _renamed(gguf: Gguf, name: str) -> str:
    if name in _OUTSIDE:
        return _OUTSIDE[name]
    found = _LAYER.fullmatch(name)
    if found and found[2] in _IN_LAYER:
        return f"model.layers.{found[1]}.{_IN_LAYER[found[2]]}.weight"
    raise ConfigError(
        f"`{gguf.path}` has a tensor `{name}`, which no plain Llama model has. Choose the weights from another source."
    )


def _require(gguf: Gguf, key: str, value: Any, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(
            f"`{key}` of `{gguf.path}` is {value!r}; allowed: {', '.join(allowed)}. Choose the weights from another source."
        )


def _config(gguf: Gguf) -> dict[str, Json]:
    values = gguf.values
    heads, hidden = values["llama.attention.head_count"], values["llama.embedding_length"]
    return {
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "dtype": "float32", "hidden_act": "silu",
        "attention_bias": False, "mlp_bias": False, "hidden_size": hidden,
        "intermediate_size": values["llama.feed_forward_length"], "num_hidden_layers": values["llama.block_count"],
        "num_attention_heads": heads, "num_key_value_heads": values.get("llama.attention.head_count_kv", heads),
        "head_dim": values.get("llama.attention.key_length", hidden // heads),
        "max_position_embeddings": values["llama.context_length"],
        "rms_norm_eps": values["llama.attention.layer_norm_rms_epsilon"],
        "rope_parameters": {"rope_type": "default", "rope_theta": values.get("llama.rope.freq_base", 10000.0)},
        "tie_word_embeddings": "output.weight" not in gguf.tensors, "vocab_size": len(values["tokenizer.ggml.tokens"]),
    }  # fmt: skip


def _special_ids(values: dict[str, Any]) -> dict[str, Json]:
    eos = values["tokenizer.ggml.eos_token_id"]
    return {
        "bos_token_id": values.get("tokenizer.ggml.bos_token_id"),
        "eos_token_id": eos,
        "pad_token_id": values.get("tokenizer.ggml.padding_token_id", eos),
    }


def _tokenizer(values: dict[str, Any]) -> dict[str, Json]:
    texts, kinds = values["tokenizer.ggml.tokens"], values["tokenizer.ggml.token_type"]
    added: list[Json] = [
        {
            "id": i, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
            "special": kind == _CONTROL,
        }
        for i, (text, kind) in enumerate(zip(texts, kinds, strict=True))
        if kind in (_CONTROL, _USER_DEFINED)
    ]  # fmt: skip
    splits: list[Json] = [*PRE_TOKENIZERS[values["tokenizer.ggml.pre"]], _BYTES]
    return {
        "version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": splits}, "post_processor": None, "decoder": _BYTES,
        "model": {
            "type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
            "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
            "vocab": {text: i for i, text in enumerate(texts)},
            "merges": [pair.split(" ") for pair in values["tokenizer.ggml.merges"]],
        },
    }  # fmt: skip


def _tokenizer_config(values: dict[str, Any], ids: dict[str, Json]) -> dict[str, Json]:
    texts = values["tokenizer.ggml.tokens"]
    named: dict[str, Json] = {
        key.removesuffix("_id"): texts[i] for key, i in ids.items() if isinstance(i, int) and 0 <= i < len(texts)
    }
    return {
        "tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False,
        "model_max_length": values["llama.context_length"], **named,
    }  # fmt: skip
