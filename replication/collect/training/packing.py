"""Documents packed into rows of few widths, so that batches have few shapes: recording kernels for a shape takes time."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from replication.collect.training.supervised import Batch

WIDTHS = (256, 384, 512, 768, 1024, 1536, 2048, 3072, 4096)
"""Of rows; wider documents get a multiple of the last one."""

ROWS = 4
"""Numbers of rows are multiples of this where there are more: fewer shapes for some more padding."""


def common_shape(batches: "Sequence[Batch]") -> tuple[int, int]:
    """Return (n_rows, width), into which each of the batches fits, with the least padding."""
    lengths = [_lengths(batch) for batch in batches]
    longest = max(int(own.max()) for own in lengths)
    widest = next((width for width in WIDTHS if width >= longest), -(-longest // WIDTHS[-1]) * WIDTHS[-1])
    widths = [width for width in WIDTHS if width > widest][:2]
    shapes = []
    for width in (widest, *widths):
        n = max(1 + int(_rows(own, width)[0].max()) for own in lengths)
        shapes.append((n if n <= ROWS else -(-n // ROWS) * ROWS, width))
    return min(shapes, key=lambda shape: (shape[0] * shape[1], shape[1]))


def packed(batches: "Sequence[Batch | None]", shape: tuple[int, int]) -> np.ndarray:
    """Pack the documents of each batch into (n_batches, 4, n_rows, width).

    The four: token ids; label of the next token, `IGNORED` where it is not in the loss; position in the document; number of
    the document, 0 in padding. A missing batch is padding.
    """
    from replication.collect.training.supervised import IGNORED

    made = np.zeros((len(batches), 4, *shape), dtype=np.int64)
    made[:, 1] = IGNORED
    for own, batch in zip(made, batches, strict=True):
        if batch is None:
            continue
        lengths = _lengths(batch)
        rows, starts = _rows(lengths, shape[1])
        for document, (n, row, start) in enumerate(zip(lengths, rows, starts, strict=True)):
            at = slice(start, start + n)
            own[0, row, at] = batch.inputs[document, :n]
            own[1, row, start : start + n - 1] = batch.labels[document, 1:n]
            own[2, row, at] = np.arange(n)
            own[3, row, at] = document + 1
    return made


def _lengths(batch: "Batch") -> np.ndarray:
    return np.asarray(batch.lengths)


def _rows(lengths: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Return row and start of each document: one after the other, in a new row where one does not fit."""
    rows, starts = np.zeros(len(lengths), dtype=np.int64), np.zeros(len(lengths), dtype=np.int64)
    row, end = 0, 0
    for i, n in enumerate(lengths):
        if end + n > width:
            row, end = row + 1, 0
        rows[i], starts[i] = row, end
        end += int(n)
    return rows, starts
