"""Engines of the size that each public checkpoint needs: `tensor_parallel_size` of conf/model over that of the engine.

The size changes no run_id: it is one of the options that change speed and memory only.
"""

import dataclasses

from replication import settings
from replication.settings.engine_options import parallel_size


def gpus_of_job(cfg: settings.Root, name: str) -> int:
    """Return the GPUs that a job of a sweep asks for: `launcher.gpus`, or more where the checkpoint's engine needs them.

    With `launcher.gpus` 0 none are asked for: the job needs none, or `launcher.options` names them.
    """
    asked, model = cfg.launcher.gpus, cfg.models.get(name)
    if not asked or model is None or cfg.engine.kind != "vllm" or cfg.engine.options.get("device") != "cuda":
        return asked
    return max(asked, model.tensor_parallel_size or 1)


def sized(cfg: settings.Root, name: str) -> settings.Root:
    """Return the settings with the engine that a checkpoint needs, and as many side by side as the GPUs allow.

    `engine.processes` engines of the size in `engine.options.llm` are taken to fill the machine.
    """
    model = cfg.models.get(name)
    size = model.tensor_parallel_size if model else None
    if size is None or cfg.engine.kind != "vllm" or cfg.engine.options.get("device") != "cuda":
        return cfg
    n_gpus = cfg.engine.processes * parallel_size(cfg.engine)
    options = {**cfg.engine.options, "llm": {**(cfg.engine.options.get("llm") or {}), "tensor_parallel_size": size}}
    engine = dataclasses.replace(cfg.engine, options=options, processes=max(n_gpus // size, 1))
    return dataclasses.replace(cfg, engine=engine)
