"""Settings of a vLLM engine, and which of them change the speed and no text."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from replication.errors import ConfigError
from replication.settings.limits import one_of, real, whole
from replication.settings.schema import DEVICES

LOAD_FORMATS = ("auto", "hf", "safetensors", "fastsafetensors", "instanttensor", "runai_streamer")
"""Values of `llm.load_format` that read the files which a checkpoint's identity covers."""
_BY_CHECKPOINT = (
    "model", "model_weights", "revision", "tokenizer", "tokenizer_revision", "code_revision", "hf_config_path",
    "generation_config", "skip_tokenizer_init", "download_dir", "hf_token",
)  # fmt: skip
"""Arguments that would replace a part of the checkpoint that a run names, or name an account."""


@dataclass
class Options:
    """Settings `engine.options` of kind vllm."""

    device: str = one_of(DEVICES)
    max_num_seqs: int = whole(1, 100_000)  # requests in one batch at most
    kv_cache_gib: float | None = real(0.0, 1e6, None, above=True)  # cache; null: by llm.gpu_memory_utilization
    threads: int = whole(1, 1_000, 1)
    multiprocessing: bool = False  # run the engine's core in a separate process
    date: str = "2026-01-01"  # today's date in chat templates that show one; the real one would change prompts daily
    stall_s: float = real(0.0, 1e6, 600.0, above=True)  # seconds without a step, then it counts as failed
    # The same text in every batch, slower: vLLM's VLLM_BATCH_INVARIANT, on GPUs. Part of a run_id only where it is on, so
    # that runs from before it existed keep theirs.
    batch_invariant: bool = field(default=False, metadata={"omit_default": True})
    llm: dict[str, Any] = field(default_factory=dict)  # further arguments of vllm.LLM, checked by vLLM

    def __post_init__(self) -> None:
        """Refuse arguments by which a run would not play the checkpoint that it names."""
        for name in _BY_CHECKPOINT:
            if name in self.llm:
                raise ConfigError(
                    f"`engine.options.llm.{name}` cannot be set: it comes from the model's `path` and `revision` in "
                    f"conf/model, and from HF_HOME and HF_TOKEN. Remove it."
                )
        if self.batch_invariant and self.device == "cpu":
            raise ConfigError(
                "`engine.options.batch_invariant` needs `engine.options.device` cuda: vLLM has no such mode on the CPU, "
                "where the text of a seed does not depend on the batch in float32. Remove it."
            )
        load_format = self.llm.get("load_format", "auto")
        if load_format not in LOAD_FORMATS:
            raise ConfigError(
                f"`engine.options.llm.load_format` is {load_format!r}; allowed: {', '.join(LOAD_FORMATS)}. Another format "
                f"does not serve the safetensors files that a run names."
            )


BATCH_INVARIANT = "VLLM_BATCH_INVARIANT"


def batch_invariance(options: Options, inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the variable of vLLM's batch-invariant mode: set as the option says where it is on, or was inherited."""
    if options.batch_invariant or BATCH_INVARIANT in inherited:
        return {BATCH_INVARIANT: str(int(options.batch_invariant))}
    return {}


SPEED_ONLY = frozenset(
    {"device", "max_num_seqs", "kv_cache_gib", "threads", "multiprocessing", "stall_s"}
    | {
        f"llm.{name}"
        for name in (
            "attention_backend", "block_size", "compilation_config", "cpu_offload_gb", "data_parallel_size",
            "disable_custom_all_reduce", "disable_log_stats", "distributed_executor_backend", "enable_chunked_prefill",
            "enable_expert_parallel", "enable_prefix_caching", "enforce_eager", "gpu_memory_utilization",
            "kv_cache_memory_bytes", "max_num_batched_tokens", "max_parallel_loading_workers",
            "num_gpu_blocks_override", "pipeline_parallel_size", "tensor_parallel_size",
        )
    }
)  # fmt: skip
"""Options that change speed and memory. Like another GPU they may change the last bits of a logit, so the manifest has
them; every other option (quantization, kv_cache_dtype, chat_template, hf_overrides, ...) is part of the run_id."""
