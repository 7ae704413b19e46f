"""Runs of official harnesses and writers of the small made-up files that the tests of their adapters read."""

import json
import os
from pathlib import Path

import pytest

from replication.collect.benchmarks import official
from replication.collect.interfaces import HarnessRun, ModelRef
from replication.errors import HarnessError
from replication.records import RunSpec, Sampling

SAMPLES = Path(
    os.environ.get("REPLICATION_SAMPLES", Path(__file__).resolve().parents[5] / "shared" / "benchmarks" / "samples")
)
"""Outputs of the official tools; tests that read them are skipped where they are not at hand."""
needs_samples = pytest.mark.skipif(not SAMPLES.is_dir(), reason="no samples of the official tools")


def harness_run(folder: Path, *, n_tasks=2, n_trials=1, temperature=1.0, **sampling) -> HarnessRun:
    """Describe a run; only what the adapters read matters."""
    spec = RunSpec(
        model="org/m", revision="r", engine="vllm", dtype="bfloat16", context=4096, engine_options={}, benchmark="b",
        benchmark_version="1", scaffold="agent", scaffold_version="1", max_turns=None, max_episode_tokens=None,
        max_malformed=None, sampling=Sampling(temperature=temperature, max_tokens=512, **sampling), seed=0,
    )  # fmt: skip
    model = ModelRef(name="org/m", path="org/m", revision="r")
    return HarnessRun(spec=spec, model=model, folder=folder, n_tasks=n_tasks, n_trials=n_trials)


def put(path: Path, value) -> Path:
    """Write a text, or a value as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value), encoding="utf-8")
    return path


def listed(folder: Path, *ids: str) -> dict:
    """Write a list of items outside the results, and return the options that name it."""
    path = put(folder.parent / f"{folder.name}_items.txt", "\n".join(ids) + "\n")
    return {"items": {"file": str(path)}}


def read(name: str, run: HarnessRun, **options):
    """Return rows by item and attempt, and problems, of the results of a run."""
    harness = official.load(name, options)
    harness.prepare(run)
    harness.launch(run)
    problems = harness.validate(run)
    try:
        return {(row.task_id, row.trial): row for row in harness.ingest(run)}, problems
    except HarnessError:  # a file that cannot be read at all, which `problems` names
        return {}, problems


def statuses(rows) -> dict:
    """Return value and status of every attempt."""
    return {key: (row.value, row.details["status"]) for key, row in rows.items()}
