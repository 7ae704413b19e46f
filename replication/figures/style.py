"""Colours, sizes and the one way to save a figure."""

from pathlib import Path

from matplotlib import rc_context
from matplotlib.figure import Figure

WIDTH = 6.5
"""Inches; the text width of the paper."""

BLACK, GREY, BAND = "#1a1a1a", "#c9c9c9", "#f3ecd8"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's palette, told apart by colour-blind readers; shapes and widths tell apart in grey."""
MARKERS = ("o", "s", "^", "D", "v", "P")
LINES = ("-", "--", ":", "-.")

RC = {
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


def styled():
    """Apply the style inside a `with` block; nothing global changes."""
    return rc_context(RC)


def save(figure: Figure, path: Path) -> Path:
    """Write an SVG, the same bytes for the same drawing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    with styled():
        figure.savefig(temporary, format="svg", metadata={"Date": None})
    temporary.replace(path)
    return path
