"""The generated page of the suite describes every environment as it is."""

from replication.collect.benchmarks.suite import terminal
from replication.commands import suite_page as pages


def test_page_shows_scores_of_all_policies_at_all_levels():
    page = pages.page([terminal.ENVIRONMENT], n_tasks=3)
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in page.split("\n") if line.startswith("|")]
    assert [row[1:] for row in rows if row[0] == "expert"] == [["1.000"] * 5]
    assert [row[1:] for row in rows if row[0] == "does nothing"] == [["0.000"] * 5]
    (turns,) = [[float(cell) for cell in row[1:]] for row in rows if row[0] == "turns"]
    assert turns == sorted(set(turns))
    assert (terminal.__doc__ or "?").strip() in page


def test_page_in_the_repository_describes_all_environments_as_they_are():
    page = pages.PAGE.read_text(encoding="utf-8")
    for environment in pages.environments():
        section = page.split(f"\n## {environment.name}\n")[1].split("\n## ")[0]
        assert f"version {environment.version} " in section
        assert environment.about.strip() in section, "run `python -m replication suite_page`"
