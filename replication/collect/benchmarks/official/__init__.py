"""Official benchmarks: one adapter per harness that plays and grades by itself; a benchmark that `episodes` plays, or code
of a harness, does not belong here."""

from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from replication import settings
from replication.collect import registry
from replication.collect.interfaces import Harness
from replication.errors import ConfigError
from replication.records import Json

if TYPE_CHECKING:
    from types import ModuleType

    from replication.collect.benchmarks.official.adapter import Needs
    from replication.collect.benchmarks.official.venvs import Recipe


def load(name: str, options: Mapping[str, Json] | None = None, key: str = "options") -> Harness:
    """Build the adapter of a harness by the name of its module.

    options : those of its dataclass `Options`; an unknown or ill-typed one raises ConfigError. key : their place in conf/.
    """
    module = registry.find(__name__, name, "build", "harness")
    harness: Harness
    if hasattr(module, "Options"):
        harness = module.build(settings.typed(module.Options, options or {}, key))
        return harness
    if options:
        raise ConfigError(f"harness `{name}` has no options; got `{key}` with {', '.join(options)}. Leave them out.")
    harness = module.build()
    return harness


def needs() -> "dict[str, Needs]":
    """Return what each harness that can be launched needs to run, by the name of its module."""
    return {name: module.needs() for name, module in _modules().items() if hasattr(module, "needs")}


def recipes() -> "dict[str, Recipe]":
    """Return the environment of each harness that has one, by the name of its module; two may share one."""
    return {name: module.RECIPE for name, module in _modules().items() if hasattr(module, "RECIPE")}


def _modules() -> "dict[str, ModuleType]":
    names = sorted(path.stem for path in Path(__file__).parent.glob("*.py") if path.stem != "__init__")
    return {name: import_module(f"{__name__}.{name}") for name in names}
