"""A sweep in wandb: one run per job in the group of its study, tables and figures as artifacts, offline by default.

As with learning curves, wandb is a mirror and the store is the reference: each call works in a process of its own with a
time limit, and a failure is a warning.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from replication import processes, settings
from replication.collect import build, serve
from replication.collect.training.tracking import PER_RUN_S, START_S, Unavailable, has_key, isolate, run_settings
from replication.errors import LaunchError
from replication.masking import mask_text, masked
from replication.records import Json, stable_hash

KEPT = (".csv", ".json", ".svg", ".pdf")
"""Files of a paper that are logged."""
SYNCED = ".synced"
"""What `wandb sync` adds to the name of a file that it has uploaded."""


def log_job(cfg: settings.Root, checkpoint: str, folder: Path) -> None:
    """Log the scores of a job's checkpoint, and what it took, as one run; a repeated job replaces nothing that is equal."""
    if cfg.tracking.mode == "disabled":
        return
    summary = scores(cfg, checkpoint)
    stamp = folder / "wandb.json"
    text = json.dumps(summary, sort_keys=True)
    if stamp.exists() and stamp.read_text(encoding="utf-8") == text:
        return
    if _safely(_log_job, cfg, checkpoint, summary):
        stamp.write_text(text, encoding="utf-8")


def scores(cfg: settings.Root, checkpoint: str) -> dict[str, Json]:
    """Return the mean score of each run of a checkpoint, with its counts of episodes, scored ones and tokens."""
    store, ((_, jobs),) = serve.store_of(cfg), serve.assignments(cfg, [checkpoint])
    found: dict[str, Json] = {}
    for spec in [*(job.spec for job in jobs), *(job.run.spec for job in build.harness_jobs(cfg, [checkpoint]))]:
        table = store.score_table([spec.run_id])
        scored = table["value"].dropna()
        name = f"{spec.benchmark}/{spec.scaffold}"
        found[f"{name}/score"] = float(scored.mean()) if len(scored) else None
        found[f"{name}/n_episodes"] = len(table)
        found[f"{name}/n_unscored"] = len(table) - len(scored)
        found[f"{name}/n_completion_tokens"] = int(table["n_completion_tokens"].sum())
    return found


def log_paper(cfg: settings.Root, paper: Path) -> int:
    """Log the tables and figures of a study's paper as artifacts of one run; returns how many files it has."""
    names = [path for path in sorted(paper.rglob("*")) if path.suffix in KEPT and path.is_file()]
    if names and cfg.tracking.mode != "disabled" and not _safely(_log_paper, cfg, paper, names):
        return 0
    return len(names)


def waiting(results: Path) -> list[Path]:
    """List the folders of runs that were logged offline and not uploaded yet."""
    folders = sorted((results / "wandb").rglob("offline-run-*"))
    return [folder for folder in folders if list(folder.glob("*.wandb")) and not list(folder.glob(f"*{SYNCED}"))]


def upload(cfg: settings.Root) -> str:
    """Upload the runs that were logged offline, and say in one line what was done."""
    results = Path(cfg.paths.results)
    folders = waiting(results)
    if not folders:
        return "no run waits for upload"
    if not has_key():
        return (
            f"{len(folders)} runs wait at `{results / 'wandb'}`; there is no key for wandb. Run `wandb login`, or set "
            f"WANDB_API_KEY, and repeat the command"
        )
    command = [sys.executable, "-m", "wandb", "sync", "--yes", *map(str, folders)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=START_S + PER_RUN_S * len(folders))
        said = (done.stderr or done.stdout).strip().splitlines() or ["it gave no reason"]
    except subprocess.TimeoutExpired:
        said = ["it took too long"]
    n_left = len(waiting(results))
    if n_left:
        raise LaunchError(
            f"{n_left} of {len(folders)} runs could not be uploaded to wandb: {said[-1]}. Nothing is lost; check the "
            f"network and the key, and repeat the command."
        )
    return f"{len(folders)} runs uploaded"


def _safely(task: Callable[..., None], *arguments: Any) -> bool:
    try:
        with processes.workers(1) as pool:
            pool.submit(processes.call, task, *arguments).result(2 * START_S)
        return True
    except (Unavailable, OSError, BrokenProcessPool) as error:  # OSError: a full disk, or the time limit
        reason = mask_text(str(error)) or "it took too long or was ended"
        print(f"tracking: WARNING, not logged to wandb: {reason}", file=sys.stderr)
        return False


def _log_job(cfg: settings.Root, checkpoint: str, summary: Mapping[str, Json]) -> None:
    config = {
        "study": cfg.study.name, "checkpoint": checkpoint, "engine": asdict(cfg.engine), "sampling": asdict(cfg.sampling),
        "seed": cfg.study.seed,
    }  # fmt: skip
    _log(cfg, checkpoint, "job", config, lambda run: run.summary.update(dict(summary)))


def _log_paper(cfg: settings.Root, paper: Path, names: Sequence[Path]) -> None:
    def log(run: Any) -> None:
        import wandb

        for kind, suffixes in (("tables", KEPT[:2]), ("figures", KEPT[2:])):
            artifact = wandb.Artifact(f"{cfg.study.name}-{kind}", type=kind)
            for path in names:
                if path.suffix in suffixes:
                    artifact.add_file(str(path), name=path.relative_to(paper).as_posix(), skip_cache=True)
            run.log_artifact(artifact)

    _log(cfg, "paper", "paper", {"study": cfg.study.name}, log)


def _log(cfg: settings.Root, name: str, kind: str, config: Mapping[str, Json], log: Callable[[Any], None]) -> None:
    results = Path(cfg.paths.results)
    try:
        isolate(results)
        import wandb

        with wandb.init(
            project=cfg.tracking.project, group=cfg.study.name, name=name, job_type=kind, dir=results / "wandb",
            mode=cast(Any, cfg.tracking.mode), config=masked(dict(config)), settings=run_settings(),
            # The same id at every attempt, so that a repeated job is one run at the server.
            id=stable_hash([cfg.tracking.project, cfg.study.name, name], 16),
            resume="allow" if cfg.tracking.mode == "online" else None,
        ) as run:  # fmt: skip
            log(run)
    except Exception as error:  # wandb raises many types, and none may stop a sweep
        raise Unavailable(f"{type(error).__name__}: {error}".splitlines()[0]) from None
