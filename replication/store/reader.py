"""The one strict reader of the JSON records on disk."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TypeVar

from replication.errors import ReplicationError, StoreError
from replication.records import SCHEMA_VERSION, from_json

R = TypeVar("R")


def read_record(path: Path, kind: type[R], *, remedy: str, error: type[ReplicationError] = StoreError) -> R:
    """Read a file that holds one versioned record of records.py.

    A missing file raises FileNotFoundError; anything else that is wrong raises `error` with the file, the version or key
    that does not fit, and the remedy.
    """
    try:
        value = json.loads(path.read_bytes().decode("utf-8", "surrogatepass"))
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
