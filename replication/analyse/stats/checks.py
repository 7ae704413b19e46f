"""Check arguments of statistical functions; every error names the argument, the value and what is allowed."""

from collections.abc import Collection, Iterable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from replication.errors import AnalysisError


def probability(**arguments: float) -> None:
    """Require numbers strictly between 0 and 1, such as a confidence level, alpha or power."""
    for name, value in arguments.items():
        if not 0 < value < 1:
            raise AnalysisError(f"`{name}` must lie between 0 and 1; got {value}.")


def one_sided_level(**arguments: float) -> None:
    """Require numbers strictly between 0 and .5, the levels of one-sided tests."""
    for name, value in arguments.items():
        if not 0 < value < 0.5:
            raise AnalysisError(f"`{name}` is one-sided and must lie between 0 and .5; got {value}.")


def fraction(**arguments: ArrayLike) -> None:
    """Require numbers from 0 to 1, both included; arrays elementwise."""
    within(0, 1, **arguments)


def within(low: float, high: float, **arguments: ArrayLike) -> None:
    """Require numbers from `low` to `high`, both included; arrays elementwise."""
    for name, value in arguments.items():
        array = np.asarray(value, float)
        if not ((array >= low) & (array <= high)).all():
            raise AnalysisError(f"`{name}` must lie in [{low}, {high}]; got {_text(value)}.")


def positive(**arguments: ArrayLike) -> None:
    """Require finite numbers above 0; arrays elementwise and not empty."""
    finite(**arguments)
    for name, value in arguments.items():
        if not (np.asarray(value, float) > 0).all():
            raise AnalysisError(f"`{name}` must be above 0; got {_text(value)}.")


def not_negative(**arguments: ArrayLike) -> None:
    """Require finite numbers of at least 0; arrays elementwise and not empty."""
    at_least(0, **arguments)


def at_least(least: float, **arguments: ArrayLike) -> None:
    """Require finite numbers of at least `least`; arrays elementwise and not empty."""
    finite(**arguments)
    for name, value in arguments.items():
        if not (np.asarray(value, float) >= least).all():
            raise AnalysisError(f"`{name}` must be at least {least}; got {_text(value)}.")


def finite(**arguments: ArrayLike) -> None:
    """Require numbers of which none is missing or infinite; arrays not empty."""
    for name, value in arguments.items():
        array = np.asarray(value, float)
        if array.size == 0 or not np.isfinite(array).all():
            n_bad = int((~np.isfinite(array)).sum())
            raise AnalysisError(
                f"`{name}` must be finite and not empty; got {_text(value)}, {n_bad} of {array.size} missing or infinite."
            )


def same_shape(**arrays: ArrayLike) -> None:
    """Require arrays of one shape."""
    shapes = [np.shape(array) for array in arrays.values()]
    if len(set(shapes)) > 1:
        raise AnalysisError(
            f"{_listed([f'`{name}`' for name in arrays])} must have the same shape; got {_listed(map(str, shapes))}."
        )


def vector(name: str, values: ArrayLike, *, least: int = 1) -> NDArray[np.float64]:
    """Return `values` as an array (n,) of finite numbers, n at least `least`."""
    array = np.asarray(values, float)
    if array.ndim != 1 or array.size < least:
        raise AnalysisError(f"`{name}` must be (n,) with n of at least {least}; got shape {array.shape}.")
    finite(**{name: array})
    return array


def choice(allowed: Collection[str], **arguments: str) -> None:
    """Require one of the allowed names."""
    for name, value in arguments.items():
        if value not in allowed:
            raise AnalysisError(f"`{name}` must be one of {', '.join(allowed)}; got {value!r}.")


def _text(value: ArrayLike) -> str:
    array = np.asarray(value)
    return str(value) if array.ndim == 0 else np.array2string(array, separator=", ", threshold=20)


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}"
