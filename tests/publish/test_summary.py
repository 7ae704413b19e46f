"""The plain words of a study say what its verdicts say, and no more."""

import dataclasses
import json
import math
import re

import pytest

from replication.publish.readme import read_verdicts
from replication.publish.summary import paragraphs
from replication.publish.verdict_tables import verdict_markdown, verdict_text
from replication.records import Estimate, Verdict, to_json


def estimate(value, low, high, **changes):
    how = {"level": 0.95, "method": "t", "target": "T3", "n_tasks": 80, "n_trials": 1, "n_training_runs": 3}
    return Estimate(value=value, low=low, high=high, **{**how, **changes})


def verdict(claim="A1", outcome="inconclusive", found=None, **changes):
    how = {"proposition": "A", "statement": f"Statement of {claim}.", "study": "ours", "scope": "s", "reason": "r"}
    return Verdict(claim_id=claim, outcome=outcome, replication=found, **{**how, "target": "T3", **changes})


def decided(criteria, **others):
    """Criteria of new data, as `verdicts` nests them by policy."""
    return {"exclude": criteria, "decided_under": "exclude", **others}


POWER = {name: {"replicated": p, "not_replicated": 0.0} for name, p in (("published", 0.85), ("half", 0.33))}
UP, ZERO, DOWN = estimate(0.05, 0.01, 0.09), estimate(0.01, -0.03, 0.05), estimate(-0.05, -0.09, -0.01)


def words(*verdicts):
    (paragraph,) = paragraphs(verdicts)
    assert paragraph.study == "ours"
    return paragraph.text


def test_mixed_study_counts_each_claim_once_and_quotes_what_was_decided():
    text = words(
        verdict("A1", "estimate", UP, target="T2"),
        verdict("A1", "replicated", UP, condition="one base"),
        verdict("A2", "not_replicated", DOWN, condition="one base"),
        verdict("A3", "inconclusive", ZERO, condition="one base"),
        verdict("B", "not_testable", reason="`general` is at the floor"),
    )
    assert text.startswith(
        "Of 4 claims, 1 was confirmed, 1 was contradicted, 1 was left open and 1 could not be tested. "
    )
    assert "Confirmed by new data: “Statement of A1” (A1; +5.0 points, 95 % interval +1.0 to +9.0)." in text
    assert "Contradicted by new data: “Statement of A2” (A2; −5.0 points, 95 % interval −9.0 to −1.0)." in text
    assert "“Statement of A3” (A3; +1.0 points, 95 % interval −3.0 to +5.0)" in text
    assert "Not testable here, so this study says nothing for or against them: B." in text
    assert "The answers are about the method, were it applied again from the same start (one base)." in text


def test_what_is_open_is_not_called_no_effect():
    text = words(verdict(found=ZERO))
    assert "Left open by new data, which does not mean no effect" in text
    assert not re.search("confirmed|contradicted|failed|refuted", text)


def test_arm_at_the_floor_is_no_finding():
    floor = verdict("B", "not_testable", reason="`general` is at the floor of every benchmark.")
    assert words(floor) == "The claim (B) could not be tested, so this study says nothing for or against it."
    assert words(floor, dataclasses.replace(floor, claim_id="C")) == (
        "None of the 2 claims could be tested (B, C), so this study says nothing for or against them."
    )


def test_all_replicated_mentions_no_other_outcome():
    text = words(verdict("A1", "replicated", UP), verdict("A2", "replicated", UP))
    assert text.startswith("Of 2 claims, 2 were confirmed. ")
    assert not re.search("open|contradicted|testable|shown", text)
    assert text.count("Confirmed by new data") == 1


def test_published_numbers_show_or_do_not_show_and_confirm_nothing():
    text = words(
        verdict("P", "established", dataclasses.replace(UP, target="T2"), target="T2", criteria={"weakest": "BFCL"}),
        verdict("L1", "not_established", ZERO),
    )
    assert "Shown by the published numbers themselves: “Statement of P” (P; on the lowest benchmark, BFCL: +5.0" in text
    assert "Not shown by the published numbers, which does not mean false: “Statement of L1”" in text
    assert "about these models, on tasks like these (P) and the method, were it applied again (L1)." in text
    assert not re.search("confirmed|replicated|new data", text)


@pytest.mark.parametrize(
    "target, meaning",
    [
        ("T1", "exactly these tasks and models"),
        ("T2", "these models, on tasks like these"),
        ("T3", "the method, were it applied again"),
    ],
)
def test_target_is_told_in_words(target, meaning):
    text = words(verdict(found=ZERO, target=target))
    assert f"The answers are about {meaning}." in text and target not in text


def test_open_answer_says_what_the_study_could_have_shown():
    text = words(verdict(found=ZERO, criteria=decided({}, power=POWER)))
    assert "a study this precise confirms the published effects with a chance of 85 %, half of them with 33 %" in text
    rare = {**POWER, "half": {"replicated": 0.0008, "not_replicated": 0.0}}
    assert "half of them with under 1 %)" in words(verdict(found=ZERO, criteria=decided({}, power=rare)))
    assert "chance" not in words(verdict(outcome="replicated", found=UP, criteria=decided({}, power=POWER)))


def test_claim_about_all_names_the_benchmark_of_its_estimate_and_those_that_contradict_it():
    found = {"weakest": "office", "below_zero_after_holm": ["office"], "equivalent_after_holm": ["calling", "repair"]}
    text = words(verdict("A2", "not_replicated", DOWN, criteria=decided(found)))
    assert "(A2; on the lowest benchmark, office: −5.0 points" in text
    assert "below zero on office; no effect of a size that matters on calling, repair)" in text
    text = words(verdict("A3", "not_replicated", ZERO, criteria=decided({"refuted": ["office"], "weakest": "office"})))
    assert "short of the published gain on office" in text
    assert "short of" not in words(verdict("A3", "inconclusive", ZERO, criteria=decided({"refuted": ["office"]})))


def test_equivalence_is_told_with_its_margin():
    text = words(verdict("A1", "not_replicated", ZERO, criteria=decided({"equivalent": True, "sesoi": 0.03})))
    assert "any effect is smaller than 3 points" in text


def test_other_policies_for_missing_scores_do_not_name_the_benchmark():
    criteria = {"exclude": {"weakest": "office"}, "fail": {"weakest": "repair"}, "decided_under": "fail"}
    assert "on the lowest benchmark, repair:" in words(verdict("A2", "inconclusive", ZERO, criteria=criteria))


def test_answer_that_hangs_on_missing_scores_says_so():
    bounds = {"worst": {"outcome": "inconclusive"}, "best": {"outcome": "replicated"}}
    found = dataclasses.replace(ZERO, n_unscored=7)
    assert "hangs on 7 missing scores" in words(verdict(found=found, criteria=decided({}, bounds=bounds)))
    bounds["best"] = bounds["worst"]
    assert "hangs" not in words(verdict(found=found, criteria=decided({}, bounds=bounds)))


def test_cost_is_a_factor_and_no_points_are_explained():
    ratio = estimate(math.log(0.5), math.log(0.4), math.log(0.625), kind="log_ratio", level=0.9)
    text = words(verdict("E", "replicated", ratio, proposition="E"))
    assert "cost per solved task 0.50 times that of the other side, 90 % interval 0.40 to 0.62" in text
    assert "points" not in text and "A 90 % interval is made to hold the true value in 90 of 100 studies" in text


def test_every_number_comes_from_a_verdict():
    text = words(verdict("X", "replicated", estimate(0.1234, 0.0567, 0.1901)), verdict("Y", "not_testable"))
    assert set(re.findall(r"\d[\d.]*\d|\d", text)) == {"2", "1", "12.3", "95", "5.7", "19.0", "100"}


def test_nothing_decided_gives_no_paragraph():
    assert paragraphs([]) == []
    assert paragraphs([verdict("A1", "estimate", UP, target="T2")]) == []


def test_each_study_has_its_paragraph_on_screen_and_in_markdown():
    both = [verdict("A1", "replicated", UP), verdict("P", "not_testable", study="other")]
    assert [paragraph.study for paragraph in paragraphs(both)] == ["ours", "other"]
    shown = verdict_text(both)
    assert (
        "ours, in plain words: Of 1 claim, 1 was confirmed." in shown
        and "other, in plain words: The claim (P)" in shown
    )
    assert max(map(len, shown.splitlines())) <= 100
    assert verdict_markdown(both).count("In plain words: ") == 2


def test_words_are_the_same_from_the_file(tmp_path):
    """JSON sorts the keys of the criteria."""
    criteria = {"fail": {"weakest": "repair"}, "exclude": {"weakest": "office"}, "decided_under": "fail"}
    found = [verdict("A2", "inconclusive", ZERO, criteria=criteria)]
    (tmp_path / "verdicts.json").write_text(json.dumps(to_json(found)), encoding="utf-8")
    assert paragraphs(read_verdicts(tmp_path / "verdicts.json")) == paragraphs(found)
