"""A checkpoint's identity: every file that can change its text, and a commit instead of a branch."""

import dataclasses
import json
import os
from pathlib import Path

import huggingface_hub.constants
import pytest
from hydra import compose, initialize_config_dir
from parts import make_job, training_record, write_hub_cache

from replication import settings
from replication.collect import build, checkpoints, serve
from replication.collect.training.runs import RECORD, weights_sha256
from replication.commands import run
from replication.errors import ConfigError, EngineError
from replication.files import write_json
from replication.records import to_json

COMMITS = ("a" * 40, "b" * 40)


def write_checkpoint(folder: Path, weights: bytes = b"weights") -> Path:
    """Write files as a checkpoint has them; hashing does not look into the weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.safetensors").write_bytes(weights)
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    (folder / "merges.txt").write_text("a b")
    for name in ("config", "generation_config", "tokenizer", "tokenizer_config"):
        (folder / f"{name}.json").write_text(json.dumps({"of": name, "transformers_version": "5.0"}))
    return folder


@pytest.mark.parametrize(
    "name",
    [
        "model.safetensors", "model-00002-of-00002.safetensors", "config.json", "generation_config.json", "tokenizer.json",
        "tokenizer_config.json", "chat_template.jinja", "additional_chat_templates/tool_use.jinja", "merges.txt",
        "tokenizer.model", "modeling.py",
    ],
)  # fmt: skip
def test_every_file_that_can_change_the_text_changes_the_identity(tmp_path, name):
    folder = write_checkpoint(tmp_path)
    before = checkpoints.identify(str(folder), None, "models.m")
    assert before == checkpoints.Identity(checkpoints.files_sha256(folder), checkpoints.files_sha256(folder))
    (folder / name).parent.mkdir(exist_ok=True)
    (folder / name).write_text('{"of": "another"}')
    after = checkpoints.identify(str(folder), None, "models.m")
    assert after.revision != before.revision
    with pytest.raises(
        ConfigError, match=rf"`models\.m\.revision` is '{before.revision}', .* have the hash {after.revision}"
    ):
        checkpoints.identify(str(folder), before.revision, "models.m")
    assert checkpoints.identify(str(folder), after.revision, "models.m") == after


def test_files_that_no_engine_reads_and_the_version_that_saved_a_file_do_not_change_the_identity(tmp_path):
    folder = write_checkpoint(tmp_path)
    before = checkpoints.files_sha256(folder)
    for name in ("README.md", "training.json", "trainer_state.json", "all_results.json", ".hidden.json"):
        (folder / name).write_text("{}")
    config = {"transformers_version": "5.1", "of": "config", "_name_or_path": "elsewhere"}
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    assert checkpoints.files_sha256(folder) == before
    (folder / "config.json").write_text("not JSON")
    assert checkpoints.files_sha256(folder) != before


def test_weights_that_are_replaced_in_place_with_size_and_time_of_the_old_ones_are_another_checkpoint(tmp_path):
    folder = write_checkpoint(tmp_path)
    file = folder / "model.safetensors"
    before, state, stamps = checkpoints.files_sha256(folder), os.stat(file), checkpoints.stamps(folder)
    with file.open("r+b") as opened:
        opened.write(b"WEIGHTS")
    os.utime(file, ns=(state.st_atime_ns, state.st_mtime_ns))
    after = os.stat(file)
    assert (after.st_ino, after.st_size, after.st_mtime_ns) == (state.st_ino, state.st_size, state.st_mtime_ns)
    assert checkpoints.files_sha256(folder) != before and checkpoints.stamps(folder) != stamps
    assert checkpoints.files_sha256(folder) == checkpoints.files_sha256(folder, read_again=True)


def test_only_checkpoints_that_differ_in_their_weights_alone_are_grouped(tmp_path):
    one, other = (write_checkpoint(tmp_path / name, name.encode()) for name in ("one", "other"))
    assert checkpoints.group(str(one)) == checkpoints.group(str(other))
    (other / "config.json").write_text('{"rope_theta": 5}')
    assert checkpoints.group(str(one)) != checkpoints.group(str(other))
    assert checkpoints.group("org/name") == "org/name"


def test_a_folder_without_a_checkpoint_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"no checkpoint of `models\.m\.path` at .*nothing`: config\.json"):
        checkpoints.identify(str(tmp_path / "nothing"), None, "models.m")


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of the hub with two commits of org/name, whose `main` is the first; the hub cannot be reached."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    made = {commit: write_checkpoint(tmp_path / commit, commit.encode()) for commit in COMMITS}
    return write_hub_cache(tmp_path, "org/name", made)


def test_a_branch_is_resolved_to_its_commit_and_stays_there_until_its_line_in_the_lock_is_removed(cache, tmp_path):
    lock = tmp_path / "revisions.lock"
    assert checkpoints.identify("org/name", "main", "models.m", lock) == checkpoints.Identity(COMMITS[0], None)
    (cache / "refs" / "main").write_text(COMMITS[1])
    assert checkpoints.identify("org/name", None, "models.m", lock).revision == COMMITS[0]
    lock.unlink()
    assert checkpoints.identify("org/name", None, "models.m", lock).revision == COMMITS[1]


@pytest.mark.parametrize("revision", ["v1.0", "c0ffee", "A" * 40, "", "two words"])
def test_a_revision_that_is_no_commit_and_cannot_be_resolved_is_refused(cache, tmp_path, revision):
    lock = tmp_path / "revisions.lock"
    with pytest.raises(ConfigError, match=r"`models\.m\.revision` is .*copy the commit of `org/name`"):
        checkpoints.identify("org/name", revision, "models.m", lock)
    assert not lock.exists()


def test_a_commit_needs_no_look_at_the_hub(monkeypatch):
    monkeypatch.setattr(huggingface_hub, "snapshot_download", None)
    assert checkpoints.identify("org/name", "c" * 40, "models.m") == checkpoints.Identity("c" * 40, None)


def test_each_commit_is_served_from_its_own_snapshot(cache):
    for commit in COMMITS:
        folder = checkpoints.snapshot("org/name", commit)
        assert (folder / "model.safetensors").read_bytes() == commit.encode()
    with pytest.raises(EngineError, match=rf"commit {'c' * 40} of `org/name` cannot be downloaded"):
        checkpoints.snapshot("org/name", "c" * 40)


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_file_of_the_cache_that_was_edited_is_refused(cache, name):
    file = cache / "snapshots" / COMMITS[0] / name
    file.write_bytes(file.read_bytes()[:-1] + b" ")
    with pytest.raises(EngineError, match=rf"{name}` was changed after it was downloaded as commit {COMMITS[0]}"):
        checkpoints.snapshot("org/name", COMMITS[0])


# -- runs -------------------------------------------------------------------------------------------------------------


def composed(*overrides):
    settings.register()
    with initialize_config_dir(str(settings.CONF), version_base="1.3"):
        return settings.checked(compose("config", overrides=list(overrides)))


@pytest.fixture
def cfg(tmp_path):
    cfg = composed(
        "study=controlled_tiny",
        "engine=scripted",
        f"paths.results={tmp_path}/results",
        f"paths.revisions={tmp_path}/lock",
    )
    cfg.benchmarks = {"terminal": cfg.benchmarks["terminal"]}
    cfg.arms, cfg.scales, cfg.probe.n_tasks = {}, {}, 0
    return cfg


def model(path, revision=None):
    return settings.Model(path=str(path), revision=revision, role="general", scale="8B", params_b=8.0)


def stored(cfg):
    """The stored checkpoints: (name, revision) of each run."""
    store = serve.store_of(cfg)
    return {(m.labels.model, m.labels.revision) for m in map(store.manifest, store.runs())}


def test_weights_that_are_replaced_between_two_runs_are_played_again(cfg, tmp_path, capsys):
    folder = write_checkpoint(tmp_path / "m")
    cfg.models = {"m": model(folder)}
    run.main(cfg)
    first = checkpoints.files_sha256(folder)
    assert "4 episodes" in capsys.readouterr().out and stored(cfg) == {("m", first)}
    run.main(cfg)
    assert "all 1 runs are complete" in capsys.readouterr().out
    write_checkpoint(folder, b"WEIGHTS")
    run.main(cfg)
    assert "4 episodes" in capsys.readouterr().out
    assert stored(cfg) == {("m", first), ("m", checkpoints.files_sha256(folder))}


def test_two_names_of_one_path_with_two_revisions_have_answers_of_their_own(cfg, cache, capsys):
    cfg.models = {name: model("org/name", revision) for name, revision in (("one", "main"), ("other", COMMITS[1]))}
    run.main(cfg)
    assert "8 episodes" in capsys.readouterr().out
    assert stored(cfg) == {("one", COMMITS[0]), ("other", COMMITS[1])}
    (cache / "refs" / "main").write_text(COMMITS[1])
    run.main(cfg)
    assert "all 2 runs are complete" in capsys.readouterr().out  # a branch stays where it was first used
    Path(cfg.paths.revisions).unlink()
    run.main(cfg)
    assert "4 episodes" in capsys.readouterr().out and ("one", COMMITS[1]) in stored(cfg)


def test_another_path_under_the_same_name_is_played_again(cfg, tmp_path, capsys):
    for name in ("one", "other"):
        cfg.models = {"m": model(write_checkpoint(tmp_path / name, name.encode()))}
        run.main(cfg)
        assert "4 episodes" in capsys.readouterr().out
    assert len(stored(cfg)) == 2


@pytest.mark.parametrize("name", ["config.json", "generation_config.json", "tokenizer.json", "chat_template.jinja"])
def test_all_files_of_an_organism_are_part_of_its_runs_and_its_revision_is_that_of_the_weights(cfg, tmp_path, name):
    trained = build.training_run(composed("study=controlled_tiny"), "agent_sft", "xs", 0)
    folder = write_checkpoint(tmp_path / "organism")
    record = training_record(arm="agent_sft", scale="xs", training_seed=0, weights_sha256=weights_sha256(folder))
    write_json(folder / RECORD, to_json(record))
    specs = []
    for content in ("{}", '{"edited": 1}'):
        (folder / name).write_text(content)
        (job,) = build.jobs(cfg, build.organism(trained, folder))
        assert job.spec.files_sha256 == checkpoints.files_sha256(folder)
        specs.append(job.spec)
    assert specs[0].run_id != specs[1].run_id and {spec.revision for spec in specs} == {record.weights_sha256}


def test_a_run_without_a_hash_of_all_files_keeps_the_run_id_that_it_was_stored_under():
    spec = make_job().spec
    assert spec.run_id == "org-m-terminal-compact-8c8471ad824a" and "files_sha256" not in to_json(spec)
    assert dataclasses.replace(spec, files_sha256="0" * 64).run_id != spec.run_id
