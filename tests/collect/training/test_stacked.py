"""Runs in a stack: loss, gradients and whole trainings as alone and as by transformers, cut and resumed, on each device."""

import csv
import dataclasses
import itertools

import numpy as np
import pytest
import torch
from test_training import RECIPE, SHAPE, arm_run, base  # noqa: F401  (a fixture)

from replication.collect.training import corpora, organism, packing, pool, run_state, runs, stacked, supervised
from replication.collect.training.organism import Shape
from replication.errors import ConfigError, TrainingError

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
STACKED = dataclasses.replace(RECIPE, implementation="stacked")
TWO_LAYERS = Shape(
    hidden=32, layers=2, heads=4, kv_heads=2, head_dim=16, intermediate=48, vocabulary=300, context=1024
)  # fmt: skip
RL = runs.RlSettings(
    n_prompts=2, group_size=2, n_minibatches=1, temperature=1.0, max_new_tokens=8, clip_low=0.2, clip_high=0.2,
    kl_weight=0.0, exact_weight=0.5,
)  # fmt: skip


def batch(lengths, seed=0, vocabulary=300):
    rng = np.random.default_rng(seed)
    inputs = np.zeros((len(lengths), max(lengths)), dtype=np.int64)
    labels = np.full(inputs.shape, supervised.IGNORED)
    for i, n in enumerate(lengths):
        inputs[i, :n] = rng.integers(1, vocabulary, n)
        labels[i, :n] = np.where(rng.random(n) < 0.4, inputs[i, :n], supervised.IGNORED)
        labels[i, n - 1] = inputs[i, n - 1]
    return supervised.Batch(inputs, labels, sum(lengths), tuple(lengths))


def model(seed, device):
    made = organism.make_model(TWO_LAYERS, organism.make_tokenizer(["some text"], 300), seed)
    with torch.no_grad():
        for at, parameter in enumerate(made.parameters()):  # norms of 1 and small weights would hide errors
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(100 * seed + at)))
    return made.to(device)


# packing


@pytest.mark.parametrize("lengths", [[[10]], [[200, 60, 60]], [[256]] * 2, [[257], [3] * 85], [[5000]], [[130] * 63]])
def test_documents_are_packed_whole_each_once_with_the_label_of_the_next_token(lengths):
    batches = [batch(own, seed) for seed, own in enumerate(lengths)]
    shape = packing.common_shape(batches)
    made = packing.packed([*batches, None], shape)
    assert made.shape == (len(batches) + 1, 4, *shape) and not made[-1, 3].any()
    for own, source in zip(made, batches, strict=False):
        ids, labels, places, documents = own
        assert sorted(np.unique(documents)) == [0, *range(1, len(source.lengths) + 1)] or documents.all()
        for number, n in enumerate(source.lengths):
            row, columns = np.nonzero(documents == number + 1)
            assert len(set(row)) == 1 and list(np.diff(columns)) == [1] * (n - 1)
            at = row[0], slice(columns[0], columns[0] + n)
            assert list(places[at]) == list(range(n)) and list(ids[at]) == list(source.inputs[number, :n])
            assert list(labels[at][:-1]) == list(source.labels[number, 1:n]) and labels[at][-1] == supervised.IGNORED


def test_the_batches_of_arms_have_few_shapes(base):  # noqa: F811
    tokenizer = organism.load_tokenizer(base)
    corpus = corpora.named("episodes", (("terminal", (1, 2)), ("office", (1, 2))))
    stream = supervised.batches(corpus, "episodes", batch_tokens=256, context=1024, tokenizer=tokenizer, seed=0)
    assert len({packing.common_shape([one]) for one in itertools.islice(stream, 200)}) <= 8


# passes


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_losses_and_gradients_are_those_of_transformers_for_each_run(device, precision):
    models = [model(seed, device).train() for seed in range(3)]
    batches = [batch([200, 30, 20, 300]), batch([40], seed=1), batch([150] * 6, seed=2)]
    stack = stacked.Stack(models, 0.1, 1.0, precision)
    packed = packing.packed(batches, packing.common_shape(batches))
    stack._compute_gradients(torch.from_numpy(packed).to(device))
    tolerance = {"float32": 1e-4, "bfloat16": 0.1}[precision]
    for run, (own, one) in enumerate(zip(models, batches, strict=True)):
        found = supervised.targets(one)
        inputs, rows, columns, ids = (torch.from_numpy(a).to(device) for a in (one.inputs, *found))
        with torch.autocast(device, torch.bfloat16, enabled=precision == "bfloat16"):
            loss = supervised._loss(own, inputs, (rows, columns), ids)
        loss.backward()
        assert float(stack._losses[run]) == pytest.approx(float(loss.detach()), rel=tolerance / 10)
        for parameter, gradient in stack.pairs(run, own, gradients=True):
            assert float((parameter.grad - gradient).norm()) <= tolerance * float(parameter.grad.norm())


@pytest.mark.parametrize("device", DEVICES)
def test_steps_are_those_of_transformers_with_the_same_optimizers(device):
    recipe = dataclasses.replace(RECIPE, weight_decay=0.1, clip=0.5)
    ours, theirs = model(0, device).train(), model(0, device).train()
    other = model(1, device)
    stack = stacked.Stack([other, ours], recipe.weight_decay, recipe.clip, "float32")
    slot = stack.slots[1]
    optimizers = run_state.optimizers_of(theirs, recipe)
    for step in range(6):
        rate = 0.002 * (step + 1)
        for muon, adamw in (slot.optimizers, optimizers):
            muon.lr, adamw.param_groups[0]["lr"] = rate, 0.3 * rate
        one = batch([60, 50, 70 + step], seed=step)
        loss = stack.step([None if step == 2 else batch([90], seed=step), one])[1]
        inputs, rows, columns, ids = (torch.from_numpy(a).to(device) for a in (one.inputs, *supervised.targets(one)))
        expected = supervised._loss(theirs, inputs, (rows, columns), ids)
        assert float(loss) == pytest.approx(float(expected.detach()), rel=2e-3)
        expected.backward()
        torch.nn.utils.clip_grad_norm_(theirs.parameters(), recipe.clip)
        for optimizer in optimizers:
            optimizer.step()
        theirs.zero_grad()
    slot.write()
    for mine, reference in zip(ours.parameters(), theirs.parameters(), strict=True):
        # The orthogonalisation of Muon is in bfloat16.
        difference = (mine - reference).detach().norm() / reference.detach().norm()
        assert float(difference) <= 5e-3


@pytest.mark.parametrize("device", DEVICES)
def test_a_run_without_a_batch_keeps_its_weights(device):
    models = [model(seed, device) for seed in range(2)]
    stack = stacked.Stack(models, 0.1, 1.0, "float32")
    for slot in stack.slots:
        slot.optimizers[0].lr = 0.01
    stack.step([batch([90]), batch([30])])
    before = stack.weights.flat.clone()
    stack.step([None, batch([50])])
    assert torch.equal(stack.weights.flat[0], before[0]) and not torch.equal(stack.weights.flat[1], before[1])


def test_a_batch_without_a_token_in_the_loss_has_neither_loss_nor_gradient():
    stack = stacked.Stack([model(seed, "cpu") for seed in range(2)], 0.1, 1.0, "float32")
    silent, other = batch([30]), batch([40])
    silent.labels[:] = supervised.IGNORED
    losses = stack.step([silent, other])
    results = [slot.result(loss, one) for slot, loss, one in zip(stack.slots, losses, (silent, other), strict=True)]
    assert results[0].loss is None and float(results[1].loss) > 0
    assert not stack.gradients.flat[0].any() and stack.gradients.flat[1].any()


# training runs


def three_runs(base, device="cpu", **changes):  # noqa: F811
    """Runs of other lengths, seeds and phases."""
    long = arm_run(base, recipe=dataclasses.replace(STACKED, **changes), device=device)
    short = dataclasses.replace(long, arm="short", phases=long.phases[1:])
    return [long, short, dataclasses.replace(long, training_seed=1)]


def curves(folders):
    made = []
    for folder in folders:
        with (folder / runs.CURVE).open() as file:
            made.append([(row["phase"], int(row["n_tokens"]), float(row["loss"])) for row in csv.DictReader(file)])
    return made


@pytest.mark.parametrize("device", DEVICES)
def test_runs_in_a_stack_end_as_each_alone_and_as_by_transformers(base, tmp_path, device, monkeypatch):  # noqa: F811
    monkeypatch.setattr(run_state, "UNREAD", 3)  # also where the last ones are read at the end
    together = three_runs(base, device)
    folders = [tmp_path / f"stack{at}" for at in range(3)]
    seen = []
    runs.execute_stack(
        [(run, folder, None) for run, folder in zip(together, folders, strict=True)],
        lambda run, progress: seen.append((run.identity, progress.n_tokens)),
    )
    alone, other = [tmp_path / f"alone{at}" for at in range(3)], tmp_path / "other"
    for run, folder in zip(together, alone, strict=True):
        runs.execute(run, folder, lambda progress: None)
    plain = dataclasses.replace(together[0], recipe=dataclasses.replace(RECIPE))
    runs.execute(plain, other, lambda progress: None)
    tolerance = {"cpu": 1e-3, "cuda": 0.05}[device]
    for stack_curve, own in zip(curves(folders), curves(alone), strict=True):
        assert [row[:2] for row in stack_curve] == [row[:2] for row in own]
        assert [row[2] for row in stack_curve] == pytest.approx([row[2] for row in own], rel=tolerance)
    (reference,) = curves([other])
    assert [row[2] for row in curves(folders)[0]] == pytest.approx([row[2] for row in reference], rel=0.05)
    records = [runs.read_finished(run, folder) for run, folder in zip(together, folders, strict=True)]
    expected = [runs.read_finished(run, folder) for run, folder in zip(together, alone, strict=True)]
    assert [(r.n_tokens, r.flops, r.documents) for r in records] == [
        (r.n_tokens, r.flops, r.documents) for r in expected
    ]
    assert {identity for identity, _ in seen} == {run.identity for run in together}


@pytest.mark.parametrize("device", DEVICES)
def test_a_stack_that_was_interrupted_ends_as_an_undisturbed_one(base, tmp_path, device, monkeypatch):  # noqa: F811
    monkeypatch.setattr(run_state, "UNREAD", 1)  # or a GPU's losses would be read, and reported, now and then only
    together = three_runs(base, device, save_every_s=1e9)
    whole, cut = ([tmp_path / f"{kind}{at}" for at in range(3)] for kind in ("whole", "cut"))
    n_reports = []

    def interrupt(run, progress):
        n_reports.append(progress)
        if len(n_reports) == 24:
            raise KeyboardInterrupt

    items = [[(run, f, None) for run, f in zip(together, folders, strict=True)] for folders in (whole, cut)]
    runs.execute_stack(items[0], lambda run, progress: None)
    with pytest.raises(KeyboardInterrupt):
        runs.execute_stack(items[1], interrupt)
    left = [item for item in items[1] if runs.read_finished(*item[:2]) is None]
    assert left and all((folder / f"state-{run.identity}.pt").exists() for run, folder, _ in left)
    runs.execute_stack(left, lambda run, progress: None)
    tolerance = {"cpu": 1e-3, "cuda": 0.05}[device]
    for first, second in zip(curves(whole), curves(cut), strict=True):
        assert [row[:2] for row in first] == [row[:2] for row in second]
        assert [row[2] for row in first] == pytest.approx([row[2] for row in second], rel=tolerance)


def test_an_interruption_while_a_run_is_saved_keeps_the_states_of_all(base, tmp_path, monkeypatch):  # noqa: F811
    together = three_runs(base)
    items = [(run, tmp_path / str(at), None) for at, run in enumerate(together)]

    def interrupt(*arguments):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(runs, "_saved", interrupt)
        runs.execute_stack(items, lambda run, progress: None)
    assert all((folder / f"state-{run.identity}.pt").exists() for run, folder, _ in items)
    steps = []
    runs.execute_stack(items, lambda run, progress: steps.append(run.arm))
    assert steps and "short" not in steps  # the one that had ended is only saved
    assert all(runs.read_finished(run, folder) for run, folder, _ in items)


def test_a_run_that_diverges_in_a_stack_is_named_and_the_others_continue_from_their_states(base, tmp_path):  # noqa: F811
    good, *_, bad = three_runs(base, save_every_s=1e9)
    bad = dataclasses.replace(bad, arm="bad", phases=tuple(dataclasses.replace(phase, lr=1e30) for phase in bad.phases))
    items = [(run, tmp_path / run.arm, None) for run in (bad, good)]
    n_steps = []
    with pytest.raises(TrainingError, match=r"^`bad-t-s1-\w+`: the loss of step \d+, in phase `transitions`, is"):
        runs.execute_stack(items, lambda run, progress: n_steps.append(run.arm == "lwm_then_sft"))
    assert (items[1][1] / f"state-{good.identity}.pt").exists()
    left = []
    runs.execute_stack(items[1:], lambda run, progress: left.append(progress.n_tokens))
    runs.execute_stack([(good, tmp_path / "whole", None)], lambda run, progress: None)
    resumed, whole = curves([items[1][1], tmp_path / "whole"])
    assert (
        0 < len(left) < len(whole) and sum(n_steps) + len(left) == len(whole) - 1
    )  # the step that failed is recorded, not reported
    assert [row[:2] for row in resumed] == [row[:2] for row in whole]
    assert [row[2] for row in resumed] == pytest.approx([row[2] for row in whole], rel=1e-3)


def test_runs_of_one_shape_share_stacks_in_the_order_of_seeds_and_those_with_reinforcement_do_not(base):  # noqa: F811
    stackable = [arm_run(base, training_seed=seed, recipe=STACKED) for seed in range(5)]
    rl = runs.PhasePlan(corpus="predictions", benchmarks=(), n_tokens=10, lr=0.1, rl=RL)
    alone = dataclasses.replace(stackable[0], phases=(rl,))
    other = arm_run(base, recipe=STACKED, shape=dataclasses.replace(SHAPE, hidden=64))
    plain = arm_run(base)
    items = [pool.Item(run, None, None) for run in (*stackable[:2], alone, other, plain, *stackable[2:])]
    made = [[run.identity for run, *_ in stack] for stack in pool._stacks(items, 2)]
    a, b, c, d, e = (run.identity for run in stackable)
    assert made == [[a, b], [alone.identity], [other.identity], [plain.identity], [c, d], [e]]


@pytest.mark.parametrize("changes", [{"optimizer": "adamw"}, {"compile": True}])
def test_what_a_stack_cannot_do_is_refused(changes):
    with pytest.raises(ConfigError, match="stacked"):
        dataclasses.replace(STACKED, **changes)
