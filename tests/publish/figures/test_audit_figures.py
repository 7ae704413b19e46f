"""The figures of an audit draw the tables they are given: checked on what is drawn."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from replication.analyse.evidence import load_benchmarks, load_scores
from replication.analyse.stats.printed import families, row_tests
from replication.analyse.stats.printed.digits import digits as digits_of
from replication.analyse.stats.printed.rows import compare
from replication.publish.figures import fragility, grim, style, tipping

RHOS = np.linspace(0, 0.95, 20)
ICCS = np.linspace(0.05, 0.95, 19)


@pytest.fixture(scope="module")
def rows():
    return compare(load_scores(), load_benchmarks(), "sft_lwm_rl", "sft", 1)


@pytest.fixture(scope="module")
def cells(rows):
    return row_tests.grid(rows, ICCS, RHOS)


@pytest.fixture(scope="module")
def digits(rows):
    return digits_of(rows, range(1, 11))


def texts(axes, gid):
    return [text.get_text() for text in axes.texts if text.get_gid() == gid]


def boxes(figure, gid):
    return [patch for patch in figure.axes[0].patches if patch.get_gid() == gid]


def panels(figure):
    return {axes.get_title(loc="left"): axes for axes in figure.axes if axes.get_title(loc="left")}


# --- fragility map ----------------------------------------------------------------------------------------------------


def test_map_has_a_panel_per_row_with_its_runs_and_a_star_where_p_is_a_bound(cells, rows):
    figure = fragility.draw(cells, rows, (0.5, 0.5))
    found = panels(figure)
    assert list(found) == ["Terminal-Bench 2.0", "SWE-bench Verified", "SWE-bench Pro", "WideSearch*", "Claw-Eval*",
                           "QwenClawBench*", "BFCL v4*"]  # fmt: skip
    assert "+6.3, n 89, k 5" in [text.get_text() for text in found["Terminal-Bench 2.0"].texts]
    assert "+12.8, n 200, k 1 assumed" in [text.get_text() for text in found["WideSearch*"].texts]
    (note,) = [t.get_text() for t in figure.axes[-1].texts if "rho" in t.get_text()]
    assert note.split() == ["icc", ".5,", "rho", ".5", "*", "at", "most", "this", "p"]


def test_contour_of_the_level_lies_where_p_crosses_it(cells, rows):
    axes = panels(fragility.draw(cells, rows, (0.5, 0.5)))["Terminal-Bench 2.0"]
    (line,) = [c for c in axes.collections if c.get_gid() == "alpha"]
    points = np.concatenate([path.vertices for path in line.get_paths()])
    turning = row_tests.turning_points(rows, [0.5]).set_index("benchmark").loc["terminal_bench_2", "rho"]
    at_half = points[np.abs(points[:, 1] - 0.5) < 0.03, 0]
    assert at_half == pytest.approx(np.full(at_half.size, turning), abs=0.01) and at_half.size
    assert texts(axes, "alpha label") == [".05"] and not texts(axes, "side")


def test_panel_on_one_side_of_the_level_says_on_which(cells, rows):
    found = panels(fragility.draw(cells, rows, (0.5, 0.5)))
    assert texts(found["BFCL v4*"], "side") == ["p below .05\neverywhere"]
    assert not [c for c in found["BFCL v4*"].collections if c.get_gid() == "alpha"]
    weak = cells.assign(p_two_sided=0.5)
    assert texts(panels(fragility.draw(weak, rows, (0.5, 0.5)))["BFCL v4*"], "side") == ["p above .05\neverywhere"]


def test_smaller_p_is_darker_and_the_plane_runs_from_icc_to_rho(cells, rows):
    axes = panels(fragility.draw(cells, rows, (0.35, 0.7)))["Terminal-Bench 2.0"]
    (dot,) = [line for line in axes.get_lines() if line.get_gid() == "shown"]
    assert (dot.get_xdata()[0], dot.get_ydata()[0]) == (0.7, 0.35)
    assert axes.get_xlim() == pytest.approx((0, 0.95)) and axes.get_ylim() == pytest.approx((0.05, 0.95))
    (filled,) = [c for c in axes.collections if c.get_gid() == "p"]
    shades = [to_rgb(colour)[0] for colour in fragility.BANDS]
    assert shades == sorted(shades) and len(set(shades)) == len(shades)
    assert all(len(set(to_rgb(colour))) == 1 for colour in fragility.BANDS)
    assert [round(face[0], 3) for face in filled.get_facecolors()] == [round(shade, 3) for shade in shades]


def test_another_level_is_an_edge_of_the_bands(cells, rows):
    figure = fragility.draw(cells, rows, (0.5, 0.5), alpha=0.02)
    assert texts(panels(figure)["Claw-Eval*"], "alpha label") == [".02"]
    assert {".01\N{EN DASH}.02", ".02\N{EN DASH}.05"} <= {text.get_text() for text in figure.axes[-1].texts}


# --- tipping chart ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tipped(rows):
    curve = families.tipping_curve(rows, np.arange(0, 401) / 10_000, icc=0.5, rho=0.5)
    return curve, families.tipping_table(rows, {"stated runs": (None, 0.5)}, icc=0.5)


def line_of(figure, gid):
    (line,) = [line for axes in figure.axes for line in axes.get_lines() if line.get_gid() == gid]
    return line


def test_counts_and_all_rows_p_are_drawn_over_the_sd_in_points(tipped):
    curve, table = tipped
    figure = tipping.draw(curve.sample(frac=1, random_state=0), table)
    for column in ("n_raw", "n_holm", "iut_p"):
        line = line_of(figure, column)
        assert line.get_xdata() == pytest.approx(100 * curve["tau"])
        assert list(line.get_ydata()) == list(curve[column])
        assert line.get_drawstyle() == ("default" if column == "iut_p" else "steps-post")
    assert line_of(figure, "alpha").get_ydata()[0] == 0.025
    assert {"raw", "after Holm"} <= {text.get_text() for text in figure.axes[1].texts}
    assert line_of(figure, "n_raw").get_linewidth() > line_of(figure, "n_holm").get_linewidth()


def test_each_row_is_drawn_at_its_tipping_sd_and_one_without_is_open(tipped):
    curve, table = tipped
    axes = tipping.draw(curve, table).axes[0]
    dots = [line for line in axes.get_lines() if line.get_gid() == "tipping"]
    assert [dot.get_xdata()[0] for dot in dots] == pytest.approx(sorted(100 * table["stated runs"]))
    assert [dot.get_markerfacecolor() == "white" for dot in dots] == [True, True, *[False] * 5]
    shown = [text.get_text() for text in axes.texts]
    assert shown[0] == "Terminal-Bench 2.0  not significant without it" and shown[-1] == "WideSearch  3.5"


def test_row_that_tips_beyond_the_axis_ends_in_an_arrow(tipped):
    curve, table = tipped
    axes = tipping.draw(curve[curve["tau"] <= 0.02], table).axes[0]
    dots = [line for line in axes.get_lines() if line.get_gid() == "tipping"]
    assert [dot.get_marker() for dot in dots] == ["o"] * 4 + [">"] * 3
    assert [dot.get_xdata()[0] for dot in dots[4:]] == pytest.approx([2.0] * 3)


# --- GRIM strip -------------------------------------------------------------------------------------------------------


def test_strip_draws_the_result_at_each_number_of_runs(digits, rows):
    figure = grim.draw(digits, rows)
    # The plan's result: two of six are cut off, not rounded, at the stated runs; and one more accident at 5 runs.
    assert len(boxes(figure, "rounded terminal_bench_2")) == len(boxes(figure, "truncated terminal_bench_2")) == 1
    assert len(boxes(figure, "none terminal_bench_2")) == 8
    assert len(boxes(figure, "rounded swe_bench_verified")) == len(boxes(figure, "truncated swe_bench_verified")) == 1
    assert len(boxes(figure, "rounded swe_bench_pro")) == 2 and len(boxes(figure, "truncated swe_bench_pro")) == 1
    columns = [text.get_text() for text in figure.axes[0].texts if text.get_text() in "12345"]
    assert columns == ["1", "2", "3", "4", "5"]


def test_frame_holds_both_scores_at_the_stated_runs(digits, rows):
    figure = grim.draw(digits, rows)
    (frame,) = boxes(figure, "stated terminal_bench_2")
    low, high = frame.get_x(), frame.get_x() + frame.get_width()
    framed = [
        patch for patch in figure.axes[0].patches
        if str(patch.get_gid()).endswith(" terminal_bench_2") and low < patch.get_x() < high and patch is not frame
    ]  # fmt: skip
    assert sorted(patch.get_gid().split()[0] for patch in framed) == ["rounded", "truncated"]
    assert all(frame.get_y() < patch.get_y() < frame.get_y() + frame.get_height() for patch in framed)
    # control above treatment: 33.25 is the one that only truncation gives
    assert max(framed, key=lambda patch: patch.get_y()).get_gid() == "truncated terminal_bench_2"


def test_chance_of_a_fit_is_printed_and_scores_that_are_not_binary_are_void(digits, rows):
    axes = grim.draw(digits, rows).axes[0]
    assert texts(axes, "chance")[:5] == [".009", ".018", ".027", ".036", ".045"]
    assert len(texts(axes, "void")) == 4
    shown = {text.get_text() for text in axes.texts}
    assert {"WideSearch*", "BFCL v4*", "SWE-bench Pro", "89 tasks, 5 runs stated"} <= shown
    assert not boxes(grim.draw(digits, rows), "stated widesearch")


def test_boxes_differ_without_colour():
    looks = [(look.get("hatch"), look["facecolor"] == "white") for _, look in grim.KINDS.values()]
    assert len(set(looks)) == 3


def test_stated_runs_get_a_column_and_unstated_ones_no_frame(rows):
    one = rows[rows["benchmark"] == "terminal_bench_2"].assign(k=8)
    digits = digits_of(one, [*range(1, 6), 8])
    assert boxes(grim.draw(digits, one), "stated terminal_bench_2")
    figure = grim.draw(digits, one.assign(runs_stated=False))
    assert not boxes(figure, "stated terminal_bench_2")
    assert "89 tasks, runs not stated" in {text.get_text() for text in figure.axes[0].texts}


def test_strip_without_any_binary_score_prints_the_reason(rows):
    partial = rows[rows["score_type"] != "binary"]
    assert len(texts(grim.draw(pd.DataFrame(), partial).axes[0], "void")) == 4


def test_audit_figures_leave_no_global_style_and_are_saved_the_same_twice(tipped, digits, rows, cells, tmp_path):
    import matplotlib

    before = dict(matplotlib.rcParams)
    for draw in (
        lambda: tipping.draw(*tipped), lambda: grim.draw(digits, rows), lambda: fragility.draw(cells, rows[:1], (0.5, 0.5))
    ):  # fmt: skip
        first, second = (style.save(draw(), tmp_path / f"{i}.svg").read_bytes() for i in range(2))
        assert first == second
    assert dict(matplotlib.rcParams) == before
