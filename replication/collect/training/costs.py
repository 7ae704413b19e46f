"""Compute of a training step: tokens, and FLOPs counted from the dimensions of a model."""

from typing import TYPE_CHECKING, NamedTuple

from replication.collect.training.organism import n_parameters

if TYPE_CHECKING:
    import torch
    from transformers import Qwen3ForCausalLM


class StepResult(NamedTuple):
    """Loss and costs of one training step, for both objectives."""

    loss: "torch.Tensor | None"
    """A number on the model's device, without gradient: reading it waits for a GPU. None where no token of the batch is in
    the loss: there is no gradient, and the step changes weights by weight decay and earlier steps only."""
    n_tokens: int
    """Tokens in the forward and backward pass, without padding."""
    flops: float
    """All computation of the step: sampling, reference model, forward and backward pass."""
    n_sampled_tokens: int = 0
    reward: float | None = None
    """Mean over the replies of the step; None in supervised steps."""


class FlopCounter(NamedTuple):
    """FLOPs of a decoder-only transformer (Kaplan et al. 2020, arXiv:2001.08361, section 2.1 and table 1)."""

    n_parameters: int
    width: int
    """Layers x heads x head_dim."""

    def forward(self, n_tokens: float, n_pairs: float) -> float:
        """Count the FLOPs of a forward pass; the backward pass costs twice as much.

        Each parameter costs a multiplication and an addition per token. Each pair of a query and a key costs the same
        twice, for the score and for the weighted sum of values, in each dimension of each head of each layer.

        n_tokens : tokens in the pass, without padding.
        n_pairs : pairs of a token and a token it attends to.
        """
        return 2.0 * self.n_parameters * n_tokens + 4.0 * self.width * n_pairs


def flop_counter(model: "Qwen3ForCausalLM") -> FlopCounter:
    """Return the counter of a model's FLOPs."""
    config = model.config
    head_dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    width = config.num_hidden_layers * config.num_attention_heads * head_dim
    return FlopCounter(n_parameters(model), width)
