"""Colours, sizes, the order of arms and the one way to save a figure."""

import io
from collections.abc import Iterable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from matplotlib import rc_context
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
}
"""Of type Any, because matplotlib types the keys as a Literal of all that exist."""


def in_order(arms: Iterable[str]) -> list[str]:
    """Sort arms in the order of reading, unlisted ones last."""
    listed = list(ARMS)
    return sorted(set(arms), key=lambda arm: (listed.index(arm) if arm in ARMS else len(listed), arm))


def colour(arm: str) -> str:
    """Return the colour of an arm, black for an unlisted one."""
    return ARMS.get(arm, BLACK)


def styled() -> AbstractContextManager[None]:
    """Apply the style inside a `with` block; nothing global changes."""
    return rc_context(RC)


def save(figure: Figure, path: Path) -> Path:
    """Write an SVG, the same bytes for the same drawing.

    The layout is solved once, here; `savefig` would draw the whole figure twice for it.
    """
    content = io.BytesIO()
    with styled():
        figure.set_dpi(SVG_DPI)
        FigureCanvasSVG(figure)
        layout = figure.get_layout_engine()
        if layout is not None:
            layout.execute(figure)
            figure.set_layout_engine("none")
        figure.savefig(content, format="svg", metadata={"Date": None})
    return write_bytes(path, content.getvalue())
