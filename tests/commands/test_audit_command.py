"""The command that audits a table of one's own: what it reads, refuses, writes and prints."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from replication.analyse import evidence
from replication.analyse.evidence import load_scores
from replication.analyse.stats.printed import audit_model, fragility
from replication.commands import audit
from replication.errors import AnalysisError, EvidenceError

EXAMPLE = Path(__file__).parent / "example_table.csv"
PUBLISHED = evidence.FOLDER / "published_scores.csv"
HEAD = "benchmark,arm,value_percent,n_tasks,runs"
GOOD = ("a,x,50.0,100,1", "a,y,60.0,100,1")


@pytest.fixture(scope="module")
def example():
    return audit.audit_table(audit.load_table(EXAMPLE), name=EXAMPLE.name)


@pytest.fixture
def make_table(tmp_path):
    def make(*lines, head=HEAD, name="mine.csv"):
        path = tmp_path / name
        path.write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
        return path

    return make


def main(arguments, folder):
    """The command as a user runs it, in a folder of its own."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c",
         "import sys; from replication.audit import main; main(sys.argv[1:])", *map(str, arguments)],
        capture_output=True, text=True, cwd=folder, env={"PYTHONPATH": str(EXAMPLE.parents[2])},
    )  # fmt: skip


# --- reading ----------------------------------------------------------------------------------------------------------


def test_short_table_is_read_as_the_full_one(example):
    table = audit.load_table(EXAMPLE)
    assert set(load_scores().columns) == set(table.columns)
    assert list(table["value_percent"][:3]) == ["40.00", "61.33", "35.10"]
    first = table.set_index(["benchmark", "arm"])
    assert first.loc[("terminal", "old"), ["value", "decimals", "n_clusters", "runs"]].tolist() == [0.4, 2, 80, 5]
    assert first.loc[("search", "old"), ["n_tasks", "n_clusters", "score_type"]].tolist() == [200, 100, "bounded"]
    assert pd.isna(first.loc[("search", "old"), "runs"])
    assert first.loc[("office", "new"), "score_type"] == "binary"
    rows = example.report.rows.set_index("benchmark")
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
    table = audit.load_table(path)
    assert table[["benchmark", "arm", "value", "n_clusters", "score_type"]].to_numpy().tolist() == [
        ["a", "x", 0.5, 100, "binary"], ["a", "y", 0.6, 100, "binary"],
    ]  # fmt: skip
    assert set(table["table"]) == {"mine"}


def test_full_table_is_read_and_audited_as_the_paper_does():
    pd.testing.assert_frame_equal(audit.load_table(PUBLISHED), load_scores())
    audited = audit.audit_table(audit.load_table(PUBLISHED), ("sft_lwm_rl", "sft"))
    rows = audited.report.rows
    # The plan, 4.1 and 4.4: seven rows, BFCL worth 882 items; 5 raw, 4 after Holm, all-rows p .070; turning at .80.
    assert len(rows) == 7 and rows["n"].tolist()[-1] == 882
    cell = audited.report.scenarios.set_index("scenario").loc["stated runs, rho .5"]
    assert (cell.n_raw, cell.n_holm, round(cell.iut_p, 3)) == (5, 4, 0.070)
    assert audited.turning_all[0.5] == pytest.approx(0.80, abs=0.005)
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
        audit.load_table(make_table(*lines, head=head))
    assert "mine.csv" in str(error.value)


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(EvidenceError, match=r"none\.csv cannot be read"):
        audit.load_table(tmp_path / "none.csv")


# --- arms and benchmarks ----------------------------------------------------------------------------------------------


def of(path, arms=()):
    return audit.audit_table(audit.load_table(path), arms, name=path.name)


def test_second_arm_to_appear_is_the_treatment_unless_named(make_table, example):
    assert (example.treatment, example.control) == ("new", "old")
    path = make_table(*GOOD)
    assert of(path).estimates["value"].iloc[0] == pytest.approx(0.1)
    assert of(path, ("x", "y")).estimates["value"].iloc[0] == pytest.approx(-0.1)


@pytest.mark.parametrize(
    ("lines", "arms", "error", "message"),
    [
        (GOOD[:1], (), EvidenceError, "column `arm`: .*got only `x`"),
        ((*GOOD, "a,z,70,100,1"), (), EvidenceError, "column `arm`: 3 arms .*name two"),
        (GOOD, ("x", "w"), EvidenceError, "column `arm`: no arm `w`; there are `x`, `y`"),
        (GOOD, ("x", "x"), AnalysisError, "two different arms"),
        ((GOOD[0], "b,y,60,100,1"), (), EvidenceError, "column `benchmark`: .*none in common"),
        ((GOOD[0], "a,y,60,100,3"), (), EvidenceError, "row 3, column `runs`: a has 3.* here and 1.* in row 2"),
        ((GOOD[0], "a,y,60,90,1"), (), EvidenceError, "row 3, column `n_tasks`: a has 90"),
        (("a,x,0,100,1", "a,y,100,100,1"), (), EvidenceError, "rows 2 and 3, column `value_percent`: .*no variance"),
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
    assert "left out: b: no metric for both `y` and `x`" in audit.text(audited)


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
    assert audited.report.rows[["n", "score_type"]].to_numpy().tolist() == [[200, "composite"]]
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
    with pytest.raises(EvidenceError, match="x, o, p stands in several tables"):
        of(path)


# --- results ----------------------------------------------------------------------------------------------------------


def test_numbers_are_those_of_the_model(example):
    estimates = example.estimates.set_index(["benchmark", "interval"])
    expected = audit_model.difference(0.40, 0.4625, 80, 5, icc=0.5, rho=0.5)
    shown = estimates.loc[("terminal", "T2")]
    assert (shown["low"], shown["high"]) == pytest.approx((expected.low, expected.high))
    rows = example.report.rows
    stated = example.report.stated.query("icc == 0.5 and rho == 0.5")
    errors = fragility.standard_errors(rows, icc=0.5, rho=0.5)
    assert stated["mde80"].to_numpy() == pytest.approx((1.959964 + 0.841621) * errors, rel=1e-5)


def test_report_says_per_row_and_for_all_rows_what_the_tables_hold(example):
    text = audit.text(example)
    assert max(map(len, text.splitlines())) <= 100
    lines = {line.split("  ")[0]: line for line in text.splitlines()}
    first, second = (line.split() for line in text.splitlines() if line.startswith("terminal"))
    assert first[:2] == ["terminal", "+6.2"] and first[-1] == ".176"
    assert second == ["terminal", "80", "5", "fits/fits", ".04", "13.0", "344", ".87", "0.0"]
    search = [line.split() for line in text.splitlines() if line.startswith("search*")][1]
    assert search[1:4] == ["100", "1?", "void"]
    coding = [line for line in text.splitlines() if line.startswith("coding")][1]
    assert "fits/cut off" in coding
    assert lines["stated runs, rho .5"].split()[-5:-1] == ["1", "of", "4", ".088"]
    assert "Task correlation from which all rows hold at once" in text
    assert "`new` minus `old`, 4 rows" in text and "?: runs not stated, 1 assumed." in text
    assert "2 of 4 rows differ at p .05, 1 after Holm; that all of them improve is not established" in " ".join(
        text.split()
    )


@pytest.mark.slow
def test_everything_is_written_and_again_the_same(example, tmp_path):
    folder = tmp_path / "audit"
    written = audit.write(example, folder)
    assert set(folder.iterdir()) == set(written)
    names = {path.name for path in written}
    assert names >= {"report.txt", "forest_published.svg", "fragility.svg", "tipping.svg", "grim.svg", "rows.csv",
                     "scenarios.csv", "turning.csv", "tipping.csv", "digits.csv", "estimates.csv",
                     "fragility_map.csv", "tipping_steps.csv"}  # fmt: skip
    assert (folder / "report.txt").read_text(encoding="utf-8").strip() == audit.text(example)
    scenarios = pd.read_csv(folder / "scenarios.csv")
    assert scenarios["iut_p"].to_numpy() == pytest.approx(example.report.scenarios["iut_p"].to_numpy())
    before = {path.name: path.read_bytes() for path in written}
    audit.write(example, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_figures_show_the_arms_and_all_rows(example):
    figures = audit.figures(example)
    assert list(figures) == ["forest_published", "fragility", "tipping", "grim"]
    strip = " ".join(text.get_text() for text in figures["grim"].axes[0].texts)
    assert "old  61.33" in strip and "new  64.86" in strip
    assert [axes.get_title(loc="left") for axes in figures["fragility"].axes[:4]] == [
        "terminal", "coding", "search*", "office",
    ]  # fmt: skip


@pytest.mark.parametrize("lines", [
    ("a,x,50,100,1", "a,y,50,100,1"), ("a,x,0,100,1", "a,y,50,100,1"), ("a,x,100,1,1", "a,y,0.50%,1,1"),
    ("a,x,50.123456,1319,12", "a,y,40.00,1319,12"),
    (f"{'very long name ' * 4},x,50,100,1", f"{'very long name ' * 4},y,60,100,1"),
])  # fmt: skip
def test_unusual_tables_are_audited_without_a_warning(make_table, lines, tmp_path):
    audited = of(make_table(*lines))
    assert max(map(len, audit.text(audited).splitlines())) <= 100
    assert len(audit.write(audited, tmp_path / "out")) > 10


# --- the command ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_command_prints_the_report_and_names_the_folder(tmp_path):
    table = tmp_path / "my table (v2).csv"
    table.write_bytes(EXAMPLE.read_bytes())
    done = main([table, "old", "new"], tmp_path)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "outputs/audit/my-table-v2"
    assert folder.is_dir() and "written to outputs/audit/my-table-v2" in done.stdout
    assert (folder / "report.txt").read_text(encoding="utf-8").strip() in done.stdout
    assert "`old` minus `new`" in done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [[], ["x.csv", "new"], ["none.csv"], [EXAMPLE, "new", "other"]])
def test_wrong_call_is_one_line_exit_code_2_and_nothing_written(tmp_path, arguments):
    done = main(arguments, tmp_path)
    assert done.returncode == 2
    assert done.stdout == "" and len(done.stderr.splitlines()) == 1 and done.stderr.startswith("error (")
    assert not list(tmp_path.iterdir())


def test_help_imports_nothing_slow():
    code = """
import sys
from replication.commands.audit import main
main(["--help"])
slow = {"pandas", "numpy", "scipy", "matplotlib", "torch", "hydra"} & set(sys.modules)
assert not slow, slow
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=EXAMPLE.parents[2])
    assert done.returncode == 0, done.stderr
    assert "TABLE.csv [treatment control]" in done.stdout
