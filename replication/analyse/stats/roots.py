"""Roots of functions of one number by bisection, without importing `scipy.optimize`, which takes a fifth of a second."""

from collections.abc import Callable


def decreasing_root(function: Callable[[float], float], low: float, high: float, *, steps: int | None = None) -> float:
    """Find where a function that is above 0 at `low` and not at `high` stops being above 0, to neighbouring floats.

    steps : halvings at most, for a function that is slow; None: as many as it takes.
    """
    while low < (middle := (low + high) / 2) < high and steps != 0:
        low, high = (middle, high) if function(middle) > 0 else (low, middle)
        steps = None if steps is None else steps - 1
    return high
