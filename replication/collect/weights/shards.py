"""Writing of tensors as the weights of a Hugging Face checkpoint, in files of limited size."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from replication import files

if TYPE_CHECKING:
    import torch

MAX_BYTES = 4 * 10**9
"""Of the tensors of a file, unless one tensor alone is larger; they are held in memory until the file is written."""


def write(folder: Path, tensors: "Iterable[tuple[str, torch.Tensor]]", *, max_bytes: int = MAX_BYTES) -> None:
    """Write tensors into a new folder: model.safetensors, or several files and their index."""
    from safetensors.torch import save_file

    parts: list[list[str]] = []
    part: dict[str, torch.Tensor] = {}
    total = size = 0

    def flush() -> None:
        save_file(part, folder / f"part-{len(parts)}.safetensors", metadata={"format": "pt"})
        (folder / f"part-{len(parts)}.safetensors").chmod(
            0o644
        )  # as any other file: the library writes for its owner only
        parts.append(list(part))

    for name, tensor in tensors:
        if part and size + tensor.nbytes > max_bytes:
            flush()
            part, size = {}, 0
        part[name] = tensor.contiguous()
        size += tensor.nbytes
        total += tensor.nbytes
    flush()
    if len(parts) == 1:
        (folder / "part-0.safetensors").rename(folder / "model.safetensors")
        return
    weight_map: dict[str, str] = {}
    for i, names in enumerate(parts):
        file = f"model-{i + 1:05d}-of-{len(parts):05d}.safetensors"
        (folder / f"part-{i}.safetensors").rename(folder / file)
        weight_map |= dict.fromkeys(names, file)
    files.write_json(
        folder / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": dict(weight_map)}
    )
