"""A training run between two steps: weights, optimizers and costs so far; resumable to the same final weights."""

import copy
import itertools
import math
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, cast

from replication.collect.training import rl, supervised
from replication.collect.training.corpora import Corpus, Predictions
from replication.collect.training.costs import StepResult
from replication.collect.training.curricula import LOWER_RATES, Curriculum, Trained, TrainingConfig
from replication.collect.training.documents import Counts
from replication.collect.training.muon import Muon, product_type
from replication.collect.training.written_out import WrittenOut
from replication.errors import TrainingError
from replication.records import Json, stable_seed

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen3ForCausalLM

    from replication.collect.training.ahead import Ahead
    from replication.collect.training.stacked import Slot

STATE_VERSION = 4
"""Of the saved state of an unfinished run."""

UNREAD = 50
"""Steps on a GPU whose losses are read together."""


class RunState:
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
        self.fast: WrittenOut | Slot | None = None
        """What takes the steps in place of transformers."""
        if recipe.implementation == "written_out":
            self.fast = WrittenOut(self.model, recipe.weight_decay, recipe.clip)
        elif self.phase.rl is None and self._slot is not None:
            self.fast = self._slot.anew()
        self.optimizers = self.fast.optimizers if self.fast else optimizers_of(self.model, recipe)
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
            "version": STATE_VERSION, "muon_dtype": product_type(self.model.device.type),
            "phase": self.number, "step": self.n_steps, "begun": self.start_flops,
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
        policy: rl.Policy = (
            self.fast.policy(self.reference)
            if isinstance(self.fast, WrittenOut)
            else rl.TransformersPolicy(self.model, self.reference, self._update)
        )
        return rl.learn(policy, self.tokenizer, seeded, phase.rl)

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
            if not math.isfinite(loss):
                raise TrainingError(
                    f"the loss of step {row['step']}, in phase `{row['phase']}`, is {loss}: training diverged. {LOWER_RATES}"
                )
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
        for optimizer in cast("tuple[Muon, torch.optim.AdamW]", self.optimizers):  # those of `optimizers_of`
            optimizer.step()
        self.model.zero_grad()


def optimizers_of(model: "Qwen3ForCausalLM", recipe: TrainingConfig) -> "tuple[Muon, torch.optim.AdamW]":
    import torch

    if recipe.optimizer == "adamw":
        every = torch.optim.AdamW(model.parameters(), betas=(0.9, 0.95), weight_decay=recipe.weight_decay)
        return Muon([], 0.0), every
    matrices = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n]
    others = [p for n, p in model.named_parameters() if p.ndim != 2 or "embed" in n]
    return Muon(matrices, recipe.weight_decay), torch.optim.AdamW(others, betas=(0.9, 0.95), weight_decay=0.0)
