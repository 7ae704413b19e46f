"""Writing of tensors as the weights of a Hugging Face checkpoint, in files of limited size."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from replication import files
from replication.errors import ConfigError, StoreError

if TYPE_CHECKING:
    import torch

MAX_BYTES = 4 * 10**9
"""Of the tensors of a file, unless one tensor alone is larger; they are held in memory until the file is written."""


@contextmanager
def reading(file: Path) -> Iterator[None]:
    """Read a file of weights in this block; ConfigError if it is cut short or damaged."""
    from safetensors import SafetensorError

    try:
        yield
    except SafetensorError as error:
        raise ConfigError(f"`{file}` is cut short or damaged ({error}). Copy it again.") from error


def write(folder: Path, tensors: "Iterable[tuple[str, torch.Tensor]]", *, max_bytes: int = MAX_BYTES) -> None:
    """Write tensors into a new folder: model.safetensors, or several files and their index."""
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    parts: list[list[str]] = []
    part: dict[str, torch.Tensor] = {}
    total = size = 0

    def flush() -> None:
        try:
            save_file(part, folder / f"part-{len(parts)}.safetensors", metadata={"format": "pt"})
        except SafetensorError as error:  # of the library, for any failure to write
            raise StoreError(
                f"weights cannot be written to `{folder.parent}`: {error}. Nothing is left of them: free space or set "
                f"`paths.weights` to a larger disk, and run the same command again."
            ) from error
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
