"""Random networks: whatever their graph, all groups in random orders together leave the function as it is."""

import brevitas.nn as qnn
import pytest
import torch
from brevitas.quant import Uint8ActPerTensorFixedPoint
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from reorderable import conv, fc, lively
from torch import nn

import tremap_brevitas as tm
from tremap_brevitas.prepare.reordering import channel_groups, prove_groups

STEPS = (
    *("conv", "conv", "grouped", "depthwise", "norm", "quant", "relu", "add", "scaled", "cat", "slice", "halves", "pad"),
    *("pool", "again", "shuffle", "attend", "flip"),
)


class Graph(nn.Module):
    """Runs a list of steps, each on some of the results before it; layers are made as their inputs come to be known."""

    def __init__(self, plan, end):
        super().__init__()
        self.plan, self.end = plan, end
        self.layers = nn.ModuleDict()

    def layer(self, name, make):
        if name not in self.layers:
            self.layers[name] = make()
        return self.layers[name]

    def forward(self, x):
        results = [self.layer("stem", lambda: conv(2, 4))(x)]
        for number, (step, a, b) in enumerate(self.plan):
            a, b = results[a % len(results)], results[b % len(results)]
            results.append(self.step(step, str(number), a, b))
        x = results[-1]
        x = x.flatten(1) if self.end == "flatten" else x.mean((2, 3))
        return self.layer("fc", lambda: fc(x.shape[1], 3))(x)

    def step(self, step, name, a, b):
        n = a.shape[1]
        if step == "conv":
            return self.layer(name, lambda: conv(n, 6, bias=True))(a)
        if step == "grouped":
            return self.layer(name, lambda: conv(n, n, groups=2))(a) if n % 2 == 0 else a
        if step == "depthwise":
            return self.layer(name, lambda: conv(n, 2 * n if n < 8 else n, groups=n))(a)
        if step == "norm":
            return self.layer(name, lambda: nn.BatchNorm2d(n))(a)
        if step == "quant":
            return self.layer(name, lambda: qnn.QuantReLU(act_quant=Uint8ActPerTensorFixedPoint))(a)
        if step == "relu":
            return torch.relu(a)
        if step == "add":
            return a + b if a.shape == b.shape else a
        if step == "scaled":
            return a * torch.sigmoid(b.amax((2, 3), keepdim=True)) if n == b.shape[1] else a
        if step == "cat":
            return torch.cat([a, b], 1) if n + b.shape[1] <= 16 else b
        if step == "slice":
            return a[:, 1:] if n > 2 else a
        if step == "halves" and n > 1:
            first, second = a[:, : n // 2], a[:, n // 2 : 2 * (n // 2)]
            return first * second + first
        if step == "pad":
            return nn.functional.pad(a, (0, 0, 0, 0, 1, 2)) if n < 12 else a
        if step == "pool":
            return nn.functional.max_pool2d(a, 3, 1, 1)
        if step == "again":
            layer = self.layer(name, lambda: conv(n, n, bias=True))
            return layer(torch.relu(layer(a)))
        if step == "shuffle":
            return a.view(-1, 2, n // 2, 4, 4).transpose(1, 2).reshape(-1, n, 4, 4) if n % 2 == 0 else a
        if step == "attend":
            heads = 2 if n % 2 == 0 else 1
            q = a.flatten(2).view(-1, heads, n // heads, 16)
            other = self.layer(name, lambda: conv(n, n, 1))(a).flatten(2).view(-1, heads, n // heads, 16)
            return (q @ (other.transpose(2, 3) @ q / 16).softmax(-1)).view(-1, n, 4, 4)
        return a.flip(1)


plans = st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=8)
# The last results come into use, so that graphs are deep.
deep = plans.map(lambda plan: [(step, i if a % 2 else a, b) for i, (step, a, b) in enumerate(plan)])


@pytest.mark.slow(10)
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example([("grouped", 0, 0), ("cat", 1, 1), ("cat", 0, 1)], "flatten", 0)
@example([("halves", 0, 0), ("cat", 0, 1), ("attend", 2, 2), ("add", 2, 3)], "mean", 0)
@given(deep, st.sampled_from(["flatten", "mean"]), st.integers(0, 2**31))
def test_the_function_is_unchanged(plan, end, seed):
    torch.manual_seed(seed)
    model, x = Graph(plan, end), torch.randn(2, 2, 4, 4)
    model(x)
    net = tm.place(tm.make_faulty(lively(model, x, seed=seed)), tm.Memory(words=20_000, word_bits=32))
    report = channel_groups(net, x, prove=False)
    worst = prove_groups(net, report.groups, x, seed=seed)
    assert max(worst.values()) < 1e-9
    names = [group.name for group in report.groups]
    assert len(set(names)) == len(names)
    # Every place of every layer is in a group, or named.
    left = {}
    for one in report.left_alone:
        left[one.layer, one.axis] = left.get((one.layer, one.axis), 0) + one.channels
    for layer in net.placement.layers:
        sides = [s for g in report.groups for s in g.sides if (s.layer, s.axis) == (layer.name, 0)]
        moved = {int(i) for s in sides for i in s.index.reshape(-1)}
        assert len(moved) + left.get((layer.name, 0), 0) == (layer.shape[0] if layer.shape[0] > 1 else 0)
