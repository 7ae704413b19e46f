"""Checks of the weights of a checkpoint, from the headers of its files: whole files, and every tensor of the model.

vLLM accepts a checkpoint that lacks, for example, one of the three projections of an attention layer: that part of the
model then has arbitrary values.
"""

import json
import re
import struct
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, cast

from replication.errors import EngineError

MAX_LISTED = 3
"""Most tensors that a message names."""
_REMEDY = "Download or save the checkpoint again."


class Tensor(NamedTuple):
    """A tensor as the header of a file describes it."""

    dtype: str
    shape: tuple[int, ...]


def read_headers(folder: Path) -> dict[str, Tensor]:
    """Return the tensors of the files that vLLM reads; EngineError for a file or a tensor that is not whole.

    The index must list exactly the tensors of the files that it names.
    """
    index, files = _served_files(folder)
    tensors: dict[str, Tensor] = {}
    found_in: dict[str, str] = {}
    for file in files:
        for name, tensor in _header(file).items():
            if name in tensors:
                raise EngineError(f"tensor `{name}` is in `{file}` and in `{found_in[name]}`. {_REMEDY}")
            tensors[name], found_in[name] = tensor, file.name
    if index is not None:
        listed = _weight_map(index)
        if wrong := sorted(set(listed.items()) ^ set(found_in.items())):
            raise EngineError(
                f"`{index}` and the files that it names do not have the same tensors: {_listed(name for name, _ in wrong)}. "
                f"{_REMEDY}"
            )
    return tensors


def _served_files(folder: Path) -> tuple[Path | None, list[Path]]:
    """Return the index, if there is one, and the files with the weights, as vLLM chooses them."""
    pattern = "consolidated*.safetensors" if any(folder.glob("consolidated*.safetensors")) else "*.safetensors"
    index = folder / f"{'consolidated' if pattern.startswith('consolidated') else 'model'}.safetensors.index.json"
    if not index.is_file():
        return None, sorted(folder.glob(pattern))
    files = [folder / name for name in sorted(set(_weight_map(index).values()))]
    for file in files:
        if not file.is_file():
            raise EngineError(f"`{file}` is missing; `{index.name}` names it. {_REMEDY}")
    return index, files


def _weight_map(index: Path) -> dict[str, str]:
    try:
        return {str(name): str(file) for name, file in json.loads(index.read_bytes())["weight_map"].items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        raise EngineError(f"`{index}` is not an index of weights: it has no `weight_map`. {_REMEDY}") from None


def _header(file: Path) -> dict[str, Tensor]:
    """Read the header of one file; its tensors must fill the file exactly."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        start = opened.read(8)
        if start == b"version ":
            raise EngineError(f"`{file}` is a Git LFS pointer, not the weights. Run `git lfs pull` in its folder.")
        n_header = struct.unpack("<Q", start)[0] if len(start) == 8 else size
        header = opened.read(n_header) if n_header <= size - 8 else b""
    try:
        entries = {name: entry for name, entry in json.loads(header).items() if name != "__metadata__"}
        tensors = {name: Tensor(str(e["dtype"]), tuple(map(int, e["shape"]))) for name, e in entries.items()}
        spans = sorted((int(e["data_offsets"][0]), int(e["data_offsets"][1])) for e in entries.values())
    except (ValueError, KeyError, TypeError, AttributeError, IndexError):
        raise EngineError(
            f"`{file}` is cut short or no safetensors file: its header cannot be read. {_REMEDY}"
        ) from None
    n_data = size - 8 - n_header
    starts, ends = [0, *(end for _, end in spans)], [*(begin for begin, _ in spans), n_data]
    if starts != ends:
        raise EngineError(
            f"`{file}` has {n_data} bytes of tensors, and its header states {max(starts)}: it is cut short or damaged. "
            f"{_REMEDY}"
        )
    return tensors


def require_all_tensors(config: Any, tensors: Mapping[str, Tensor], name: str) -> bool:
    """Raise EngineError if the model that a configuration describes has tensors that the checkpoint lacks.

    config : of the running engine, from transformers.
    Returns False where the answer is not certain: transformers has no such class, or the checkpoint names its tensors in a
    way of its own. In the latter case a tensor that one layer has and another lacks is still an error. Of a quantized
    checkpoint, whose tensors have other names, only the modules are compared.
    """
    model = _model(config)
    if model is None:
        return False
    quantized = bool(getattr(config, "quantization_config", None))
    needed = {_key(key, model.prefix, quantized): shape for key, shape in model.needed.items()}
    present = {_key(key, model.prefix, quantized): tensor.shape for key, tensor in tensors.items()}
    tied = {_key(key, model.prefix, quantized) for key in model.tied}
    missing = [key for key in needed if key not in present]
    own_names = bool(missing) and any(key not in needed and key not in tied for key in present)
    if own_names:
        in_a_layer = {_any_layer(key) for key in present}
        missing = [key for key in missing if _any_layer(key) in in_a_layer]
    if missing:
        raise EngineError(
            f"the checkpoint of `{name}` lacks {len(missing)} of {len(needed)} tensors: {_listed(missing)}. {_REMEDY}"
        )
    wrong = [key for key, shape in needed.items() if not quantized and present.get(key, shape) != shape]
    if wrong:
        raise EngineError(
            f"the checkpoint of `{name}` has tensors whose shape is not that of its config.json: "
            f"{_listed(f'{key} {present[key]}, not {needed[key]}' for key in wrong)}. {_REMEDY}"
        )
    return not own_names


class _Model(NamedTuple):
    needed: dict[str, tuple[int, ...]]
    """Shapes of the tensors that a checkpoint must have, by the names under which transformers saves them."""
    tied: set[str]
    """Tensors that are others under a second name."""
    prefix: str
    """Of the names in a checkpoint of the whole model; some checkpoints leave it out."""


def _model(config: Any) -> _Model | None:
    """Build the model without memory for its weights and return the tensors that transformers would save."""
    import torch
    import transformers

    (architecture,) = (getattr(config, "architectures", None) or ("",))[:1]
    kind = cast(Any, getattr(transformers, architecture, None))
    if kind is None:
        return None
    try:
        from transformers.core_model_loading import revert_weight_conversion

        with torch.device("meta"):
            model = kind(config)
        tied, computed = set(model.all_tied_weights_keys), model._keys_to_ignore_on_load_missing or ()
        own = {key: value for key, value in model.state_dict().items() if key not in tied}
        own = {key: value for key, value in own.items() if not any(re.search(pattern, key) for pattern in computed)}
        saved = revert_weight_conversion(model, own)
    except Exception:  # a class that vLLM serves and transformers cannot build raises any type
        return None
    return _Model({key: tuple(value.shape) for key, value in saved.items()}, tied, f"{model.base_model_prefix}.")


def _key(tensor: str, prefix: str, module_only: bool) -> str:
    return (tensor.rpartition(".")[0] if module_only else tensor).removeprefix(prefix)


def _any_layer(name: str) -> str:
    return re.sub(r"\.\d+\.", ".N.", name)


def _listed(names: Iterable[str]) -> str:
    names = list(names)
    more = f" and {len(names) - MAX_LISTED} more" if len(names) > MAX_LISTED else ""
    return ", ".join(f"`{name}`" for name in names[:MAX_LISTED]) + more
