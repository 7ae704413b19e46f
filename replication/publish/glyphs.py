"""Characters that the fonts of the paper and of the figures lack, so that no box is printed without a warning."""

import functools
from pathlib import Path

import matplotlib

FONTS = Path(matplotlib.get_data_path()) / "fonts/ttf"
"""DejaVu and others; the figures are drawn with them, and the paper falls back to them."""


def missing_characters(text: str) -> str:
    """List the characters of a text that no font has, each with its code point; empty where there is none."""
    lacking = sorted({letter for letter in text if letter.isprintable() and ord(letter) not in _covered()})
    return ", ".join(f"{letter} (U+{ord(letter):04X})" for letter in lacking)


@functools.cache
def _covered() -> frozenset[int]:
    """Return the code points of DejaVu Sans and DejaVu Sans Mono; the paper's own font covers hardly any others."""
    from matplotlib.ft2font import FT2Font

    fonts = (FT2Font(FONTS / name) for name in ("DejaVuSans.ttf", "DejaVuSansMono.ttf"))
    return frozenset(code for font in fonts for code in font.get_charmap())
