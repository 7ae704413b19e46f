"""Qwen3 written out: loss, gradients and optimizer steps are those of transformers and torch but for rounding."""

import dataclasses

import numpy as np
import pytest
import torch
from test_training import RECIPE, SHAPE, arm_run, base_run

from replication.collect.training import parameters, qwen3, run_state, runs, supervised, written_out
from replication.collect.training.organism import make_model, make_tokenizer
from replication.errors import ConfigError, TrainingError

WRITTEN_OUT = dataclasses.replace(RECIPE, implementation="written_out")
SHAPES = {
    "one head": SHAPE,
    "shared keys": dataclasses.replace(SHAPE, hidden=48, layers=3, heads=6, kv_heads=2, head_dim=16, intermediate=80),
    "no shared keys": dataclasses.replace(SHAPE, layers=2, heads=2, kv_heads=2, head_dim=8),
}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    runs.execute(base_run(), folder, lambda progress: None)
    return folder


def make(shape):
    model = make_model(shape, make_tokenizer(["some text"], 300), 0)
    with torch.no_grad():
        for parameter in model.parameters():  # norms of 1 and small weights would hide errors
            parameter.add_(
                0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
            )
    return model


def make_batch(shape, lengths, seed=0):
    """Make documents of random tokens, of which the last third and one in five others are in the loss."""
    rng = np.random.default_rng(seed)
    inputs = np.zeros((len(lengths), max(lengths)), dtype=np.int64)
    labels = np.full(inputs.shape, supervised.IGNORED)
    for i, n in enumerate(lengths):
        inputs[i, :n] = rng.integers(1, shape.vocabulary, n)
        chosen = (np.arange(n) >= n * 2 // 3) | (rng.random(n) < 0.2)
        labels[i, :n] = np.where(chosen, inputs[i, :n], supervised.IGNORED)
    return supervised.Batch(inputs, labels, sum(lengths), tuple(lengths))


def tensors(batch):
    rows, columns, ids = map(torch.from_numpy, supervised.targets(batch))
    return qwen3.Inputs(torch.from_numpy(batch.inputs[:, :-1]), rows, columns, ids)


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("lengths", [[40], [30, 17, 29], [2, 2]])
def test_loss_and_every_gradient_are_those_of_transformers(name, lengths):
    model, batch = make(SHAPES[name]), make_batch(SHAPES[name], lengths)
    given = tensors(batch)
    theirs = supervised._loss(model, torch.from_numpy(batch.inputs), (given.rows, given.columns), given.targets)
    theirs.backward()
    ours = qwen3.Qwen3(model)
    for _ in range(2):  # gradients are overwritten, not added
        assert float(ours.loss(given)) == pytest.approx(theirs.item(), rel=1e-5)
    pairs = parameters.pairs(model, ours.gradients)
    assert {id(parameter) for parameter, _ in pairs} == {id(parameter) for parameter in model.parameters()}
    for parameter, gradient in pairs:
        atol = 1e-4 * float(parameter.grad.abs().max()) + 1e-7  # a token that sees only itself has none for its query
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-3, atol=atol)


def test_batch_without_a_token_in_the_loss_has_no_gradient_as_by_transformers():
    model, batch = make(SHAPE), make_batch(SHAPE, [20])
    batch.labels[:] = supervised.IGNORED
    given = tensors(batch)
    theirs = supervised._loss(model, torch.from_numpy(batch.inputs), (given.rows, given.columns), given.targets)
    theirs.backward()
    ours = qwen3.Qwen3(model)
    ours.loss(tensors(make_batch(SHAPE, [20])))
    assert ours.gradients.flat.any()
    assert np.isnan(theirs.item()) and torch.isnan(ours.loss(given)) and not ours.gradients.flat.any()
    assert not any(parameter.grad.any() for parameter in model.parameters() if parameter.grad is not None)


@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_non_finite_gradient_is_an_error_before_the_weights_change(value):
    model = make(SHAPE)
    with torch.no_grad():
        model.model.embed_tokens.weight[1:].fill_(value)
    stepper = written_out.WrittenOut(model, RECIPE.weight_decay, RECIPE.clip)
    before = stepper._qwen3.weights.flat.clone()
    with pytest.raises(TrainingError, match=r"gradient norm of a training step is (nan|inf).*Lower the learning rates"):
        next(stepper.learn([make_batch(SHAPE, [30])]))
    torch.testing.assert_close(stepper._qwen3.weights.flat, before, rtol=0, atol=0, equal_nan=True)


def test_weights_return_to_transformers_as_they_were_read():
    one, other = make(SHAPES["shared keys"]), make_model(SHAPES["shared keys"], make_tokenizer(["some text"], 300), 1)
    ours = qwen3.Qwen3(one)
    assert ours.weights.flat.numel() == sum(p.numel() for p in one.parameters())
    ours._model = other
    ours.write()
    for key, value in one.state_dict().items():
        assert torch.equal(other.state_dict()[key], value)


def test_first_steps_have_the_losses_of_transformers_and_torch():
    shape = SHAPES["shared keys"]
    batches = [make_batch(shape, [30, 20]), make_batch(shape, [41])] * 4
    losses = []
    for written in (True, False):
        model = make(shape)
        if written:
            stepper = written_out.WrittenOut(model, RECIPE.weight_decay, RECIPE.clip)
            muon, adamw = stepper.optimizers
            steps = stepper.learn(batches)
        else:
            muon, adamw = optimizers = run_state.optimizers_of(model, RECIPE)

            def update(loss, model=model, optimizers=optimizers):
                loss.backward()
                torch.nn.utils.clip_grad_norm_(model.parameters(), RECIPE.clip)
                for optimizer in optimizers:
                    optimizer.step()
                    optimizer.zero_grad()

            steps = supervised.learn(model, batches, "float32", update)
        muon.lr, adamw.param_groups[0]["lr"] = 0.01, 0.003
        losses.append([(float(step.loss), step.n_tokens, step.flops) for step in steps])
    ours, theirs = (np.array(rows) for rows in losses)
    assert (ours[:, 1:] == theirs[:, 1:]).all()
    assert ours[:, 0] == pytest.approx(theirs[:, 0], rel=5e-3)
    assert ours[-1, 0] < ours[1, 0] - 0.1  # the steps do change the model


def test_arm_in_this_implementation_is_repeatable_and_an_ordinary_checkpoint(base, tmp_path):
    records = [runs.execute(arm_run(base, recipe=WRITTEN_OUT), tmp_path / name, lambda p: None) for name in "ab"]
    theirs = runs.execute(arm_run(base), tmp_path / "theirs", lambda p: None)
    assert records[0].weights_sha256 == records[1].weights_sha256 != theirs.weights_sha256
    assert (records[0].n_tokens, records[0].flops) == (theirs.n_tokens, theirs.flops)
    curves = [(tmp_path / name / runs.CURVE).read_text().splitlines()[1:] for name in ("a", "theirs")]
    ours, reference = ([float(line.split(",")[3]) for line in curve] for curve in curves)
    assert ours == pytest.approx(reference, rel=0.02) and len(ours) > 10
    assert {f.name for f in (tmp_path / "a").iterdir()} == {f.name for f in (tmp_path / "theirs").iterdir()}


def test_interrupted_run_and_one_that_continues_another_end_with_the_same_weights(base, tmp_path):
    run = arm_run(base, recipe=dataclasses.replace(WRITTEN_OUT, save_every_s=0.0))
    whole = runs.execute(run, tmp_path / "whole", lambda p: None)
    seen = []

    def interrupt(progress):
        seen.append(progress.phase)
        if len(seen) == 9:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        runs.execute(run, tmp_path / "cut", interrupt)
    assert runs.execute(run, tmp_path / "cut", lambda p: None).weights_sha256 == whole.weights_sha256
    first = dataclasses.replace(run, arm="warm_up", phases=run.phases[:1])
    runs.execute(first, tmp_path / "first", lambda p: None)
    started = runs.execute(run, tmp_path / "started", lambda p: None, tmp_path / "first")
    assert (started.weights_sha256, started.flops) == (whole.weights_sha256, whole.flops)


def test_implementation_is_part_of_the_identity_only_where_it_is_not_the_first(base):
    assert arm_run(base, recipe=WRITTEN_OUT).identity != arm_run(base).identity
    assert base_run().identity == "1dab6d8442b4"  # other implementations leave it


def test_bfloat16_compiling_and_other_devices_are_rejected():
    for change in ({"precision": "bfloat16"}, {"compile": True}):
        with pytest.raises(
            ConfigError, match=r"float32 with Muon and is not compiled; got .*implementation=transformers"
        ):
            dataclasses.replace(WRITTEN_OUT, **change)
    with pytest.raises(ConfigError, match=r"computes on a CPU; got device meta"):
        qwen3.Qwen3(make_model(SHAPE, make_tokenizer(["some text"], 300), 0).to("meta"))
