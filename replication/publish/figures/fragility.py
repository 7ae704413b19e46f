"""Fragility map: the p-value of each published row over quantities that the table does not print."""

from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import BoundaryNorm, ListedColormap
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from replication.publish.figures.style import BLACK, WIDTH, styled
from replication.text import bare, labels, plain, signed

EDGES = (0.0, 0.001, 0.01, 0.05, 0.1, 0.2, 1.0)
"""Ends of the bands of p; the darker, the smaller p."""
BANDS = ("#5e5e5e", "#8f8f8f", "#bdbdbd", "#e3e3e3", "#f1f1f1", "#ffffff")
DOT: dict[str, Any] = {"markerfacecolor": "white", "markeredgecolor": BLACK, "markeredgewidth": 1.3}
"""Seen on every band."""
COLUMNS = 4
"""Panels side by side at most."""


def draw(cells: pd.DataFrame, rows: pd.DataFrame, point: tuple[float, float], alpha: float = 0.05) -> Figure:
    """Draw two-sided p over the plane of task correlation and between-task share, one panel per row, T2.

    cells : every row at every (icc, rho) of a rectangle, as `row_tests.grid` returns it at the stated runs; columns
        benchmark, icc, rho, delta (fraction), p_two_sided. Between the cells p is interpolated.
    rows : one line per panel, in order, as `rows.compare` returns them; columns benchmark, name, n, k, runs_stated,
        upper_bound (starred: p is at most what is drawn). point : the (icc, rho) that a dot marks in each panel.
    """
    edges = sorted({*EDGES, alpha})
    colours = ListedColormap(
        BANDS if len(edges) == len(EDGES) else [str(g) for g in np.linspace(0.4, 1, len(edges) - 1)]
    )
    n_columns = min(COLUMNS, len(rows))
    n_rows = -(-len(rows) // n_columns)
    with styled():
        # Fixed margins in inches: the solver of the other layouts differs in the last digit from one call to the next.
        left, right, bottom, top, side, across, down = 0.5, 0.1, 0.45, 0.7, 1.33, 0.16, 0.5
        height = bottom + n_rows * side + (n_rows - 1) * down + top
        figure = Figure(figsize=(WIDTH, height))
        edge = left + n_columns * (side + across) - across
        panels = list(
            figure.subplots(
                n_rows, n_columns, squeeze=False,
                gridspec_kw={
                    "left": left / WIDTH, "right": min(edge / WIDTH, 1 - right / WIDTH), "bottom": bottom / height,
                    "top": 1 - top / height, "wspace": across / side, "hspace": down / side,
                },
            ).flat
        )  # fmt: skip
        names = labels(list(rows["name"]), 18)
        for i, (axes, row) in enumerate(zip(panels, rows.itertuples(), strict=False)):
            table = cells[cells["benchmark"] == row.benchmark]
            p = table.pivot_table(index="icc", columns="rho", values="p_two_sided")
            filled = axes.contourf(p.columns, p.index, p.to_numpy(), levels=edges, cmap=colours,
                                   norm=BoundaryNorm(edges, colours.N))  # fmt: skip
            filled.set_gid("p")
            _border(axes, p, alpha)
            axes.plot(point[1], point[0], "o", markersize=5.5, gid="shown", zorder=5, **DOT)  # fmt: skip
            axes.set_xlim(p.columns[0], p.columns[-1])
            axes.set_ylim(p.index[0], p.index[-1])
            axes.set_xticks([0, 0.25, 0.5, 0.75, p.columns[-1]], ["0", "", ".5", "", bare(p.columns[-1])])
            axes.set_yticks([p.index[0], 0.5, p.index[-1]], [bare(y) for y in (p.index[0], 0.5, p.index[-1])])
            axes.tick_params(labelsize=7.5, length=2.5, labelleft=i % n_columns == 0)
            # the last panel of a column carries the labels of its axis
            axes.tick_params(labelbottom=i + n_columns >= len(rows))
            axes.set_title(names[i] + "*" * bool(row.upper_bound), loc="left", fontsize=8, fontweight="bold", pad=13)
            axes.annotate(_facts(row, table["delta"].iloc[0]), (0, 1), (0, 3), xycoords="axes fraction",
                          textcoords="offset points", fontsize=7, color="#444444", va="bottom")  # fmt: skip
        for axes in panels[len(rows) :]:
            axes.set_axis_off()
        middle = bottom + (height - bottom - top) / 2
        figure.text(left / WIDTH, 0.07 / height, "correlation of the arms over tasks, rho", fontsize=8.5)
        figure.text(
            0.1 / WIDTH, middle / height, "between-task share, icc", rotation=90, fontsize=8.5, ha="center", va="center"
        )
        _key(figure, edges, colours, point, alpha, bool(rows["upper_bound"].any()))
    return figure


def _border(axes: Axes, p: pd.DataFrame, alpha: float) -> None:
    """Draw the contour of alpha with its label on it; a panel that lies on one side of it says on which."""
    values = p.to_numpy()
    halo = [withStroke(linewidth=2.2, foreground="white")]
    if values.min() > alpha or values.max() <= alpha:
        text = f"p above {bare(alpha)}\neverywhere" if values.min() > alpha else f"p below {bare(alpha)}\neverywhere"
        box = {"boxstyle": "square,pad=0.25", "facecolor": "white", "linewidth": 0}
        axes.annotate(
            text, (0.07, 0.08), xycoords="axes fraction", fontsize=7, va="bottom", bbox=box, gid="side", zorder=4
        )
        return
    lines = axes.contour(p.columns, p.index, values, levels=[alpha], colors=BLACK, linewidths=2.2)
    lines.set_gid("alpha")
    path = max(map(np.asarray, lines.get_paths()[0].to_polygons(closed_only=False)), key=len)
    x, y = path[len(path) // 6]
    right = x > (p.columns[0] + p.columns[-1]) / 2
    axes.annotate(bare(alpha), (x, y), (-4 if right else 4, 0), textcoords="offset points", fontsize=7.5,
                  ha="right" if right else "left", va="center", fontweight="bold", path_effects=halo, zorder=4,
                  gid="alpha label")  # fmt: skip


def _key(
    figure: Figure, edges: list[float], colours: ListedColormap, point: tuple[float, float], alpha: float, bounds: bool
) -> None:
    """Lay the bands of p in one strip above the panels, each with its name in it."""
    height = figure.get_figheight()
    axes = figure.add_axes((0.09, 1 - 0.25 / height, 0.6, 0.17 / height))
    axes.set_axis_off()
    axes.set_xlim(-0.9, len(edges) - 1)
    axes.set_ylim(0, 1)
    axes.annotate("p", (-0.15, 0.5), ha="right", va="center", fontsize=8)
    for i, (low, high) in enumerate(pairwise(edges)):
        fill = colours(i)
        axes.fill_between([i, i + 1], 0, 1, facecolor=fill, edgecolor=BLACK, linewidth=0.5)
        text = f"below {bare(high)}" if i == 0 else f"{bare(low)}\N{EN DASH}{bare(high)}"
        dark = sum(fill[:3]) / 3 < 0.5
        axes.annotate(text, (i + 0.5, 0.48), ha="center", va="center", fontsize=7, color="white" if dark else BLACK)
    at = edges.index(alpha)
    axes.plot([at, at], [-0.25, 1.25], color=BLACK, linewidth=2.2, clip_on=False)
    end = len(edges) - 1
    axes.plot(end + 0.25, 0.5, "o", markersize=5.5, clip_on=False, **DOT)
    note = f"icc {bare(point[0])}, rho {bare(point[1])}" + ("    * at most this p" if bounds else "")
    axes.annotate(note, (end + 0.42, 0.48), va="center", fontsize=7.5, annotation_clip=False)


def _facts(row, delta: float) -> str:
    return f"{signed(delta)}, n {row.n}, k {plain(row.k)}" + ("" if row.runs_stated else " assumed")
