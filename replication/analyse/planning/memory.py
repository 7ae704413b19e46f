"""Memory, download and speed of a public checkpoint, from the sizes in its configuration.

Not covered: activations and CUDA graphs, for which `engine.options.llm.gpu_memory_utilization` leaves room, quantized
weights, and the state of linear attention, which is small beside a cache of thousands of tokens.
"""

import dataclasses
from typing import NamedTuple

from replication import settings
from replication.settings.engine_options import parallel_size, positive

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}
GIB = 2**30


class Need(NamedTuple):
    """What serving one checkpoint takes; None where its sizes are unknown."""

    gpus: int
    """GPUs that share its weights."""
    download_gb: float
    """Published weights, 10**9 bytes."""
    weights_gib: float
    """Per GPU."""
    episode_gib: float | None
    """Cache of one episode as long as `engine.context`, per GPU."""
    room: int | None
    """Episodes of that length that fit at once: in `engine.options.kv_cache_gib`, or in what the weights leave of the share
    of `plan.gpu_memory_gib` that the engine takes."""
    is_exact: bool
    """Whether the weights follow from the sizes of a configuration; else from the number of parameters in its name."""


def parameters_b(a: settings.Architecture) -> float:
    """Count the parameters of an architecture, in billions."""
    attention_layers = a.layers if a.attention_layers is None else a.attention_layers
    query, key = a.heads * a.head_dim, a.kv_heads * a.head_dim
    attention = a.hidden * ((2 if a.gated_attention else 1) * query + 2 * key) + query * a.hidden
    linear_key, linear_value = (n_heads * a.linear_head_dim for n_heads in (a.linear_key_heads, a.linear_value_heads))
    # Projections to keys, queries, values and their gate, two rates per head, convolutions of width 4, and the output.
    linear = (
        a.hidden * (2 * linear_key + 2 * linear_value + 2 * a.linear_value_heads)
        + 4 * (2 * linear_key + linear_value)
        + linear_value * a.hidden
    )
    mlp = 3 * a.hidden * a.intermediate
    if a.experts:
        mlp = a.experts * (mlp + a.hidden) + 3 * a.hidden * a.shared_intermediate
    embeddings = a.vocabulary * a.hidden * (1 if a.tied else 2)
    norms = (2 * a.layers + 1) * a.hidden
    layers = attention_layers * attention + (a.layers - attention_layers) * linear + a.layers * mlp
    return (layers + norms + embeddings) / 1e9 + a.other_b


def active_b(model: settings.Model) -> float:
    """Return the parameters that a token passes, in billions: as stated, or else from the sizes of the experts."""
    if model.active_b is not None:
        return model.active_b
    sizes = model.architecture
    if sizes is None or not sizes.experts:
        return model.params_b
    return parameters_b(dataclasses.replace(sizes, experts=sizes.active_experts, other_b=0.0))


def cache_bytes_per_token(a: settings.Architecture, tensor_parallel_size: int, dtype: str) -> float:
    """Count the bytes of the KV cache per token on each GPU: key-value heads are split, and copied once there are fewer."""
    attention_layers = a.layers if a.attention_layers is None else a.attention_layers
    heads = -(-a.kv_heads // tensor_parallel_size)
    return 2 * attention_layers * heads * a.head_dim * BYTES[dtype]


def need(cfg: settings.Root, model: settings.Model) -> Need:
    """Return what serving a model with the engine of the study takes."""
    gpus = gpus_of(cfg, model)
    known = model.architecture
    n_b = parameters_b(known) if known else model.params_b
    weights_gib = n_b * 1e9 * BYTES[cfg.engine.dtype] / gpus / GIB
    download_gb = n_b * BYTES[model.dtype or "bfloat16"] if _is_on_hub(model) else model.download_gb or 0.0
    if known is None:
        return Need(gpus, download_gb, weights_gib, None, None, False)
    parallel = parallel_size(cfg.engine) if model.tensor_parallel_size is None else gpus
    episode_gib = cache_bytes_per_token(known, parallel, cfg.engine.dtype) * cfg.engine.context / GIB
    left_gib = cfg.plan.gpu_memory_gib * positive(cfg.engine, "llm.gpu_memory_utilization", 0.92) - weights_gib
    free_gib = positive(cfg.engine, "kv_cache_gib", left_gib)
    return Need(gpus, download_gb, weights_gib, episode_gib, max(int(free_gib / episode_gib), 0), True)


def _is_on_hub(model: settings.Model) -> bool:
    is_id = model.path.count("/") == 1 and not model.path.startswith((".", "/", "~"))
    return model.source == "hub" or (model.source is None and is_id)


def gpus_of(cfg: settings.Root, model: settings.Model | None) -> int:
    """Return the GPUs of an engine that serves a model; one engine on the CPU counts as one."""
    if cfg.engine.options.get("device") != "cuda":
        return 1
    if model is not None and model.tensor_parallel_size is not None:
        return model.tensor_parallel_size
    return parallel_size(cfg.engine) * max(int(positive(cfg.engine, "llm.pipeline_parallel_size", 1)), 1)


def seconds(cfg: settings.Root, model: settings.Model, tokens: float, tokens_per_s: float) -> float:
    """Return the time in which an engine plays so many tokens with a model.

    The client or the engine's overhead limits small models to `tokens_per_s`; large ones take 2 FLOPs per active parameter
    and token, at `plan.flops_per_s` on each of their GPUs.
    """
    by_client = tokens / tokens_per_s
    if cfg.plan.flops_per_s is None:
        return by_client
    flops = 2e9 * active_b(model) * tokens
    return max(by_client, flops / (cfg.plan.flops_per_s * gpus_of(cfg, model)))
