"""Where a layer's output goes, seen in one forward pass."""

import torch
from torch import nn

from tremap_brevitas.prepare.compensation.absorb import trace_successors


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.plain, self.bn_plain = nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3)
        self.added, self.bn_added = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.relu, self.bn_relu = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.one, self.two, self.bn_shared = nn.Conv2d(3, 3, 1), nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.twice, self.bn_twice = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)
        self.fixed, self.bn_fixed = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3, affine=False)
        self.out, self.bn_out = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

    def forward(self, x):
        x = self.bn_plain(self.plain(x))
        y = self.added(x)
        x = self.bn_added(y) + y
        x = self.bn_relu(torch.relu(self.relu(x)))
        x = self.bn_shared(self.one(x)) + self.bn_shared(self.two(x))
        x = self.bn_twice(self.twice(self.twice(x)))
        x = self.bn_fixed(self.fixed(x))
        y = self.out(x)
        return self.bn_out(y), y


def test_only_what_goes_into_one_batchnorm_and_nowhere_else():
    net = Net().eval()
    layers = [name for name, m in net.named_modules() if isinstance(m, nn.Conv2d)]
    trace = trace_successors(net, lambda: net(torch.randn(1, 2, 4, 4)), layers)
    assert trace.absorbers == {"plain": "bn_plain"}
    assert trace.calls == {**dict.fromkeys(layers, 1), "twice": 2}
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.modules())


def test_a_batchnorm_over_positions_is_not_over_the_layers_channels():
    for layer, norm, shape in (
        (nn.Linear(3, 4), nn.BatchNorm1d(4), (8, 3)),
        (nn.Linear(3, 4), nn.BatchNorm1d(4), (8, 4, 3)),
        (nn.Conv1d(3, 4, 1), nn.BatchNorm1d(4), (8, 3, 5)),
        (nn.Conv1d(3, 4, 1), nn.BatchNorm1d(5), (3, 5)),
    ):
        net = nn.Sequential(layer, norm).eval()
        trace = trace_successors(net, lambda net=net, shape=shape: net(torch.randn(shape)), ["0"])
        own = len(shape) == (2 if isinstance(layer, nn.Linear) else 3)
        assert trace.absorbers == ({"0": "1"} if own else {})
