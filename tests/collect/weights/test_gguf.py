"""GGUF files: numbers of each kind against their definition, and a whole model against the one it was written from."""

import json
import struct

import numpy as np
import pytest
from tiny import F16, F32, Q4_1, Q8_0, TEMPLATE, gguf_bytes, gguf_of, model

from replication.collect.weights import gguf, llama, shards
from replication.errors import ConfigError


def test_numbers_of_every_kind_are_those_of_its_definition(tmp_path):
    rng = np.random.default_rng(0)
    q8 = rng.integers(-128, 128, 32).tolist()
    q4 = rng.integers(0, 16, 32).tolist()
    packed = bytes(low | high << 4 for low, high in zip(q4[:16], q4[16:], strict=True))
    file = tmp_path / "m.gguf"
    file.write_bytes(
        gguf_bytes(
            {},
            {
                "f32": ((2, 1), F32, struct.pack("<2f", 1.5, -2.5)), "f16": ((3,), F16, struct.pack("<3e", 1, 2, -0.5)),
                "q8": ((1, 32), Q8_0, struct.pack("<e32b", 0.25, *q8)),
                "q4": ((32,), Q4_1, struct.pack("<2e", 0.5, -3) + packed),
            },
        )
    )  # fmt: skip
    read = gguf.read_gguf(file)
    assert read.read("f32").tolist() == [[1.5], [-2.5]] and read.read("f16").tolist() == [1, 2, -0.5]
    assert read.read("q8").tolist() == [[0.25 * n for n in q8]]
    assert read.read("q4").tolist() == [0.5 * n - 3 for n in q4]


@pytest.mark.parametrize("tied", [True, False])
def test_a_converted_model_has_the_logits_of_the_one_it_was_written_from(tmp_path, tied):
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    original = model(tied=tied)
    file = tmp_path / "m.gguf"
    file.write_bytes(gguf_of(original))
    source = gguf.read_gguf(file)
    setup = llama.setup(source)
    for name, content in setup.json_files.items():
        (tmp_path / name).write_text(json.dumps(content))
    shards.write(tmp_path, ((name, torch.from_numpy(array)) for name, array in llama.tensors(source)))
    converted = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32)
    ids = torch.arange(40)[None]
    with torch.no_grad():
        assert torch.equal(converted(ids).logits, original(ids).logits)
    assert setup.chat_template == TEMPLATE and converted.config.tie_word_embeddings is tied
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    text = "<|im_start|>ab 12<|im_end|>"
    ids = tokenizer(text, add_special_tokens=False).input_ids
    # Digits are split before anything is merged, so that no token has two.
    assert tokenizer.convert_ids_to_tokens(ids) == ["<|im_start|>", "ab", "Ġ", "1", "2", "<|im_end|>"]
    assert tokenizer.decode(ids) == text and (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|im_end|>")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: b"GGML" + b"\0" * 40, "begins with b'GGML'"),
        (lambda: gguf_of(model())[:500], "cut short: its header"),
        (lambda: gguf_of(model())[:-4], "ends within tensor"),
        (
            lambda: gguf_of(model(), **{"llama.attention.head_count": 3}),
            "states 3 heads, and a tensor of theirs has 64 rows",
        ),
        (lambda: gguf_bytes({}, {"t": ((2**40, 2**20), F32, b"")}), "ends within tensor `t`"),
        (lambda: gguf_bytes({"general.alignment": 0}, {}), r"header cannot be read \(ZeroDivisionError\)"),
        (lambda: gguf_bytes({}, {"t": ((256,), 14, b"")}), r"tensor `t` of .* has type 14; allowed: 0 \(F32\)"),
        (lambda: gguf_of(model(), **{"general.architecture": "qwen2"}), "is 'qwen2'; allowed: llama"),
        (lambda: gguf_of(model(), **{"tokenizer.ggml.pre": "tekken"}), "is 'tekken'; allowed: gpt-2, smollm"),
        (lambda: gguf_of(model(), **{"llama.rope.scaling.type": "yarn"}), "is 'yarn'; allowed: none"),
    ],
)
def test_a_file_that_cannot_be_converted_is_refused_with_what_it_has(tmp_path, content, message):
    file = tmp_path / "m.gguf"
    file.write_bytes(content())
    with pytest.raises(ConfigError, match=message):
        source = gguf.read_gguf(file)
        llama.setup(source)
        list(llama.tensors(source))
