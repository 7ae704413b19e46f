"""World-model accuracy against agent score, a dot per training run."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from replication.publish.figures.style import BLACK, MARKERS, WIDTH, colour, in_order, legend_columns, styled, wrapped

PANELS = {"in": "in the warm-up's domain", "out": "out of its domain", "all": "all environments"}


def draw(runs: pd.DataFrame) -> Figure:
    """Draw one panel per domain, `in` and `out` where the runs have them, arms by colour, scales by mark.

    runs : columns arm, scale, params_b, training_seed, domain (in, out, all), token_f1, score (fractions).
    """
    domains = [d for d in ("in", "out") if d in set(runs["domain"])] or ["all"]
    shown = runs[runs["domain"].isin(domains)]
    scales = list(dict.fromkeys(shown.sort_values("params_b", kind="stable")["scale"]))
    arms = in_order(shown["arm"])
    with styled():
        figure = Figure(figsize=(WIDTH, 3.4), layout="constrained")
        panels = figure.subplots(1, len(domains), sharey=True, squeeze=False)[0]
        for axes, domain in zip(panels, domains, strict=True):
            for (arm, scale), part in shown[shown["domain"] == domain].groupby(["arm", "scale"]):
                axes.plot(100 * part["token_f1"], 100 * part["score"], linestyle="none", color=colour(arm),
                          marker=MARKERS[scales.index(scale) % len(MARKERS)], markersize=5, markeredgewidth=1,
                          markerfacecolor=colour(arm) if domain != "out" else "none", gid=f"{arm} {scale}")  # fmt: skip
            axes.set_title(PANELS[domain], loc="left", fontweight="bold", fontsize=8)
        figure.supxlabel("next observation, token F1, %", fontsize=8.5)
        panels[0].set_ylabel("agent score, %")
        handles = [Line2D([], [], color=colour(arm), marker="o", linestyle="none", label=wrapped(arm)) for arm in arms]
        handles += [
            Line2D(
                [], [], color=BLACK, marker=MARKERS[i % len(MARKERS)], linestyle="none", label=wrapped(f"scale {scale}")
            )
            for i, scale in enumerate(scales)
        ]
        figure.legend(handles=handles, loc="outside upper left", handletextpad=0.2, columnspacing=1.2, borderaxespad=0.1,
                      ncols=legend_columns([str(h.get_label()) for h in handles], 5))  # fmt: skip
    return figure
