"""Supervised learning: batches of documents, and the cross-entropy of the tokens in their marked spans."""

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from replication.collect.training.corpora import Corpus
from replication.collect.training.costs import FlopCounter, StepResult, flop_counter
from replication.collect.training.documents import Counts, add_counts, count
from replication.errors import TrainingError
from replication.records import stable_seed

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

    from replication.collect.training.ahead import Ahead

IGNORED = -100
"""Label of a token outside the loss."""


class Batch(NamedTuple):
    """Padded documents."""

    inputs: np.ndarray
    """(n_documents, n_positions), token ids."""
    labels: np.ndarray
    """(n_documents, n_positions), token ids in the loss, `IGNORED` elsewhere."""
    n_tokens: int
    """Without padding."""
    lengths: tuple[int, ...]
    """Of the documents."""


class _Row(NamedTuple):
    ids: np.ndarray
    labels: np.ndarray


class Block(NamedTuple):
    """Tokenized documents, shortest first."""

    rows: list[_Row]
    counts: Counts


@dataclass(frozen=True)
class _Tokenizer:
    """A tokenizer that equals every other with the same rules."""

    rules: str
    backend: Any = field(compare=False)  # tokenizers.Tokenizer, which is imported late


class BlockKey(NamedTuple):
    """What determines a block but its number; a process can be sent it."""

    corpus: Corpus
    name: str
    seed: int
    context: int
    tokenizer: _Tokenizer


def batches(
    corpus: Corpus,
    name: str,
    *,
    batch_tokens: int,
    context: int,
    tokenizer: "PreTrainedTokenizerFast",
    seed: int,
    counts: Counts | None = None,
    ahead: "Ahead | None" = None,
) -> Iterator[Batch]:
    """Cut an endless corpus into batches of about `batch_tokens` tokens; documents longer than `context` are left out.

    counts : cleared, then filled with the documents of the blocks read so far. ahead : makes the next blocks meanwhile.

    A batch holds documents of similar length; the batches of a block are shuffled. Documents start at position 0 and do
    not see each other: right padding and a causal mask are enough.
    """
    counts = {} if counts is None else counts
    counts.clear()
    shared = _Tokenizer(tokenizer.backend_tokenizer.to_str(), tokenizer.backend_tokenizer)
    key = BlockKey(corpus, name, seed, context, shared)
    for block in itertools.count():
        made = ahead.block(key, block) if ahead else _kept_block(key, block)
        add_counts(counts, made.counts)
        if not made.rows:
            raise TrainingError(
                f"no document of `{name}` (block {block}) fits a context of {context} tokens. Raise `engine.context`, or "
                f"choose shorter scaffolds or lower levels."
            )
        groups = _groups(made.rows, batch_tokens)
        order = np.random.default_rng([stable_seed("batches", name, seed), block]).permutation(len(groups))
        for g in order:
            yield _pad(groups[int(g)], tokenizer.pad_token_id)


def make_block(key: BlockKey, number: int) -> Block:
    """Generate and tokenize a block of documents."""
    corpus, name, seed, context, tokenizer = key
    documents = corpus(seed, number)
    encodings = tokenizer.backend.encode_batch([d.text for d in documents], add_special_tokens=False)
    rows: list[_Row] = []
    counts: Counts = {}
    for document, encoding in zip(documents, encodings, strict=True):
        ids = np.asarray(encoding.ids, dtype=np.int64)
        fits = len(ids) <= context
        count(counts, f"{name} {document.scaffold}" if document.scaffold else name, fits)
        if not fits:
            continue
        starts = np.asarray([start for start, _ in encoding.offsets])
        in_loss = np.zeros(len(ids), dtype=bool)
        for low, high in document.in_loss:
            in_loss |= (starts >= low) & (starts < high)
        rows.append(_Row(ids, np.where(in_loss, ids, IGNORED)))
    return Block(sorted(rows, key=lambda row: len(row.ids)), counts)


_kept_block = functools.lru_cache(maxsize=16)(make_block)
"""Arms with one training seed read the same blocks, in the same process or another."""


def _groups(rows: list[_Row], batch_tokens: int) -> list[list[_Row]]:
    groups: list[list[_Row]] = []
    group: list[_Row] = []
    for row in rows:
        if group and (len(group) + 1) * len(row.ids) > batch_tokens:
            groups.append(group)
            group = []
        group.append(row)
    groups.append(group)
    return groups


def _pad(rows: list[_Row], pad: int) -> Batch:
    width = max(len(row.ids) for row in rows)
    inputs = np.full((len(rows), width), pad, dtype=np.int64)
    labels = np.full((len(rows), width), IGNORED, dtype=np.int64)
    for i, row in enumerate(rows):
        inputs[i, : len(row.ids)] = row.ids
        labels[i, : len(row.ids)] = row.labels
    lengths = tuple(len(row.ids) for row in rows)
    return Batch(inputs, labels, sum(lengths), lengths)


def learn(
    model: "Qwen3ForCausalLM",
    stream: Iterable[Batch],
    precision: str,
    update: "Callable[[torch.Tensor], None]",
) -> Iterator[StepResult]:
    """Train on each batch in turn, one optimizer step per batch; yields its loss and costs.

    precision : float32, or bfloat16 for the matrix products. update : performs an optimizer step on a loss.
    """
    import torch

    counter, device = flop_counter(model), model.device
    for batch in stream:
        arrays = batch.inputs, *targets(batch)
        inputs, *in_loss, ids = (torch.from_numpy(array).to(device, non_blocking=True) for array in arrays)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            loss = _loss(model, inputs, (in_loss[0], in_loss[1]), ids)
        update(loss)
        yield StepResult(
            loss=loss.detach() if len(ids) else None, n_tokens=batch.n_tokens, flops=step_flops(counter, batch)
        )


class Targets(NamedTuple):
    """Tokens in the loss, each with the place of the token before it; (n_targets,) each."""

    rows: np.ndarray
    columns: np.ndarray
    ids: np.ndarray


def targets(batch: Batch) -> Targets:
    """List the tokens in the loss, row by row; in numpy, because a GPU would be waited for."""
    rows, columns = np.nonzero(batch.labels[:, 1:] != IGNORED)
    return Targets(rows, columns, batch.labels[rows, columns + 1])


def step_flops(counter: FlopCounter, batch: Batch) -> float:
    """Count the FLOPs of a step: a forward pass, and a backward pass that costs twice as much.

    The causal mask leaves half of the pairs. Keys are counted at the width of the batch, queries without padding.
    """
    return 3 * counter.forward(batch.n_tokens, batch.n_tokens * batch.inputs.shape[1] / 2)


def _loss(
    model: "Qwen3ForCausalLM",
    inputs: "torch.Tensor",
    in_loss: "tuple[torch.Tensor, torch.Tensor]",
    targets: "torch.Tensor",
) -> "torch.Tensor":
    """Return the mean cross-entropy of the tokens in the loss; logits are computed for these only.

    in_loss : row and column of the token before each target.
    """
    import torch

    hidden = model.model(input_ids=inputs, use_cache=False).last_hidden_state[:, :-1]
    return torch.nn.functional.cross_entropy(model.lm_head(hidden[in_loss]), targets)
