"""Tipping points: the spread between checkpoints at which rows of a table lose significance."""

from itertools import pairwise

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from replication.publish.figures.style import BLACK, COLOURS, GREY, WIDTH, styled
from replication.text import bare, fixed


def draw(curve: pd.DataFrame, tipping: pd.DataFrame, setting: str = "stated runs", alpha: float = 0.05) -> Figure:
    """Draw each row's tipping SD, the number of significant rows, and the all-rows p against the checkpoint SD.

    curve : as `families.tipping_curve` returns it, sorted by tau, finely spaced: a count holds until the next tau;
        columns tau (fraction, SD between checkpoints of one arm), n_raw, n_holm, iut_p (one-sided).
    tipping : one line per row; columns name and `setting`, the SD in fractions that lifts its two-sided p to alpha (0: p is
        above alpha without any).
    """
    table = curve.sort_values("tau", kind="stable")
    x = 100 * table["tau"].to_numpy()
    rows = tipping.sort_values(setting, kind="stable")
    heights = [0.4 + 0.17 * len(rows), 1.35, 1.1]
    # Fixed margins in inches: the solver of the other layouts differs in the last digit from one call to the next.
    left, right, bottom, top, between = 0.76, 0.14, 0.45, 0.08, 0.14
    height = bottom + sum(heights) + 2 * between + top
    with styled():
        figure = Figure(figsize=(WIDTH, height))
        strip, counts, together = figure.subplots(
            3, 1, sharex=True, height_ratios=heights,
            gridspec_kw={
                "left": left / WIDTH, "right": 1 - right / WIDTH, "bottom": bottom / height, "top": 1 - top / height,
                "hspace": between / (sum(heights) / 3),
            },
        )  # fmt: skip
        strip.set_xlim(0, x[-1])
        _strip(strip, rows, setting, x[-1])

        for column, label, colour, dashes, width in (
            ("n_raw", "raw", COLOURS[5], "-", 3.2), ("n_holm", "after Holm", COLOURS[0], "-", 1.4)
        ):  # fmt: skip
            values = table[column].to_numpy()
            counts.step(x, values, where="post", color=colour, linestyle=dashes, linewidth=width, gid=column)
            _label(counts, x, values, label, colour if column == "n_holm" else "#2b7fab", above=column == "n_raw")
        counts.set_ylim(-0.25, len(rows) + 0.6)
        counts.set_yticks(range(0, len(rows) + 1, 1 if len(rows) < 8 else -(-len(rows) // 6)))
        counts.set_ylabel(f"rows of {len(rows)}\nwith p {bare(alpha)} or less")

        p = table["iut_p"].to_numpy()
        together.axhline(alpha / 2, color=GREY, linewidth=1.2, gid="alpha")
        together.annotate(f"{bare(alpha / 2)}, the level of the test", (x[-1], alpha / 2), (0, 2), ha="right", va="bottom",
                          textcoords="offset points", fontsize=7.5, color="#555555")  # fmt: skip
        together.plot(x, p, color=BLACK, linewidth=1.4, gid="iut_p")
        top = max(1.1 * p.max(), 2 * alpha)
        together.set_ylim(0, top)
        together.set_ylabel("one-sided p\nof all rows at once")
        together.set_xlabel("SD between checkpoints of one arm, points")
        for axes in (strip, counts, together):
            axes.yaxis.set_label_coords(-0.38 / (WIDTH - left - right), 0.5)
    return figure


def _strip(axes: Axes, rows: pd.DataFrame, setting: str, right: float) -> None:
    """Draw each row as a line up to its tipping SD, an arrow where that lies beyond the axis."""
    for y, (name, tau) in enumerate(zip(rows["name"], 100 * rows[setting], strict=True)):
        beyond = tau > right
        axes.plot([0, min(tau, right)], [y, y], color=GREY, linewidth=1.6, solid_capstyle="butt", gid="span", zorder=1)
        axes.plot(min(tau, right), y, ">" if beyond else "o", color=BLACK, markersize=5, clip_on=False, gid="tipping",
                  zorder=3, markerfacecolor=BLACK if tau > 0 else "white")  # fmt: skip
        text = f"{name}  {fixed(tau)}" if tau > 0 else f"{name}  not significant without it"
        inside = tau > 0.62 * right
        axes.annotate(text, (min(tau, right), y), (-6 if inside else 6, 0), textcoords="offset points", va="center",
                      ha="right" if inside else "left", fontsize=7.5, annotation_clip=False, zorder=2,
                      bbox={"boxstyle": "square,pad=0.1", "facecolor": "white", "linewidth": 0})  # fmt: skip
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    axes.set_ylabel("tipping SD\nof each row")
    axes.tick_params(axis="x", length=2)


def _label(axes: Axes, x, values, text: str, colour: str, *, above: bool) -> None:
    """Label a curve: at the middle of its longest step above 0."""
    starts = [0, *(i for i in range(1, len(values)) if values[i] != values[i - 1]), len(values) - 1]
    spans = [(values[a] > 0, x[b] - x[a], a, b) for a, b in pairwise(starts)]
    *_, a, b = max(spans)
    axes.annotate(text, ((x[a] + x[b]) / 2, values[a]), (0, 3 if above else -4), textcoords="offset points", ha="center",
                  va="bottom" if above else "top", fontsize=8, color=colour, fontweight="bold")  # fmt: skip
