"""Merging of a LoRA adapter into its base: W + scaling x B A, computed in float32 and stored in the base's type.

Merged once and not served as an adapter, so that such a model shares an engine, its speed and its checks with all others.
Not covered, and refused: DoRA, trained biases, whole modules that were saved beside the adapter, and embeddings.
"""

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from replication.collect.weights import shards
from replication.errors import ConfigError
from replication.records import Json

if TYPE_CHECKING:
    import torch

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_NAME = re.compile(r"base_model\.model\.(.+)\.lora_(A|B)(?:\.default)?\.weight")


class Pair(NamedTuple):
    """The two factors of a change of one matrix, and its scale."""

    a: "torch.Tensor"
    """(rank, inputs)."""
    b: "torch.Tensor"
    """(outputs, rank)."""
    scaling: float


def tensors(base: Path, adapter: Path) -> "Iterator[tuple[str, torch.Tensor]]":
    """Yield the tensors of the base, those of the adapter's modules merged; ConfigError for an adapter of another base."""
    import torch
    from safetensors import safe_open

    changes = read_adapter(adapter)
    left = set(changes)
    for file in sorted(base.glob("*.safetensors")):
        with shards.reading(file), safe_open(file, "pt") as opened:
            for name in sorted(opened.keys()):
                tensor, module = opened.get_tensor(name), name.removesuffix(".weight")
                if module in changes:
                    left.discard(module)
                    a, b, scaling = changes[module]
                    if (b.shape[0], a.shape[1]) != tensor.shape:
                        raise ConfigError(
                            f"`{module}` is {tuple(tensor.shape)} in `{base}`, and the adapter at `{adapter}` is for "
                            f"{(b.shape[0], a.shape[1])}: it belongs to another base. Fix `base` of the model."
                        )
                    tensor = (tensor.to(torch.float32) + scaling * (b.float() @ a.float())).to(tensor.dtype)
                yield name, tensor
    if left:
        raise ConfigError(
            f"the adapter at `{adapter}` changes `{min(left)}`, which `{base}` does not have: it belongs to another base, "
            f"or its modules are named otherwise. Fix `base` of the model."
        )


def stated_base(adapter: Path) -> str | None:
    """Return the base that an adapter names; None if it names none, or a folder of the machine that trained it."""
    named = _config(adapter).get("base_model_name_or_path")
    return named if isinstance(named, str) and re.fullmatch(r"[\w.-]+/[\w.-]+", named) else None


def read_adapter(adapter: Path) -> dict[str, Pair]:
    """Read the factors of an adapter by module of the base; ConfigError for one that is more than such factors."""
    from safetensors.torch import load_file

    config = _config(adapter)
    _refuse(config, adapter)
    factors: dict[str, dict[str, torch.Tensor]] = {}
    with shards.reading(adapter / WEIGHTS):
        stored = load_file(adapter / WEIGHTS)
    for name, tensor in stored.items():
        found = _NAME.fullmatch(name)
        if not found:
            raise ConfigError(
                f"`{adapter / WEIGHTS}` has a tensor `{name}`, which is no factor of a matrix. Merge the adapter with the "
                f"tool that made it, and give the merged folder."
            )
        factors.setdefault(found[1], {})[found[2]] = tensor
    pairs = {}
    for module, both in factors.items():
        if set(both) != {"A", "B"} or both["A"].shape[0] != both["B"].shape[1]:
            raise ConfigError(
                f"the factors of `{module}` in `{adapter / WEIGHTS}` do not belong together. Copy it again."
            )
        pairs[module] = Pair(both["A"], both["B"], _scaling(config, module, adapter))
    return pairs


def _config(adapter: Path) -> dict[str, Json]:
    if not (adapter / CONFIG).is_file() or not (adapter / WEIGHTS).is_file():
        raise ConfigError(f"no adapter at `{adapter}`: {CONFIG} or {WEIGHTS} is missing. Fix the model's path.")
    try:
        config = json.loads((adapter / CONFIG).read_bytes())
    except ValueError as error:
        raise ConfigError(f"`{adapter / CONFIG}` is not JSON ({error}). Copy the adapter again.") from None
    if not isinstance(config, dict):
        raise ConfigError(f"`{adapter / CONFIG}` has no settings by name. Copy the adapter again.")
    return config


def _refuse(config: dict[str, Json], adapter: Path) -> None:
    found = {
        "peft_type": config.get("peft_type", "LORA") != "LORA", "use_dora": bool(config.get("use_dora")),
        "bias": config.get("bias", "none") != "none", "modules_to_save": bool(config.get("modules_to_save")),
        "fan_in_fan_out": bool(config.get("fan_in_fan_out")),
    }  # fmt: skip
    for key, refused in found.items():
        if refused:
            raise ConfigError(
                f"`{key}` of the adapter at `{adapter}` is {config[key]!r}, which is not merged here. Merge it with the "
                f"tool that made it, and give the merged folder."
            )


def _scaling(config: dict[str, Json], module: str, adapter: Path) -> float:
    """Return alpha / rank, or alpha / sqrt(rank); a pattern for some modules replaces rank or alpha of the others."""
    values = []
    for key, patterns in (("lora_alpha", "alpha_pattern"), ("r", "rank_pattern")):
        by_pattern = config.get(patterns) or {}
        assert isinstance(by_pattern, dict)
        value = next(
            (v for pattern, v in by_pattern.items() if re.search(rf"(?:^|\.){pattern}$", module)), config.get(key)
        )
        if not isinstance(value, int | float) or value <= 0:
            raise ConfigError(
                f"`{key}` of `{adapter / CONFIG}` is {value!r}; it must be above 0. Copy the adapter again."
            )
        values.append(float(value))
    alpha, rank = values
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
