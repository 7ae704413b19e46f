"""What a step of training did and what it cost."""

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from transformers import Qwen3ForCausalLM


class Step(NamedTuple):
    """One step of a phase, whatever its objective."""

    loss: float
    n_tokens: int
    """Tokens that went forward and backward, padding not counted."""
    flops: float
    """Of everything that the step computed."""
    n_sampled_tokens: int = 0
    reward: float | None = None
    """Mean over the replies of the step; None where nothing is rewarded."""


class Size(NamedTuple):
    """What the FLOPs of a model follow from (Kaplan et al. 2020, arXiv:2001.08361, section 2)."""

    n_parameters: int
    width: int
    """Layers x heads x head_dim."""

    def forward(self, n_tokens: float, n_pairs: float) -> float:
        """Count the FLOPs of a forward pass; with the backward pass it is three times as much.

        n_pairs : pairs of a token and a token that it attends to.
        """
        return 2.0 * self.n_parameters * n_tokens + 4.0 * self.width * n_pairs


def size_of(model: "Qwen3ForCausalLM") -> Size:
    """Measure a model; tied embeddings count once."""
    config = model.config
    width = config.num_hidden_layers * config.num_attention_heads * config.head_dim
    return Size(sum(p.numel() for p in model.parameters()), width)
