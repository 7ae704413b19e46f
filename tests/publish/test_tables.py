"""Verdicts print within the terminal, in Markdown, and into the README's generated blocks only."""

import dataclasses
import math
from pathlib import Path

import pytest

from replication import text as printed
from replication.analyse import analysis_settings, reanalysis
from replication.analyse.claims import load_claims
from replication.analyse.verdicts import decide
from replication.errors import AnalysisError
from replication.publish.readme import read_verdicts, rewrite_readme
from replication.publish.verdict_tables import blocks, verdict_markdown, verdict_text
from replication.records import Estimate, to_json
from replication.text import markdown, points

CLAIMS = load_claims(Path(__file__).parents[2] / "conf/claim")
PUBLISHED = dataclasses.replace(reanalysis.study_data(CLAIMS, analysis_settings.default()), model_pairs=None)
VERDICTS = decide(CLAIMS, PUBLISHED)


def estimate(value, low, high, kind="difference"):
    return Estimate(
        value=value,
        low=low,
        high=high,
        level=0.95,
        method="t",
        kind=kind,
        target="T2",
        n_tasks=1,
        n_trials=1,
        n_training_runs=1,
    )


def test_points_are_signed_with_one_decimal():
    assert points(estimate(0.0629, -0.02, 0.1464)) == "+6.3 [−2.0, +14.6]"
    assert points(None) == "–"


def test_an_amount_has_three_digits_and_no_exponent_if_it_is_large():
    shown = [printed.amount(value) for value in (0.0264, 8.0449, 120.4, 999.7, 1082.3, 3_175_000.0)]
    assert shown == ["0.0264", "8.04", "120", "1,000", "1,080", "3,180,000"]


def test_cost_ratio_prints_as_a_factor():
    ratio = estimate(math.log(0.5), math.log(0.4), math.log(0.625), kind="log_ratio")
    assert points(ratio) == "×0.50 [0.40, 0.62]"


@pytest.mark.parametrize(
    "text, shown",
    [
        (printed.signed(-0.0125), "−1.2"),
        (printed.signed(0.0125), "+1.2"),
        (printed.percent(0.0125), "1.2"),
        (printed.percent(None), "–"),
        (printed.fixed(float("nan")), "–"),
        (printed.fixed(-2.345, 2), "−2.35"),
        (printed.correlation(-0.456), "−.46"),
        (printed.correlation(1.0), "1.00"),
        (printed.correlation(0.0), ".00"),
        (printed.p_value(0.0004), "below .001"),
        (printed.p_value(0.05), ".050"),
        (printed.p_value(1.0), "1.000"),
        (printed.short(999), "999"),
        (printed.short(2.5e12), "2.5 T"),
        (printed.size(0.000527), "0.527M"),
        (printed.size(35), "35B"),
    ],
)
def test_number_is_written_as_the_paper_prints_it(text, shown):
    assert text == shown


def test_scope_starts_with_the_shared_part_and_then_lists_different_parts_by_claim():
    same, other = (
        dataclasses.replace(VERDICTS[0], claim_id=claim, study="ours", scope=f"organisms; {scales}; scaffold compact")
        for claim, scales in (("A1", "scales xs, s"), ("B", "scale xs"))
    )
    also = dataclasses.replace(other, claim_id="E")
    (block,) = blocks([same, other, also])
    assert block.scope == "organisms; scaffold compact; A1: scales xs, s; B, E: scale xs"
    assert blocks([same])[0].scope == same.scope
    assert verdict_text([same, other, also]).count("  claim ") == 1


def test_terminal_table_fits_hundred_columns_and_loses_nothing():
    text = verdict_text(VERDICTS)
    assert max(map(len, text.splitlines())) <= 100
    words = " ".join(text.split())
    for verdict in VERDICTS:
        assert verdict.outcome == "estimate" or verdict.outcome.replace("_", " ") in text
        assert verdict.scope in words
        assert points(verdict.replication) in text
        assert all(word in words for word in verdict.reason.split())
    assert "estimate [95 %]" in text


def test_missing_scores_and_power_stand_beside_the_estimate():
    bounds = {"worst": {"outcome": "inconclusive", "value": -0.021}, "best": {"outcome": "replicated", "value": 0.052}}
    power = {
        name: {"replicated": value, "not_replicated": 0.0} for name, value in (("published", 0.846), ("half", 0.331))
    }
    found = dataclasses.replace(
        VERDICTS[0], outcome="inconclusive", condition="one base", target="T3", criteria={"bounds": bounds, "power": power},
        replication=dataclasses.replace(estimate(0.01, -0.03, 0.05), n_unscored=7),
    )  # fmt: skip
    row = verdict_markdown([found]).splitlines()[4]
    assert row == "| A1 | T3, one base | inconclusive | +1.0 [−3.0, +5.0] | 7, −2.1 to +5.2 | 85, 33 |"
    assert "7, −2.1 to +5.2" in verdict_text([found]) and "85, 33" in verdict_text([found])
    plain = dataclasses.replace(
        found, criteria={}, replication=estimate(0.01, -0.03, 0.05), outcome="estimate", condition=""
    )
    assert verdict_markdown([plain]).splitlines()[4] == "| A1 | T3 | – | +1.0 [−3.0, +5.0] | – | – |"
    assert not {"missing", "power"} & set(verdict_text([plain]).splitlines()[1].split())


def test_no_verdict_is_said_in_words():
    assert verdict_text([]) == "no claim can be answered by this study"


def test_markdown_table_has_a_row_per_verdict_and_escapes_bars():
    n_studies = len({v.study for v in VERDICTS})
    assert verdict_markdown(VERDICTS).count("\n| ") == len(VERDICTS) + 2 * n_studies
    assert markdown(["a"], [["x|y"]]).splitlines()[-1] == "| x\\|y |"


def test_verdicts_survive_the_way_through_json(tmp_path):
    from replication.records import canonical_json

    path = tmp_path / "verdicts.json"
    path.write_text(canonical_json([to_json(verdict) for verdict in VERDICTS]))
    assert [to_json(v) for v in read_verdicts(path)] == [to_json(v) for v in VERDICTS]
    with pytest.raises(AnalysisError, match=r"run `python -m replication paper` first"):
        read_verdicts(tmp_path / "absent.json")


def test_readme_changes_between_the_markers_only(tmp_path):
    readme = tmp_path / "README.md"
    blocks = [f"<!-- {name}:begin -->\nstale text\n<!-- {name}:end -->" for name in ("verdicts", "figures")]
    readme.write_text("# Title\n{}\ntext\n{}\nend\n".format(*blocks))
    assert rewrite_readme(readme, VERDICTS)
    text = readme.read_text()
    assert text.startswith("# Title\n<!-- verdicts:begin -->\n**`")
    assert "\ntext\n" in text and text.endswith("<!-- figures:end -->\nend\n") and "stale text" not in text
    assert not rewrite_readme(readme, VERDICTS)


def test_readme_without_markers_is_refused(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("# Title\n")
    with pytest.raises(AnalysisError, match="needs the markers `<!-- verdicts:begin -->`"):
        rewrite_readme(readme, VERDICTS)
