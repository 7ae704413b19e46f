"""Training loss of every training run, one panel per arm and scale."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from replication.figures.style import BLACK, COLOURS, GREY, LINES, WIDTH, styled


def draw(curves: pd.DataFrame) -> Figure:
    """Draw loss against training tokens.

    curves : columns arm, scale, training_seed, step, n_tokens (of the run so far), loss, phase.
    """
    arms, scales = sorted(curves["arm"].unique()), list(dict.fromkeys(curves["scale"]))
    seeds = sorted(curves["training_seed"].unique())
    with styled():
        figure = Figure(figsize=(WIDTH, 0.5 + 1.75 * len(scales)), layout="constrained")
        panels = figure.subplots(len(scales), len(arms), sharex=True, sharey=True, squeeze=False)
        for i, scale in enumerate(scales):
            for j, arm in enumerate(arms):
                axes = panels[i, j]
                part = curves[(curves["arm"] == arm) & (curves["scale"] == scale)]
                if part.empty:
                    axes.set_axis_off()
                    continue
                for seed, run in part.groupby("training_seed"):
                    axes.plot(run["n_tokens"] / 1e6, run["loss"], color=COLOURS[j % len(COLOURS)], linewidth=0.9, gid="run",
                              linestyle=LINES[seeds.index(seed) % len(LINES)])  # fmt: skip
                _mark_phases(axes, part)
                axes.set_title(arm if len(scales) == 1 else f"{arm}, {scale}", loc="left", pad=13, fontweight="bold")
                axes.set_yscale("log")
                # Over two decades or more, labels at 1, 2 and 5 would stand on each other.
                decades = np.log10(curves["loss"].max() / curves["loss"].min())
                axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 2 else (1,)))
                axes.yaxis.set_major_formatter("{x:g}")
                axes.yaxis.set_minor_locator(NullLocator())
        figure.supxlabel("training tokens, millions", fontsize=8.5)
        figure.supylabel("loss", fontsize=8.5)
        handles = [
            Line2D([], [], color=BLACK, linewidth=0.9, linestyle=LINES[i % len(LINES)], label=f"training seed {seed}")
            for i, seed in enumerate(seeds)
        ]
        figure.legend(
            handles=handles, loc="outside upper left", ncols=len(handles), handlelength=2.2, borderaxespad=0.1
        )
    return figure


def _mark_phases(axes: Axes, part: pd.DataFrame) -> None:
    """Write each phase's name where it begins, with a line between phases (from the first seed)."""
    run = part[part["training_seed"] == part["training_seed"].iloc[0]].sort_values("step")
    for i, (phase, rows) in enumerate(run.groupby("phase", sort=False)):
        start = rows["n_tokens"].min() / 1e6
        if i:
            axes.axvline(start, color=GREY, linewidth=0.8, zorder=0, gid="phase")
        axes.annotate(phase, (start if i else 0, 1.01), xycoords=axes.get_xaxis_transform(), fontsize=7.5, va="bottom",
                      ha="left", color=BLACK, annotation_clip=False)  # fmt: skip
