"""A study of six small organisms for the tests of launchers, and what they check of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

from hydra import compose, initialize_config_dir

from replication import settings
from replication.collect.launch import manifest as manifests
from replication.store import Store

ROOT = settings.CONF.parent
ARMS = ("agent_sft", "lwm_then_sft")
STUDY = (
    "study=controlled_tiny", "engine=scripted", "study.training_seeds=[0,1,2]", "probe.n_tasks=2", "tracking.mode=disabled",
    "~arms.base", "~arms.general", "~arms.placebo", "~arms.placebo_then_sft", "~arms.sft_then_lwm_rl",
    "~arms.agent_sft_matched",
    *(f"~benchmarks.{name}" for name in ("office", "repair", "repository", "research", "assistant")),
    *(f"arms.{name}.scales=[xs]" for name in ARMS),
)  # fmt: skip


def study(results: Path) -> list[str]:
    """Return the overrides of the study with its results in this folder."""
    return [*STUDY, f"paths.results={results}"]


def command(*arguments: str, env=None, timeout: float = 900.0) -> subprocess.CompletedProcess[str]:
    """Run a command of the package from its checkout."""
    env = {**(env or os.environ), "PYTHONPATH": f"{ROOT}:{os.environ.get('PYTHONPATH', '')}", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [sys.executable, "-m", "replication", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=env,
        timeout=timeout,
    )


def composed(overrides: list[str]):
    settings.register()
    with initialize_config_dir(str(settings.CONF), version_base="1.3"):
        return settings.checked(compose("config", overrides=overrides))


def planned(overrides: list[str]) -> manifests.Manifest:
    return manifests.plan(composed(overrides), overrides)


def states(text: str) -> dict[int, str]:
    """Return the state of each line as `status` printed it."""
    names = ("not started", "running", "queued", "done", "failed", "killed", "interrupted", "incomplete")
    rows = [row.split(None, 2) for row in text.splitlines() if row[:4].strip().isdigit() and row[4:6] == "  "]
    return {int(row[0]): next(name for name in names if row[2].startswith(name)) for row in rows}


def scores(results: Path, overrides: list[str]):
    """Return the score table of the runs that the index of a study lists, with the revision of each checkpoint."""
    index = json.loads((results / "studies" / f"{composed(overrides).study.name}.json").read_text())
    return Store(results / "store").score_table([*index["run_ids"], *index["probe_run_ids"]])
