"""Which cards each of several engines on one machine gets, and whether engines that share a card fit on it.

An engine needs `tensor_parallel_size` x `pipeline_parallel_size` cards. Data parallelism is `engine.processes`: several
engines, each with cards of its own as far as there are enough, and with a share of the checkpoints.
"""

from collections.abc import Sequence

from replication.collect import gpus
from replication.collect.engines.vllm.options import Options
from replication.collect.interfaces import Place
from replication.errors import ConfigError

_UTILIZATION = 0.92
"""vLLM's default of `gpu_memory_utilization`."""


def place(options: Options, n: int) -> list[Place]:
    """Return the cards of each of `n` engines; ConfigError if they cannot run side by side on this machine."""
    if options.llm.get("data_parallel_size", 1) != 1:
        raise ConfigError(
            f"`engine.options.llm.data_parallel_size` must be 1 for an engine in process; got "
            f"{options.llm['data_parallel_size']}. Set `engine.processes` to the number of engines instead: each gets "
            f"cards of its own and a share of the checkpoints."
        )
    if options.device != "cuda":
        return [Place()] * n
    return on_cards(options, n, gpus.named())


def on_cards(options: Options, n: int, cards: Sequence[gpus.NamedCard]) -> list[Place]:
    """Return the cards of each engine, whole groups first, then several engines per group.

    cards : those that this process may use; empty if unknown, and then all engines are taken to share the first ones.
    """
    sizes = [options.llm.get(f"{kind}_parallel_size", 1) for kind in ("tensor", "pipeline")]
    for kind, size in zip(("tensor", "pipeline"), sizes, strict=True):
        if not isinstance(size, int) or size < 1:
            raise ConfigError(
                f"`engine.options.llm.{kind}_parallel_size` must be a whole number of at least 1; got {size!r}."
            )
    size = sizes[0] * sizes[1]
    if cards and size > len(cards):
        raise ConfigError(
            f"an engine with `tensor_parallel_size` {sizes[0]} and `pipeline_parallel_size` {sizes[1]} needs {size} cards; "
            f"{len(cards)} can be used here. Lower them in `engine.options.llm`, or make more cards visible with "
            f"CUDA_VISIBLE_DEVICES."
        )
    groups = [cards[at : at + size] for at in range(0, len(cards) - size + 1, size)]
    per_group = -(-n // max(1, len(groups)))
    if per_group > 1:
        _check_shares(options, per_group, min((card.memory_gib for card in cards), default=None))
    if n == 1 or not groups:
        return [Place(is_shared=n > 1)] * n
    return [
        Place(
            environment={"CUDA_VISIBLE_DEVICES": ",".join(card.name for card in groups[at % len(groups)])},
            is_shared=n > len(groups),
        )
        for at in range(n)
    ]


def _check_shares(options: Options, n: int, memory_gib: float | None) -> None:
    """Check that `n` engines fit on one card.

    Each must know its cache: vLLM would measure what is free while another engine takes it. And each refuses to start
    unless `gpu_memory_utilization` of the card is free.
    """
    stated = options.llm.get("kv_cache_memory_bytes")
    cache_gib = options.kv_cache_gib if stated is None else stated / 2**30
    share = options.llm.get("gpu_memory_utilization", _UTILIZATION)
    if cache_gib is None:
        raise ConfigError(
            f"`engine.processes` puts {n} engines on one card, so each needs `engine.options.kv_cache_gib`, its exact "
            f"cache; got null, with which vLLM takes what it finds free while another engine starts. Set it, or lower "
            f"`engine.processes`."
        )
    if n * share > 1:
        raise ConfigError(
            f"`engine.processes` puts {n} engines on one card, each with `engine.options.llm.gpu_memory_utilization` "
            f"{share:g}: together {n * share:.0%} of its memory. Set it to at most {int(100 / n) / 100:g}, or lower "
            f"`engine.processes`."
        )
    if memory_gib is not None and n * cache_gib > memory_gib:
        raise ConfigError(
            f"`engine.processes` puts {n} engines on one card, each with a cache of {cache_gib:g} GiB "
            f"(`engine.options.kv_cache_gib`); the card has {memory_gib:g} GiB, which the weights share. Lower one of them."
        )
