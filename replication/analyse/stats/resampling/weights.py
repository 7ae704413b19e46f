"""Resample tasks by weights: one weight matrix serves all columns, so their joint distribution is right by construction.

A resample of n tasks is a row of n weights, and a weighted mean of every column is one matrix product. Columns may be
arms, training runs, protocols, scales, metrics: differences between them, their correlations, max-t tests and
simultaneous bands (`max_t`) all follow from the same draws.

Tasks are resampled, never trials within tasks: the mean over trials carries the trial noise already, and drawing trials
again would count it twice.

Arithmetic is float32 on columns centred in float64: a result is off by about 1e-7 of the column's largest value, far
below the bootstrap's own error. Columns whose spread is below 1e-5 of their mean (times in seconds since an epoch) are to
be centred by the caller.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from replication.errors import AnalysisError

Weights = Literal["poisson", "multinomial"]
"""multinomial: counts of n draws with replacement, the classic bootstrap, exact. poisson: independent Poisson(1) counts,
each row divided by its sum; the same to order 1/n, and faster."""

_BLOCK_WEIGHTS = 2**18
"""Weights made at a time where the caller does not say: 1 MB as float32, which stays in a core's cache."""

_POISSON = np.searchsorted(stats.poisson.cdf(np.arange(20), 1.0), (np.arange(2**16) + 0.5) / 2**16).astype(np.float32)
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
    """Resample tasks and average every column: (n_resamples, n_columns), float32.

    columns : (n_tasks, n_columns) of any real dtype, one number per task (averaged over trials), none missing.
    block : resamples drawn at a time; it bounds the memory, and equal seeds give equal output for equal blocks.

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
    """Resample the tasks of each benchmark on their own (strata): (n_benchmarks, n_resamples, n_columns), float32.

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

    Every benchmark counts the same, whatever its number of tasks. Needs one benchmark's memory only.
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
    that of the task means over n (both with divisor m or n), which counts the interaction about three times where it is
    all there is: conservative. With few runs the divisor m matters, and percentiles cover too little below ten runs: use
    the standard error with a t quantile.
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
    """Draw the weights themselves, (n_resamples, n_tasks), for statistics that are no means of columns.

    Whole numbers, not normalised. The draws are those of `bootstrap_means` for an equal seed and block.
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
    """Write the weighted means of one benchmark, or add `share` of them."""
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
    if weights not in get_args(Weights):
        raise AnalysisError(f"`weights` must be one of {', '.join(get_args(Weights))}; got {weights!r}.")
    if n_tasks < 2:
        raise AnalysisError(f"weights need at least 2 tasks; got {n_tasks}. One task says nothing about others.")
    if block is None:
        block = max(_BLOCK_WEIGHTS // n_tasks, 1)
    if block < 1:
        raise AnalysisError(f"`block` must be at least 1 resample at a time; got {block}.")
    draw = _draw_poisson if weights == "poisson" else _draw_multinomial
    block = min(-(-block // 4) * 4, n_resamples)
    buffer, ones = np.empty((block, n_tasks), np.float32), np.ones(n_tasks, np.float32)
    for start in range(0, n_resamples, block):
        w = buffer[: min(block, n_resamples - start)]
        draw(w, rng)
        total = w @ ones
        while (empty := np.flatnonzero(total == 0)).size:
            # All weights 0 (chance exp(-n)): the mean is not defined, so the row is drawn again.
            again = np.empty((empty.size, n_tasks), np.float32)
            draw(again, rng)
            w[empty], total[empty] = again, again @ ones
        yield slice(start, start + len(w)), w, total


def _draw_poisson(w: NDArray[np.float32], rng: np.random.Generator) -> None:
    """Fill with Poisson(1) counts, two random bytes each. Whole 64-bit words are the fastest way to random bytes."""
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
            f"`columns` must be (n_tasks, n_columns) with at least 2 tasks; got shape {matrix.shape}. One task says "
            "nothing about others."
        )
    if not np.isfinite(matrix).all():
        raise AnalysisError(
            f"`columns` has {int((~np.isfinite(matrix)).sum())} numbers that are missing or infinite. Decide what an "
            "unscored trial counts before resampling."
        )
    return matrix


def _count(n_resamples: int) -> int:
    if n_resamples < 1:
        raise AnalysisError(f"`n_resamples` must be at least 1; got {n_resamples}.")
    return int(n_resamples)
