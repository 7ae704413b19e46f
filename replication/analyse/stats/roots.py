"""Roots of functions of one number by bisection, without importing `scipy.optimize`, which takes a fifth of a second."""

from collections.abc import Callable


def decreasing_root(function: Callable[[float], float], low: float, high: float) -> float:
    """Find where a function that is above 0 at `low` and not at `high` stops being above 0, to neighbouring floats."""
    while low < (middle := (low + high) / 2) < high:
        low, high = (middle, high) if function(middle) > 0 else (low, middle)
    return high
