"""The tiny study from training to the index, by its commands, on the CPU and on a GPU: every episode has a score."""

import json
import subprocess
import sys

import pytest
from test_processes import overrides

from replication import settings
from replication.store import Store

ROOT = settings.CONF.parent
ON_DEVICES = [
    pytest.param("cpu", ["engine=vllm_cpu", "training=cpu"], marks=[pytest.mark.slow, pytest.mark.vllm]),
    pytest.param("cuda", ["engine=organism_gpu", "training=gpu", "training.workers=4"], marks=pytest.mark.gpu),
]


def command(name, *chosen):
    done = subprocess.run(
        [sys.executable, "-m", "replication", name, *chosen], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(("device", "settings_of_device"), ON_DEVICES)
def test_the_tiny_study_is_trained_played_and_gathered_and_then_complete(tmp_path, device, settings_of_device):
    chosen = overrides(tmp_path, *settings_of_device, "probe.n_tasks=4")
    command("train", *chosen)
    assert "episodes in" in command("run", *chosen)
    assert "runs are complete" in command("run", *chosen)
    store = Store(tmp_path / "store")
    table = store.score_table()
    # Three checkpoints of seven environments, four tasks and four predictions each.
    assert len(table) == 3 * 7 * (4 + 4) and table["value"].notna().all()
    manifests = [store.manifest(run_id) for run_id in store.runs()]
    assert {manifest.sessions[-1].engine["device"] for manifest in manifests} == {device}
    assert all(check.as_expected for manifest in manifests for check in manifest.checks.values())
    records = [json.loads(path.read_text()) for path in (tmp_path / "training").glob("*/training.json")]
    assert {record["device"] for record in records} == {device} and len(records) == 3
    assert (tmp_path / "studies" / "controlled_tiny.json").exists()
