"""Rewrite the generated blocks of README.md: the verdicts, the list of figures and tables, the tree of the package."""

from collections.abc import Sequence
from pathlib import Path

from replication.publish.readme import read_verdicts, rewrite_readme
from replication.publish.tree import rewrite_tree


def main(arguments: Sequence[str] = ()) -> None:
    """Rewrite the README of this checkout."""
    root = Path(__file__).resolve().parents[2]
    changed = rewrite_readme(root / "README.md", read_verdicts(root / "paper/data/verdicts.json"))
    changed |= rewrite_tree(root / "README.md", root / "replication")
    print("README.md: " + ("generated blocks rewritten" if changed else "up to date"))
