"""Tokens per CPU second of training an arm on one core, and its share of the bare matrix products.

Steps of supervised training with the batches of conf/training/cpu.yaml: with Qwen3 written out, with transformers, and with
transformers and torch.optim.Muon, which orthogonalises one matrix after the other, as the first version did; in turn, the
best of three rounds each. The floor is the time of the products alone: three per weight matrix and step in float32, and
those of Muon in stacks. Written out, the last layer and Muon on wide matrices do fewer products than the floor has. Row
`rl`: steps of reinforcement learning from a tuned base, at the one scale where the default study has any. Row `study`: that
study as a whole, by its arms' tokens; here runs of other budgets share the steps before the shorter one decays. `<` marks a
gain below the minimum.
Run: python tests/performance/bench_training.py [n_steps]
"""

import copy
import itertools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir

from replication import settings
from replication.collect import build
from replication.collect.benchmarks import suite
from replication.collect.training import (
    corpora,
    costs,
    curricula,
    loop,
    muon,
    organism,
    rl,
    run_state,
    supervised,
    written_out,
)

MIN_GAIN = {"xs": 2.0, "s": 1.6, "xs rl": 1.5, "study": 2.0}
"""Of all tokens per CPU second, over the first version."""
N_RL_STEPS = 6
BENCHMARKS = tuple((name, (1,)) for name in suite.NAMES)
RL = rl.RlSettings(
    n_prompts=16, group_size=8, n_minibatches=2, temperature=1.0, max_new_tokens=64, clip_low=0.2, clip_high=0.267,
    kl_weight=0.02, exact_weight=0.5,
)  # fmt: skip
RATE = 0.0005
BASES = Path(loop.__file__).parent / "bases"
RECIPE = curricula.TrainingConfig(
    batch_tokens=256, context=1024, warmup_tokens=4_000, decay_share=0.3, adam_share=0.3, weight_decay=0.1, clip=1.0,
    precision="float32", compile=False, save_every_s=30,
)  # fmt: skip


def seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def written(scale: str, batches: list[supervised.Batch]) -> Callable[[], None]:
    stepper = written_out.WrittenOut(organism.load_model(BASES / scale), RECIPE.weight_decay, RECIPE.clip)
    muon, adamw = stepper.optimizers
    muon.lr, adamw.param_groups[0]["lr"] = RATE, RATE

    def work() -> None:
        for step in stepper.learn(batches):
            float(step.loss)

    return work


def training(scale: str, batches: list[supervised.Batch], one_by_one: bool) -> Callable[[], None]:
    model = organism.load_model(BASES / scale).train()
    update = updates(model, one_by_one)

    def work() -> None:
        for step in supervised.learn(model, batches, RECIPE.precision, update):
            float(step.loss)

    return work


def updates(model: torch.nn.Module, one_by_one: bool) -> Callable[[torch.Tensor], None]:
    """Return an optimizer step on a loss, by transformers."""
    optimizers = list(run_state.optimizers_of(model, RECIPE))
    if one_by_one:
        optimizers[0] = torch.optim.Muon(
            matrices(model), lr=RATE, weight_decay=RECIPE.weight_decay, adjust_lr_fn="match_rms_adamw"
        )
    for optimizer in optimizers:
        if isinstance(optimizer, muon.Muon):
            optimizer.lr = RATE
        else:
            optimizer.param_groups[0]["lr"] = RATE

    def update(loss: torch.Tensor) -> None:
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), RECIPE.clip)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()

    return update


def matrices(model: torch.nn.Module) -> list[torch.nn.Parameter]:
    return [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]


def products(scale: str, batches: list[supervised.Batch]) -> Callable[[], None]:
    """Return the products of the steps without anything between them."""
    weights = [p.detach() for p in matrices(organism.load_model(BASES / scale))]
    groups: dict[tuple[int, ...], list[torch.Tensor]] = {}
    for weight in weights:
        groups.setdefault(tuple(sorted(weight.shape)), []).append(weight if muon._is_wide(weight) else weight.T)
    stacks = [torch.stack(part).bfloat16() for group in groups.values() for part in muon._parts(group)]

    def work() -> None:
        for batch in batches:
            for weight in weights:
                x, y = (torch.ones(batch.inputs.size, n) for n in (weight.shape[1], weight.shape[0]))
                _ = x @ weight.T, y @ weight, y.T @ x
            for stack in stacks:
                for _ in range(muon.NS_STEPS):
                    gram = stack @ stack.mT
                    torch.baddbmm(stack, torch.baddbmm(gram, gram, gram), stack)

    return work


def reinforced(
    scale: str, start: dict[str, torch.Tensor], prompts: list[list[rl.Prompt]], is_first: bool
) -> Callable[[], list[float]]:
    """Return steps of reinforcement learning, which return their FLOPs. start : weights."""
    model, tokenizer = organism.load_model(BASES / scale).train(), organism.load_tokenizer(BASES / scale)
    model.load_state_dict(start)
    reference = copy.deepcopy(model).requires_grad_(False)
    if is_first:
        update = updates(model, one_by_one=True)
        policy: rl.Policy = rl.TransformersPolicy(model, reference, update)
    else:
        stepper = written_out.WrittenOut(model, RECIPE.weight_decay, RECIPE.clip)
        muon, adamw = stepper.optimizers
        muon.lr, adamw.param_groups[0]["lr"] = RATE, RATE
        policy = stepper.policy(reference)
    return lambda: [step.flops for step in rl.learn(policy, tokenizer, enumerate(prompts), RL)]


def tuned(scale: str, batches: list[supervised.Batch]) -> dict[str, torch.Tensor]:
    """Return the weights of a base after some fine-tuning: its replies end."""
    model = organism.load_model(BASES / scale)
    stepper = written_out.WrittenOut(model, RECIPE.weight_decay, RECIPE.clip)
    muon, adamw = stepper.optimizers
    muon.lr, adamw.param_groups[0]["lr"] = 0.0025, 0.00075
    for _ in stepper.learn(batches * 5):
        pass
    stepper.write()
    return model.state_dict()


def rl_rates(scale: str, batches: list[supervised.Batch]) -> tuple[float, float]:
    """Return the tokens of compute budget per CPU second, now and in the first version."""
    corpus = corpora.named("predictions", BENCHMARKS)
    tokenizer = organism.load_tokenizer(BASES / scale)
    stream = rl.prompts(corpus, "predictions", RL, RECIPE.context, tokenizer, 0)
    prompts, start = list(itertools.islice(stream, N_RL_STEPS)), tuned(scale, batches)
    rates: tuple[list[float], list[float]] = ([], [])
    for _ in range(3):  # in turn, each time from the same weights, so that replies are as long
        for is_first, found in zip((False, True), rates, strict=True):
            work = reinforced(scale, start, prompts, is_first)
            made: list[float] = []
            spent = seconds(lambda work=work, made=made: made.extend(work()))
            found.append(sum(made) / 6 / costs.flop_counter(organism.load_model(BASES / scale)).n_parameters / spent)
    return max(rates[0]), max(rates[1])


def main(n: int) -> None:
    print("per CPU second; share: of the floor's speed that is reached")
    print(
        f"{'scale':<6} {'tokens':>8} {'transformers':>12} {'first':>8} {'gain':>7} {'floor':>8} {'share':>6} {'first':>6}"
    )
    measured: dict[str, tuple[float, float]] = {}
    study, of_first = study_tokens()
    for scale in ("xs", "s"):
        stream = supervised.batches(
            corpora.named("episodes", BENCHMARKS), "episodes", batch_tokens=RECIPE.batch_tokens, context=RECIPE.context,
            tokenizer=organism.load_tokenizer(BASES / scale), seed=0,
        )  # fmt: skip
        batches = list(itertools.islice(stream, n))
        works = [
            written(scale, batches), training(scale, batches, False), training(scale, batches, True),
            products(scale, batches),
        ]  # fmt: skip
        rounds = [[seconds(work) for work in works] for _ in range(4)][1:]
        n_tokens = sum(batch.n_tokens for batch in batches)
        ours, now, first, floor = (n_tokens / min(times) for times in zip(*rounds, strict=True))
        measured[scale] = ours, first
        row = f"{scale:<6} {ours:8,.0f} {now:12,.0f} {first:8,.0f} {gain(scale, ours, first)} {floor:8,.0f}"
        print(f"{row} {ours / floor:6.2f} {first / floor:6.2f}", flush=True)
        if (name := f"{scale} rl") not in study:
            continue
        measured[name] = ours, first = rl_rates(scale, batches)
        print(f"{name:<6} {ours:8,.0f} {'':12} {first:8,.0f} {gain(name, ours, first)}  tokens of budget", flush=True)
    ours, first = (
        sum(n / measured[name][at] for name, n in tokens.items()) for at, tokens in enumerate((study, of_first))
    )
    print(
        f"study  {1e3 / ours:8,.4f} {'':12} {1e3 / first:8,.4f} {gain('study', 1 / ours, 1 / first)}  per 1,000 CPU s"
    )


def study_tokens() -> tuple[dict[str, int], dict[str, int]]:
    """Return the tokens of compute budget that one training seed of the default study trains, by row of the table.

    Now and in the first version. Phases that arms share are counted once.
    """
    with initialize_config_dir(str(settings.CONF), version_base=None):
        cfg = settings.checked(compose("config", overrides=["study=controlled", "study.training_seeds=[0]"]))
    trained = build.training_runs(cfg)
    phases = {
        repr((run.scale, run.phases[: at + 1])): (f"{run.scale} rl" if phase.rl else run.scale, phase.n_tokens)
        for run in trained
        for at, phase in enumerate(run.phases)
    }
    tokens: dict[str, int] = {}
    for row, n in phases.values():
        tokens[row] = tokens.get(row, 0) + n
    shared = dict(tokens)
    for run in {run.identity: run for run in trained}.values():
        if any(run.is_branch_of(other) for other in trained):
            row = f"{run.scale} rl" if run.phases[-1].rl else run.scale
            shared[row] -= round((1 - run.recipe.decay_share) * run.phases[-1].n_tokens)
    return shared, tokens


def gain(name: str, ours: float, first: float) -> str:
    return f"{ours / first:6.2f}{'<' if ours / first < MIN_GAIN[name] else ' '}"


if __name__ == "__main__":
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)
    settings.register()
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
