"""Figures draw the numbers they are given: checked on the drawn data, not on pixels."""

from pathlib import Path

import numpy as np
import pytest

from replication.claims import load_claims
from replication.evidence import load_benchmarks, load_scores
from replication.figures import curves, forest, style
from replication.verdicts import Data, tabulate

CLAIMS = load_claims(Path(__file__).parents[2] / "conf/claim")


@pytest.fixture
def tables(make_scores):
    data = Data(
        study="controlled", kind="controlled", published=load_scores(), benchmarks=load_benchmarks(),
        scores=make_scores({"agent_sft": 0.4, "lwm_then_sft": 0.55}),
    )  # fmt: skip
    return tabulate(CLAIMS, data)


def drawn(figure, gid):
    return [line for line in figure.axes[0].get_lines() if line.get_gid() == gid]


def labels(figure):
    return {round(tick, 6): label.get_text() for tick, label in zip(
        figure.axes[0].get_yticks(), figure.axes[0].get_yticklabels(), strict=True)}  # fmt: skip


def test_published_forest_draws_every_interval_in_points(tables):
    figure = forest.draw_published(tables.published, sesoi=0.03)
    rows = labels(figure)
    for interval in ("T1", "T2", "unpaired"):
        table = tables.published.query("interval == @interval").set_index("benchmark")
        shown = {rows[round(line.get_ydata()[0], 6)]: tuple(line.get_xdata()) for line in drawn(figure, interval)}
        assert set(shown) == set(table.index)
        for name, limits in shown.items():
            assert limits == pytest.approx((100 * table.loc[name, "low"], 100 * table.loc[name, "high"]))


def test_rows_are_ordered_by_effect_with_the_summary_last(tables):
    figure = forest.draw_published(tables.published, sesoi=0.03)
    order = [name for _, name in sorted(labels(figure).items(), reverse=True)]
    values = tables.published.drop_duplicates("benchmark").set_index("benchmark")["value"]
    assert order[-1] == "random effects"
    assert order[:-1] == values.drop("random effects").sort_values(ascending=False).index.tolist()


def test_margin_states_points_tasks_and_runs(tables):
    margin = {text.get_text() for text in forest.draw_published(tables.published, sesoi=0.03).axes[1].texts}
    assert {"points", "tasks", "runs", "+6.3", "89", "882", "5"} <= margin


def test_own_forest_shows_each_pair_of_training_runs(tables):
    estimates = tables.estimates.query("policy == 'exclude'")
    figure = forest.draw_collected(estimates, tables.runs, sesoi=0.03)
    (dots,) = drawn(figure, "runs")
    assert sorted(dots.get_xdata()) == pytest.approx(sorted(100 * tables.runs["value"]))
    assert {line.get_gid() for line in figure.axes[0].get_lines()} >= {"T2", "T3", "estimate"}
    assert not drawn(figure, "T1")


def test_interval_beyond_the_axis_ends_in_an_arrow(tables):
    estimates = tables.estimates.query("policy == 'exclude'")
    figure = forest.draw_collected(estimates, tables.runs, sesoi=0.03)
    left, right = figure.axes[0].get_xlim()
    pooled = estimates[estimates["benchmark"] == "random effects"]
    beyond = (100 * pooled["low"] < left).sum() + (100 * pooled["high"] > right).sum()
    assert len(drawn(figure, "beyond")) == beyond > 0


def test_band_is_the_smallest_effect_of_interest(tables):
    band = forest.draw_published(tables.published, sesoi=0.05).axes[0].patches[0]
    assert (band.get_x(), band.get_width()) == pytest.approx((-5, 10))


def test_curves_draw_every_training_run_and_mark_phases(make_curves):
    table = make_curves()
    figure = curves.draw(table)
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes}
    assert set(panels) == {"agent_sft", "lwm_then_sft"}
    for arm, axes in panels.items():
        runs = [line for line in axes.get_lines() if line.get_gid() == "run"]
        assert len(runs) == 3
        expected = table[(table["arm"] == arm) & (table["training_seed"] == 0)]
        assert np.array_equal(runs[0].get_ydata(), expected["loss"])
        assert np.array_equal(runs[0].get_xdata(), expected["n_tokens"] / 1e6)
    assert [text.get_text() for text in panels["lwm_then_sft"].texts] == ["lwm_sft", "agent_sft"]
    assert len([line for line in panels["lwm_then_sft"].get_lines() if line.get_gid() == "phase"]) == 1
    assert len({line.get_linestyle() for line in panels["agent_sft"].get_lines() if line.get_gid() == "run"}) == 3


def test_saved_figure_is_the_same_bytes_twice_and_leaves_no_global_style(tables, tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    paths = [style.save(forest.draw_published(tables.published, 0.03), tmp_path / f"{i}" / "f.svg") for i in range(2)]
    first, second = (path.read_bytes() for path in paths)
    assert first == second
    assert b"<dc:date>" not in first
    assert dict(matplotlib.rcParams) == before
