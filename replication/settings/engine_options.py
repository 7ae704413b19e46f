"""Read single numbers from `engine.options`, whose shape only the kind of engine knows, for plans made without an engine."""

import math
from collections.abc import Mapping
from typing import Any

from replication.errors import ConfigError
from replication.settings.schema import Engine


def positive(engine: Engine, name: str, default: float) -> float:
    """Return a positive number of the engine's options; ConfigError if it is something else.

    name : with a dot where it is nested, such as `llm.gpu_memory_utilization`.
    default : returned where the option is missing or null.
    """
    value: Any = engine.options
    for key in name.split("."):
        if value is None:
            return default
        if not isinstance(value, Mapping):
            raise ConfigError(
                f"`engine.options` must have mappings above `{name}`; got {str(value)[:80]!r}. Fix conf/engine."
            )
        value = value.get(key)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < 1e9 or math.isnan(value):
        raise ConfigError(
            f"`engine.options.{name}` must be a positive number; got {str(value)[:80]!r}. Fix conf/engine."
        )
    return float(value)


def parallel_size(engine: Engine) -> int:
    """Return the GPUs over which the engine splits each matrix, 1 unless `llm.tensor_parallel_size` says more."""
    return max(int(positive(engine, "llm.tensor_parallel_size", 1)), 1)
