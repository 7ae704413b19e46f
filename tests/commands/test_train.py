"""The command `train` when all training runs are finished."""

import subprocess
import sys

import pytest
from hydra import compose, initialize_config_dir
from test_end_to_end import pretend_trained

from replication import settings


@pytest.fixture
def overrides(tmp_path):
    chosen = ["study=controlled_tiny", f"paths.results={tmp_path}"]
    settings.register()
    with initialize_config_dir(str(settings.CONF), version_base="1.3"):
        pretend_trained(settings.checked(compose("config", overrides=chosen)))
    return chosen


def test_finished_training_runs_are_kept_without_importing_torch(overrides):
    code = f"""
import sys
from replication.__main__ import main
main(["train", *{overrides!r}])
heavy = {{"torch", "transformers", "tokenizers", "safetensors", "vllm", "wandb", "pandas", "scipy", "matplotlib"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=settings.CONF.parent)
    assert process.returncode == 0, process.stderr
    assert "training runs are finished" in process.stdout


def test_a_checkpoint_that_the_study_does_not_have_is_refused(overrides):
    arguments = [sys.executable, "-m", "replication", "train", *overrides, "serve.only=[organism/agent_sft/xs/s7]"]
    process = subprocess.run(arguments, capture_output=True, text=True, cwd=settings.CONF.parent)
    assert process.returncode == 2
    assert (
        "`serve.only` names `organism/agent_sft/xs/s7`; study `controlled_tiny` has the checkpoints" in process.stderr
    )
