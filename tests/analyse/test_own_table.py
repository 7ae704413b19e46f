"""A table of one's own is read, checked and audited as the published one is."""

from pathlib import Path

import pandas as pd
import pytest

from replication.analyse import analysis_settings, evidence, own_table
from replication.analyse.evidence import load_scores
from replication.analyse.stats.printed import audit_model
from replication.analyse.stats.printed.rows import standard_errors
from replication.analyse.table_audit import Grid
from replication.errors import AnalysisError, EvidenceError
from replication.publish.audit_report import text

EXAMPLE = Path(__file__).parents[1] / "commands/example_table.csv"
PUBLISHED = evidence.FOLDER / "published_scores.csv"
HEAD = "benchmark,arm,value_percent,n_tasks,runs"
GOOD = ("a,x,50.0,100,1", "a,y,60.0,100,1")
SETTINGS = analysis_settings.default()
GRID = Grid(alpha=0.05, iccs=(0.35, 0.5, 0.7), rhos=(0.0, 0.3, 0.5, 0.7))


def of(path, arms=()):
    return own_table.audit_table(own_table.load_table(path), arms, GRID, SETTINGS, name=path.name)


@pytest.fixture(scope="module")
def example():
    return of(EXAMPLE)


@pytest.fixture
def make_table(tmp_path):
    def make(*lines, head=HEAD, name="mine.csv"):
        path = tmp_path / name
        path.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
        return path

    return make


# --- reading ----------------------------------------------------------------------------------------------------------


def test_short_table_is_read_as_the_full_one(example):
    table = own_table.load_table(EXAMPLE)
    assert set(load_scores().columns) == set(table.columns)
    assert list(table["value_percent"][:3]) == ["40.00", "61.33", "35.10"]
    first = table.set_index(["benchmark", "arm"])
    assert first.loc[("terminal", "old"), ["value", "decimals", "n_clusters", "runs"]].tolist() == [0.4, 2, 80, 5]
    assert first.loc[("search", "old"), ["n_tasks", "n_clusters", "score_type"]].tolist() == [200, 100, "bounded"]
    assert pd.isna(first.loc[("search", "old"), "runs"])
    assert first.loc[("office", "new"), "score_type"] == "binary"
    rows = example.audit.rows.set_index("benchmark")
    assert list(rows.index) == ["terminal", "coding", "search", "office"]
    assert rows.loc["search", ["n", "n_tasks", "k", "runs_stated", "upper_bound"]].tolist() == [
        100,
        200,
        1,
        False,
        True,
    ]


def test_short_table_needs_nothing_optional_and_may_start_with_a_mark_and_hold_empty_lines(make_table):
    path = make_table("", *GOOD, "", head="\ufeff" + HEAD)
    table = own_table.load_table(path)
    assert table[["benchmark", "arm", "value", "n_clusters", "score_type"]].to_numpy().tolist() == [
        ["a", "x", 0.5, 100, "binary"], ["a", "y", 0.6, 100, "binary"],
    ]  # fmt: skip
    assert set(table["table"]) == {"mine"}


def test_full_table_is_read_and_audited_as_the_paper_does():
    pd.testing.assert_frame_equal(own_table.load_table(PUBLISHED), load_scores())
    audited = of(PUBLISHED, ("sft_lwm_rl", "sft"))
    rows = audited.audit.rows
    # The plan, 4.1 and 4.4: seven rows, BFCL worth 882 items; 5 raw, 4 after Holm, all-rows p .070; turning at .80.
    assert len(rows) == 7 and rows["n"].tolist()[-1] == 882
    cell = audited.audit.scenarios.set_index("scenario").loc["stated runs, rho .5"]
    assert (cell.n_raw, cell.n_holm, round(cell.iut_p, 3)) == (5, 4, 0.070)
    assert audited.audit.turning_all[0.5] == pytest.approx(0.80, abs=0.005)
    assert audited.left_out == ("widesearch: f1_row (compared: f1_item)",)


@pytest.mark.parametrize(
    ("head", "lines", "message"),
    [
        ("benchmark,arm,value_percent,n_tasks", ["a,x,50,100", "a,y,60,100"], "column `runs` is missing"),
        (HEAD + ",colour", ["a,x,50,100,1,red"], "column `colour` is unknown"),
        (HEAD, ["a,x,0.5,100,1", GOOD[1]], r"row 2, column `value_percent`: .*fraction.*'0\.5'"),
        (HEAD, [GOOD[0], "a,y,160,100,1"], "row 3, column `value_percent`: must be at most 100"),
        (HEAD, [GOOD[0], "a,y,sixty,100,1"], "row 3, column `value_percent`: must be a number; got 'sixty'"),
        (HEAD, [GOOD[0], "a,y,60,0,1"], "row 3, column `n_tasks`: must be a finite number above 0; got '0'"),
        (HEAD, [GOOD[0], "a,y,60,10.5,1"], "row 3, column `n_tasks`: must be a whole number"),
        (HEAD, [GOOD[0], "a,y,60,100,many"], "row 3, column `runs`: must be a number; got 'many'"),
        (HEAD, [GOOD[0], ",y,60,100,1"], "row 3, column `benchmark`: must not be empty"),
        (HEAD, [GOOD[0], "a,y,60"], "row 3, column `n_tasks`"),
        (HEAD, [GOOD[0], GOOD[1] + ",9"], "line 3"),
        (HEAD, [*GOOD, GOOD[0]], "row 4, .*repeats an earlier row"),
        (HEAD, [], "no rows"),
        (HEAD + ",score_type", [GOOD[0] + ",binary", GOOD[1] + ",graded"], "row 3, column `score_type`: must be one of"),
        (HEAD + ",score_type", [GOOD[0] + ",", GOOD[1] + ",composite"], "row 3, column `score_type`: a composite"),
        (HEAD + ",date_read", [GOOD[0] + ",yesterday"], "row 2, column `date_read`: must be a date"),
        (HEAD.replace(",", ";"), ["a;x;50,0;100;1"], "semicolons"),
        ("table,metric," + HEAD, ["t,m," + GOOD[0]], "column `params_b` is missing"),
    ],
)  # fmt: skip
def test_malformed_table_is_refused_with_row_and_column(make_table, head, lines, message):
    with pytest.raises(EvidenceError, match=message) as error:
        own_table.load_table(make_table(*lines, head=head))
    assert "mine.csv" in str(error.value)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(EvidenceError, match=r"none\.csv cannot be read"):
        own_table.load_table(tmp_path / "none.csv")


# --- arms and benchmarks ----------------------------------------------------------------------------------------------


def test_second_arm_to_appear_is_the_treatment_unless_named(make_table, example):
    assert (example.audit.treatment, example.audit.control) == ("new", "old")
    path = make_table(*GOOD)
    assert of(path).audit.estimates["value"].iloc[0] == pytest.approx(0.1)
    assert of(path, ("x", "y")).audit.estimates["value"].iloc[0] == pytest.approx(-0.1)


@pytest.mark.parametrize(
    ("lines", "arms", "error", "message"),
    [
        (GOOD[:1], (), EvidenceError, "column `arm`: .*got only `x`.*order: treatment control"),
        ((*GOOD, "a,z,70,100,1"), (), EvidenceError, "column `arm`: 3 arms .*name two .*order: treatment control"),
        (GOOD, ("x", "w"), EvidenceError, "column `arm`: no arm `w`; there are `x`, `y`.*order: treatment control"),
        (GOOD, ("x", "x"), AnalysisError, "two different arms.*order: treatment control"),
        ((GOOD[0], "b,y,60,100,1"), (), EvidenceError, "column `benchmark`: .*none in common"),
        ((GOOD[0], "a,y,60,100,3"), (), EvidenceError, "row 3, column `runs`: a has 3.* here and 1.* in row 2"),
        ((GOOD[0], "a,y,60,90,1"), (), EvidenceError, "row 3, column `n_tasks`: a has 90"),
        (("a,x,0,100,1", "a,y,0.0,100,1"), (), EvidenceError, "none in common that can differ .a: both arms at 0"),
        ((GOOD[0], "a,y,60,2000000,1"), (), EvidenceError, "row 3, column `n_tasks`: a has 2000000"),
        (("a,x,50,2000000,1", "a,y,60,2000000,1"), (), EvidenceError, "row 2, column `n_tasks`: must be at most 1000000"),
        (("mean of these,x,50,9,1", "mean of these,y,60,9,1"), (), EvidenceError, "row 2, column `benchmark`: .*rename it"),
    ],
)  # fmt: skip
def test_arms_that_cannot_be_compared_are_refused(make_table, lines, arms, error, message):
    with pytest.raises(error, match=message):
        of(make_table(*lines), arms)


def test_more_independent_items_than_items_are_refused(make_table):
    path = make_table(*(line + ",200" for line in GOOD), head=HEAD + ",n_clusters")
    with pytest.raises(EvidenceError, match="row 2, column `n_clusters`: must be at most `n_tasks`"):
        of(path)


def test_benchmark_of_one_arm_is_left_out_and_said_so(make_table):
    audited = of(make_table(*GOOD, "b,x,10.0,50,1"))
    assert audited.left_out == ("b: no metric for both `y` and `x`",)
    assert "left out: b: no metric for both `y` and `x`" in text(audited, 0.03)


def full(*parts):
    """Lines of a composite `o` of the given (part, weight, n_clusters), both arms, in the full schema."""
    head = (
        "table,arm,params_b,benchmark,metric,score_type,value_percent,n_tasks,n_clusters,runs,weight,source,date_read,"
        "certainty,note"
    )
    tail = "made up,2026-01-01,read,"
    lines = [head]
    for arm, value in (("x", "50.00"), ("y", "60.00")):
        lines += [f"t,{arm},,o,{m},binary,{value},100,{n},1,{w},{tail}" for m, w, n in parts]
        lines.append(f"t,{arm},,o,all,composite,{value},200,,1,,{tail}")
    return "\n".join(lines) + "\n"


def test_composite_counts_its_parts_and_wrong_weights_are_refused(tmp_path):
    path = tmp_path / "o.csv"
    path.write_text(full(("p", 0.5, 100), ("q", 0.5, 100)))
    audited = of(path)
    assert audited.audit.rows[["n", "score_type"]].to_numpy().tolist() == [[200, "composite"]]
    assert audited.left_out == ()
    path.write_text(full(("p", 0.5, 100), ("q", 0.4, 100)))
    with pytest.raises(EvidenceError, match=r"column `weight`: the parts of o in `x` sum to 0\.9, not 1"):
        of(path)
    path.write_text(full())
    with pytest.raises(EvidenceError, match="column `weight`: the composite o needs the same weighted parts"):
        of(path)
    path.write_text(full(("p", 1, "")))
    with pytest.raises(EvidenceError, match="row 2, column `n_clusters`: needed of a weighted part"):
        of(path)


def test_same_score_in_two_tables_is_refused(tmp_path):
    path = tmp_path / "o.csv"
    text = full(("p", 1, 100))
    path.write_text(text + text.splitlines()[1].replace("t,x", "u,x") + "\n")
    with pytest.raises(EvidenceError, match="x, o, p is in several tables"):
        of(path)


def test_numbers_are_those_of_the_model(example):
    estimates = example.audit.estimates.set_index(["benchmark", "interval"])
    expected = audit_model.difference(0.40, 0.4625, 80, 5, icc=0.5, rho=0.5)
    shown = estimates.loc[("terminal", "T2")]
    assert (shown["low"], shown["high"]) == pytest.approx((expected.low, expected.high))
    rows = example.audit.rows
    stated = example.audit.stated.query("icc == 0.5 and rho == 0.5")
    errors = standard_errors(rows, icc=0.5, rho=0.5)
    assert stated["mde80"].to_numpy() == pytest.approx((1.959964 + 0.841621) * errors, rel=1e-5)
