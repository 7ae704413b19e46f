"""Jobs and papers are logged to wandb in the group of their study; wandb stops nothing."""

import pytest
from sweeps import composed, study
from test_end_to_end import pretend_trained

from replication.collect import build
from replication.collect.launch import mirror
from replication.commands import run, sweep, wandb_sync
from replication.errors import ConfigError

NAME = "organism/agent_sft/xs/s0"


@pytest.fixture
def cfg(tmp_path, monkeypatch):
    for name in ("WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    cfg = composed([*study(tmp_path / "results"), "study.training_seeds=[0]", "tracking.mode=offline"])
    pretend_trained(cfg)
    cfg.serve.only, cfg.paths.paper, cfg.engine.processes = [NAME], str(tmp_path / "paper"), 1
    run.main(cfg)
    return cfg


def test_a_job_is_summarised_by_the_means_and_counts_of_its_runs(cfg):
    found = mirror.scores(cfg, NAME)
    (model,) = build.served_models(cfg, [NAME])
    runs = [*build.jobs(cfg, model), *build.probe_jobs(cfg, model)]
    assert len(found) == 4 * len(runs) == 16
    assert found["terminal/compact/n_episodes"] == 4 and found["terminal/probe/n_episodes"] == 2
    assert found["terminal/compact/score"] == 0.0 and found["terminal/compact/n_unscored"] == 0


def test_disabled_tracking_logs_nothing_and_a_failure_of_wandb_is_a_warning(cfg, tmp_path, capsys):
    folder = tmp_path / "line-0"
    folder.mkdir()
    cfg.tracking.mode = "disabled"
    mirror.log_job(cfg, NAME, folder)
    assert not (tmp_path / "results/wandb").exists() and not list(folder.iterdir())
    cfg.tracking.mode = "offline"
    (tmp_path / "results/wandb").write_text("a file where wandb needs a folder")
    mirror.log_job(cfg, NAME, folder)
    assert "tracking: WARNING, not logged to wandb: " in capsys.readouterr().err and not list(folder.iterdir())


def test_a_sweep_that_would_log_online_without_a_key_is_refused_before_anything_is_written(cfg, tmp_path):
    cfg.tracking.mode = "online"
    with pytest.raises(ConfigError, match=r"`tracking\.mode` is online, but there is no key"):
        sweep.main(cfg)
    assert not (tmp_path / "results/sweeps").exists()


@pytest.mark.slow
def test_a_job_is_logged_once_and_tables_and_figures_as_artifacts(cfg, tmp_path, capsys):
    folder, paper = tmp_path / "line-0", tmp_path / "paper"
    folder.mkdir()
    for name in ("data/scores.csv", "figures/forest.svg", "paper.typ"):
        (paper / name).parent.mkdir(parents=True, exist_ok=True)
        (paper / name).write_text(f"text of {name}")
    for _ in range(2):
        mirror.log_job(cfg, NAME, folder)
    assert capsys.readouterr().err == ""
    assert len(mirror.waiting(tmp_path / "results")) == 1
    wandb_sync.main(cfg)
    said = capsys.readouterr().out
    assert f"wandb: 2 tables and figures of `{paper}` logged" in said
    assert "wandb: 2 runs wait at" in said and "there is no key for wandb. Run `wandb login`" in said
    logged = b"".join(path.read_bytes() for path in (tmp_path / "results/wandb").rglob("*.wandb"))
    for text in (
        NAME,
        cfg.study.name,
        "terminal/compact/score",
        "controlled_tiny-tables",
        "forest.svg",
        "data/scores.csv",
    ):
        assert text.encode() in logged
    assert b"paper.typ" not in logged
    uploaded = mirror.waiting(tmp_path / "results")[0]
    (uploaded / "run.wandb.synced").touch()
    assert len(mirror.waiting(tmp_path / "results")) == 1
