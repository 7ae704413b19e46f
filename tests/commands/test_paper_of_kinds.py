"""The paper says of a study only what its checkpoints are: training runs, public checkpoints, or nothing collected."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from frozen_studies import build, freeze, public_scores
from pdf_text import pdf_text

from replication.analyse.claims import load_claims
from replication.errors import AnalysisError
from replication.records import Verdict
from replication.settings import CONF

ABOUT_TRAINING = (
    "training run", "training seed", "seed only", "organism", "small models", "FLOP", "warm-up", "from one base", "T3",
    "training method", "A/A check", "arms differ",
)  # fmt: skip


def own_part(folder):
    """Return the text of the section on the collected study, without line breaks."""
    text = " ".join(pdf_text(folder / "paper.pdf").replace("\N{SOFT HYPHEN} ", "").split())
    return text[text.index("4.1 Design") :].partition(" Verdicts Each claim is decided")[0]


@pytest.fixture(scope="module")
def public(tmp_path_factory, make_scores, make_probe):
    """A built study of twelve public checkpoints in matched pairs at three scales."""
    folder = tmp_path_factory.mktemp("public")
    scores = public_scores(make_scores)
    probe = make_probe(scores, {"general": 0.5, "agent_specific": 0.6})
    domains = {"calling": "out", "terminal": "in"}
    freeze(folder, scores, probe=probe, domains=domains, kind="released", scope="public checkpoints")
    return folder, [verdict for verdict in build(folder, kind="released").verdicts if verdict.study == "mine"]


def test_paper_of_public_checkpoints_says_nothing_about_training(public):
    folder, _ = public
    text = own_part(folder)
    assert [phrase for phrase in ABOUT_TRAINING if phrase.lower() in text.lower()] == []
    assert "are public and were not trained here" in text and "4.3 Differences between roles" in text
    assert "an evaluation of public checkpoints" in pdf_text(folder / "paper.pdf")
    for words in ("A/general", "0123456789abcdef", "B 70B", "B/base"):
        assert re.sub(r"\s", "", words) in re.sub(r"\s", "", text)
    assert "12 public checkpoint" in pdf_text(folder / "paper.pdf")


def test_claim_b_is_decided_by_the_roles_of_public_checkpoints_within_matched_pairs(public):
    _, verdicts = public
    assert {(v.claim_id, v.target) for v in verdicts} == {("B", "T2"), ("C", "T2"), ("D2", "T2"), ("E", "T2")}
    outcomes = {v.claim_id: v.outcome for v in verdicts}
    assert outcomes.pop("C") == "not_testable"  # one scaffold
    assert outcomes == dict.fromkeys(("B", "D2", "E"), "replicated")
    assert "pairs A 30B, A 70B, A 8B, B 30B, B 70B, B 8B" in verdicts[0].scope


@pytest.mark.slow
def test_claim_b_is_not_replicated_where_agent_specific_checkpoints_are_better(tmp_path, make_scores):
    freeze(tmp_path, public_scores(make_scores, gap=-0.4), kind="released")
    verdicts = [v for v in build(tmp_path, kind="released").verdicts if v.study == "mine" and v.claim_id == "B"]
    assert [(v.target, v.outcome) for v in verdicts] == [("T2", "not_replicated")]
    assert verdicts[0].replication.value < -0.25 and "below 0: calling, terminal" in verdicts[0].reason


@pytest.mark.slow
@pytest.mark.parametrize(("gap", "outcome"), [(0.4, "replicated"), (-0.4, "not_replicated")])
def test_claim_c_compares_general_and_agent_specific_checkpoints_in_every_scaffold(tmp_path, make_scores, gap, outcome):
    native, react = public_scores(make_scores), public_scores(make_scores, gap=gap)
    react = react.assign(scaffold="react", run_id=react["run_id"] + "-react")
    freeze(tmp_path, pd.concat([native, react], ignore_index=True), kind="released")
    (verdict,) = [v for v in build(tmp_path, kind="released").verdicts if v.study == "mine" and v.claim_id == "C"]
    assert (verdict.target, verdict.outcome) == ("T2", outcome)


def test_claims_that_public_checkpoints_can_answer_name_the_documented_roles():
    for claim in load_claims(CONF / "claim"):
        roles = tuple(claim.compare.get(f"public_{side}", claim.compare[side]) for side in ("treatment", "control"))
        assert (roles == ("general", "agent_specific")) == ("released" in claim.studies), claim.id


def test_paper_of_a_reanalysis_says_that_no_model_was_played(tmp_path):
    build(tmp_path, "reanalysis", "reanalysis")
    text = " ".join(pdf_text(tmp_path / "paper.pdf").split())
    assert "This build plays no model." in text
    assert not re.search("organism|FLOP|Training runs of one arm|public checkpoint", text)


def test_study_of_a_kind_that_no_claim_names_says_so(tmp_path, make_scores):
    scores = make_scores({"agent_sft": 0.4, "lwm_then_sft": 0.6}, n_tasks=6, n_trials=1)
    freeze(tmp_path, scores, kind="controled", comparisons=(("lwm_then_sft", "agent_sft"),))
    built = build(tmp_path, kind="controled")
    assert {verdict.study for verdict in built.verdicts} == {"reanalysis"}
    text = " ".join(pdf_text(tmp_path / "paper.pdf").split())
    assert "No claim names studies of kind controled , so study mine answers none." in text
    assert len(json.loads((tmp_path / "data/numbers.json").read_text())["collected"]["comparisons"]) == 1
    with pytest.raises(AnalysisError, match="collected as of kind `controled`, and conf/ states `controlled`"):
        build(tmp_path, kind="controlled")


LACKS = (
    "no score in an arm", "no score on a benchmark of an arm", "no score at all", "no score of a training run",
    "no score at a scale", "one task", "one arm", "one training run against three", "a benchmark in one arm only",
    "equal scores",
)  # fmt: skip


def lopsided(scores, lack):
    """Return the part of a study that lacks something."""
    treated, calling = scores["arm"] == "lwm_then_sft", scores["benchmark"] == "calling"
    first = scores["training_seed"] == 0
    parts = {
        "no score in an arm": scores.assign(value=scores["value"].mask(treated)),
        "no score on a benchmark of an arm": scores.assign(value=scores["value"].mask(treated & calling)),
        "no score at all": scores.assign(value=np.nan),
        "no score of a training run": scores.assign(value=scores["value"].mask(treated & first)),
        "no score at a scale": scores.assign(value=scores["value"].mask(scores["scale"] == "b")),
        "one task": scores[scores["task_id"].str.endswith("000")],
        "one arm": scores[~treated],
        "one training run against three": scores[first | treated],
        "a benchmark in one arm only": scores[treated | ~calling],
        "equal scores": scores.assign(value=1.0),
    }
    assert tuple(parts) == LACKS
    return parts[lack]


@pytest.mark.slow
@pytest.mark.parametrize("lack", LACKS)
def test_paper_is_built_whatever_a_study_lacks(tmp_path, make_scores, lack):
    scores = make_scores(
        {"agent_sft": 0.4, "lwm_then_sft": 0.6}, n_tasks=6, n_trials=1, scales=(("a", 0.001), ("b", 0.01))
    )
    freeze(tmp_path, lopsided(scores, lack), comparisons=(("agent_sft", "lwm_then_sft"),))
    verdicts: list[Verdict] = build(tmp_path).verdicts
    assert {"mine"} < {verdict.study for verdict in verdicts}
    text = " ".join(pdf_text(tmp_path / "paper.pdf").split())
    assert not re.search(r"\bnan\b|\bNone\b(?! of )|\binf\b", text)
    assert ("no score" in text) == lack.startswith("no score")
    assert ("was played by" in text) == (lack == "a benchmark in one arm only")
