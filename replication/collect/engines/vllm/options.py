"""Options of the vLLM engine, and those among them that leave the text alone."""

from dataclasses import dataclass, field
from typing import Any

from replication.settings.limits import one_of, real, whole
from replication.settings.schema import DEVICES


@dataclass
class Options:
    """Settings `engine.options` of kind vllm."""

    device: str = one_of(DEVICES)
    max_num_seqs: int = whole(1, 100_000)  # requests in one batch at most
    kv_cache_gib: float | None = real(
        0.0, 1e6, None, above=True
    )  # of the key-value cache; null: by llm.gpu_memory_utilization
    threads: int = whole(1, 1_000, 1)
    multiprocessing: bool = False  # run the engine's core in a separate process
    llm: dict[str, Any] = field(default_factory=dict)  # further arguments of vllm.LLM, checked by vLLM


SPEED_ONLY = frozenset(
    {"device", "max_num_seqs", "kv_cache_gib", "threads", "multiprocessing"}
    | {
        f"llm.{name}"
        for name in (
            "attention_backend", "block_size", "compilation_config", "cpu_offload_gb", "data_parallel_size",
            "disable_custom_all_reduce", "disable_log_stats", "distributed_executor_backend", "download_dir",
            "enable_chunked_prefill", "enable_expert_parallel", "enable_prefix_caching", "enforce_eager",
            "gpu_memory_utilization", "kv_cache_memory_bytes", "load_format", "max_num_batched_tokens",
            "max_parallel_loading_workers", "num_gpu_blocks_override", "pipeline_parallel_size", "tensor_parallel_size",
        )
    }
)  # fmt: skip
"""Options that change speed and memory. Like another GPU they may change the last bits of a logit, so the manifest has
them; every other option (quantization, kv_cache_dtype, chat_template, hf_overrides, ...) is part of the run_id."""
