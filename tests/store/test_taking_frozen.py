"""A study that was not collected here is taken as it is frozen elsewhere, and nothing of one's own is written over."""

from frozen_studies import freeze

from replication import files
from replication.store.frozen import FILES, is_frozen, take_frozen
from replication.store.index import index_path


def test_a_frozen_study_is_copied_once_and_never_over_what_is_there(tmp_path, make_scores):
    source, data, results = tmp_path / "paper/data", tmp_path / "outputs/data", tmp_path / "results"
    assert take_frozen("mine", results, source, data) == [] and not data.exists()
    freeze(tmp_path / "paper", make_scores({"agent_sft": 0.5}))
    copies = take_frozen("mine", results, source, data)
    assert {path.name for path in copies} == set(FILES) and is_frozen("mine", data)
    assert all(path.read_bytes() == (source / "mine" / path.name).read_bytes() for path in copies)
    (data / "mine/scores.csv").write_text("my own")
    assert take_frozen("mine", results, source, data) == []
    assert (data / "mine/scores.csv").read_text() == "my own"


def test_a_study_that_was_collected_is_not_taken(tmp_path, make_scores):
    freeze(tmp_path / "paper", make_scores({"agent_sft": 0.5}))
    results = tmp_path / "results"
    files.write_text(index_path(results, "mine"), "{}")
    assert take_frozen("mine", results, tmp_path / "paper/data", tmp_path / "outputs/data") == []
    assert not (tmp_path / "outputs").exists()
