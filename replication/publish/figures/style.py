"""Colours, sizes, the order of arms and the one way to save a figure."""

import io
import textwrap
import warnings
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from matplotlib import rc_context, rcParamsDefault
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.typing import LineStyleType

from replication.files import write_bytes

WIDTH = 6.5
"""Inches; the text width of the paper."""
SVG_DPI = 72
"""Resolution at which an SVG is laid out."""

BLACK, GREY, BAND = "#1a1a1a", "#c9c9c9", "#f3ecd8"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's palette, distinct for colour-blind readers; shapes and widths are distinct in grey."""
MARKERS = ("o", "s", "^", "D", "v", "P")
LINES: tuple[LineStyleType, ...] = ("-", "--", ":", "-.")

ARMS = {
    "base": GREY, "general": COLOURS[4], "agent_sft": COLOURS[0], "agent_sft_matched": COLOURS[5],
    "lwm_then_sft": COLOURS[1], "placebo_then_sft": COLOURS[3], "sft_then_lwm_rl": COLOURS[2], "placebo": "#8c6d1f",
}  # fmt: skip
"""Colour of each arm in every figure, in the order of reading: starts, controls, treatments with their placebos."""

RC: Any = {
    "font.size": 8.5,
    "axes.labelsize": 8.5,
    "axes.titlesize": 8.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.hashsalt": "replication",
    "svg.fonttype": "path",
    "text.parse_math": False,  # a dollar sign in a name is a dollar sign
}
"""Of type Any, because matplotlib types the keys as a Literal of all that exist."""

WRAP = 24
"""Characters of a label's line at most; a name may have 64."""


def in_order(arms: Iterable[str]) -> list[str]:
    """Sort arms in the order of reading, unlisted ones last."""
    listed = list(ARMS)
    return sorted(set(arms), key=lambda arm: (listed.index(arm) if arm in ARMS else len(listed), arm))


def colour(arm: str) -> str:
    """Return the colour of an arm, black for an unlisted one."""
    return ARMS.get(arm, BLACK)


def styled() -> AbstractContextManager[None]:
    """Apply the style inside a `with` block; nothing global changes.

    It starts from matplotlib's own defaults: a user's matplotlibrc, style sheet or `rcParams` would change the figures.
    """
    return rc_context({**{key: rcParamsDefault[key] for key in rcParamsDefault if key != "backend"}, **RC})


def wrapped(label: str, most: int = WRAP) -> str:
    """Break a label into lines of at most `most` characters."""
    return "\n".join(textwrap.wrap(label, most, break_on_hyphens=False)) or label


def n_lines(labels: Iterable[str], most: int = WRAP) -> int:
    """Return the lines of the highest label once wrapped."""
    return max((wrapped(label, most).count("\n") + 1 for label in labels), default=1)


def legend_columns(labels: Iterable[str], most: int) -> int:
    """Return the columns of a legend that fit the width of the figure: `most`, fewer where a label is long."""
    longest = max((len(line) for label in labels for line in label.split("\n")), default=0)
    return most if longest < WRAP - 4 else max(1, min(most, int(WIDTH / (0.062 * longest + 0.45))))


def save(figure: Figure, path: Path) -> Path:
    """Write an SVG, the same bytes for the same drawing.

    The layout is solved once, here; `savefig` would draw the whole figure twice for it. Characters that the font lacks are
    reported by `publish.glyphs`, once for all figures and the paper.
    """
    content = io.BytesIO()
    with styled(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure.set_dpi(SVG_DPI)
        FigureCanvasSVG(figure)
        layout = figure.get_layout_engine()
        if layout is not None:
            layout.execute(figure)
            figure.set_layout_engine("none")
        figure.savefig(content, format="svg", metadata={"Date": None})
    return write_bytes(path, content.getvalue())
