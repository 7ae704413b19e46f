"""Benchmarks, found by name: tasks with their environments and graders; prompts, parsers and models belong elsewhere."""

from importlib import import_module
from typing import cast

from replication.collect.interfaces import Benchmark
from replication.errors import ConfigError

KINDS = ("suite",)
"""Packages below this one; each has `NAMES`, the benchmarks in it, and `load(name)`. A new kind is one entry here."""


def load(name: str) -> Benchmark:
    """Return the benchmark of this name; raises ConfigError for an unknown name."""
    packages = [import_module(f"{__name__}.{kind}") for kind in KINDS]
    for package in packages:
        if name in package.NAMES:
            return cast(Benchmark, package.load(name))
    allowed = ", ".join(name for package in packages for name in package.NAMES)
    raise ConfigError(f"`benchmark` {name!r} is unknown; allowed: {allowed}. Fix the name in conf/.")
