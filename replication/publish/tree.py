"""Draw the tree of the package for README.md: folders and files to depth two, each with a phrase."""

import ast
import re
from pathlib import Path

from replication.publish.readme import replace_block

WIDTH = 26
"""Columns before the phrase."""
END = r"[.;] |(?<=.{30}): "
"""End of a phrase; a colon after a few words, as in `Engines: ...`, opens a definition and ends nothing."""


def tree(package: Path) -> str:
    """Return the tree of a package as a Markdown code block."""
    lines = [f"{package.name}/"]
    for path in _members(package):
        lines.append(_line(path, 1))
        if path.is_dir():
            lines += [_line(member, 2) for member in _members(path)]
    return "\n".join(["```", *lines, "```"])


def rewrite_tree(readme: Path, package: Path) -> bool:
    """Replace the tree in a README; returns whether anything changed."""
    old = readme.read_text(encoding="utf-8")
    new = replace_block(old, "tree", tree(package))
    if new != old:
        readme.write_text(new, encoding="utf-8")
    return new != old


def phrase(path: Path) -> str:
    """Return the first phrase of a module's or package's docstring, up to a full stop, semicolon or late colon."""
    source = path / "__init__.py" if path.is_dir() else path
    text = " ".join((ast.get_docstring(ast.parse(source.read_text(encoding="utf-8"))) or "").split())
    return re.split(END, text, maxsplit=1)[0].rstrip(".:")


def _members(folder: Path) -> list[Path]:
    """Return the modules and packages of a folder, modules first."""
    modules = [path for path in folder.glob("*.py") if path.name != "__init__.py"]
    packages = [path.parent for path in folder.glob("*/__init__.py")]
    return sorted(modules) + sorted(packages)


def _line(path: Path, depth: int) -> str:
    name = "  " * depth + path.name + ("/" if path.is_dir() else "")
    return f"{name:{WIDTH}} {phrase(path)}"
