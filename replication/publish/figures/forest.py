"""Forest plot: differences between two arms with one interval per target of inference."""

from itertools import cycle
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from replication.publish.figures.style import (
    BAND,
    BLACK,
    COLOURS,
    GREY,
    MARKERS,
    WIDTH,
    legend_columns,
    n_lines,
    styled,
    wrapped,
)
from replication.text import plain, signed

INTERVALS: dict[str, tuple[str, dict[str, Any]]] = {
    "unpaired": ("one run, unpaired", {"linewidth": 9, "color": GREY, "zorder": 1.5}),
    "T1": ("T1 these tasks", {"linewidth": 4.5, "color": "#7fc4ec", "zorder": 2}),
    "T2": ("T2 tasks like these", {"linewidth": 2, "color": COLOURS[0], "zorder": 2.5}),
    "T3": ("T3 the training method", {"linewidth": 0.9, "color": BLACK, "zorder": 1.9}),
}
"""Label and line of each interval: the wider the reach, the thinner the line."""

SUMMARY = ("mean of these", "random effects")
ALL_SCALES = "all scales"
SCALE_MARKERS = MARKERS[1:]


def stem(treatment: str, control: str) -> str:
    """Return the name of a comparison's file; no arm has `~` in its name, so two comparisons never share a file."""
    return f"forest_{treatment}~{control}"


def draw_published(estimates: pd.DataFrame, sesoi: float) -> Figure:
    """Draw the published rows.

    estimates : columns benchmark, interval (T1, T2, unpaired), value, low, high (fractions), n_tasks, n_trials.
    """
    table = estimates.rename(columns={"n_trials": "k", "n_tasks": "n"})
    return _draw(table, sesoi, margins={"n": "tasks", "k": "runs"})


def draw_collected(estimates: pd.DataFrame, runs: pd.DataFrame, sesoi: float) -> Figure:
    """Draw the differences of a study of ours, averaged over its scales; a dot is a pair of training runs.

    estimates : one comparison under one policy; columns scale, params_b, benchmark, target, value, low, high (fractions),
        n_tasks, n_trials, n_training_runs. Intervals are those of `ALL_SCALES`; a single scale shows as an open mark.
    runs : columns benchmark (also `mean of these`), replicate, value; empty for public checkpoints.
    """
    shown = estimates[estimates["target"] != "T1"].rename(
        columns={"target": "interval", "n_tasks": "n", "n_trials": "k", "n_training_runs": "m"}
    )
    averaged = shown["scale"] == ALL_SCALES
    scales = shown[~averaged].drop_duplicates(["scale", "benchmark"]).sort_values("params_b", kind="stable")
    # with one training run on a side, the pairing is an accident of numbering
    dots = runs if len(runs) and (shown["m"] > 1).all() else None
    margins = {"n": "tasks", "k": "trials", **({"m": "runs"} if len(runs) else {})}
    return _draw(shown[averaged], sesoi, margins, dots=dots, scales=scales)


def _draw(
    table: pd.DataFrame,
    sesoi: float,
    margins: dict[str, str],
    dots: pd.DataFrame | None = None,
    scales: pd.DataFrame | None = None,
) -> Figure:
    """Draw one line per benchmark ordered by effect, summaries below, everything in points."""
    first = table.drop_duplicates("benchmark").set_index("benchmark")
    single = first[~first.index.isin(SUMMARY)].sort_values("value", ascending=False)
    order = [*single.index, *[name for name in SUMMARY if name in first.index]]
    shown = [interval for interval in INTERVALS if interval in set(table["interval"])]
    gap = 0.5 if len(single) < len(order) else 0.0
    height = {name: -float(i) - (gap if name in SUMMARY else 0.0) for i, name in enumerate(order)}

    with styled():
        figure = Figure(
            figsize=(WIDTH, 0.85 + (0.15 + 0.14 * n_lines(order)) * (len(order) + gap)), layout="constrained"
        )
        axes, margin = figure.subplots(1, 2, sharey=True, width_ratios=[1, 0.11 * (1 + len(margins))])
        axes.axvspan(-100 * sesoi, 100 * sesoi, color=BAND, zorder=0, linewidth=0)
        axes.axvline(0, color=BLACK, linewidth=0.6, zorder=1)
        if gap:
            axes.axhline(-len(single) + 0.5 - gap / 2, color=GREY, linewidth=0.6)
        left, right = _limits(table if scales is None else pd.concat([table, scales]), sesoi)
        _intervals(axes, table, height, left, right)
        axes.set_xlim(left, right)
        for name in order:
            summary = name in SUMMARY
            axes.plot(100 * first.loc[name, "value"], height[name], "D" if summary else "o", gid="estimate", zorder=4,
                      markersize=5.5 if summary else 5, color=BLACK, markerfacecolor="white" if summary else BLACK,
                      markeredgewidth=1)  # fmt: skip
        if dots is not None:
            drawn = dots[dots["benchmark"].isin(height)]
            axes.plot(100 * drawn["value"], drawn["benchmark"].map(height) + 0.24, "o", markersize=2.6, gid="runs",
                      color=COLOURS[1], linestyle="none", zorder=3)  # fmt: skip
        by_scale = [] if scales is None else list(scales.groupby("scale", sort=False))
        for i, (scale, part) in enumerate(by_scale):
            marker = SCALE_MARKERS[i % len(SCALE_MARKERS)]
            axes.plot(100 * part["value"], part["benchmark"].map(height) - 0.25, marker, markersize=3.4, zorder=3,
                      color=COLOURS[2], markerfacecolor="none", markeredgewidth=0.8, linestyle="none",
                      gid=f"scale {scale}")  # fmt: skip
        axes.set_yticks([height[name] for name in order], [wrapped(name) for name in order])
        axes.tick_params(axis="y", length=0)
        axes.spines["left"].set_visible(False)
        axes.set_ylim(min(height.values()) - 0.6, 0.6)
        axes.set_xlabel("difference in points, treatment minus control")
        _margin(margin, order, height, first, margins)
        _legend(figure, shown, dots is not None, [scale for scale, _ in by_scale], sesoi)
    return figure


def _intervals(axes: Axes, table: pd.DataFrame, height: dict[str, float], left: float, right: float) -> None:
    """Draw every interval, with an arrow where it goes beyond the limits of the axis."""
    inset = 0.008 * (right - left)
    for row in table.itertuples():
        caps: dict[str, Any] = {"marker": "|", "markersize": 6, "markeredgewidth": 0.9} if row.interval == "T3" else {}
        y = height[row.benchmark]
        axes.plot([100 * row.low, 100 * row.high], [y, y], solid_capstyle="butt", gid=row.interval, **caps,
                  **INTERVALS[row.interval][1])  # fmt: skip
        for beyond, edge, arrow in (
            (100 * row.low < left, left + inset, "<"),
            (100 * row.high > right, right - inset, ">"),
        ):
            if beyond:
                axes.plot(edge, y, arrow, color=BLACK, markersize=5, zorder=3, gid="beyond")


def _legend(figure: Figure, shown: list[str], has_runs: bool, scales: list[str], sesoi: float) -> None:
    """Explain intervals, dots of training runs, marks of scales and the band, above the panels."""
    handles: list[Artist] = [
        Line2D([], [], label=INTERVALS[i][0], solid_capstyle="butt", **INTERVALS[i][1]) for i in shown
    ]
    if has_runs:
        handles.append(
            Line2D([], [], marker="o", markersize=3, linestyle="none", color=COLOURS[1], label="training runs")
        )
    handles += [
        Line2D([], [], marker=marker, markersize=4, linestyle="none", color=COLOURS[2], markerfacecolor="none",
               label=wrapped(f"scale {scale}"))
        for scale, marker in zip(scales, cycle(SCALE_MARKERS))
    ]  # fmt: skip
    handles.append(Patch(facecolor=BAND, label=f"within {plain(100 * sesoi)} points"))
    names = [str(handle.get_label()) for handle in handles]
    n_columns = legend_columns(names[len(shown) :], len(handles) if len(handles) < 6 else 4)
    figure.legend(handles=handles, loc="outside upper left", ncols=n_columns, handlelength=1.4, columnspacing=1.2,
                  handletextpad=0.5, borderaxespad=0.1)  # fmt: skip


def _limits(table: pd.DataFrame, sesoi: float) -> tuple[float, float]:
    """Fit the axis to the benchmarks and their mean; a wider interval of a summary ends in an arrow."""
    fitted = table[table["benchmark"] != SUMMARY[1]]
    averaged = fitted[fitted["scale"] == ALL_SCALES] if "scale" in fitted else fitted
    low = 100 * min(averaged["low"].min(), fitted["value"].min(), -sesoi)
    high = 100 * max(averaged["high"].max(), fitted["value"].max(), sesoi)
    pad = 0.04 * (high - low)
    return low - pad, high + pad


def _margin(
    axes: Axes, order: list[str], height: dict[str, float], first: pd.DataFrame, margins: dict[str, str]
) -> None:
    """Print the estimate, n, k and m to the right of each line; a summary has neither k nor m."""
    axes.set_axis_off()
    axes.set_xlim(0, 1 + len(margins))
    columns = {"value": "points", **margins}
    for i, (key, label) in enumerate(columns.items()):
        axes.annotate(
            label, (i + 0.9, 0.55), ha="right", va="bottom", fontsize=7.5, color="#555555", annotation_clip=False
        )
        for name in order:
            if name in SUMMARY and key in ("k", "m"):
                continue
            value = first.loc[name, key]
            text = signed(value) if key == "value" else f"{int(value)}"
            axes.annotate(text, (i + 0.9, height[name]), ha="right", va="center", fontsize=8)
