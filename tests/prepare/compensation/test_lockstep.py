"""Passes side by side: they compute what they compute alone, and a change made while they stand takes effect."""

import pytest
import torch
from torch import nn

from tremap_brevitas.prepare.compensation.lockstep import in_lockstep


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(3, 3), nn.Linear(3, 3)

    def forward(self, x):
        y = self.a(x)
        return self.b(torch.relu(y)) + x if x.sum() < 100 else self.a(y)


def passes_of(net, batches, results):
    def run(index, batch):
        results[index] = net(batch)

    return [(net, lambda i=i, b=b: run(i, b)) for i, b in enumerate(batches)]


@torch.no_grad()
def test_results_and_halts_are_those_of_passes_alone():
    net, batches, results = Net(), torch.randn(3, 2, 3), {}
    expected = [net(b) for b in batches]
    seen = [(halt.name, halt.inputs) for halt in in_lockstep(passes_of(net, batches, results), ["a", "b"])]
    assert [name for name, _ in seen] == ["a", "b"]
    assert all(torch.equal(x, b) for x, b in zip(seen[0][1], batches, strict=True))
    assert all(torch.equal(x, torch.relu(net.a(b))) for x, b in zip(seen[1][1], batches, strict=True))
    assert all(torch.equal(results[i], e) for i, e in enumerate(expected))
    assert not net.a._forward_pre_hooks


@torch.no_grad()
def test_a_change_made_at_a_halt_takes_effect():
    net, batches, results = Net(), torch.randn(2, 2, 3), {}
    for halt in in_lockstep(passes_of(net, batches, results), ["b"]):
        net.b.weight.zero_()
        assert halt.name == "b"
    assert torch.allclose(results[1], net.b.bias + batches[1])


@torch.no_grad()
def test_what_is_done_before_one_pass_goes_on_is_for_it_alone():
    net, batches, results = Net(), torch.randn(2, 2, 3), {}

    def before(index, name):
        if name == "a":
            net.a.weight.fill_(float(index))

    list(in_lockstep(passes_of(net, batches, results), ["a", "b"], before=before))
    for index in range(2):
        net.a.weight.fill_(float(index))
        assert torch.equal(results[index], net(batches[index]))


def test_inputs_that_take_another_way_are_refused():
    net, results = Net(), {}
    batches = [torch.zeros(2, 3), torch.full((2, 3), 100.0)]
    with pytest.raises(ValueError, match="layers depends on its inputs: it reached 'a', 'b' at once"):
        list(in_lockstep(passes_of(net, batches, results), ["a", "b"]))
    assert not net.a._forward_pre_hooks


def test_an_error_in_a_pass_comes_out_and_leaves_no_hooks():
    net, results = Net(), {}
    with pytest.raises(RuntimeError, match="shapes"):
        list(in_lockstep(passes_of(net, [torch.zeros(2, 4)], results), ["a"]))
    assert not net.a._forward_pre_hooks


def test_stopping_early_leaves_no_hooks_and_no_grad_mode():
    net, results = Net(), {}
    halts = in_lockstep(passes_of(net, torch.zeros(2, 1, 3), results), ["a", "b"])
    next(halts)
    halts.close()
    assert not net.a._forward_pre_hooks
    assert torch.is_grad_enabled()
