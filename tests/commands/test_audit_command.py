"""The command that audits a table of one's own: its report, the files that it writes, and its errors."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from replication.analyse import analysis_settings, own_table
from replication.analyse.table_audit import Grid
from replication.commands import audit
from replication.errors import AnalysisError, EvidenceError
from replication.publish.audit_report import figures, text

EXAMPLE = Path(__file__).parent / "example_table.csv"
HEAD = "benchmark,arm,value_percent,n_tasks,runs"
SETTINGS = analysis_settings.default()
GRID = Grid(alpha=0.05, iccs=(0.35, 0.5, 0.7), rhos=(0.0, 0.3, 0.5, 0.7))
SESOI = 0.03


def of(path, arms=()):
    return own_table.audit_table(own_table.load_table(path), arms, GRID, SETTINGS, name=path.name)


@pytest.fixture(scope="module")
def example():
    return of(EXAMPLE)


@pytest.fixture
def make_table(tmp_path):
    def make(*lines):
        path = tmp_path / "mine.csv"
        path.write_text("\n".join([HEAD, *lines]) + "\n", encoding="utf-8")
        return path

    return make


def main(arguments, folder):
    """Run the command as a user does, in another folder."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "replication", "audit", *map(str, arguments)],
        capture_output=True, text=True, cwd=folder, env={"PYTHONPATH": str(EXAMPLE.parents[2])},
    )  # fmt: skip


# --- results ----------------------------------------------------------------------------------------------------------


def test_report_has_the_numbers_of_the_tables_per_row_and_for_all_rows(example):
    report = text(example, SESOI)
    assert max(map(len, report.splitlines())) <= 120
    lines = {line.split("  ")[0]: line for line in report.splitlines()}
    first, second = (line.split() for line in report.splitlines() if line.startswith("terminal"))
    assert first[:2] == ["terminal", "+6.2"] and first[-5:] == [".176", "0", "of", "12", "17.5"]
    assert second == ["terminal", "80", "5", "fits", ".04", "any", "13.0", "344", ".87", "0.0"]
    search = [line.split() for line in report.splitlines() if line.startswith("search*")][1]
    assert search[1:4] == ["100", "1?", "void"]
    coding = [line for line in report.splitlines() if line.startswith("coding")][1]
    assert "fits/cut off" in coding
    assert lines["stated runs, rho 0"].split()[-7:] == ["1", "of", "4", "1", "of", "4", ".151"]
    assert "`new` minus `old`, 4 rows" in report and "?: runs not stated, 1 assumed." in report
    words = " ".join(report.split())
    assert "better on all 4 tasks like these (T2): not established; 1 of 4 rows are above 0 everywhere" in words
    assert "all-rows p = .050 to .179, needed .025; would need rho .90" in words
    assert "these very tasks (T1): established; 4 of 4 rows are above 0 everywhere" in words
    assert "mean of these 4 +10.5 [+6.0, +14.9]; above 0: established (in 12 of 12)" in words
    assert "on par within 3 mean of these 4 not established (smallest margin that holds: 15.2)" in words


@pytest.mark.slow
def test_everything_is_written_and_again_the_same(example, tmp_path):
    folder = tmp_path / "audit"
    written = audit.write(example, SESOI, folder)
    assert set(folder.iterdir()) == set(written)
    names = {path.name for path in written}
    assert names >= {"report.txt", "forest_published.svg", "fragility.svg", "tipping.svg", "grim.svg", "rows.csv",
                     "scenarios.csv", "turning.csv", "tipping.csv", "digits.csv", "estimates.csv",
                     "fragility_map.csv", "tipping_steps.csv"}  # fmt: skip
    assert (folder / "report.txt").read_text(encoding="utf-8").strip() == text(example, SESOI)
    assert names >= {
        "answers_cells.csv",
        "answers_means.csv",
        "answers_rows.csv",
        "answers_turning_rows.csv",
        "prints.csv",
    }
    scenarios = pd.read_csv(folder / "scenarios.csv")
    assert scenarios["iut_p"].to_numpy() == pytest.approx(example.audit.scenarios["iut_p"].to_numpy())
    before = {path.name: path.read_bytes() for path in written}
    audit.write(example, SESOI, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_figures_show_the_arms_and_all_rows(example):
    drawn = figures(example.audit, SESOI)
    assert list(drawn) == ["forest_published", "fragility", "grim", "tipping"]
    strip = " ".join(text.get_text() for text in drawn["grim"].axes[0].texts)
    assert "old  61.33" in strip and "new  64.86" in strip
    assert [axes.get_title(loc="left") for axes in drawn["fragility"].axes[:4]] == [
        "terminal", "coding", "search*", "office",
    ]  # fmt: skip


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
@pytest.mark.parametrize(
    "arguments",
    [[], ["x.csv", "new"], ["none.csv"], [EXAMPLE, "new", "other"], [EXAMPLE, "none.csv"], ["--", "a", "b"]],
)
def test_wrong_call_is_one_line_exit_code_2_and_nothing_written(tmp_path, arguments):
    done = main(arguments, tmp_path)
    assert done.returncode == 2
    assert done.stdout == "" and len(done.stderr.splitlines()) == 1 and done.stderr.startswith("error (")
    assert "treatment control" in done.stderr or "none.csv" in done.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments, tables, arms", [
    (["a.csv"], ["a.csv"], []),
    (["a.txt", "new", "old"], ["a.txt"], ["new", "old"]),
    (["a.csv", "b.CSV", "c.csv"], ["a.csv", "b.CSV", "c.csv"], []),
    (["a.csv", "b.csv", "new", "old"], ["a.csv", "b.csv"], ["new", "old"]),
    (["a.txt", "b.txt", "--", "new.csv", "old.csv"], ["a.txt", "b.txt"], ["new.csv", "old.csv"]),
    (["a.csv b.csv", "new", "old"], ["a.csv", "b.csv"], ["new", "old"]),  # make TABLE="a.csv b.csv"
    (["a.csv c.csv"], ["a.csv", "c.csv"], []),  # the one that is missing is named when it is read
    (["my table.csv"], ["my table.csv"], []),
    (["'my table.csv' a.csv"], ["my table.csv", "a.csv"], []),
    (["it's.csv"], ["it's.csv"], []),
])  # fmt: skip
def test_tables_and_arms_are_told_apart(tmp_path, monkeypatch, arguments, tables, arms):
    monkeypatch.chdir(tmp_path)
    for name in ("a.csv", "b.csv", "my table.csv"):
        (tmp_path / name).touch()
    assert audit.request(arguments) == (tuple(map(Path, tables)), tuple(arms))


@pytest.mark.parametrize("arguments, message", [
    (["a.csv", "new"], "order treatment control.*got 1 table and 1 of 2 arms"),
    (["a.csv", "b.csv", "new", "old", "third"], "got 2 tables and 3 of 2 arms"),
    (["a.csv", "--", "new"], "got 1 table and 1 of 2 arms"),
    (["a.csv", "a.csv"], "`a.csv` is given twice"),
])  # fmt: skip
def test_a_call_that_is_ambiguous_is_refused(arguments, message):
    with pytest.raises(AnalysisError, match=message):
        audit.request(arguments)


def test_folders_of_several_tables_are_distinct():
    paths = [Path("one/t.csv"), Path("two/t.csv"), Path("two/t.tsv"), Path("my table (v2).csv"), Path("数.csv")]
    assert audit.folder_names(paths) == ["t", "two-t", "two-t-2", "my-table-v2", "table"]


@pytest.mark.slow
def test_several_tables_are_audited_or_none_and_summed_up(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one.csv").write_bytes(EXAMPLE.read_bytes())
    (tmp_path / "two.csv").write_text(f"{HEAD}\na,old,50.0,100,1\na,new,90.0,100,1\n")
    (tmp_path / "bad.csv").write_text(f"{HEAD}\na,old,50.0,100,1\na,other,90.0,100,1\n")
    with pytest.raises(EvidenceError, match=r"bad\.csv, column `arm`: no arm `new`; there are `old`, `other`"):
        audit.main(["one.csv", "two.csv", "bad.csv", "new", "old"])
    assert not (tmp_path / "outputs").exists() and capsys.readouterr().out == ""
    audit.main(["one.csv two.csv", "new", "old"])
    out = capsys.readouterr().out
    assert {path.name for path in (tmp_path / "outputs/audit").iterdir()} == {"one", "two"}
    assert out.splitlines()[-2:] == [
        "one.csv: `new` minus `old`: improvement on all 4 not established; mean of these is established as above 0",
        "two.csv: `new` minus `old`: improvement on the row established",
    ]


def test_help_names_the_order_of_the_arms():
    assert "the two arms, in the order\ntreatment control" in audit.__doc__


def test_names_of_rows_are_drawn_as_text_and_characters_without_a_glyph_are_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    names = ["$\\frac{", 'a_b #1 <x> & "y"', "数学", "x" * 60]
    rows = [
        f'"{name.replace(chr(34), chr(34) * 2)}",{arm},{value},100,1'
        for name in names
        for arm, value in (("old", "40.00"), ("new", "45.00"))
    ]
    (tmp_path / "odd.csv").write_text(
        "\n".join(["benchmark,arm,value_percent,n_tasks,runs", *rows, ""]), encoding="utf-8"
    )
    audit.main(["odd.csv"])
    assert "WARNING, boxes stand for the characters 学 (U+5B66), 数 (U+6570)" in capsys.readouterr().out
    drawn = (tmp_path / "outputs/audit/odd/forest_published.svg").read_text(encoding="utf-8")
    assert "<!-- $\\frac{ -->" in drawn and '<!-- a_b #1 &lt;x&gt; &amp; "y" -->' in drawn
    (tmp_path / "bad.csv").write_text("benchmark,arm,value_percent,n_tasks,runs\na\x07,old,40,9,1\na\x07,new,41,9,1\n")
    with pytest.raises(EvidenceError, match="row 2, column `benchmark`: must have printable characters only"):
        audit.main(["bad.csv"])
