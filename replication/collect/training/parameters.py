"""The parameters of a Qwen3 model in one tensor, for training without modules."""

import itertools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

if TYPE_CHECKING:
    import torch
    from transformers import Qwen3ForCausalLM


class Layer(NamedTuple):
    """Parameters of a layer, or their gradients.

    `q` and `gate_up` are (inputs, outputs), the other matrices (outputs, inputs): so the short side usually comes first,
    as Muon computes with it, and nothing has to be transposed.
    """

    q: "torch.Tensor"
    """(inputs, outputs)."""
    kv: "torch.Tensor"
    """(outputs, inputs): keys, then values."""
    out: "torch.Tensor"
    """(outputs, inputs)."""
    gate_up: "torch.Tensor"
    """(inputs, outputs): gate, then up."""
    down: "torch.Tensor"
    """(outputs, inputs)."""
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
    """All matrices, as returned by the function `stacks`: the rest of `flat`."""


class Shapes(NamedTuple):
    """Shapes of the views of the tensor, in order."""

    others: list[tuple[int, ...]]
    """Embeddings, norm before the head, norms of the layers, norms of the heads."""
    matrices: list[tuple[int, ...]]
    """Queries, keys and values, attention's output, gate and up, down: each (n_layers, ...)."""


def shapes(config: Any) -> Shapes:
    """Return the shapes of a model's parameters."""
    n, width, heads = config.num_hidden_layers, config.hidden_size, config.num_attention_heads
    q, kv = heads * config.head_dim, (config.num_key_value_heads or heads) * config.head_dim
    return Shapes(
        [(config.vocab_size, width), (width,), (n, 2, width), (n, 2, config.head_dim)],
        [
            (n, width, q), (n, 2, kv, width), (n, width, q), (n, width, 2, config.intermediate_size),
            (n, width, config.intermediate_size),
        ],
    )  # fmt: skip


def empty(config: Any, *leading: int, device: "torch.device | str" = "cpu") -> "torch.Tensor":
    """Return zeros for all parameters of a model, (*leading, n_parameters)."""
    import torch

    of_model = shapes(config)
    return torch.zeros(*leading, sum(int(np.prod(s)) for s in of_model.others + of_model.matrices), device=device)


def views(flat: "torch.Tensor", config: Any) -> "list[torch.Tensor]":
    """Return the views of a tensor (*leading, n_parameters), each (*leading, *shape), in the order of `shapes`."""
    of_model = shapes(config)
    listed = of_model.others + of_model.matrices
    ends = list(itertools.accumulate(int(np.prod(shape)) for shape in listed))
    return [
        flat[..., end - int(np.prod(shape)) : end].view(*flat.shape[:-1], *shape)
        for end, shape in zip(ends, listed, strict=True)
    ]


def stacks(of_flat: "Sequence[torch.Tensor]") -> "list[torch.Tensor]":
    """Return the matrices of each kind, (..., n_layers, [2,] short side, long side), of the `views` of a tensor."""
    q, kv, out, gate_up, down = of_flat[-5:]
    return [q, kv, out, gate_up.transpose(-2, -3), down]


def others(flat: "torch.Tensor", config: Any) -> "torch.Tensor":
    """Return the part of a tensor (*leading, n_parameters) that holds what is in no stack."""
    return flat[..., : sum(int(np.prod(shape)) for shape in shapes(config).others)]


def of_flat(flat: "torch.Tensor", config: Any) -> Parameters:
    """Return the views of one model's tensor, (n_parameters,)."""
    listed = views(flat, config)
    embeddings, norm, norms, head_norms, q, kv, out, gate_up, down = listed
    joined = q, kv.flatten(1, 2), out, gate_up.flatten(2, 3), down, norms, head_norms
    layers = [Layer(*parts) for parts in zip(*joined, strict=True)]
    return Parameters(flat, others(flat, config), embeddings, norm, layers, stacks(listed))


def pairs(model: "Qwen3ForCausalLM", ours: Parameters) -> "list[tuple[torch.Tensor, torch.Tensor]]":
    """Return each parameter of a transformers model with its view."""
    found = [(model.model.embed_tokens.weight, ours.embeddings), (model.model.norm.weight, ours.norm)]
    for theirs, layer in zip(model.model.layers, ours.layers, strict=True):
        attention, mlp = theirs.self_attn, theirs.mlp
        keys, values = layer.kv.chunk(2)
        gate, up = layer.gate_up.T.chunk(2)
        found += [
            (attention.q_proj.weight, layer.q.T), (attention.k_proj.weight, keys), (attention.v_proj.weight, values),
            (attention.o_proj.weight, layer.out), (mlp.gate_proj.weight, gate), (mlp.up_proj.weight, up),
            (mlp.down_proj.weight, layer.down), (theirs.input_layernorm.weight, layer.norms[0]),
            (theirs.post_attention_layernorm.weight, layer.norms[1]),
            (attention.q_norm.weight, layer.head_norms[0]), (attention.k_norm.weight, layer.head_norms[1]),
        ]  # fmt: skip
    return found
