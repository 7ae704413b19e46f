"""Scaffolds: prompts, tool rendering and parser around a model; one file each, one episode loop for all."""

from collections.abc import Callable

from replication.collect.interfaces import Scaffold
from replication.errors import ConfigError


def load(name: str, tool_syntax: str = "hermes") -> Scaffold:
    """Find a scaffold by name; `tool_syntax` is how the model's family writes calls, which only `native` asks."""
    from replication.collect.scaffolds.compact import Compact
    from replication.collect.scaffolds.json import JsonObjects
    from replication.collect.scaffolds.native import Native
    from replication.collect.scaffolds.probe import Probe
    from replication.collect.scaffolds.react import React

    known: dict[str, Callable[[], Scaffold]] = {
        "compact": Compact,
        "json": JsonObjects,
        "native": lambda: Native(tool_syntax),
        "probe": Probe,
        "react": React,
    }
    if name not in known:
        raise ConfigError(f"`scaffold` {name!r} is unknown; allowed: {', '.join(sorted(known))}.")
    return known[name]()
