"""List what differs between two runs or two studies: `python -m replication diff A B [results=results]`.

A and B are two run ids of the store, two collected or frozen studies, or two paths: manifest.json of a run or of a frozen
study, the index of a study, or a folder with a manifest.json. One line for each value that differs, in the groups identity,
engine, environment and outcome. As with diff, the exit code is 0 if nothing differs, 1 if something does, 2 on an error.
Times, energy and cost are not compared; the scores are, where both are runs of a store.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from replication.errors import ConfigError, StoreError
from replication.records import Manifest, StudyIndex
from replication.store import Store, difference
from replication.store.index import index_path
from replication.store.reader import read_record

FROZEN = Path("paper/data")
REMEDY = "Name another run, study or path."


class Side(NamedTuple):
    """One of the two things that are compared."""

    record: Manifest | StudyIndex
    folder: Path
    """Of the record's file."""


def main(arguments: Sequence[str]) -> int:
    """Print the differences; returns 1 if there are any."""
    names = [argument for argument in arguments if not argument.startswith("results=")]
    results = [argument.partition("=")[2] for argument in arguments if argument.startswith("results=")] or ["results"]
    if len(names) != 2:
        raise ConfigError(
            f"give two run ids, two studies or two paths: python -m replication diff A B [results=FOLDER]; got "
            f"{len(names)}. The runs are the folders of results/store."
        )
    a, b = (read(name, Path(results[-1])) for name in names)
    if isinstance(a.record, Manifest) and isinstance(b.record, Manifest):
        differences = difference.of_runs(a.record, b.record) + scores(a, b)
    elif isinstance(a.record, StudyIndex) and isinstance(b.record, StudyIndex):
        differences = difference.of_studies(a.record, b.record)
    else:
        kinds = ["run" if isinstance(side.record, Manifest) else "study" for side in (a, b)]
        raise ConfigError(
            f"`{names[0]}` is a {kinds[0]} and `{names[1]}` a {kinds[1]}; a run cannot be compared with a study. {REMEDY}"
        )
    print(f"A: {names[0]}\nB: {names[1]}")
    for group in difference.GROUPS:
        found = [one for one in differences if one.group == group]
        print(f"{group}: {f'{len(found)} differ' if found else 'equal'}")
        for one in found:
            print(f"  {one.key}: {one.a} | {one.b}")
    return int(bool(differences))


def read(name: str, results: Path) -> Side:
    """Find a run, a study or a file by its name."""
    candidates = [
        Path(name), Path(name) / "manifest.json", results / "store" / name / "manifest.json", index_path(results, name),
        FROZEN / name / "manifest.json",
    ]  # fmt: skip
    path = next((path for path in candidates if path.is_file()), None)
    if path is None:
        runs = Store(results / "store").runs()
        raise StoreError(
            f"`{name}` is no run of `{results / 'store'}` (it has {len(runs)}), no study of `{results / 'studies'}` or "
            f"`{FROZEN}`, and no file. {REMEDY} `results=FOLDER` looks elsewhere."
        )
    try:
        value = json.loads(path.read_bytes())
    except ValueError as problem:
        raise StoreError(f"`{path}` is not JSON ({problem}). {REMEDY}") from None
    if isinstance(value, dict) and "run_ids" in value:
        return Side(read_record(path, StudyIndex, remedy=REMEDY), path.parent)
    return Side(read_record(path, Manifest, remedy=REMEDY), path.parent)


def scores(a: Side, b: Side) -> list[difference.Difference]:
    """Compare the scores of two runs, where both lie in a store: their means, and the episodes whose scores differ."""
    import pandas as pd

    tables = []
    for side in (a, b):
        assert isinstance(side.record, Manifest)
        if side.folder.name != side.record.run_id or not (side.folder / "episodes.jsonl").is_file():
            return []
        tables.append(Store(side.folder.parent).score_table([side.record.run_id]))
    key = ["task_id", "task_hash", "trial"]
    joined = pd.merge(tables[0], tables[1], on=key, suffixes=("_a", "_b"))
    same = (joined["value_a"] == joined["value_b"]) | (joined["value_a"].isna() & joined["value_b"].isna())
    pairs = [
        ("n_episodes", *(str(len(table)) for table in tables)),
        ("mean_score", *(f"{table['value'].mean():.6g}" for table in tables)),
    ]
    if not same.all():
        pairs.append(("scores", f"{len(joined)} episodes in common", f"{int((~same).sum())} of them differ"))
    return [difference.Difference("outcome", *pair) for pair in pairs if pair[1] != pair[2]]
