"""Gap between two arms against scale, one panel per comparison."""

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import FixedFormatter, FixedLocator, NullLocator

from replication.publish.figures.style import BAND, BLACK, COLOURS, GREY, LINES, WIDTH, legend_columns, styled, wrapped
from replication.text import plain, size

MEAN = "mean of these"
COLUMNS = 3
"""Panels side by side at most."""


def draw(estimates: pd.DataFrame, sesoi: float) -> Figure:
    """Draw the mean gap over the environments with its pointwise interval and the band for all scales, and each environment.

    estimates : rows of single scales under one policy; columns treatment, control, scale, params_b, benchmark, target,
        value, low, high, low_all_scales, high_all_scales (fractions). The interval is that of the farthest target there.
    """
    farthest = estimates.sort_values("target", kind="stable").groupby(
        ["treatment", "control", "scale", "benchmark"], sort=False).tail(1)  # fmt: skip
    pairs = dict.fromkeys(zip(estimates["treatment"], estimates["control"], strict=True))
    comparisons = [
        (pair, farthest[(farthest["treatment"] == pair[0]) & (farthest["control"] == pair[1])]) for pair in pairs
    ]
    benchmarks = sorted(set(farthest["benchmark"]) - {MEAN, "random effects"})
    styles = {b: (COLOURS[i % len(COLOURS)], LINES[i // len(COLOURS) % len(LINES)]) for i, b in enumerate(benchmarks)}
    n_rows = -(-len(comparisons) // COLUMNS)
    n_columns = -(-len(comparisons) // n_rows)
    with styled():
        figure = Figure(figsize=(WIDTH, 0.75 + 2.1 * n_rows), layout="constrained")
        panels = list(figure.subplots(n_rows, n_columns, squeeze=False).flat)
        for axes, ((treatment, control), part) in zip(panels, comparisons, strict=False):
            axes.axhspan(-100 * sesoi, 100 * sesoi, color=BAND, zorder=0, linewidth=0)
            axes.axhline(0, color=BLACK, linewidth=0.6, zorder=1)
            for benchmark in benchmarks:
                line = part[part["benchmark"] == benchmark].sort_values("params_b")
                colour, dashes = styles[benchmark]
                axes.plot(line["params_b"], 100 * line["value"], color=colour, linestyle=dashes, linewidth=0.8,
                          marker=".", markersize=3, gid=benchmark, zorder=2)  # fmt: skip
            mean = part[part["benchmark"] == MEAN].sort_values("params_b")
            x, y = mean["params_b"], 100 * mean["value"]
            axes.fill_between(x, 100 * mean["low_all_scales"], 100 * mean["high_all_scales"], color=GREY, alpha=0.5,
                              linewidth=0, zorder=1.5, gid="band")  # fmt: skip
            for row in mean.itertuples():
                axes.plot([row.params_b] * 2, [100 * row.low, 100 * row.high], color=BLACK, linewidth=1.6, gid="pointwise",
                          zorder=3)  # fmt: skip
            axes.plot(
                x, y, "D-", color=BLACK, markersize=4.5, markerfacecolor="white", linewidth=1.2, gid="mean", zorder=4
            )
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(FixedLocator(list(x)))
            axes.xaxis.set_major_formatter(FixedFormatter([size(value) for value in x]))
            axes.xaxis.set_minor_locator(NullLocator())
            axes.margins(x=0.15)
            axes.set_title(
                f"{wrapped(treatment)}\n{wrapped(f'minus {control}')}", loc="left", fontsize=8, fontweight="bold"
            )
        for axes in panels[len(comparisons) :]:
            axes.set_axis_off()
        figure.supxlabel("parameters", fontsize=8.5)
        figure.supylabel("difference in points", fontsize=8.5)
        handles: list[Artist] = [
            Line2D([], [], color=BLACK, marker="D", markerfacecolor="white", markersize=4.5, label="mean, pointwise"),
            Patch(facecolor=GREY, alpha=0.5, label="all scales together"),
            Patch(facecolor=BAND, label=f"within {plain(100 * sesoi)} points"),
            *(Line2D([], [], color=c, linestyle=d, linewidth=1, label=wrapped(b)) for b, (c, d) in styles.items()),
        ]
        figure.legend(handles=handles, loc="outside upper left", handlelength=1.8, columnspacing=1.2, handletextpad=0.5,
                      ncols=legend_columns([wrapped(b) for b in benchmarks], 5), borderaxespad=0.1)  # fmt: skip
    return figure
