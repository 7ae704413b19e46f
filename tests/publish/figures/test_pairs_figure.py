"""The pairs figure draws the gaps, intervals and bands it is given."""

import numpy as np
import pandas as pd
import pytest

from replication.publish.figures import pairs
from replication.publish.figures.style import COLOURS

TABLE = pd.DataFrame(
    {
        "benchmark": ["b", "b", "b", "c"], "metric": "overall", "family": ["one", "two", "one", "one"],
        "base_identity": ["read", "inferred", "inferred", "read"], "params_b": [8.0, 8.0, 70.0, 8.0],
        "value": [0.1, -0.05, 0.2, 0.3], "low": [0.05, -0.1, 0.15, 0.2], "high": [0.16, 0.01, 0.27, 0.4],
    }
)  # fmt: skip
BAND = pd.DataFrame(
    {
        "benchmark": "b", "metric": "overall", "params_b": [70.0, 8.0, 20.0], "value": [0.12, 0.1, 0.11],
        "low": [0.05, 0.02, 0.04], "high": [0.2, 0.19, 0.17], "low_all": [0.0, -0.03, 0.01],
        "high_all": [0.25, 0.23, 0.21],
    }
)  # fmt: skip


@pytest.fixture
def figure():
    return pairs.draw(TABLE, BAND)


def lines(axes, gid):
    return [line for line in axes.get_lines() if line.get_gid() == gid]


def test_each_pair_is_a_point_with_its_interval_in_points(figure):
    axes = figure.axes[0]
    assert [tuple(line.get_ydata()) for line in lines(axes, "interval")] == [
        pytest.approx((5, 16)), pytest.approx((-10, 1)), pytest.approx((15, 27)),
    ]  # fmt: skip
    assert [line.get_ydata()[0] for line in lines(axes, "one")] == pytest.approx([10, 20])
    assert [line.get_ydata()[0] for line in lines(axes, "two")] == pytest.approx([-5])
    for line, centre in zip(lines(axes, "interval"), (8, 8, 70), strict=True):
        assert line.get_xdata() == pytest.approx([centre] * 2, rel=0.12)


def test_pairs_of_one_size_stand_side_by_side_about_their_size(figure):
    one, two, large = (line.get_xdata()[0] for line in lines(figure.axes[0], "interval"))
    assert one < 8 < two and one * two == pytest.approx(64)
    assert large == 70
    assert figure.axes[0].get_xscale() == "log"


def test_base_that_was_not_read_is_hollow(figure):
    first, second = lines(figure.axes[0], "one")
    assert (first.get_markerfacecolor(), second.get_markerfacecolor()) == (COLOURS[0], "white")
    assert lines(figure.axes[0], "two")[0].get_color() == COLOURS[1]


def test_bands_and_line_are_drawn_over_sorted_sizes(figure):
    axes = figure.axes[0]
    (line,) = lines(axes, "line")
    assert line.get_xdata().tolist() == [8, 20, 70]
    assert line.get_ydata() == pytest.approx([10, 11, 12])
    drawn = {c.get_gid(): c.get_paths()[0].vertices[:, 1] for c in axes.collections}
    assert (drawn["pointwise"].min(), drawn["pointwise"].max()) == pytest.approx((2, 20))
    assert (drawn["simultaneous"].min(), drawn["simultaneous"].max()) == pytest.approx((-3, 25))


def test_panel_without_band_has_points_only(figure):
    axes = figure.axes[1]
    assert axes.get_title(loc="left") == "c, overall"
    assert not axes.collections and not lines(axes, "line") and len(lines(axes, "interval")) == 1


def test_legend_names_exactly_the_drawn_marks(figure):
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["one", "two", "base read", "base inferred", "at one size", "all sizes together"]
    bare = pairs.draw(TABLE[TABLE["base_identity"] == "read"], BAND.iloc[:0])
    assert [text.get_text() for text in bare.legends[0].get_texts()] == ["one", "base read"]


def test_eight_families_look_different():
    table = pd.concat([TABLE.iloc[[0]].assign(family=f"f{i}") for i in range(8)], ignore_index=True)
    axes = pairs.draw(table, BAND).axes[0]
    looks = {(lines(axes, f"f{i}")[0].get_color(), lines(axes, f"f{i}")[0].get_marker()) for i in range(8)}
    assert len(looks) == 8
    assert np.ptp([lines(axes, f"f{i}")[0].get_xdata()[0] for i in range(8)]) > 0
