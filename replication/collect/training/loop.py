"""The training loop: phases with an objective each, Muon and AdamW, resumable to the same final weights."""

import copy
import functools
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

    from replication.collect.training.ahead import Ahead
    from replication.collect.training.stacked import Slot, Stack


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
    """Of supervised steps: transformers, or, faster and with other roundings, `written_out` (float32 on a CPU; see
    qwen3.py) or `stacked` (several runs at once, for GPUs; see stacked.py)."""
    optimizer: str = field(default="muon", metadata={"omit_default": True})
    """muon: for matrices, with AdamW for the other parameters; adamw: for all."""
    threads: int = field(default=1, metadata={"omit_default": True})
    """CPU threads: another number gives sums of another order."""

    def __post_init__(self) -> None:
        """Reject what an implementation cannot do."""
        is_other = self.compile or self.optimizer != "muon"
        if self.implementation == "written_out" and (is_other or self.precision != "float32"):
            raise ConfigError(
                f"`training.implementation` is `written_out`, which computes in float32 with Muon and is not compiled; got "
                f"precision {self.precision}, optimizer {self.optimizer}, compile {self.compile}. Use "
                f"`training.implementation=transformers`."
            )
        if self.implementation == "stacked" and is_other:
            raise ConfigError(
                f"`training.implementation` is `stacked`, which has Muon and is not compiled; got optimizer "
                f"{self.optimizer}, compile {self.compile}. Use `training.implementation=transformers`."
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
    """One row per step: step, phase, n_tokens, loss, lr, wall_s, reward."""
    documents: Sequence[Mapping[str, Mapping[str, int]]]
    """For each phase; see `documents.Counts`."""


UNTRAINED = Trained(0, 0, 0.0, 0.0, 0.0, [], [])


class Start(NamedTuple):
    """Phases that another training run has completed: the model is that run's, and its costs are counted."""

    n_phases: int
    trained: Trained


class Job(NamedTuple):
    """A model to train in place, in a stack with others."""

    model: "Qwen3ForCausalLM"
    tokenizer: "PreTrainedTokenizerFast"
    curriculum: Curriculum
    state_file: Path
    start: Start | None = None


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
    job, recipe = Job(model, tokenizer, curriculum, state_file, start), curriculum.recipe
    slot = _stack([model], recipe).slots[0] if recipe.implementation == "stacked" else None
    course = _Course(job, energy, slot)
    model.train()
    if recipe.compile:
        model.model.compile(dynamic=True)
    try:
        while not course.is_done:
            steps, number = course.run.steps(), course.run.number
            while not course.is_done and course.run.number == number:
                with processes.signals_deferred():  # half a step cannot be saved
                    course.run.take(steps, course.rate())
                course.after_step(report)
    except KeyboardInterrupt:
        course.save()
        raise
    model.eval()
    return course.run.trained()


def train_stack(
    jobs: Sequence[Job],
    report: Callable[[int, Progress], None] = lambda number, progress: None,
    ahead: "Ahead | None" = None,
) -> Iterator[tuple[int, Trained]]:
    """Train models of one shape side by side in one stack; yields number and costs of each as it is trained.

    Every run has its own texts, rates and number of steps, and its own state file; all phases are supervised. Seconds of
    a step are divided among the runs that take it.

    ahead : makes their texts.
    """
    stack = _stack([job.model for job in jobs], jobs[0].curriculum.recipe)
    courses = [_Course(job, lambda: None, slot) for job, slot in zip(jobs, stack.slots, strict=True)]
    texts = [_Texts(course.run, ahead) for course in courses]
    left = set(range(len(jobs)))
    try:
        while left:
            for number in [number for number in sorted(left) if courses[number].is_done]:
                left.remove(number)
                jobs[number].model.eval()
                yield number, courses[number].run.trained()
            if not left:
                return
            with processes.signals_deferred():
                _step_together(stack, courses, texts, left)
            for number in left:
                courses[number].after_step(functools.partial(report, number))
    except KeyboardInterrupt:
        for number in left:
            courses[number].save()
        raise


def _step_together(stack: "Stack", courses: "list[_Course]", texts: "list[_Texts]", left: set[int]) -> None:
    """Take one step of the runs that are left."""
    batches = [next(texts[number]) if number in left else None for number in range(len(courses))]
    rates = {number: courses[number].rate() for number in left}
    for number, rate in rates.items():
        courses[number].run.set_rate(rate)
    losses = stack.step(batches)
    for number, rate in rates.items():
        batch = batches[number]
        assert batch is not None  # of a run that is left
        courses[number].run.record(stack.slots[number].result(losses[number], batch), rate, 1 / len(left))


def _stack(models: "list[Qwen3ForCausalLM]", recipe: TrainingConfig) -> "Stack":
    from replication.collect.training.stacked import Stack

    return Stack(models, recipe.weight_decay, recipe.clip, recipe.precision)


class _Course:
    """A training run on its way through its phases: where it stands, its rate, and its saved state."""

    def __init__(self, job: Job, energy: Callable[[], float | None], slot: "Slot | None") -> None:
        n_completed, before = job.start or Start(0, UNTRAINED)
        self._phases, self._recipe, self._file = job.curriculum.phases, job.curriculum.recipe, job.state_file
        self.run = _Run(job.model, job.tokenizer, job.curriculum, before, energy, slot)
        state = _load_state(job.state_file)
        if state is not None and state["phase"] < n_completed:
            state = None  # the start has completed more phases than the interrupted run
        # Budgets accumulate: the overshoot of one phase is charged to the next, so the sum is exact to within one step.
        self._token_flops = 6.0 * flop_counter(job.model).n_parameters
        self._ends = list(itertools.accumulate(self._token_flops * phase.n_tokens for phase in self._phases))
        self._total = sum(phase.n_tokens for phase in self._phases)
        self._saved_at = self.run.clock = time.monotonic()
        self.is_done = False
        self._begin(n_completed if state is None else state["phase"], state)

    def _begin(self, number: int, state: dict[str, Any] | None = None) -> None:
        """Enter this phase, or the next one with a budget left."""
        self.is_done = number >= len(self._phases)
        if self.is_done:
            return
        self.run.begin(number)
        if state is not None:
            self.run.restore(state)
        if self.run.flops >= self._ends[number]:
            self.run.finish()
            self._begin(number + 1)
        self.run.clock = time.monotonic()

    def rate(self) -> float:
        """Return the learning rate of the next step."""
        number, run = self.run.number, self.run
        share = (run.flops - run.start_flops) / (self._ends[number] - run.start_flops)
        return self._phases[number].lr * _schedule(share, self._recipe)

    def after_step(self, report: Callable[[Progress], None]) -> None:
        """Report, save the state when it is time, and enter the next phase at the end of one."""
        run = self.run
        if run.shown is not None:
            spent = min(self._total, round(run.flops / self._token_flops))
            report(Progress(self._phases[run.number].name, spent, run.shown))
        if run.clock - self._saved_at > self._recipe.save_every_s:
            self._saved_at = run.clock
            self.save()
        if run.flops >= self._ends[run.number]:
            run.finish()
            self._begin(run.number + 1)

    def save(self) -> None:
        """Save the state, from which the next process goes on."""
        _save_state(self._file, self.run.state())


class _Texts:
    """Batches of a run's current phase."""

    def __init__(self, run: "_Run", ahead: "Ahead | None") -> None:
        self._run, self._ahead, self._number = run, ahead, -1

    def __next__(self) -> "supervised.Batch":
        if self._run.number != self._number:
            self._number, self._stream = self._run.number, self._run.batches(self._ahead)
        return next(self._stream)


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
        slot: "Slot | None" = None,
    ) -> None:
        self._slot = slot
        self.model, self.tokenizer, self.curriculum = model, tokenizer, curriculum
        self.n_tokens, self.n_sampled_tokens, self.flops, self.wall_s = before[:4]
        self.joules, self.curve, self.documents = before.joules, list(before.curve), list(before.documents)
        self.losses: list[torch.Tensor] = []
        """Of the last rows of the curve, where they are not yet written."""
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
        self.fast: WrittenOut | Slot | None = None
        """What takes the steps of a supervised phase in place of transformers."""
        if self.phase.rl is None and recipe.implementation == "written_out":
            self.fast = WrittenOut(self.model, recipe.weight_decay, recipe.clip)
        elif self.phase.rl is None and self._slot is not None:
            self.fast = self._slot.anew()
        self.optimizers = self.fast.optimizers if self.fast else _optimizers(self.model, recipe)
        self.reference = copy.deepcopy(self.model).requires_grad_(False) if self.phase.rl else None

    def finish(self) -> None:
        """Give the model the weights of now."""
        if self.fast:
            self.fast.write()

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
        if self.fast:
            self.fast.read()
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

    def batches(self, ahead: "Ahead | None" = None) -> "Iterator[supervised.Batch]":
        """Continue the texts of the current, supervised, phase after its first `n_steps` steps."""
        recipe = self.curriculum.recipe
        stream = supervised.batches(
            cast(Corpus, self.phase.corpus),  # a phase without `rl` has a corpus of documents
            self.phase.name, batch_tokens=recipe.batch_tokens, context=recipe.context, tokenizer=self.tokenizer,
            seed=self.curriculum.training_seed, counts=self.counts, ahead=ahead,
        )  # fmt: skip
        return itertools.islice(stream, self.n_steps, None)

    def steps(self) -> Iterator[StepResult]:
        """Continue the current phase after its first `n_steps` steps; each `next` makes one step."""
        phase, recipe, seed = self.phase, self.curriculum.recipe, self.curriculum.training_seed
        if phase.rl is None and self.fast:
            return self.fast.learn(self.batches())
        if phase.rl is None:
            return supervised.learn(self.model, self.batches(), recipe.precision, self._update)
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

    def record(self, step: StepResult, rate: float, share: float = 1.0) -> None:
        """Add the costs of a step and its row of the curve.

        share : of the seconds since the last step.
        """
        now = time.monotonic()
        self.wall_s += share * (now - self.clock)
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
        self.losses.append(step.loss)
        self.shown = self._read_losses() if step.loss.device.type == "cpu" or len(self.losses) == UNREAD else None

    def _read_losses(self) -> float | None:
        """Write the losses of the latest steps into the curve and return the last; waits for a GPU to compute them."""
        import torch

        if not self.losses:
            return None
        losses = torch.stack(self.losses).tolist()
        for row, loss in zip(self.curve[-len(losses) :], losses, strict=True):
            row["loss"] = round(loss, 6)
        self.losses = []
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
        for optimizer in cast("tuple[Muon, torch.optim.AdamW]", self.optimizers):  # those of `_optimizers`
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
