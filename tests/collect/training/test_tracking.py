"""wandb is checked before training, never stops a study, and each training run is logged once under an id of its own."""

import time

import pytest
from parts import training_record

from replication import settings
from replication.collect.training import pool, tracking
from replication.errors import ConfigError
from replication.files import write_json
from replication.records import to_json

OFFLINE = settings.Tracking(mode="offline")


@pytest.fixture(autouse=True)
def no_key(monkeypatch, tmp_path):
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))


def finished(folder, name):
    """Make a finished training run."""
    folder.mkdir(parents=True)
    write_json(folder / "training.json", to_json(training_record(training_run=name)))
    (folder / "curve.csv").write_text(
        "step,phase,n_tokens,loss,lr,wall_s,reward\n0,episodes,10,2.5,0.1,1,\n1,episodes,20,2,0.1,2,\n"
    )
    return folder


def test_misspelt_mode_is_refused_before_anything_is_trained(tmp_path):
    with pytest.raises(ConfigError, match=r"`tracking\.mode` is 'onlin'; allowed: offline, online, disabled"):
        pool.train_all([], workers=1, tracked=settings.Tracking(mode="onlin"), results=tmp_path)


def test_online_without_a_key_is_refused_before_anything_is_trained(tmp_path, monkeypatch):
    online = settings.Tracking(mode="online")
    with pytest.raises(ConfigError, match=r"no key for api\.wandb\.ai\. Run `wandb login`, or set WANDB_API_KEY"):
        pool.train_all([], workers=1, tracked=online, results=tmp_path)
    (tmp_path / "netrc").write_text("machine wandb.example login user password " + "k" * 40 + "\n")
    (tmp_path / "netrc").chmod(0o600)
    with pytest.raises(ConfigError, match="no key"):
        tracking.check(online)
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example")
    tracking.check(online)
    monkeypatch.setenv("NETRC", "/nowhere")
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    tracking.check(online)


def test_disabled_tracking_notes_and_logs_nothing(tmp_path):
    folder = finished(tmp_path / "a", "a")
    off = settings.Tracking(mode="disabled")
    tracking.note_unlogged(off, [folder])
    tracking.log_unlogged(off, tmp_path, [folder])
    assert sorted(path.name for path in folder.iterdir()) == ["curve.csv", "training.json"]
    assert not (tmp_path / "wandb").exists()


def test_finished_runs_of_an_earlier_version_are_not_logged_again(tmp_path):
    tracking.log_unlogged(OFFLINE, tmp_path, [finished(tmp_path / "a", "a")])
    assert not (tmp_path / "wandb").exists()


@pytest.mark.slow
def test_each_run_is_logged_once_under_an_id_of_its_own(tmp_path, monkeypatch, capsys):
    keys = {"HF_TOKEN": "planted-hf-1", "OPENAI_API_KEY": "planted-oa-2", "WANDB_API_KEY": "3" * 40}
    outer = {
        "WANDB_RUN_ID": "outer", "WANDB_SWEEP_ID": "outer", "WANDB_RESUME": "must", "WANDB_NAME": "outer",
        "WANDB_MODE": "disabled", "WANDB_DIR": str(tmp_path / "outer"), "WANDB_PROJECT": "outer",
    }  # fmt: skip
    for name, value in (keys | outer).items():
        monkeypatch.setenv(name, value)
    folders = [finished(tmp_path / name, name) for name in ("a", "b")]
    tracking.note_unlogged(OFFLINE, [*folders, tmp_path / "untrained"])
    tracking.log_unlogged(OFFLINE, tmp_path, [*folders, tmp_path / "untrained"])
    assert capsys.readouterr().err == ""
    logged = {path.name.rpartition("-")[2]: path for path in (tmp_path / "wandb").rglob("run-*.wandb")}
    assert len(logged) == 2 and "outer.wandb" not in logged and not (tmp_path / "outer").exists()
    assert [(folder / tracking.UNLOGGED).exists() for folder in folders] == [False, False]
    assert (tmp_path / "untrained" / tracking.UNLOGGED).exists()
    # once
    tracking.log_unlogged(OFFLINE, tmp_path, folders)
    assert len(list((tmp_path / "wandb").rglob("run-*.wandb"))) == 2
    # Nothing of the machine is in it: neither keys nor the command line or the packages.
    files = [path.read_bytes() for path in (tmp_path / "wandb").rglob("*") if path.is_file() and not path.is_symlink()]
    unwanted = [*keys.values(), "test_tracking.py", "numpy=="]
    assert not [word for word in unwanted for data in files if word.encode() in data]


@pytest.mark.slow
def test_a_server_that_cannot_be_reached_is_a_warning_and_the_next_call_logs(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "3" * 40)
    folder = finished(tmp_path / "a", "a")
    started = time.monotonic()
    tracking.note_unlogged(OFFLINE, [folder])
    tracking.log_unlogged(settings.Tracking(mode="online"), tmp_path, [folder])
    assert time.monotonic() - started < tracking.START_S + tracking.PER_RUN_S + 30
    warning = capsys.readouterr().err
    assert "tracking: WARNING, 1 training runs are not logged to wandb" in warning
    assert "the same command logs them later" in warning and "3" * 40 not in warning
    assert (folder / tracking.UNLOGGED).exists() and (folder / "curve.csv").exists()
    tracking.log_unlogged(OFFLINE, tmp_path, [folder])
    assert not (folder / tracking.UNLOGGED).exists()


def test_a_folder_that_wandb_cannot_write_is_a_warning_and_the_next_call_logs(tmp_path, capsys):
    folder = finished(tmp_path / "a", "a")
    tracking.note_unlogged(OFFLINE, [folder])
    (tmp_path / "wandb").write_text("a disk that is full, or of another user, fails in the same place")
    tracking.log_unlogged(OFFLINE, tmp_path, [folder])
    assert "WARNING, 1 training runs are not logged to wandb: [Errno 17] File exists" in capsys.readouterr().err
    (tmp_path / "wandb").unlink()
    tracking.log_unlogged(OFFLINE, tmp_path, [folder])
    assert not (folder / tracking.UNLOGGED).exists()
