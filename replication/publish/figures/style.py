"""Colours, sizes, the order of arms and the one way to save a figure."""

from collections.abc import Iterable
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

ARMS = {
    "base": GREY, "general": COLOURS[4], "agent_sft": COLOURS[0], "agent_sft_matched": COLOURS[5],
    "lwm_then_sft": COLOURS[1], "placebo_then_sft": COLOURS[3], "sft_then_lwm_rl": COLOURS[2], "placebo": "#8c6d1f",
}  # fmt: skip
"""Colour of each arm in every figure, in the order of reading: starts, controls, treatments with their placebos."""

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


def in_order(arms: Iterable[str]) -> list[str]:
    """Put arms in the order of reading; an unknown one comes last."""
    known = list(ARMS)
    return sorted(set(arms), key=lambda arm: (known.index(arm) if arm in ARMS else len(known), arm))


def colour(arm: str) -> str:
    """Look up an arm's colour; an unknown one is black."""
    return ARMS.get(arm, BLACK)


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
