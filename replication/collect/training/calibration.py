"""Calibration: for each environment, the mix of levels at which one arm scores neither too low nor too high.

Only the calibration split is played, so that the choice cannot depend on the tasks of the study.
"""

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from replication import files, settings
from replication.collect import build, serve
from replication.collect.training import pool
from replication.errors import ConfigError, StoreError
from replication.store import Store

if TYPE_CHECKING:
    import pandas as pd

MAX_ROUNDS = 5

Mix = tuple[int, ...]
"""Levels of an environment's tasks; a level that is listed twice is drawn twice as often."""


class Measurement(NamedTuple):
    """Scores of the arm in one environment after a round of training."""

    mix: Mix
    """Levels of the training tasks."""
    by_level: Mapping[int, float]
    """Mean score at each candidate level."""

    @property
    def mean(self) -> float:
        """Mean score over the mix."""
        return expected_score(self.mix, self.by_level)

    def text(self) -> str:
        """Write the mean over the mix, then the mean at each level."""
        return f"{self.mean:.2f}; {' '.join(f'{score:.2f}' for _, score in sorted(self.by_level.items()))}"


def calibrate(
    cfg: settings.Root, scale: str, report: Callable[[str], None] = lambda line: None
) -> dict[str, Measurement]:
    """Train, play and choose mixes until none changes, at most `MAX_ROUNDS` times.

    report : receives one line per environment and round.
    """
    rule = cfg.calibration
    if rule.training_seed in cfg.study.training_seeds:
        raise ConfigError(
            f"`calibration.training_seed` {rule.training_seed} is one of `study.training_seeds` "
            f"{cfg.study.training_seeds}. Use another seed: the levels must not depend on the study's training runs."
        )
    rungs = ladder(rule.levels)
    mixes: dict[str, Mix] = {name: (rule.levels[0],) for name in cfg.benchmarks}
    measurements: dict[str, Measurement] = {}
    for number in range(1, MAX_ROUNDS + 1):
        scores = _measure(cfg, scale, mixes)
        measurements = {name: Measurement(mixes[name], scores[name]) for name in mixes}
        for name, measurement in measurements.items():
            report(f"{scale} round {number}: {name} {list(measurement.mix)} {measurement.text()}")
        next_mixes = {name: choose(m, rungs, rule.low, rule.high) for name, m in measurements.items()}
        if next_mixes == mixes:
            break
        mixes = next_mixes
    return measurements


def ladder(levels: Sequence[int]) -> list[Mix]:
    """List the mixes from easy to hard, four steps from one level to the next."""
    rungs: list[Mix] = []
    for low, high in pairwise(levels):
        rungs += [(low,), (low, low, high), (low, high), (low, high, high)]
    return [*rungs, (levels[-1],)]


def expected_score(mix: Mix, by_level: Mapping[int, float]) -> float:
    """Return the mean score over a mix of levels."""
    return sum(by_level[level] for level in mix) / len(mix)


def choose(measurement: Measurement, rungs: Sequence[Mix], low: float, high: float) -> Mix:
    """Keep a mix with a mean score in [low, high]; otherwise return the one expected nearest to the middle."""
    if low <= measurement.mean <= high:
        return measurement.mix
    middle = (low + high) / 2
    return min(rungs, key=lambda mix: abs(expected_score(mix, measurement.by_level) - middle))


def _measure(cfg: settings.Root, scale: str, mixes: Mapping[str, Mix]) -> dict[str, dict[int, float]]:
    """Train the arm on these mixes and play it at every candidate level; mean scores by environment and level."""
    rule = cfg.calibration
    trained = copy.deepcopy(cfg)
    trained.scales[scale].levels = {name: list(mix) for name, mix in mixes.items()}
    run = build.training_run(trained, rule.arm, scale, rule.training_seed)
    folder = build.training_folder(trained, run)
    pool.train_all([(run, folder)], workers=1, tracked=cfg.tracking, results=Path(cfg.paths.results))

    played = copy.deepcopy(cfg)
    played.scales[scale].levels = {name: list(rule.levels) for name in mixes}
    played.study.n_trials = 1
    for benchmark in played.benchmarks.values():
        benchmark.split, benchmark.n_tasks = "calibration", rule.n_tasks * len(rule.levels)
    model = build.organism(run, folder)
    jobs = build.jobs(played, model)
    serve.play_missing(played, [serve.Assignment(model, jobs)])
    table = Store(Path(cfg.paths.results) / "store").score_table([job.spec.run_id for job in jobs])
    _require_scores(table)
    means = table.groupby(["benchmark", "level"])["value"].mean()
    return {name: {level: float(means[name, level]) for level in rule.levels} for name in mixes}


def _require_scores(table: "pd.DataFrame") -> None:
    unscored = table[table["value"].isna()]
    if len(unscored):
        names = ", ".join(sorted(set(unscored["benchmark"])))
        raise StoreError(
            f"{len(unscored)} of {len(table)} episodes have no score, of {names}, so no level can be chosen. Repair the "
            f"grader and run the same command: stored episodes are graded again."
        )


def write_levels(cfg: settings.Root, scale: str, measurements: Mapping[str, Measurement]) -> Path:
    """Write the levels of a scale to conf/levels and return the file's path."""
    return files.write_text(settings.CONF / "levels" / f"{scale}.yaml", levels_yaml(cfg, scale, measurements))


def levels_yaml(cfg: settings.Root, scale: str, measurements: Mapping[str, Measurement]) -> str:
    """Format the levels of a scale as YAML, with the scores as comments; a mix outside the bounds is marked."""
    rule = cfg.calibration
    lines = [
        f"# Levels at scale {scale}, chosen on {time.strftime('%Y-%m-%d')} on the calibration split with arm {rule.arm},",
        f"# training seed {rule.training_seed}, {rule.n_tasks} tasks per level; target: {rule.low:g} to {rule.high:g}.",
        "# Comments: mean score over the mix; then at each level.",
    ]
    for name, measurement in sorted(measurements.items()):
        outside = "" if rule.low <= measurement.mean <= rule.high else "  OUTSIDE"
        lines.append(f"{name}: {list(measurement.mix)}  # {measurement.text()}{outside}")
    return "\n".join((*lines, ""))
