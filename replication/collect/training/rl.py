"""Reinforcement learning on next-observation prediction: GRPO with the sequence-level ratio of GSPO.

For each prompt the model draws a group of replies; each is rewarded by rule for how well it predicts the observation;
what is better than its group becomes likelier (Shao et al. 2024, arXiv:2402.03300, section 4.1). The importance ratio is
that of the whole reply, to the power of one over its length (Zheng et al. 2025, arXiv:2507.18071, equations 5 to 7). One
turn is drawn per trajectory, as in the paper under test. What is special to organisms: a reward that needs no judge; the
KL term is exact; a group is one row that computes its prompt once; groups without spread are left out.

Everything here is computed in float32, whatever the recipe's precision: GSPO clips ratios at some 1e-4, and the
log-probabilities of the sampler must agree with those of the trainer better than that.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from replication.collect.benchmarks.observations import exact, token_f1
from replication.collect.training.corpora import Predictions
from replication.collect.training.costs import Size, Step, size_of
from replication.collect.training.documents import START, chat
from replication.collect.training.replies import Replies, draw
from replication.errors import ConfigError, TrainingError
from replication.records import stable_seed

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM


@dataclass(frozen=True, kw_only=True)
class RlSettings:
    """How a phase of reinforcement learning is run; all of it can change the weights."""

    n_prompts: int
    """Per step."""
    group_size: int
    """Replies per prompt."""
    n_minibatches: int
    """Optimizer steps per step: the groups are dealt out to them, and from the second on the ratio is not 1."""
    temperature: float
    """Of the policy that is sampled and trained."""
    max_new_tokens: int
    """Of a reply, its end mark included; prompts whose observation is longer are left out, never cut."""
    clip_low: float
    """A reply worse than its group stops counting where its ratio falls below 1 - clip_low."""
    clip_high: float
    """A reply better than its group stops counting where its ratio rises above 1 + clip_high."""
    kl_weight: float
    """Of the KL divergence from the model at the start of the phase, per token."""
    exact_weight: float
    """Of exact match in the reward; the rest is token F1."""

    def __post_init__(self) -> None:
        """Refuse settings under which nothing would be learnt, or the reward would leave [0, 1]."""
        if self.group_size < 2 or min(self.n_prompts, self.n_minibatches, self.max_new_tokens) < 1:
            raise ConfigError(
                "`group_size` must be at least 2, `n_prompts`, `n_minibatches` and `max_new_tokens` at least 1; "
                f"got {self}. Mend conf/training/."
            )
        if self.temperature <= 0 or not 0 <= self.exact_weight <= 1:
            raise ConfigError(
                f"`temperature` must be above 0 and `exact_weight` within [0, 1]; got {self}. Mend conf/training/."
            )


class Prompt(NamedTuple):
    """A prediction that is asked for."""

    ids: np.ndarray
    wanted: str


def prompts(
    corpus: Predictions,
    name: str,
    settings: RlSettings,
    context: int,
    tokenizer: "PreTrainedTokenizerFast",
    seed: int,
) -> Iterator[list[Prompt]]:
    """Cut an endless stream of predictions into batches of `n_prompts`: similar lengths together, batches shuffled."""
    backend = tokenizer.backend_tokenizer
    for block in itertools.count():
        asked = corpus(seed, block)
        texts = [chat(p.messages, [False] * len(p.messages)).text + f"{START}assistant\n" for p in asked]
        encodings = backend.encode_batch(texts, add_special_tokens=False)
        answers = backend.encode_batch([p.wanted for p in asked], add_special_tokens=False)
        usable = [
            Prompt(np.asarray(encoding.ids, dtype=np.int64), p.wanted)
            for p, encoding, answer in zip(asked, encodings, answers, strict=True)
            if len(answer.ids) < settings.max_new_tokens and len(encoding.ids) + settings.max_new_tokens <= context
        ]
        if not usable:
            raise TrainingError(
                f"no prediction of `{name}` (block {block}) fits `max_new_tokens` {settings.max_new_tokens} and a "
                f"context of {context} tokens. Raise `max_new_tokens`, or lower the levels."
            )
        usable.sort(key=lambda prompt: len(prompt.ids))
        starts = np.arange(0, len(usable), settings.n_prompts)
        for at in np.random.default_rng([stable_seed("prompts", name, seed), block]).permutation(starts):
            yield usable[at : at + settings.n_prompts]


def learn(
    model: "Qwen3ForCausalLM",
    reference: "Qwen3ForCausalLM",
    tokenizer: "PreTrainedTokenizerFast",
    batches: Iterable[tuple[int, list[Prompt]]],
    settings: RlSettings,
    update: Callable[["torch.Tensor"], None],
) -> Iterator[Step]:
    """Make one step of GSPO per batch.

    batches : the seed of the step's random numbers, and its prompts. reference : what the KL term holds the model to.
    update : takes a loss down one optimizer step.
    """
    import torch

    size = size_of(model)
    for seed, batch in batches:
        replies = draw(
            model, [prompt.ids for prompt in batch], group_size=settings.group_size,
            max_new_tokens=settings.max_new_tokens, temperature=settings.temperature,
            generator=torch.Generator().manual_seed(seed),
        )  # fmt: skip
        rewards = _rewards(batch, replies, tokenizer, settings.exact_weight)
        scores = advantages(rewards)
        flops = sum(_forward_flops(size, prompt, n) for prompt, n in zip(batch, replies.lengths, strict=True))
        live = np.flatnonzero(scores.any(axis=1))
        losses, n_tokens = [], 0
        for first in range(min(settings.n_minibatches, len(live))):
            chosen = live[first :: settings.n_minibatches]
            rows = _pack([batch[i] for i in chosen], Replies(*(x[chosen] for x in replies)), model)
            loss = _loss(model, reference, rows, scores[chosen], settings)
            update(loss)
            losses.append(float(loss.detach()))
            n_tokens += rows.n_tokens
            # Forward through the reference, forward and backward through the model.
            flops += 4 * sum(_forward_flops(size, batch[i], replies.lengths[i]) for i in chosen)
        yield Step(
            loss=float(np.mean(losses)) if losses else 0.0, n_tokens=n_tokens, flops=flops,
            n_sampled_tokens=int(replies.lengths.sum()), reward=float(rewards.mean()),
        )  # fmt: skip


def _rewards(
    batch: Sequence[Prompt], replies: Replies, tokenizer: "PreTrainedTokenizerFast", exact_weight: float
) -> np.ndarray:
    end = tokenizer.eos_token_id
    ids = [
        [t for t in tokens[:n].tolist() if t != end]
        for group, lengths in zip(replies.tokens, replies.lengths, strict=True)
        for tokens, n in zip(group, lengths, strict=True)
    ]
    # Other special tokens are shown: a reply that begins a new message has not said what was wanted.
    texts = tokenizer.backend_tokenizer.decode_batch(ids, skip_special_tokens=False)
    wanted = [prompt.wanted for prompt in batch for _ in range(replies.lengths.shape[1])]
    values = [
        exact_weight * exact(said, true) + (1 - exact_weight) * token_f1(said, true)
        for said, true in zip(texts, wanted, strict=True)
    ]
    return np.asarray(values).reshape(replies.lengths.shape)


def advantages(rewards: np.ndarray) -> np.ndarray:
    """Standardise rewards within their group: (r - mean) / standard deviation; 0 in a group without spread.

    rewards : (n_prompts, group_size). GSPO, arXiv:2507.18071, equation 6.
    """
    spread = rewards.max(axis=1, keepdims=True) > rewards.min(axis=1, keepdims=True)
    deviation = np.where(spread, rewards.std(axis=1, keepdims=True), 1.0)
    return np.where(spread, (rewards - rewards.mean(axis=1, keepdims=True)) / deviation, 0.0)


def gspo_loss(
    new: "torch.Tensor",
    old: "torch.Tensor",
    reply: "torch.Tensor",
    scores: "torch.Tensor",
    clip_low: float,
    clip_high: float,
) -> "torch.Tensor":
    """Give the clipped surrogate of GSPO, negated to be a loss (arXiv:2507.18071, equations 5 and 7).

    new, old, reply : (n_tokens,), log-probabilities now and when drawn, and the reply that the token stands in.
    scores : (n_replies,), advantages.
    """
    import torch

    ratio = torch.exp(_mean_by_reply(new - old, reply, len(scores)))
    return -torch.minimum(ratio * scores, ratio.clamp(1 - clip_low, 1 + clip_high) * scores).mean()


def kl_loss(new: "torch.Tensor", reference: "torch.Tensor", reply: "torch.Tensor", n_replies: int) -> "torch.Tensor":
    """Give KL(model || reference) per token, the mean over replies of the mean over their tokens.

    new, reference : (n_tokens, n_vocabulary), log-probabilities. reply : (n_tokens,). The sum runs over the whole
    vocabulary: a thousand words cost next to nothing here, and unlike the usual one-sample estimators (k1 to k3) it has
    no variance of its own and its gradient is that of the divergence.
    """
    return _mean_by_reply((new.exp() * (new - reference)).sum(dim=-1), reply, n_replies).mean()


def _mean_by_reply(values: "torch.Tensor", reply: "torch.Tensor", n_replies: int) -> "torch.Tensor":
    sums = values.new_zeros(n_replies).index_add(0, reply, values)
    return sums / reply.bincount(minlength=n_replies)


class _Rows(NamedTuple):
    """Groups as rows: the prompt, then its replies one after the other, all but their last tokens."""

    inputs: "torch.Tensor"
    """(n_rows, n_positions)."""
    positions: "torch.Tensor"
    """(n_rows, n_positions); each reply goes on from the prompt's end."""
    mask: "torch.Tensor"
    """(n_rows, 1, n_positions, n_positions); a reply sees the prompt and itself."""
    row: "torch.Tensor"
    """(n_reply_tokens,), as are the next four: the row that a token of a reply stands in."""
    source: "torch.Tensor"
    """The position in that row whose output predicts it."""
    target: "torch.Tensor"
    old: "torch.Tensor"
    """Its log-probability when it was drawn."""
    reply: "torch.Tensor"
    """The reply it stands in, of all replies of all rows."""
    n_tokens: int


def _pack(batch: Sequence[Prompt], replies: Replies, model: "Qwen3ForCausalLM") -> _Rows:
    import torch

    size = replies.lengths.shape[1]
    widths = [len(prompt.ids) + int((n - 1).sum()) for prompt, n in zip(batch, replies.lengths, strict=True)]
    shape = (len(batch), max(widths))
    inputs = np.full(shape, model.config.pad_token_id, dtype=np.int64)
    positions = np.zeros(shape, dtype=np.int64)
    part = np.full(shape, -1)  # 0 is the prompt, g + 1 the g-th reply, -1 padding
    row, source, target, old, reply = [], [], [], [], []
    for i, prompt in enumerate(batch):
        at = n_prompt = len(prompt.ids)
        inputs[i, :at], positions[i, :at], part[i, :at] = prompt.ids, np.arange(at), 0
        for g, n in enumerate(replies.lengths[i]):
            fed = slice(at, at + n - 1)
            inputs[i, fed] = replies.tokens[i, g, : n - 1]
            positions[i, fed] = np.arange(n_prompt, n_prompt + n - 1)
            part[i, fed] = g + 1
            row.append(np.full(n, i))
            source.append(np.concatenate(([n_prompt - 1], np.arange(at, at + n - 1))))
            target.append(replies.tokens[i, g, :n])
            old.append(replies.logps[i, g, :n])
            reply.append(np.full(n, i * size + g))
            at += n - 1
    seen = (part[:, None, :] == 0) | (part[:, None, :] == part[:, :, None])
    seen &= np.tri(shape[1], dtype=bool)
    flat = (np.concatenate(x) for x in (row, source, target, old, reply))
    tensors = (torch.from_numpy(x).to(model.device) for x in (inputs, positions, seen[:, None], *flat))
    return _Rows(*tensors, sum(widths))


def _loss(
    model: "Qwen3ForCausalLM",
    reference: "Qwen3ForCausalLM",
    rows: _Rows,
    scores: np.ndarray,
    settings: RlSettings,
) -> "torch.Tensor":
    import torch

    logps = _logps(model, rows, settings.temperature)
    with torch.no_grad():
        held_to = _logps(reference, rows, settings.temperature)
    new = logps.gather(-1, rows.target[:, None])[:, 0]
    wanted = torch.from_numpy(scores.reshape(-1)).to(new)
    surrogate = gspo_loss(new, rows.old, rows.reply, wanted, settings.clip_low, settings.clip_high)
    return surrogate + settings.kl_weight * kl_loss(logps, held_to, rows.reply, len(wanted))


def _logps(model: "Qwen3ForCausalLM", rows: _Rows, temperature: float) -> "torch.Tensor":
    """Give the log-probabilities of the whole vocabulary at each reply token: (n_reply_tokens, n_vocabulary)."""
    import torch

    hidden = model.model.forward(
        input_ids=rows.inputs, position_ids=rows.positions, attention_mask=rows.mask, use_cache=False
    ).last_hidden_state
    return torch.log_softmax(model.lm_head(hidden[rows.row, rows.source]) / temperature, dim=-1)


def _forward_flops(size: Size, prompt: Prompt, lengths: np.ndarray) -> float:
    # Drawing a group and reading it back compute the same: the prompt once, and each reply but for its last token.
    n, fed = len(prompt.ids), lengths - 1.0
    return size.forward(n + float(fed.sum()), n * n / 2 + float((n * fed + fed * fed / 2).sum()))
