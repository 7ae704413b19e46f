"""Typeset the paper with the fonts of the Typst and matplotlib wheels; no network, the same bytes for the same sources."""

import shutil
from pathlib import Path

from replication.errors import AnalysisError
from replication.files import write_bytes
from replication.publish.glyphs import FONTS

SOURCES = ("paper.typ", "refs.bib")
"""Written by hand; data/ and figures/ in the same folder are generated."""


def typeset(folder: Path) -> Path:
    """Compile paper.typ in `folder` to paper.pdf; a number that it looks up and that is missing is an AnalysisError."""
    import typst

    source = folder / "paper.typ"
    try:
        pdf = typst.compile(str(source), root=str(folder), font_paths=[str(FONTS)], ignore_system_fonts=True)
    except typst.TypstError as error:
        raise AnalysisError(f"{source} does not compile: {error}") from error
    return write_bytes(folder / "paper.pdf", pdf)


def copy_sources(source: Path, folder: Path) -> None:
    """Copy paper.typ and refs.bib to another folder, so that the paper of another study is typeset there."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in SOURCES:
        shutil.copyfile(source / name, folder / name)
