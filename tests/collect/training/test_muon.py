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


@pytest.mark.parametrize("few", [1, 2_000, 2**16])
@pytest.mark.parametrize(
    "shapes", [[(3, 16, 48)], [(5, 48, 16)], [(4, 16, 16)], [(3, 16, 48), (4, 16, 16), (5, 48, 16)]]
)
def test_updates_of_stacks_are_those_of_torch(monkeypatch, few, shapes):
    monkeypatch.setattr(muon, "FEW", few)
    generator = torch.Generator().manual_seed(0)
    starts = [torch.randn(shape, generator=generator) * 0.1 for shape in shapes]
    theirs = [[matrix.clone().requires_grad_() for matrix in start] for start in starts]
    ours, gradients = [start.clone() for start in starts], [torch.empty(shape) for shape in shapes]
    reference = torch.optim.Muon(
        [matrix for stack in theirs for matrix in stack], lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
    )
    optimizer = StackedMuon(ours, gradients, weight_decay=0.1)
    optimizer.lr = 0.01
    for _ in range(5):
        for stack, gradient in zip(theirs, gradients, strict=True):
            gradient.normal_(generator=generator)
            for matrix, own in zip(stack, gradient, strict=True):
                matrix.grad = own.clone()
        reference.step()
        optimizer.step()
    for start, stack, own in zip(starts, theirs, ours, strict=True):
        assert (own - start).abs().amax(dim=(1, 2)).min() > 0.01
        # Products in bfloat16, whose roundings have another order.
        torch.testing.assert_close(own, torch.stack(stack).detach(), rtol=0, atol=5 * 0.01 * 0.2 * 48**0.5 * 2**-7)


def test_restored_state_continues_with_the_same_updates():
    whole, cut = matrices(), matrices()
    make_steps(Muon(whole, 0.1), whole, 4)
    first = Muon(cut, 0.1)
    make_steps(first, cut, 2)
    second = Muon(cut, 0.1)
    second.load_state_dict(first.state_dict())
    make_steps(second, cut, 2, first=2)
    assert all(torch.equal(a, b) for a, b in zip(whole, cut, strict=True))
