"""Muon for many matrices at once: those of one shape are orthogonalised in the same batched products.

The update is that of torch.optim.Muon, which takes one matrix after the other: 15 small products for each. On a CPU with
bfloat16 products the weights are equal bit for bit, which a test checks; on a GPU only sums within a product may differ. A
CPU without them computes in float32.
"""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import torch

MOMENTUM, EPS = 0.95, 1e-7
NS_COEFFICIENTS, NS_STEPS = (3.4445, -4.7750, 2.0315), 5
"""As in torch.optim.Muon: coefficients and number of the Newton-Schulz iterations."""

NS_SIZE = NS_COEFFICIENTS[2] ** 0.25
"""Factor of a matrix by which the last coefficient becomes 1."""

NS_WIDE = (2, 1, 2)
"""Numbers of iterations on wide matrices that share one product x x^T. With three in a group the rounding error was up to
3.7 times as large (paper/log.md)."""

CACHED = 2**18
"""Numbers in a stack on a CPU, of which four bytes each fit a core's cache."""

FEW = 2**16
"""Numbers of which gradients, momenta and weights fit the cache together."""


@functools.cache
def product_type(device: str) -> "torch.dtype":
    """Return the type in which the updates are computed: bfloat16, or float32 on a CPU without instructions for it.

    There, products in bfloat16 take 2 to 20 times as long as in float32 (paper/log.md). Only instructions of x86 processors
    are looked for. device : "cpu" or "cuda".
    """
    import torch

    return torch.float32 if device == "cpu" and not torch.cpu._is_avx512_bf16_supported() else torch.bfloat16


class Muon:
    """Muon with Nesterov momentum, decoupled weight decay and updates of AdamW's size (`match_rms_adamw`)."""

    def __init__(self, matrices: "Sequence[torch.Tensor]", weight_decay: float) -> None:
        self.lr, self._weight_decay = 1.0, weight_decay
        by_shape: dict[tuple[int, ...], list[torch.Tensor]] = {}
        for matrix in matrices:
            by_shape.setdefault(tuple(sorted(matrix.shape)), []).append(matrix)
        self._groups = [part for group in by_shape.values() for part in _parts(group)]
        """Matrices of one shape, or its transpose."""
        self._momenta: list[torch.Tensor] = []
        """For each group, (n_matrices, short side, long side)."""

    def step(self) -> None:
        """Update the matrices by their gradients."""
        import torch

        with torch.no_grad():
            if not self._momenta:
                self._momenta = [torch.zeros_like(_stacked(group)) for group in self._groups]
            for group, momentum in zip(self._groups, self._momenta, strict=True):
                gradients = _stacked([_gradient(matrix) for matrix in group])
                momentum.lerp_(gradients, 1 - MOMENTUM)
                updates = _orthogonalised(gradients.lerp(momentum, MOMENTUM))
                rate = self.lr * 0.2 * max(group[0].shape) ** 0.5
                torch._foreach_mul_(group, 1 - self.lr * self._weight_decay)
                for matrix, update in zip(group, updates, strict=True):
                    matrix.add_(update if _is_wide(matrix) else update.T, alpha=-rate)

    def zero_grad(self) -> None:
        """Drop the gradients."""
        for group in self._groups:
            for matrix in group:
                matrix.grad = None

    def state_dict(self) -> dict[str, Any]:
        """Return the state that `load_state_dict` takes."""
        return {"momenta": self._momenta}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Return to a saved state of the same matrices."""
        self._momenta = [momentum.to(self._groups[0][0].device) for momentum in state["momenta"]]


class _Part(NamedTuple):
    """Some matrices of a stack, few enough for the cache, and their places among the updates of their group."""

    weights: "torch.Tensor"
    """(n_matrices, rows, columns); so are gradients and momenta."""
    gradients: "torch.Tensor"
    momenta: "torch.Tensor"
    first: int

    def of(self, group: "torch.Tensor") -> "torch.Tensor":
        """Return the places of these matrices, in their shape."""
        own = group[self.first : self.first + len(self.weights)]
        return own if _is_wide(self.weights) else own.mT


class _Group(NamedTuple):
    """All matrices of one shape, or its transpose."""

    updates: "torch.Tensor"
    """(n_matrices, short side, long side), in the `product_type`."""
    parts: list[_Part]


class StackedMuon:
    """The same update of matrices that lie in stacks, (n, [m,] rows, columns), with gradients in stacks.

    All matrices of one shape, or its transpose, are orthogonalised together, because one product of many small matrices is
    faster than several of fewer; `_iterated_by_squares` saves copies and products. Weights differ from those of `Muon` in
    rounding.
    """

    def __init__(
        self, weights: "Sequence[torch.Tensor]", gradients: "Sequence[torch.Tensor]", weight_decay: float
    ) -> None:
        import torch

        self.lr, self._weight_decay = 1.0, weight_decay
        self._momenta = [torch.zeros_like(stack) for stack in weights]
        self._total = 0.0
        """Sum of the weights of all gradients so far. The momenta are kept as weighted means: the usual ones over this."""
        by_shape: dict[tuple[int, ...], list[tuple[torch.Tensor, ...]]] = {}
        for stacks in zip(weights, gradients, self._momenta, strict=True):
            by_shape.setdefault(tuple(sorted(stacks[0].shape[-2:])), []).append(stacks)
        self._groups = [_group(shape, of_shape) for shape, of_shape in by_shape.items()]
        largest = max(part.weights.numel() for group in self._groups for part in group.parts)
        self._update = torch.empty(largest, device=weights[0].device)

    def step(self, scale: float = 1.0) -> None:
        """Update the matrices by their gradients times `scale`; the gradients stay as they are."""
        import torch

        # Updates are normalised, so a common factor of gradients and momenta makes no difference.
        new = (1 - MOMENTUM) * scale
        self._total = MOMENTUM * self._total + new
        share, of_momenta = new / self._total, MOMENTUM * self._total / (MOMENTUM * self._total + new)
        with torch.no_grad():
            for updates, parts in self._groups:
                for part in parts:
                    part.momenta.lerp_(part.gradients, share)
                    update = self._update[: part.weights.numel()].view(part.weights.shape)
                    torch.lerp(part.gradients, part.momenta, of_momenta, out=update)
                    part.of(updates).copy_(update)
                made = _iterated_by_squares(updates, -self.lr * 0.2 * updates.shape[2] ** 0.5)
                for part in parts:
                    torch.add(part.of(made), part.weights, alpha=1 - self.lr * self._weight_decay, out=part.weights)

    def state_dict(self) -> dict[str, Any]:
        """Return the state that `load_state_dict` takes."""
        return {"momenta": self._momenta, "total": self._total}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Return to a saved state of the same matrices."""
        self._total = state["total"]
        for own, saved in zip(self._momenta, state["momenta"], strict=True):
            own.copy_(saved)


def _group(shape: tuple[int, ...], stacks: "Sequence[tuple[torch.Tensor, ...]]") -> _Group:
    """Divide stacks of weights, gradients and momenta into parts. shape : short side, long side."""
    import torch

    parts: list[_Part] = []
    n = 0
    few = max(1, FEW // (shape[0] * shape[1]))
    for of_kind in stacks:
        pieces = zip(
            *([part for along in _along(stack) for part in along.split(few)] for stack in of_kind), strict=True
        )
        for weights, gradients, momenta in pieces:
            parts.append(_Part(weights, gradients, momenta, n))
            n += len(weights)
    device = stacks[0][0].device
    return _Group(torch.empty(n, *shape, dtype=product_type(device.type), device=device), parts)


def _along(stack: "torch.Tensor") -> "Sequence[torch.Tensor]":
    """Divide a stack (n, m, rows, columns) into stacks (n, rows, columns), which one is already."""
    return stack.unbind(1) if stack.ndim == 4 else [stack]


def _parts(group: "list[torch.Tensor]") -> "list[list[torch.Tensor]]":
    """Split a group on a CPU so that a stack stays in its cache."""
    n = len(group) if group[0].is_cuda else max(1, CACHED // group[0].numel())
    return [group[at : at + n] for at in range(0, len(group), n)]


def _is_wide(matrix: "torch.Tensor") -> bool:
    return matrix.shape[-2] <= matrix.shape[-1]


def _stacked(matrices: "Sequence[torch.Tensor]") -> "torch.Tensor":
    import torch

    return torch.stack([matrix if _is_wide(matrix) else matrix.T for matrix in matrices])


def _gradient(matrix: "torch.Tensor") -> "torch.Tensor":
    assert matrix.grad is not None  # every matrix of an organism takes part in every step
    return matrix.grad


def _orthogonalised(updates: "torch.Tensor") -> "torch.Tensor":
    """Replace the singular values of wide matrices by about 1: (n_matrices, short side, long side)."""
    import torch

    x = updates.to(product_type(updates.device.type))
    # One by one: the order of a sum over two dimensions of a stack is not that of one matrix.
    x = x / torch.stack(torch._foreach_norm(list(x))).clamp(min=EPS)[:, None, None]
    return _iterated(x)


def orthogonalised_stack(updates: "torch.Tensor") -> "torch.Tensor":
    """Replace the singular values of matrices by about 1: (n_matrices, outputs, inputs)."""
    import torch

    x = updates.to(product_type(updates.device.type))
    return _iterated(x / torch.linalg.vector_norm(x.flatten(1), dim=1).clamp(min=EPS)[:, None, None])


def _iterated(x: "torch.Tensor") -> "torch.Tensor":
    """Apply the Newton-Schulz iterations to matrices whose singular values are at most 1; wide or tall."""
    import torch

    a, b, c = NS_COEFFICIENTS
    for _ in range(NS_STEPS):
        gram = x @ x.mT if _is_wide(x[0]) else x.mT @ x
        polynomial = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factors = (polynomial, x) if _is_wide(x[0]) else (x, polynomial)
        x = torch.baddbmm(x, *factors, beta=a)
    return x


def _iterated_by_squares(x: "torch.Tensor", factor: float) -> "torch.Tensor":
    """Normalise matrices, apply the iterations, and multiply by a factor.

    x : (n, short side, long side), unchanged. The result has the same shape.

    With z = NS_SIZE x and g = z z^T, a x + b (x x^T) x + c (x x^T)^2 x, times NS_SIZE, is p z with

        p = (g + b / (2 sqrt(c)) I)^2 + (a - b^2 / (4 c)) I.

    What is added lies on the diagonal, so that no stack is copied for a product to be added to. Two iterations are p' p z,
    where p' is made of g' = p g p: three products more of the short side instead of two with the long one, which is less
    work where that is over 1.5 times as long. The trace of x x^T is the squared norm; it and the factor multiply g and p,
    which are smaller than x. The rounding error is at most that of Muon as published on random matrices and on momenta of
    arms in training (paper/log.md).
    """
    import torch

    short, long = x.shape[-2:]
    groups = NS_WIDE if 2 * long >= 3 * short else (1,) * NS_STEPS
    for at, n in enumerate(groups):
        gram = x @ x.mT
        if at == 0:
            squares = gram.diagonal(dim1=-2, dim2=-1).sum(-1, dtype=torch.promote_types(x.dtype, torch.float32))
            sizes = (NS_SIZE / squares.sqrt_().clamp_(min=EPS)).to(x.dtype)[:, None, None]
            gram.mul_(sizes).mul_(sizes)
        joined = last = _polynomial(gram.clone() if n > 1 else gram)
        for left in reversed(range(n - 1)):
            gram = last @ gram @ last
            last = _polynomial(gram.clone() if left else gram)
            joined = last @ joined
        if at == 0:
            joined.mul_(sizes)
        if at == len(groups) - 1:
            joined.mul_(factor / NS_SIZE)
        x = torch.bmm(joined, x)
    return x


def _polynomial(gram: "torch.Tensor") -> "torch.Tensor":
    """Return the p of `_iterated_by_squares` of g, which is written over."""
    a, b, c = NS_COEFFICIENTS
    gram.diagonal(dim1=-2, dim2=-1).add_(b / (2 * c**0.5))
    polynomial = gram @ gram
    polynomial.diagonal(dim1=-2, dim2=-1).add_(a - b**2 / (4 * c))
    return polynomial
