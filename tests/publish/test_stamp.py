"""A build is skipped only where no input and no output has changed in content."""

import os
import shutil

import pytest

from replication.publish import stamp


@pytest.fixture
def built(tmp_path):
    """A paper folder with one output, and its claims."""
    paper, claims = tmp_path / "paper", tmp_path / "claim"
    (paper / "data").mkdir(parents=True)
    claims.mkdir()
    for path, text in ((paper / "paper.typ", "= A"), (paper / "refs.bib", ""), (claims / "A.yaml", "id: A")):
        path.write_text(text)
    output = paper / "data/numbers.json"
    output.write_text("{}")
    stamp.write(paper, inputs(tmp_path), [output])
    return tmp_path


def inputs(root, **changes):
    settings = {"study": "mine", "analysis": {"level": 0.95}, **changes}
    return stamp.inputs(
        root / "paper", settings=settings, claims=root / "claim", study="mine", results=root / "results"
    )


def up_to_date(root, **changes):
    return bool(stamp.unchanged_outputs(root / "paper", inputs(root, **changes)))


def test_build_with_equal_content_is_up_to_date_for_any_time_stamps(built):
    os.utime(built / "paper/paper.typ", (0, 0))
    os.utime(built / "paper/data/numbers.json")
    assert up_to_date(built)
    assert stamp.unchanged_outputs(built / "paper", inputs(built)) == [built / "paper/data/numbers.json"]


@pytest.mark.parametrize("name", ["paper/paper.typ", "paper/refs.bib", "claim/A.yaml", "paper/data/numbers.json"])
def test_changed_input_or_output_is_not_up_to_date(built, name):
    before = (built / name).stat()
    (built / name).write_text("other")
    os.utime(built / name, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert not up_to_date(built)


def test_missing_output_and_damaged_stamp_are_not_up_to_date(built):
    (built / "paper/data/numbers.json").unlink()
    assert not up_to_date(built)
    (built / "paper/data/numbers.json").write_text("{}")
    for damaged in (b"{", b"", b"null", b"[]", b'"x"', b"\xff", b'{"built_from": 1}', b'{"outputs": [[]]}'):
        (built / "paper" / stamp.NAME).write_bytes(damaged)
        assert not up_to_date(built)


def test_a_build_that_was_interrupted_is_not_up_to_date_even_if_its_inputs_are_undone(built):
    first = (built / "paper/paper.typ").read_text()
    (built / "paper/paper.typ").write_text("= B")
    (built / "paper/data/numbers.json").write_text('{"of": "B"}')
    assert not up_to_date(built)
    (built / "paper/paper.typ").write_text(first)
    assert not up_to_date(built)


@pytest.mark.parametrize("part", ["analyse/evidence/pairs.csv", "analyse/stats/checks.py", "settings/schema.py", "text.py"])
def test_a_changed_line_of_a_module_or_of_the_evidence_is_not_up_to_date(built, monkeypatch, part):
    package = shutil.copytree(stamp.PACKAGE, built / "package", ignore=shutil.ignore_patterns("collect", "__pycache__"))
    monkeypatch.setattr(stamp, "PACKAGE", package)
    assert up_to_date(built)
    (package / part).write_text((package / part).read_text() + "\n")
    assert not up_to_date(built)


def test_changed_setting_is_not_up_to_date(built):
    assert not up_to_date(built, analysis={"level": 0.9})


def test_changed_package_version_is_not_up_to_date(built, monkeypatch):
    monkeypatch.setattr(stamp.metadata, "version", lambda name: "0")
    assert not up_to_date(built)


def test_study_that_left_the_store_is_up_to_date_and_one_that_changed_there_is_not(built):
    paper = built / "paper"
    current = inputs(built)
    stamp.write(paper, current._replace(collected="ab"), [paper / "data/numbers.json"])
    assert stamp.unchanged_outputs(paper, current)
    assert not stamp.unchanged_outputs(paper, current._replace(collected="cd"))
    stamp.write(paper, current, [paper / "data/numbers.json"])
    assert not stamp.unchanged_outputs(paper, current._replace(collected="ab"))
