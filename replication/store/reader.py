"""Strict reading of the JSON records on disk."""

from __future__ import annotations

import dataclasses
import functools
import json
import types
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar

from replication.errors import ReplicationError, StoreError
from replication.records import SCHEMA_VERSION, Json

R = TypeVar("R")


def read_record(path: Path, kind: type[R], *, remedy: str, error: type[ReplicationError] = StoreError) -> R:
    """Read a file that holds one versioned record of records.py.

    A missing file raises FileNotFoundError. Invalid JSON, another schema version, and missing, unknown or ill-typed keys
    raise `error` with the file and the remedy.
    """
    try:
        value = json.loads(path.read_bytes().decode("utf-8", "surrogatepass"), parse_constant=_refuse_constant)
    except ValueError as problem:
        raise error(f"`{path}` is not JSON ({problem}). {remedy}") from None
    version = value.get("schema_version") if isinstance(value, dict) else None
    if version != SCHEMA_VERSION:
        stated = "no schema version" if version is None else f"schema version {version!r}"
        raise error(
            f"`{path}` has {stated}; this package reads {SCHEMA_VERSION}. {remedy} "
            f"The version of this package that wrote the file can still read it."
        )
    try:
        return from_json(kind, value)
    except ValueError as problem:
        raise error(f"`{path}` is not a {kind.__name__} of this package: {problem}. {remedy}") from None


def _refuse_constant(name: str) -> Json:
    raise ValueError(f"{name} is not a JSON number")


def from_json(kind: type[R], value: Json) -> R:
    """Build a record from plain dicts and lists; the inverse of `to_json`.

    ValueError if a field is missing or unknown, or a value does not have the field's type.
    """
    return _read(kind, value, kind.__name__)


# `Any` below: type hints are run-time objects without a common type.
_hints = functools.cache(typing.get_type_hints)


@functools.cache
def _parts(hint: Any) -> tuple[Any, tuple[Any, ...], bool]:
    return typing.get_origin(hint), typing.get_args(hint), dataclasses.is_dataclass(hint)


@functools.cache
def _names(kind: Any) -> tuple[frozenset[str], frozenset[str]]:
    """Return the names of all fields, and of those that may be left out."""
    fields = dataclasses.fields(kind)
    return frozenset(f.name for f in fields), frozenset(f.name for f in fields if f.metadata.get("omit_default"))


def _read(hint: Any, value: Json, where: str) -> Any:
    if hint is Any:
        return value
    origin, arguments, is_record = _parts(hint)
    if is_record:
        return _read_record(hint, value, where)
    if origin in (typing.Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        (hint,) = (one for one in arguments if one is not type(None))
        return _read(hint, value, where)
    if origin is Literal and value in arguments:
        return value
    if origin is Mapping and isinstance(value, dict):
        return {key: _read(arguments[1], inner, f"{where}.{key}") for key, inner in value.items()}
    if origin is tuple and isinstance(value, list):
        inner_hints = arguments[:1] * len(value) if arguments[-1] is Ellipsis else arguments
        if len(inner_hints) == len(value):
            pairs = enumerate(zip(inner_hints, value, strict=True))
            return tuple(_read(inner_hint, inner, f"{where}[{at}]") for at, (inner_hint, inner) in pairs)
    if hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if hint in (int, str, bool) and type(value) is hint:
        return value
    raise ValueError(f"`{where}` must be {getattr(hint, '__name__', hint)}; got {value!r:.80}")


def _read_record(kind: Any, value: Json, where: str) -> Any:
    if not isinstance(value, dict):
        raise ValueError(f"`{where}` must be an object; got {value!r:.80}")
    names, optional = _names(kind)
    unknown, missing = sorted(value.keys() - names), sorted(names - optional - value.keys())
    if unknown or missing:
        lists = [
            f"{word} {', '.join(map(repr, keys))}"
            for word, keys in (("unknown", unknown), ("missing", missing))
            if keys
        ]
        raise ValueError(f"`{where}` has keys that do not fit: {'; '.join(lists)}")
    hints = _hints(kind)
    return kind(**{name: _read(hints[name], value[name], f"{where}.{name}") for name in names & value.keys()})
