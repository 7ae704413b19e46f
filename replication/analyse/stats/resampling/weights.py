"""Resample tasks by weights: one weight matrix is used for all columns, so their joint distribution is preserved.

A resample of n tasks is a row of n weights, and a weighted mean of every column is one matrix product. Columns may be
arms, training runs, protocols, scales, metrics: differences between them, their correlations and
simultaneous bands all follow from the same draws.

Tasks are resampled, never trials within tasks: the mean over trials includes the trial noise already, and resampling
trials again would count it twice.

Arithmetic is float32 on columns centred in float64: the rounding error is about 1e-7 of the column's largest value, far
below the bootstrap's own error. Callers must centre columns whose spread is below 1e-5 of their mean (times in seconds
since an epoch).
"""

from collections.abc import Iterator, Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from replication.analyse.stats import checks
from replication.errors import AnalysisError

Weights = Literal["poisson", "multinomial"]
"""multinomial: counts of n draws with replacement, the classic bootstrap, exact. poisson: independent Poisson(1) counts,
each row divided by its sum; the same to order 1/n, and faster."""

_BLOCK_WEIGHTS = 2**18
"""Default number of weights drawn at a time: 1 MB as float32, which fits into a core's cache."""

_POISSON = np.searchsorted(special.pdtr(np.arange(20), 1.0), (np.arange(2**16) + 0.5) / 2**16).astype(np.float32)
"""(65536,) entry u is the smallest w with (u + 1/2)/65536 <= P(Poisson(1) <= w): a Poisson count from two random bytes.
Mean 1, variance 0.99997, largest count 8."""


def bootstrap_means(
    columns: ArrayLike,
    *,
    n_resamples: int,
    rng: np.random.Generator,
    weights: Weights = "poisson",
    block: int | None = None,
) -> NDArray[np.float32]:
    """Compute the column means of resampled tasks: (n_resamples, n_columns), float32.

    columns : (n_tasks, n_columns) of any real dtype, one number per task (averaged over trials), none missing.
    block : resamples drawn at a time; it limits the memory, and equal seeds give equal output for equal blocks.

    Result row b is sum_t w_bt x_t / sum_t w_bt. Efron 1979 (multinomial); Hanley & MacGibbon 2006 (Poisson).
    """
    matrix = _columns(columns)
    out = np.empty((_count(n_resamples), matrix.shape[1]), np.float32)
    return _fill(out, matrix, rng, weights, block)


def bootstrap_benchmarks(
    benchmarks: Sequence[ArrayLike],
    *,
    n_resamples: int,
    rng: np.random.Generator,
    weights: Weights = "poisson",
    block: int | None = None,
) -> NDArray[np.float32]:
    """Resample the tasks of each benchmark separately (strata): (n_benchmarks, n_resamples, n_columns), float32.

    benchmarks : matrices (n_tasks_b, n_columns) with the same columns; the rest as in `bootstrap_means`.
    """
    matrices = _benchmarks(benchmarks)
    out = np.empty((len(matrices), _count(n_resamples), matrices[0].shape[1]), np.float32)
    for part, matrix in zip(out, matrices, strict=True):
        _fill(part, matrix, rng, weights, block)
    return out


def bootstrap_benchmark_mean(
    benchmarks: Sequence[ArrayLike],
    *,
    n_resamples: int,
    rng: np.random.Generator,
    weights: Weights = "poisson",
    block: int | None = None,
) -> NDArray[np.float32]:
    """Resample as `bootstrap_benchmarks` with the same draws, and average over benchmarks: (n_resamples, n_columns).

    Benchmarks have equal weights regardless of their number of tasks. Needs the memory of one benchmark only.
    """
    matrices = _benchmarks(benchmarks)
    out = np.zeros((_count(n_resamples), matrices[0].shape[1]), np.float32)
    for matrix in matrices:
        _fill(out, matrix, rng, weights, block, share=1 / len(matrices))
    return out


def crossed_bootstrap_means(
    scores: ArrayLike,
    *,
    n_resamples: int,
    rng: np.random.Generator,
    weights: Weights = "multinomial",
    block: int | None = None,
) -> NDArray[np.float32]:
    """Resample training runs and tasks, crossed, and average every column: (n_resamples, n_columns), float32.

    scores : (m_runs, n_tasks, n_columns). Run r of one column need not belong to run r of another.

    The weight of a score is w_r w_t (pigeonhole bootstrap, Owen 2007): the variance is that of the run means over m plus
    that of the task means over n (both with divisor m or n). It counts the interaction about three times where there is no
    other variance, so it is conservative. With few runs the divisor m matters, and percentile intervals cover too little
    below ten runs: use the standard error with a t quantile.
    """
    return crossed_benchmark_mean([scores], n_resamples=n_resamples, rng=rng, weights=weights, block=block)


def crossed_benchmark_mean(
    benchmarks: Sequence[ArrayLike],
    *,
    n_resamples: int,
    rng: np.random.Generator,
    weights: Weights = "multinomial",
    block: int | None = None,
) -> NDArray[np.float32]:
    """Resample as `crossed_bootstrap_means`, the runs once for all benchmarks, and average over these.

    benchmarks : arrays (m_runs, n_tasks_b, n_columns), the same training runs in the same order in each.
    Returns (n_resamples, n_columns), float32.
    """
    arrays = [np.asarray(array) for array in benchmarks]
    if not arrays or any(a.ndim != 3 for a in arrays):
        raise AnalysisError(
            "crossed resampling needs arrays (m_runs, n_tasks, n_columns), one per benchmark; got shapes "
            f"{[a.shape for a in arrays]}."
        )
    m, _, n_columns = arrays[0].shape
    if m < 2 or any(a.shape[0] != m for a in arrays):
        raise AnalysisError(
            "crossed resampling needs the same training runs on every benchmark, at least 2; got "
            f"{[a.shape[0] for a in arrays]}. With one run resample its tasks by `bootstrap_means`."
        )
    # One row per task and one column per run and column, so that the weights of tasks are multiplied in once for all runs.
    matrices = _benchmarks([a.transpose(1, 0, 2).reshape(a.shape[1], m * a.shape[2]) for a in arrays])
    n_resamples = _count(n_resamples)
    run_weights = weight_matrix(m, n_resamples, rng=rng, weights=weights)
    run_weights /= run_weights.sum(axis=1, keepdims=True)
    out = np.zeros((n_resamples, n_columns), np.float32)
    for matrix in matrices:
        mean, centred = _centred(matrix)
        by_run = mean.reshape(m, n_columns)
        for rows, w, total in _weight_blocks(len(matrix), n_resamples, rng, weights, block):
            means = (w @ centred / total[:, None]).reshape(len(w), m, n_columns) + by_run
            out[rows] += np.einsum("br,brc->bc", run_weights[rows], means) / np.float32(len(matrices))
    return out


def weight_matrix(
    n_tasks: int, n_resamples: int, *, rng: np.random.Generator, weights: Weights = "poisson", block: int | None = None
) -> NDArray[np.float32]:
    """Draw the weights, (n_resamples, n_tasks), for statistics other than means of columns.

    Whole numbers, not normalised. For an equal seed and block they are the weights of `bootstrap_means`.
    """
    out = np.empty((_count(n_resamples), n_tasks), np.float32)
    for rows, w, _ in _weight_blocks(n_tasks, n_resamples, rng, weights, block):
        out[rows] = w
    return out


def _fill(
    out: NDArray[np.float32],
    matrix: NDArray[np.float64],
    rng: np.random.Generator,
    weights: Weights,
    block: int | None,
    share: float | None = None,
) -> NDArray[np.float32]:
    """Write the weighted means of one benchmark into `out`, or add `share` times them."""
    mean, centred = _centred(matrix)
    for rows, w, total in _weight_blocks(len(matrix), len(out), rng, weights, block):
        sums = w @ centred
        sums /= total[:, None]
        sums += mean
        if share is None:
            out[rows] = sums
        else:
            sums *= np.float32(share)
            out[rows] += sums
    return out


def _weight_blocks(
    n_tasks: int, n_resamples: int, rng: np.random.Generator, weights: Weights, block: int | None
) -> Iterator[tuple[slice, NDArray[np.float32], NDArray[np.float32]]]:
    """Yield the rows, their weights (n_rows, n_tasks), overwritten by the next block, and the sums of the weights."""
    checks.choice(get_args(Weights), weights=weights)
    checks.at_least(2, n_tasks=n_tasks)
    if block is None:
        block = max(_BLOCK_WEIGHTS // n_tasks, 1)
    checks.at_least(1, block=block)
    draw = _draw_poisson if weights == "poisson" else _draw_multinomial
    block = min(-(-block // 4) * 4, n_resamples)
    buffer, ones = np.empty((block, n_tasks), np.float32), np.ones(n_tasks, np.float32)
    for start in range(0, n_resamples, block):
        w = buffer[: min(block, n_resamples - start)]
        draw(w, rng)
        total = w @ ones
        while (empty := np.flatnonzero(total == 0)).size:
            # All weights 0 (probability exp(-n)): the mean is not defined, so the row is drawn again.
            again = np.empty((empty.size, n_tasks), np.float32)
            draw(again, rng)
            w[empty], total[empty] = again, again @ ones
        yield slice(start, start + len(w)), w, total


def _draw_poisson(w: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Fill with Poisson(1) counts, two random bytes each. Drawing 64-bit words is the fastest source of random bytes."""
    words = rng.integers(0, 2**64 - 1, size=-(-w.size // 4), dtype=np.uint64, endpoint=True)
    # Every 16-bit index is in range; "wrap" merely spares numpy the check.
    _POISSON.take(words.view(np.uint16)[: w.size], out=w.reshape(-1), mode="wrap")


def _draw_multinomial(w: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Fill with counts of n draws with replacement."""
    n_rows, n = w.shape
    drawn = rng.integers(0, n, size=(n_rows, n), dtype=np.uint16 if n < 2**16 else np.uint32)
    cells = drawn + (np.arange(n_rows) * n)[:, None]
    w.reshape(-1)[:] = np.bincount(cells.reshape(-1), minlength=n_rows * n)


def _centred(matrix: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    mean = matrix.mean(axis=0)
    return mean.astype(np.float32), (matrix - mean).astype(np.float32)


def _benchmarks(benchmarks: Sequence[ArrayLike]) -> list[NDArray[np.float64]]:
    matrices = [_columns(columns) for columns in benchmarks]
    if len({matrix.shape[1] for matrix in matrices}) != 1:
        raise AnalysisError(
            "`benchmarks` must be at least one matrix (n_tasks, n_columns), all with the same columns; got shapes "
            f"{[matrix.shape for matrix in matrices]}."
        )
    return matrices


def _columns(columns: ArrayLike) -> NDArray[np.float64]:
    matrix = np.asarray(columns, float)
    if matrix.ndim != 2 or len(matrix) < 2 or matrix.shape[1] < 1:
        raise AnalysisError(
            f"`columns` must be (n_tasks, n_columns) with at least 2 tasks; got shape {matrix.shape}. The spread between "
            "tasks cannot be estimated from one."
        )
    if not np.isfinite(matrix).all():
        raise AnalysisError(
            f"`columns` has {int((~np.isfinite(matrix)).sum())} numbers that are missing or infinite. Apply the policy for "
            "unscored trials before resampling."
        )
    return matrix


def _count(n_resamples: int) -> int:
    checks.at_least(1, n_resamples=n_resamples)
    return int(n_resamples)
