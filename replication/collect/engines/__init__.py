"""Engines: one module per kind, which turns requests into text; prompts, parsing and episodes do not belong here."""

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from replication import settings
from replication.collect import registry
from replication.collect.interfaces import Engine, EngineKind, Place
from replication.records import Json, canonical_json


def load(kind: str, *, dtype: str, context: int, options: Mapping[str, Json]) -> Engine:
    """Build an engine by the name of its module; nothing is started before a checkpoint is loaded.

    dtype : of the weights.
    context : longest prompt plus reply, tokens.
    options : those of the kind; an unknown, missing or ill-typed one raises ConfigError.
    """
    entry = _find(kind)
    return entry.build(dtype, context, settings.typed(entry.options, options, "engine.options"))


def places(kind: str, options: Mapping[str, Json], n: int) -> Sequence[Place]:
    """Return where each of `n` engines side by side runs; ConfigError if that is impossible. Nothing is started."""
    entry = _find(kind)
    return entry.place(settings.typed(entry.options, options, "engine.options"), n)


def text_options(kind: str, options: Mapping[str, Json]) -> dict[str, Json]:
    """Return the options that can change an episode, defaults included: all but the kind's `speed_only`."""
    return _text_options(kind, canonical_json(options))


@functools.lru_cache(maxsize=8)
def _text_options(kind: str, options: str) -> dict[str, Json]:
    # Every run of a study asks for the same options, and checking them takes milliseconds.
    entry = _find(kind)
    checked = settings.typed(entry.options, json.loads(options), "engine.options")
    # An option that came later is left out at its default, so that earlier runs keep their run_id.
    later = {f.name for f in dataclasses.fields(checked) if f.metadata.get("omit_default")}
    values = {
        name: value
        for name, value in dataclasses.asdict(checked).items()
        if name not in later or value != getattr(entry.options, name)
    }
    return _without(values, entry.speed_only)


def _find(kind: str) -> EngineKind[Any]:  # the type of the options depends on the name
    entry: EngineKind[Any] = registry.find(__name__, kind, "KIND", "engine.kind").KIND
    return entry


def _without(values: Mapping[str, Json], names: frozenset[str], prefix: str = "") -> dict[str, Json]:
    return {
        key: _without(value, names, f"{prefix}{key}.") if isinstance(value, dict) else value
        for key, value in values.items()
        if prefix + key not in names
    }
