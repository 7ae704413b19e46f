"""Replies drawn from a model while it trains: a prompt and the group of its replies are one row of a batch.

The prompt is computed and kept once for the whole group. The replies of a row grow side by side, one token each per step;
a mask lets each see the prompt and itself. On one CPU thread that is twice as fast as one row per reply, because the keys
and values of a prompt are read once per group, and `rl` trains on rows of the same form.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import torch
    from transformers import Qwen3ForCausalLM


class Replies(NamedTuple):
    """Groups of replies, all (n_prompts, group_size, ...); what stands behind a reply's end is padding."""

    tokens: np.ndarray
    """(..., n_positions), the end mark included."""
    logps: np.ndarray
    """(..., n_positions), log-probability of each token under the model that drew it; 0 in the padding."""
    lengths: np.ndarray
    """Tokens of each reply, the end mark included; the longest allowed where none came."""


def draw(
    model: "Qwen3ForCausalLM",
    prompts: Sequence[np.ndarray],
    *,
    group_size: int,
    max_new_tokens: int,
    temperature: float,
    generator: "torch.Generator",
) -> Replies:
    """Draw `group_size` replies to each prompt, up to the end mark or `max_new_tokens`; temperature 0 is greedy.

    Prompts of similar length together waste least. A reply depends on its own random numbers only, which are drawn before
    the first token, on the CPU.
    """
    import torch
    from transformers import DynamicCache

    device, config = model.device, model.config
    n, width = len(prompts), max(len(prompt) for prompt in prompts)
    inputs = torch.full((n, width), config.pad_token_id)
    for i, prompt in enumerate(prompts):
        inputs[i, : len(prompt)] = torch.from_numpy(prompt)
    inputs = inputs.to(device)
    ends = torch.tensor([len(prompt) for prompt in prompts], device=device)
    chances = torch.rand((n, group_size, max_new_tokens), generator=generator).to(device)
    shown = torch.arange(width, device=device) < ends[:, None]
    own = torch.eye(group_size, dtype=torch.bool, device=device).repeat(1, max_new_tokens)
    mask = torch.cat((shown[:, None, None].expand(-1, 1, group_size, -1), own.expand(n, 1, -1, -1)), dim=-1)

    tokens = torch.full((n, group_size, max_new_tokens), config.pad_token_id, device=device)
    logps = torch.zeros((n, group_size, max_new_tokens), device=device)
    lengths = torch.zeros((n, group_size), dtype=torch.long, device=device)
    rows = torch.arange(n, device=device)
    running = torch.ones((n, group_size), dtype=torch.bool, device=device)
    with torch.no_grad():
        cache = DynamicCache(config=config)
        # `forward` by name, here and in `rl`: never the compiled model, which each new length would compile anew.
        hidden = model.model.forward(input_ids=inputs, past_key_values=cache, use_cache=True).last_hidden_state
        hidden = hidden[rows, ends - 1][:, None].expand(-1, group_size, -1)
        for step in range(max_new_tokens):
            logp = torch.log_softmax(model.lm_head(hidden) / (temperature or 1.0), dim=-1)
            chosen = _choose(logp, chances[rows, :, step]) if temperature else logp.argmax(dim=-1)
            tokens[rows, :, step] = torch.where(running, chosen, config.pad_token_id)
            logps[rows, :, step] = torch.where(running, logp.gather(-1, chosen[..., None])[..., 0], 0.0)
            lengths[rows] += running
            running = running & (chosen != config.eos_token_id)
            at_work = running.any(dim=1)
            n_left = int(at_work.sum())
            if n_left == 0 or step + 1 == max_new_tokens:
                break
            if n_left <= 0.8 * len(rows):
                # Leaving finished rows behind copies the cache: about the price of a step.
                kept = at_work.nonzero()[:, 0]
                rows, running, chosen, mask = rows[kept], running[kept], chosen[kept], mask[kept]
                cache.batch_select_indices(kept)
            hidden = model.model.forward(
                input_ids=chosen,
                position_ids=(ends[rows] + step)[:, None].expand(-1, group_size),
                attention_mask=mask[..., : width + group_size * (step + 1)],
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state
    longest = int(lengths.max())
    return Replies(*(x.cpu().numpy() for x in (tokens[..., :longest], logps[..., :longest], lengths)))


def _choose(logp: "torch.Tensor", chances: "torch.Tensor") -> "torch.Tensor":
    # Where the cumulative distribution passes the chance; `right`, so that a token of probability 0 is never chosen.
    import torch

    cumulative = logp.exp().cumsum(dim=-1)
    found = torch.searchsorted(cumulative, chances[..., None] * cumulative[..., -1:], right=True)
    return found[..., 0].clamp(max=logp.shape[-1] - 1)
