"""Rewrite the generated blocks of README.md from paper/data/verdicts.json: the verdicts, the list of figures and tables."""

from collections.abc import Sequence
from pathlib import Path

from replication.publish.readme import read_verdicts, rewrite_readme


def main(arguments: Sequence[str] = ()) -> None:
    """Rewrite the README of this checkout."""
    root = Path(__file__).resolve().parents[2]
    changed = rewrite_readme(root / "README.md", read_verdicts(root / "paper/data/verdicts.json"))
    print("README.md: " + ("generated blocks rewritten" if changed else "up to date"))
