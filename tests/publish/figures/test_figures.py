"""Figures draw the numbers they are given: checked on the drawn data, not on pixels."""

import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from replication.analyse import analysis_settings, reanalysis
from replication.analyse.claims import load_claims
from replication.analyse.verdicts import tabulate
from replication.publish.figures import compute, curves, forest, probe, scales, style

CLAIMS = load_claims(Path(__file__).parents[3] / "conf/claim")
PUBLISHED = reanalysis.study_data(CLAIMS, analysis_settings.default())


@pytest.fixture
def tables(make_scores):
    scores = make_scores({"agent_sft": 0.4, "lwm_then_sft": 0.55})
    data = dataclasses.replace(PUBLISHED, study="controlled", kind="controlled", scores=scores)
    return tabulate(CLAIMS, data)


SCALES = (("xs", 0.0005), ("s", 0.002))
ARMS = {"base": 0.1, "agent_sft": 0.4, "lwm_then_sft": 0.55, "placebo": {"xs": 0.4}}


@pytest.fixture(scope="module")
def several(make_scores):
    """A study of several scales with an arm at one of them and an arm with one training run."""
    scores = make_scores(ARMS, scales=SCALES, only_first=("base",), n_tasks=20)
    data = dataclasses.replace(
        PUBLISHED, study="controlled", kind="controlled", scores=scores,
        comparisons=(("placebo", "agent_sft"), ("agent_sft", "base")),
    )  # fmt: skip
    tables = tabulate(CLAIMS, data)
    return scores, tables.estimates.query("policy == 'exclude'"), tables.runs


def of(table, treatment, control):
    return table[(table["treatment"] == treatment) & (table["control"] == control)]


def drawn(figure, gid, axes=0):
    return [line for line in figure.axes[axes].get_lines() if line.get_gid() == gid]


def labels(figure):
    return {round(tick, 6): label.get_text() for tick, label in zip(
        figure.axes[0].get_yticks(), figure.axes[0].get_yticklabels(), strict=True)}  # fmt: skip


def test_published_forest_draws_every_interval_in_points(tables):
    figure = forest.draw_published(tables.audit.estimates, sesoi=0.03)
    rows = labels(figure)
    for interval in ("T1", "T2", "unpaired"):
        table = tables.audit.estimates.query("interval == @interval").set_index("benchmark")
        shown = {rows[round(line.get_ydata()[0], 6)]: tuple(line.get_xdata()) for line in drawn(figure, interval)}
        assert set(shown) == set(table.index)
        for name, limits in shown.items():
            assert limits == pytest.approx((100 * table.loc[name, "low"], 100 * table.loc[name, "high"]))


def test_rows_are_ordered_by_effect_with_the_summary_last(tables):
    figure = forest.draw_published(tables.audit.estimates, sesoi=0.03)
    order = [name for _, name in sorted(labels(figure).items(), reverse=True)]
    values = tables.audit.estimates.drop_duplicates("benchmark").set_index("benchmark")["value"]
    assert order[-1] == "random effects"
    assert order[:-1] == values.drop("random effects").sort_values(ascending=False).index.tolist()


def test_margin_states_points_tasks_and_runs(tables):
    margin = {text.get_text() for text in forest.draw_published(tables.audit.estimates, sesoi=0.03).axes[1].texts}
    assert {"points", "tasks", "runs", "+6.3", "89", "882", "5"} <= margin


def test_own_forest_shows_each_pair_of_training_runs(tables):
    estimates = tables.estimates.query("policy == 'exclude'")
    figure = forest.draw_collected(estimates, tables.runs, sesoi=0.03)
    (dots,) = drawn(figure, "runs")
    assert sorted(dots.get_xdata()) == pytest.approx(sorted(100 * tables.runs["value"]))
    assert {line.get_gid() for line in figure.axes[0].get_lines()} >= {"T2", "T3", "estimate"}
    assert not drawn(figure, "T1")


def test_forest_of_several_scales_has_intervals_of_the_average_and_a_mark_per_scale(several):
    _, estimates, runs = several
    table, pair = of(estimates, "lwm_then_sft", "agent_sft"), of(runs, "lwm_then_sft", "agent_sft")
    figure = forest.draw_collected(table, pair, sesoi=0.03)
    rows = labels(figure)
    average = table.query("scale == 'all scales' and target == 'T3'").set_index("benchmark")
    shown = {rows[round(line.get_ydata()[0], 6)]: tuple(line.get_xdata()) for line in drawn(figure, "T3")}
    assert shown == {n: pytest.approx((100 * r.low, 100 * r.high)) for n, r in average.iterrows()}
    for scale in ("xs", "s"):
        (marks,) = drawn(figure, f"scale {scale}")
        expected = table.query("scale == @scale and target == 'T2'")["value"]
        assert sorted(marks.get_xdata()) == pytest.approx(sorted(100 * expected))
    assert [text.get_text() for text in figure.legends[0].get_texts()][-3:-1] == ["scale xs", "scale s"]


def test_forest_of_an_arm_with_one_training_run_shows_no_method_and_no_pairs_of_runs(several):
    _, estimates, runs = several
    figure = forest.draw_collected(of(estimates, "agent_sft", "base"), of(runs, "agent_sft", "base"), sesoi=0.03)
    assert not drawn(figure, "T3") and not drawn(figure, "runs")
    assert len(drawn(figure, "T2")) == 4


def test_margin_rounds_as_the_tables_do(several):
    from replication.text import signed

    _, estimates, runs = several
    table = of(estimates, "lwm_then_sft", "agent_sft").copy()
    first = table["benchmark"].iloc[0]
    table.loc[table["benchmark"] == first, "value"] = -0.0125
    figure = forest.draw_collected(table, of(runs, "lwm_then_sft", "agent_sft"), sesoi=0.03)
    assert signed(-0.0125) in {text.get_text() for text in figure.axes[1].texts}


def test_gap_against_scale_draws_a_panel_per_comparison_in_the_order_given(several):
    _, estimates, _ = several
    single = estimates[estimates["scale"] != "all scales"]
    figure = scales.draw(single, sesoi=0.03)
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["lwm_then_sft\nminus agent_sft", "agent_sft\nminus base"]
    for axes, (pair, target) in enumerate(((("lwm_then_sft", "agent_sft"), "T3"), (("agent_sft", "base"), "T2"))):
        rows = of(single[single["target"] == target], *pair).query("benchmark == 'mean of these'")
        (mean,) = drawn(figure, "mean", axes)
        assert mean.get_xdata().tolist() == [0.0005, 0.002]
        assert mean.get_ydata().tolist() == pytest.approx((100 * rows["value"]).tolist())
        limits = [line.get_ydata() for line in drawn(figure, "pointwise", axes)]
        assert np.array(limits) == pytest.approx(100 * rows[["low", "high"]].to_numpy())
        (band,) = [patch for patch in figure.axes[axes].collections if patch.get_gid() == "band"]
        corners = band.get_paths()[0].vertices[:, 1]
        assert (corners.min(), corners.max()) == pytest.approx(
            (100 * rows["low_all_scales"].min(), 100 * rows["high_all_scales"].max())
        )
        assert {line.get_gid() for line in figure.axes[axes].get_lines()} >= {"calling", "terminal"}
    assert [t.get_text() for t in figure.axes[0].get_xticklabels()] == ["0.5M", "2M"]


def test_probe_draws_each_training_run_in_the_panel_of_its_domain(several, make_probe):
    from replication.analyse.tables.probe import run_table

    scores = several[0]
    runs = run_table(scores, make_probe(scores, dict.fromkeys(ARMS, 0.5)), {"calling": "out", "terminal": "in"})
    figure = probe.draw(runs)
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["in the warm-up's domain", "out of its domain"]
    (dots,) = drawn(figure, "agent_sft s", 1)
    expected = runs.query("arm == 'agent_sft' and scale == 's' and domain == 'out'")
    assert sorted(dots.get_xdata()) == pytest.approx(sorted(100 * expected["token_f1"]))
    assert sorted(dots.get_ydata()) == pytest.approx(sorted(100 * expected["score"]))
    assert dots.get_markerfacecolor() == "none" != drawn(figure, "agent_sft s", 0)[0].get_markerfacecolor()
    assert not drawn(figure, "placebo s") and drawn(figure, "placebo xs")
    assert dots.get_marker() != drawn(figure, "agent_sft xs", 1)[0].get_marker()
    assert len(probe.draw(runs[runs["domain"] == "all"]).axes) == 1


def test_compute_draws_every_training_run_that_computed_something():
    training = pd.DataFrame(
        [(arm, scale, 0.001 * f, seed, f * 1e12 * (seed + 1) * (arm != "base"))
         for arm in ("lwm_then_sft", "agent_sft", "base", "mine") for scale, f in (("s", 3), ("xs", 1)) for seed in (0, 1)],
        columns=["arm", "scale", "params_b", "training_seed", "flops"],
    )  # fmt: skip
    figure = compute.draw(training)
    axes = figure.axes[0]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["agent_sft", "lwm_then_sft", "mine"]
    (dots,) = drawn(figure, "lwm_then_sft s")
    assert dots.get_xdata().tolist() == [3e12, 6e12]
    assert set(dots.get_ydata()) == {-1}
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["scale xs", "scale s"]


def test_arms_have_one_colour_and_one_order_in_every_figure():
    assert style.in_order(["zebra", "placebo", "agent_sft", "ant", "base"]) == [
        "base",
        "agent_sft",
        "placebo",
        "ant",
        "zebra",
    ]
    assert len(set(style.ARMS.values())) == len(style.ARMS)
    assert style.colour("zebra") == style.BLACK


def test_interval_beyond_the_axis_ends_in_an_arrow(tables):
    estimates = tables.estimates.query("policy == 'exclude'")
    figure = forest.draw_collected(estimates, tables.runs, sesoi=0.03)
    left, right = figure.axes[0].get_xlim()
    pooled = estimates[estimates["benchmark"] == "random effects"]
    beyond = (100 * pooled["low"] < left).sum() + (100 * pooled["high"] > right).sum()
    assert len(drawn(figure, "beyond")) == beyond > 0


def test_band_is_the_smallest_effect_of_interest(tables):
    band = forest.draw_published(tables.audit.estimates, sesoi=0.05).axes[0].patches[0]
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
    assert [text.get_text() for text in panels["lwm_then_sft"].texts] == ["transitions", "episodes"]
    assert len([line for line in panels["lwm_then_sft"].get_lines() if line.get_gid() == "phase"]) == 1
    assert len({line.get_linestyle() for line in panels["agent_sft"].get_lines() if line.get_gid() == "run"}) == 3


def test_curves_of_many_arms_wrap_and_rewards_have_an_axis_of_their_own(make_curves):
    arms = ("general", "agent_sft", "agent_sft_matched", "lwm_then_sft", "sft_then_lwm_rl")
    table = make_curves(arms=arms, scales=("xs", "s"))
    figure = curves.draw(table)
    panels = {axes.get_title(loc="left"): axes for axes in figure.axes if axes.get_title(loc="left")}
    assert list(panels) == list(arms)
    assert len({axes.get_subplotspec().rowspan.start for axes in panels.values()}) == 2
    (other,) = [axes for axes in figure.axes if axes.get_ylabel() == "reward"]
    rewards = [line for line in other.get_lines() if line.get_gid() == "reward"]
    rewarded = table[(table["arm"] == "sft_then_lwm_rl") & (table["scale"] == "xs") & (table["training_seed"] == 0)]
    assert len(rewards) == 6
    assert any(np.array_equal(line.get_ydata(), rewarded["reward"].dropna()) for line in rewards)
    losses = [line for line in panels["sft_then_lwm_rl"].get_lines() if line.get_gid() == "run"]
    assert all((line.get_ydata() > 0).all() and len(line.get_ydata()) == 10 for line in losses)
    assert len({line.get_color() for line in losses}) == 2


def test_saved_figure_is_the_same_bytes_twice_and_leaves_no_global_style(tables, tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    paths = [
        style.save(forest.draw_published(tables.audit.estimates, 0.03), tmp_path / f"{i}" / "f.svg") for i in range(2)
    ]
    first, second = (path.read_bytes() for path in paths)
    assert first == second
    assert b"<dc:date>" not in first
    assert dict(matplotlib.rcParams) == before
