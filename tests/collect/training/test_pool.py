"""Training runs side by side: finished ones are kept, prefixes come first, failures are reported by name."""

import dataclasses
import json
from concurrent.futures import Future
from pathlib import Path

import pytest
from test_training import arm_run, base_run

from replication import settings
from replication.collect.training import curricula, pool, runs
from replication.errors import ConfigError

OFF = settings.Tracking(mode="disabled")


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    runs.execute(base_run(), folder, lambda progress: None)
    return folder


def train(items, tmp_path, workers=2):
    return pool.train_all(items, workers=workers, tracked=OFF, results=tmp_path)


def test_a_run_that_continues_another_one_is_trained_after_it_and_both_only_once(base, tmp_path):
    whole = arm_run(base)
    first = dataclasses.replace(whole, arm="warm_up", phases=whole.phases[:1])
    items = [(whole, tmp_path / "whole"), (first, tmp_path / "first")]
    summary = train(items, tmp_path)
    assert (summary.n_runs, summary.n_trained) == (2, 2) and summary.text().startswith("2 training runs in ")
    alone = runs.execute(whole, tmp_path / "alone", lambda progress: None)
    records = {folder.name: json.loads((folder / "training.json").read_text()) for _, folder in items}
    assert records["whole"]["weights_sha256"] == runs.weights_sha256(tmp_path / "alone")
    assert records["whole"]["flops"] == alone.flops > records["first"]["flops"]

    written = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()}
    assert train(items, tmp_path).text() == "all 2 training runs are finished"
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*") if path.is_file()} == written


def test_study_without_training_runs_trains_nothing(tmp_path):
    assert train([], tmp_path).text() == "nothing to train in this study"


@pytest.mark.slow
def test_failed_run_is_named_and_the_others_are_cancelled(base, tmp_path):
    broken = runs.PhasePlan(corpus="no_such_corpus", benchmarks=(), n_tokens=3_000, lr=0.005)
    failing = arm_run(base, arm="failing", phases=(broken,))
    later = arm_run(base, arm="later", phases=(runs.PhasePlan(corpus="general", benchmarks=(), n_tokens=1, lr=0.005),))
    with pytest.raises(ConfigError, match=rf"training run `{failing.name}` failed: .*no_such_corpus"):
        train([(failing, tmp_path / "failing"), (later, tmp_path / "later")], tmp_path, workers=1)
    assert runs.read_finished(failing, tmp_path / "failing") is None
    assert runs.read_finished(later, tmp_path / "later") is None


def test_interrupted_run_that_another_run_has_overtaken_continues_from_that_runs_checkpoint(base, tmp_path):
    # The state is of the first phase, which the start has completed: it must not be taken for one of the second phase.
    whole = arm_run(base, recipe=dataclasses.replace(base_run().recipe, save_every_s=0.0))
    first = dataclasses.replace(whole, arm="warm_up", phases=whole.phases[:1])
    n_steps = []

    def interrupt(progress: curricula.Progress) -> None:
        n_steps.append(progress.phase)
        if len(n_steps) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.execute(whole, tmp_path / "whole", interrupt)
    assert list((tmp_path / "whole").glob("state-*.pt")) and set(n_steps) == {"transitions"}
    runs.execute(first, tmp_path / "first", lambda progress: None)
    resumed: list[curricula.Progress] = []
    record = runs.execute(whole, tmp_path / "whole", resumed.append, tmp_path / "first")
    assert {progress.phase for progress in resumed} == {"episodes"}
    undisturbed = runs.execute(whole, tmp_path / "undisturbed", lambda progress: None)
    assert record.weights_sha256 == undisturbed.weights_sha256


class Immediate:
    """A pool whose work is done at once; notes what it was given."""

    def __init__(self):
        self.begun, self.items = [], []

    def submit(self, call, work, items, text_workers):
        self.begun += [(item.run.arm, item.run.training_seed) for item in items]
        self.items += items
        done = Future()
        done.set_result(None)
        return done


def test_a_seed_is_finished_before_the_next_and_runs_that_take_long_come_first(base):
    whole = arm_run(base)
    wide = dataclasses.replace(whole.shape, hidden=2 * whole.shape.hidden)
    items = []
    for seed in (1, 0):
        short = arm_run(
            base, arm="short", training_seed=seed, phases=(dataclasses.replace(whole.phases[1], n_tokens=500),)
        )
        large = dataclasses.replace(short, arm="large", shape=wide)
        continuing = dataclasses.replace(whole, arm="continuing", training_seed=seed)
        continued = dataclasses.replace(continuing, arm="continued", phases=whole.phases[:1])
        items += [(run, Path(f"{run.arm}{seed}")) for run in (short, large, continuing, continued)]
    begun = Immediate()
    pool._execute_in_order(begun, items, {run.identity: folder for run, folder in items}, 1, 1, 0)
    assert begun.begun == [(arm, seed) for seed in (0, 1) for arm in ("continued", "continuing", "large", "short")]


@pytest.mark.parametrize("stack", [1, 4])
def test_two_arms_of_the_same_phases_are_both_trained_and_a_third_continues_the_one_that_is_finished(base, stack):
    third = arm_run(base, arm="third")
    one = dataclasses.replace(third, arm="one", phases=third.phases[:1])
    other = dataclasses.replace(one, arm="other")
    assert one.identity == other.identity and one.name != other.name
    items = [(run, Path(run.arm)) for run in (third, one, other)]
    begun = Immediate()
    pool._execute_in_order(begun, items, {run.identity: folder for run, folder in items}, 1, stack, 0)
    assert begun.begun == [("one", 0), ("other", 0), ("third", 0)]
