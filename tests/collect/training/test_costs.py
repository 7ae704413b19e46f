"""FLOPs against a count by hand over layers, heads and positions, and against those that PyTorch counts."""

import dataclasses

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from replication.collect.training import rl, supervised
from replication.collect.training.costs import FlopCounter, flop_counter
from replication.collect.training.organism import Shape, make_model, make_tokenizer

SHAPE = Shape(hidden=48, layers=3, heads=4, kv_heads=2, head_dim=16, intermediate=80, vocabulary=300, context=512)
BACKWARD = 2
"""Forward passes that a backward pass costs: gradients of the inputs and of the weights."""


@pytest.fixture(scope="module")
def model():
    return make_model(SHAPE, make_tokenizer(["yes no"] * 4, SHAPE.vocabulary), 0)


def flops_by_hand(n_parameters, keys_seen):
    """FLOPs of a forward pass in which the token i attends to `keys_seen[i]` tokens: a multiplication and an addition
    each for every parameter, and per layer and head for every dimension of a score and of a weighted value."""
    flops = 0
    for n_keys in keys_seen:
        flops += 2 * n_parameters
        for _layer in range(SHAPE.layers):
            for _head in range(SHAPE.heads):
                score = 2 * SHAPE.head_dim * n_keys
                weighted_values = 2 * SHAPE.head_dim * n_keys
                flops += score + weighted_values
    return flops


def causal(n, before=0):
    """Keys that each of `n` tokens in a row sees, itself included, after `before` others."""
    return [before + i + 1 for i in range(n)]


def supervised_batch(n_documents, n_tokens):
    ids = np.zeros((n_documents, n_tokens), dtype=np.int64)
    return supervised.Batch(ids, ids, ids.size, (n_tokens,) * n_documents)


def test_a_models_dimensions_are_its_parameters_and_layers_times_heads_times_head_dim(model):
    assert flop_counter(model) == (sum(p.numel() for p in model.parameters()), 3 * 4 * 16)


@pytest.mark.parametrize("n_tokens", [100, 400])
def test_flops_of_a_forward_pass_are_those_that_pytorch_counts(model, n_tokens):
    # PyTorch counts matrix products only, of all pairs, masked or not: no norms, and the tied embedding once.
    matrices = sum(p.numel() for p in model.parameters() if p.ndim == 2)
    model.config._attn_implementation = "eager"
    with FlopCounterMode(display=False) as measured, torch.no_grad():
        model(input_ids=torch.zeros((2, n_tokens), dtype=torch.long), use_cache=False)
    model.config._attn_implementation = "sdpa"
    counter = flop_counter(model)._replace(n_parameters=matrices)
    assert counter.forward(2 * n_tokens, 2 * n_tokens**2) == measured.get_total_flops()


@pytest.mark.parametrize("only", ["attention", "parameters", "both"])
def test_flops_of_a_supervised_step_are_those_counted_by_hand(only):
    # Parameters are counted exactly; of attention the diagonal is counted by half: 1 / (n + 1) too few pairs.
    n_documents, n_tokens = 3, 200
    counter = FlopCounter(0 if only == "attention" else 5_000, 0 if only == "parameters" else 3 * 4 * 16)
    by_hand = (1 + BACKWARD) * n_documents * flops_by_hand(
        counter.n_parameters, causal(n_tokens) if counter.width else [0] * n_tokens
    )  # fmt: skip
    found = supervised.step_flops(counter, supervised_batch(n_documents, n_tokens))
    assert found == pytest.approx(by_hand, rel=0 if only == "parameters" else 0.01)


def test_padding_is_not_counted_as_tokens():
    batch = supervised_batch(2, 10)._replace(n_tokens=13)
    assert supervised.step_flops(FlopCounter(7, 0), batch) == 3 * 2 * 7 * 13


def test_step_of_supervised_learning_reports_these_flops(model):
    batch = supervised_batch(2, 12)
    (step,) = supervised.learn(model, [batch], "float32", lambda loss: None)
    assert step.flops == supervised.step_flops(flop_counter(model), batch) and step.n_tokens == 24


@pytest.mark.parametrize("n_parameters", [0, 5_000])
@pytest.mark.parametrize("lengths", [[80, 60, 100], [1, 1], [40]])
def test_flops_of_a_group_are_those_of_its_prompt_once_and_of_each_reply_without_its_last_token(n_parameters, lengths):
    # By sampling: the prompt fills the cache; each later token sees the prompt, the reply so far, and itself.
    n_prompt = 150
    keys_seen = causal(n_prompt) + [keys for n in lengths for keys in causal(n - 1, before=n_prompt)]
    found = rl._forward_flops(
        FlopCounter(n_parameters, 3 * 4 * 16), rl.Prompt(np.zeros(n_prompt), ""), np.array(lengths)
    )
    assert found == pytest.approx(flops_by_hand(n_parameters, keys_seen), rel=0.01)


def test_step_of_reinforcement_costs_sampling_reference_forward_and_backward_pass():
    # Few tokens, so that some replies end at once: these are right, and both groups have unequal rewards.
    tokenizer = make_tokenizer(["yes no"] * 4, 300)
    model, reference = (make_model(dataclasses.replace(SHAPE, vocabulary=6), tokenizer, 0) for _ in range(2))
    settings = rl.RlSettings(
        n_prompts=2, group_size=16, n_minibatches=1, temperature=1.0, max_new_tokens=8, clip_low=0.2, clip_high=0.3,
        kl_weight=0.01, exact_weight=1.0,
    )  # fmt: skip
    batch = [rl.Prompt(np.full(200, 3), "")] * 2
    policy = rl.TransformersPolicy(model, reference, lambda loss: None)
    (step,) = rl.learn(policy, tokenizer, [(0, batch)], settings)
    n_fed = step.n_sampled_tokens - 2 * settings.group_size
    assert step.n_tokens == 2 * 200 + n_fed and n_fed > 50
    forward = flops_by_hand(flop_counter(model).n_parameters, 2 * causal(200) + [203] * n_fed)
    sampling = of_the_reference = forward
    assert step.flops == pytest.approx(sampling + of_the_reference + (1 + BACKWARD) * forward, rel=0.02)
