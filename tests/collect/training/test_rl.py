"""Reinforcement learning on predictions: the loss against values by hand, the sampler against plain forward passes, and
whole phases: the reward rises in a trivial task, weights repeat with and without interruption, compute meets its budget."""

import copy
import dataclasses
import itertools
import time

import numpy as np
import pytest
import torch
from test_training import BENCHMARKS, RECIPE, SHAPE, Killed, arm_run, base_run

from replication.collect.training import curricula, loop, rl, runs
from replication.collect.training.corpora import Prediction
from replication.collect.training.costs import flop_counter
from replication.collect.training.documents import chat
from replication.collect.training.organism import make_model, make_tokenizer
from replication.collect.training.replies import Replies, choose, draw
from replication.errors import ConfigError, TrainingError
from replication.records import Message, stable_hash

torch.set_num_threads(1)  # as training does: two contended threads are many times slower than one

SETTINGS = rl.RlSettings(
    n_prompts=4, group_size=4, n_minibatches=2, temperature=1.0, max_new_tokens=8, clip_low=0.2, clip_high=0.3,
    kl_weight=0.01, exact_weight=0.5,
)  # fmt: skip


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer(["yes no ok one two three"] * 4, SHAPE.vocabulary)


N_VOCABULARY = 12
"""So few that replies of an untrained model often contain the end mark."""


@pytest.fixture
def model(tokenizer):
    model = make_model(dataclasses.replace(SHAPE, layers=2, heads=2, vocabulary=N_VOCABULARY), tokenizer, 0)
    with torch.no_grad():  # large weights, so that different texts give different probabilities
        for parameter in model.parameters():
            if parameter.ndim == 2:
                parameter.mul_(8)
    return model.eval()


def tokens_of(rng, n):
    return rng.integers(3, N_VOCABULARY, n)


def drawn_by(model, prompts, *, group_size=3, max_new_tokens=10, temperature=1.0, seed=0):
    return draw(
        model, prompts, group_size=group_size, max_new_tokens=max_new_tokens, temperature=temperature,
        generator=torch.Generator().manual_seed(seed),
    )  # fmt: skip


def plain_logps(model, prompt, reply, temperature=1.0):
    """Log-probabilities of a reply's tokens from one forward pass over prompt and reply, without cache or mask."""
    ids = torch.tensor([*prompt, *reply])[None]
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1 : -1]
    return torch.log_softmax(logits / temperature, dim=-1)[torch.arange(len(reply)), torch.tensor(reply)].numpy()


# the loss


def test_advantage_is_the_reward_standardised_within_its_group():
    rewards = np.array([[1.0, 0.0, 0.0, 0.0], [0.2, 0.4, 0.6, 0.8]])
    computed = rl.advantages(rewards)
    np.testing.assert_allclose(computed[0], np.array([3, -1, -1, -1]) / np.sqrt(3), atol=1e-12)
    np.testing.assert_allclose(computed[1], np.array([-3, -1, 1, 3]) / np.sqrt(5), atol=1e-12)


def test_group_without_spread_has_no_advantage():
    assert not rl.advantages(np.array([[0.0] * 4, [1.0] * 4, [0.1 + 0.2] * 4])).any()


def test_gspo_loss_and_gradient_agree_with_the_formulas_on_both_sides_of_the_clip():
    # Replies of 2, 1, 3, 2, 1 and 2 tokens: within the range; too likely and good; too unlikely and good; too likely and
    # bad; too unlikely and bad; within the range and bad.
    old = [[-1.0, -2.0], [-1.5], [-0.5, -0.6, -0.7], [-1.0, -1.0], [-2.0], [-3.0, -0.1]]
    shift = [[0.02, -0.01], [0.3], [-0.5, 0.1, -0.2], [0.5, 0.1], [-0.4], [0.0, 0.0]]
    scores = np.array([0.5, 1.2, 0.7, -0.9, -1.1, -0.4])
    low, high = 0.1, 0.2
    expected, gradients = 0.0, []
    for before, by, score in zip(old, shift, scores, strict=True):
        ratio = np.exp(np.mean(by))
        clipped = min(max(ratio, 1 - low), 1 + high)
        expected -= min(ratio * score, clipped * score) / len(scores)
        counts = float(ratio * score <= clipped * score)
        gradients += [-counts * ratio * score / len(before) / len(scores)] * len(before)
    assert [g != 0 for g in gradients] == [True, True, False, True, True, True, True, True, False, True, True]

    reply = torch.tensor([i for i, tokens in enumerate(old) for _ in tokens])
    before = torch.tensor([x for tokens in old for x in tokens], dtype=torch.float64)
    new = (before + torch.tensor([x for tokens in shift for x in tokens], dtype=torch.float64)).requires_grad_()
    loss = rl.gspo_loss(new, before, reply, torch.tensor(scores), low, high)
    loss.backward()
    assert loss.item() == pytest.approx(expected, abs=1e-12)
    np.testing.assert_allclose(new.grad, gradients, atol=1e-12)


def test_kl_agrees_with_the_formula_and_is_zero_with_a_zero_gradient_at_the_start():
    rng = np.random.default_rng(0)
    reply = torch.tensor([0, 0, 0, 1])
    logits, others = torch.tensor(rng.normal(size=(2, 4, 7)))
    p, q = torch.softmax(logits, -1).numpy(), torch.softmax(others, -1).numpy()
    each = (p * np.log(p / q)).sum(-1)
    computed = rl.kl_loss(torch.log_softmax(logits, -1), torch.log_softmax(others, -1), reply, 2)
    assert computed.item() == pytest.approx((each[:3].mean() + each[3]) / 2, abs=1e-12)

    at = others.clone().requires_grad_()
    start = rl.kl_loss(torch.log_softmax(at, -1), torch.log_softmax(others, -1), reply, 2)
    start.backward()
    assert start.item() == 0.0 and at.grad.abs().max() < 1e-15


def test_kl_pulls_the_policy_back_to_the_reference():
    others = torch.zeros(1, 5)
    at = torch.tensor([[1.0, 0.0, 0.0, 0.0, 0.0]], requires_grad=True)
    rl.kl_loss(torch.log_softmax(at, -1), torch.log_softmax(others, -1), torch.tensor([0]), 1).backward()
    assert at.grad[0, 0] > 0 and (at.grad[0, 1:] < 0).all()


# the sampler


def test_logps_of_drawn_tokens_are_those_of_a_plain_forward_pass(model):
    # Prompts of different lengths, and replies that end at different steps: padding, mask and the leaving out of
    # finished rows must not show.
    rng = np.random.default_rng(1)
    prompts = [tokens_of(rng, n) for n in (5, 30, 17, 1, 8, 9)]
    replies = drawn_by(model, prompts, group_size=4, max_new_tokens=16, temperature=1.3)
    assert len(set(replies.lengths.ravel().tolist())) > 4
    assert (replies.lengths.max(axis=1) < 16).any() and (replies.lengths == 16).any()
    for i, prompt in enumerate(prompts):
        for g in range(4):
            n = replies.lengths[i, g]
            reply = replies.tokens[i, g, :n].tolist()
            np.testing.assert_allclose(replies.logps[i, g, :n], plain_logps(model, prompt, reply, 1.3), atol=2e-5)
            assert model.config.eos_token_id not in reply[:-1]
            assert n == 16 or reply[-1] == model.config.eos_token_id
            assert not replies.logps[i, g, n:].any()
            assert (replies.tokens[i, g, n:] == model.config.pad_token_id).all()


def test_greedy_replies_are_those_of_hugging_face(model):
    rng = np.random.default_rng(2)
    prompts = [tokens_of(rng, n) for n in (4, 11, 7)]
    replies = drawn_by(model, prompts, group_size=2, max_new_tokens=12, temperature=0.0)
    for prompt, tokens, lengths in zip(prompts, replies.tokens, replies.lengths, strict=True):
        ids = torch.tensor(prompt)[None]
        expected = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
        for g in range(2):
            assert tokens[g, : lengths[g]].tolist() == expected[0, len(prompt) :].tolist()


def test_same_seed_samples_the_same_replies_and_another_seed_others(model):
    prompts = [tokens_of(np.random.default_rng(3), n) for n in (6, 6)]
    a, b, c = (drawn_by(model, prompts, seed=seed).tokens for seed in (0, 0, 1))
    assert np.array_equal(a, b) and not (a.shape == c.shape and np.array_equal(a, c))
    assert len({tuple(reply) for reply in a[0]}) > 1  # a group is not one reply over and over


def test_tokens_are_sampled_at_the_rates_of_the_model(model):
    prompt, n = tokens_of(np.random.default_rng(4), 6), 4_000
    with torch.no_grad():
        p = torch.softmax(model(torch.tensor(prompt)[None]).logits[0, -1] / 2.0, dim=-1).numpy()
    replies = drawn_by(model, [prompt], group_size=n, max_new_tokens=1, temperature=2.0)
    share = np.bincount(replies.tokens[0, :, 0], minlength=len(p)) / n
    # Total variation, against its expectation for independent draws: sum of mean absolute deviations of binomials.
    assert np.abs(share - p).sum() == pytest.approx(np.sqrt(2 * p * (1 - p) / np.pi / n).sum(), rel=0.25)


def test_token_of_probability_zero_is_never_sampled():
    logp = torch.log(torch.tensor([[0.0, 0.5, 0.0, 0.5, 0.0]]))
    uniforms = torch.tensor([0.0, 0.4999, 0.5, 0.75, 1 - 2**-24])
    assert choose(logp.expand(5, -1), uniforms).tolist() == [1, 1, 3, 3, 3]


# rows: groups in the form that the update reads


def rows_of(model, prompts, replies):
    return rl._pack([rl.Prompt(ids, "") for ids in prompts], replies, model)


def test_a_row_gives_each_reply_the_logps_it_has_alone(model):
    rng = np.random.default_rng(5)
    prompts = [tokens_of(rng, n) for n in (3, 20, 9)]
    replies = drawn_by(model, prompts, group_size=5, temperature=1.7)
    rows = rows_of(model, prompts, replies)
    with torch.no_grad():
        logps = rl._logps(model, rows, 1.7)
    np.testing.assert_allclose(logps.gather(-1, rows.target[:, None])[:, 0], rows.old, atol=2e-5)
    for i, g in itertools.product(range(3), range(5)):
        mine = rows.reply == 5 * i + g
        reply = rows.target[mine].tolist()
        assert reply == replies.tokens[i, g, : replies.lengths[i, g]].tolist()
        np.testing.assert_allclose(rows.old[mine], plain_logps(model, prompts[i], reply, 1.7), atol=2e-5)
    assert rows.n_tokens == sum(map(len, prompts)) + (replies.lengths - 1).sum()


def test_gradient_of_a_step_is_the_policy_gradient_of_replies_read_one_by_one(model):
    # At the first minibatch the ratio is 1: the gradient is that of -mean(advantage x mean log-probability).
    rng = np.random.default_rng(6)
    prompts = [tokens_of(rng, n) for n in (4, 12)]
    replies = drawn_by(model, prompts, group_size=3, max_new_tokens=6)
    scores = rl.advantages(rng.random((2, 3)))
    rl._loss(model, copy.deepcopy(model), rows_of(model, prompts, replies), scores, SETTINGS).backward()
    computed = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    for i, g in itertools.product(range(2), range(3)):
        reply = replies.tokens[i, g, : replies.lengths[i, g]]
        ids = torch.tensor([*prompts[i], *reply])[None]
        logps = torch.log_softmax(model(ids, use_cache=False).logits[0, len(prompts[i]) - 1 : -1], dim=-1)
        (-scores[i, g] * logps[torch.arange(len(reply)), torch.tensor(reply)].mean() / 6).backward()
    for ours, parameter in zip(computed, model.parameters(), strict=True):
        torch.testing.assert_close(ours, parameter.grad, atol=2e-5, rtol=1e-3)


def test_without_advantages_the_loss_is_the_weighted_kl_to_the_reference(model):
    rng = np.random.default_rng(7)
    prompts = [tokens_of(rng, n) for n in (4, 12)]
    rows = rows_of(model, prompts, drawn_by(model, prompts))
    other = copy.deepcopy(model)
    with torch.no_grad():
        other.model.norm.weight.mul_(0.5)
        p, q = rl._logps(model, rows, 1.0), rl._logps(other, rows, 1.0)
        expected = SETTINGS.kl_weight * rl.kl_loss(p, q, rows.reply, 6)
        computed = rl._loss(model, other, rows, np.zeros((2, 3)), SETTINGS)
    assert computed.item() == pytest.approx(expected.item(), rel=1e-5) and expected > 0


def test_flops_of_a_group_count_each_token_and_each_pair_once(model):
    size = flop_counter(model)
    assert size == (sum(p.numel() for p in model.parameters()), 2 * 2 * 32)
    # A prompt of 10 tokens; replies of 3 and 1 tokens, of which 2 and 0 are fed and see 10 + themselves (by halves).
    computed = rl._forward_flops(size, rl.Prompt(np.arange(10), ""), np.array([3, 1]))
    assert computed == 2 * size.n_parameters * 12 + 4 * size.width * (50 + 2 * 10 + 2)


# steps


def predicting(observation, n=16):
    def corpus(training_seed, block):
        rng = np.random.default_rng([training_seed, block])
        texts = [" ".join(rng.choice(["one", "two", "three"], rng.integers(1, 5))) for _ in range(n)]
        return [Prediction((Message(role="user", content=text),), observation) for text in texts]

    return corpus


def test_step_with_equal_rewards_in_every_group_updates_nothing_and_costs_the_sampling(tokenizer):
    def update(loss):
        raise AssertionError("nothing to learn from")

    model = make_model(SHAPE, tokenizer, 0)
    batches = enumerate(rl.prompts(predicting("zzz"), "p", SETTINGS, 512, tokenizer, 0))
    step = next(rl.learn(rl.TransformersPolicy(model, copy.deepcopy(model), update), tokenizer, batches, SETTINGS))
    assert (float(step.loss), step.reward, step.n_tokens) == (0.0, 0.0, 0)
    assert step.n_sampled_tokens > 0 and step.flops > 0


def test_end_mark_is_left_out_of_the_text_of_a_reply_and_other_special_tokens_are_not(tokenizer):
    def reply(text):
        return np.array([[tokenizer(text, add_special_tokens=False).input_ids]])

    for text, value in [("ok<|im_end|>", 1.0), ("ok", 1.0), ("ok<|im_start|><|im_end|>", 0.0), ("", 0.0)]:
        tokens = reply(text)
        replies = Replies(tokens, np.zeros(tokens.shape), np.array([[tokens.shape[-1]]]))
        assert rl._rewards([rl.Prompt(np.zeros(1), "ok")], replies, tokenizer, 0.5) == [[value]]


def test_reward_mixes_exact_match_and_token_f1(tokenizer):
    tokens = np.array([[tokenizer("one two", add_special_tokens=False).input_ids]])
    replies = Replies(tokens, np.zeros(tokens.shape), np.array([[tokens.shape[-1]]]))
    prompt = rl.Prompt(np.zeros(1), "one three")
    assert rl._rewards([prompt], replies, tokenizer, 0.25) == [[pytest.approx(0.75 * 0.5)]]


def test_prompts_are_rendered_as_a_chat_and_none_is_cut(tokenizer):
    corpus = predicting("yes", n=40)
    tokenized = [
        p for batch in itertools.islice(rl.prompts(corpus, "p", SETTINGS, 512, tokenizer, 0), 10) for p in batch
    ]
    chats = [[{"role": "user", "content": p.messages[0].content}] for p in corpus(0, 0)]
    expected = [tokenizer.apply_chat_template(m, tokenize=False, add_generation_prompt=True) for m in chats]
    assert sorted(tokenizer.decode(p.ids) for p in tokenized) == sorted(expected)

    longest = max(len(p.ids) for p in tokenized)
    fitting = next(rl.prompts(corpus, "p", SETTINGS, longest + SETTINGS.max_new_tokens - 1, tokenizer, 0))
    assert max(len(p.ids) for p in fitting) < longest
    with pytest.raises(TrainingError, match=r"no prediction of `p`.*Raise `max_new_tokens`"):
        next(rl.prompts(predicting("one two three one two three"), "p", SETTINGS, 512, tokenizer, 0))


@pytest.mark.parametrize(
    "change",
    [{"group_size": 1}, {"n_minibatches": 0}, {"temperature": 0.0}, {"exact_weight": 1.5}, {"max_new_tokens": 0}],
)
def test_settings_without_a_gradient_or_with_rewards_outside_their_range_are_rejected(change):
    with pytest.raises(ConfigError, match=next(iter(change))):
        dataclasses.replace(SETTINGS, **change)


# whole phases


def coin(training_seed, block):
    rng = np.random.default_rng([training_seed, block])
    return [
        chat(
            [
                Message(role="user", content=p.messages[0].content),
                Message(role="assistant", content=str(rng.choice(["yes", "no"]))),
            ],
            [False, True],
        )
        for p in predicting("yes", n=64)(training_seed, block)
    ]


def coin_then(observation, n_tokens=1_000):
    """A phase that teaches to say yes or no at random, and one that rewards one of them."""
    return [
        curricula.Phase(name="coin", corpus=coin, n_tokens=8_000, lr=0.03),
        curricula.Phase(name="predictions", corpus=predicting(observation), n_tokens=n_tokens, lr=0.02, rl=SETTINGS),
    ]


def trained_on(phases, tokenizer, state_file, seed=0, recipe=RECIPE, report=lambda now: None):
    model = make_model(SHAPE, tokenizer, 0)
    curriculum = curricula.Curriculum(phases=phases, recipe=recipe, training_seed=seed)
    trained = loop.train(model, tokenizer, curriculum, state_file, report=report)
    return stable_hash([p.tolist() for p in model.parameters()]), trained


def rewards_of(trained):
    return [row["reward"] for row in trained.curve if row["phase"] == "predictions"]


def test_step_counts_one_pass_for_all_replies_and_four_for_those_it_learns_from(tokenizer, tmp_path):
    model = make_model(SHAPE, tokenizer, 0)
    curriculum = curricula.Curriculum(phases=coin_then("yes")[:1], recipe=RECIPE, training_seed=0)
    loop.train(model, tokenizer, curriculum, tmp_path / "state.pt")
    batch = next(rl.prompts(predicting("yes"), "p", SETTINGS, 512, tokenizer, 0))
    replies = drawn_by(model, [p.ids for p in batch], group_size=4, max_new_tokens=8, seed=5)
    rewards = rl._rewards(batch, replies, tokenizer, SETTINGS.exact_weight)
    each = [rl._forward_flops(flop_counter(model), *group) for group in zip(batch, replies.lengths, strict=True)]
    fed = [len(prompt.ids) + int((n - 1).sum()) for prompt, n in zip(batch, replies.lengths, strict=True)]
    live = rewards.std(axis=1) > 0
    assert 0 < live.sum() < len(batch)

    policy = rl.TransformersPolicy(model, copy.deepcopy(model), lambda loss: None)
    step = next(rl.learn(policy, tokenizer, [(5, batch)], SETTINGS))
    assert step.flops == sum(each) + 4 * np.sum(each, where=live)
    assert step.n_tokens == np.sum(fed, where=live)
    assert step.n_sampled_tokens == replies.lengths.sum() and step.reward == rewards.mean()


def test_every_step_samples_new_replies(tokenizer, tmp_path):
    same = Prediction((Message(role="user", content="one"),), "yes")
    coins, reinforcement = coin_then("yes")
    repeated = dataclasses.replace(reinforcement, corpus=lambda training_seed, block: [same] * 16, lr=0.0)
    _, trained = trained_on([coins, repeated], tokenizer, tmp_path / "state.pt")
    assert len(set(rewards_of(trained))) > 1


@pytest.mark.parametrize("observation", ["yes", "no"])
def test_rewarded_replies_become_more_probable(tokenizer, tmp_path, observation):
    _, trained = trained_on(coin_then(observation, n_tokens=3_000), tokenizer, tmp_path / "state.pt")
    rewards = rewards_of(trained)
    assert np.mean(rewards[:3]) < 0.7 and np.mean(rewards[-3:]) > 0.9
    assert {row["reward"] for row in trained.curve if row["phase"] == "coin"} == {None}
    assert trained.n_sampled_tokens > 0 and trained.joules is None


def test_same_seed_gives_the_same_weights_and_another_seed_others(tokenizer, tmp_path):
    (a, first), (b, _), (c, _) = (
        trained_on(coin_then("yes"), tokenizer, tmp_path / "state.pt", seed) for seed in (0, 0, 1)
    )
    assert a == b != c
    assert max(rewards_of(first)) > 0 and len(rewards_of(first)) > 3


@pytest.mark.parametrize("n_steps", [1, 3])
def test_interrupted_reinforcement_ends_with_the_weights_of_an_uninterrupted_one(tokenizer, tmp_path, n_steps):
    whole, undisturbed = trained_on(coin_then("yes"), tokenizer, tmp_path / "whole.pt")
    recipe = dataclasses.replace(RECIPE, save_every_s=0.0)
    seen = []

    def kill(progress):
        seen.append(progress.phase)
        time.sleep(0.002)  # so that the next step is a moment later and the state is saved
        if seen.count("predictions") > n_steps:
            raise Killed

    with pytest.raises(Killed):
        trained_on(coin_then("yes"), tokenizer, tmp_path / "cut.pt", 0, recipe, kill)
    resumed = []
    cut, trained = trained_on(
        coin_then("yes"), tokenizer, tmp_path / "cut.pt", 0, recipe, lambda now: resumed.append(now.phase)
    )
    assert cut == whole
    assert trained[:3] == undisturbed[:3] and rewards_of(trained) == rewards_of(undisturbed)
    assert set(resumed) == {"predictions"} and n_steps + len(resumed) == len(rewards_of(undisturbed))


def test_compute_is_matched_to_within_one_step(tokenizer, tmp_path):
    sft, reinforcement = (dataclasses.replace(p, n_tokens=1_500) for p in coin_then("yes"))
    phases = [sft, reinforcement]
    size = flop_counter(make_model(SHAPE, tokenizer, 0))
    for order in (phases, phases[::-1], phases[:1] * 2, phases[1:] * 2):
        largest_batch = 3 * size.forward(RECIPE.batch_tokens, RECIPE.batch_tokens**2 / 2)
        # Prompts here have fewer than 64 tokens; drawing, reference, forward and backward are five forward passes.
        largest = np.full(SETTINGS.group_size, SETTINGS.max_new_tokens)
        largest_draw = 5 * SETTINGS.n_prompts * rl._forward_flops(size, rl.Prompt(np.zeros(64), ""), largest)
        _, trained = trained_on(order, tokenizer, tmp_path / "state.pt")
        budget = 6 * size.n_parameters * 3_000
        assert budget <= trained.flops < budget + max(largest_batch, largest_draw)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    runs.execute(base_run(), folder, lambda progress: None)
    return folder


def rl_run(base, corpus="predictions", **changes):
    short = dataclasses.replace(SETTINGS, group_size=8, max_new_tokens=16)
    phases = (
        runs.PhasePlan(corpus="transitions", benchmarks=BENCHMARKS[1:], n_tokens=30_000, lr=0.02),
        runs.PhasePlan(corpus=corpus, benchmarks=BENCHMARKS[1:], n_tokens=10_000, lr=0.005, rl=short),
    )
    return arm_run(base, arm="sft_then_lwm_rl", phases=phases, **changes)


@pytest.mark.slow
def test_arm_and_placebo_are_executed_and_recorded(base, tmp_path):
    arm = runs.execute(rl_run(base), tmp_path / "arm", lambda p: None)
    placebo = runs.execute(rl_run(base, "predictions_shuffled"), tmp_path / "placebo", lambda p: None)
    assert arm.weights_sha256 != placebo.weights_sha256
    for record, folder in ((arm, tmp_path / "arm"), (placebo, tmp_path / "placebo")):
        header, *rows = (folder / "curve.csv").read_text().splitlines()
        assert header == "step,phase,n_tokens,loss,lr,wall_s,reward"
        assert all(row.endswith(",") == (",transitions," in row) for row in rows)
        assert max(float(row.rsplit(",", 1)[1]) for row in rows if ",predictions" in row) > 0
        assert record.n_sampled_tokens > 0 and record.joules is None
        assert [p.get("rl", {}).get("group_size") for p in record.phases] == [None, 8]


def test_settings_of_reinforcement_make_another_training_run(base):
    run = rl_run(base)
    other = dataclasses.replace(run.phases[1], rl=dataclasses.replace(run.phases[1].rl, kl_weight=0.5))
    changed = dataclasses.replace(run, phases=(run.phases[0], other))
    assert len({run.identity, changed.identity, rl_run(base, "predictions_shuffled").identity}) == 3


def test_identity_of_a_run_written_out_has_the_version_of_its_roundings(base, monkeypatch):
    def identities(implementation):
        recipe = dataclasses.replace(RECIPE, implementation=implementation)
        run = rl_run(base, recipe=recipe)
        return dataclasses.replace(run, phases=run.phases[:1]).identity, run.identity

    before = identities("written_out"), identities("transformers")
    monkeypatch.setitem(runs.ROUNDINGS, "written_out", runs.ROUNDINGS["written_out"] + 1)
    after = identities("written_out"), identities("transformers")
    assert not set(before[0]) & set(after[0]) and before[1] == after[1]
