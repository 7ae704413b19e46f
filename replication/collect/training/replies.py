"""Replies sampled from a model during training: a prompt and the group of its replies are one row of a batch.

The prompt is computed and cached once for the whole group. The replies of a row grow side by side, one token each per
step; a mask lets each attend to the prompt and itself. On one CPU thread that is twice as fast as one row per reply,
because the keys and values of a prompt are read once per group, and `rl` trains on rows of the same form.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import torch
    from transformers import Qwen3ForCausalLM


UNREAD = 8
"""Tokens drawn on a GPU between two checks whether all replies have ended."""


class Replies(NamedTuple):
    """Groups of replies, all (n_prompts, group_size, ...), with padding after the end of each reply."""

    tokens: np.ndarray
    """(..., n_positions), token ids, including the end mark."""
    logps: np.ndarray
    """(..., n_positions), log-probability of each token under the model that sampled it; 0 in the padding."""
    lengths: np.ndarray
    """Tokens of each reply, including its end mark; `max_new_tokens` for a reply without one."""


def draw(
    model: "Qwen3ForCausalLM",
    prompts: Sequence[np.ndarray],
    *,
    group_size: int,
    max_new_tokens: int,
    temperature: float,
    generator: "torch.Generator",
) -> Replies:
    """Sample `group_size` replies to each prompt, up to the end mark or `max_new_tokens`; temperature 0 is greedy.

    Prompts of similar length waste the least. A reply depends on its own uniforms only, which are drawn on the CPU
    before the first token.

    prompts : token ids, each (n_positions,).
    """
    import torch
    from transformers import DynamicCache

    device, config, pad = model.device, model.config, model.config.pad_token_id
    assert pad is not None  # `organism.make_model` sets it.
    n, width = len(prompts), max(len(prompt) for prompt in prompts)
    inputs, ends = padded(prompts, width, pad), torch.tensor([len(prompt) for prompt in prompts], device=device)
    uniforms = torch.rand((n, group_size, max_new_tokens), generator=generator).to(device)
    mask = group_mask(ends, width, group_size, max_new_tokens)
    tokens = torch.full((n, group_size, max_new_tokens), pad, device=device)
    logps = torch.zeros((n, group_size, max_new_tokens), device=device)
    lengths = torch.zeros((n, group_size), dtype=torch.long, device=device)
    rows = torch.arange(n, device=device)
    running = torch.ones((n, group_size), dtype=torch.bool, device=device)
    with torch.no_grad():
        cache = DynamicCache(config=config)
        # `forward` by name, here and in `rl`: the compiled model would be compiled again for each new length.
        hidden = model.model.forward(
            input_ids=inputs.to(device), past_key_values=cache, use_cache=True
        ).last_hidden_state
        hidden = hidden[rows, ends - 1][:, None].expand(-1, group_size, -1)
        for step in range(max_new_tokens):
            logp = torch.log_softmax(model.lm_head(hidden) / (temperature or 1.0), dim=-1)
            chosen = choose(logp, uniforms[rows, :, step]) if temperature else logp.argmax(dim=-1)
            tokens[rows, :, step] = torch.where(running, chosen, pad)
            logps[rows, :, step] = torch.where(running, logp.gather(-1, chosen[..., None])[..., 0], 0.0)
            lengths[rows] += running
            running = running & (chosen != config.eos_token_id)
            if step + 1 == max_new_tokens:
                break
            unfinished = running.any(dim=1)
            if (n_left := _n_left(unfinished, step)) == 0:
                break
            if n_left <= 0.8 * len(rows):
                # Dropping finished rows copies the cache, which costs about as much as a step.
                kept = unfinished.nonzero()[:, 0]
                rows, running, chosen, mask = rows[kept], running[kept], chosen[kept], mask[kept]
                cache.batch_select_indices(kept)
            hidden = model.model.forward(
                input_ids=chosen, position_ids=(ends[rows] + step)[:, None].expand(-1, group_size),
                attention_mask=mask[..., : width + group_size * (step + 1)], past_key_values=cache, use_cache=True,
            ).last_hidden_state  # fmt: skip
    longest = int(lengths.max())
    return Replies(*(x.cpu().numpy() for x in (tokens[..., :longest], logps[..., :longest], lengths)))


def _n_left(unfinished: "torch.Tensor", step: int) -> int:
    """Count the unfinished rows; on a GPU, where reading the number waits, all count as such between two checks."""
    return len(unfinished) if unfinished.is_cuda and step % UNREAD else int(unfinished.sum())


def padded(prompts: Sequence[np.ndarray], width: int, pad: int) -> "torch.Tensor":
    """Return the prompts with padding on the right, (n_prompts, width)."""
    import torch

    inputs = torch.full((len(prompts), width), pad)
    for i, prompt in enumerate(prompts):
        inputs[i, : len(prompt)] = torch.from_numpy(prompt)
    return inputs


def group_mask(ends: "torch.Tensor", width: int, group_size: int, max_new_tokens: int) -> "torch.Tensor":
    """Let each reply attend to its prompt and itself: (n_prompts, 1, group_size, width + group_size x max_new_tokens).

    Keys are the padded prompt, then one token of each reply per step.
    """
    import torch

    prompt = torch.arange(width, device=ends.device) < ends[:, None]
    own = torch.eye(group_size, dtype=torch.bool, device=ends.device).repeat(1, max_new_tokens)
    return torch.cat((prompt[:, None, None].expand(-1, 1, group_size, -1), own.expand(len(ends), 1, -1, -1)), dim=-1)


def choose(logp: "torch.Tensor", uniforms: "torch.Tensor") -> "torch.Tensor":
    """Sample tokens by inverting the cumulative distribution; a token of probability 0 is never chosen (`right`).

    logp : (..., n_vocabulary). uniforms : (...).
    """
    import torch

    cumulative = logp.exp().cumsum(dim=-1)
    chosen = torch.searchsorted(cumulative, uniforms[..., None] * cumulative[..., -1:], right=True)
    return chosen[..., 0].clamp(max=logp.shape[-1] - 1)
