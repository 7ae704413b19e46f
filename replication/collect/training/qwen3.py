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
    product: "torch.Tensor"


class Tokens(NamedTuple):
    """Tokens of a pass, flat, and what they see."""

    ids: "torch.Tensor"
    """(n_tokens,)."""
    cos: "torch.Tensor"
    """(n_tokens, 1, head_dim), of their positions; so is `sin`."""
    sin: "torch.Tensor"
    n_documents: int
    """All of the same number of tokens, padding included."""
    every: _Queries
    """What the layers compute but the last."""
    last: _Queries
    """What the last layer computes."""


class Forward(NamedTuple):
    """A forward pass, for its logits and for one backward pass, which writes over it."""

    tokens: Tokens
    passes: list[_Pass]
    """Of each layer."""
    normed: _Normed
    """(n_queries, hidden), of the last layer."""


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
        self._model, self.eps, self.head_dim = model, config.rms_norm_eps, config.head_dim
        self._pad = config.pad_token_id
        self.heads = config.num_attention_heads
        self.kv_heads = config.num_key_value_heads or self.heads
        self.weights, self.gradients = (parameters.of_flat(parameters.empty(config), config) for _ in range(2))
        positions = torch.arange(config.max_position_embeddings)[None]
        cos, sin = model.model.rotary_emb(torch.zeros(1), positions)
        half = self.head_dim // 2
        # rotate_half(x) * sin is the halves of x exchanged, times a sine whose first half is negated.
        self.cos, self.sin = cos[0], torch.cat([-sin[0, :, :half], sin[0, :, half:]], dim=1)
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
            made = self.forward(self.documents(batch))
            logps = torch.log_softmax(self.logits(made), dim=-1)
            loss = torch.nn.functional.nll_loss(logps, batch.targets)
            # The gradient of the logits: probabilities, less 1 at the target.
            d_logits = logps.exp_()
            d_logits[torch.arange(len(batch.targets)), batch.targets] -= 1
            d_logits /= len(batch.targets)
            self.backward(d_logits, made)
            return loss

    def documents(self, batch: Inputs) -> Tokens:
        """Return documents that start at position 0 under a causal mask."""
        n_documents, n_positions = batch.ids.shape
        cos, sin = (table[:n_positions, None].repeat(n_documents, 1, 1) for table in (self.cos, self.sin))
        return Tokens(batch.ids.reshape(-1), cos, sin, n_documents, _Queries(None), _queries(batch))

    def masked(
        self, ids: "torch.Tensor", cos: "torch.Tensor", sin: "torch.Tensor", mask: "torch.Tensor", at: "torch.Tensor"
    ) -> Tokens:
        """Return documents under a mask, (n_documents, 1, n_positions, n_positions). at : tokens in the last layer."""
        n_documents, n_positions = mask.shape[0], mask.shape[-1]
        slots, shape = slots_of(at // n_positions, n_documents)
        seen = mask.new_zeros(shape[0] * shape[1], n_positions).index_copy_(0, slots, mask.flatten(0, 2)[at])
        last = _Queries(at, slots, shape, seen.view(n_documents, 1, -1, n_positions))
        return Tokens(ids, cos, sin, n_documents, _Queries(None, mask=mask), last)

    def forward(self, tokens: Tokens) -> Forward:
        """Compute the tokens through all layers; in the last one, only those in `tokens.last`."""
        x, weights, passes = self.weights.embeddings.index_select(0, tokens.ids), self.weights, []
        for layer in weights.layers:
            x, made = self._forward(x, layer, tokens.last if layer is weights.layers[-1] else tokens.every, tokens)
            passes.append(made)
        return Forward(tokens, passes, _norm(x, weights.norm, self.eps))

    def logits(self, made: Forward) -> "torch.Tensor":
        """Return the logits of the tokens in `last`, (n_queries, vocabulary)."""
        return made.normed.output @ self.weights.embeddings.T

    def backward(self, d_logits: "torch.Tensor", made: Forward) -> None:
        """Overwrite `gradients` by those that follow from the gradient of the logits."""
        import torch

        tokens, weights, normed = made.tokens, self.weights, made.normed
        torch.mm(d_logits.T, normed.output, out=self.gradients.embeddings)
        d_normed = _norm_backward(d_logits @ weights.embeddings, normed, weights.norm, self.gradients.norm)
        dx = d_normed.mul_(normed.scale)
        for layer, gradients, part in zip(
            reversed(weights.layers), reversed(self.gradients.layers), reversed(made.passes), strict=True
        ):
            dx = self._backward(dx, layer, gradients, part, tokens)
        padding = self.gradients.embeddings[self._pad]
        of_head = padding.clone()
        self.gradients.embeddings.index_add_(0, tokens.ids, dx)
        padding.copy_(of_head)  # as torch.nn.Embedding: an input of padding, which can be sampled, has no gradient

    def _forward(self, x: "torch.Tensor", w: Layer, queries: _Queries, tokens: Tokens) -> "tuple[torch.Tensor, _Pass]":
        import torch

        cos, sin, n_documents = tokens.cos, tokens.sin, tokens.n_documents
        first = _norm(x, w.norms[0], self.eps)
        selected = queries.of(first.output)
        q, q_unit = self._rotated(selected @ w.q, w.head_norms[0], queries.of(cos), queries.of(sin))
        k, v = (first.output @ w.kv.T).unflatten(1, (2, -1)).unbind(1)
        k, k_unit = self._rotated(k, w.head_norms[1], cos, sin)
        keys, values = (part.reshape(n_documents, -1, self.kv_heads, self.head_dim).transpose(1, 2) for part in (k, v))
        placed = _place(q, queries, n_documents).transpose(1, 2)
        result, sums = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
            placed, keys, values, 0.0, queries.mask is None, attn_mask=queries.mask
        )
        attended = _collect(result.transpose(1, 2), queries).flatten(1)
        middle = torch.addmm(queries.of(x), attended, w.out.T)
        second = _norm(middle, w.norms[1], self.eps)
        gate_up = second.output @ w.gate_up
        raw, up = gate_up.chunk(2, dim=1)
        product = torch.nn.functional.silu(raw).mul_(up)
        made = _Pass(
            queries, first, selected, q_unit, k_unit, (placed, keys, values, result, sums), attended, second, gate_up,
            product,
        )  # fmt: skip
        return torch.addmm(middle, product, w.down.T), made

    def _backward(self, dx: "torch.Tensor", w: Layer, g: Layer, made: _Pass, tokens: Tokens) -> "torch.Tensor":
        """Write the gradients of a layer and turn the gradient of its output into that of its input."""
        import torch

        queries, cos, sin = made.queries, tokens.cos, tokens.sin
        # The results are written over what was read last, because that is in the cache and new memory is not.
        torch.mm(dx.T, made.product, out=g.down)
        d_product = torch.mm(dx, w.down, out=made.product)
        d_gate_up = made.gate_up
        raw, up = d_gate_up.chunk(2, dim=1)
        d_gate = d_product * up
        torch.mul(d_product, torch.nn.functional.silu(raw), out=up)
        torch.ops.aten.silu_backward.grad_input(d_gate, raw, grad_input=raw)
        torch.mm(made.second.output.T, d_gate_up, out=g.gate_up)
        dx.addcmul_(_norm_backward(d_gate_up @ w.gate_up.T, made.second, w.norms[1], g.norms[1]), made.second.scale)

        torch.mm(dx.T, made.attended, out=g.out)
        placed, keys, values, result, sums = made.attention
        n_documents = len(keys)
        d_result = _place((dx @ w.out).unflatten(1, (self.heads, -1)), queries, n_documents).transpose(1, 2)
        dq, dk, dv = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward(
            d_result, placed, keys, values, result, sums, 0.0, queries.mask is None, attn_mask=queries.mask
        )
        dq = _collect(dq.transpose(1, 2), queries)
        dk, dv = (part.transpose(1, 2).flatten(0, 1) for part in (dk, dv))  # (n_tokens, kv_heads, head_dim)
        dq = self._rotated_backward(dq, made.q_unit, w.head_norms[0], g.head_norms[0], queries.of(cos), queries.of(sin))
        dk = self._rotated_backward(dk, made.k_unit, w.head_norms[1], g.head_norms[1], cos, sin)
        d_kv = torch.cat([dk, dv.flatten(1)], dim=1)
        torch.mm(d_kv.T, made.first.output, out=g.kv)
        torch.mm(made.selected.T, dq, out=g.q)
        d_output = d_kv @ w.kv
        if queries.at is None:
            d_output.addmm_(dq, w.q.T)
        else:
            d_output.index_copy_(0, queries.at, torch.addmm(queries.of(d_output), dq, w.q.T))
            dx = torch.zeros_like(d_output).index_copy_(0, queries.at, dx)
        return dx.addcmul_(_norm_backward(d_output, made.first, w.norms[0], g.norms[0]), made.first.scale)

    def _rotated(
        self, x: "torch.Tensor", weight: "torch.Tensor", cos: "torch.Tensor", sin: "torch.Tensor"
    ) -> "tuple[torch.Tensor, _Normed]":
        """Normalise each head and rotate it by its position: (n_tokens, heads, head_dim)."""
        normed = _norm(x.unflatten(1, (-1, self.head_dim)), weight, self.eps)
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


def scaled(x: "torch.Tensor", weight: "torch.Tensor", eps: float) -> "torch.Tensor":
    """Normalise the last dimension, without what a backward pass needs."""
    return _norm(x, weight, eps).output


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
    slots, shape = slots_of(batch.rows, n_documents)
    seen = torch.zeros(shape[0] * shape[1], dtype=torch.long).index_copy_(0, slots, batch.columns)
    hidden = torch.arange(n_positions) > seen[:, None]
    mask = torch.zeros(hidden.shape).masked_fill_(hidden, -torch.inf).view(n_documents, 1, -1, n_positions)
    return _Queries(batch.rows * n_positions + batch.columns, slots, shape, mask)


def slots_of(rows: "torch.Tensor", n_documents: int) -> "tuple[torch.Tensor, tuple[int, int]]":
    """Number the tokens of each document, and return their places among documents of the same number of tokens.

    rows : (n_tokens,), document of each, ascending.
    """
    import torch

    counts = torch.bincount(rows, minlength=n_documents)
    width = int(counts.max())
    places = torch.arange(len(rows)) - (counts.cumsum(0) - counts)[rows]
    return rows * width + places, (n_documents, width)


def rows_of_slots(heads: "torch.Tensor", slots: "torch.Tensor", shape: tuple[int, int]) -> "torch.Tensor":
    """Arrange (n, heads, head_dim) in rows, (*shape, heads, head_dim), with zeros between them."""
    placed = heads.new_zeros(shape[0] * shape[1], *heads.shape[1:])
    return placed.index_copy_(0, slots, heads).unflatten(0, shape)


def _place(heads: "torch.Tensor", queries: _Queries, n_documents: int) -> "torch.Tensor":
    """Arrange (n_queries, heads, head_dim) by document: (n_documents, n_per_document, heads, head_dim)."""
    if queries.slots is None:
        return heads.unflatten(0, (n_documents, -1))
    return rows_of_slots(heads, queries.slots, queries.shape)


def _collect(placed: "torch.Tensor", queries: _Queries) -> "torch.Tensor":
    """Return what `_place` arranged to (n_queries, heads, head_dim)."""
    heads = placed.flatten(0, 1)
    return heads if queries.slots is None else heads.index_select(0, queries.slots)
