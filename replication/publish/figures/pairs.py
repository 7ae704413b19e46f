"""Gap between agent-tuned models and general ones of the same base against size, one panel per benchmark and metric."""

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from replication.publish.figures.style import BLACK, COLOURS, GREY, MARKERS, WIDTH, styled
from replication.text import plain

COLUMNS = 2
"""Panels side by side at most."""
NARROW = "#9c9c9c"
TICKS = (0.01, 0.1, 0.5, 1, 3, 8, 30, 70, 400)
"""Sizes that may be named on the axis, billions."""


def draw(pairs_table: pd.DataFrame, band_table: pd.DataFrame) -> Figure:
    """Draw each pair with its interval, and the line over log size with its pointwise and its simultaneous band.

    pairs_table : columns benchmark, metric, family, base_identity, params_b, value, low, high (agent minus general,
        fractions). A base that was not read is drawn hollow; pairs of one size are drawn side by side.
    band_table : columns benchmark, metric, params_b, value, low, high (at one size), low_all, high_all (all sizes
        together); panels without rows in it have no line.
    """
    panels = list(dict.fromkeys(zip(pairs_table["benchmark"], pairs_table["metric"], strict=True)))
    families = list(dict.fromkeys(pairs_table["family"]))
    looks = {f: (COLOURS[i % 6], MARKERS[(i + i // 6) % 6]) for i, f in enumerate(families)}
    n_columns = min(COLUMNS, len(panels))
    n_rows = -(-len(panels) // n_columns)
    with styled():
        figure = Figure(figsize=(WIDTH, 1.0 + 2.2 * n_rows), layout="constrained")
        grid = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
        for axes, (benchmark, metric) in zip(grid, panels, strict=False):
            axes.axhline(0, color=BLACK, linewidth=0.6, zorder=1)
            here = (band_table["benchmark"] == benchmark) & (band_table["metric"] == metric)
            band = band_table[here].sort_values("params_b")
            if len(band):
                _draw_band(axes, band)
            table = pairs_table[(pairs_table["benchmark"] == benchmark) & (pairs_table["metric"] == metric)]
            for row, x in zip(table.itertuples(), _side_by_side(table["params_b"]), strict=True):
                colour, marker = looks[row.family]
                axes.plot([x, x], [100 * row.low, 100 * row.high], color=colour, linewidth=1, gid="interval", zorder=3)
                axes.plot(x, 100 * row.value, marker=marker, color=colour, markersize=4.5, zorder=4,
                          markerfacecolor=colour if row.base_identity == "read" else "white", gid=row.family)  # fmt: skip
            axes.set_xscale("log")
            low, high = table["params_b"].min() / 1.3, table["params_b"].max() * 1.3
            ticks = [tick for tick in TICKS if low <= tick <= high]
            axes.xaxis.set_major_locator(FixedLocator(ticks))
            axes.xaxis.set_major_formatter(FixedFormatter([f"{plain(tick)}B" for tick in ticks]))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.set_title(f"{benchmark}, {metric}", loc="left", fontsize=8, fontweight="bold")
        for axes in grid[len(panels) :]:
            axes.set_axis_off()
        figure.supxlabel("parameters", fontsize=8.5)
        figure.supylabel("agent-tuned minus general, points", fontsize=8.5)
        figure.legend(handles=_handles(looks, pairs_table, len(band_table) > 0), loc="outside upper left", ncols=5,
                      handlelength=1.6, columnspacing=1.1, handletextpad=0.4, borderaxespad=0.1)  # fmt: skip
    return figure


def _draw_band(axes: Axes, band: pd.DataFrame) -> None:
    x = band["params_b"]
    axes.fill_between(x, 100 * band["low_all"], 100 * band["high_all"], color=GREY, alpha=0.45, linewidth=0, zorder=0,
                      gid="simultaneous")  # fmt: skip
    axes.fill_between(x, 100 * band["low"], 100 * band["high"], color=NARROW, alpha=0.45, linewidth=0, zorder=0.5,
                      gid="pointwise")  # fmt: skip
    axes.plot(x, 100 * band["value"], "--", color=BLACK, linewidth=1, gid="line", zorder=2)


def _side_by_side(params_b: pd.Series) -> pd.Series:
    """Move pairs of one size apart on the log axis, by at most 9 % of what the panel spans."""
    order = params_b.groupby(params_b).cumcount()
    count = params_b.groupby(params_b).transform("size")
    share = (order - (count - 1) / 2) / (count - 1).clip(lower=1)
    return params_b * max(params_b.max() / params_b.min(), 2.0) ** (0.09 * share)


def _handles(looks: dict, table: pd.DataFrame, band: bool) -> list[Artist]:
    handles: list[Artist] = [
        Line2D([], [], color=colour, marker=marker, markersize=4.5, markerfacecolor="white", linewidth=1, label=family)
        for family, (colour, marker) in looks.items()
    ]
    read = set(table["base_identity"] == "read")
    if True in read:
        handles.append(Line2D([], [], color=BLACK, marker="o", markersize=4.5, linestyle="none", label="base read"))
    if False in read:
        handles.append(Line2D([], [], color=BLACK, marker="o", markersize=4.5, linestyle="none", markerfacecolor="white",
                              label="base inferred"))  # fmt: skip
    if band:
        handles.append(Patch(facecolor=NARROW, alpha=0.6, label="at one size"))
        handles.append(Patch(facecolor=GREY, alpha=0.45, label="all sizes together"))
    return handles
