"""Calibration: the ladder, the choice, the file of levels, and the separation of the splits."""

import re

import pytest
import yaml
from hydra import compose, initialize_config_dir
from parts import split_of

from replication import settings
from replication.collect import build
from replication.collect.benchmarks import suite
from replication.collect.benchmarks.suite.words import SPLITS
from replication.collect.interfaces import Selection
from replication.collect.training import calibration, corpora
from replication.collect.training.calibration import Measurement
from replication.errors import ConfigError

NAME = re.compile("(?:[bdfghjklmnprstvz][aeiou]){2,3}")
RUNGS = calibration.ladder([1, 2, 3])


@pytest.fixture
def cfg(tmp_path):
    settings.register()
    with initialize_config_dir(str(settings.CONF), version_base="1.3"):
        return settings.checked(compose("config", overrides=["study=controlled_tiny", f"paths.results={tmp_path}"]))


def test_ladder_goes_from_the_lowest_to_the_highest_level_in_quarters():
    assert RUNGS == [(1,), (1, 1, 2), (1, 2), (1, 2, 2), (2,), (2, 2, 3), (2, 3), (2, 3, 3), (3,)]


@pytest.mark.parametrize(
    ("mix", "by_level", "expected"),
    [
        ((1, 2), {1: 0.9, 2: 0.3, 3: 0.0}, (1, 2)),  # .6: kept
        ((1,), {1: 0.95, 2: 0.4, 3: 0.1}, (1, 2, 2)),  # (.95 + .8) / 3 = .58 is nearest to .55
        ((1, 2), {1: 0.5, 2: 0.0, 3: 0.0}, (1,)),
        ((3,), {1: 0.99, 2: 0.98, 3: 0.97}, (3,)),  # no harder level is a candidate
        ((1,), {1: 0.1, 2: 0.0, 3: 0.0}, (1,)),  # no easier level exists
    ],
)
def test_mix_within_the_bounds_is_kept_and_another_one_is_moved_to_their_middle(mix, by_level, expected):
    assert calibration.choose(Measurement(mix, by_level), RUNGS, 0.3, 0.8) == expected


def test_written_levels_are_read_back_and_an_environment_outside_the_bounds_is_marked(cfg):
    measured = {"calling": Measurement((1,), {1: 0.2, 2: 0.0}), "terminal": Measurement((1, 1, 2), {1: 0.9, 2: 0.3})}
    text = calibration.levels_yaml(cfg, "xs", measured)
    assert yaml.safe_load(text) == {"calling": [1], "terminal": [1, 1, 2]}
    marked = [line for line in text.splitlines() if line.endswith("OUTSIDE")]
    assert len(marked) == 1 and marked[0].startswith("calling: [1]  # 0.20;")


def test_training_seed_of_the_study_is_rejected(cfg):
    cfg.calibration.training_seed = cfg.study.training_seeds[0]
    with pytest.raises(ConfigError, match=r"`calibration.training_seed` 0 is one of `study.training_seeds`"):
        calibration.calibrate(cfg, "xs")


@pytest.mark.parametrize("name", suite.NAMES)
def test_tasks_of_training_and_calibration_are_none_of_evaluation(name):
    # By construction: every task is built around made-up names, and a name belongs to one split.
    bench, hashes, words = suite.load(name), {}, {}
    for split in SPLITS:
        tasks = bench.tasks(Selection(split=split, n_tasks=200, seed=2, levels=(1, 2)))
        hashes[split] = {task.content_hash for task in tasks}
        words[split] = {word for task in tasks for word in re.split("[^a-z]", task.prompt) if NAME.fullmatch(word)}
    assert not hashes["evaluation"] & (hashes["train"] | hashes["calibration"])
    ordinary = set.intersection(*words.values())
    for split in SPLITS:
        made_up = words[split] - ordinary
        assert len(made_up) > 50 and {split_of(word) for word in made_up} == {split}


def test_study_and_corpora_never_name_another_split(cfg):
    assert {choice.split for choice in cfg.benchmarks.values()} == {"evaluation"}
    for phase in (p for run in build.training_runs(cfg) for p in run.phases if p.corpus == "episodes"):
        drawn = list(corpora._draw_tasks(phase.benchmarks, "episodes", 0, 0))
        assert {item.task.attributes["split"] for item in drawn} == {"train"}
        break
