"""Tiny checkpoints in the chat formats of public families: tokenizers, templates written here, models that follow a rule.

The models are chains: the next token depends on the last one alone, so a test knows every reply. Templates behave as those
of the family do (roles they refuse, where tools and dates go), and are not theirs.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

_TOOLS = "{% for t in tools %}{{ t | tojson }}\n{% endfor %}"
_CHATML_TURN = "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n"
_RESPONSE = "<|im_start|>user\n<tool_response>\n{{ m.content }}\n</tool_response><|im_end|>\n"
_ASSISTANT = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"

QWEN2 = (
    "{% if messages[0].role == 'system' %}{% set head = messages[0].content %}{% set rest = messages[1:] %}"
    "{% else %}{% set head = 'You are helpful.' %}{% set rest = messages %}{% endif %}"
    "<|im_start|>system\n{{ head }}{% if tools %}\n# Tools\n<tools>\n" + _TOOLS + "</tools>{% endif %}<|im_end|>\n"
    "{% for m in rest %}{% if m.role == 'tool' %}" + _RESPONSE + "{% else %}" + _CHATML_TURN + "{% endif %}{% endfor %}"
) + _ASSISTANT

QWEN3 = QWEN2.replace(
    "{% else %}<|im_start|>{{ m.role }}",
    "{% elif m.role == 'assistant' and m.reasoning_content %}<|im_start|>assistant\n<think>\n{{ m.reasoning_content }}\n"
    "</think>\n\n{{ m.content }}<|im_end|>\n{% else %}<|im_start|>{{ m.role }}",
).replace(
    "assistant\n{% endif %}",
    "assistant\n{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}",
)

LLAMA3 = (
    "<|begin_of_text|>{% if messages[0].role == 'system' %}{% set head = messages[0].content | trim %}"
    "{% set rest = messages[1:] %}{% else %}{% set head = '' %}{% set rest = messages %}{% endif %}"
    "<|start_header_id|>system<|end_header_id|>\n\nToday Date: {{ strftime_now('%d %b %Y') }}\n\n{{ head }}<|eot_id|>"
    "{% for m in rest %}<|start_header_id|>{{ 'ipython' if m.role == 'tool' else m.role }}<|end_header_id|>\n\n"
    "{% if loop.first and tools %}Given the following functions:\n\n" + _TOOLS + "{% endif %}"
    "{{ m.content | tojson if m.role == 'tool' else m.content | trim }}<|eot_id|>{% endfor %}"
    "{% if add_generation_prompt %}<|start_header_id|>assistant<|end_header_id|>\n\n{% endif %}"
)

GEMMA = (
    "{{ bos_token }}{% if messages[0].role == 'system' %}{{ raise_exception('System role not supported') }}{% endif %}"
    "{% for m in messages %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}"
    "<start_of_turn>{{ 'model' if m.role == 'assistant' else m.role }}\n{{ m.content | trim }}<end_of_turn>\n{% endfor %}"
    "{% if add_generation_prompt %}<start_of_turn>model\n{% endif %}"
)

MISTRAL = (
    "{% if messages[0].role == 'system' %}{% set head = messages[0].content %}{% set rest = messages[1:] %}"
    "{% else %}{% set rest = messages %}{% endif %}{{ bos_token }}"
    "{% for m in rest %}{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('After the optional system message, conversation roles must alternate') }}{% endif %}"
    "{% if m.role == 'user' %}{% if tools and loop.last %}[AVAILABLE_TOOLS]{{ tools | tojson }}[/AVAILABLE_TOOLS]{% endif %}"
    "[INST]{% if loop.last and head is defined %}{{ head }}\n\n{% endif %}{{ m.content }}[/INST]"
    "{% else %}{{ m.content }}{{ eos_token }}{% endif %}{% endfor %}"
)

_PLAIN_CHATML = "{{ bos_token }}{% for m in messages %}" + _CHATML_TURN + "{% endfor %}" + _ASSISTANT
HERMES = [
    {"name": "default", "template": _PLAIN_CHATML},
    {
        "name": "tool_use",
        "template": "{{ bos_token }}<|im_start|>system\n<tools>\n" + _TOOLS + "</tools><|im_end|>\n"
        "{% for m in messages %}{% if m.role == 'tool' %}"
        + _RESPONSE
        + "{% else %}"
        + _CHATML_TURN
        + "{% endif %}{% endfor %}"
        + _ASSISTANT,
    },
]


@dataclass(frozen=True, kw_only=True)
class Family:
    """A chat format and the tokens that it needs."""

    template: str | list | None
    special: tuple[str, ...]
    eos: str
    bos: str | None = None
    plain: tuple[str, ...] = ()
    """Tokens that are not special, such as tags of calls."""
    end_of_turn: str
    before_reply: str
    """The last token of a prompt."""
    architecture: str = "llama"
    metaspace: bool = False
    """A vocabulary like SentencePiece's: blanks are marks of words, unknown characters bytes."""
    syntax: str = "hermes"
    adaptations: tuple[str, ...] = ()
    """Roles that are shown as role user."""
    options: dict = field(default_factory=dict)
    reasoning_parser: str | None = None


_CHATML = dict(special=("<|endoftext|>", "<|im_start|>", "<|im_end|>"), end_of_turn="<|im_end|>", before_reply="\n")
_TAGS = ("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>", "<think>", "</think>")
_QWEN3 = dict(
    template=QWEN3, eos="<|im_end|>", plain=_TAGS, architecture="qwen3", reasoning_parser="deepseek_r1", **_CHATML
)

FAMILIES = {
    "qwen2": Family(template=QWEN2, eos="<|im_end|>", plain=_TAGS[:4], architecture="qwen2", **_CHATML),
    "qwen3": Family(**_QWEN3),
    "qwen3_no_thinking": Family(**_QWEN3, options={"enable_thinking": False}),
    # The end of a turn is not the end of sequence, and no generation_config.json names it.
    "llama3": Family(
        template=LLAMA3, bos="<|begin_of_text|>", eos="<|end_of_text|>", end_of_turn="<|eot_id|>", before_reply="\n",
        special=("<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        syntax="llama3",
    ),
    "gemma": Family(
        template=GEMMA, bos="<bos>", eos="<eos>", special=("<pad>", "<eos>", "<bos>", "<start_of_turn>", "<end_of_turn>"),
        end_of_turn="<end_of_turn>", before_reply="\n", metaspace=True, adaptations=("system", "tool"),
    ),
    "mistral": Family(
        template=MISTRAL, bos="<s>", eos="</s>", end_of_turn="</s>", before_reply="[/INST]", architecture="mistral",
        special=("<unk>", "<s>", "</s>", "[INST]", "[/INST]", "[AVAILABLE_TOOLS]", "[/AVAILABLE_TOOLS]"), metaspace=True,
        adaptations=("tool",),
    ),
    "hermes": Family(template=HERMES, bos="<|endoftext|>", eos="<|im_end|>", plain=_TAGS[:4], **_CHATML),
    "none": Family(template=None, eos="<|endoftext|>", **_CHATML),
}  # fmt: skip


def make_tokenizer(family: Family, texts=()):
    """Build the tokenizer of a family; with texts, merges are trained on them, else it has bytes and characters only."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    special = list(family.special)
    if family.metaspace:
        tokenizer = Tokenizer(models.BPE(unk_token=None, byte_fallback=True))
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        tokenizer.decoder = decoders.Sequence(
            [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
        )
        alphabet, first = [chr(i) for i in range(33, 127)] + ["▁", "\n"], [f"<0x{i:02X}>" for i in range(256)]
    else:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        tokenizer.decoder = decoders.ByteLevel()
        alphabet, first = sorted(pre_tokenizers.ByteLevel.alphabet()), []
    n = len(special) + len(first) + len(alphabet)
    trainer = trainers.BpeTrainer(
        vocab_size=n + (400 if texts else 0), special_tokens=special + first, show_progress=False, initial_alphabet=alphabet
    )  # fmt: skip
    tokenizer.train_from_iterator(list(texts), trainer)
    if first:  # the trainer makes bytes special; they are ordinary
        state = json.loads(tokenizer.to_str())
        state["added_tokens"] = [token for token in state["added_tokens"] if token["content"] not in first]
        tokenizer = Tokenizer.from_str(json.dumps(state))
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in family.plain])
    template = family.template
    if isinstance(template, list):
        template = {entry["name"]: entry["template"] for entry in template}
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=family.eos, bos_token=family.bos, chat_template=template,
        clean_up_tokenization_spaces=False,
    )  # fmt: skip


def make_checkpoint(folder: Path, family: Family, chain: dict[str, str]) -> Path:
    """Write a checkpoint whose model replies by a chain: from each token named in it to the next; other tokens repeat."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    tokenizer = make_tokenizer(family)
    hidden = -(-len(tokenizer) // 64) * 64
    config = AutoConfig.for_model(
        family.architecture, vocab_size=len(tokenizer), hidden_size=hidden, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=hidden // 32, num_key_value_heads=hidden // 32, head_dim=32, max_position_embeddings=16384,
        tie_word_embeddings=False, eos_token_id=tokenizer.eos_token_id, bos_token_id=tokenizer.bos_token_id,
        dtype="float32",
    )  # fmt: skip
    model = AutoModelForCausalLM.from_config(config)
    following = torch.arange(len(tokenizer))
    for token, after in chain.items():
        following[_id(tokenizer, token)] = _id(tokenizer, after)
    with torch.no_grad():
        layer = model.model.layers[0]
        for weight in (layer.self_attn.o_proj.weight, layer.mlp.down_proj.weight, model.lm_head.weight):
            weight.zero_()
        model.model.embed_tokens.weight.copy_(torch.eye(len(tokenizer), hidden))
        model.lm_head.weight[following, torch.arange(len(tokenizer))] = 1.0
    model.save_pretrained(folder)
    (folder / "generation_config.json").unlink()  # it may name the ends of a turn, and often is missing
    tokenizer.save_pretrained(folder)
    if isinstance(family.template, list):  # as Hermes has it: in tokenizer_config.json
        path = folder / "tokenizer_config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": family.template}))
        for other in (*folder.glob("*.jinja"), *folder.glob("additional_chat_templates/*.jinja")):
            other.unlink()
    return folder


def _id(tokenizer, token: str) -> int:
    ids = tokenizer(token, add_special_tokens=False).input_ids
    assert len(ids) == 1 or tokenizer.convert_ids_to_tokens(ids[0]) == "▁", (token, ids)
    return ids[-1]
