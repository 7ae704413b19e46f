"""Tokens per CPU second of training an arm on one core, and its share of the bare matrix products.

Steps of supervised training with the batches of conf/training/cpu.yaml, once as they are and once with torch.optim.Muon,
which orthogonalises one matrix after the other; in turn, the best of three rounds each. The floor is the time of the
products alone: three per weight matrix and step in float32, and those of Muon in stacks. `<` marks a gain below the minimum.
Run: python tests/performance/bench_training.py [n_steps]
"""

import itertools
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch

from replication.collect.benchmarks import suite
from replication.collect.training import corpora, loop, muon, organism, supervised

MIN_GAIN = 1.2
"""Of all tokens per CPU second, by stacked products in Muon."""
BASES = Path(loop.__file__).parent / "bases"
RECIPE = loop.TrainingConfig(
    batch_tokens=256, context=1024, warmup_share=0.02, decay_share=0.3, adam_share=0.3, weight_decay=0.1, clip=1.0,
    precision="float32", compile=False, save_every_s=30,
)  # fmt: skip


def seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def training(scale: str, batches: list[supervised.Batch], one_by_one: bool) -> Callable[[], None]:
    model = organism.load_model(BASES / scale).train()
    optimizers = list(loop._optimizers(model, RECIPE))
    if one_by_one:
        optimizers[0] = torch.optim.Muon(
            matrices(model), lr=1.0, weight_decay=RECIPE.weight_decay, adjust_lr_fn="match_rms_adamw"
        )
    for optimizer in optimizers:
        if isinstance(optimizer, muon.Muon):
            optimizer.lr = 0.0005
        else:
            optimizer.param_groups[0]["lr"] = 0.0005

    def update(loss: torch.Tensor) -> None:
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), RECIPE.clip)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()

    def work() -> None:
        for step in supervised.learn(model, batches, RECIPE.precision, update):
            float(step.loss)

    return work


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


def main(n: int) -> None:
    print(f"{'scale':<6} {'tokens/s':>10} {'one by one':>11} {'gain':>7} {'floor':>10} {'share':>7}   (per CPU second)")
    benchmarks = tuple((name, (1,)) for name in suite.NAMES)
    for scale in ("xs", "s"):
        stream = supervised.batches(
            corpora.named("episodes", benchmarks), "episodes", batch_tokens=RECIPE.batch_tokens, context=RECIPE.context,
            tokenizer=organism.load_tokenizer(BASES / scale), seed=0,
        )  # fmt: skip
        batches = list(itertools.islice(stream, n))
        works = [training(scale, batches, False), training(scale, batches, True), products(scale, batches)]
        rounds = [[seconds(work) for work in works] for _ in range(4)][1:]
        n_tokens = sum(batch.n_tokens for batch in batches)
        ours, theirs, floor = (n_tokens / min(times) for times in zip(*rounds, strict=True))
        mark = "<" if ours / theirs < MIN_GAIN else " "
        row = f"{scale:<6} {ours:10,.0f} {theirs:11,.0f} {ours / theirs:6.2f}{mark} {floor:10,.0f} {ours / floor:7.2f}"
        print(row, flush=True)


if __name__ == "__main__":
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 40)
