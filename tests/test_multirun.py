"""The jobs of a Hydra multirun keep their studies apart, and a job that fails is not hidden."""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from test_end_to_end import pretend_trained

from replication import settings
from replication.multirun import suffix


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["study=controlled_tiny", "study.seed=1"], ["study.seed-1"]),
        (["study.seed=1", "study.n_trials=2"], ["study.n_trials-2", "study.seed-1"]),
        (["study.n_trials=2", "study.seed=1"], ["study.n_trials-2", "study.seed-1"]),
        (["engine=scripted", "+engine.options.reply=ok"], ["engine-scripted", "engine.options.reply-ok"]),
        (["~arms.placebo=null", "study.seed=1"], ["study.seed-1", "f4987b61"]),
        (["study=a", "paths.results=/x", "serve.only=[a]", "training.workers=3", "tracking.mode=disabled"], []),
        (["launcher=slurm", "launcher.gpus=2", "study.seed=1"], ["study.seed-1"]),
        (["engine.processes=1", "engine.concurrency=4", "hydra.verbose=true", "hydra/launcher=basic"], []),
    ],
)
def test_a_study_is_named_after_the_overrides_that_change_its_results(overrides, expected):
    assert suffix(overrides) == expected


def test_values_that_are_written_alike_give_different_names():
    values = ["1", "-1", "'1'", "[1]", "[-1]", "{a:1}", "x" * 300, "x" * 301, "a/b", "a b"]
    names = {"-".join(suffix([f"study.seed={value}", "study.n_trials=2"])) for value in values}
    assert len(names) == len(values)
    assert all(len(name) < 60 and name.replace(".", "").replace("-", "").replace("_", "").isalnum() for name in names)


def replication(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "replication", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=settings.CONF.parent)


@pytest.fixture
def small(tmp_path):
    """Overrides of a study whose two checkpoints need no training."""
    arms = ["general", "placebo", "placebo_then_sft", "sft_then_lwm_rl", "agent_sft_matched", "base"]
    environments = ["office", "repair", "repository", "research", "assistant", "calling"]
    chosen = [
        "study=controlled_tiny", "engine=scripted", "study.training_seeds=[0]", "probe.n_tasks=0",
        *(f"~arms.{name}" for name in arms), *(f"~benchmarks.{name}" for name in environments),
        "arms.agent_sft.scales=[xs]", "arms.lwm_then_sft.scales=[xs]", f"paths.results={tmp_path}",
    ]  # fmt: skip
    settings.register()
    with initialize_config_dir(str(settings.CONF), version_base="1.3"):
        pretend_trained(settings.checked(compose("config", overrides=chosen)))
    return chosen


def indices(folder: Path) -> dict[str, dict]:
    return {path.stem: json.loads(path.read_text()) for path in (folder / "studies").glob("*.json")}


def test_every_job_writes_an_index_of_its_own_and_gather_finds_the_same_names(small, tmp_path):
    done = replication("run", "-m", *small, "study.seed=0,1")
    assert done.returncode == 0, done.stderr
    first = indices(tmp_path)
    assert len(first) == 2 and len({tuple(index["run_ids"]) for index in first.values()}) == 2
    assert {index["study"] for index in first.values()} == set(first)
    readable = "controlled_tiny-engine-scripted-probe.n_tasks-0-study."
    assert all(name.startswith(readable) and len(name) <= 64 for name in first)
    for path in (tmp_path / "studies").glob("*.json"):
        path.unlink()
    done = replication("gather", "--multirun", *small, "study.seed=1,0")
    assert done.returncode == 0, done.stderr
    assert indices(tmp_path) == first
    # Hydra's own record of the sweep is with the results, and nothing else is.
    assert [path.name for path in (tmp_path / "multirun").rglob("*")] == ["multirun.yaml"]


@pytest.mark.slow
def test_a_job_that_names_its_study_itself_keeps_the_name(small, tmp_path):
    done = replication("run", "-m", *small, "study.seed=0,1", "study.name=seed${study.seed}")
    assert done.returncode == 0, done.stderr
    assert set(indices(tmp_path)) == {"seed0", "seed1"}
    done = replication("gather", "-m", *small, "study.seed=0,1", "study.name=mine")
    assert done.returncode == 2 and "two jobs of this multirun are named `mine`" in done.stderr


def test_a_failing_job_gives_an_exit_code_and_its_message():
    unused = replication("calibrate", "-m", "study=controlled_tiny", "study.seed=0,1")
    assert unused.returncode == 2
    assert unused.stderr.startswith("error (ConfigError): `calibrate` writes conf/levels/<scale>.yaml, the same file")


def test_the_schema_reaches_the_process_of_a_job_as_the_same_classes():
    settings.register()
    node = ConfigStore.instance().load("root.yaml").node
    code = """
import pickle, sys
node = pickle.load(sys.stdin.buffer)
from replication import settings
from replication.settings.composing import _as_written
assert node._metadata.object_type is _as_written(settings.Root)
"""
    done = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(node), capture_output=True, cwd=settings.CONF.parent
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_every_job_builds_its_paper_in_a_folder_of_its_own(tmp_path):
    arguments = ["study=reanalysis", "analysis.level=0.9,0.95", f"paths.paper={tmp_path}/paper"]
    done = replication("paper", "-m", *arguments)
    assert done.returncode == 0, done.stderr
    papers = sorted(path.parent.name for path in (tmp_path / "paper").rglob("paper.pdf"))
    assert papers == ["reanalysis-analysis.level-0.9", "reanalysis-analysis.level-0.95"]
