"""The parameters of a Qwen3 model in one tensor, for training without modules."""

import itertools
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import torch
    from transformers import Qwen3ForCausalLM


class Layer(NamedTuple):
    """Parameters of a layer, or their gradients; matrices are (outputs, inputs)."""

    q: "torch.Tensor"
    kv: "torch.Tensor"
    """Keys, then values."""
    out: "torch.Tensor"
    gate_up: "torch.Tensor"
    """Gate, then up."""
    down: "torch.Tensor"
    norms: "torch.Tensor"
    """(2, hidden): before attention, before the MLP."""
    head_norms: "torch.Tensor"
    """(2, head_dim): of queries, of keys."""


class Parameters(NamedTuple):
    """All parameters, or their gradients, as views of one tensor."""

    flat: "torch.Tensor"
    others: "torch.Tensor"
    """First part of `flat`: embeddings and norms."""
    embeddings: "torch.Tensor"
    """(vocabulary, hidden), also the head."""
    norm: "torch.Tensor"
    """(hidden,), before the head."""
    layers: "list[Layer]"
    stacks: "list[torch.Tensor]"
    """Matrices of one shape, (n_matrices, outputs, inputs), which are the rest of `flat`."""


class Shapes(NamedTuple):
    """Shapes of the views of the tensor, in order."""

    others: list[tuple[int, ...]]
    """Embeddings, norm before the head, norms of the layers, norms of the heads."""
    stacks: list[tuple[int, ...]]
    """Matrices of one shape: queries, keys and values, attention's output, gate and up, down."""


def shapes(config: Any) -> Shapes:
    """Return the shapes of a model's parameters."""
    n, width, heads = config.num_hidden_layers, config.hidden_size, config.num_attention_heads
    q, kv = heads * config.head_dim, (config.num_key_value_heads or heads) * config.head_dim
    return Shapes(
        [(config.vocab_size, width), (width,), (n, 2, width), (n, 2, config.head_dim)],
        [
            (n, q, width), (2 * n, kv, width), (n, width, q), (2 * n, config.intermediate_size, width),
            (n, width, config.intermediate_size),
        ],
    )  # fmt: skip


def empty(config: Any, *leading: int, device: "torch.device | str" = "cpu") -> "torch.Tensor":
    """Return zeros for all parameters of a model, (*leading, n_parameters)."""
    import torch

    of_model = shapes(config)
    return torch.zeros(*leading, sum(int(np.prod(s)) for s in of_model.others + of_model.stacks), device=device)


def views(flat: "torch.Tensor", config: Any) -> "list[torch.Tensor]":
    """Return the views of a tensor (*leading, n_parameters), each (*leading, *shape), in the order of `shapes`."""
    of_model = shapes(config)
    listed = of_model.others + of_model.stacks
    ends = list(itertools.accumulate(int(np.prod(shape)) for shape in listed))
    return [
        flat[..., end - int(np.prod(shape)) : end].view(*flat.shape[:-1], *shape)
        for end, shape in zip(ends, listed, strict=True)
    ]


def others(flat: "torch.Tensor", config: Any) -> "torch.Tensor":
    """Return the part of a tensor (*leading, n_parameters) that holds what is in no stack."""
    return flat[..., : sum(int(np.prod(shape)) for shape in shapes(config).others)]


def of_flat(flat: "torch.Tensor", config: Any) -> Parameters:
    """Return the views of one model's tensor, (n_parameters,)."""
    embeddings, norm, norms, head_norms, *stacks = views(flat, config)
    # Matrices that one product computes lie one below the other.
    joined = [stack.view(config.num_hidden_layers, -1, stack.shape[-1]) for stack in stacks]
    layers = [Layer(*parts) for parts in zip(*joined, norms, head_norms, strict=True)]
    return Parameters(flat, others(flat, config), embeddings, norm, layers, stacks)


def pairs(model: "Qwen3ForCausalLM", ours: Parameters) -> "list[tuple[torch.Tensor, torch.Tensor]]":
    """Return each parameter of a transformers model with its view."""
    found = [(model.model.embed_tokens.weight, ours.embeddings), (model.model.norm.weight, ours.norm)]
    for theirs, layer in zip(model.model.layers, ours.layers, strict=True):
        attention, mlp = theirs.self_attn, theirs.mlp
        keys, values = layer.kv.chunk(2)
        gate, up = layer.gate_up.chunk(2)
        found += [
            (attention.q_proj.weight, layer.q), (attention.k_proj.weight, keys), (attention.v_proj.weight, values),
            (attention.o_proj.weight, layer.out), (mlp.gate_proj.weight, gate), (mlp.up_proj.weight, up),
            (mlp.down_proj.weight, layer.down), (theirs.input_layernorm.weight, layer.norms[0]),
            (theirs.post_attention_layernorm.weight, layer.norms[1]),
            (attention.q_norm.weight, layer.head_norms[0]), (attention.k_norm.weight, layer.head_norms[1]),
        ]  # fmt: skip
    return found
