"""GRIM strip: which numbers of runs the printed digits of each score allow."""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from replication.publish.figures.style import BLACK, COLOURS, WIDTH, styled
from replication.text import labels, probability

KINDS: dict[str, tuple[str, dict[str, Any]]] = {
    "rounded": ("a whole count rounds to the digits", {"facecolor": COLOURS[0], "edgecolor": BLACK}),
    "truncated": (
        "one does if cut off, not rounded",
        {"facecolor": "white", "edgecolor": COLOURS[0], "hatch": "//////"},
    ),
    "none": ("none does", {"facecolor": "white", "edgecolor": "#9a9a9a"}),
}
"""Label and look of a box; fill, hatch and cross tell apart without colour."""

UNIT = 0.23
"""Inches; height of a line. All positions of the strip are in this unit."""
BOX, FIRST, SPAN = 0.64, 15.2, 12.4
"""Side of a box, position of the first column of boxes, width that the columns share."""
DARK, DIM = "#444444", "#9a9a9a"


def draw(
    digits: pd.DataFrame,
    rows: pd.DataFrame,
    ks: Sequence[int] = (1, 2, 3, 4, 5),
    arms: tuple[str, str] = ("control", "treatment"),
) -> Figure:
    """Draw a box per score and number of runs: its digits fit a whole count rounded, truncated only, or not at all.

    digits : as `printed.digits.digits` returns it, possibly empty; columns benchmark, arm (a, b), printed, k, half_up,
        half_even, truncated (tuples of totals), p0 (chance that random digits fit, printed to the right of the boxes).
    rows : one line per benchmark, in order; columns benchmark, name, n_tasks, k, runs_stated, score_type. Digits of a score
        that is not binary say nothing: a star, no boxes. ks : columns; stated ones are added. arms : names of a and b.
    """
    binary = rows["score_type"] == "binary"
    tried = set(digits["k"]) if len(digits) else set()
    columns = sorted((set(ks) | set(rows.loc[binary, "k"])) & tried)
    width = min(2.5, SPAN / max(len(columns), 1))
    x = {k: FIRST + i * width for i, k in enumerate(columns)}
    height = 3.6 + (2.5 * binary + 1.4 * ~binary).sum()
    with styled():
        figure = Figure(figsize=(WIDTH, UNIT * height))
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set_axis_off()
        axes.set_xlim(0, WIDTH / UNIT)
        axes.set_ylim(-height, 0)
        _key(axes)
        for k in columns:
            axes.annotate(f"{k}", (x[k], -2.6), ha="center", va="center", fontsize=8, color=DARK)
        if columns:
            axes.annotate("runs", (FIRST - 0.7, -2.6), ha="right", va="center", fontsize=8, color=DARK)
        y = -3.7
        for row, label in zip(rows.itertuples(), labels(list(rows["name"]), 24), strict=True):
            star = "" if row.score_type == "binary" else "*"
            axes.annotate(label + star, (0.3, y), fontsize=8, fontweight="bold", va="center")
            if star:
                axes.annotate(
                    _void(row.score_type), (FIRST - BOX / 2, y), fontsize=7.5, va="center", color=DARK, gid="void"
                )
                y -= 1.4
                continue
            cells = digits[(digits["benchmark"] == row.benchmark) & digits["k"].isin(columns)]
            _row(axes, row, cells, y, x, arms, with_chances=width > 1.6)
            y -= 2.5
    return figure


def _row(
    axes: Axes,
    row: Any,
    cells: pd.DataFrame,
    y: float,
    x: dict[int, float],
    arms: tuple[str, str],
    *,
    with_chances: bool,
) -> None:
    """Draw facts, boxes of both arms and the frame of the stated runs; `x` has the position of each number of runs."""
    facts = f"{row.n_tasks} tasks, " + (
        f"{row.k} run{'s' * (row.k > 1)} stated" if row.runs_stated else "runs not stated"
    )
    axes.annotate(facts, (0.3, y - 0.95), fontsize=7.5, va="center", color=DARK)
    for i, (arm, name) in enumerate(zip("ab", labels(arms, 11), strict=True)):
        of_arm = cells[cells["arm"] == arm]
        text = f"{name}  {of_arm['printed'].iloc[0]}"
        axes.annotate(text, (FIRST - 0.7, y - i), ha="right", va="center", fontsize=8)
        for cell in of_arm.itertuples():
            _box(axes, x[cell.k], y - i, _kind(cell), row.benchmark)
    if with_chances:
        for k, chance in cells[cells["arm"] == "a"].set_index("k")["p0"].items():
            axes.annotate(
                probability(chance), (x[k] + 0.7, y - 0.5), va="center", fontsize=6.5, color=DARK, gid="chance"
            )
    if row.k in x and row.runs_stated:
        frame = Rectangle((x[row.k] - 0.5, y - 1.5), 1, 2, fill=False, linewidth=1.6, edgecolor=BLACK, zorder=4,
                          gid=f"stated {row.benchmark}")  # fmt: skip
        axes.add_patch(frame)


def _kind(cell) -> str:
    return "rounded" if cell.half_up or cell.half_even else "truncated" if cell.truncated else "none"


def _box(axes: Axes, x: float, y: float, kind: str, benchmark: str = "key") -> None:
    look = KINDS[kind][1]
    axes.add_patch(
        Rectangle((x - BOX / 2, y - BOX / 2), BOX, BOX, linewidth=0.8, gid=f"{kind} {benchmark}", zorder=2, **look)
    )
    if kind == "none":
        for slope in (-1, 1):
            axes.plot([x - 0.14, x + 0.14], [y - 0.14 * slope, y + 0.14 * slope], color=DIM, linewidth=0.8, zorder=3)


def _key(axes: Axes) -> None:
    x = 0.65
    for kind, (label, _) in KINDS.items():
        _box(axes, x, -0.7, kind)
        axes.annotate(label, (x + 0.6, -0.7), va="center", fontsize=7.5)
        x += 1.7 + 0.245 * len(label)
    axes.add_patch(Rectangle((0.33, -2.02), BOX, BOX, fill=False, linewidth=1.6, edgecolor=BLACK, gid="key"))
    text = "runs as stated      small: chance that random digits would fit      * not pass or fail, digits say nothing"
    axes.annotate(text, (1.25, -1.7), va="center", fontsize=7.5)


def _void(score_type: str) -> str:
    return "void: " + ("a weighted mean of parts" if score_type == "composite" else "partial credit reaches any digits")
