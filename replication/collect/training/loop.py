"""The training loop: phases with an objective each, Muon and AdamW, resumable to the same final weights."""

import copy
import io
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from replication import files, processes
from replication.collect.training import rl, supervised
from replication.collect.training.corpora import Corpus, Predictions
from replication.collect.training.costs import StepResult, flop_counter
from replication.collect.training.documents import Counts
from replication.collect.training.muon import Muon
from replication.collect.training.rl import RlSettings
from replication.collect.training.written_out import WrittenOut
from replication.errors import ConfigError
from replication.records import Json, stable_seed

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM


STATE_VERSION = 2
"""Of the saved state of an unfinished run."""

UNREAD = 50
"""Steps on a GPU whose losses are read together."""


@dataclass(frozen=True, kw_only=True)
class Phase:
    """A stretch of training on one corpus with one objective and one learning-rate schedule."""

    name: str
    corpus: Corpus | Predictions
    n_tokens: int
    """Compute budget, as the tokens that 6 x parameters FLOPs each would pay for. Attention, sampling and the reference
    model of reinforcement learning are charged to it too, so fewer tokens are read. Arms of one scale with equal sums
    of budgets are matched in compute to within one step, for any objectives."""
    lr: float
    """Peak rate; AdamW runs at `adam_share` of it."""
    rl: RlSettings | None = None
    """None: supervised learning of the marked spans of documents. Otherwise reinforcement learning on predictions."""


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Optimization settings, the same for every arm."""

    batch_tokens: int
    context: int
    """Longer documents are left out of the corpus, never cut."""
    warmup_share: float
    decay_share: float
    adam_share: float
    weight_decay: float
    clip: float
    precision: str
    """float32, or bfloat16 for the matrix products (weights and sums stay float32)."""
    compile: bool
    """Whether the model is compiled: pays after a minute of training; needs a C++ compiler on the CPU."""
    save_every_s: float
    implementation: str = field(default="transformers", metadata={"omit_default": True})
    """Of supervised steps: transformers, or `written_out` (float32 on a CPU): faster, other roundings; see qwen3.py."""
    optimizer: str = field(default="muon", metadata={"omit_default": True})
    """muon: for matrices, with AdamW for the other parameters; adamw: for all."""
    threads: int = field(default=1, metadata={"omit_default": True})
    """CPU threads: another number gives sums of another order."""

    def __post_init__(self) -> None:
        """Reject what the written-out implementation cannot do."""
        is_other = self.compile or self.precision != "float32" or self.optimizer != "muon"
        if self.implementation == "written_out" and is_other:
            raise ConfigError(
                f"`training.implementation` is `written_out`, which computes in float32 with Muon and is not compiled; got "
                f"precision {self.precision}, optimizer {self.optimizer}, compile {self.compile}. Use "
                f"`training.implementation=transformers`."
            )


@dataclass(frozen=True, kw_only=True)
class Curriculum:
    """The phases of a training run in order, their optimization settings, and the seed of all random numbers."""

    phases: Sequence[Phase]
    recipe: TrainingConfig
    training_seed: int


class Progress(NamedTuple):
    """State of a training run after a step, for the progress bar."""

    phase: str
    n_tokens: int
    """Budget spent so far; see `Phase.n_tokens`."""
    loss: float


class Trained(NamedTuple):
    """Costs and learning curve of a training run."""

    n_tokens: int
    """Tokens in forward and backward passes, without padding."""
    n_sampled_tokens: int
    """New tokens drawn by reinforcement learning."""
    flops: float
    """All computation, including attention, sampling and reference models; see costs.py."""
    wall_s: float
    joules: float | None
    """None without a meter, or where it was not this run's alone."""
    curve: list[dict[str, Json]]
    """One row per step: step, phase, n_tokens, loss, lr, wall_s, reward. `loss` is None where no token was in the loss."""
    documents: Sequence[Mapping[str, Mapping[str, int]]]
    """For each phase; see `documents.Counts`."""


UNTRAINED = Trained(0, 0, 0.0, 0.0, 0.0, [], [])


class Start(NamedTuple):
    """Phases that another training run has completed: the model is that run's, and its costs are counted."""

    n_phases: int
    trained: Trained


def train(
    model: "Qwen3ForCausalLM",
    tokenizer: "PreTrainedTokenizerFast",
    curriculum: Curriculum,
    state_file: Path,
    *,
    report: Callable[[Progress], None] = lambda progress: None,
    energy: Callable[[], float | None] = lambda: None,
    start: Start | None = None,
) -> Trained:
    """Train the model in place, phase after phase; with a `start`, from the first phase it has not completed.

    The state is saved every `save_every_s` seconds. A run that finds a state file resumes from it and, in float32 on
    one CPU thread, ends with the same weights as one that was never interrupted.

    energy : reads an energy meter, joules; returns None without one.
    """
    phases, recipe = curriculum.phases, curriculum.recipe
    n_completed, before = start or Start(0, UNTRAINED)
    run = _Run(model, tokenizer, curriculum, before, energy)
    state = _load_state(state_file)
    if state is not None and state["phase"] < n_completed:
        state = None  # the start has completed more phases than the interrupted run
    first = n_completed if state is None else state["phase"]
    model.train()
    if recipe.compile:
        model.model.compile(dynamic=True)
    # Budgets accumulate: the overshoot of one phase is charged to the next, so the sum is exact to within one step.
    token_flops = 6.0 * flop_counter(model).n_parameters
    ends = list(itertools.accumulate(token_flops * phase.n_tokens for phase in phases))
    total = sum(phase.n_tokens for phase in phases)
    for number in range(first, len(phases)):
        run.begin(number)
        if state is not None:
            run.restore(state)
            state = None
        steps = run.steps()
        saved_at = run.clock = time.monotonic()
        try:
            while run.flops < ends[number]:
                share = (run.flops - run.start_flops) / (ends[number] - run.start_flops)
                with processes.signals_deferred():  # half a step cannot be saved
                    run.take(steps, phases[number].lr * _schedule(share, recipe))
                if run.shown is not None:
                    report(Progress(phases[number].name, min(total, round(run.flops / token_flops)), run.shown))
                if run.clock - saved_at > recipe.save_every_s:
                    saved_at = run.clock
                    _save_state(state_file, run.state())
        except KeyboardInterrupt:
            _save_state(state_file, run.state())
            raise
        run.finish()
    model.eval()
    return run.trained()


def _schedule(share: float, recipe: TrainingConfig) -> float:
    """Return the learning rate as a share of its peak, at a share of the phase: warm-up, plateau, decay to 5 %."""
    if share < recipe.warmup_share:
        return max(share / recipe.warmup_share, 0.02)
    left = 1.0 - share
    return 1.0 if left > recipe.decay_share else 0.05 + 0.95 * max(left, 0.0) / recipe.decay_share


def _optimizers(model: "Qwen3ForCausalLM", recipe: TrainingConfig) -> "tuple[Muon, torch.optim.AdamW]":
    import torch

    if recipe.optimizer == "adamw":
        every = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=recipe.weight_decay)
        return Muon([], 0.0), every
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    return Muon(matrices, recipe.weight_decay), torch.optim.AdamW(others, betas=(0.9, 0.95), weight_decay=0.0)


class _Run:
    """State of a training run between two steps: weights, optimizers and costs so far."""

    def __init__(
        self,
        model: "Qwen3ForCausalLM",
        tokenizer: "PreTrainedTokenizerFast",
        curriculum: Curriculum,
        before: Trained,
        energy: Callable[[], float | None],
    ) -> None:
        self.model, self.tokenizer, self.curriculum = model, tokenizer, curriculum
        self.n_tokens, self.n_sampled_tokens, self.flops, self.wall_s = before[:4]
        self.joules, self.curve, self.documents = before.joules, list(before.curve), list(before.documents)
        self.unread: list[tuple[dict[str, Json], torch.Tensor]] = []
        """Last rows of the curve with their losses, which are not yet written into them."""
        self.shown: float | None = None
        """Loss of the latest step, if it was read: on a GPU every step would wait for it."""
        self.energy, self.metered = energy, energy()
        self.clock = time.monotonic()

    def begin(self, number: int) -> None:
        """Enter a phase: new optimizers and, for reinforcement learning, a reference model with the current weights."""
        self.number, self.phase = number, self.curriculum.phases[number]
        self.n_steps, self.start_flops = 0, self.flops
        self.counts: Counts = {}
        self.documents.append(self.counts)
        recipe = self.curriculum.recipe
        written_out = recipe.implementation == "written_out" and self.phase.rl is None
        self.written_out = WrittenOut(self.model, recipe.weight_decay, recipe.clip) if written_out else None
        self.optimizers = self.written_out.optimizers if self.written_out else _optimizers(self.model, recipe)
        self.reference = copy.deepcopy(self.model).requires_grad_(False) if self.phase.rl else None

    def finish(self) -> None:
        """Give the model the weights of now."""
        if self.written_out:
            self.written_out.write()

    def state(self) -> dict[str, Any]:
        """Return the state that `restore` takes; `torch.save` can write it."""
        self._read_losses()
        self.finish()
        return {
            "version": STATE_VERSION, "phase": self.number, "step": self.n_steps, "begun": self.start_flops,
            "seconds": self.wall_s, "joules": self._joules(), "n_tokens": self.n_tokens,
            "n_sampled_tokens": self.n_sampled_tokens, "flops": self.flops, "curve": self.curve,
            "documents": self.documents, "model": self.model.state_dict(),
            "reference": self.reference.state_dict() if self.reference else None,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Return to a saved state within the current phase."""
        self.model.load_state_dict(state["model"])
        if self.written_out:
            self.written_out.read()
        if self.reference:
            self.reference.load_state_dict(state["reference"])
        muon, adamw = self.optimizers
        muon.load_state_dict(state["optimizers"][0])
        adamw.load_state_dict(state["optimizers"][1])
        self.n_steps, self.start_flops, self.wall_s, self.joules = (
            state[k] for k in ("step", "begun", "seconds", "joules")
        )
        self.n_tokens, self.n_sampled_tokens = state["n_tokens"], state["n_sampled_tokens"]
        self.flops, self.curve, self.documents = state["flops"], state["curve"], state["documents"]
        self.counts = state["documents"][-1]

    def set_rate(self, rate: float) -> None:
        """Set the learning rates of Muon and, at `adam_share` of it, AdamW."""
        muon, adamw = self.optimizers
        muon.lr = rate
        adamw.param_groups[0]["lr"] = rate * self.curriculum.recipe.adam_share

    def steps(self) -> Iterator[StepResult]:
        """Continue the current phase after its first `n_steps` steps; each `next` makes one step."""
        phase, recipe, seed = self.phase, self.curriculum.recipe, self.curriculum.training_seed
        if phase.rl is None:
            documents = cast(Corpus, phase.corpus)  # a phase without `rl` has a corpus of documents
            stream = supervised.batches(
                documents, phase.name, batch_tokens=recipe.batch_tokens, context=recipe.context,
                tokenizer=self.tokenizer, seed=seed, counts=self.counts,
            )  # fmt: skip
            stream = itertools.islice(stream, self.n_steps, None)
            if self.written_out:
                return self.written_out.learn(stream)
            return supervised.learn(self.model, stream, recipe.precision, self._update)
        assert self.reference is not None  # `begin` creates one for every phase with `rl`
        predictions = cast(Predictions, phase.corpus)  # a phase with `rl` has a corpus of predictions
        prompts = enumerate(
            rl.prompts(predictions, phase.name, phase.rl, recipe.context, self.tokenizer, seed, self.counts)
        )
        seeded = (
            (stable_seed("replies", seed, self.number, n), batch)
            for n, batch in itertools.islice(prompts, self.n_steps, None)
        )
        return rl.learn(self.model, self.reference, self.tokenizer, seeded, phase.rl, self._update)

    def take(self, steps: Iterator[StepResult], rate: float) -> None:
        """Make a step at this rate and record it."""
        self.set_rate(rate)
        self.record(next(steps), rate)

    def record(self, step: StepResult, rate: float) -> None:
        """Add the costs of a step and its row of the curve."""
        now = time.monotonic()
        self.wall_s += now - self.clock
        self.clock = now
        self.n_steps += 1
        self.n_tokens += step.n_tokens
        self.n_sampled_tokens += step.n_sampled_tokens
        self.flops += step.flops
        self.curve.append(
            {
                "step": len(self.curve), "phase": self.phase.name, "n_tokens": self.n_tokens,
                "loss": None, "lr": round(rate, 8), "wall_s": round(self.wall_s, 3),
                "reward": None if step.reward is None else round(step.reward, 6),
            }
        )  # fmt: skip
        self.shown = None
        if step.loss is not None:
            self.unread.append((self.curve[-1], step.loss))
            if step.loss.device.type == "cpu" or len(self.unread) == UNREAD:
                self.shown = self._read_losses()

    def _read_losses(self) -> float | None:
        """Write the losses of the latest steps into the curve and return the last; waits for a GPU to compute them."""
        import torch

        if not self.unread:
            return None
        losses: list[float] = torch.stack([loss for _, loss in self.unread]).tolist()
        for (row, _), loss in zip(self.unread, losses, strict=True):
            row["loss"] = round(loss, 6)
        self.unread = []
        return losses[-1]

    def trained(self) -> Trained:
        """Return the costs and the curve so far."""
        self._read_losses()
        costs = self.n_tokens, self.n_sampled_tokens, self.flops, self.wall_s, self._joules()
        return Trained(*costs, self.curve, self.documents)

    def _joules(self) -> float | None:
        now = self.energy()
        if self.joules is None or self.metered is None or now is None:
            return None  # and so it stays: the energy of a part says nothing about the whole
        return self.joules + (now - self.metered)

    def _update(self, loss: "torch.Tensor") -> None:
        import torch

        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.curriculum.recipe.clip)
        for optimizer in self.optimizers:
            optimizer.step()
        self.model.zero_grad()


def _save_state(path: Path, state: dict[str, Any]) -> None:
    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer)
    files.write_bytes(path, buffer.getvalue())


def _load_state(path: Path) -> dict[str, Any] | None:
    import torch

    if not path.exists():
        return None
    state = torch.load(path, weights_only=False)
    # The state of an older version of this package is not continued: the run starts anew and ends with the same weights.
    return state if state.get("version") == STATE_VERSION else None
