"""Tiny Llama models as the sources of weights have them: a folder, a GGUF file, an adapter."""

import json
import struct

import numpy as np

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
CONTROL, F32, F16, Q4_1, Q8_0 = 3, 0, 1, 3, 8
TEXTS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]


def tokens():
    from tokenizers import pre_tokenizers

    return [*TEXTS, *sorted(pre_tokenizers.ByteLevel.alphabet()), "ab", "12"]


def model(*, tied=True, seed=0):
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(tokens()), hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=16, max_position_embeddings=512, rms_norm_eps=1e-5, tie_word_embeddings=tied,
        bos_token_id=1, eos_token_id=2, pad_token_id=2, dtype="float32",
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config).eval()


def _text(value):
    return struct.pack("<Q", len(value.encode())) + value.encode()


def _value(value):
    if isinstance(value, str):
        return struct.pack("<I", 8) + _text(value)
    if isinstance(value, list):
        inner = _value(value[0])[:4]
        return struct.pack("<I", 9) + inner + struct.pack("<Q", len(value)) + b"".join(_value(v)[4:] for v in value)
    return struct.pack("<If", 6, value) if isinstance(value, float) else struct.pack("<II", 4, value)


def gguf_bytes(values, tensors):
    """tensors : name -> (shape, number of the kind, bytes)."""
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(values))
    head += b"".join(_text(key) + _value(value) for key, value in values.items())
    data = b""
    for name, (shape, kind, content) in tensors.items():
        data += b"\0" * (-len(data) % 32)
        head += _text(name) + struct.pack("<I", len(shape)) + struct.pack(f"<{len(shape)}Q", *shape[::-1])
        head += struct.pack("<IQ", kind, len(data))
        data += content
    return head + b"\0" * (-len(head) % 32) + data


NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output",
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
}  # fmt: skip


def gguf_of(llama, **changes):
    """The GGUF file of a model, in float32: rows of queries and keys have the order that GGUF gives them."""
    values = {
        "general.architecture": "llama", "llama.block_count": 2, "llama.context_length": 512,
        "llama.embedding_length": 64, "llama.feed_forward_length": 96, "llama.attention.head_count": 4,
        "llama.attention.head_count_kv": 2, "llama.rope.freq_base": 10000.0,
        "llama.attention.layer_norm_rms_epsilon": 1e-5, "tokenizer.ggml.model": "gpt2", "tokenizer.ggml.pre": "smollm",
        "tokenizer.ggml.tokens": tokens(), "tokenizer.ggml.token_type": [CONTROL] * 3 + [1] * (len(tokens()) - 3),
        "tokenizer.ggml.merges": ["a b", "1 2"], "tokenizer.ggml.bos_token_id": 1, "tokenizer.ggml.eos_token_id": 2,
        "tokenizer.chat_template": TEMPLATE,
    } | changes  # fmt: skip
    tensors = {}
    for name, tensor in llama.state_dict().items():
        if name == "lm_head.weight" and llama.config.tie_word_embeddings:
            continue
        array = tensor.numpy()
        stem = name.removesuffix(".weight")
        if stem.endswith(("q_proj", "k_proj")):
            # Row 2 i is number i of the first half of a head, row 2 i + 1 that of its second half.
            array = np.concatenate(
                [head[[i // 2 + (i % 2) * 8 for i in range(16)]] for head in np.split(array, len(array) // 16)]
            )
        if stem.startswith("model.layers."):
            _, _, layer, rest = stem.split(".", 3)
            renamed = f"blk.{layer}.{NAMES[rest]}.weight"
        else:
            renamed = f"{NAMES[stem]}.weight"
        tensors[renamed] = (array.shape, F32, array.astype("<f4").tobytes())
    return gguf_bytes(values, tensors)


def save_adapter(folder, factors, **config):
    """factors : module -> (A, B)."""
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    named = {
        f"base_model.model.{module}.lora_{letter}.weight": tensor.contiguous()
        for module, both in factors.items()
        for letter, tensor in zip("AB", both, strict=True)
    }
    save_file(named, folder / "adapter_model.safetensors")
    stated = {"peft_type": "LORA", "r": 2, "lora_alpha": 8, "bias": "none"} | config
    (folder / "adapter_config.json").write_text(json.dumps(stated))
    return folder
