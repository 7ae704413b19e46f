"""The command that audits a table of one's own: its report, the files that it writes, and its errors."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from replication.analyse import analysis_settings, own_table
from replication.analyse.table_audit import Grid
from replication.commands import audit
from replication.errors import EvidenceError
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
    report = text(example)
    assert max(map(len, report.splitlines())) <= 100
    lines = {line.split("  ")[0]: line for line in report.splitlines()}
    first, second = (line.split() for line in report.splitlines() if line.startswith("terminal"))
    assert first[:2] == ["terminal", "+6.2"] and first[-1] == ".176"
    assert second == ["terminal", "80", "5", "fits/fits", ".04", "13.0", "344", ".87", "0.0"]
    search = [line.split() for line in report.splitlines() if line.startswith("search*")][1]
    assert search[1:4] == ["100", "1?", "void"]
    coding = [line for line in report.splitlines() if line.startswith("coding")][1]
    assert "fits/cut off" in coding
    assert lines["stated runs, rho .5"].split()[-5:-1] == ["1", "of", "4", ".088"]
    assert "Task correlation from which all rows hold at once" in report
    assert "`new` minus `old`, 4 rows" in report and "?: runs not stated, 1 assumed." in report
    assert "2 of 4 rows differ at p .05, 1 after Holm; that all of them improve is not established" in " ".join(
        report.split()
    )


@pytest.mark.slow
def test_everything_is_written_and_again_the_same(example, tmp_path):
    folder = tmp_path / "audit"
    written = audit.write(example, SESOI, folder)
    assert set(folder.iterdir()) == set(written)
    names = {path.name for path in written}
    assert names >= {"report.txt", "forest_published.svg", "fragility.svg", "tipping.svg", "grim.svg", "rows.csv",
                     "scenarios.csv", "turning.csv", "tipping.csv", "digits.csv", "estimates.csv",
                     "fragility_map.csv", "tipping_steps.csv"}  # fmt: skip
    assert (folder / "report.txt").read_text(encoding="utf-8").strip() == text(example)
    scenarios = pd.read_csv(folder / "scenarios.csv")
    assert scenarios["iut_p"].to_numpy() == pytest.approx(example.audit.scenarios["iut_p"].to_numpy())
    before = {path.name: path.read_bytes() for path in written}
    audit.write(example, SESOI, folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_figures_show_the_arms_and_all_rows(example):
    drawn = figures(example.audit, SESOI)
    assert list(drawn) == ["forest_published", "fragility", "tipping", "grim"]
    strip = " ".join(text.get_text() for text in drawn["grim"].axes[0].texts)
    assert "old  61.33" in strip and "new  64.86" in strip
    assert [axes.get_title(loc="left") for axes in drawn["fragility"].axes[:4]] == [
        "terminal", "coding", "search*", "office",
    ]  # fmt: skip


@pytest.mark.parametrize("lines", [
    ("a,x,50,100,1", "a,y,50,100,1"), ("a,x,0,100,1", "a,y,50,100,1"), ("a,x,100,1,1", "a,y,0.50%,1,1"),
    ("a,x,50.123456,1319,12", "a,y,40.00,1319,12"),
    (f"{'very long name ' * 4},x,50,100,1", f"{'very long name ' * 4},y,60,100,1"),
])  # fmt: skip
def test_unusual_tables_are_audited_without_a_warning(make_table, lines, tmp_path):
    audited = of(make_table(*lines))
    assert max(map(len, text(audited).splitlines())) <= 100
    assert len(audit.write(audited, SESOI, tmp_path / "out")) > 10


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
