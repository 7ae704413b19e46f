"""Skip a build whose inputs and outputs have not changed; compared by content, never by time stamps."""

import json
import platform
from collections.abc import Iterable, Mapping
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from replication.files import write_json
from replication.publish.typst import SOURCES
from replication.records import Json, stable_hash
from replication.store import fingerprint

PACKAGE = Path(__file__).resolve().parents[1]
CODE = (
    "analyse",
    "publish",
    "store",
    "commands/paper.py",
    "records.py",
    "errors.py",
    "files.py",
    "text.py",
    "settings",
)
"""Parts of the package that a paper depends on, the tables of published numbers included."""
DISTRIBUTIONS = ("numpy", "pandas", "scipy", "matplotlib", "typst")
NAME = ".build.json"


class Inputs(NamedTuple):
    """Everything that a build depends on, hashed."""

    built_from: str
    """Settings, claims, sources of the paper, code, and versions of Python and its packages."""
    collected: str | None
    """The study in the store; None where the store does not have it and the frozen data is used."""


def inputs(paper: Path, *, settings: Mapping[str, Json], claims: Path, study: str, results: Path) -> Inputs:
    """Hash the inputs of a build.

    paper : folder of paper.typ. settings : all that is configured. claims : folder of claim files. study, results : where
    the store is looked up.
    """
    code = [file for part in CODE for file in _sources(PACKAGE / part)]
    files = [*sorted(claims.glob("*.yaml")), *(paper / name for name in SOURCES), *code]
    versions = {name: metadata.version(name) for name in DISTRIBUTIONS}
    built_from = stable_hash([settings, versions, platform.python_version(), fingerprint.hash_files(files)])
    return Inputs(built_from, fingerprint.hash_study(study, results))


def write(paper: Path, current: Inputs, outputs: Iterable[Path]) -> None:
    """Record inputs and outputs of a build that succeeded; every output lies in `paper`."""
    hashes = [[path.relative_to(paper).as_posix(), fingerprint.hash_files([path])] for path in outputs]
    write_json(paper / NAME, {**current._asdict(), "outputs": hashes})


def unchanged_outputs(paper: Path, current: Inputs) -> list[Path]:
    """Return the outputs of the last build where it had these inputs and all of them are unchanged, else nothing.

    A study that is no longer in the store counts as unchanged: its frozen data is among the outputs.
    """
    try:
        last = json.loads((paper / NAME).read_text(encoding="utf-8"))
        built_from, collected, outputs = last["built_from"], last["collected"], dict(last["outputs"])
    except (OSError, ValueError, TypeError, KeyError):  # no stamp, or a damaged one
        return []
    if built_from != current.built_from or current.collected not in (None, collected):
        return []
    same = all(fingerprint.hash_files([paper / name]) == value for name, value in outputs.items())
    return [paper / name for name in outputs] if same else []


def _sources(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    return sorted(file for file in path.rglob("*") if file.suffix in (".py", ".csv"))
