"""Convert plain values to a dataclass of the schema; every type, range, choice, name and key is checked on the way."""

import dataclasses
import difflib
import functools
import math
import types
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from omegaconf import MISSING

from replication.errors import ConfigError
from replication.records import Json
from replication.settings.limits import Kind, Limits, of, problem

Schema = TypeVar("Schema")

REMEDY = "Fix conf/ or the command line."


def typed(schema: type[Schema], values: Mapping[str, Json], key: str) -> Schema:
    """Convert a mapping to an instance of a plain dataclass; ConfigError names the first key that is wrong.

    key : position of the mapping in conf/, for messages; empty at the root.
    """
    fields = {field.name: field for field in dataclasses.fields(cast(Any, schema))}
    unknown = sorted(set(map(str, values)) - set(fields))
    if unknown:
        named = "`, `".join(_at(key, name) for name in unknown)
        raise ConfigError(f"no key `{named}`; {hint_at(unknown[0], fields)} {REMEDY}")
    hints = _hints(cast(Any, schema))
    converted = {name: _field(hints[name], field, values, _at(key, name)) for name, field in fields.items()}
    return schema(**converted)


@functools.cache
def _hints(schema: Any) -> dict[str, Any]:
    return get_type_hints(schema)


def _at(key: str, name: object) -> str:
    return f"{key}.{name}" if key else str(name)


def hint_at(value: str, allowed: Iterable[str]) -> str:
    """Name the allowed value that is probably meant, then all of them."""
    allowed = list(allowed)
    meant = difflib.get_close_matches(value, allowed, n=1)
    listed = f"allowed: {', '.join(allowed) or 'none'}."
    return f"{listed} Did you mean `{meant[0]}`?" if meant else listed


def _field(hint: Any, field: "dataclasses.Field[Any]", values: Mapping[str, Json], key: str) -> Any:
    if field.name in values and values[field.name] != MISSING:
        return _value(hint, of(field), values[field.name], key)
    if field.name not in values and dataclasses.is_dataclass(hint):
        return typed(cast(type[Any], hint), {}, key)
    if field.name not in values and field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    if field.name not in values and field.default not in (dataclasses.MISSING, MISSING):
        return field.default
    raise ConfigError(f"no value for `{key}`. Set it in conf/ or on the command line.")


def _value(hint: Any, limits: Limits, value: Json, key: str) -> Any:
    origin, parts = get_origin(hint), get_args(hint)
    if hint is Any:
        return _plain(value, key)
    if origin in (Union, types.UnionType):
        inner = next(part for part in parts if part is not types.NoneType)
        return None if value is None else _value(inner, limits, value, key)
    if value is None:
        raise ConfigError(f"`{key}` must have a value; got null. {REMEDY}")
    if dataclasses.is_dataclass(hint):
        return typed(cast(type[Any], hint), _mapping(value, key), key)
    if origin is dict:
        entries = _mapping(value, key)
        if parts[1] is not Any:
            check_keys(entries, limits.keys, key)
        return {name: _value(parts[1], limits, entry, _at(key, name)) for name, entry in entries.items()}
    if origin is list:
        return _list(parts[0], limits, value, key)
    return {str: _text, bool: _truth, int: _whole, float: _real}[hint](value, limits, key)


def check_keys(keys: Iterable[str], kind: Kind, key: str) -> None:
    """Check the keys of a mapping: each is legal, and no two differ only in case, since their files would be the same."""
    seen: dict[str, str] = {}
    for name in keys:
        rule = problem(name, kind)
        if rule:
            raise ConfigError(f"`{key}` has the key {_short(name)}, but {rule}. {REMEDY}")
        other = seen.setdefault(name.casefold(), name)
        if other != name:
            raise ConfigError(f"`{key}` has the keys `{other}` and `{name}`, which differ only in case. Rename one.")


def _mapping(value: Json, key: str) -> Mapping[str, Json]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"`{key}` must be a mapping of keys to values; got {_short(value)}. {REMEDY}")
    for name in value:
        if not isinstance(name, str):
            raise ConfigError(f"`{key}` has the key {name!r}, which YAML reads as {_read_as(name)}. Quote it.")
    return value


def _list(hint: Any, limits: Limits, value: Json, key: str) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise ConfigError(f"`{key}` must be a list; got {_short(value)}. {REMEDY}")
    items = [_value(hint, limits, item, f"{key}[{at}]") for at, item in enumerate(value)]
    if len(items) < limits.least:
        raise ConfigError(f"`{key}` must have at least {limits.least} entries; got {_short(value)}. {REMEDY}")
    if limits.distinct and any(items.index(item) < at for at, item in enumerate(items)):
        what = "a seed" if key.endswith("seeds") else "an entry"
        raise ConfigError(f"`{key}` {_short(value)} names {what} twice. {REMEDY}")
    return items


def _text(value: Json, limits: Limits, key: str) -> str:
    if isinstance(value, bool | int | float):
        raise ConfigError(
            f"`{key}` is {value!r}, {_read_as(value)} to YAML; a text is needed. Quote it: {key.split('.')[-1]}: "
            f'"..." in conf/, \'{key}="..."\' on the command line.'
        )
    if not isinstance(value, str):
        raise ConfigError(f"`{key}` must be a text; got {_short(value)}. {REMEDY}")
    if limits.choices and value not in limits.choices:
        raise ConfigError(f"`{key}` is {_short(value)}; {hint_at(value, limits.choices)} {REMEDY}")
    if limits.choices or (limits.empty and value == ""):
        return value
    rule = problem(value, limits.kind)
    if rule:
        raise ConfigError(f"`{key}` is {_short(value)}, but {rule}. {REMEDY}")
    return _expanded(value, key) if limits.kind == "path" else value


def _expanded(value: str, key: str) -> str:
    if not value.startswith("~"):
        return value
    try:
        return str(Path(value).expanduser())
    except RuntimeError:
        raise ConfigError(f"`{key}` is {value!r}, but there is no such home folder. {REMEDY}") from None


def _truth(value: Json, limits: Limits, key: str) -> bool:
    if not isinstance(value, bool):
        raise ConfigError(f"`{key}` must be true or false; got {_short(value)}. {REMEDY}")
    return value


def _whole(value: Json, limits: Limits, key: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise ConfigError(f"`{key}` must be a whole number; got {_short(value)}. {REMEDY}")
    _check_range(value, limits, key)
    return value


def _real(value: Json, limits: Limits, key: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"`{key}` must be a number; got {_short(value)}. {REMEDY}")
    _check_range(value, limits, key)
    return float(value)


def _check_range(value: float, limits: Limits, key: str) -> None:
    if not limits.contain(value):
        raise ConfigError(f"`{key}` must be in {limits.interval()}; got {_short(value)}. {REMEDY}")


def _plain(value: Json, key: str) -> Json:
    """Check values that the schema leaves open, such as further arguments of an engine: JSON, with finite numbers."""
    if isinstance(value, Mapping):
        return {name: _plain(entry, _at(key, name)) for name, entry in _mapping(value, key).items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{key}[{at}]") for at, item in enumerate(value)]
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise ConfigError(f"`{key}` must be a text, a finite number, true, false or null; got {_short(value)}. {REMEDY}")


def _read_as(value: object) -> str:
    if value is None:
        return "null"
    return "true or false" if isinstance(value, bool) else "a number"


def _short(value: object) -> str:
    try:
        shown = repr(value)
    except ValueError:  # an integer of thousands of digits
        shown = "a number of thousands of digits"
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
