"""The manifest's entry for a vLLM engine: versions, hardware and resolved settings."""

import hashlib
import os
import sys
from collections.abc import Mapping
from typing import Any

from replication.records import Json, stable_hash

_PER_PROCESS = {"VLLM_DIST_IDENT", "VLLM_OBJECT_STORAGE_SHM_BUFFER_NAME"}
"""vLLM sets these to random names; in a manifest every restart would look like another engine."""


def description(config: Any, tokenizer: Any, device: str, settings: Mapping[str, Json]) -> dict[str, Json]:
    """Return versions and resolved settings, which also show a changed default of vLLM.

    config : `VllmConfig` of the running engine.
    settings : arguments that the engine was started with.
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
            **settings,
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
            },
        },
        "environment": {
            k: v for k, v in sorted(os.environ.items()) if k.startswith(("VLLM_", "OMP_")) and k not in _PER_PROCESS
        },
        "chat_template_sha256": stable_hash(template) if isinstance(template, dict) else _sha256(template or ""),
        "tokenizer_sha256": _sha256(tokenizer.backend_tokenizer.to_str()),
    }


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _hardware() -> str:
    import platform

    import torch

    if torch.cuda.is_available():
        return f"{torch.cuda.device_count()} x {torch.cuda.get_device_name()}, CUDA {torch.version.cuda}"
    return f"{platform.machine()}, {os.cpu_count()} CPU cores, {torch.backends.cpu.get_cpu_capability()}"
