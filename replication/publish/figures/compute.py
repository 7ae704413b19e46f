"""Training compute of every training run, by arm and scale."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter

from replication.publish.figures.style import (
    COLOURS,
    GREY,
    MARKERS,
    WIDTH,
    in_order,
    legend_columns,
    n_lines,
    styled,
    wrapped,
)
from replication.text import scientific


def draw(training: pd.DataFrame) -> Figure:
    """Draw FLOPs per training run on a logarithmic axis, a row per arm, scales by colour and mark.

    training : columns arm, scale, params_b, training_seed, flops; runs without a positive count are left out.
    """
    shown = training[training["flops"] > 0]
    arms = in_order(shown["arm"])
    scales = list(dict.fromkeys(shown.sort_values("params_b", kind="stable")["scale"]))
    with styled():
        figure = Figure(figsize=(WIDTH, 0.85 + (0.1 + 0.14 * n_lines(arms)) * len(arms)), layout="constrained")
        axes = figure.subplots()
        for i, scale in enumerate(scales):
            for y, arm in enumerate(arms):
                part = shown[(shown["arm"] == arm) & (shown["scale"] == scale)]
                if len(part):
                    axes.plot(part["flops"], [-y] * len(part), linestyle="none", gid=f"{arm} {scale}", markersize=5,
                              color=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)],
                              markerfacecolor="none")  # fmt: skip
        for y in range(len(arms)):
            axes.axhline(-y, color=GREY, linewidth=0.4, zorder=0)
        axes.set_xscale("log")
        # the wider the range, the fewer labels have room
        decades = np.log10(shown["flops"].max() / shown["flops"].min())
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5) if decades < 1 else (1, 3) if decades < 2 else (1,)))
        axes.xaxis.set_major_formatter(lambda flops, _: scientific(flops))
        axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set_yticks([-y for y in range(len(arms))], [wrapped(arm) for arm in arms])
        axes.set_ylim(0.6 - len(arms), 0.6)
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_xlabel("training compute, FLOPs per training run")
        handles = [
            Line2D([], [], color=COLOURS[i % len(COLOURS)], marker=MARKERS[i % len(MARKERS)], linestyle="none",
                   markerfacecolor="none", label=wrapped(f"scale {scale}"))
            for i, scale in enumerate(scales)
        ]  # fmt: skip
        figure.legend(handles=handles, loc="outside upper left", handletextpad=0.2, borderaxespad=0.1,
                      ncols=legend_columns([str(h.get_label()) for h in handles], 6))  # fmt: skip
    return figure
