"""Scaffolds: prompts, tool rendering and parser around a model; one file each, one episode loop for all."""

from replication.errors import ConfigError
from replication.interfaces import Scaffold


def load(name: str) -> Scaffold:
    """Find a scaffold by name."""
    from replication.scaffolds.compact import Compact

    known = {"compact": Compact}
    if name not in known:
        raise ConfigError(f"`scaffold` {name!r} is unknown; allowed: {', '.join(sorted(known))}.")
    return known[name]()
