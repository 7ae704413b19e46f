"""Collect the episodes of a study: `python -m replication run study=controlled`.

What is stored is kept; when nothing is missing no engine is started. One engine serves all checkpoints of one
architecture, one after the other, and each plays all its benchmarks, scaffolds and probes in one pool. On a machine with
idle cores `engine.processes` engines share the checkpoints. With `monitor=on` two arms are played by blocks of tasks on
one engine, and a stopping rule looks after each; all other arms then play the tasks that were due.
"""

import dataclasses
import json
import math
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from replication import settings
from replication.errors import ConfigError, StoreError
from replication.records import Json, stable_hash
from replication.store import Store

if TYPE_CHECKING:
    from replication.collect import build, runner
    from replication.collect.interfaces import Engine, ModelRef

    Work = list[tuple[build.Served, list[runner.Job]]]
    Arms = tuple[list[runner.Job], list[runner.Job]]


def main(cfg: settings.Root) -> None:
    """Play what is missing, grade, and write the study's index."""
    from replication.collect import build

    models = build.served(cfg)
    if not models:
        print("run: this study serves no model")
        return
    work = [(model, [*build.jobs(cfg, model), *build.probe_jobs(cfg, model)]) for model in models]
    stops: list[str] = []
    if cfg.monitor.enabled:
        work, stops = collect_monitored(cfg, work)
    collect(cfg, work)
    _write_index(cfg, _store(cfg), work, stops)


def collect(cfg: settings.Root, work: "Work") -> None:
    """Play and grade what is missing of these runs; nothing is started when they are complete."""
    from replication.collect import runner

    store, todo = _store(cfg), []
    for model, jobs in work:
        if any(runner.missing(store, job) for job in jobs):
            todo.append((model, jobs))
        else:
            for job in jobs:
                runner.regrade(store, job)
    if not todo:
        print(f"run: all {sum(len(jobs) for _, jobs in work)} runs are complete")
        return
    started = time.monotonic()
    # Sorted by architecture, so that weights are swapped within one engine before another is started.
    todo.sort(key=lambda item: item[0].ref.architecture)
    shares = _shares(todo, min(cfg.engine.processes, len(todo)))
    if len(shares) == 1:
        n_played = _play(cfg, shares[0], 0)
    else:
        with ProcessPoolExecutor(len(shares), get_context("spawn")) as pool:
            n_played = sum(pool.map(_play, [cfg] * len(shares), shares, range(len(shares))))
    print(f"run: {n_played} episodes in {time.monotonic() - started:.0f} s")


def _shares(todo: "Work", n: int) -> "list[Work]":
    # Every n-th checkpoint: each share gets its part of every architecture, whose sizes differ in speed.
    return [todo[i::n] for i in range(n)]


def _play(cfg: settings.Root, todo: "Work", line: int) -> int:
    from replication.collect import build, runner

    store, n_played = _store(cfg), 0
    engine = build.engine(cfg)
    try:
        for model, jobs in todo:
            engine.load(model.ref)
            n_played += runner.collect(
                store, engine, jobs, concurrency=cfg.engine.concurrency, title=model.ref.name, line=line
            )
    finally:
        engine.close()
    return n_played


class Monitored(NamedTuple):
    """What monitoring leaves to do."""

    work: "Work"
    """All jobs with the tasks that were due: the probes whole, the arms that were not monitored to be played yet."""
    stops: list[str]
    """What was stopped before its last task, in words: a deviation."""


def collect_monitored(cfg: settings.Root, work: "Work") -> Monitored:
    """Play treatment and control by blocks of tasks, at each scale and benchmark until the stopping rule ends it.

    The tasks come in the order of a hash of (study.seed, task id), so that levels are mixed. A task's difference is that
    of its means over training runs, scaffolds and trials; an unscored episode counts as 0. Looks are written to
    results/studies/<study>.monitor.json as they are made, and made again from the store when the command resumes.
    """
    from replication.analyse.stats.design import monitor
    from replication.collect import build, runner

    ask = cfg.monitor
    rule = monitor.Rule(alpha=ask.alpha, sesoi=ask.sesoi, block=ask.block, min_blocks=ask.min_blocks)
    work = [(model, [_in_order(cfg, job) for job in jobs]) for model, jobs in work]
    by_scale = _groups(cfg, work)
    groups = {name: arms for groups in by_scale.values() for name, arms in groups.items()}
    path = Path(cfg.paths.results) / "studies" / f"{cfg.study.name}.monitor.json"
    record = _monitor_record(cfg, groups, dataclasses.asdict(rule), path)
    store = _store(cfg)
    engine: Engine | None = None
    loaded: ModelRef | None = None

    def play_part(jobs: list[runner.Job]) -> int:
        nonlocal engine, loaded
        engine = engine or build.engine(cfg)
        wanted, n_played = {job.spec.run_id: job for job in jobs}, 0
        for model, own in sorted(work, key=lambda item: item[0].ref != loaded):  # whose weights are in place goes first
            part = [wanted[job.spec.run_id] for job in own if job.spec.run_id in wanted]
            if not part:
                continue
            if model.ref != loaded:
                engine.load(model.ref)
                loaded = model.ref
            n_played += runner.collect(store, engine, part, concurrency=cfg.engine.concurrency, title=model.ref.name)
        return n_played

    def stop(name: str, scores: runner.Scores) -> str:
        treatment, control = ([scores[job.spec.run_id] for job in jobs] for jobs in groups[name])
        differences = [a - b for a, b in zip(_task_means(treatment), _task_means(control), strict=True)]
        looks = monitor.trajectory(differences, rule)
        _record_looks(record, name, monitor.to_records(looks), path)
        return looks[-1].decision

    due: dict[str, int] = {}
    try:
        for named in by_scale.values():  # scales differ in architecture: one after the other
            jobs = {name: [*treatment, *control] for name, (treatment, control) in named.items()}
            due |= runner.collect_in_blocks(store, jobs, block=rule.block, play_part=play_part, stop=stop)
    finally:
        if engine is not None:
            engine.close()

    stops = []
    for name, n in due.items():
        last, planned = record["groups"][name]["looks"][-1], record["groups"][name]["n_planned"]
        print(f"run: {name}: {n} of {planned} tasks, e = {last['e_value']:.3g}, {last['decision']}")
        if n < planned:
            stops.append(
                f"`{name}` was stopped after {n} of {planned} tasks by the sequential rule (alpha {rule.alpha:g}, smallest "
                f"effect of interest {rule.sesoi:g}): {last['decision']}, evidence for {last['direction']}. Intervals for "
                f"a fixed number of tasks are too narrow after such a stop; the confidence sequence is in {path.name}."
            )
    return Monitored([(model, [_due(job, model, due) for job in jobs]) for model, jobs in work], stops)


def _groups(cfg: settings.Root, work: "Work") -> "dict[str, dict[str, Arms]]":
    """Find what is looked at together, by scale and by name `scale/benchmark`: where both arms are served."""
    found: dict[str, dict[str, Arms]] = {}
    for model, jobs in work:
        arm, scale = model.labels["arm"], str(model.labels["scale"])
        for job in jobs:
            if arm in (cfg.monitor.treatment, cfg.monitor.control) and job.spec.scaffold != "probe":
                arms = found.setdefault(scale, {}).setdefault(f"{scale}/{job.spec.benchmark}", ([], []))
                arms[arm == cfg.monitor.control].append(job)
    both = {scale: {name: arms for name, arms in named.items() if all(arms)} for scale, named in found.items()}
    both = {scale: named for scale, named in both.items() if named}
    if not both or cfg.monitor.treatment == cfg.monitor.control:
        raise ConfigError(
            f"no scale has the two arms `{cfg.monitor.treatment}` and `{cfg.monitor.control}` to monitor; the study serves "
            f"{', '.join(sorted({str(model.labels['arm']) for model, _ in work}))}. Name two with `monitor.treatment` and "
            f"`monitor.control`, or leave monitoring off."
        )
    return both


def _in_order(cfg: settings.Root, job: "runner.Job") -> "runner.Job":
    if job.spec.scaffold == "probe":
        return job
    return dataclasses.replace(job, tasks=sorted(job.tasks, key=lambda task: stable_hash([cfg.study.seed, task.id])))


def _due(job: "runner.Job", model: "build.Served", due: Mapping[str, int]) -> "runner.Job":
    name = f"{model.labels['scale']}/{job.spec.benchmark}"
    if job.spec.scaffold == "probe" or name not in due:
        return job
    return dataclasses.replace(job, tasks=job.tasks[: due[name]])


def _task_means(runs: Sequence[list[list[float | None]]]) -> list[float]:
    """Average each task's trials over runs; an unscored one counts as 0."""
    return [math.fsum(v or 0.0 for trials in task for v in trials) / sum(map(len, task)) for task in zip(*runs)]


def _monitor_record(
    cfg: settings.Root, groups: "Mapping[str, Arms]", rule: dict[str, Json], path: Path
) -> dict[str, Json]:
    """Start the record of the looks, or go on with the stored one, which must be about the same plan."""
    record = {
        "study": cfg.study.name, "treatment": cfg.monitor.treatment, "control": cfg.monitor.control, "rule": rule,
        "n_trials": cfg.study.n_trials, "order_seed": cfg.study.seed,
        "groups": {
            name: {
                "n_planned": len(treatment[0].tasks),
                "tasks": stable_hash([task.content_hash for task in treatment[0].tasks]),
                "treatment": [job.spec.run_id for job in treatment], "control": [job.spec.run_id for job in control],
                "looks": [],
            }
            for name, (treatment, control) in sorted(groups.items())
        },
    }  # fmt: skip
    if not path.exists():
        return record
    stored = json.loads(path.read_text(encoding="utf-8"))
    plan = {name: group | {"looks": []} for name, group in stored["groups"].items()}
    changed = sorted(key for key in record if record[key] != (stored | {"groups": plan}).get(key))
    if changed:
        raise ConfigError(
            f"`{path}` holds looks under another plan: `{'`, `'.join(changed)}` changed. A rule that changes after a "
            "look is no rule. Restore the plan, or move the file away to start anew and name it among the deviations."
        )
    return stored


def _record_looks(record: dict[str, Json], name: str, looks: list[dict[str, Json]], path: Path) -> None:
    """Store new looks; those that are stored must have come out the same."""
    from replication.files import write_json

    stored = record["groups"][name]["looks"]
    for old, new in zip(stored, looks):
        if not all(
            math.isclose(old[k], new[k], rel_tol=1e-9, abs_tol=1e-12) if isinstance(new[k], float) else old[k] == new[k]
            for k in new
        ):
            raise StoreError(
                f"the look at `{name}` after {new['n_tasks']} tasks came out otherwise than `{path}` has it: scores that it "
                "was made from have changed since. Move the file away to start anew and name it among the deviations."
            )
    if len(looks) > len(stored):
        record["groups"][name]["looks"] = [*stored, *looks[len(stored) :]]
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, record)


def _store(cfg: settings.Root) -> Store:
    return Store(Path(cfg.paths.results) / "store")


def _write_index(cfg: settings.Root, store: Store, work: "Work", stops: Sequence[str] = ()) -> None:
    from replication.collect import build, runner
    from replication.files import write_json

    specs = [job.spec for _, jobs in work for job in jobs]
    run_ids = [spec.run_id for spec in specs]
    training: list[dict[str, Json]] = []
    for run in build.training_runs(cfg):
        folder = build.training_folder(cfg, run)
        training.append(json.loads((folder / "training.json").read_text()) | {"curve": str(folder / "curve.csv")})
    checks = {run_id: store.manifest(run_id)["checks"]["repeats"] for run_id in run_ids}
    folder = Path(cfg.paths.results) / "studies"
    folder.mkdir(parents=True, exist_ok=True)
    write_json(
        folder / f"{cfg.study.name}.json",
        {
            "study": cfg.study.name, "kind": cfg.study.kind, "scope": cfg.study.scope,
            "deviations": [*cfg.study.deviations, *stops, *runner.engine_differences(store, run_ids)],
            "comparisons": cfg.study.comparisons,
            "domains": {name: choice.suite.domain for name, choice in sorted(cfg.benchmarks.items()) if choice.suite},
            "levels": {
                scale: {name: list(build.levels(cfg, name, scale)) for name in sorted(cfg.benchmarks)}
                for scale in sorted(cfg.scales)
            },
            "run_ids": sorted(spec.run_id for spec in specs if spec.scaffold != "probe"),
            "probe_run_ids": sorted(spec.run_id for spec in specs if spec.scaffold == "probe"),
            "training": training, "manifest": store.manifest(run_ids[0])["sessions"][-1]["engine"],
            "repeat_checks": checks,
        },
    )  # fmt: skip
    wrong = [run_id for run_id, check in checks.items() if not check["as_expected"]]
    if wrong:
        print(
            f"run: WARNING, repeated trials do not behave as sampled: {', '.join(wrong)}; see the index's repeat_checks"
        )
