"""Finds a part by name: a module in the folder of its kind; there is no list to maintain."""

import pkgutil
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from replication.errors import ConfigError


def find(package: str, name: str, attribute: str, key: str) -> ModuleType:
    """Return module `name` of a package; a module without the attribute is a helper, not a part.

    key : the setting that has the name. ConfigError for an unknown name lists the allowed ones.
    """
    if name.isidentifier() and find_spec(f"{package}.{name}"):
        module = import_module(f"{package}.{name}")
        if hasattr(module, attribute):
            return module
    modules = [module.name for module in pkgutil.iter_modules(import_module(package).__path__)]
    allowed = sorted(module for module in modules if hasattr(import_module(f"{package}.{module}"), attribute))
    raise ConfigError(
        f"`{key}` {name!r} is unknown; allowed: {', '.join(allowed) or 'none yet'}. Fix conf/ or the command line."
    )
