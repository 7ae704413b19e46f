"""Claims load completely or not at all, and the message names file and key."""

import shutil
from pathlib import Path

import pytest
import yaml

from replication.analyse.claims import load_claim, load_claims, study_kinds
from replication.analyse.rules.registry import RULES
from replication.errors import ClaimError

FOLDER = Path(__file__).parents[2] / "conf/claim"


def changed(tmp_path, **changes):
    content = yaml.safe_load((FOLDER / "A1.yaml").read_text())
    for key, value in changes.items():
        inside = content
        *path, last = key.split("__")
        for step in path:
            inside = inside[step]
        if value is None:
            del inside[last]
        else:
            inside[last] = value
    path = tmp_path / "A1.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def test_every_proposition_has_a_claim_with_a_full_source():
    claims = load_claims(FOLDER)
    assert {claim.proposition for claim in claims} == {"P", "A", "B", "C", "D", "E", "L"}
    for claim in claims:
        assert set(claim.source) == {"reference", "place", "url", "date_read"}
        assert claim.unspecified


def test_every_rule_decides_a_claim_and_one_is_about_the_published_table_alone():
    assert set(RULES) == {claim.rule for claim in load_claims(FOLDER)}
    assert [name for name, rule in RULES.items() if rule.collected is None] == ["published_on_all"]


def test_every_kind_that_a_claim_names_is_a_study_and_every_kind_of_study_has_claims():
    assert {kind for claim in load_claims(FOLDER) for kind in claim.studies} == set(study_kinds())
    assert study_kinds() == ["controlled", "reanalysis", "released"]


def test_kind_without_a_study_is_refused_and_one_study_file_allows_it(tmp_path):
    path = changed(tmp_path, studies=["reanalysis", "observed"])
    with pytest.raises(
        ClaimError, match=r"A1\.yaml: `studies` must be one of controlled, reanalysis, released; got 'observed'"
    ):
        load_claim(path)
    shutil.copytree(FOLDER.parent / "study", tmp_path / "study")
    (tmp_path / "study/observed.yaml").write_text("study: {name: observed, kind: observed}\n")
    assert load_claim(path, study_kinds(tmp_path / "study")).studies == ("reanalysis", "observed")


@pytest.mark.parametrize("key", ["reference", "place", "url", "date_read"])
def test_claim_with_half_a_source_does_not_load(tmp_path, key):
    with pytest.raises(ClaimError, match=rf"A1\.yaml: `source\.{key}` is missing"):
        load_claim(changed(tmp_path, **{f"source__{key}": None}))


def test_claim_without_source_does_not_load(tmp_path):
    with pytest.raises(ClaimError, match=r"A1\.yaml: `source` is missing"):
        load_claim(changed(tmp_path, source=None))


def test_misspelt_key_is_named_with_the_nearest_allowed_one(tmp_path):
    with pytest.raises(ClaimError, match=r"A1\.yaml: unknown key `statment`; did you mean `statement`\?"):
        load_claim(changed(tmp_path, statment="x"))


def test_misspelt_parameter_is_named(tmp_path):
    with pytest.raises(ClaimError, match=r"unknown key `parameters\.sesio`; did you mean `parameters\.sesoi`\?"):
        load_claim(changed(tmp_path, parameters__sesio=0.03))


def test_parameter_that_the_rule_needs_may_not_be_left_out(tmp_path):
    with pytest.raises(ClaimError, match=r"`parameters\.alpha` is missing"):
        load_claim(changed(tmp_path, parameters__alpha=None))


@pytest.mark.parametrize(
    "key, value", [("rule", "by_feeling"), ("target", "T4"), ("proposition", "Z"), ("made_by", "me")]
)
def test_unknown_choice_is_refused_and_the_allowed_ones_listed(tmp_path, key, value):
    with pytest.raises(ClaimError, match=rf"A1\.yaml: `{key}` must be one of .*; got '{value}'"):
        load_claim(changed(tmp_path, **{key: value}))


def test_claim_is_named_after_its_file(tmp_path):
    with pytest.raises(ClaimError, match="`id` must be the file's name, A1; got 'A9'"):
        load_claim(changed(tmp_path, id="A9"))


def test_file_that_is_no_mapping_or_no_yaml_is_refused(tmp_path):
    path = tmp_path / "A1.yaml"
    path.write_text("- a list")
    with pytest.raises(ClaimError, match="must be a mapping"):
        load_claim(path)
    path.write_text("a: [")
    with pytest.raises(ClaimError, match="cannot be read as YAML"):
        load_claim(path)


def test_folder_without_claims_is_an_error(tmp_path):
    with pytest.raises(ClaimError, match="no claim files"):
        load_claims(tmp_path)
