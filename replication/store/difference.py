"""What differs between two runs, or between two studies: their manifests or indexes, value by value, in groups."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from replication.masking import masked
from replication.records import Collected, Json, Manifest, StudyIndex, canonical_json, stable_hash, to_json

GROUPS = ("identity", "engine", "environment", "outcome")
ABSENT = "absent"
MAX_TEXT = 60
"""Characters of a value that are shown."""
_ENVIRONMENT = ("environment", "hardware", "python", "hosts", "n_servers")
"""Keys of an engine's description that belong to the machine."""


class Difference(NamedTuple):
    """One value that is not the same on both sides."""

    group: str
    """One of `GROUPS`."""
    key: str
    a: str
    b: str


def of_runs(a: Manifest, b: Manifest) -> list[Difference]:
    """List the differences between two runs.

    Identity: settings, labels and tasks. Engine: the last session's. Environment: machine, and versions and commit of the
    code. Outcome: stop reasons, tokens and checks. Times, energy and cost never agree and are not compared.
    """
    return _compare(_groups_of_run(a), _groups_of_run(b))


def of_studies(a: StudyIndex, b: StudyIndex) -> list[Difference]:
    """List the differences between the indexes of two studies: settings and runs, engine, repeats and training."""
    return _compare(_groups_of_study(a), _groups_of_study(b))


def _groups_of_run(manifest: Manifest) -> dict[str, Json]:
    spec, last = to_json(manifest.spec), manifest.sessions[-1].engine if manifest.sessions else {}
    taken = manifest.collected[-1] if manifest.collected else None
    code = None if taken is None else {"code": taken.code, "gpus": list(taken.gpus)}
    return {
        "identity": {**spec, "labels": to_json(manifest.labels), "tasks": _tasks(manifest)},
        "engine": {**_engine(last), "tool_syntax": None if taken is None else taken.tool_syntax},
        "environment": {**_machine(last), **(code or {})},
        "outcome": {"checks": to_json(manifest.checks), "collected": _outcome(manifest.collected)},
    }


def _groups_of_study(index: StudyIndex) -> dict[str, Json]:
    fields = {name: value for name, value in to_json(index).items() if name != "schema_version"}
    training = {run.record.training_run: _lasting(to_json(run.record)) for run in index.training}
    engine, checks = fields.pop("engine"), fields.pop("repeat_checks")
    runs = {name: dict.fromkeys(fields.pop(name), "listed") for name in ("run_ids", "probe_run_ids")}
    return {
        "identity": {**fields, **runs, "training": training},
        "engine": _engine(engine), "environment": _machine(engine), "outcome": {"checks": checks},
    }  # fmt: skip


def _tasks(manifest: Manifest) -> str:
    return f"{len(manifest.tasks)} tasks with hash {stable_hash(manifest.tasks, 12)}"


def _lasting(record: dict[str, Json]) -> dict[str, Json]:
    return {name: value for name, value in record.items() if name not in ("wall_s", "joules", "schema_version")}


def _engine(description: Mapping[str, Json]) -> dict[str, Json]:
    return {key: value for key, value in description.items() if key not in _ENVIRONMENT}


def _machine(description: Mapping[str, Json]) -> dict[str, Json]:
    return {key: value for key, value in description.items() if key in _ENVIRONMENT}


def _outcome(collected: tuple[Collected, ...]) -> Json:
    reasons: Counter[str] = Counter()
    for one in collected:
        reasons.update(one.stop_reasons)
    return {
        "stop_reasons": dict(reasons),
        "n_prompt_tokens": sum(one.n_prompt_tokens for one in collected),
        "n_completion_tokens": sum(one.n_completion_tokens for one in collected),
    }


def _compare(a: Mapping[str, Json], b: Mapping[str, Json]) -> list[Difference]:
    differences = []
    for group in GROUPS:
        # A manifest of another version may hold a key.
        one, other = dict(_flat(masked(a[group]))), dict(_flat(masked(b[group])))
        differences += [
            Difference(group, key, _short(one.get(key, ABSENT)), _short(other.get(key, ABSENT)))
            for key in sorted({*one, *other})
            if one.get(key, ABSENT) != other.get(key, ABSENT)
        ]
    return differences


def _flat(value: Json, prefix: str = "") -> Iterator[tuple[str, str]]:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = to_json(value)
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, value if isinstance(value, str) else canonical_json(value)


def _short(text: str) -> str:
    """Cut a long text; hashes differ at their beginning."""
    text = text if text.isprintable() else ascii(text)
    return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}..."
