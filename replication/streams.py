"""Print any text on a standard output that is not UTF-8: signs that it lacks are written in ASCII."""

from __future__ import annotations

import codecs
import io
import sys
import unicodedata

ASCII = {
    "\N{MINUS SIGN}": "-", "\N{HYPHEN}": "-", "\N{NON-BREAKING HYPHEN}": "-", "\N{EN DASH}": "-", "\N{EM DASH}": "--",
    "\N{MULTIPLICATION SIGN}": "x", "\N{DIVISION SIGN}": "/", "\N{PLUS-MINUS SIGN}": "+/-", "\N{MIDDLE DOT}": "*",
    "\N{LESS-THAN OR EQUAL TO}": "<=", "\N{GREATER-THAN OR EQUAL TO}": ">=", "\N{NOT EQUAL TO}": "!=",
    "\N{ALMOST EQUAL TO}": "~", "\N{RIGHTWARDS ARROW}": "->", "\N{LEFTWARDS ARROW}": "<-",
    "\N{LEFT SINGLE QUOTATION MARK}": "'", "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{LEFT DOUBLE QUOTATION MARK}": '"', "\N{RIGHT DOUBLE QUOTATION MARK}": '"', "\N{FULL BLOCK}": "#",
    "\N{SECTION SIGN}": "section ", "\N{GREEK SMALL LETTER TAU}": "tau", "\N{GREEK SMALL LETTER RHO}": "rho",
    "\N{GREEK CAPITAL LETTER DELTA}": "Delta", "\N{GREEK SMALL LETTER ALPHA}": "alpha",
}  # fmt: skip
"""A replaced minus must stay a minus: `?` for every missing sign would change numbers."""


def print_any_text() -> None:
    """Let standard output and error replace what their encoding lacks instead of raising UnicodeEncodeError."""
    codecs.register_error("ascii", _in_ascii)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="ascii")


def _in_ascii(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(map(_ascii, error.object[error.start : error.end])), error.end


def _ascii(sign: str) -> str:
    if sign in ASCII:
        return ASCII[sign]
    kind = unicodedata.decomposition(sign).partition(" ")[0]
    plain = unicodedata.normalize("NFKD", sign).replace("\N{FRACTION SLASH}", "/").encode("ascii", "ignore").decode()
    if not plain:
        return sign.encode("ascii", "backslashreplace").decode()
    return {"<super>": "^", "<fraction>": " "}.get(kind, "") + plain
