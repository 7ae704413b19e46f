"""Reinforcement learning with Qwen3 written out: sampling with a cache of its own, and the gradients of the loss by hand.

Replies, loss and gradients are those of `replies.draw` and of transformers in `rl` but for rounding, which a test checks.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from replication.collect.training import replies, rl
from replication.collect.training.parameters import Layer
from replication.collect.training.qwen3 import Forward, Inputs, Qwen3, Tokens, rows_of_slots, scaled, slots_of

if TYPE_CHECKING:
    import torch
    from transformers import Qwen3ForCausalLM

KEPT_SHARE = 0.8
"""Rows of a cache are copied together when at most this share is unfinished: it costs about as much as a step."""


PROMPT, NOBODY = -1, -2
"""Owners of keys that all replies of a row see, and that none sees."""


class Policy:
    """A model that samples replies and learns from them, in place of `rl.TransformersPolicy`."""

    def __init__(
        self, model: "Qwen3ForCausalLM", own: Qwen3, reference: "Qwen3ForCausalLM", update: Callable[[], None]
    ) -> None:
        self.model, self._own, self._reference, self._update = model, own, Qwen3(reference), update

    def draw(self, prompts: Sequence[np.ndarray], settings: rl.RlSettings, seed: int) -> replies.Replies:
        """Sample a group of replies to each prompt."""
        import torch

        return draw(
            self._own, self.model.config, prompts, group_size=settings.group_size,
            max_new_tokens=settings.max_new_tokens, temperature=settings.temperature,
            generator=torch.Generator().manual_seed(seed),
        )  # fmt: skip

    def learn(self, rows: rl.Rows, advantage: np.ndarray, settings: rl.RlSettings) -> "torch.Tensor":
        """Take an optimizer step on these groups; returns the loss before it."""
        loss = loss_of(self._own, self._reference, rows, advantage, settings)
        self._update()
        return loss


def draw(
    qwen3: Qwen3,
    config: Any,
    prompts: Sequence[np.ndarray],
    *,
    group_size: int,
    max_new_tokens: int,
    temperature: float,
    generator: "torch.Generator",
) -> replies.Replies:
    """Sample as `replies.draw` does, from the same uniforms; a reply that has ended is not computed any more."""
    import torch

    pad, end = config.pad_token_id, config.eos_token_id
    n, width = len(prompts), max(len(prompt) for prompt in prompts)
    ends = torch.tensor([len(prompt) for prompt in prompts])
    uniforms = torch.rand((n, group_size, max_new_tokens), generator=generator)
    tokens = torch.full((n * group_size, max_new_tokens), pad)
    logps = torch.zeros((n * group_size, max_new_tokens))
    lengths = torch.zeros(n * group_size, dtype=torch.long)
    uniforms = uniforms.view(n * group_size, max_new_tokens)
    live = torch.arange(n * group_size)  # replies that have not ended, in ascending order
    with torch.inference_mode():
        prefill = qwen3.forward(
            qwen3.documents(Inputs(replies.padded(prompts, width, pad), torch.arange(n), ends - 1, ends))
        )
        cache = _Cache(qwen3, prefill, ends, width, group_size, max_new_tokens)
        logits = qwen3.logits(prefill).repeat_interleave(group_size, dim=0)
        for step in range(max_new_tokens):
            logp = torch.log_softmax(logits / (temperature or 1.0), dim=-1)
            chosen = replies.choose(logp, uniforms[live, step]) if temperature else logp.argmax(dim=-1)
            tokens[live, step] = chosen
            logps[live, step] = logp.gather(-1, chosen[:, None])[:, 0]
            lengths[live] += 1
            is_left = chosen != end
            live, chosen = live[is_left], chosen[is_left]
            if step + 1 == max_new_tokens or not len(live):
                break
            cache.drop_finished(live // group_size)
            logits = cache.step(chosen, live, step)
    longest = int(lengths.max())
    shape = (n, group_size)
    return replies.Replies(
        tokens[:, :longest].view(*shape, -1).numpy(), logps[:, :longest].view(*shape, -1).numpy(),
        lengths.view(shape).numpy(),
    )  # fmt: skip


class _Joined(NamedTuple):
    """Weights of a layer, those together that one product or one operation reads."""

    layer: Layer
    qkv: "torch.Tensor"
    head_norms: "torch.Tensor"
    """(heads + kv_heads, head_dim)."""


class _Cache:
    """Keys and values of prompts and of the replies to them, which grow by a token each per step."""

    def __init__(
        self, qwen3: Qwen3, prefill: Forward, ends: "torch.Tensor", width: int, group_size: int, max_new_tokens: int
    ) -> None:
        import torch

        self._qwen3, self._ends, self._group_size = qwen3, ends, group_size
        self._rows = torch.arange(len(ends))
        self._n_shared = qwen3.heads // qwen3.kv_heads
        self._layers = [
            _Joined(
                layer, torch.cat([layer.q.T, layer.kv]),
                layer.head_norms.repeat_interleave(torch.tensor([qwen3.heads, qwen3.kv_heads]), dim=0),
            )
            for layer in qwen3.weights.layers
        ]  # fmt: skip
        size = width + group_size * max_new_tokens
        self._kept = []
        for made in prefill.passes:
            pair = torch.zeros(2, len(ends), size, qwen3.kv_heads, qwen3.head_dim)
            for at, part in enumerate(made.attention[1:3]):
                pair[at, :, :width] = part.transpose(1, 2)
            self._kept.append(pair)
        self._owners = torch.where(torch.arange(size) < ends[:, None], PROMPT, NOBODY)
        """(n_rows, size), which reply of the group each key belongs to."""
        self._n_used = width

    def drop_finished(self, rows: "torch.Tensor") -> None:
        """Leave out the rows that are not listed, if they are many. rows : ascending, with repetitions."""
        import torch

        left = torch.unique_consecutive(rows)
        if len(left) > KEPT_SHARE * len(self._rows):
            return
        kept = torch.searchsorted(self._rows, left)
        self._rows, self._owners = left, self._owners[kept]
        self._kept = [pair[:, kept] for pair in self._kept]

    def step(self, ids: "torch.Tensor", live: "torch.Tensor", step: int) -> "torch.Tensor":
        """Compute the logits after one more token of each live reply."""
        import torch

        qwen3, n_rows, size = self._qwen3, *self._owners.shape
        group, owners = live // self._group_size, live % self._group_size
        rows = torch.searchsorted(self._rows, group)
        # As many places per row as its live replies need: late in a step of learning few are left.
        slots, shape = slots_of(rows, n_rows)
        at = rows * size + self._n_used + slots % shape[1]
        self._owners.view(-1).index_copy_(0, at, owners)
        self._n_used += shape[1]
        asking = owners.new_full((shape[0] * shape[1],), NOBODY - 1).index_copy_(0, slots, owners).view(*shape, 1)
        keys = self._owners[:, None, : self._n_used]
        hidden = (keys != asking) & (keys != PROMPT)
        mask = torch.zeros(hidden.shape).masked_fill_(hidden, -torch.inf).repeat(1, self._n_shared, 1)[:, None]
        positions = self._ends[group] + step
        cos, sin = qwen3.cos[positions][:, None], qwen3.sin[positions][:, None]
        x = qwen3.weights.embeddings.index_select(0, ids)
        for joined, pair in zip(self._layers, self._kept, strict=True):
            x = self._layer(x, joined, pair, at, slots, mask, cos, sin)
        return scaled(x, qwen3.weights.norm, qwen3.eps) @ qwen3.weights.embeddings.T

    def _layer(
        self, x: "torch.Tensor", joined: _Joined, pair: "torch.Tensor", at: "torch.Tensor", slots: "torch.Tensor",
        mask: "torch.Tensor", cos: "torch.Tensor", sin: "torch.Tensor",
    ) -> "torch.Tensor":  # fmt: skip
        import torch

        qwen3, w = self._qwen3, joined.layer
        n_replies = mask.shape[2] // self._n_shared  # in a row
        qkv = (scaled(x, w.norms[0], qwen3.eps) @ joined.qkv.T).unflatten(1, (-1, qwen3.head_dim))
        heads, kv_heads = qwen3.heads, qwen3.kv_heads
        qk = scaled(qkv[:, : heads + kv_heads], joined.head_norms, qwen3.eps)
        qk = (qk * cos).addcmul_(qk.roll(qwen3.head_dim // 2, -1), sin)
        pair[0].flatten(0, 1).index_copy_(0, at, qk[:, heads:])
        pair[1].flatten(0, 1).index_copy_(0, at, qkv[:, heads + kv_heads :])
        keys, values = pair[:, :, : mask.shape[-1]].transpose(2, 3)
        # The heads that share keys, and the replies of a group, are queries of one product.
        placed = rows_of_slots(qk[:, :heads], slots, (len(keys), n_replies))
        placed = placed.unflatten(2, (kv_heads, -1)).permute(0, 2, 3, 1, 4).flatten(2, 3)
        result, _ = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            placed, keys, values, 0.0, False, attn_mask=mask
        )
        result = result.unflatten(2, (-1, n_replies)).permute(0, 3, 1, 2, 4).reshape(-1, heads * qwen3.head_dim)
        x = torch.addmm(x, result.index_select(0, slots), w.out.T)
        gate, up = (scaled(x, w.norms[1], qwen3.eps) @ w.gate_up).chunk(2, dim=1)
        return torch.addmm(x, torch.nn.functional.silu(gate).mul_(up), w.down.T)


def loss_of(
    own: Qwen3, reference: Qwen3, rows: rl.Rows, advantage: np.ndarray, settings: rl.RlSettings
) -> "torch.Tensor":
    """Return the loss of `rl` and overwrite the gradients of `own` by its gradients."""
    import torch

    with torch.no_grad():
        tokens, at = _tokens(own, rows)
        made = own.forward(tokens)
        logps, theirs = (
            torch.log_softmax(logits / settings.temperature, dim=-1)
            for logits in (own.logits(made), reference.logits(reference.forward(tokens)))
        )
        new = logps[at, rows.target]
    new.requires_grad_()
    weights = torch.from_numpy(advantage.reshape(-1)).to(new)
    surrogate = rl.gspo_loss(new, rows.old, rows.reply, weights, settings.clip_low, settings.clip_high)
    (d_new,) = torch.autograd.grad(surrogate, new)
    with torch.no_grad():
        # Each token weighs as much as in the mean over replies of the mean over their tokens.
        shares = settings.kl_weight / len(weights) / rows.reply.bincount(minlength=len(weights))[rows.reply]
        share, d_chosen = (logps.new_zeros(len(logps)).index_add_(0, at, x) for x in (shares, d_new))
        p, d_logits = logps.exp(), logps.sub_(theirs)
        kl = torch.linalg.vecdot(p, d_logits)
        d_logits.sub_(kl[:, None]).mul_(share[:, None]).sub_(d_chosen[:, None]).mul_(p)
        d_logits.index_put_((at, rows.target), d_new, accumulate=True)
        own.backward(d_logits.div_(settings.temperature), made)
        return surrogate.detach() + share @ kl


def _tokens(own: Qwen3, rows: rl.Rows) -> "tuple[Tokens, torch.Tensor]":
    """Return what a pass computes, and for each reply token which of its outputs predicts it."""
    import torch

    n_positions = rows.inputs.shape[1]
    # All replies of a group begin at the same output.
    sources, at = torch.unique(rows.row * n_positions + rows.source, return_inverse=True)
    mask = torch.zeros(rows.mask.shape).masked_fill_(~rows.mask, -torch.inf)
    positions = rows.positions.flatten()
    cos, sin = own.cos[positions][:, None], own.sin[positions][:, None]
    return own.masked(rows.inputs.flatten(), cos, sin, mask, sources), at
