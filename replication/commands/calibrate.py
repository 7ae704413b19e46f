"""Choose the levels of a study's tasks per scale: `python -m replication calibrate study=controlled`.

One arm is trained with a seed of its own and played on the calibration split; an environment gets the mix of levels at
which that arm scores between `calibration.low` and `calibration.high`, so that no difference is hidden by a floor or a
ceiling. What an arm is trained on is also what it is played on, so the choice is repeated until it stands. The result is
written to conf/levels/<scale>.yaml, where it is fixed before the evaluation split is touched.
"""

import copy
import time
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from replication import settings
from replication.commands.train import train_all
from replication.errors import ConfigError
from replication.store import Store

MAX_ROUNDS = 5


class Measured(NamedTuple):
    """What the arm scored in one environment after a round."""

    mix: tuple[int, ...]
    by_level: Mapping[int, float]

    @property
    def mean(self) -> float:
        """Mean score over the mix."""
        return expected(self.mix, self.by_level)


def main(cfg: settings.Root) -> None:
    """Calibrate every scale of the study and write its levels."""
    for scale in sorted(cfg.scales):
        measured = calibrate(cfg, scale)
        path = settings.CONF / "levels" / f"{scale}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(written(cfg, scale, measured), encoding="utf-8")
        print(f"calibrate: {path}")


def calibrate(cfg: settings.Root, scale: str) -> dict[str, Measured]:
    """Train, play and choose until every environment's mix stands."""
    ask = cfg.calibration
    if ask.training_seed in cfg.study.training_seeds:
        raise ConfigError(
            f"`calibration.training_seed` {ask.training_seed} is one of the study's; the choice must not see its runs."
        )
    chosen: dict[str, tuple[int, ...]] = {name: (ask.levels[0],) for name in cfg.benchmarks}
    measured: dict[str, Measured] = {}
    for number in range(MAX_ROUNDS):
        scores = _measure(cfg, scale, chosen)
        measured = {name: Measured(chosen[name], scores[name]) for name in chosen}
        for name, found in measured.items():
            print(f"calibrate {scale} round {number + 1}: {name} {list(found.mix)} {found.mean:.2f} {_listed(found)}")
        again = {name: choose(found, ladder(ask.levels), ask.low, ask.high) for name, found in measured.items()}
        if again == chosen:
            break
        chosen = again
    return measured


def ladder(levels: Sequence[int]) -> list[tuple[int, ...]]:
    """List the mixes from easy to hard; a level that stands twice is drawn twice as often."""
    rungs: list[tuple[int, ...]] = []
    for low, high in pairwise(levels):
        rungs += [(low,), (low, low, high), (low, high), (low, high, high)]
    return [*rungs, (levels[-1],)]


def expected(mix: Sequence[int], by_level: Mapping[int, float]) -> float:
    """Give the mean score over a mix of levels."""
    return sum(by_level[level] for level in mix) / len(mix)


def choose(found: Measured, rungs: Sequence[tuple[int, ...]], low: float, high: float) -> tuple[int, ...]:
    """Keep a mix that lies within the bounds, else take the one that is expected nearest to their middle."""
    if low <= found.mean <= high:
        return found.mix
    middle = (low + high) / 2
    return min(rungs, key=lambda mix: abs(expected(mix, found.by_level) - middle))


def _measure(cfg: settings.Root, scale: str, chosen: Mapping[str, tuple[int, ...]]) -> dict[str, dict[int, float]]:
    """Train the arm on the chosen mixes and play it at every level that is tried."""
    from replication.collect import build, serve

    ask = cfg.calibration
    mixed = copy.deepcopy(cfg)
    mixed.scales[scale].levels = {name: list(mix) for name, mix in chosen.items()}
    run = build.training_run(mixed, ask.arm, scale, ask.training_seed)
    folder = build.training_folder(mixed, run)
    train_all([(run, folder)], workers=1, tracking_mode=cfg.tracking, results=Path(cfg.paths.results))
    tried = copy.deepcopy(cfg)
    tried.scales[scale].levels = {name: list(ask.levels) for name in chosen}
    tried.study.n_trials = 1
    for choice in tried.benchmarks.values():
        choice.split, choice.n_tasks = "calibration", ask.n_tasks * len(ask.levels)
    jobs = build.jobs(tried, build.organism(run, folder))
    serve.play_missing(tried, [serve.Assignment(build.organism(run, folder), jobs)])
    table = Store(Path(cfg.paths.results) / "store").score_table([job.spec.run_id for job in jobs])
    means = table.groupby(["benchmark", "level"])["value"].mean()
    return {name: {level: float(means[name, level]) for level in ask.levels} for name in chosen}


def written(cfg: settings.Root, scale: str, measured: Mapping[str, Measured]) -> str:
    """Write the file of a scale's levels; scores stand behind them as comments."""
    ask = cfg.calibration
    lines = [
        f"# Levels at scale {scale}, chosen on {time.strftime('%Y-%m-%d')} on the calibration split with arm {ask.arm},",
        f"# training seed {ask.training_seed}, {ask.n_tasks} tasks a level; wanted: {ask.low:g} to {ask.high:g}.",
        "# Behind each: mean score over the mix, then by level.",
    ]
    for name, found in sorted(measured.items()):
        outside = "" if ask.low <= found.mean <= ask.high else "  OUTSIDE"
        lines.append(f"{name}: {list(found.mix)}  # {found.mean:.2f}; {_listed(found)}{outside}")
    return "\n".join((*lines, ""))


def _listed(found: Measured) -> str:
    return " ".join(f"{score:.2f}" for _, score in sorted(found.by_level.items()))
