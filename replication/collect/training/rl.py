"""Reinforcement learning on next-observation prediction: GRPO with the sequence-level ratio of GSPO.

For each prompt the model samples a group of replies. A rule rewards each by how well it predicts the observation, and
replies better than the mean of their group become more probable (Shao et al. 2024, arXiv:2402.03300, section 4.1). The
importance ratio is that of the whole reply, to the power of one over its length (Zheng et al. 2025, arXiv:2507.18071,
equations 5 to 7). One turn is drawn per trajectory, as in the paper under test. Specific to organisms: the reward needs
no judge; the KL term is exact; a group is one row that computes its prompt once; groups of equal rewards are left out.

All computation is in float32, regardless of `precision`: GSPO clips ratios at about 1e-4, and the log-probabilities of
sampling must agree with those of training better than that.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np

from replication.collect.benchmarks.observations import exact, token_f1
from replication.collect.training.corpora import Predictions
from replication.collect.training.costs import FlopCounter, StepResult, flop_counter
from replication.collect.training.documents import START, Counts, chat, count
from replication.collect.training.replies import Replies, draw
from replication.errors import ConfigError, TrainingError
from replication.records import stable_seed

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM


@dataclass(frozen=True, kw_only=True)
class RlSettings:
    """Settings of a phase of reinforcement learning; each can change the weights."""

    n_prompts: int
    """Per step."""
    group_size: int
    """Replies per prompt."""
    n_minibatches: int
    """Optimizer steps per step: the groups are split among them; from the second on the ratio differs from 1."""
    temperature: float
    """Of the policy, in sampling and in the loss."""
    max_new_tokens: int
    """Per reply, including its end mark; prompts whose observation is longer are left out, never cut."""
    clip_low: float
    """Clips the ratio from below: a reply worse than its group has no gradient where its ratio is below 1 - clip_low."""
    clip_high: float
    """Clips the ratio from above: a reply better than its group has none where its ratio exceeds 1 + clip_high."""
    kl_weight: float
    """Weight of the KL divergence from the model at the start of the phase, per token."""
    exact_weight: float
    """Weight of exact match in the reward; token F1 has the rest."""

    def __post_init__(self) -> None:
        """Reject settings without a gradient and rewards outside [0, 1]."""
        if self.group_size < 2 or min(self.n_prompts, self.n_minibatches, self.max_new_tokens) < 1:
            raise ConfigError(
                "`group_size` must be at least 2, `n_prompts`, `n_minibatches` and `max_new_tokens` at least 1; "
                f"got {self}. Fix conf/training/."
            )
        if self.temperature <= 0 or not 0 <= self.exact_weight <= 1:
            raise ConfigError(
                f"`temperature` must be above 0 and `exact_weight` within [0, 1]; got {self}. Fix conf/training/."
            )


class Prompt(NamedTuple):
    """A tokenized prompt, and the observation that the reply should predict."""

    ids: np.ndarray
    """(n_positions,), token ids."""
    observation: str


def prompts(
    corpus: Predictions,
    name: str,
    settings: RlSettings,
    context: int,
    tokenizer: "PreTrainedTokenizerFast",
    seed: int,
    counts: Counts | None = None,
) -> Iterator[list[Prompt]]:
    """Cut an endless corpus into batches of `n_prompts` prompts of similar length; the batches of a block are shuffled.

    context : longest prompt plus reply, tokens; longer ones are left out.
    counts : cleared, then filled with the predictions of the blocks read so far.
    """
    counts = {} if counts is None else counts
    counts.clear()
    backend = tokenizer.backend_tokenizer
    for block in itertools.count():
        predictions = corpus(seed, block)
        texts = [
            p.prompt or chat(p.messages, [False] * len(p.messages)).text + f"{START}assistant\n" for p in predictions
        ]
        encodings = backend.encode_batch(texts, add_special_tokens=False)
        replies = backend.encode_batch([p.observation for p in predictions], add_special_tokens=False)
        usable = []
        for p, encoding, reply in zip(predictions, encodings, replies, strict=True):
            fits = len(reply.ids) < settings.max_new_tokens and len(encoding.ids) + settings.max_new_tokens <= context
            count(counts, name, fits)
            if fits:
                usable.append(Prompt(np.asarray(encoding.ids, dtype=np.int64), p.observation))
        if not usable:
            raise TrainingError(
                f"no prediction of `{name}` (block {block}) fits `max_new_tokens` {settings.max_new_tokens} and a "
                f"context of {context} tokens. Raise `max_new_tokens`, or lower the levels."
            )
        usable.sort(key=lambda prompt: len(prompt.ids))
        starts = np.arange(0, len(usable), settings.n_prompts)
        for at in np.random.default_rng([stable_seed("prompts", name, seed), block]).permutation(starts):
            yield usable[at : at + settings.n_prompts]


class Policy(Protocol):
    """A model that samples replies and learns from them."""

    model: "Qwen3ForCausalLM"

    def draw(self, prompts: Sequence[np.ndarray], settings: RlSettings, seed: int) -> Replies:
        """Sample a group of replies to each prompt."""

    def learn(self, rows: "Rows", advantage: np.ndarray, settings: RlSettings) -> "torch.Tensor":
        """Take an optimizer step on these groups; returns the loss before it."""


@dataclass
class TransformersPolicy:
    """A policy by transformers' modules and autograd."""

    model: "Qwen3ForCausalLM"
    reference: "Qwen3ForCausalLM"
    """The model of the KL term."""
    update: Callable[["torch.Tensor"], None]
    """Performs an optimizer step on a loss."""

    def draw(self, prompts: Sequence[np.ndarray], settings: RlSettings, seed: int) -> Replies:
        """Sample a group of replies to each prompt."""
        import torch

        return draw(
            self.model, prompts, group_size=settings.group_size, max_new_tokens=settings.max_new_tokens,
            temperature=settings.temperature, generator=torch.Generator().manual_seed(seed),
        )  # fmt: skip

    def learn(self, rows: "Rows", advantage: np.ndarray, settings: RlSettings) -> "torch.Tensor":
        """Take an optimizer step on these groups; returns the loss before it."""
        loss = _loss(self.model, self.reference, rows, advantage, settings)
        self.update(loss)
        return loss.detach()


def learn(
    policy: Policy, tokenizer: "PreTrainedTokenizerFast", batches: Iterable[tuple[int, list[Prompt]]],
    settings: RlSettings,
) -> Iterator[StepResult]:  # fmt: skip
    """Train on each batch of prompts in turn, `n_minibatches` optimizer steps per batch; yields its loss and costs.

    batches : (seed of the replies, prompts).
    """
    import torch

    counter = flop_counter(policy.model)
    for seed, batch in batches:
        replies = policy.draw([prompt.ids for prompt in batch], settings, seed)
        rewards = _rewards(batch, replies, tokenizer, settings.exact_weight)
        advantage = advantages(rewards)
        flops = sum(_forward_flops(counter, prompt, n) for prompt, n in zip(batch, replies.lengths, strict=True))
        unequal = np.flatnonzero(advantage.any(axis=1))
        losses, n_tokens = [], 0
        for first in range(min(settings.n_minibatches, len(unequal))):
            groups = unequal[first :: settings.n_minibatches]
            rows = _pack([batch[i] for i in groups], Replies(*(x[groups] for x in replies)), policy.model)
            losses.append(policy.learn(rows, advantage[groups], settings))
            n_tokens += rows.n_tokens
            # One forward pass of the reference model, one of the model, and its backward pass, which costs two.
            flops += 4 * sum(_forward_flops(counter, batch[i], replies.lengths[i]) for i in groups)
        loss = torch.stack(losses).double().mean() if losses else torch.zeros((), device=policy.model.device)
        yield StepResult(
            loss=loss, n_tokens=n_tokens, flops=flops,
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
    # Other special tokens stay in the text: a reply that begins a new message does not match the observation.
    texts = tokenizer.backend_tokenizer.decode_batch(ids, skip_special_tokens=False)
    observations = [prompt.observation for prompt in batch for _ in range(replies.lengths.shape[1])]
    values = [
        exact_weight * exact(text, true) + (1 - exact_weight) * token_f1(text, true)
        for text, true in zip(texts, observations, strict=True)
    ]
    return np.asarray(values).reshape(replies.lengths.shape)


def advantages(rewards: np.ndarray) -> np.ndarray:
    """Standardise rewards within their group: (r - mean) / standard deviation; 0 in a group of equal rewards.

    rewards : (n_prompts, group_size). GSPO, arXiv:2507.18071, equation 6.
    """
    spread = rewards.max(axis=1, keepdims=True) > rewards.min(axis=1, keepdims=True)
    deviation = np.where(spread, rewards.std(axis=1, keepdims=True), 1.0)
    return np.where(spread, (rewards - rewards.mean(axis=1, keepdims=True)) / deviation, 0.0)


def gspo_loss(
    new: "torch.Tensor",
    old: "torch.Tensor",
    reply: "torch.Tensor",
    advantage: "torch.Tensor",
    clip_low: float,
    clip_high: float,
) -> "torch.Tensor":
    """Return the clipped surrogate of GSPO, negated to be a loss (arXiv:2507.18071, equations 5 and 7).

    new, old : (n_tokens,), log-probabilities under the current policy and under the one that sampled the replies.
    reply : (n_tokens,), index of the token's reply. advantage : (n_replies,), advantages.
    """
    import torch

    ratio = torch.exp(_mean_by_reply(new - old, reply, len(advantage)))
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip_low, 1 + clip_high) * advantage).mean()


def kl_loss(new: "torch.Tensor", reference: "torch.Tensor", reply: "torch.Tensor", n_replies: int) -> "torch.Tensor":
    """Return KL(model || reference) per token: the mean over replies of the mean over their tokens.

    The sum runs over the whole vocabulary, which is cheap for a thousand tokens. Unlike the usual one-sample estimators
    (k1 to k3) it adds no variance, and its gradient is that of the divergence.

    new, reference : (n_tokens, n_vocabulary), log-probabilities. reply : (n_tokens,), index of the token's reply.
    """
    return _mean_by_reply((new.exp() * (new - reference)).sum(dim=-1), reply, n_replies).mean()


def _mean_by_reply(values: "torch.Tensor", reply: "torch.Tensor", n_replies: int) -> "torch.Tensor":
    sums = values.new_zeros(n_replies).index_add(0, reply, values)
    return sums / reply.bincount(minlength=n_replies)


class Rows(NamedTuple):
    """Groups as rows: the prompt, then its replies one after the other, each without its last token."""

    inputs: "torch.Tensor"
    """(n_rows, n_positions)."""
    positions: "torch.Tensor"
    """(n_rows, n_positions); each reply continues from the prompt's end."""
    mask: "torch.Tensor"
    """(n_rows, 1, n_positions, n_positions); a reply attends to the prompt and itself."""
    row: "torch.Tensor"
    """(n_reply_tokens,), as the next four: the row of each token of a reply."""
    source: "torch.Tensor"
    """The position in that row whose output predicts the token."""
    target: "torch.Tensor"
    """Its token id."""
    old: "torch.Tensor"
    """Its log-probability under the policy that sampled it."""
    reply: "torch.Tensor"
    """Index of its reply among the replies of all rows."""
    n_tokens: int
    """Without padding."""


def _pack(batch: Sequence[Prompt], replies: Replies, model: "Qwen3ForCausalLM") -> Rows:
    import torch

    group_size = replies.lengths.shape[1]
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
            reply.append(np.full(n, i * group_size + g))
            at += n - 1
    mask = (part[:, None, :] == 0) | (part[:, None, :] == part[:, :, None])
    mask &= np.tri(shape[1], dtype=bool)

    def tensor(array: np.ndarray) -> "torch.Tensor":
        return torch.from_numpy(array).to(model.device)

    return Rows(
        inputs=tensor(inputs), positions=tensor(positions), mask=tensor(mask[:, None]),
        row=tensor(np.concatenate(row)), source=tensor(np.concatenate(source)), target=tensor(np.concatenate(target)),
        old=tensor(np.concatenate(old)), reply=tensor(np.concatenate(reply)), n_tokens=sum(widths),
    )  # fmt: skip


def _loss(
    model: "Qwen3ForCausalLM",
    reference: "Qwen3ForCausalLM",
    rows: Rows,
    advantage: np.ndarray,
    settings: RlSettings,
) -> "torch.Tensor":
    import torch

    logps = _logps(model, rows, settings.temperature)
    with torch.no_grad():
        reference_logps = _logps(reference, rows, settings.temperature)
    new = logps.gather(-1, rows.target[:, None])[:, 0]
    weights = torch.from_numpy(advantage.reshape(-1)).to(new)
    surrogate = gspo_loss(new, rows.old, rows.reply, weights, settings.clip_low, settings.clip_high)
    return surrogate + settings.kl_weight * kl_loss(logps, reference_logps, rows.reply, len(weights))


def _logps(model: "Qwen3ForCausalLM", rows: Rows, temperature: float) -> "torch.Tensor":
    """Return the log-probabilities of the whole vocabulary at each reply token, (n_reply_tokens, n_vocabulary)."""
    import torch

    hidden = model.model.forward(
        input_ids=rows.inputs, position_ids=rows.positions, attention_mask=rows.mask, use_cache=False
    ).last_hidden_state
    return torch.log_softmax(model.lm_head(hidden[rows.row, rows.source]) / temperature, dim=-1)


def _forward_flops(counter: FlopCounter, prompt: Prompt, lengths: np.ndarray) -> float:
    """Count the FLOPs of a forward pass over a group; sampling it costs the same.

    Both compute the prompt once and each reply without its last token.

    lengths : (group_size,), tokens of each reply.
    """
    n, fed = len(prompt.ids), lengths - 1.0
    return counter.forward(n + float(fed.sum()), n * n / 2 + float((n * fed + fed * fed / 2).sum()))
