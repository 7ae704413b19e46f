"""Reinforcement learning with Qwen3 written out: replies, loss and gradients are those of transformers but for rounding."""

import copy
import dataclasses

import numpy as np
import pytest
import torch
from test_qwen3 import SHAPES, WRITTEN_OUT, make
from test_rl import N_VOCABULARY, SETTINGS, coin_then, rewards_of, tokenizer, tokens_of, trained_on  # noqa: F401

from replication.collect.training import parameters, replies, rl, written_out, written_out_rl
from replication.collect.training.qwen3 import Qwen3

torch.set_num_threads(1)


@pytest.fixture(params=SHAPES)
def model(request):
    return make(dataclasses.replace(SHAPES[request.param], vocabulary=N_VOCABULARY)).eval()


def drawn(model, prompts, temperature=1.3, seed=0):
    """Return replies by transformers, and written out."""
    how = {"group_size": 4, "max_new_tokens": 20, "temperature": temperature}
    theirs = replies.draw(model, prompts, **how, generator=torch.Generator().manual_seed(seed))
    ours = written_out_rl.draw(
        Qwen3(model), model.config, prompts, **how, generator=torch.Generator().manual_seed(seed)
    )  # fmt: skip
    return theirs, ours


@pytest.mark.parametrize("temperature", [1.3, 0.0])
def test_replies_are_those_of_transformers(model, temperature):
    rng = np.random.default_rng(1)
    prompts = [tokens_of(rng, n) for n in (5, 30, 17, 1, 8, 9)]
    theirs, ours = drawn(model, prompts, temperature)
    assert np.array_equal(theirs.tokens, ours.tokens) and np.array_equal(theirs.lengths, ours.lengths)
    np.testing.assert_allclose(ours.logps, theirs.logps, atol=2e-5)
    if temperature:
        assert len(set(ours.lengths.ravel().tolist())) > 4 and (ours.lengths < 20).any(axis=1).sum() > 2


def test_loss_and_every_gradient_are_those_of_transformers(model):
    rng = np.random.default_rng(2)
    prompts = [tokens_of(rng, n) for n in (4, 12, 7)]
    given, _ = drawn(model, prompts)
    reference = copy.deepcopy(model).requires_grad_(False)
    with torch.no_grad():  # the policy has moved: the ratio is not 1, for some replies beyond the clip, nor the KL 0
        for parameter in model.parameters():
            parameter.mul_(1 + 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(3)))
    rows = rl._pack([rl.Prompt(ids, "") for ids in prompts], given, model)
    scores = rl.advantages(rng.random((3, 4)))
    settings = dataclasses.replace(SETTINGS, kl_weight=0.3, temperature=1.3, clip_low=0.05, clip_high=0.05)
    theirs = rl._loss(model, reference, rows, scores, settings)
    theirs.backward()
    ours = Qwen3(model)
    loss = written_out_rl.loss_of(ours, Qwen3(reference), rows, scores, settings)
    assert float(loss) == pytest.approx(theirs.item(), rel=1e-4)
    for parameter, gradient in parameters.pairs(model, ours.gradients):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-3, atol=1e-4 * float(parameter.grad.abs().max()))
    with torch.no_grad():
        new = rl._logps(model, rows, 1.3).gather(-1, rows.target[:, None])[:, 0]
        ratio = torch.exp(rl._mean_by_reply(new - rows.old, rows.reply, 12)) - 1
    clipped = (ratio * torch.from_numpy(scores).flatten() > 0) & (ratio.abs() > 0.05)
    assert 0 < clipped.sum() < 12


def test_rewarded_replies_become_more_probable_and_an_interrupted_run_ends_with_the_same_weights(
    tokenizer, tmp_path  # noqa: F811
):  # fmt: skip
    phases = coin_then("yes", n_tokens=3_000)
    weights, trained = trained_on(phases, tokenizer, tmp_path / "whole.pt", recipe=WRITTEN_OUT)
    rewards = rewards_of(trained)
    assert np.mean(rewards[:3]) < 0.7 and np.mean(rewards[-3:]) > 0.9
    assert trained_on(phases, tokenizer, tmp_path / "again.pt", recipe=WRITTEN_OUT)[0] == weights
    seen = []

    def interrupt(progress):
        seen.append(progress.phase)
        if seen.count("predictions") == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained_on(phases, tokenizer, tmp_path / "cut.pt", recipe=WRITTEN_OUT, report=interrupt)
    resumed, rest = trained_on(phases, tokenizer, tmp_path / "cut.pt", recipe=WRITTEN_OUT)
    assert resumed == weights and rewards_of(rest) == rewards


def test_step_costs_as_much_as_by_transformers(tokenizer, tmp_path):  # noqa: F811
    phases = coin_then("yes", n_tokens=300)
    ours, theirs = (
        trained_on(phases, tokenizer, tmp_path / f"{recipe.implementation}.pt", recipe=recipe)[1]
        for recipe in (WRITTEN_OUT, dataclasses.replace(WRITTEN_OUT, implementation="transformers"))
    )
    assert ours.n_sampled_tokens and ours.flops == pytest.approx(theirs.flops, rel=0.1)


def test_policy_updates_the_weights_that_are_written_to_the_model(model):
    stepper = written_out.WrittenOut(model, 0.0, 1.0)
    muon, adamw = stepper.optimizers
    muon.lr, adamw.param_groups[0]["lr"] = 0.01, 0.01
    policy = stepper.policy(copy.deepcopy(model))
    prompts = [tokens_of(np.random.default_rng(4), n) for n in (4, 9)]
    given = policy.draw(prompts, SETTINGS, 0)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    rows = rl._pack([rl.Prompt(ids, "") for ids in prompts], given, model)
    policy.learn(rows, rl.advantages(np.random.default_rng(5).random((2, 4))), SETTINGS)
    stepper.write()
    assert all(not torch.equal(before[name], value) for name, value in model.state_dict().items())
