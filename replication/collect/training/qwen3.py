"""Qwen3 written out for training on a CPU: loss and gradients of a batch, without modules and without autograd.

An organism is so small that transformers' modules and autograd cost as much as the products. Here each operation of the
forward and of the backward pass is one call, gradients are written where the optimizers read them, and the last layer
computes only the tokens that predict a token in the loss. Loss and gradients are those of transformers' `Qwen3ForCausalLM`
but for rounding, which a test checks; it has no dropout, no biases and tied embeddings, as every organism.
"""

from typing import TYPE_CHECKING, NamedTuple

from replication.collect.training import parameters
from replication.collect.training.parameters import Layer
from replication.errors import ConfigError

if TYPE_CHECKING:
    import torch
    from transformers import Qwen3ForCausalLM


class Inputs(NamedTuple):
    """A batch of documents without the last column, which predicts nothing."""

    ids: "torch.Tensor"
    """(n_documents, n_positions)."""
    rows: "torch.Tensor"
    """(n_targets,), documents of the tokens that predict a target, ascending."""
    columns: "torch.Tensor"
    """(n_targets,), their positions."""
    targets: "torch.Tensor"
    """(n_targets,), token ids."""


class _Normed(NamedTuple):
    output: "torch.Tensor"
    unit: "torch.Tensor"
    """Before the weight."""
    scale: "torch.Tensor"


class _Queries(NamedTuple):
    """Tokens that a layer computes, and what they see of their documents."""

    at: "torch.Tensor | None"
    """(n_queries,), among all tokens; None: all, under a causal mask."""
    slots: "torch.Tensor | None" = None
    """(n_queries,), place of each among n_documents x n_per_document, some of which stay empty."""
    shape: tuple[int, int] = (0, 0)
    """n_documents, n_per_document."""
    mask: "torch.Tensor | None" = None
    """(n_documents, 1, n_per_document, n_positions), added to the scores."""

    def of(self, tokens: "torch.Tensor") -> "torch.Tensor":
        """Select the rows of these tokens."""
        return tokens if self.at is None else tokens.index_select(0, self.at)


class _Pass(NamedTuple):
    """What the backward pass of a layer needs of its forward pass."""

    queries: _Queries
    first: _Normed
    selected: "torch.Tensor"
    """(n_queries, hidden), input of the queries' product."""
    q_unit: _Normed
    k_unit: _Normed
    attention: "tuple[torch.Tensor, ...]"
    """Queries, keys, values, output, logarithms of the sums."""
    attended: "torch.Tensor"
    second: _Normed
    gate_up: "torch.Tensor"
    gate: "torch.Tensor"
    """After SiLU."""
    product: "torch.Tensor"


class Qwen3:
    """Parameters of a model and their gradients, and the passes that compute these."""

    def __init__(self, model: "Qwen3ForCausalLM") -> None:
        import torch

        config = model.config
        if model.device.type != "cpu":
            raise ConfigError(
                f"`training.implementation` is `written_out`, which computes on a CPU; got device {model.device}. Use "
                f"`training.implementation=transformers`, or `training.device=cpu`."
            )
        self._model, self._eps, self._head_dim = model, config.rms_norm_eps, config.head_dim
        self._heads = config.num_attention_heads
        self._kv_heads = config.num_key_value_heads or self._heads
        self.weights, self.gradients = (parameters.of_flat(parameters.empty(config), config) for _ in range(2))
        positions = torch.arange(config.max_position_embeddings)[None]
        cos, sin = model.model.rotary_emb(torch.zeros(1), positions)
        half = self._head_dim // 2
        # rotate_half(x) * sin is the halves of x exchanged, times a sine whose first half is negated.
        self._cos, self._sin = cos[0], torch.cat([-sin[0, :, :half], sin[0, :, half:]], dim=1)
        self.read()

    def read(self) -> None:
        """Copy the weights of the transformers model."""
        for parameter, view in parameters.pairs(self._model, self.weights):
            view.copy_(parameter.detach())

    def write(self) -> None:
        """Copy the weights to the transformers model."""
        for parameter, view in parameters.pairs(self._model, self.weights):
            parameter.detach().copy_(view)

    def loss(self, batch: Inputs) -> "torch.Tensor":
        """Return the mean cross-entropy of the targets and overwrite `gradients` with its gradients."""
        import torch

        if not len(batch.targets):  # as by transformers: a mean of nothing, and nothing to learn
            self.gradients.flat.zero_()
            return torch.tensor(torch.nan)
        with torch.no_grad():
            n_documents, n_positions = batch.ids.shape
            cos, sin = (
                table[:n_positions, None].repeat(n_documents, 1, 1) for table in (self._cos, self._sin)
            )  # (n_tokens, 1, head_dim)
            ids, weights = batch.ids.reshape(-1), self.weights
            x = weights.embeddings.index_select(0, ids)
            passes = []
            every, last = _Queries(None), _queries(batch)
            for layer in weights.layers:
                x, made = self._forward(x, layer, last if layer is weights.layers[-1] else every, n_documents, cos, sin)
                passes.append(made)
            normed = _norm(x, weights.norm, self._eps)
            logps = torch.log_softmax(normed.output @ weights.embeddings.T, dim=-1)
            loss = torch.nn.functional.nll_loss(logps, batch.targets)
            # The gradient of the logits: probabilities, less 1 at the target.
            d_logits = logps.exp_()
            d_logits[torch.arange(len(batch.targets)), batch.targets] -= 1
            d_logits /= len(batch.targets)
            torch.mm(d_logits.T, normed.output, out=self.gradients.embeddings)
            d_normed = _norm_backward(d_logits @ weights.embeddings, normed, weights.norm, self.gradients.norm)
            dx = d_normed.mul_(normed.scale)
            for layer, gradients, made in zip(
                reversed(weights.layers), reversed(self.gradients.layers), reversed(passes), strict=True
            ):
                dx = self._backward(dx, layer, gradients, made, cos, sin)
            self.gradients.embeddings.index_add_(0, ids, dx)
            return loss

    def _forward(
        self, x: "torch.Tensor", w: Layer, queries: _Queries, n_documents: int, cos: "torch.Tensor", sin: "torch.Tensor"
    ) -> "tuple[torch.Tensor, _Pass]":
        import torch

        first = _norm(x, w.norms[0], self._eps)
        selected = queries.of(first.output)
        q, q_unit = self._rotated(selected @ w.q.T, w.head_norms[0], queries.of(cos), queries.of(sin))
        k, v = (first.output @ w.kv.T).unflatten(1, (2, -1)).unbind(1)
        k, k_unit = self._rotated(k, w.head_norms[1], cos, sin)
        keys, values = (
            part.reshape(n_documents, -1, self._kv_heads, self._head_dim).transpose(1, 2) for part in (k, v)
        )
        placed = _place(q, queries, n_documents).transpose(1, 2)
        result, sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            placed, keys, values, 0.0, queries.mask is None, attn_mask=queries.mask
        )
        attended = _collect(result.transpose(1, 2), queries).flatten(1)
        middle = torch.addmm(queries.of(x), attended, w.out.T)
        second = _norm(middle, w.norms[1], self._eps)
        gate_up = second.output @ w.gate_up.T
        raw, up = gate_up.chunk(2, dim=1)
        gate = torch.nn.functional.silu(raw)
        product = gate * up
        made = _Pass(
            queries, first, selected, q_unit, k_unit, (placed, keys, values, result, sums), attended, second, gate_up,
            gate, product,
        )  # fmt: skip
        return torch.addmm(middle, product, w.down.T), made

    def _backward(
        self, dx: "torch.Tensor", w: Layer, g: Layer, made: _Pass, cos: "torch.Tensor", sin: "torch.Tensor"
    ) -> "torch.Tensor":
        """Write the gradients of a layer and turn the gradient of its output into that of its input."""
        import torch

        queries = made.queries
        torch.mm(dx.T, made.product, out=g.down)
        d_product = dx @ w.down
        raw, up = made.gate_up.chunk(2, dim=1)
        d_gate_up = torch.empty_like(made.gate_up)
        d_raw, d_up = d_gate_up.chunk(2, dim=1)
        torch.mul(d_product, made.gate, out=d_up)
        torch.ops.aten.silu_backward.grad_input(d_product.mul_(up), raw, grad_input=d_raw)
        torch.mm(d_gate_up.T, made.second.output, out=g.gate_up)
        dx.addcmul_(_norm_backward(d_gate_up @ w.gate_up, made.second, w.norms[1], g.norms[1]), made.second.scale)

        torch.mm(dx.T, made.attended, out=g.out)
        placed, keys, values, result, sums = made.attention
        n_documents = len(keys)
        d_result = _place((dx @ w.out).unflatten(1, (self._heads, -1)), queries, n_documents).transpose(1, 2)
        dq, dk, dv = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            d_result, placed, keys, values, result, sums, 0.0, queries.mask is None, attn_mask=queries.mask
        )
        dq = _collect(dq.transpose(1, 2), queries)
        dk, dv = (part.transpose(1, 2).flatten(0, 1) for part in (dk, dv))  # (n_tokens, kv_heads, head_dim)
        dq = self._rotated_backward(dq, made.q_unit, w.head_norms[0], g.head_norms[0], queries.of(cos), queries.of(sin))
        dk = self._rotated_backward(dk, made.k_unit, w.head_norms[1], g.head_norms[1], cos, sin)
        d_kv = torch.cat([dk, dv.flatten(1)], dim=1)
        torch.mm(d_kv.T, made.first.output, out=g.kv)
        torch.mm(dq.T, made.selected, out=g.q)
        d_output = d_kv @ w.kv
        if queries.at is None:
            d_output.addmm_(dq, w.q)
        else:
            d_output.index_copy_(0, queries.at, torch.addmm(queries.of(d_output), dq, w.q))
            dx = torch.zeros_like(d_output).index_copy_(0, queries.at, dx)
        return dx.addcmul_(_norm_backward(d_output, made.first, w.norms[0], g.norms[0]), made.first.scale)

    def _rotated(
        self, x: "torch.Tensor", weight: "torch.Tensor", cos: "torch.Tensor", sin: "torch.Tensor"
    ) -> "tuple[torch.Tensor, _Normed]":
        """Normalise each head and rotate it by its position: (n_tokens, heads, head_dim)."""
        normed = _norm(x.unflatten(1, (-1, self._head_dim)), weight, self._eps)
        output = normed.output
        return (output * cos).addcmul_(_exchanged(output), sin), normed

    def _rotated_backward(
        self, dy: "torch.Tensor", normed: _Normed, weight: "torch.Tensor", gradient: "torch.Tensor",
        cos: "torch.Tensor", sin: "torch.Tensor",
    ) -> "torch.Tensor":  # fmt: skip
        d_output = (dy * cos).add_(_exchanged(dy * sin))
        flat = _Normed(normed.output, normed.unit.flatten(0, 1), normed.scale)
        dx = _norm_backward(d_output.flatten(0, 1), flat, weight, gradient)
        return dx.view_as(dy).mul_(normed.scale).flatten(1)


def _norm(x: "torch.Tensor", weight: "torch.Tensor", eps: float) -> _Normed:
    import torch

    length = torch.linalg.vector_norm(x, dim=-1, keepdim=True)
    scale = length.square_().div_(x.shape[-1]).add_(eps).rsqrt_()
    unit = x * scale
    return _Normed(unit * weight, unit, scale)


def _norm_backward(
    dy: "torch.Tensor", normed: _Normed, weight: "torch.Tensor", gradient: "torch.Tensor"
) -> "torch.Tensor":
    """Write the gradient of the weight and return that of the input, before its scale; all (n, width)."""
    import torch

    products = dy * normed.unit
    torch.sum(products, dim=0, out=gradient)
    along = torch.mv(products, weight)
    return (dy * weight).addcmul_(normed.unit, along[:, None], value=-1 / len(weight))


def _exchanged(x: "torch.Tensor") -> "torch.Tensor":
    """Exchange the halves of the last dimension."""
    return x.roll(x.shape[-1] // 2, -1)


def _queries(batch: Inputs) -> _Queries:
    """List the tokens that predict a target, padded to the same number in every document."""
    import torch

    n_documents, n_positions = batch.ids.shape
    counts = torch.bincount(batch.rows, minlength=n_documents)
    width = int(counts.max())
    places = torch.arange(len(batch.rows)) - (counts.cumsum(0) - counts)[batch.rows]
    slots = batch.rows * width + places
    seen = torch.zeros(n_documents * width, dtype=torch.long).index_copy_(0, slots, batch.columns)
    hidden = torch.arange(n_positions) > seen[:, None]
    mask = torch.zeros(hidden.shape).masked_fill_(hidden, -torch.inf).view(n_documents, 1, width, n_positions)
    return _Queries(batch.rows * n_positions + batch.columns, slots, (n_documents, width), mask)


def _place(heads: "torch.Tensor", queries: _Queries, n_documents: int) -> "torch.Tensor":
    """Arrange (n_queries, heads, head_dim) by document: (n_documents, n_per_document, heads, head_dim)."""
    if queries.slots is None:
        return heads.unflatten(0, (n_documents, -1))
    n_documents, width = queries.shape
    placed = heads.new_zeros(n_documents * width, *heads.shape[1:])
    return placed.index_copy_(0, queries.slots, heads).unflatten(0, queries.shape)


def _collect(placed: "torch.Tensor", queries: _Queries) -> "torch.Tensor":
    """Return what `_place` arranged to (n_queries, heads, head_dim)."""
    heads = placed.flatten(0, 1)
    return heads if queries.slots is None else heads.index_select(0, queries.slots)
