"""Training loss of every training run, one panel per arm."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullLocator

from replication.publish.figures.style import (
    BLACK,
    COLOURS,
    GREY,
    LINES,
    WIDTH,
    in_order,
    legend_columns,
    styled,
    wrapped,
)
from replication.text import plain

COLUMNS = 4
"""Panels side by side at most."""


def draw(curves: pd.DataFrame) -> Figure:
    """Draw loss against training tokens, or the reward where there is one: scales by colour, training seeds by line.

    curves : columns arm, scale, training_seed, step, n_tokens (of the run so far), loss, reward, phase. A loss that is not
        above 0 has no place on the logarithmic axis and is left out.
    """
    in_loss = curves["reward"].isna() & (curves["loss"] > 0)
    shown = curves[in_loss]
    arms, scales = in_order(curves["arm"]), list(dict.fromkeys(curves["scale"]))
    seeds = sorted(curves["training_seed"].unique())
    n_rows = -(-len(arms) // COLUMNS)
    n_columns = -(-len(arms) // n_rows)
    decades = np.log10(shown["loss"].max() / shown["loss"].min()) if len(shown) else 0.0
    with styled():
        figure = Figure(figsize=(WIDTH, 0.6 + 1.55 * n_rows), layout="constrained")
        panels = list(figure.subplots(n_rows, n_columns, sharex=True, sharey=True, squeeze=False).flat)
        for axes, arm in zip(panels, arms, strict=False):
            part = curves[curves["arm"] == arm]
            rewarded = part["reward"].notna().any()
            other = _reward_axis(axes, curves["reward"].max()) if rewarded else None
            for (scale, seed), run in part.groupby(["scale", "training_seed"]):
                style: dict[str, Any] = {"color": COLOURS[scales.index(scale) % len(COLOURS)], "linewidth": 0.8,
                         "linestyle": LINES[seeds.index(seed) % len(LINES)]}  # fmt: skip
                losses, rewards = run[in_loss.loc[run.index]], run[run["reward"].notna()]
                axes.plot(losses["n_tokens"] / 1e6, losses["loss"], gid="run", **style)
                if other is not None:
                    other.plot(rewards["n_tokens"] / 1e6, rewards["reward"], gid="reward", **style)
            _mark_phases(axes, part)
            axes.set_title(wrapped(arm, 22), loc="left", pad=12, fontweight="bold", fontsize=8)
            axes.set_yscale("log")
            # Over two decades or more, labels at 1, 2 and 5 would overlap.
            axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if decades < 2 else (1,)))
            axes.yaxis.set_major_formatter(lambda loss, _: plain(loss))
            axes.yaxis.set_minor_locator(NullLocator())
        for axes in panels[len(arms) :]:
            axes.set_axis_off()
        # the lowest panel of a column is labelled, also above an empty place
        for axes in panels[len(arms) - n_columns : len(arms)]:
            axes.tick_params(labelbottom=True)
        figure.supxlabel("training tokens, millions", fontsize=8.5)
        figure.supylabel("loss", fontsize=8.5)
        colours = [
            Line2D([], [], color=COLOURS[i % len(COLOURS)], linewidth=1.5, label=wrapped(f"scale {scale}"))
            for i, scale in enumerate(scales)
        ]
        lines = [
            Line2D([], [], color=BLACK, linewidth=0.9, linestyle=LINES[i % len(LINES)], label=f"training seed {seed}")
            for i, seed in enumerate(seeds)
        ]
        names = [str(handle.get_label()) for handle in colours + lines]
        figure.legend(handles=colours + lines, loc="outside upper left", ncols=legend_columns(names, 6),
                      handlelength=2.2, borderaxespad=0.1)  # fmt: skip
    return figure


def _reward_axis(axes: Axes, highest: float) -> Axes:
    """Add a linear axis for rewards on the right, the same in all panels."""
    other = axes.twinx()
    other.set_ylim(0, 1.1 * highest if highest > 0 else 1)
    other.locator_params(axis="y", nbins=3)
    other.set_ylabel("reward", fontsize=7.5, labelpad=2)
    other.tick_params(labelsize=7.5)
    other.spines["right"].set_visible(True)
    return other


def _mark_phases(axes: Axes, part: pd.DataFrame) -> None:
    """Write the phases' names above, the last one at the right edge, with a line between phases (of the first run)."""
    first = part[["scale", "training_seed"]].iloc[0]
    run = part[(part["scale"] == first["scale"]) & (part["training_seed"] == first["training_seed"])]
    phases = list(run.sort_values("step").groupby("phase", sort=False))
    for i, (phase, rows) in enumerate(phases):
        start, last = rows["n_tokens"].min() / 1e6, 0 < i == len(phases) - 1
        if i:
            axes.axvline(start, color=GREY, linewidth=0.8, zorder=0, gid="phase")
        # The last of several is below the edge, as two long names would overlap.
        axes.annotate(phase.replace("_", " "), (1.0 if last else start if i else 0.0, 0.985 if last else 1.01),
                      va="top" if last else "bottom", ha="right" if last else "left",
                      xycoords="axes fraction" if last else axes.get_xaxis_transform(), fontsize=6.5, color=BLACK,
                      annotation_clip=False)  # fmt: skip
