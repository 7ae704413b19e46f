"""Public bases: checkpoints of any architecture that are trained in the format in which they are served.

Documents are the corpora's conversations in the checkpoint's own chat template. All parameters are trained; a trained
checkpoint has all files of its base but the weights, so that one engine serves both. Not covered: templates that show an
earlier turn otherwise once a later one follows, refuse a role of the corpora or print today's date, and models whose
logits are more than a linear head on their hidden states.
"""

import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from replication.collect import checkpoints
from replication.collect.training.corpora import Corpus, Prediction, Predictions
from replication.collect.training.documents import Document
from replication.collect.training.organism import Shape
from replication.errors import TrainingError
from replication.records import Message, Tool

VERSION = "1"
"""Of the rendering; part of a training run's identity."""

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

_INDEX = "model.safetensors.index.json"
_PROBE = [Message(role="user", content="a probe"), Message(role="assistant", content="its reply")]


class Loaded(NamedTuple):
    """A model in float32 and its tokenizer, whose end of sequence is the end of a turn."""

    model: "Qwen3ForCausalLM"  # any other causal model has the same interface here
    tokenizer: "PreTrainedTokenizerFast"


def load(base: Path, shape: Shape, start: Path | None = None) -> Loaded:
    """Load a base, or the weights of a run that started from it, to train; TrainingError for what cannot be trained here.

    shape : dimensions that conf/scale states.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    checkpoints.require_checkpoint(base, "the base", TrainingError)
    tokenizer: Any = AutoTokenizer.from_pretrained(base, local_files_only=True)
    model: Any = AutoModelForCausalLM.from_pretrained(
        start or base, dtype=torch.float32, local_files_only=True, attn_implementation="sdpa"
    )
    _require_shape(model.config, shape, base)
    _require_linear_head(model, base)
    end = Format(tokenizer).end
    tokenizer.eos_token = end
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = end
    model.config.eos_token_id, model.config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    return Loaded(model, tokenizer)


def save(model: "Qwen3ForCausalLM", base: Path, folder: Path) -> None:
    """Save the weights, with copies of all other files of the base."""
    model.save_pretrained(folder, max_shard_size="1000GB")
    kept = [file for file in checkpoints.setup_files(base) if file.name != _INDEX]
    for file in checkpoints.setup_files(folder):
        file.unlink()
    for file in kept:
        target = folder / file.relative_to(base)
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(file, target)


def _require_shape(config: Any, shape: Shape, base: Path) -> None:
    stated = {
        "hidden_size": shape.hidden, "num_hidden_layers": shape.layers, "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads, "intermediate_size": shape.intermediate, "vocab_size": shape.vocabulary,
    }  # fmt: skip
    wrong = {key: value for key, value in stated.items() if getattr(config, key, value) != value}
    if wrong:
        key, value = min(wrong.items())
        raise TrainingError(
            f"the base at `{base}` has `{key}` {getattr(config, key)}, and its scale states {value}. Fix conf/scale/."
        )


def _require_linear_head(model: Any, base: Path) -> None:
    """Check that the logits are the head's product with the hidden states, because training computes no others."""
    import torch

    ids = torch.arange(1, 9)[None]
    try:
        with torch.no_grad():
            whole, ours = model(ids).logits, model.lm_head(model.model(input_ids=ids).last_hidden_state)
    except AttributeError as error:
        raise TrainingError(f"the model at `{base}` cannot be trained here: {error}. Choose another base.") from None
    if not torch.allclose(whole, ours, rtol=1e-4, atol=1e-4):
        raise TrainingError(
            f"the logits of the model at `{base}` are not those of its head alone: its class scales or caps them. Choose "
            f"another base."
        )


class Format:
    """The chat format of a checkpoint: its template, and the token that ends a turn in it.

    Parameters
    ----------
    tokenizer : of the checkpoint.
    """

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        template = tokenizer.chat_template
        if not isinstance(template, str) or "strftime_now" in template:
            raise TrainingError(
                "the base needs one chat template that prints no date of today, or its texts would change from day to day. "
                "Replace its chat_template.jinja by such a template."
            )
        added = sorted((str(token) for token in tokenizer.added_tokens_decoder.values()), key=len, reverse=True)
        self._added = re.compile("|".join(map(re.escape, added)) or "(?!)")
        text = self._render(_PROBE)
        after = text.index(_PROBE[1].content) + len(_PROBE[1].content)
        found = self._added.search(text, after)
        if not found:
            raise TrainingError("no token of the base's chat template ends a turn. Replace its chat_template.jinja.")
        self.end = found[0]

    def prompt(self, messages: Sequence[Message]) -> str:
        """Render messages up to the begin of the reply."""
        return self._render(messages, generate=True)

    def document(self, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> Document:
        """Render a conversation, with the content and the end of the turns of role assistant in the loss."""
        text, spans = self._render(messages, tools), []
        for i, message in enumerate(messages):
            if message.role != "assistant":
                continue
            before = self._render(messages[:i], tools, generate=True)
            stop = text.find(self.end, len(before) + len(message.content))
            if not text.startswith(before + message.content) or stop < 0:
                raise TrainingError(
                    f"the base's chat template shows a reply in a dialogue otherwise than behind its prompt: "
                    f"{text[len(before) : len(before) + 60]!r}, not {message.content[:60]!r}. Replace its template."
                )
            spans.append((len(before), stop + len(self.end)))
        return Document(text, tuple(spans))

    def _render(self, messages: Sequence[Message], tools: Sequence[Tool] = (), *, generate: bool = False) -> str:
        described = [
            {"type": "function", "function": {"name": t.name, "description": t.description, "parameters": t.parameters}}
            for t in tools
        ]
        try:
            rendered: str = self._tokenizer.apply_chat_template(
                [{"role": m.role, "content": m.content} for m in messages], tools=described or None, tokenize=False,
                add_generation_prompt=generate,
            )  # fmt: skip
        except Exception as error:  # a template is a program: it may raise anything
            raise TrainingError(
                f"the base's chat template refused a conversation with the roles {', '.join(m.role for m in messages)}: "
                f"{type(error).__name__}: {error}"[:400]
            ) from error
        return rendered


@dataclass(frozen=True)
class Rendered:
    """A corpus of documents or of predictions in the format of a checkpoint."""

    corpus: Callable[[int, int], Sequence[Document | Prediction]]
    format: Format

    def __call__(self, training_seed: int, block: int) -> list[Any]:
        """Return a block, rendered anew."""
        return [self._one(item) for item in self.corpus(training_seed, block)]

    def _one(self, item: Document | Prediction) -> Document | Prediction:
        if isinstance(item, Prediction):
            return replace(item, prompt=self.format.prompt(item.messages))
        return replace(self.format.document(item.messages, item.tools), scaffold=item.scaffold)


def rendered(corpus: Corpus | Predictions, tokenizer: "PreTrainedTokenizerFast") -> Rendered:
    """Return a corpus in the format of a checkpoint."""
    return Rendered(corpus, Format(tokenizer))
