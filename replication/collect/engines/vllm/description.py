"""The manifest's entry for a vLLM engine: versions, hardware and resolved settings."""

import hashlib
import os
import re
import sys
from collections.abc import Mapping
from typing import Any

from replication.masking import MASK, masked
from replication.records import Json, stable_hash

VARIABLES = frozenset(
    {
        f"VLLM_{name}"
        for name in (
            "ALLOW_LONG_MAX_MODEL_LEN", "ALLREDUCE_USE_FLASHINFER", "ALLREDUCE_USE_SYMM_MEM", "ATTENTION_BACKEND",
            "BATCH_INVARIANT", "BLOCKSCALE_FP8_GEMM_FLASHINFER", "CPU_ATTN_SPLIT_KV", "CPU_INT4_W4A8",
            "CPU_KVCACHE_SPACE", "CPU_NUM_OF_RESERVED_CPU", "CPU_OMP_THREADS_BIND", "DISABLED_KERNELS",
            "DISABLE_COMPILE_CACHE", "DISABLE_PYNCCL", "DISABLE_SHARED_EXPERTS_STREAM",
            "ENABLE_INDUCTOR_COORDINATE_DESCENT_TUNING", "ENABLE_INDUCTOR_MAX_AUTOTUNE", "ENABLE_V1_MULTIPROCESSING",
            "ENFORCE_STRICT_TOOL_CALLING", "FLASHINFER_ALLREDUCE_BACKEND", "FLOAT32_MATMUL_PRECISION",
            "GDN_DECODE_KERNEL", "KV_CACHE_LAYOUT", "MARLIN_INPUT_DTYPE", "MARLIN_USE_ATOMIC_ADD", "MLA_DISABLE",
            "MOE_USE_DEEP_GEMM", "PP_LAYER_PARTITION", "ROCM_FP8_PADDING", "ROCM_USE_AITER", "ROCM_USE_SKINNY_GEMM",
            "TARGET_DEVICE", "TEST_FORCE_LOAD_FORMAT", "TOOL_JSON_ERROR_AUTOMATIC_RETRY", "USE_AOT_COMPILE",
            "USE_BREAKABLE_CUDAGRAPH", "USE_DEEP_GEMM", "USE_FASTOKENS", "USE_FLASHINFER_MOE_INT4",
            "USE_FLASHINFER_SAMPLER", "USE_FUSED_MOE_GROUPED_TOPK", "USE_STANDALONE_COMPILE", "USE_TRITON_AWQ",
            "USE_V2_MODEL_RUNNER", "WORKER_MULTIPROC_METHOD", "XGRAMMAR_CACHE_MB",
        )
    }
    | {
        "CUBLAS_WORKSPACE_CONFIG", "KMP_AFFINITY", "KMP_BLOCKTIME", "MKL_NUM_THREADS", "NVIDIA_TF32_OVERRIDE",
        "OMP_DYNAMIC", "OMP_NUM_THREADS", "OMP_PLACES", "OMP_PROC_BIND", "OMP_SCHEDULE", "OMP_THREAD_LIMIT",
        "OMP_WAIT_POLICY",
    }
)  # fmt: skip
"""Environment variables that can change text or speed; a manifest has these and no other, so none that holds a key, an
address, a path or a name that changes with every process."""
_SWITCH = re.compile(r"[\d.,:|{}() -]{0,80}|[A-Za-z_,]{1,40}|[\w.,:|-]{1,16}")
"""A number, a list of them, or a word; anything else is no value of these variables and could be a key."""


def description(config: Any, tokenizer: Any, device: str, settings: Mapping[str, Json]) -> dict[str, Json]:
    """Return versions and resolved settings, which also show a changed default of vLLM.

    config : `VllmConfig` of the running engine.
    settings : arguments that the engine was started with; keys and passwords among them are masked.
    """
    import torch
    import transformers
    import vllm

    template = tokenizer.chat_template
    return {
        "engine": "vllm",
        "version": vllm.__version__,
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "python": sys.version.split()[0],
        "device": device,
        "hardware": _hardware(),
        "settings": {
            **masked(settings),
            "resolved": {
                "dtype": str(config.model_config.dtype),
                "max_model_len": config.model_config.max_model_len,
                "enforce_eager": config.model_config.enforce_eager,
                "max_num_seqs": config.scheduler_config.max_num_seqs,
                "max_num_batched_tokens": config.scheduler_config.max_num_batched_tokens,
                "enable_chunked_prefill": config.scheduler_config.enable_chunked_prefill,
                "enable_prefix_caching": config.cache_config.enable_prefix_caching,
                "block_size": config.cache_config.block_size,
                "tensor_parallel_size": config.parallel_config.tensor_parallel_size,
                "pipeline_parallel_size": config.parallel_config.pipeline_parallel_size,
                "data_parallel_size": config.parallel_config.data_parallel_size,
                "kv_cache_dtype": config.cache_config.cache_dtype,
                "quantization": config.model_config.quantization,
                "seed": config.model_config.seed,
                "load_format": str(config.load_config.load_format),
                "scheduling_policy": config.scheduler_config.policy,
                "async_scheduling": config.scheduler_config.async_scheduling,
                "attention_backend": _name(config.attention_config.backend),
                "structured_outputs_backend": config.structured_outputs_config.backend,
                "compilation_mode": _name(config.compilation_config.mode),
                "cudagraph_mode": _name(config.compilation_config.cudagraph_mode),
            },
        },
        "environment": _environment(os.environ),
        "chat_template_sha256": stable_hash(template) if isinstance(template, dict) else _sha256(template or ""),
        "tokenizer_sha256": _sha256(tokenizer.backend_tokenizer.to_str()),
    }


def _environment(variables: Mapping[str, str]) -> dict[str, Json]:
    return {
        name: value if _SWITCH.fullmatch(value) and masked(value) == value else MASK
        for name, value in sorted(variables.items())
        if name in VARIABLES
    }


def _name(value: Any) -> str | None:
    return None if value is None else str(getattr(value, "name", value))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _hardware() -> str:
    import platform

    import torch

    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"
    return f"{platform.machine()}, {os.cpu_count()} CPU cores, {torch.backends.cpu.get_cpu_capability()}"
