"""Hydra's side of the settings: the schema that it composes into, and its errors as one of ours."""

import dataclasses
import functools
import os
import re
import traceback
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Union, cast, get_args, get_origin, get_type_hints

from omegaconf.errors import KeyValidationError, OmegaConfBaseException

from replication.errors import ConfigError, ReplicationError
from replication.settings import schema
from replication.settings.schema import Root

FULL_ERROR = "HYDRA_FULL_ERROR"
MAX_MESSAGE = 500
_AS_WRITTEN = "_as_written"


def register() -> None:
    """Register the schema with Hydra under the name `root`, which conf/config.yaml uses."""
    from hydra.core.config_store import ConfigStore

    ConfigStore.instance().store(name="root", node=_as_written(Root))


@contextmanager
def clear_errors() -> Iterator[None]:
    """Raise any error of composing as one ConfigError of one line; with HYDRA_FULL_ERROR=1 it keeps its traceback.

    Errors of the job that Hydra runs pass unchanged.
    """
    if os.environ.get(FULL_ERROR) == "1":
        yield
        return
    os.environ[FULL_ERROR] = "1"  # otherwise Hydra prints its errors itself
    try:
        yield
    except Exception as error:  # for some overrides Hydra and OmegaConf raise TypeError, ValueError and others
        if isinstance(error, ReplicationError) or _in_job(error):
            raise
        raise ConfigError(message(error)) from error
    finally:
        del os.environ[FULL_ERROR]


def _in_job(error: BaseException) -> bool:
    return any(frame.f_code.co_name == "run_job" for frame, _ in traceback.walk_tb(error.__traceback__))


def message(error: BaseException) -> str:
    """Write an error of Hydra, OmegaConf or YAML in one line, with its cause."""
    cause = error.__cause__
    parts = [
        str(error),
        str(cause) if isinstance(cause, OmegaConfBaseException) and str(cause) not in str(error) else "",
    ]
    text = " ".join(" ".join(parts).split())
    text = re.sub(r" ?(reference_type=|object_type=|See https:|Config search path:).*", "", text)
    text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    if len(text) > MAX_MESSAGE:
        text = f"{text[:MAX_MESSAGE]}..."
    if re.search(r"@models\.\S+ appears more than once", text):
        text += (
            ". A study has one pair of each general model: leave one out, or plan it as another study; runs that both have "
            "are played once"
        )
    if isinstance(error, KeyValidationError) or isinstance(cause, KeyValidationError):
        text += ". A key that YAML reads as a number, true, false or null must be quoted."
    return f"the settings cannot be composed: {text}"


@functools.cache
def _as_written(kind: type) -> type:
    """Copy a dataclass of the schema with texts and truth values of any type.

    OmegaConf would turn the scale 0.50 into the text "0.5" and the number 2 into true; left as YAML reads them, the
    conversion to the schema sees that quotes are missing.
    """
    hints = get_type_hints(kind)
    fields = []
    for field in dataclasses.fields(cast(Any, kind)):
        hint = _written(hints[field.name])
        if dataclasses.is_dataclass(hint):
            default = dataclasses.field(default_factory=cast(type, hint))
        elif field.default_factory is not dataclasses.MISSING:
            default = dataclasses.field(default_factory=field.default_factory)
        else:
            default = dataclasses.field(default=field.default)
        fields.append((field.name, hint, default))
    made = dataclasses.make_dataclass(kind.__name__, fields)
    # A name by which `__getattr__` finds it: a launcher of Hydra pickles the schema for its jobs, and a class without one
    # would be pickled by value, with another `dataclasses.MISSING`.
    made.__module__, made.__qualname__ = __name__, f"{kind.__name__}{_AS_WRITTEN}"
    return made


def __getattr__(name: str) -> type:
    if name.endswith(_AS_WRITTEN) and name != _AS_WRITTEN:
        return _as_written(getattr(schema, name.removesuffix(_AS_WRITTEN)))
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _written(hint: Any) -> Any:
    if hint in (str, bool):
        return Any
    if dataclasses.is_dataclass(hint):
        return _as_written(cast(type, hint))
    origin, parts = get_origin(hint), get_args(hint)
    if origin is list:
        return list[_written(parts[0])]  # type: ignore[misc]
    if origin is dict:
        return dict[str, _written(parts[1])]  # type: ignore[misc]
    if origin in (Union, types.UnionType):
        inner = _written(next(part for part in parts if part is not types.NoneType))
        return Any if inner is Any else inner | None
    return hint
