"""Training runs of one shape in a stack: on a GPU, ten small models take one step in the time of one.

A small model leaves a GPU waiting for the launches of its kernels. Here the parameters of all models lie in tensors with a
leading dimension of runs, one batched product serves them all, and the kernels of a step are recorded once per shape of a
batch (a CUDA graph) and replayed. Documents are packed into rows of few widths, so that there are few shapes. Each run has
its own texts, rates, clipping and optimizers: the stack changes nothing but the order of sums within a product.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from replication.collect.training import muon, packing, parameters, supervised
from replication.collect.training.costs import StepResult, flop_counter
from replication.collect.training.parameters import Layer

if TYPE_CHECKING:
    import torch
    from transformers import Qwen3ForCausalLM

BETAS, EPS = (0.9, 0.95), 1e-8
"""Of AdamW."""


class _Stacked:
    """All parameters of the runs, or their gradients or momenta, as views of one tensor."""

    def __init__(self, config: Any, n_runs: int, device: "torch.device") -> None:
        self.flat = parameters.empty(config, n_runs, device=device)
        self.others = parameters.others(self.flat, config)
        """Embeddings and norms, (n_runs, n_numbers)."""
        self.views = parameters.views(self.flat, config)
        self.stacks = parameters.stacks(self.views)
        """Matrices of one shape, (n_runs, ..., short side, long side)."""


class Stack:
    """Models of one shape that take their steps together; each has a `Slot`."""

    def __init__(self, models: "Sequence[Qwen3ForCausalLM]", weight_decay: float, clip: float, precision: str) -> None:
        import torch

        self.device, self.config = models[0].device, models[0].config
        n = len(models)
        self.weights, self.gradients = (_Stacked(self.config, n, self.device) for _ in range(2))
        self._momenta = _Stacked(self.config, n, self.device)
        """Of Muon in `stacks`, of AdamW in `others`."""
        self._squares = torch.zeros_like(self.weights.others)
        self._n_steps = torch.zeros(n, 1, device=self.device)
        self._rates = torch.zeros(2, n, device=self.device)
        """Of Muon and of AdamW."""
        self._losses = torch.zeros(n, device=self.device)
        self._decay, self._clip = weight_decay, clip
        self._reduced = precision == "bfloat16"
        positions = torch.arange(self.config.max_position_embeddings, device=self.device)[None]
        with torch.no_grad():
            tables = models[0].model.rotary_emb(torch.zeros(1, device=self.device), positions)
        self._rotary = [table[0] for table in tables]
        self._recorded: dict[tuple[int, int], _Recorded] = {}
        self._update_graph: torch.cuda.CUDAGraph | None = None
        self.slots = [Slot(self, number, model) for number, model in enumerate(models)]

    def step(self, batches: "Sequence[supervised.Batch | None]") -> "torch.Tensor":
        """Take a step of each run that has a batch, at the rates of its slot; returns the losses, (n_runs,)."""
        import torch

        shape = packing.common_shape([batch for batch in batches if batch is not None])
        arrays = packing.packed(batches, shape)
        takes = torch.tensor([batch is not None for batch in batches], dtype=torch.float32)
        rates = torch.tensor([slot.rates() for slot in self.slots]).T * takes
        if self.device.type == "cuda":
            return self._replay(shape, arrays, rates, takes)
        self._rates.copy_(rates)
        self._n_steps += takes[:, None]
        self._compute_gradients(torch.from_numpy(arrays))
        self._update()
        return self._losses.clone()

    def pairs(
        self, run: int, model: "Qwen3ForCausalLM", gradients: bool = False
    ) -> "list[tuple[torch.Tensor, torch.Tensor]]":
        """Return each parameter of a transformers model with its weight, or its gradient, in this run."""
        own = self.gradients if gradients else self.weights
        return parameters.pairs(model, parameters.of_flat(own.flat[run], self.config))

    def _replay(
        self, shape: tuple[int, int], arrays: np.ndarray, rates: "torch.Tensor", takes: "torch.Tensor"
    ) -> "torch.Tensor":
        import torch

        recorded = self._recorded.get(shape)
        if recorded is None:
            recorded = self._recorded[shape] = self._record(arrays)
        recorded.inputs.copy_(torch.from_numpy(arrays).pin_memory(), non_blocking=True)
        self._rates.copy_(rates.contiguous().pin_memory(), non_blocking=True)
        self._n_steps += takes[:, None].pin_memory().to(self.device, non_blocking=True)
        recorded.graph.replay()
        assert self._update_graph is not None  # recorded with the first shape
        self._update_graph.replay()
        return self._losses.clone()

    def _record(self, arrays: np.ndarray) -> "_Recorded":
        """Record the passes of a shape, and with the first shape the update; weights and optimizers stay as they are."""
        import torch

        inputs = torch.from_numpy(arrays).to(self.device)
        kept = [tensor.clone() for tensor in self._state()]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # allocations and lazy loading before recording
            for _ in range(2):
                self._compute_gradients(inputs)
                self._update()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._compute_gradients(inputs)
        if self._update_graph is None:
            self._update_graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._update_graph):
                self._update()
        for tensor, value in zip(self._state(), kept, strict=True):
            tensor.copy_(value)
        return _Recorded(inputs, graph)

    def _state(self) -> "list[torch.Tensor]":
        return [self.weights.flat, self._momenta.flat, self._squares]

    def _compute_gradients(self, inputs: "torch.Tensor") -> None:
        """Write gradients and losses; inputs as of `packing.packed`."""
        import torch

        with torch.enable_grad():
            leaves = [view.detach().requires_grad_() for view in self.weights.views]
            losses = self._forward(leaves, *inputs.unbind(1))
            gradients = torch.autograd.grad(losses.sum(), leaves)
        with torch.no_grad():
            torch._foreach_copy_(self.gradients.views, list(gradients))
            self._losses.copy_(losses)

    def _forward(
        self, views: "list[torch.Tensor]", ids: "torch.Tensor", labels: "torch.Tensor", places: "torch.Tensor",
        documents: "torch.Tensor",
    ) -> "torch.Tensor":  # fmt: skip
        """Return the mean cross-entropy of each run, (n_runs,).

        views : as `parameters.views`; layers have a leading dimension of runs. The rest: (n_runs, n_rows, width).
        """
        import torch

        n_runs, width = len(ids), ids.shape[-1]
        embeddings, norm, norms, head_norms, q, kv, out, gate_up, down = views
        joined = q, kv.flatten(2, 3), out, gate_up.flatten(3, 4), down, norms, head_norms
        layers = zip(*(part.unbind(1) for part in joined), strict=True)
        first = torch.arange(n_runs, device=ids.device)[:, None, None] * embeddings.shape[1]
        x = torch.nn.functional.embedding((ids + first).flatten(1), embeddings.flatten(0, 1))
        cos, sin = (table[places.flatten(1)][:, :, None] for table in self._rotary)  # (n_runs, n_tokens, 1, head_dim)
        causal = torch.ones(width, width, dtype=torch.bool, device=ids.device).tril()
        sees = ((documents[..., :, None] == documents[..., None, :]) & causal).flatten(0, 1)[:, None]
        for layer in layers:
            x = self._layer(x, Layer(*layer), cos, sin, sees)
        logits = self._product(self._norm(x, norm[:, None]), embeddings.mT).float()
        flat = labels.flatten()
        each = torch.nn.functional.cross_entropy(
            logits.flatten(0, 1), flat, ignore_index=supervised.IGNORED, reduction="none"
        )
        counts = (labels != supervised.IGNORED).flatten(1).sum(1)
        return each.view(n_runs, -1).sum(1) / counts.clamp(min=1)

    def _layer(
        self, x: "torch.Tensor", w: Layer, cos: "torch.Tensor", sin: "torch.Tensor", sees: "torch.Tensor"
    ) -> "torch.Tensor":
        import torch

        n_runs, n_tokens, _ = x.shape
        width, size = sees.shape[-1], self.config.head_dim
        before = self._norm(x, w.norms[:, :1])
        q = self._product(before, w.q).unflatten(2, (-1, size))
        k, v = self._product(before, w.kv.mT).unflatten(2, (2, -1, size)).unbind(2)
        q, k = (
            _rotated(self._norm(part, w.head_norms[:, None, at : at + 1]), cos, sin) for at, part in enumerate((q, k))
        )
        group = q.shape[2] // k.shape[2]
        k, v = (part.repeat_interleave(group, dim=2) for part in (k, v))
        # (n_runs x n_rows, heads, width, head_dim)
        q, k, v = (part.reshape(-1, width, *part.shape[2:]).transpose(1, 2).to(v.dtype) for part in (q, k, v))
        attended = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=sees)
        x = x + self._product(attended.transpose(1, 2).reshape(n_runs, n_tokens, -1), w.out.mT)
        gate, up = self._product(self._norm(x, w.norms[:, 1:]), w.gate_up).chunk(2, dim=2)
        return x + self._product(torch.nn.functional.silu(gate) * up, w.down.mT)

    def _product(self, x: "torch.Tensor", weights: "torch.Tensor") -> "torch.Tensor":
        """Multiply (n_runs, n_tokens, inputs) with (n_runs, inputs, outputs)."""
        import torch

        if not self._reduced:
            return torch.bmm(x, weights)
        return torch.bmm(x.bfloat16(), weights.bfloat16())

    def _norm(self, x: "torch.Tensor", weight: "torch.Tensor") -> "torch.Tensor":
        x = x.float()
        return x * (x.square().mean(-1, keepdim=True) + self.config.rms_norm_eps).rsqrt() * weight

    def _update(self) -> None:
        """Clip each run's gradients and take a step of Muon for matrices and of AdamW for the rest."""
        import torch

        with torch.no_grad():
            norms = torch.linalg.vector_norm(self.gradients.flat, dim=1, keepdim=True)
            self.gradients.flat.mul_((self._clip / (norms + 1e-6)).clamp(max=1.0))
            for weights, gradients, momenta in zip(
                self.weights.stacks, self.gradients.stacks, self._momenta.stacks, strict=True
            ):
                momenta.lerp_(gradients, 1 - muon.MOMENTUM)
                updates = muon.orthogonalised_stack(gradients.lerp(momenta, muon.MOMENTUM).flatten(0, -3))
                rates = self._rates[0].view(-1, *[1] * (weights.ndim - 1))
                rate = rates * 0.2 * max(weights.shape[-2:]) ** 0.5
                weights.mul_(1 - rates * self._decay).sub_(updates.view_as(weights) * rate)
            momenta, gradients = self._momenta.others, self.gradients.others
            momenta.lerp_(gradients, 1 - BETAS[0])
            self._squares.lerp_(gradients.square(), 1 - BETAS[1])
            n_steps = self._n_steps.clamp(min=1)
            size = self._rates[1][:, None] / (1 - BETAS[0] ** n_steps)
            self.weights.others.sub_(size * momenta / ((self._squares / (1 - BETAS[1] ** n_steps)).sqrt() + EPS))


class _Recorded(NamedTuple):
    inputs: "torch.Tensor"
    graph: "torch.cuda.CUDAGraph"


class Slot:
    """One run's place in a stack: reads a model, takes steps, and writes its weights to it."""

    def __init__(self, stack: Stack, number: int, model: "Qwen3ForCausalLM") -> None:
        self._stack, self._number, self._model = stack, number, model
        self._counter = flop_counter(model)
        self.optimizers = (_Optimizer(self, "stacks"), _Optimizer(self, "others"))
        self.read()

    def anew(self) -> "Slot":
        """Begin with the model's weights and new optimizers; returns itself."""
        self.read()
        for optimizer in self.optimizers:
            optimizer.reset()
        return self

    def read(self) -> None:
        """Copy the weights of the transformers model."""
        for parameter, view in self._stack.pairs(self._number, self._model):
            view.copy_(parameter.detach())

    def write(self) -> None:
        """Copy the weights to the transformers model."""
        for parameter, view in self._stack.pairs(self._number, self._model):
            parameter.detach().copy_(view)

    def learn(self, stream: "Iterable[supervised.Batch]") -> Iterator[StepResult]:
        """Train this run alone; for a stack of one."""
        for batch in stream:
            yield self.result(self._stack.step([batch])[0], batch)

    def result(self, loss: "torch.Tensor", batch: "supervised.Batch") -> StepResult:
        """Return the costs of a step; a loss without a token is 0 in a stack, and missing here."""
        return StepResult(
            loss=loss if len(supervised.targets(batch).ids) else None, n_tokens=batch.n_tokens,
            flops=supervised.step_flops(self._counter, batch),
        )  # fmt: skip

    def rates(self) -> tuple[float, float]:
        """Return the learning rates of Muon and AdamW."""
        matrices, others = self.optimizers
        return matrices.lr, others.param_groups[0]["lr"]

    def state(self, part: str) -> "dict[str, torch.Tensor]":
        """Return this run's part of an optimizer's state."""
        stack, at = self._stack, self._number
        if part == "stacks":
            return {f"momenta{i}": stacked[at] for i, stacked in enumerate(stack._momenta.stacks)}
        return {"momenta": stack._momenta.others[at], "squares": stack._squares[at], "n_steps": stack._n_steps[at]}


class _Optimizer:
    """An optimizer of one run in a stack: its rate, as `Muon` and `torch.optim` hold it, and its part of the state."""

    def __init__(self, slot: Slot, part: str) -> None:
        self._slot, self._part = slot, part
        self.lr = 0.0
        self.param_groups = [{"lr": 0.0}]

    def state_dict(self) -> dict[str, Any]:
        """Return a copy of the state, which `load_state_dict` takes."""
        return {name: tensor.clone() for name, tensor in self._slot.state(self._part).items()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Return to a saved state."""
        for name, own in self._slot.state(self._part).items():
            own.copy_(state[name])

    def reset(self) -> None:
        """Start anew."""
        for own in self._slot.state(self._part).values():
            own.zero_()


def _rotated(x: "torch.Tensor", cos: "torch.Tensor", sin: "torch.Tensor") -> "torch.Tensor":
    """Rotate heads by their places: (n_runs, n_tokens, heads, head_dim)."""
    import torch

    half = x.shape[-1] // 2
    return x * cos + torch.cat([-x[..., half:], x[..., :half]], dim=-1) * sin
