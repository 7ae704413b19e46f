"""The figures of the literature draw the effects, means and intervals they are given."""

import numpy as np
import pandas as pd
import pytest

from replication.publish.figures import literature

NAMES = {"one": "first design", "two": "second design"}
EFFECTS = pd.DataFrame(
    {
        "set": ["one", "one", "two"], "cluster": ["A", "B", "A"], "value": [0.1, -0.2, 0.3], "se": [0.02, 0.05, 0.1],
        "certainty": ["read", "inferred", "read"],
    }
)  # fmt: skip
PAPERS = pd.DataFrame(
    {
        "set": ["one", "one", "two"], "cluster": ["A", "B", "A"], "n_effects": [1, 1, 1], "value": [0.1, -0.2, 0.3],
        "low": [0.05, -0.6, 0.2], "high": [0.15, 0.1, 0.4],
    }
)  # fmt: skip
MEANS = pd.DataFrame(
    {
        "set": ["one", "two"], "mean": [-0.05, np.nan], "low": [-0.1, np.nan], "high": [0.02, np.nan],
        "prediction_low": [-0.3, np.nan], "prediction_high": [0.9, np.nan], "n_effects": [2, 1],
    }
)  # fmt: skip
PUBLISHED = pd.DataFrame({"set": "one", "value": [0.05, 0.11], "se": [0.04, 0.03]})
LEFT_OUT = pd.DataFrame(
    {
        "set": ["one", "one", "one"], "label": ["all", "without A", "read rows only"], "value": [0.02, -0.2, np.nan],
        "low": [-0.1, -0.7, np.nan], "high": [0.14, 0.3, np.nan], "n_papers": [2, 1, 0], "df": [4.25, 1.0, np.nan],
    }
)  # fmt: skip


def lines(axes, gid):
    return [line for line in axes.get_lines() if line.get_gid() == gid]


def printed(axes):
    return [text.get_text() for text in axes.texts]


@pytest.fixture(scope="module")
def forest():
    return literature.draw_forest(PAPERS, EFFECTS, MEANS, PUBLISHED, NAMES)


def test_forest_draws_each_result_and_a_copied_one_hollow(forest):
    drawn = lines(forest.axes[0], "effect")
    assert [line.get_xdata()[0] for line in drawn] == pytest.approx([10, -20, 30])
    assert [line.get_markerfacecolor() == "white" for line in drawn] == [False, True, False]


def test_forest_draws_mean_interval_and_prediction_on_one_line(forest):
    axes = forest.axes[0]
    (mean,), (interval,), (prediction,) = (lines(axes, gid) for gid in ("mean", "interval", "prediction"))
    assert mean.get_xdata() == pytest.approx([-5])
    assert interval.get_xdata() == pytest.approx([-10, 2])
    assert prediction.get_xdata() == pytest.approx([-30, literature.LIMITS[1]])
    assert mean.get_ydata()[0] == interval.get_ydata()[0] == prediction.get_ydata()[0]
    assert "no mean" in printed(forest.axes[1])


def test_what_goes_beyond_the_axis_ends_in_an_arrow(forest):
    arrows = lines(forest.axes[0], "beyond")
    assert sorted(line.get_marker() for line in arrows) == ["<", ">"]


def test_published_differences_are_a_line_of_their_class(forest):
    (published,) = lines(forest.axes[0], "published")
    assert published.get_xdata() == pytest.approx([5, 11])
    labels = [label.get_text() for label in forest.axes[0].get_yticklabels()]
    assert labels == ["A", "B", "table 9", "mean", "A", "mean"]
    assert {"first design", "second design"} <= set(printed(forest.axes[0]))


def test_funnel_has_small_errors_on_top_and_contours_at_the_normal_quantiles():
    axes = literature.draw_funnel(EFFECTS, PUBLISHED, NAMES).axes[0]
    bottom, top = axes.get_ylim()
    assert bottom > 10 > top == 0
    assert [line.get_ydata()[0] for line in lines(axes, "one")] == pytest.approx([2, 5])
    assert [line.get_xdata()[0] for line in lines(axes, "two")] == pytest.approx([30])
    contours = [c for c in axes.collections if c.get_gid() == "contour"]
    edges = [abs(c.get_paths()[0].vertices[:, 0]).max() / bottom for c in contours]
    assert edges == pytest.approx([2.576, 1.960, 1.645])
    (published,) = lines(axes, "published")
    assert published.get_ydata() == pytest.approx([4, 3])


def test_means_without_a_paper_stand_below_the_mean_of_all():
    figure = literature.draw_leave_one_out(LEFT_OUT, {"one": "first design"})
    axes, margin = figure.axes
    means = lines(axes, "mean")
    assert [line.get_xdata()[0] for line in means] == pytest.approx([2, -20])
    assert means[0].get_ydata()[0] > means[1].get_ydata()[0]
    assert lines(axes, "interval")[0].get_xdata() == pytest.approx([-10, 14])
    assert printed(margin)[:4] == ["+2.0", "2", "4.2", "\N{MINUS SIGN}20.0"] and "no mean" in printed(margin)
