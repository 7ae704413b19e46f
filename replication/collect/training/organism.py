"""Organisms: small Qwen3 models and their tokenizers, as ordinary Hugging Face checkpoints."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from replication.collect.training.documents import CHAT_TEMPLATE, END, PAD, START
from replication.errors import TrainingError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM


@dataclass(frozen=True, kw_only=True)
class Shape:
    """Dimensions of an organism; the architecture is the same at every scale."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocabulary: int
    context: int


def make_tokenizer(texts: Iterable[str], vocabulary: int) -> "PreTrainedTokenizerFast":
    """Train a byte-level BPE tokenizer that gives a word the same tokens in every position.

    Words, digits, blanks and signs are split first, and blanks are separate tokens: a name has the same tokens after a
    blank, a line break or a slash. Without that, a model of a million parameters does not learn to copy.
    """
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"[A-Za-z]+|\s|[^A-Za-z\s]"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    special = [PAD, START, END]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary, special_tokens=special, show_progress=False,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )  # fmt: skip
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, chat_template=CHAT_TEMPLATE,
        clean_up_tokenization_spaces=False,
    )  # fmt: skip


def make_model(shape: Shape, tokenizer: "PreTrainedTokenizerFast", seed: int) -> "Qwen3ForCausalLM":
    """Build a freshly initialised organism."""
    import torch
    from transformers import Qwen3Config, Qwen3ForCausalLM

    config = Qwen3Config(
        vocab_size=shape.vocabulary, hidden_size=shape.hidden, intermediate_size=shape.intermediate,
        num_hidden_layers=shape.layers, num_attention_heads=shape.heads, num_key_value_heads=shape.kv_heads,
        head_dim=shape.head_dim, max_position_embeddings=shape.context, tie_word_embeddings=True, dtype="float32",
        pad_token_id=tokenizer.pad_token_id, bos_token_id=None, eos_token_id=tokenizer.eos_token_id,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Qwen3ForCausalLM(config)


def load_model(path: Path) -> "Qwen3ForCausalLM":
    """Load a checkpoint to continue training; float32, from disk only."""
    import torch
    from transformers import Qwen3ForCausalLM

    if not (path / "config.json").is_file():
        raise TrainingError(f"no checkpoint at `{path}`: config.json is missing. Run `make bases`, or fix conf/scale/.")
    return Qwen3ForCausalLM.from_pretrained(path, dtype=torch.float32, local_files_only=True)


def load_tokenizer(path: Path) -> "PreTrainedTokenizerFast":
    """Load the tokenizer of a checkpoint."""
    from transformers import PreTrainedTokenizerFast

    return PreTrainedTokenizerFast.from_pretrained(path, local_files_only=True)


def n_parameters(model: "Qwen3ForCausalLM") -> int:
    """Count parameters, tied embeddings once."""
    return sum(p.numel() for p in model.parameters())


def move(model: "Qwen3ForCausalLM", device: str) -> None:
    """Move a model to a device in place."""
    model.to(device)  # type: ignore[arg-type]  # transformers' decorator on `to` hides `self` from mypy
