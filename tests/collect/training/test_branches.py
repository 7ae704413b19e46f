"""Runs that differ in the budget of their last phase share their first steps, and end as if each were trained alone."""

import csv
import dataclasses
from concurrent.futures import Future

import pytest
import torch
from test_pool import OFF, Immediate
from test_training import BENCHMARKS, RECIPE, arm_run, base_run

from replication.collect import processor
from replication.collect.training import curricula, loop, muon, pool, runs
from replication.collect.training.rl import RlSettings

FEW = RlSettings(
    n_prompts=2, group_size=2, n_minibatches=1, temperature=1.0, max_new_tokens=8, clip_low=0.2, clip_high=0.2,
    kl_weight=0.01, exact_weight=0.5,
)  # fmt: skip
MANY = dataclasses.replace(FEW, n_prompts=12, group_size=4)
EPISODES = runs.PhasePlan(corpus="episodes", benchmarks=BENCHMARKS, n_tokens=8_000, lr=0.005)
PREDICTIONS = runs.PhasePlan(corpus="predictions", benchmarks=BENCHMARKS[1:], n_tokens=12_000, lr=0.001, rl=FEW)
OVERSHOOTING = dataclasses.replace(PREDICTIONS, n_tokens=1, rl=MANY)
"""One step costs as much as thousands of tokens."""


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    runs.execute(base_run(), folder, ignored)
    return folder


def ignored(progress):
    pass


def of(phase, n_tokens):
    return dataclasses.replace(phase, n_tokens=n_tokens)


def pair(base, *before, phase=EPISODES, long=18_000, after=(), **recipe):
    """Return two runs: phases `before`, then `phase` with its own budget and with `long`, then those `after`."""
    run = arm_run(base, arm="short", recipe=dataclasses.replace(RECIPE, **recipe), phases=(*before, phase))
    return run, dataclasses.replace(run, arm="long", phases=(*before, of(phase, long), *after))


def rows(folder):
    with (folder / runs.CURVE).open() as file:
        return list(csv.DictReader(file))


def assert_as_alone(short, long, tmp_path):
    """Train both, the longer one first, and each alone; return how many steps of the shorter one were its own."""
    alone = {run.arm: runs.execute(run, tmp_path / f"{run.arm}_alone", ignored) for run in (short, long)}
    made = {"long": runs.execute(long, tmp_path / "long", ignored, branches=[(short, tmp_path / "short")])}
    own: list[curricula.Progress] = []
    made["short"] = runs.execute(short, tmp_path / "short", own.append)
    for arm, record in made.items():
        for key in ("weights_sha256", "n_tokens", "n_sampled_tokens", "flops", "phases", "documents", "identity"):
            assert getattr(record, key) == getattr(alone[arm], key), (arm, key)
        curves = [[{**row, "wall_s": ""} for row in rows(tmp_path / name)] for name in (arm, f"{arm}_alone")]
        assert curves[0] == curves[1]
    assert not list(tmp_path.rglob("state-*")) and not list(tmp_path.rglob("*.tmp"))
    return len(own)


@pytest.mark.parametrize("implementation", ["transformers", "written_out"])
def test_both_runs_end_as_if_they_were_alone_and_the_shorter_one_takes_its_decay_only(base, tmp_path, implementation):
    short, long = pair(base, of(EPISODES, 3_000), implementation=implementation)
    assert short.is_branch_of(long)
    n_own = assert_as_alone(short, long, tmp_path)
    phase = [float(row["lr"]) for row in rows(tmp_path / "short")][-n_own - 1 :]
    assert n_own > 2 and phase[0] == EPISODES.lr > phase[1]


@pytest.mark.parametrize("implementation", ["transformers", "written_out"])
@pytest.mark.parametrize("before", [(), (of(EPISODES, 3_000),)])
def test_phases_of_reinforcement_learning_are_shared_too(base, tmp_path, implementation, before):
    short, long = pair(
        base,
        *before,
        phase=PREDICTIONS,
        long=30_000,
        after=(EPISODES,),
        implementation=implementation,
        warmup_tokens=900,
    )
    assert short.is_branch_of(long)
    n_own = assert_as_alone(short, long, tmp_path)
    assert 0 < n_own < sum(row["phase"] == "predictions" for row in rows(tmp_path / "short"))


def test_a_run_whose_warm_up_an_overshooting_phase_has_cut_is_trained_alone(base, tmp_path):
    """Its last phase begins late, so that a tenth of what is left is shorter than the longer run's warm-up."""
    short, long = pair(
        base, OVERSHOOTING, phase=of(EPISODES, 20_000), long=60_000, warmup_tokens=2_000, batch_tokens=64
    )
    assert short.is_branch_of(long)
    assert_as_alone(short, long, tmp_path)


@pytest.mark.parametrize("both", [False, True])
def test_a_run_whose_last_phase_is_overshot_is_trained_alone(base, tmp_path, both):
    """both : the phase of the longer run is overshot too, by a few tokens."""
    (first,) = arms_of(base, first=(OVERSHOOTING,))
    spent = runs.execute(first, tmp_path / "first", ignored)
    longer = int(spent.flops / 6 / spent.n_parameters) - 2 if both else 18_000
    short, long = pair(base, OVERSHOOTING, phase=of(EPISODES, 300), long=longer, after=(EPISODES,), warmup_tokens=0)
    assert short.is_branch_of(long)
    assert_as_alone(short, long, tmp_path)


def test_a_run_that_resumes_behind_the_branch_saves_nothing_for_it(base, tmp_path):
    short, long = pair(base, save_every_s=0.0)
    branches = [(short, tmp_path / "short")]

    def interrupt(progress):
        if progress.n_tokens > 8_000:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.execute(long, tmp_path / "long", interrupt, branches=branches)
    (saved,) = (tmp_path / "short").iterdir()
    saved.unlink()
    runs.execute(long, tmp_path / "long", ignored, branches=branches)
    assert not any((tmp_path / "short").iterdir())


def test_a_state_or_a_finished_run_is_left_as_it_is(base, tmp_path):
    short, long = pair(base)
    own = runs.state_file(short, tmp_path / "begun")
    own.parent.mkdir()
    own.write_bytes(b"of a later step")
    runs.execute(short, tmp_path / "finished", ignored)
    files = sorted((tmp_path / "finished").iterdir())
    runs.execute(long, tmp_path / "long", ignored, branches=[(short, own.parent), (short, tmp_path / "finished")])
    assert own.read_bytes() == b"of a later step"
    assert sorted((tmp_path / "finished").iterdir()) == files


def test_a_state_that_another_command_makes_useless_meanwhile_is_removed(base, tmp_path, monkeypatch):
    short, long = pair(base)
    save = loop.save_state

    def finish_first(path, state):
        save(path, state)
        (path.parent / runs.RECORD).touch()

    monkeypatch.setattr(loop, "save_state", finish_first)
    runs.execute(long, tmp_path / "long", ignored, branches=[(short, tmp_path / "short")])
    assert [path.name for path in (tmp_path / "short").iterdir()] == [runs.RECORD]


@pytest.mark.parametrize("error", [FileNotFoundError("tidied"), OSError(28, "No space left on device")])
def test_a_state_that_cannot_be_saved_for_another_run_stops_nothing(base, tmp_path, monkeypatch, error):
    short, long = pair(base)

    def fail(path, state):
        raise error

    monkeypatch.setattr(loop, "save_state", fail)
    made = runs.execute(long, tmp_path / "long", ignored, branches=[(short, tmp_path / "short")])
    assert made.weights_sha256 == runs.execute(long, tmp_path / "alone", ignored).weights_sha256


def test_a_state_of_another_kind_of_processor_is_not_continued(base, tmp_path, monkeypatch):
    short, long = pair(base)
    runs.execute(long, tmp_path / "long", ignored, branches=[(short, tmp_path / "short")])
    there = muon.product_type("cpu")
    monkeypatch.setattr(muon, "product_type", lambda device: torch.float64)  # as if this processor had another type
    assert loop._load_state(runs.state_file(short, tmp_path / "short"), "cpu") is None
    monkeypatch.setattr(muon, "product_type", lambda device: there)
    assert loop._load_state(runs.state_file(short, tmp_path / "short"), "cpu")["step"] > 5


def test_only_a_smaller_budget_of_the_last_phase_makes_a_branch(base):
    short, long = pair(base, of(EPISODES, 3_000))
    assert short.is_branch_of(long) and not long.is_branch_of(short) and not short.is_branch_of(short)
    assert dataclasses.replace(short, arm="other").is_branch_of(long)
    longer = dataclasses.replace(long, phases=(*long.phases, EPISODES))
    assert short.is_branch_of(longer) and not longer.is_branch_of(long)
    first, last = long.phases
    for changed in (
        dataclasses.replace(long, training_seed=1), dataclasses.replace(long, recipe=dataclasses.replace(RECIPE, clip=2.0)),
        dataclasses.replace(long, phases=(first, dataclasses.replace(last, lr=0.001))),
        dataclasses.replace(long, phases=(last,)), dataclasses.replace(long, phases=(of(first, 9), last)),
    ):  # fmt: skip
        assert not short.is_branch_of(changed)
    assert not pair(base, phase=of(EPISODES, 2_900))[0].is_branch_of(pair(base)[1])  # its warm-up would be cut
    none, some = pair(base, phase=of(EPISODES, 0), warmup_tokens=0)
    assert not none.is_branch_of(some)
    assert not dataclasses.replace(short, phases=()).is_branch_of(long)
    stacked = [
        dataclasses.replace(run, recipe=dataclasses.replace(RECIPE, implementation="stacked")) for run in (short, long)
    ]
    assert not stacked[0].is_branch_of(stacked[1])


# the order of runs


def order(arms, tmp_path, workers=1, finished=(), begun=None):
    """Return the arms in the order in which they begin; what each continues; and the arms that it saves states for."""
    items = [(run, tmp_path / run.arm) for run in arms]
    begun = begun or Immediate()
    folders = {run.identity: tmp_path / run.arm for run in (*arms, *finished)}
    pool._execute_in_order(begun, items, folders, workers, 1, 0)
    assert sorted(arm for arm, _ in begun.begun) == sorted(run.arm for run in arms)
    return [(i.run.arm, i.start and i.start.name, [folder.name for _, folder in i.branches]) for i in begun.items]


def arms_of(base, **phases):
    return [arm_run(base, arm=arm, phases=of_arm) for arm, of_arm in phases.items()]


def test_runs_of_smaller_budgets_wait_for_the_longest_one(base, tmp_path):
    arms = arms_of(base, a=(of(EPISODES, 3_000),), b=(of(EPISODES, 4_000),), c=(of(EPISODES, 9_000),))
    assert order(arms, tmp_path) == [("c", None, ["b", "a"]), ("b", None, []), ("a", None, [])]


def test_they_begin_as_soon_as_their_states_are_saved(base, tmp_path):
    class Unfinished(Immediate):
        """The longest run saves its states, and ends when one of the others has begun."""

        def submit(self, call, work, items, text_workers):
            done = super().submit(call, work, items, text_workers)
            if items[0].branches:
                for run, folder in items[0].branches:
                    folder.mkdir()
                    runs.state_file(run, folder).touch()
                self.longest = Future()
                return self.longest
            if not self.longest.done():
                self.longest.set_result(None)
            return done

    arms = arms_of(base, a=(of(EPISODES, 3_000),), b=(of(EPISODES, 4_000),), c=(of(EPISODES, 9_000),))
    made = order(arms, tmp_path, workers=2, begun=Unfinished())
    assert made == [("c", None, ["b", "a"]), ("b", None, []), ("a", None, [])]


def test_a_run_does_not_wait_for_one_that_starts_behind_its_branch(base, tmp_path):
    short, long, then_rl = arms_of(
        base, short=(EPISODES,), long=(of(EPISODES, 18_000),), then_rl=(of(EPISODES, 18_000), PREDICTIONS)
    )
    made = order([then_rl, short, long], tmp_path)
    assert made == [("long", None, ["short"]), ("then_rl", "long", []), ("short", None, [])]
    alone = order([then_rl, short], tmp_path, finished=[long])
    assert alone == [("then_rl", "long", []), ("short", None, [])]


def test_a_run_waits_for_the_one_that_takes_all_steps_itself(base, tmp_path):
    """`then_rl` resumes from a state of `more_rl`, which is behind the branch of `short`."""
    first = of(EPISODES, 18_000)
    arms = arms_of(
        base, then_rl=(first, PREDICTIONS), short=(EPISODES,), more_rl=(first, of(PREDICTIONS, 99_000)),
    )  # fmt: skip
    made = order(arms, tmp_path)
    assert made[0] == ("more_rl", None, ["then_rl", "short"]) and not made[1][2] and not made[2][2]


def test_a_run_does_not_wait_for_one_that_was_interrupted(base, tmp_path):
    """It may be past the branch."""
    short, long = pair(base)
    state = runs.state_file(long, tmp_path / "long")
    state.parent.mkdir()
    state.touch()
    assert order([short, long], tmp_path) == [("long", None, []), ("short", None, [])]


def test_the_pool_shares_steps_between_processes(base, tmp_path):
    short, long = pair(base)
    items = [(short, tmp_path / "short"), (long, tmp_path / "long")]
    pool.train_all(items, workers=2, tracked=OFF, results=tmp_path)
    for run, folder in items:
        alone = runs.execute(run, tmp_path / f"{run.arm}_alone", ignored)
        assert runs.read_finished(run, folder).weights_sha256 == alone.weights_sha256
    of_short, of_long = rows(tmp_path / "short"), rows(tmp_path / "long")
    shared = sum(a == b for a, b in zip(of_short, of_long, strict=False))  # seconds included
    own = [float(row["lr"]) for row in of_short[shared:]]
    assert 2 < len(own) < shared and max(own) < EPISODES.lr
    assert not list(tmp_path.rglob("state-*"))


def test_the_pool_says_when_a_precision_is_slow_on_this_processor(base, tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(processor, "_facts", lambda: {"flags": "avx2"})
    (run,) = arms_of(base, one=(of(EPISODES, 600),))
    run = dataclasses.replace(run, recipe=dataclasses.replace(RECIPE, precision="bfloat16"))
    for said in (True, False):  # the second call finds it finished
        pool.train_all([(run, tmp_path / "one")], workers=1, tracked=OFF, results=tmp_path)
        assert ("no instructions for bfloat16" in capfd.readouterr().err) == said
