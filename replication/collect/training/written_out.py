"""Training steps with Qwen3 written out: its passes, clipping, Muon on stacks, and AdamW on one tensor."""

import math
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from replication.collect.training import supervised, written_out_rl
from replication.collect.training.costs import StepResult, flop_counter
from replication.collect.training.curricula import LOWER_RATES
from replication.collect.training.muon import StackedMuon
from replication.collect.training.qwen3 import Inputs, Qwen3
from replication.errors import TrainingError

if TYPE_CHECKING:
    from transformers import Qwen3ForCausalLM

KEPT_BYTES = 31 * 2**20
"""Below the limit of 32 MiB up to which the C library keeps freed memory instead of returning it to the system."""


class WrittenOut:
    """A transformers model in training by its written-out equal; `write` returns the weights to it."""

    def __init__(self, model: "Qwen3ForCausalLM", weight_decay: float, clip: float) -> None:
        import torch

        # glibc keeps freed blocks up to the size of the largest mapped one that was freed: without this, each step would
        # map and clear its larger arrays anew.
        torch.empty(KEPT_BYTES, dtype=torch.uint8)
        self._model, self._qwen3, self._clip = model, Qwen3(model), clip
        self._counter = flop_counter(model)
        weights, gradients = self._qwen3.weights, self._qwen3.gradients
        self.read, self.write = self._qwen3.read, self._qwen3.write
        weights.others.grad = gradients.others
        self.optimizers = (
            StackedMuon(weights.stacks, gradients.stacks, weight_decay),
            torch.optim.AdamW([weights.others], betas=(0.9, 0.95), weight_decay=0.0, fused=True),
        )

    def learn(self, stream: "Iterable[supervised.Batch]") -> Iterator[StepResult]:
        """Train on each batch in turn, one optimizer step per batch; yields its loss and costs."""
        import torch

        for batch in stream:
            places = supervised.targets(batch)
            loss = self._qwen3.loss(Inputs(*map(torch.from_numpy, (batch.inputs[:, :-1], *places))))
            self._update()
            yield StepResult(
                loss=loss if len(places.ids) else None, n_tokens=batch.n_tokens,
                flops=supervised.step_flops(self._counter, batch),
            )  # fmt: skip

    def policy(self, reference: "Qwen3ForCausalLM") -> written_out_rl.Policy:
        """Return what takes the steps of reinforcement learning. reference : the model of the KL term."""
        return written_out_rl.Policy(self._model, self._qwen3, reference, self._update)

    def _update(self) -> None:
        gradients, (muon, adamw) = self._qwen3.gradients, self.optimizers
        norm = float(gradients.flat.norm())
        if not math.isfinite(norm):
            raise TrainingError(f"the gradient norm of a training step is {norm}: training diverged. {LOWER_RATES}")
        scale = min(1.0, self._clip / (norm + 1e-6))  # as torch.nn.utils.clip_grad_norm_
        muon.step(scale)
        gradients.others.mul_(scale)
        adamw.step()
