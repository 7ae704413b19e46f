"""Rewrite the generated blocks of README.md: the verdicts, the list of figures and tables, the tree of the package."""

import json
from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from replication.errors import AnalysisError
from replication.publish.readme import read_verdicts, rewrite_readme
from replication.publish.tree import rewrite_tree
from replication.settings import CONF


def main(arguments: Sequence[str] = ()) -> None:
    """Rewrite the README of this checkout."""
    root = CONF.parent
    study = OmegaConf.load(CONF / "config.yaml").paths.readme_study
    built = _built_study(root / "paper/data/numbers.json")
    if built != study:
        raise AnalysisError(
            f"README.md shows study `{study}` (`paths.readme_study`); paper/data is of `{built}`. "
            f"Build `python -m replication paper study={study}` first."
        )
    changed = rewrite_readme(root / "README.md", read_verdicts(root / "paper/data/verdicts.json"))
    changed |= rewrite_tree(root / "README.md", root / "replication")
    print("README.md: " + ("generated blocks rewritten" if changed else "up to date"))


def _built_study(numbers: Path) -> str:
    """Read the name of the study that paper/data was built for."""
    try:
        return json.loads(numbers.read_text(encoding="utf-8"))["study"]["name"]
    except FileNotFoundError:
        raise AnalysisError(f"{numbers} does not exist; run `python -m replication paper` first.") from None
