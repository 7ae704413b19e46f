"""Identity of a collected study: a hash of its index and of every stored line that the analysis reads."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from replication.store.index import index_path, read_index

LINES = ("manifest.json", "episodes.jsonl", "scores.jsonl")
"""Files of a run that score tables are built from; trajectories are not among them."""


def hash_files(paths: Iterable[Path]) -> str:
    """Hash names and contents of files, in the given order, with SHA-256; an absent file differs from an empty one."""
    digest = hashlib.sha256()
    for path in paths:
        digest.update(path.name.encode() + b"\0")
        if path.is_file():
            with path.open("rb") as file:
                digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()


def hash_study(study: str, results: Path) -> str | None:
    """Hash a collected study; None if it has no index under `results`."""
    path = index_path(results, study)
    if not path.exists():
        return None
    index = read_index(results, study)
    runs = [*index.run_ids, *index.probe_run_ids]
    lines = [results / "store" / run / name for run in runs for name in LINES]
    return hash_files([path, *lines, *(Path(run.curve) for run in index.training)])
