"""Finds a part by its name: the module of that name in the folder of its kind, with no list to keep."""

import pkgutil
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from replication.errors import ConfigError


def find(package: str, name: str, attribute: str, key: str) -> Any:
    """Return module `name` of a package; a module without the attribute is a helper, not a part.

    key : the setting that holds the name. An unknown name raises ConfigError, which lists the known ones.
    """
    if name.isidentifier() and find_spec(f"{package}.{name}"):
        module = import_module(f"{package}.{name}")
        if hasattr(module, attribute):
            return module
    names = [module.name for module in pkgutil.iter_modules(import_module(package).__path__)]
    known = sorted(name for name in names if hasattr(import_module(f"{package}.{name}"), attribute))
    raise ConfigError(
        f"`{key}` {name!r} is unknown; allowed: {', '.join(known) or 'none yet'}. Fix conf/ or the command line."
    )
