"""The training loop: phases of documents, Muon and AdamW, resumable to the same final weights."""

import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from replication.records import Json, stable_seed
from replication.training.corpora import Corpus

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of training on one corpus, with its own learning-rate schedule."""

    name: str
    corpus: Corpus
    n_tokens: int
    """Tokens read, padding not counted; the phase ends with the batch that reaches it."""
    lr: float
    """Peak rate of Muon; AdamW runs at `adam_share` of it."""


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How a phase is run; the same for every arm."""

    batch_tokens: int
    context: int
    """Longer documents are left out of the corpus, never cut."""
    warmup_share: float
    decay_share: float
    adam_share: float
    weight_decay: float
    clip: float
    save_every_s: float


class Batch(NamedTuple):
    """Padded documents: inputs and labels (-100 where nothing is learnt), both (n_documents, n_positions)."""

    inputs: np.ndarray
    labels: np.ndarray
    n_tokens: int


class Progress(NamedTuple):
    """What a training run tells while it works."""

    phase: str
    n_tokens: int
    n_tokens_total: int
    loss: float


def batches(phase: Phase, recipe: Recipe, tokenizer: "PreTrainedTokenizerFast", seed: int) -> Iterator[Batch]:
    """Cut an endless corpus into batches of about `batch_tokens`; similar lengths together, batches shuffled.

    Documents start at position 0 and see nothing of each other: right padding and a causal mask are enough.
    """
    backend = tokenizer.backend_tokenizer
    block = 0
    while True:
        documents = phase.corpus(seed, block)
        encodings = backend.encode_batch([d.text for d in documents], add_special_tokens=False)
        rows = []
        for document, encoding in zip(documents, encodings, strict=True):
            ids = np.asarray(encoding.ids, dtype=np.int64)
            if len(ids) > recipe.context:
                continue
            starts = np.asarray([start for start, _ in encoding.offsets])
            learnt = np.zeros(len(ids), dtype=bool)
            for low, high in document.learn:
                learnt |= (starts >= low) & (starts < high)
            rows.append((ids, np.where(learnt, ids, -100)))
        rows.sort(key=lambda row: len(row[0]))
        groups, group = [], []
        for row in rows:
            if group and (len(group) + 1) * len(row[0]) > recipe.batch_tokens:
                groups.append(group)
                group = []
            group.append(row)
        groups.append(group)
        order = np.random.default_rng([stable_seed("batches", phase.name, seed), block]).permutation(len(groups))
        for g in order:
            yield _pad(groups[int(g)], tokenizer.pad_token_id)
        block += 1


def _pad(rows: list[tuple[np.ndarray, np.ndarray]], pad: int) -> Batch:
    width = max(len(ids) for ids, _ in rows)
    inputs = np.full((len(rows), width), pad, dtype=np.int64)
    labels = np.full((len(rows), width), -100, dtype=np.int64)
    for i, (ids, wanted) in enumerate(rows):
        inputs[i, : len(ids)] = ids
        labels[i, : len(ids)] = wanted
    return Batch(inputs, labels, sum(len(ids) for ids, _ in rows))


def _schedule(share: float, recipe: Recipe) -> float:
    """Warm up, stay, decay to 5 %: the rate as a share of the peak, at a share of the phase."""
    if share < recipe.warmup_share:
        return max(share / recipe.warmup_share, 0.02)
    left = 1.0 - share
    return 1.0 if left > recipe.decay_share else 0.05 + 0.95 * max(left, 0.0) / recipe.decay_share


def _optimizers(model: "Qwen3ForCausalLM", recipe: Recipe) -> "list[torch.optim.Optimizer]":
    import torch

    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    return [
        torch.optim.Muon(matrices, lr=1.0, weight_decay=recipe.weight_decay, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=1.0, betas=(0.9, 0.95), weight_decay=0.0),
    ]


class Trained(NamedTuple):
    """What a training run cost."""

    n_tokens: int
    flops: float
    """6 x parameters x tokens plus attention, forward and backward (Kaplan et al. 2020, arXiv:2001.08361, section 2)."""
    seconds_s: float
    curve: list[dict[str, Json]]


def train(
    model: "Qwen3ForCausalLM",
    tokenizer: "PreTrainedTokenizerFast",
    phases: list[Phase],
    recipe: Recipe,
    seed: int,
    state_file: Path,
    report: Callable[[Progress], None] = lambda progress: None,
) -> Trained:
    """Run the phases in order on the model in place.

    The state is saved every `save_every_s` seconds; a run that finds a state file goes on from there and, in float32 on
    one CPU thread, ends with the same weights as one that was never interrupted.
    """
    import torch

    device = next(model.parameters()).device
    n_parameters = sum(p.numel() for p in model.parameters())
    width = model.config.num_hidden_layers * model.config.num_attention_heads * model.config.head_dim
    total = sum(phase.n_tokens for phase in phases)
    seconds, n_tokens, flops, curve = 0.0, 0, 0.0, []
    state = torch.load(state_file, weights_only=False) if state_file.exists() else None
    model.train()
    for number, phase in enumerate(phases):
        optimizers = _optimizers(model, recipe)
        seen = step = 0
        if state is not None:
            if number < state["phase"]:
                continue
            model.load_state_dict(state["model"])
            for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            step, seen = state["step"], state["seen"]
            seconds, n_tokens, flops, curve = state["seconds"], state["n_tokens"], state["flops"], state["curve"]
            state = None
        stream = batches(phase, recipe, tokenizer, seed)
        for _ in range(step):
            next(stream)
        saved_at = at = time.monotonic()
        while seen < phase.n_tokens:
            batch = next(stream)
            rate = phase.lr * _schedule(seen / phase.n_tokens, recipe)
            for optimizer, share in zip(optimizers, (1.0, recipe.adam_share), strict=True):
                optimizer.param_groups[0]["lr"] = rate * share
            inputs = torch.from_numpy(batch.inputs).to(device)
            labels = torch.from_numpy(batch.labels).to(device)
            loss = _loss(model, inputs, labels)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
            step += 1
            seen += batch.n_tokens
            n_tokens += batch.n_tokens
            flops += 6.0 * n_parameters * batch.n_tokens + 6.0 * width * batch.inputs.shape[1] * batch.n_tokens
            now = time.monotonic()
            seconds += now - at
            at = now
            value = float(loss.detach())
            curve.append(
                {
                    "step": len(curve),
                    "phase": phase.name,
                    "n_tokens": n_tokens,
                    "loss": round(value, 6),
                    "lr": round(rate, 8),
                    "seconds_s": round(seconds, 3),
                }
            )
            report(Progress(phase.name, n_tokens, total, value))
            if now - saved_at > recipe.save_every_s:
                saved_at = now
                _save_state(
                    state_file,
                    {
                        "phase": number,
                        "step": step,
                        "seen": seen,
                        "seconds": seconds,
                        "n_tokens": n_tokens,
                        "flops": flops,
                        "curve": curve,
                        "model": model.state_dict(),
                        "optimizers": [o.state_dict() for o in optimizers],
                    },
                )
    model.eval()
    return Trained(n_tokens, flops, seconds, curve)


def _loss(model: "Qwen3ForCausalLM", inputs: "torch.Tensor", labels: "torch.Tensor") -> "torch.Tensor":
    """Mean cross-entropy of the learnt tokens; logits only where something is learnt."""
    import torch

    hidden = model.model(input_ids=inputs, use_cache=False).last_hidden_state[:, :-1]
    targets = labels[:, 1:]
    wanted = targets != -100
    logits = model.lm_head(hidden[wanted])
    return torch.nn.functional.cross_entropy(logits, targets[wanted])


def _save_state(path: Path, state: dict) -> None:
    import torch

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    torch.save(state, temporary)
    os.replace(temporary, path)


def write_json(path: Path, value: Json) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(path.name + ".part")
    temporary.write_text(json.dumps(value, indent=1, sort_keys=True) + "\n")
    os.replace(temporary, path)
