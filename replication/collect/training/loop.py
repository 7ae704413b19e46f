"""The training loop: runs through their phases, one alone or several in a stack, saved and resumed."""

import contextlib
import functools
import io
import itertools
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from replication import files, processes
from replication.collect.training import muon
from replication.collect.training.costs import flop_counter
from replication.collect.training.curricula import (
    MOST_WARMUP,
    UNTRAINED,
    Curriculum,
    Progress,
    Start,
    Trained,
    TrainingConfig,
)
from replication.collect.training.run_state import STATE_VERSION, RunState
from replication.errors import TrainingError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

    from replication.collect.training import supervised
    from replication.collect.training.ahead import Ahead
    from replication.collect.training.stacked import Slot, Stack


class Branch(NamedTuple):
    """A run that differs from a longer one in nothing but the smaller budget of its last phase.

    Both take the same steps until the learning rate of the shorter one decays. There the longer one saves its state, from
    which the shorter one resumes.
    """

    phase: int
    """Number of the shorter run's last phase."""
    n_tokens: int
    """Budget of that phase in the shorter run."""
    save: Callable[[Callable[[], dict[str, Any]]], None]
    """Is given what returns the state."""


class Job(NamedTuple):
    """A model to train in place."""

    model: "Qwen3ForCausalLM"
    tokenizer: "PreTrainedTokenizerFast"
    curriculum: Curriculum
    state_file: Path
    start: Start | None = None
    name: str = ""
    """Of the run, for errors in a stack."""
    branches: Sequence[Branch] = ()


def train(
    model: "Qwen3ForCausalLM",
    tokenizer: "PreTrainedTokenizerFast",
    curriculum: Curriculum,
    state_file: Path,
    *,
    report: Callable[[Progress], None] = lambda progress: None,
    energy: Callable[[], float | None] = lambda: None,
    start: Start | None = None,
    branches: Sequence[Branch] = (),
) -> Trained:
    """Train the model in place, phase after phase; with a `start`, from the first phase it has not completed.

    The state is saved every `save_every_s` seconds. A run that finds a state file resumes from it and, in float32 on
    one CPU thread, ends with the same weights as one that was never interrupted.

    energy : reads an energy meter, joules; returns None without one. branches : runs that the state is saved for.
    """
    job = Job(model, tokenizer, curriculum, state_file, start, branches=branches)
    recipe = curriculum.recipe
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
    finished: Callable[[int, Trained], None],
    report: Callable[[int, Progress], None] = lambda number, progress: None,
    ahead: "Ahead | None" = None,
) -> None:
    """Train models of one shape side by side in one stack.

    Every run has its own texts, rates and number of steps, and its own state file; all phases are supervised. Seconds of
    a step are divided among the runs that take it.

    finished : is given number and costs of each run as soon as its model is trained. ahead : makes their texts.
    """
    stack = _stack([job.model for job in jobs], jobs[0].curriculum.recipe)
    courses = [_Course(job, lambda: None, slot) for job, slot in zip(jobs, stack.slots, strict=True)]
    texts = [_Texts(course.run, ahead) for course in courses]
    left = set(range(len(jobs)))
    try:
        while left:
            for number in [number for number in sorted(left) if courses[number].is_done]:
                jobs[number].model.eval()
                finished(number, courses[number].run.trained())
                left.remove(number)
            if not left:
                return
            with processes.signals_deferred():
                _step_together(stack, courses, texts, left)
            for number in left:
                courses[number].after_step(functools.partial(report, number))
    except (KeyboardInterrupt, TrainingError):
        for number in left:
            with contextlib.suppress(TrainingError):  # of a run that cannot go on
                courses[number].save()
        raise


def _step_together(stack: "Stack", courses: "list[_Course]", texts: "list[_Texts]", left: set[int]) -> None:
    """Take one step of the runs that are left."""
    batches = [next(texts[number]) if number in left else None for number in range(len(courses))]
    rates = {number: courses[number].rate() for number in left}
    for number, rate in rates.items():
        courses[number].run.set_rate(rate)
    losses, failures = stack.step(batches), []
    for number, rate in rates.items():
        batch = batches[number]
        assert batch is not None  # of a run that is left
        try:
            courses[number].run.record(stack.slots[number].result(losses[number], batch), rate, 1 / len(left))
        except TrainingError as error:
            failures.append(f"`{courses[number].name}`: {error}")
    if failures:  # after all runs have recorded the step that they took
        raise TrainingError(" ".join(failures))


def _stack(models: "list[Qwen3ForCausalLM]", recipe: TrainingConfig) -> "Stack":
    from replication.collect.training.stacked import Stack

    return Stack(models, recipe.weight_decay, recipe.clip, recipe.precision)


class _Course:
    """A training run on its way through its phases: where it stands, its rate, and its saved state."""

    def __init__(self, job: Job, energy: Callable[[], float | None], slot: "Slot | None") -> None:
        n_completed, before = job.start or Start(0, UNTRAINED)
        self._phases, self._recipe, self._file = job.curriculum.phases, job.curriculum.recipe, job.state_file
        self.name = job.name
        self.run = RunState(job.model, job.tokenizer, job.curriculum, before, energy, slot)
        state = _load_state(job.state_file, job.model.device.type)
        if state is not None and state["phase"] < n_completed:
            state = None  # the start has completed more phases than the interrupted run
        # Budgets accumulate: the overshoot of one phase is charged to the next, so the sum is exact to within one step.
        self._token_flops = 6.0 * flop_counter(job.model).n_parameters
        self._ends = list(itertools.accumulate(self._token_flops * phase.n_tokens for phase in self._phases))
        self._total = sum(phase.n_tokens for phase in self._phases)
        self._saved_at = self.run.clock = time.monotonic()
        self.is_done = False
        self._begin(n_completed if state is None else state["phase"], state)
        # A resumed run may be past the step from which the shorter one decays: it cannot save a state for it any more.
        self._branches = [branch for branch in job.branches if not self.is_done and not self._has_reached(branch)]

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
        spent, budget = self.run.flops - self.run.start_flops, self._budget()
        share = _schedule(spent, budget, self._warmup(budget), self._recipe.decay_share)
        return self._phases[self.run.number].lr * share

    def _warmup(self, budget: float) -> float:
        return min(self._token_flops * self._recipe.warmup_tokens, MOST_WARMUP * budget)

    def after_step(self, report: Callable[[Progress], None]) -> None:
        """Report, save the state when it is time, and enter the next phase at the end of one."""
        run = self.run
        if run.shown is not None:
            spent = min(self._total, round(run.flops / self._token_flops))
            report(Progress(self._phases[run.number].name, spent, run.shown))
        if run.clock - self._saved_at > self._recipe.save_every_s:
            self._saved_at = run.clock
            self.save()
        for branch in [branch for branch in self._branches if self._has_reached(branch)]:
            self._save_for(branch)
            self._branches.remove(branch)
        if run.flops >= self._ends[run.number]:
            run.finish()
            self._begin(run.number + 1)

    def _has_reached(self, branch: Branch) -> bool:
        """Tell whether this run is at the step from which the shorter one decays, or behind it."""
        if self.run.number != branch.phase:
            return self.run.number > branch.phase
        spent = self.run.flops - self.run.start_flops
        return _is_decaying(spent, self._budget(branch.n_tokens), self._recipe.decay_share)

    def _budget(self, n_tokens: int | None = None) -> float:
        """Return the FLOPs of the current phase, or what they were if its budget were `n_tokens`."""
        number = self.run.number
        less = 0 if n_tokens is None else self._phases[number].n_tokens - n_tokens
        return self._ends[number] - self._token_flops * less - self.run.start_flops

    def _save_for(self, branch: Branch) -> None:
        """Save the state for the shorter run, if that would have taken the same steps."""
        if self.run.number != branch.phase:
            return
        shorter = self._budget(branch.n_tokens)
        # A phase that begins late, because the one before overshot its budget, may have a shorter warm-up.
        if shorter > 0 and self._warmup(shorter) == self._warmup(self._budget()):
            branch.save(self.run.state)

    def save(self) -> None:
        """Save the state, from which the next process goes on."""
        save_state(self._file, self.run.state())


class _Texts:
    """Batches of a run's current phase."""

    def __init__(self, run: RunState, ahead: "Ahead | None") -> None:
        self._run, self._ahead, self._number = run, ahead, -1

    def __next__(self) -> "supervised.Batch":
        if self._run.number != self._number:
            self._number, self._stream = self._run.number, self._run.batches(self._ahead)
        return next(self._stream)


def _schedule(spent: float, budget: float, warmup: float, decay_share: float) -> float:
    """Return the learning rate as a share of its peak: warm-up, plateau, decay to 5 %.

    spent, budget, warmup : FLOPs of the phase so far, of the whole phase, and of its warm-up.
    """
    if spent < warmup:
        return max(spent / warmup, 0.02)
    if not _is_decaying(spent, budget, decay_share):
        return 1.0
    return 0.05 + 0.95 * max(1.0 - spent / budget, 0.0) / decay_share


def _is_decaying(spent: float, budget: float, decay_share: float) -> bool:
    return budget <= 0 or 1.0 - spent / budget <= decay_share


def save_state(path: Path, state: dict[str, Any]) -> None:
    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer)
    files.write_bytes(path, buffer.getvalue())


def _load_state(path: Path, device: str) -> dict[str, Any] | None:
    import torch

    if not path.exists():
        return None
    state = torch.load(path, weights_only=False)
    # A state of an older version of this package, or of a processor where Muon computes in another type, is ignored: the run
    # starts from the beginning.
    same = state.get("version") == STATE_VERSION and state["muon_dtype"] == muon.product_type(device)
    return state if same else None
