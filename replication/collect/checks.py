"""Checks of collected runs: repeated trials, and differences between engines."""

from array import array
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from replication.masking import masked
from replication.records import UNSCORED_REASONS, Json, RepeatCheck, canonical_json
from replication.store import Store

CHECKPOINT = "checkpoint"
"""Key of an engine's description with the hashes of the files that it served."""
MEASURED = "measured"
"""Key of an official harness's description with what it measured, such as counts of requests."""
DEVIATIONS = "deviations"
"""Key of an official harness's description with what it did otherwise than its run states, as texts."""


def repeat_check(store: Store, run_id: str, temperature: float) -> RepeatCheck:
    """Check that repeated trials of a task differ when sampling and agree when greedy, and count distinct seeds.

    A program that sends one seed for all repeats shows no run-to-run noise; this check detects it.
    """
    first_text: dict[str, str] = {}
    repeated: set[str] = set()
    differing: set[str] = set()
    seeds = array("q")  # 8 bytes each: a run may have a million episodes
    for of_episode in store.seeds(run_id):
        seeds.extend(of_episode)
    # Texts are compared between attempts at one task; where each has one, their seeds are enough.
    for episode in store.episodes(run_id, trajectories=True) if store.has_repeats(run_id) else ():
        if episode.stop_reason in UNSCORED_REASONS:
            continue
        text = "\x00".join(m.thinking + m.content for m in episode.trajectory if m.role == "assistant")
        if episode.task_id in first_text:
            repeated.add(episode.task_id)
        if text != first_text.setdefault(episode.task_id, text):
            differing.add(episode.task_id)
    return RepeatCheck(
        n_tasks_repeated=len(repeated),
        n_tasks_where_trials_differ=len(differing),
        n_seeds=len(seeds),
        n_distinct_seeds=len(np.unique(np.frombuffer(seeds, np.int64))) if seeds else 0,
        as_expected=not repeated or (not differing if temperature == 0 else bool(differing)),
    )


def engine_differences(store: Store, run_ids: Sequence[str]) -> list[str]:
    """List the differences between the engines that took part in these runs, such as a version or a changed default.

    Deviations that an official harness states for its runs come first; what it measured is left out.
    They are listed among the deviations of each verdict; empty if all engines were equal.
    """
    values_of: dict[str, set[str]] = {}
    engines = [session.engine for run_id in run_ids for session in store.manifest(run_id).sessions]
    # A manifest of another version may hold a key; checkpoints differ by design.
    left_out = (CHECKPOINT, MEASURED, DEVIATIONS)
    described = [dict(_flat(masked({k: v for k, v in engine.items() if k not in left_out}))) for engine in engines]
    stated = dict.fromkeys(f"{engine['harness']}: {text}" for engine in engines for text in _stated(engine))
    for key in {key for one in described for key in one}:
        values_of[key] = {one.get(key, "absent") for one in described}
    differences = [
        f"engine `{key}` was not the same in all runs: {', '.join(sorted(values))}"
        for key, values in sorted(values_of.items())
        if len(values) > 1
    ]
    return [*stated, *differences]


def _stated(engine: Mapping[str, Json]) -> list[Json]:
    stated = engine.get(DEVIATIONS)
    return stated if isinstance(stated, list) else []


def changes(stored: Mapping[str, Json], now: Mapping[str, Json]) -> list[str]:
    """List the settings in which two descriptions of an engine differ, as `key: stored, now`."""
    a, b = dict(_flat(masked(stored))), dict(_flat(masked(now)))
    differ = [key for key in sorted({*a, *b}) if a.get(key) != b.get(key)]
    return [f"{key}: {a.get(key, 'absent')}, {b.get(key, 'absent')}" for key in differ]


def _flat(value: Json, prefix: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{prefix}.{key}" if prefix else key)
    else:
        yield prefix, canonical_json(value)
