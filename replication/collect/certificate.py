"""Replay a part of stored runs with another batch and order, in a store of its own, and compare texts and scores."""

import dataclasses
import math
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from replication import settings
from replication.collect import build, checks, runner
from replication.collect.serve import Assignment, store_of
from replication.errors import ConfigError, StoreError
from replication.masking import masked
from replication.records import UNSCORED_REASONS, Episode, Json, Message
from replication.store import Store


@dataclass(frozen=True, kw_only=True)
class Replayed:
    """An episode that was played a second time."""

    run_id: str
    task_id: str
    trial: int
    first_diverging_turn: int | None
    """From 1; None if every turn has the same text."""
    stored: float | None
    """Score of the stored episode; None if it has none."""
    replayed: float | None

    @property
    def is_scored(self) -> bool:
        """Tell whether both episodes have a score."""
        return self.stored is not None and self.replayed is not None

    @property
    def is_flipped(self) -> bool:
        """Tell whether both have a score and these differ."""
        return self.is_scored and self.stored != self.replayed


class Certificate(NamedTuple):
    """A replay and what was different in it."""

    episodes: list[Replayed]
    n_failed: int
    """Episodes that failed in the replay; they are in no share."""
    changes: list[str]
    """Settings of the engine that were not those of the stored runs, as `key: stored, replayed`."""
    engine: Mapping[str, Json]
    """Description of the engine that replayed the last checkpoint."""

    def counts(self) -> dict[str, Json]:
        """Count the episodes that diverge, by their first diverging turn, and those whose score flips."""
        turns = Counter(e.first_diverging_turn for e in self.episodes if e.first_diverging_turn is not None)
        return {
            "n_episodes": len(self.episodes), "n_diverged": turns.total(),
            "first_diverging_turns": {str(turn): turns[turn] for turn in sorted(turns)},
            "n_scored": sum(e.is_scored for e in self.episodes), "n_flipped": sum(e.is_flipped for e in self.episodes),
            "n_failed": self.n_failed,
        }  # fmt: skip


def replay(cfg: settings.Root, work: Sequence[Assignment], rng: np.random.Generator) -> Certificate:
    """Play the drawn episodes again on an engine with the settings of `certify`; the store of the study is only read.

    rng : draws runs and tasks, and the order in which the episodes are played.
    """
    store, chosen = store_of(cfg), cfg.certify
    drawn = _drawn(cfg, store, work, rng)
    engine = build.engine(dataclasses.replace(cfg, engine=_changed(cfg)))
    found: list[Replayed] = []
    changes: dict[str, None] = {}
    n_failed, described = 0, {}
    try:
        with tempfile.TemporaryDirectory(prefix="certify-") as folder:
            temporary = Store(folder)
            for model, jobs in drawn:
                engine.load(model.ref)
                described = dict(masked(engine.describe()))
                played = runner.collect(
                    temporary, engine, jobs, concurrency=chosen.concurrency, title=model.ref.name,
                    limit=build.failure_limit(cfg),
                )  # fmt: skip
                n_failed += played.failures.total()
                for job in jobs:
                    found += _compared(store, temporary, job)
                    last = store.manifest(job.spec.run_id).sessions[-1].engine
                    changes |= dict.fromkeys(checks.changes(last, described))
    finally:
        engine.close()
    return Certificate(found, n_failed, list(changes), described)


def _changed(cfg: settings.Root) -> settings.Engine:
    options = dict(cfg.engine.options)
    if cfg.certify.max_num_seqs is not None and "max_num_seqs" in options:
        options["max_num_seqs"] = cfg.certify.max_num_seqs
    return dataclasses.replace(cfg.engine, options={**options, **cfg.certify.options})


def _drawn(cfg: settings.Root, store: Store, work: Sequence[Assignment], rng: np.random.Generator) -> list[Assignment]:
    """Draw runs that are stored, and tasks of these whose first trials are finished, in a random order."""
    named, stored = cfg.certify.runs, set(store.runs())
    by_id = {job.spec.run_id: job for _, jobs in work for job in jobs if job.spec.run_id in stored}
    unknown = sorted(set(named) - set(by_id))
    if unknown:
        raise ConfigError(
            f"`certify.runs` names `{'`, `'.join(unknown)}`, which are no stored runs of study `{cfg.study.name}` with its "
            f"present settings. Take them from the folders of `{store.root}`, or leave it empty."
        )
    agents = sorted(run_id for run_id, job in by_id.items() if job.spec.scaffold != "probe")
    if not named and not agents:
        raise StoreError(
            f"study `{cfg.study.name}` has no stored run in `{store.root}` with its present settings, so there is nothing "
            f"to replay. Collect it with `python -m replication run study={cfg.study.name}`."
        )
    n_runs = min(cfg.certify.n_runs, len(agents))
    runs = set(named) or {agents[at] for at in rng.choice(len(agents), n_runs, replace=False)}
    parts = {run_id: _part(store, by_id[run_id], cfg.certify, rng) for run_id in sorted(runs)}
    if not any(part.tasks for part in parts.values()):
        names = ", ".join(f"`{run}`" for run in parts)
        raise StoreError(
            f"no task of {names} has its first {cfg.certify.n_trials} trials finished. Play them with "
            f"`python -m replication run study={cfg.study.name}`, or lower `certify.n_trials`."
        )
    drawn = (
        Assignment(model, [part for job in jobs if (part := parts.get(job.spec.run_id)) is not None and part.tasks])
        for model, jobs in work
    )
    return [one for one in drawn if one.jobs]


def _part(store: Store, job: runner.Job, chosen: settings.Certify, rng: np.random.Generator) -> runner.Job:
    finished, n_trials = store.finished(job.spec.run_id), min(chosen.n_trials, job.n_trials)
    tasks = [t for t in job.tasks if all((t.id, t.content_hash, trial) in finished for trial in range(n_trials))]
    order = rng.permutation(len(tasks))[: chosen.n_tasks]
    return dataclasses.replace(job, tasks=[tasks[at] for at in order], n_trials=n_trials)


def _compared(store: Store, temporary: Store, job: runner.Job) -> list[Replayed]:
    run_id, grader = job.spec.run_id, job.benchmark.grader
    scores = [_scores(one, run_id, grader) for one in (store, temporary)]
    return [
        Replayed(
            run_id=run_id, task_id=episode.task_id, trial=episode.trial,
            first_diverging_turn=first_diverging_turn(
                store.trajectory(run_id, episode.task_id, episode.trial), episode.trajectory
            ),
            stored=scores[0].get((episode.task_id, episode.trial)),
            replayed=scores[1].get((episode.task_id, episode.trial)),
        )
        for episode in temporary.episodes(run_id, trajectories=True)
        if not _failed(episode)
    ]  # fmt: skip


def _failed(episode: Episode) -> bool:
    return episode.stop_reason in UNSCORED_REASONS


def _scores(store: Store, run_id: str, grader: str) -> dict[tuple[str, int], float | None]:
    table = store.score_table([run_id], grader=grader)
    rows = zip(table["task_id"], table["trial"], table["value"], strict=True)
    return {(task, int(trial)): None if math.isnan(value) else float(value) for task, trial, value in rows}


def first_diverging_turn(stored: Sequence[Message], replayed: Sequence[Message]) -> int | None:
    """Return the first turn, from 1, whose text or thinking differs, or which only one of two episodes has; None if none."""
    turns = [[(m.thinking, m.content) for m in one if m.role == "assistant"] for one in (stored, replayed)]
    for turn, (a, b) in enumerate(zip(*turns), 1):
        if a != b:
            return turn
    shorter, longer = sorted(map(len, turns))
    return None if shorter == longer else shorter + 1
