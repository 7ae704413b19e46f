"""Reading of GGUF files: the values of the header, and tensors as float32.

Not covered: other quantisations than those of `KINDS`, and files of other byte order. Layout and block formats are those of
the GGUF specification, version 3; the values equal those of transformers' reader bit for bit, which a test checks.
"""

import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from replication.errors import ConfigError

if TYPE_CHECKING:
    import numpy as np

MAGIC, VERSIONS = b"GGUF", (2, 3)
_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_TEXT, _ARRAY = 8, 9


class Kind(NamedTuple):
    """A format of a tensor: blocks of numbers."""

    name: str
    n_numbers: int
    """Per block."""
    n_bytes: int
    """Per block."""
    read: "Callable[[np.ndarray], np.ndarray]"
    """(n_blocks, n_bytes) of uint8 -> (n_blocks, n_numbers) of float32."""


class Tensor(NamedTuple):
    """A tensor as the header describes it."""

    shape: tuple[int, ...]
    """Slowest axis first, as in torch; the file has the fastest first."""
    kind: Kind
    offset: int
    """Of its first byte in the file."""

    @property
    def end(self) -> int:
        """Return the offset of the first byte behind it."""
        return self.offset + math.prod(self.shape) // self.kind.n_numbers * self.kind.n_bytes


class Gguf(NamedTuple):
    """A GGUF file: the values of its header, and its tensors by name."""

    path: Path
    values: dict[str, Any]
    tensors: dict[str, Tensor]

    def read(self, name: str) -> "np.ndarray":
        """Read a tensor as float32."""
        import numpy as np

        tensor = self.tensors[name]
        with self.path.open("rb") as file:
            file.seek(tensor.offset)
            data = file.read(tensor.end - tensor.offset)
        blocks = np.frombuffer(data, dtype=np.uint8).reshape(-1, tensor.kind.n_bytes)
        return tensor.kind.read(blocks).reshape(tensor.shape)


def _f32(blocks: "np.ndarray") -> "np.ndarray":
    return blocks.view("<f4").astype("f4")


def _f16(blocks: "np.ndarray") -> "np.ndarray":
    return blocks.view("<f2").astype("f4")


def _q8_0(blocks: "np.ndarray") -> "np.ndarray":
    """32 signed bytes and their scale."""
    return _f16(blocks[:, :2]) * blocks[:, 2:].view("i1").astype("f4")


def _q4_1(blocks: "np.ndarray") -> "np.ndarray":
    """32 numbers of four bits, first the low halves of 16 bytes, then the high ones; their scale and their minimum."""
    import numpy as np

    packed = blocks[:, 4:]
    numbers = np.concatenate((packed & 15, packed >> 4), axis=1).astype("f4")
    return _f16(blocks[:, :2]) * numbers + _f16(blocks[:, 2:4])


KINDS = {
    0: Kind("F32", 1, 4, _f32),
    1: Kind("F16", 1, 2, _f16),
    3: Kind("Q4_1", 32, 20, _q4_1),
    8: Kind("Q8_0", 32, 34, _q8_0),
}
"""By the number of the type in the file."""


def read_gguf(path: Path) -> Gguf:
    """Read the header of a file; ConfigError for a file that is cut short, damaged, or has tensors of another kind."""
    try:
        with path.open("rb") as file:
            return _read(path, file)
    except (struct.error, ValueError, KeyError, MemoryError, OverflowError, ZeroDivisionError) as error:
        raise ConfigError(
            f"`{path}` is no GGUF file, or it is cut short: its header cannot be read ({type(error).__name__}). "
            f"Download it again."
        ) from None


def _read(path: Path, file: BinaryIO) -> Gguf:
    magic, version = file.read(4), _scalar(file, "I")
    if magic != MAGIC or version not in VERSIONS:
        raise ConfigError(
            f"`{path}` begins with {magic!r} and version {version}; a GGUF file begins with {MAGIC!r} and version 2 or 3. "
            f"Give a GGUF file as the model's path."
        )
    n_tensors, n_values = _scalar(file, "Q"), _scalar(file, "Q")
    values = {}
    for _ in range(n_values):
        key = _text(file)
        values[key] = _value(file, _scalar(file, "I"))
    described = [_description(file) for _ in range(n_tensors)]
    alignment = int(values.get("general.alignment", 32))
    start = -(-file.tell() // alignment) * alignment
    tensors = {}
    for name, shape, number, offset in described:
        if number not in KINDS:
            raise ConfigError(
                f"tensor `{name}` of `{path}` has type {number}; allowed: "
                f"{', '.join(f'{n} ({kind.name})' for n, kind in KINDS.items())}. Choose a file in one of these formats."
            )
        tensors[name] = Tensor(shape, KINDS[number], start + offset)
        if tensors[name].end > path.stat().st_size:  # before anything is made of it
            raise ConfigError(f"`{path}` ends within tensor `{name}`: it is cut short. Download it again.")
    return Gguf(path, values, tensors)


def _description(file: BinaryIO) -> tuple[str, tuple[int, ...], int, int]:
    name, n_axes = _text(file), _scalar(file, "I")
    shape = tuple(_scalar(file, "Q") for _ in range(n_axes))[::-1]
    return name, shape, _scalar(file, "I"), _scalar(file, "Q")


def _scalar(file: BinaryIO, code: str) -> Any:
    size = struct.calcsize(f"<{code}")
    return struct.unpack(f"<{code}", file.read(size))[0]


def _text(file: BinaryIO) -> str:
    return file.read(_scalar(file, "Q")).decode()


def _value(file: BinaryIO, number: int) -> Any:
    if number == _TEXT:
        return _text(file)
    if number == _ARRAY:
        inner, n = _scalar(file, "I"), _scalar(file, "Q")
        return [_value(file, inner) for _ in range(n)]
    return _scalar(file, _SCALARS[number])
