"""The report on this machine names what is missing and what to do about it."""

import os
import re
import subprocess
import sys

import pytest
from plan_studies import composed

from replication import settings
from replication.collect import machine, processor
from replication.collect.machine import Finding
from replication.commands import plan
from replication.commands.doctor import report


@pytest.fixture
def offline(monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def lacking(cfg, **download_gb):
    found = machine.examined(cfg, {name: 1.0 for name in cfg.models} | download_gb)
    return {one.name: one for one in found if one.remedy}


def test_missing_weights_cards_disk_and_licences_are_named_with_their_remedies(tmp_path, offline, monkeypatch):
    monkeypatch.setattr(machine.gpus, "visible", list)
    found = lacking(composed(tmp_path, "study=released_4b"), qwen3_4b=1e6)
    assert "engine=vllm_cpu" in found["GPU"].remedy
    assert "HF_HOME" in found["disk, cache of the hub"].remedy
    assert "`models.qwen3_4b.path`" in found["weights qwen3_4b"].remedy
    assert found["licence cc-by-nc-4.0"].remedy == "read it, then `licences.accepted=[cc-by-nc-4.0]`"


def test_weights_in_a_folder_are_found_and_an_empty_folder_is_named(tmp_path, offline):
    folder = tmp_path / "weights"
    folder.mkdir()
    cfg = composed(tmp_path, "study=released_small", f"models.smollm2_135m_agent.path={folder}")
    assert f"into `{folder}`" in lacking(cfg)["weights smollm2_135m_agent"].remedy
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_text("{}")
    assert "weights smollm2_135m_agent" not in lacking(cfg)
    cfg.paths.weights = str(tmp_path / "none")
    assert "make weights STUDY=released_small" in lacking(cfg)["weights smollm2_135m"].remedy


def test_training_in_bfloat16_on_a_processor_without_it_is_named(tmp_path, offline, monkeypatch):
    flags = "fpu avx2 avx512f"
    monkeypatch.setattr(processor, "_facts", lambda: {"model name": "One", "flags": flags})
    found = lacking(composed(tmp_path, "study=smollm2", "training=public"))["processor"]
    assert found.value.startswith("One with AVX-512, ") and "training.precision=float32" in found.remedy
    assert "processor" not in lacking(composed(tmp_path, "study=controlled"))  # in float32
    flags += " avx512_bf16"
    assert "processor" not in lacking(composed(tmp_path, "study=smollm2", "training=public"))


def test_organisms_that_are_not_trained_are_counted(tmp_path, offline):
    found = lacking(composed(tmp_path, "study=controlled_tiny"))
    assert re.fullmatch(r"0 of \d+ trained", found["training runs"].value)
    assert not any(name.startswith("base") for name in found)


def test_arms_of_a_public_base_wait_for_its_weights(tmp_path, offline, monkeypatch):
    monkeypatch.chdir(tmp_path)
    cfg = composed(tmp_path, "study=smollm2")
    cfg.paths.weights = "weights"  # relative, as in conf/: a missing folder must not be taken for a hub id
    found = lacking(cfg)
    assert found["base smollm2_135m"].remedy == "run `make weights STUDY=smollm2`"
    assert found["training runs"].value == "13 wait for their base"
    assert "plan of study smollm2" in plan.printed(cfg)


def test_a_branch_that_is_locked_is_found_at_its_commit_and_only_with_all_its_weights(tmp_path, offline, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    cfg = composed(tmp_path, "study=reanalysis", "+model@models.m=qwen3_0_6b", f"paths.revisions={tmp_path / 'lock'}")
    folder = tmp_path / "cache/models--Qwen--Qwen3-0.6B/snapshots" / ("a" * 40)
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors.index.json").write_text('{"weight_map": {"x": "1.safetensors", "y": "2.safetensors"}}')
    (folder / "1.safetensors").write_text("")
    (tmp_path / "lock").write_text(f"Qwen/Qwen3-0.6B main {'a' * 40}\n")
    assert "weights m" in lacking(cfg)
    (folder / "2.safetensors").write_text("")
    assert "weights m" not in lacking(cfg)
    (tmp_path / "lock").write_text(f"Qwen/Qwen3-0.6B main {'b' * 40}\n")
    assert "weights m" in lacking(cfg)


def test_official_harness_without_results_or_a_container_engine_is_named_with_what_it_needs(
    tmp_path, offline, monkeypatch
):
    monkeypatch.setenv("PATH", str(tmp_path))
    entry = [
        "+ingest@ingest.pro=swe_bench_pro",
        f"ingest.pro.folder={tmp_path / 'pro'}",
        "ingest.pro.model=smollm2_135m",
    ]
    cfg = composed(tmp_path, "study=released_small", *entry)
    found = lacking(cfg)["harness pro"]
    assert found.remedy == f"install docker, or put results from elsewhere into `{tmp_path / 'pro'}`"
    assert found.value.startswith("containers docker; images 731, ") and "not tried: " in found.value
    (tmp_path / "pro").mkdir()
    (tmp_path / "pro" / "eval_results.json").write_text("{}")
    assert "harness pro" not in lacking(cfg)


def test_what_is_missing_comes_last_with_its_remedy():
    found = [Finding("hub", "away", "plug it in"), Finding("disk", "9 GB free")]
    assert (
        report("x", found) == "this machine for study x\n  disk  9 GB free\n! hub   away\n        plug it in\n1 missing"
    )
    assert report("x", found[1:]).endswith("nothing is missing")


@pytest.mark.slow
def test_the_command_writes_nothing_and_ends_with_exit_code_0(tmp_path):
    env = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(settings.CONF.parent)}
    command = [sys.executable, "-m", "replication", "doctor", "study=released", f"paths.results={tmp_path / 'r'}"]
    done = subprocess.run(command, capture_output=True, text=True, env=env, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "HF_HUB_OFFLINE is set" in done.stdout and not list(tmp_path.iterdir())


def test_official_harness_that_is_launched_here_is_listed_and_says_how_it_is_installed(tmp_path, offline, monkeypatch):
    monkeypatch.setenv("REPLICATION_HARNESSES", str(tmp_path))
    cfg = composed(tmp_path, "study=released_small", "~benchmarks", "+ingest@ingest.bfcl=bfcl")
    found = lacking(cfg)["harness bfcl"]
    assert found.value.startswith("containers none; images none; keys none; environment not installed; disk 0.6 GB; ")
    assert found.remedy == "`make harness NAME=bfcl` installs it"


def test_every_official_harness_has_needs_and_a_lock_file(tmp_path):
    from replication.collect.benchmarks import official

    assert set(official.recipes()) == set(official.needs()) and all(
        r.lock.is_file() for r in official.recipes().values()
    )
