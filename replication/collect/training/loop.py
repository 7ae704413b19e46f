"""The training loop: phases with an objective each, Muon and AdamW, resumable to the same final weights."""

import copy
import itertools
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from replication.collect.training.corpora import Corpus, Predictions
from replication.collect.training.costs import Step, size_of
from replication.collect.training.rl import RlSettings, learn, prompts
from replication.records import Json, stable_seed

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of training on one corpus with one objective, with its own learning-rate schedule."""

    name: str
    corpus: Corpus | Predictions
    n_tokens: int
    """Compute budget, in tokens' worth of 6 x parameters FLOPs each; attention, sampling and the reference model of
    reinforcement learning are counted too, so fewer tokens are read. Arms of one scale with equal sums of budgets are
    matched in compute to within one step, whatever they do."""
    lr: float
    """Peak rate of Muon; AdamW runs at `adam_share` of it."""
    rl: RlSettings | None = None
    """The objective: None learns the marked spans of documents, settings learn predictions by reinforcement."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How a phase is run; the same for every arm."""

    batch_tokens: int
    context: int
    """Longer documents are left out of the corpus, never cut."""
    warmup_share: float
    decay_share: float
    adam_share: float
    weight_decay: float
    clip: float
    precision: str
    """float32, or bfloat16 for the matrix products (weights and sums stay float32)."""
    compile: bool
    """Whether the model is compiled: faster from a minute of training on; needs a C++ compiler on the CPU."""
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


def batches(phase: Phase, recipe: TrainingConfig, tokenizer: "PreTrainedTokenizerFast", seed: int) -> Iterator[Batch]:
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


def _schedule(share: float, recipe: TrainingConfig) -> float:
    """Warm up, stay, decay to 5 %: the rate as a share of the peak, at a share of the phase."""
    if share < recipe.warmup_share:
        return max(share / recipe.warmup_share, 0.02)
    left = 1.0 - share
    return 1.0 if left > recipe.decay_share else 0.05 + 0.95 * max(left, 0.0) / recipe.decay_share


def _optimizers(model: "Qwen3ForCausalLM", recipe: TrainingConfig) -> "list[torch.optim.Optimizer]":
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
    """Tokens that went forward and backward, padding not counted."""
    n_sampled_tokens: int
    """New tokens drawn by reinforcement learning."""
    flops: float
    """Of all that was computed, attention, sampling and reference models included; see costs.py."""
    wall_s: float
    joules: float | None
    """None where nothing measures them."""
    curve: list[dict[str, Json]]


class Start(NamedTuple):
    """What another training run has done of the same phases; the model is that run's."""

    n_phases: int
    trained: Trained


def train(
    model: "Qwen3ForCausalLM",
    tokenizer: "PreTrainedTokenizerFast",
    phases: list[Phase],
    recipe: TrainingConfig,
    seed: int,
    state_file: Path,
    report: Callable[[Progress], None] = lambda progress: None,
    energy: Callable[[], float | None] = lambda: None,
    start: Start | None = None,
) -> Trained:
    """Run the phases in order on the model in place; with a `start`, those after it.

    The state is saved every `save_every_s` seconds; a run that finds a state file goes on from there and, in float32 on
    one CPU thread, ends with the same weights as one that was never interrupted. `energy` reads a meter in joules.
    """
    import torch

    n_parameters = size_of(model).n_parameters
    total = sum(phase.n_tokens for phase in phases)
    n_before, before = start or Start(0, Trained(0, 0, 0.0, 0.0, None, []))
    n_tokens, n_sampled_tokens, flops, seconds, joules, curve = before
    joules, metered, curve = joules or 0.0, energy(), list(curve)
    state = torch.load(state_file, weights_only=False) if state_file.exists() else None
    model.train()
    if recipe.compile:
        model.model.compile(dynamic=True)
    # Budgets add up, so that what one phase takes too much is taken from the next and the sum holds to one step.
    ends = list(itertools.accumulate(6.0 * n_parameters * phase.n_tokens for phase in phases))
    for number, phase in enumerate(phases):
        if number < n_before:
            continue
        optimizers = _optimizers(model, recipe)
        reference = copy.deepcopy(model).requires_grad_(False) if phase.rl else None
        step = 0
        begun = flops
        if state is not None:
            if number < state["phase"]:
                continue
            model.load_state_dict(state["model"])
            if reference:
                reference.load_state_dict(state["reference"])
            for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
                optimizer.load_state_dict(saved)
            step, begun = state["step"], state["begun"]
            seconds, n_tokens, flops, curve = state["seconds"], state["n_tokens"], state["flops"], state["curve"]
            n_sampled_tokens, joules = state.get("n_sampled_tokens", 0), state.get("joules", 0.0)
            state = None
        steps = _steps(model, reference, tokenizer, phase, recipe, seed, number, step, optimizers)
        saved_at = at = time.monotonic()
        while flops < ends[number]:
            rate = phase.lr * _schedule((flops - begun) / (ends[number] - begun), recipe)
            for optimizer, share in zip(optimizers, (1.0, recipe.adam_share), strict=True):
                optimizer.param_groups[0]["lr"] = rate * share
            done = next(steps)
            step += 1
            n_tokens += done.n_tokens
            n_sampled_tokens += done.n_sampled_tokens
            flops += done.flops
            now = time.monotonic()
            seconds += now - at
            at = now
            curve.append(
                {
                    "step": len(curve),
                    "phase": phase.name,
                    "n_tokens": n_tokens,
                    "loss": round(done.loss, 6),
                    "lr": round(rate, 8),
                    "wall_s": round(seconds, 3),
                    "reward": None if done.reward is None else round(done.reward, 6),
                }
            )
            report(Progress(phase.name, min(total, round(flops / (6.0 * n_parameters))), total, done.loss))
            if now - saved_at > recipe.save_every_s:
                saved_at = now
                _save_state(
                    state_file,
                    {
                        "phase": number,
                        "step": step,
                        "begun": begun,
                        "seconds": seconds,
                        "joules": joules + _used(metered, energy()),
                        "n_tokens": n_tokens,
                        "n_sampled_tokens": n_sampled_tokens,
                        "flops": flops,
                        "curve": curve,
                        "model": model.state_dict(),
                        "reference": reference.state_dict() if reference else None,
                        "optimizers": [o.state_dict() for o in optimizers],
                    },
                )
    model.eval()
    joules = None if metered is None else joules + _used(metered, energy())
    return Trained(n_tokens, n_sampled_tokens, flops, seconds, joules, curve)


def _used(before: float | None, after: float | None) -> float:
    return 0.0 if before is None or after is None else after - before


def _steps(
    model: "Qwen3ForCausalLM",
    reference: "Qwen3ForCausalLM | None",
    tokenizer: "PreTrainedTokenizerFast",
    phase: Phase,
    recipe: TrainingConfig,
    seed: int,
    number: int,
    n_done: int,
    optimizers: "list[torch.optim.Optimizer]",
) -> Iterator[Step]:
    """Go on with phase `number` after its first `n_done` steps; each `next` is one step of its objective."""
    import torch

    def update(loss: "torch.Tensor") -> None:
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)

    if phase.rl is None:
        stream = itertools.islice(batches(phase, recipe, tokenizer, seed), n_done, None)
        return _read(model, stream, recipe.precision, update)
    asked = enumerate(prompts(phase.corpus, phase.name, phase.rl, recipe.context, tokenizer, seed))
    seeded = ((stable_seed("replies", seed, number, n), batch) for n, batch in itertools.islice(asked, n_done, None))
    return learn(model, reference, tokenizer, seeded, phase.rl, update)


def _read(
    model: "Qwen3ForCausalLM", stream: Iterator[Batch], precision: str, update: "Callable[[torch.Tensor], None]"
) -> Iterator[Step]:
    """Make one supervised step per batch."""
    import torch

    size, device = size_of(model), model.device
    for batch in stream:
        inputs = torch.from_numpy(batch.inputs).to(device)
        labels = torch.from_numpy(batch.labels).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bfloat16"):
            loss = _loss(model, inputs, labels)
        update(loss)
        # A causal mask leaves half of the pairs.
        flops = 3 * size.forward(batch.n_tokens, batch.n_tokens * batch.inputs.shape[1] / 2)
        yield Step(loss=float(loss.detach()), n_tokens=batch.n_tokens, flops=flops)


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
