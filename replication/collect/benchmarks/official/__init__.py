"""Official benchmarks: one adapter per harness that plays and grades by itself; a benchmark that `episodes` plays, or code
of a harness, does not belong here."""

from replication.collect import registry
from replication.collect.interfaces import Harness


def load(name: str) -> Harness:
    """Build the adapter of a harness by the name of its module."""
    harness: Harness = registry.find(__name__, name, "build", "harness").build()
    return harness
