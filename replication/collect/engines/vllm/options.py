"""Options of the vLLM engine, and those among them that leave the text alone."""

from dataclasses import dataclass, field
from typing import Any


@dataclass
class Options:
    """Settings `engine.options` of kind vllm."""

    device: str  # cpu or cuda
    max_num_seqs: int  # requests in one batch at most
    kv_cache_gib: float | None = None  # memory of the key-value cache; null: by llm.gpu_memory_utilization
    threads: int = 1
    multiprocessing: bool = False  # run the engine's core in a separate process
    date: str = "2026-01-01"  # today's date in chat templates that show one; the real one would change prompts daily
    stall_s: float = 600.0  # seconds without the end of a step after which the engine counts as failed
    llm: dict[str, Any] = field(default_factory=dict)  # further arguments of vllm.LLM, checked by vLLM


SPEED_ONLY = frozenset(
    {"device", "max_num_seqs", "kv_cache_gib", "threads", "multiprocessing", "stall_s"}
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
