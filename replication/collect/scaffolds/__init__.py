"""Scaffolds: one module each with prompts, tool rendering and parser around a model; the episode loop is not here."""

from replication.collect import registry
from replication.collect.interfaces import Scaffold


def load(name: str, tool_syntax: str = "hermes") -> Scaffold:
    """Build a scaffold by the name of its module.

    tool_syntax : how the model's family writes calls; only `native` uses it.
    """
    scaffold: Scaffold = registry.find(__name__, name, "build", "scaffold").build(tool_syntax)
    return scaffold
