"""Muon over stacks of matrices makes the updates of torch.optim.Muon."""

import pytest
import torch

from replication.collect.training import muon
from replication.collect.training.muon import Muon, StackedMuon

SHAPES = [(16, 16), (8, 16), (16, 16), (48, 16), (16, 48), (48, 16)] * 2


def matrices():
    torch.manual_seed(0)
    return [torch.randn(shape).mul_(0.1).requires_grad_() for shape in SHAPES]


def make_steps(optimizer, weights, n, first=0):
    for step in range(first, first + n):
        for i, weight in enumerate(weights):
            generator = torch.Generator().manual_seed(1_000 * step + i)
            weight.grad = torch.randn(weight.shape, generator=generator) + weight.detach()
        optimizer.step()
        optimizer.zero_grad()


@pytest.mark.parametrize("cached", [1, 600, 2**18])
def test_updates_are_those_of_torch_for_stacks_of_any_size(monkeypatch, cached):
    monkeypatch.setattr(muon, "CACHED", cached)
    theirs, ours = matrices(), matrices()
    reference = torch.optim.Muon(theirs, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    optimizer = Muon(ours, weight_decay=0.1)
    optimizer.lr = 0.01
    for weights, one in ((theirs, reference), (ours, optimizer)):
        make_steps(one, weights, 5)
    for start, their, our in zip(matrices(), theirs, ours, strict=True):
        assert (their - start).abs().max() > 0.01
        # Equal bit for bit on the CPUs that we tried; products in bfloat16 differ by 2**-8 where sums have another order.
        torch.testing.assert_close(our, their, rtol=0, atol=5 * 0.01 * 0.2 * 48**0.5 * 2**-8)


def stacked(start, is_strided):
    """Return a copy of matrices, as parts of longer rows or in a tensor of their own."""
    if not is_strided:
        return start.clone()
    held = torch.zeros(start.shape[0], start.shape[-2], 2, start.shape[-1])
    return held.transpose(1, 2)[:, :1].copy_(start[:, None])


@pytest.mark.parametrize("few", [1, 2_000, 2**16])
@pytest.mark.parametrize("is_strided", [False, True])
@pytest.mark.parametrize(
    "shapes", [[(3, 16, 48)], [(5, 48, 16)], [(4, 16, 16)], [(3, 16, 48), (4, 16, 16), (5, 48, 16)]]
)
def test_updates_of_stacks_are_those_of_torch(monkeypatch, few, is_strided, shapes):
    monkeypatch.setattr(muon, "FEW", few)
    generator = torch.Generator().manual_seed(0)
    starts = [torch.randn(shape, generator=generator) * 0.1 for shape in shapes]
    theirs = [[matrix.clone().requires_grad_() for matrix in start] for start in starts]
    ours, gradients = ([stacked(start, is_strided) for start in starts] for _ in range(2))
    reference = torch.optim.Muon(
        [matrix for stack in theirs for matrix in stack], lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
    )
    optimizer = StackedMuon(ours, gradients, weight_decay=0.1)
    optimizer.lr = 0.01
    for scale in (0.3, 1.0, 0.01, 1.0, 0.5):  # of gradients, as by clipping
        for stack, gradient in zip(theirs, gradients, strict=True):
            gradient.normal_(generator=generator)
            for matrix, own in zip(stack, gradient.view(-1, *gradient.shape[-2:]), strict=True):
                matrix.grad = own * scale
        reference.step()
        optimizer.step(scale)
    for start, stack, own in zip(starts, theirs, ours, strict=True):
        own = own.reshape(start.shape)
        assert (own - start).abs().amax(dim=(1, 2)).min() > 0.01
        # Products in bfloat16, whose roundings are others.
        torch.testing.assert_close(own, torch.stack(stack).detach(), rtol=0, atol=5 * 0.01 * 0.2 * 48**0.5 * 2**-6)


@pytest.mark.parametrize("shape", [(4, 64, 160), (3, 96, 96), (3, 96, 288), (2, 160, 416)])
@pytest.mark.parametrize("rank", [2, 8, 500])
def test_iterations_round_no_more_than_those_that_muon_was_published_with(shape, rank):
    """Against the iterations in float64; the published ones add their terms separately."""
    n, short, long = shape
    generator = torch.Generator().manual_seed(rank)
    x = torch.randn(n, short, rank, generator=generator) @ torch.randn(n, rank, long, generator=generator)
    x = (x + torch.randn(shape, generator=generator)).double()
    x /= torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True)
    a, b, c = muon.NS_COEFFICIENTS

    def published(x):
        for _ in range(muon.NS_STEPS):
            gram = x @ x.mT
            x = a * x + (b * gram + c * gram @ gram) @ x
        return x

    exact = published(x)
    ours = muon._iterated_by_squares((3 * x).bfloat16(), -0.5).double() * -2
    errors = [float((made - exact).norm() / exact.norm()) for made in (ours, published(x.bfloat16()).double())]
    assert errors[0] < errors[1] < 0.25
    in_float64 = muon._iterated_by_squares(3 * x, -0.5) * -2
    torch.testing.assert_close(in_float64, exact, rtol=0, atol=1e-9)


@pytest.fixture
def without_bfloat16(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    muon.product_type.cache_clear()
    yield
    muon.product_type.cache_clear()


@pytest.mark.parametrize("shape", [(16, 48), (48, 16), (16, 16)])
def test_a_processor_without_bfloat16_makes_the_exact_updates_in_float32(without_bfloat16, shape):
    """A first step from zero momenta, against the iterations in float64."""
    assert muon.product_type("cpu") == torch.float32 and muon.product_type("cuda") == torch.bfloat16
    gradients = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    exact = muon._iterated(gradients.double() / torch.linalg.vector_norm(gradients.double(), dim=(1, 2), keepdim=True))
    one_by_one, stack = [matrix.requires_grad_() for matrix in torch.zeros(3, *shape)], torch.zeros(3, *shape)
    for weight, gradient in zip(one_by_one, gradients, strict=True):
        weight.grad = gradient
    for optimizer in (Muon(one_by_one, 0.0), StackedMuon([stack], [gradients], 0.0)):
        optimizer.lr = -1.0 / (0.2 * 48**0.5 if 48 in shape else 0.2 * 16**0.5)
        optimizer.step()
    for updates in (torch.stack(one_by_one).detach(), stack, muon.orthogonalised_stack(gradients)):
        torch.testing.assert_close(updates.double(), exact, rtol=0, atol=1e-5)


def test_restored_state_of_stacks_continues_with_the_same_updates():
    generator = torch.Generator().manual_seed(0)
    start, gradients = torch.randn(3, 16, 48, generator=generator), torch.randn(5, 3, 16, 48, generator=generator)

    def steps(optimizer, gradient, those):
        for i in those:
            gradient.copy_(gradients[i])
            optimizer.step(1 / (i + 1))

    whole, cut, gradient = start.clone(), start.clone(), torch.empty_like(start)
    steps(StackedMuon([whole], [gradient], 0.1), gradient, range(5))
    first, second = (StackedMuon([cut], [gradient], 0.1) for _ in range(2))
    steps(first, gradient, range(2))
    second.load_state_dict(first.state_dict())
    steps(second, gradient, range(2, 5))
    assert torch.equal(whole, cut)


def test_restored_state_continues_with_the_same_updates():
    whole, cut = matrices(), matrices()
    make_steps(Muon(whole, 0.1), whole, 4)
    first = Muon(cut, 0.1)
    make_steps(first, cut, 2)
    second = Muon(cut, 0.1)
    second.load_state_dict(first.state_dict())
    make_steps(second, cut, 2, first=2)
    assert all(torch.equal(a, b) for a, b in zip(whole, cut, strict=True))
