"""What other papers found: forest by design, funnel with contours of significance, and means without each paper.

A hollow mark is a number that was read in a copy, not in its paper.
"""

from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from replication.publish.figures.style import BLACK, COLOURS, GREY, MARKERS, WIDTH, styled
from replication.text import fixed, signed

LIMITS = (-45.0, 45.0)
"""Points; an interval beyond ends in an arrow."""
SHADES = ((2.576, "p above .01", "#ececec"), (1.960, "above .05", "#d9d9d9"), (1.645, "above .1", "#c2c2c2"))
"""Half-width of a contour in standard errors, its label and colour; drawn from the widest."""
TABLE9 = "table 9"


def draw_forest(
    papers: pd.DataFrame, effects: pd.DataFrame, means: pd.DataFrame, published: pd.DataFrame, names: dict[str, str]
) -> Figure:
    """Draw each class with a line per paper and, below them, its mean with the prediction interval of a new result.

    papers : columns set, cluster, n_effects, value, low, high. effects : set, cluster, value, certainty. means : set, mean,
    low, high, prediction_low, prediction_high, n_effects. published : set, value; drawn as a line of its class. Fractions.
    names : sets in the order of drawing with their titles.
    """
    height, y = {}, 0.0
    for name in names:
        y -= 0.35
        height[name, ""] = y
        for paper in [*papers.loc[papers["set"] == name, "cluster"], *_published_here(published, name), "mean"]:
            y -= 1
            height[name, paper] = y
        y -= 1
    with styled():
        figure = Figure(figsize=(WIDTH, 0.9 - 0.165 * y), layout="constrained")
        axes, margin = figure.subplots(1, 2, sharey=True, width_ratios=[1, 0.24])
        axes.axvline(0, color=BLACK, linewidth=0.6, zorder=1)
        for row in papers[papers["set"].isin(names)].itertuples():
            at = height[row.set, row.cluster]
            _bar(axes, at, row.low, row.high, color=GREY, linewidth=3, gid="paper")
            axes.plot(100 * row.value, at, "|", color=BLACK, markersize=8, markeredgewidth=1.2, gid="paper mean")
            _annotate(margin, at, row.value, row.n_effects)
        for row in effects[effects["set"].isin(names)].itertuples():
            _dot(axes, row.value, height[row.set, row.cluster], COLOURS[0], row.certainty == "read", gid="effect")
        for name in names:
            if _published_here(published, name):
                _draw_published(axes, margin, height[name, TABLE9], published)
        for row in means[means["set"].isin(names)].itertuples():
            _draw_mean(axes, margin, height[row.set, "mean"], row)
        _finish(axes, margin, height, names, figure)
    return figure


def draw_funnel(effects: pd.DataFrame, published: pd.DataFrame, names: dict[str, str]) -> Figure:
    """Draw each effect against its standard error, over shades of the two-sided p-value against no effect.

    effects : columns set, value, se, certainty. published : value, se. Fractions.
    """
    top = 105 * max(effects["se"].max(), published["se"].max())
    span = 1.05 * max(100 * effects["value"].abs().max(), 100 * published["value"].abs().max(), 2.6 * top / 2)
    with styled():
        figure = Figure(figsize=(WIDTH, 3.9), layout="constrained")
        axes = figure.subplots()
        for z, _, shade in SHADES:
            axes.fill_betweenx([0, top], [0, -z * top], [0, z * top], color=shade, linewidth=0, zorder=0, gid="contour")
        axes.axvline(0, color=BLACK, linewidth=0.6, zorder=1)
        for i, (name, _) in enumerate(names.items()):
            for row in effects[effects["set"] == name].itertuples():
                face = COLOURS[i] if row.certainty == "read" else "white"
                axes.plot(100 * row.value, 100 * row.se, MARKERS[i], color=COLOURS[i], markerfacecolor=face,
                          markersize=4.2, markeredgewidth=0.9, gid=name, zorder=3)  # fmt: skip
        axes.plot(100 * published["value"], 100 * published["se"], "x", color=BLACK, markersize=5, markeredgewidth=1.3,
                  linestyle="none", gid="published", zorder=4)  # fmt: skip
        axes.set_ylim(top, 0)
        axes.set_xlim(-span, span)
        axes.set_xlabel("difference in points")
        axes.set_ylabel("standard error, points")
        handles: list[Artist] = [
            Line2D([], [], color=COLOURS[i], marker=MARKERS[i], linestyle="none", markersize=4.2, label=title)
            for i, title in enumerate(names.values())
        ]
        handles.append(_hollow())
        handles.append(Line2D([], [], color=BLACK, marker="x", linestyle="none", markersize=5, label=TABLE9))
        handles += [Patch(facecolor=shade, label=label) for _, label, shade in SHADES]
        figure.legend(handles=handles, loc="outside upper left", ncols=4, handlelength=1.3, columnspacing=1.1,
                      handletextpad=0.4, borderaxespad=0.1)  # fmt: skip
    return figure


def draw_leave_one_out(rows: pd.DataFrame, names: dict[str, str]) -> Figure:
    """Draw the mean of each set as it is, without each paper, and of the rows that were read in their papers.

    rows : columns set, label, value, low, high (fractions; NaN without a mean), n_papers, df; the first of a set is all.
    """
    shown = rows[rows["set"].isin(names)]
    height, y = {}, 0.0
    for name in names:
        y -= 0.35
        height[name, ""] = y
        for label in shown.loc[shown["set"] == name, "label"]:
            y -= 1
            height[name, label] = y
        y -= 1
    with styled():
        figure = Figure(figsize=(WIDTH, 0.75 - 0.165 * y), layout="constrained")
        axes, margin = figure.subplots(1, 2, sharey=True, width_ratios=[1, 0.34])
        axes.axvline(0, color=BLACK, linewidth=0.6, zorder=1)
        for name in names:
            part = shown[shown["set"] == name]
            if len(part):
                ends = [height[name, ""] - 0.5, height[name, part["label"].iloc[-1]] - 0.4]
                axes.plot([100 * part["value"].iloc[0]] * 2, ends, ":", color=BLACK, linewidth=0.7, zorder=1)
        for row in shown.itertuples():
            at = height[row.set, row.label]
            if pd.isna(row.value):
                margin.annotate("no mean", (0.36, at), ha="right", va="center", fontsize=7.5)
                continue
            _bar(axes, at, row.low, row.high, color=COLOURS[0], linewidth=1.4, gid="interval")
            axes.plot(
                100 * row.value, at, "D", color=BLACK, markerfacecolor="white", markersize=4.5, gid="mean", zorder=4
            )
            margin.annotate(signed(row.value), (0.36, at), ha="right", va="center", fontsize=7.5)
            margin.annotate(f"{row.n_papers}", (0.68, at), ha="right", va="center", fontsize=7.5)
            margin.annotate(fixed(row.df), (1.0, at), ha="right", va="center", fontsize=7.5)
        _axis(axes, margin, height, names, mean=False)
        _heads(margin, {"points": 0.36, "papers": 0.68, "df": 1.0})
    return figure


def _published_here(published: pd.DataFrame, name: str) -> list[str]:
    return [TABLE9] if name in set(published["set"]) else []


def _draw_published(axes: Axes, margin: Axes, at: float, published: pd.DataFrame) -> None:
    axes.plot(100 * published["value"], [at] * len(published), "x", color=COLOURS[1], markersize=4, markeredgewidth=1.1,
              linestyle="none", gid="published", zorder=3)  # fmt: skip
    axes.plot(100 * published["value"].mean(), at, "|", color=COLOURS[1], markersize=8, markeredgewidth=1.2)
    _annotate(margin, at, published["value"].mean(), len(published))


def _draw_mean(axes: Axes, margin: Axes, at: float, row: Any) -> None:
    if pd.isna(row.mean):
        margin.annotate("no mean", (0.5, at), ha="right", va="center", fontsize=7.5)
        return
    _bar(axes, at, row.prediction_low, row.prediction_high, color=BLACK, linewidth=0.7, gid="prediction")
    _bar(axes, at, row.low, row.high, color=COLOURS[2], linewidth=2.6, gid="interval")
    axes.plot(100 * row.mean, at, "D", color=BLACK, markerfacecolor="white", markersize=5, gid="mean", zorder=5)
    _annotate(margin, at, row.mean, row.n_effects)


def _dot(axes: Axes, value: float, at: float, colour: str, read: bool, gid: str) -> None:
    axes.plot(100 * value, at, "o", color=colour, markerfacecolor=colour if read else "white", markersize=3.4,
              markeredgewidth=0.8, gid=gid, zorder=3)  # fmt: skip


def _bar(axes: Axes, at: float, low: float, high: float, color: str, linewidth: float, gid: str) -> None:
    """Draw an interval, with an arrow where it goes beyond the axis."""
    left, right = max(100 * low, LIMITS[0]), min(100 * high, LIMITS[1])
    axes.plot([left, right], [at, at], color=color, linewidth=linewidth, solid_capstyle="butt", gid=gid, zorder=2)
    first, last = LIMITS
    for beyond, edge, arrow in ((100 * low < first, first + 0.6, "<"), (100 * high > last, last - 0.6, ">")):
        if beyond:
            axes.plot(edge, at, arrow, color=color, markersize=4, gid="beyond", zorder=2)


def _annotate(margin: Axes, at: float, value: float, n_effects: int) -> None:
    margin.annotate(signed(value), (0.5, at), ha="right", va="center", fontsize=7.5)
    margin.annotate(f"{n_effects}", (1.0, at), ha="right", va="center", fontsize=7.5)


def _axis(axes: Axes, margin: Axes, height: dict[tuple[str, str], float], names: dict[str, str], mean: bool) -> None:
    lines = {key: at for key, at in height.items() if key[1]}
    axes.set_yticks(list(lines.values()), [label for _, label in lines], fontsize=7.5)
    for name, title in names.items():
        axes.annotate(title, (LIMITS[0], height[name, ""]), ha="left", va="center", fontsize=7.5, fontweight="bold")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_ylim(min(height.values()) - 0.7, 0.5)
    axes.set_xlim(*LIMITS)
    axes.set_xlabel("difference in points, treatment minus control" if mean else "mean difference in points")
    margin.set_axis_off()
    margin.set_xlim(0, 1)


def _heads(margin: Axes, columns: dict[str, float]) -> None:
    for label, x in columns.items():
        margin.annotate(label, (x, 0.35), ha="right", va="bottom", fontsize=7, color="#555555", annotation_clip=False)


def _finish(
    axes: Axes, margin: Axes, height: dict[tuple[str, str], float], names: dict[str, str], figure: Figure
) -> None:
    _axis(axes, margin, height, names, mean=True)
    _heads(margin, {"points": 0.5, "results": 1.0})
    handles: Sequence[Artist] = [
        Line2D([], [], color=COLOURS[0], marker="o", linestyle="none", markersize=3.4, label="result, read"),
        _hollow(),
        Line2D([], [], color=GREY, marker="|", markeredgecolor=BLACK, linewidth=3, label="paper"),
        Line2D([], [], color=COLOURS[1], marker="x", linestyle="none", markersize=4, label=TABLE9),
        Line2D([], [], color=COLOURS[2], linewidth=2.6, marker="D", markeredgecolor=BLACK, markerfacecolor="white",
               markersize=5, label="mean"),
        Line2D([], [], color=BLACK, linewidth=0.7, label="a new result"),
    ]  # fmt: skip
    figure.legend(handles=handles, loc="outside upper left", ncols=6, handlelength=1.4, columnspacing=1.1,
                  handletextpad=0.4, borderaxespad=0.1)  # fmt: skip


def _hollow() -> Line2D:
    return Line2D([], [], color=COLOURS[0], marker="o", markerfacecolor="white", linestyle="none", markersize=3.4,
                  label="from a copy")  # fmt: skip
