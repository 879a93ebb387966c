"""Which channels may change places, in networks of many kinds; and the proof that they may."""

import dataclasses

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from brevitas.quant import Int8BiasPerTensorFloatInternalScaling, Int8WeightPerTensorFloat, Uint8ActPerTensorFloat
from networks import DigitsNet, ResNet
from reorderable import NETWORKS, Attention, FeedForward, Grouped, Residual, Untraceable, conv, fc, placed
from torch import nn

import tremap_brevitas as tm
from tremap_brevitas.order import ChannelGroup, Side
from tremap_brevitas.prepare.reordering import channel_groups, prove_groups

EXPECTED = {
    "Residual": {
        "stem.0": "stem.0[0] one.0[1] down.0[1]",
        "one.0": "one.0[0] two[1]",
        "two": "two[0] down.0[0] three.0[1] four[0] fc[1]",
        "three.0": "three.0[0] four[1]",
    },
    "Mobile": {
        "stem.0": "stem.0[0] expand.0[1] project[0] twice.0[0] last.0[1]",
        "expand.0": "expand.0[0] depthwise.0[0] project[1]",
        "last.0": "last.0[0] fc[1]",
    },
    "Dense": {
        "stem.0": "stem.0[0] one.0[1] two.0[1] three[1]",
        "one.0": "one.0[0] two.0[1] three[1]",
        "two.0": "two.0[0] three[0] three[1] end.0[1]",
        "end.0": "end.0[0] fc[1]",
    },
    "Grouped": {
        **{f"stem.0{n}": "stem.0[0] grouped.0[1]" for n in ("", " #2", " #3")},
        **{f"grouped.0{n}": "grouped.0[0] second.0[1]" for n in ("", " #2", " #3")},
        **{f"second.0{n}": "second.0[0] fc[1]" for n in ("", " #2", " #3")},
        "stem.0 blocks": "stem.0[0] grouped.0[0] second.0[0] fc[1]",
    },
    "FeedForward": {
        "embed": "embed[0] qkv[1] out[0] up[1] down[0] head[1]",
        **{f"qkv{n}": "qkv[0]" for n in ("", " #2", " #3")},
        **{f"qkv{n}": "qkv[0] out[1]" for n in (" #4", " #5", " #6")},
        "up": "up[0] down[1]",
        "qkv blocks": "qkv[0] out[1]",
    },
    "Attention": {
        "embed": "embed[0] head[1] attention.in_proj[1] attention.out_proj[0]",
        **{f"attention.in_proj{n}": "attention.in_proj[0]" for n in ("", " #2", " #3")},
        **{f"attention.in_proj{n}": "attention.in_proj[0] attention.out_proj[1]" for n in (" #4", " #5", " #6")},
        "attention.in_proj blocks": "attention.in_proj[0] attention.out_proj[1]",
    },
    "Shared": {"first": "first[0] twice[0] twice[1] free[1]", "free": "free[0] last[1]"},
    "Untraceable": {"second": "second[0] third[1]"},
    "Mixed": {"one": "one[0] up[0]", "mid": "mid[0] up[1] cube[1]", "cube": "cube[0] fc[1]"},
}


def sides_of(report):
    return {g.name: " ".join(f"{side.layer}[{side.axis}]" for side in g.sides) for g in report.groups}


def a_net(model):
    return tm.place(tm.make_faulty(model.eval()), tm.Memory(words=100_000, word_bits=32))


@pytest.mark.parametrize("kind", NETWORKS, ids=lambda kind: kind.__name__)
def test_networks_of_many_kinds(kind):
    net, x = placed(kind)
    before = {key: value.clone() for key, value in net.model.state_dict().items()}
    report = channel_groups(net, x)
    assert sides_of(report) == EXPECTED[kind.__name__]
    worst = prove_groups(net, report.groups, x, seed=1, trials=3)
    assert set(worst) == {"own", "varied"}
    assert max(worst.values()) < 1e-12
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in net.model.modules())
    assert all(torch.equal(value, before[key]) for key, value in net.model.state_dict().items())


def test_what_is_left_alone_is_named():
    net, x = placed(Untraceable)
    report = channel_groups(net, x)
    left = {(one.layer, one.axis): (one.channels, one.reason) for one in report.left_alone}
    assert left == {
        ("first", 0): (8, "mixed in cumsum"),
        ("first", 1): (5, "meets what does not move in addmm in 'first'"),
        ("second", 1): (8, "mixed in cumsum"),
        ("third", 0): (4, "the network's output"),
    }
    assert "mixed in cumsum" in str(report)


def test_an_operation_that_is_not_known_stops_the_channels_that_enter_it():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = fc(5, 8), fc(8, 4)

        def forward(self, x):
            return self.second(torch.linalg.matrix_exp(torch.diag_embed(self.first(x)))[:, 0])

    report = channel_groups(a_net(Net()), torch.randn(3, 5))
    assert not report.groups
    assert any("not understood: " in one.reason for one in report.left_alone if one.layer == "first" and one.axis == 0)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_resnet20_with_shortcuts_that_pad_channels(layout):
    """In channels-last order torch's pooling to one place sets the strides of what it returns."""
    torch.manual_seed(0)
    net = a_net(ResNet(20).to(memory_format=layout))
    report = channel_groups(net, torch.randn(1, 3, 8, 8))
    stages = {g.name: g for g in report.groups if len(g.sides) > 2}
    assert [(name, g.channels) for name, g in stages.items()] == [("conv1", 16), ("layer2.0.conv2", 16), ("layer3.0.conv2", 32)]
    # Channel k of the first stage is channel k + 8 of the second and k + 24 of the third.
    index = {(side.layer, side.axis): side.index[:, 0].tolist() for g in report.groups for side in g.sides}
    assert index["conv1", 0] == list(range(16))
    assert {(s.layer, s.axis): s.index[:, 0].tolist() for s in stages["conv1"].sides}["layer2.0.conv2", 0] == list(range(8, 24))
    assert {(s.layer, s.axis): s.index[:, 0].tolist() for s in stages["conv1"].sides}["linear", 1] == list(range(24, 40))
    second = {(s.layer, s.axis): s.index[:, 0].tolist() for s in stages["layer2.0.conv2"].sides}
    assert second["layer2.0.conv2", 0] == [*range(8), *range(24, 32)]
    assert second["linear", 1] == [*range(16, 24), *range(40, 48)]
    third = {(s.layer, s.axis): s.index[:, 0].tolist() for s in stages["layer3.0.conv2"].sides}
    assert third["linear", 1] == [*range(16), *range(48, 64)]
    assert len(report.groups) == 12


@pytest.mark.parametrize(("size", "stride"), [((4, 4), (1, 4)), ((4, 4), (0, 1)), ((2, 8), (8, 1)), ((4, 3), (4, 1))])
@pytest.mark.parametrize("in_place", [False, True])
def test_strides_that_move_elements(size, stride, in_place):
    """Elements in other places, repeated or left out: not followed, whatever the strides say."""

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.second = fc(5, 4), fc(size[1], 4)

        def forward(self, x):
            x = torch.relu(self.first(x))
            return self.second(x.as_strided_(size, stride) if in_place else x.as_strided(size, stride))

    report = channel_groups(a_net(Net()), torch.randn(4, 5))
    assert not report.groups
    assert any(one.reason.startswith("not understood: as_strided") for one in report.left_alone)


def test_digits_network_and_what_a_flatten_makes_of_a_channel():
    torch.manual_seed(0)
    report = channel_groups(a_net(DigitsNet()), torch.randn(2, 1, 8, 8))
    last = report.groups[-1]
    (side,) = (s for s in last.sides if s.layer == "classifier")
    assert (side.axis, side.index.tolist()) == (1, np.arange(96).reshape(24, 4).tolist())
    assert [v.layer for v in last.values] == [f"features.7.{n}" for n in ("weight", "bias", "running_mean", "running_var")]


def test_a_group_stays_within_its_convolution_and_moves_whole():
    net, x = placed(Grouped)
    groups = {g.name: g for g in channel_groups(net, x).groups}
    (columns,) = (s for s in groups["stem.0 #2"].sides if s.axis == 1)
    axis, rows = columns.within
    assert (columns.index[:, 0].tolist(), axis, rows.tolist()) == ([0, 1, 2, 3], 0, list(range(6, 12)))
    assert groups["stem.0 #2"].sides[0].index[:, 0].tolist() == [4, 5, 6, 7]
    whole = {s.layer: s.index.tolist() for s in groups["stem.0 blocks"].sides}
    assert whole["grouped.0"] == np.arange(18).reshape(3, 6).tolist()
    assert whole["second.0"] == np.arange(9).reshape(3, 3).tolist()


def test_heads_move_whole_with_queries_keys_and_values():
    net, x = placed(FeedForward)
    groups = {g.name: g for g in channel_groups(net, x).groups}
    sides = {s.layer: s.index for s in groups["qkv blocks"].sides}
    wanted = [sorted(12 * part + 4 * head + i for part in range(3) for i in range(4)) for head in range(3)]
    assert np.sort(sides["qkv"], axis=1).tolist() == wanted
    assert np.sort(sides["out"], axis=1).tolist() == np.arange(12).reshape(3, 4).tolist()
    # Queries and keys move in step, values with the columns of the projection.
    assert groups["qkv"].sides[0].index.tolist() == [[i, 12 + i] for i in range(4)]


def test_outputs_move_only_if_that_is_said():
    net, x = placed(Residual)
    fixed, free = channel_groups(net, x), channel_groups(net, x, outputs_free=True)
    assert not any(side.layer == "fc" and side.axis == 0 for g in fixed.groups for side in g.sides)
    (group,) = (g for g in free.groups if g.name == "fc")
    assert (group.channels, [v.layer for v in group.values]) == (4, ["fc.bias"])


def test_scales_for_each_channel_follow():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = conv(3, 6)
            self.act = qnn.QuantReLU(
                act_quant=Uint8ActPerTensorFloat,
                scaling_per_output_channel=True,
                per_channel_broadcastable_shape=(1, 6, 1, 1),
                scaling_stats_permute_dims=(1, 0, 2, 3),
                collect_stats_steps=1,
            )
            self.second = fc(6 * 16, 4)

        def forward(self, x):
            return self.second(nn.functional.avg_pool2d(self.act(self.first(x)), 2).flatten(1))

    model = Net()
    x = torch.randn(2, 3, 8, 8)
    model(x), model(x)
    net = a_net(model)
    report = channel_groups(net, x)
    assert sides_of(report) == {"first": "first[0] second[1]"}
    (scale,) = report.groups[0].values
    assert scale.layer.endswith("scaling_impl.value")
    assert net.model.state_dict()[scale.layer].unique().numel() > 1
    assert max(prove_groups(net, report.groups, x, trials=3).values()) < 1e-12


def test_placed_biases_are_sides():
    bias = {"bias_quant": Int8BiasPerTensorFloatInternalScaling}
    model = nn.Sequential(fc(5, 6, **bias), nn.ReLU(), fc(6, 4, **bias))
    net = tm.place(tm.make_faulty(model.eval(), biases=True), tm.Memory(words=100, word_bits=32))
    (group,) = channel_groups(net, torch.randn(3, 5)).groups
    assert {(s.layer, s.axis) for s in group.sides} == {("0", 0), ("0.bias", 0), ("2", 1)}
    assert not group.values


def test_recurrent_layers():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            none = dict.fromkeys(
                ("io_quant", "gate_acc_quant", "sigmoid_quant", "tanh_quant", "cell_state_quant", "bias_quant")
            )
            self.lstm = qnn.QuantLSTM(5, 6, batch_first=True, weight_quant=Int8WeightPerTensorFloat, **none)
            self.last = fc(6, 4)

        def forward(self, x):
            return self.last(self.lstm(x)[0][:, -1])

    torch.manual_seed(0)
    net = a_net(Net())
    (group,) = channel_groups(net, torch.randn(2, 4, 5)).groups
    assert (group.channels, len(group.sides), len(group.values)) == (6, 13, 4)


def test_layers_that_were_not_run_are_left_alone():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.other, self.last = fc(5, 6), fc(6, 6), fc(6, 4)

        def forward(self, x):
            x = torch.relu(self.first(x))
            return self.last(self.other(x) if len(x) > 100 else x)

    report = channel_groups(a_net(Net()), torch.randn(3, 5))
    assert ("other", 0, 6, "not used in the pass") in {dataclasses.astuple(one) for one in report.left_alone}
    assert sides_of(report) == {"first": "first[0] last[1]"}


def test_a_constant_for_each_channel_that_is_in_no_state_dict_stops_them():
    class Net(nn.Module):
        def __init__(self, constant):
            super().__init__()
            self.first, self.last, self.constant = fc(5, 6), fc(6, 4), constant

        def forward(self, x):
            return self.last(torch.relu(self.first(x)) * self.constant)

    x = torch.randn(3, 5)
    assert not channel_groups(a_net(Net(torch.arange(6.0))), x).groups
    assert channel_groups(a_net(Net(torch.full((6,), 2.0))), x).groups


@pytest.mark.slow
@pytest.mark.parametrize("kind", [Residual, Attention])
def test_the_check_finds_what_is_wrong(kind):
    net, x = placed(kind)
    groups = channel_groups(net, x).groups
    for group in groups[1:]:
        for kept in range(len(group.sides)):
            if len(group.sides) > 1:
                wrong = ChannelGroup(group.name, group.channels, group.sides[:kept] + group.sides[kept + 1 :], group.values)
                with pytest.raises(ValueError, match="an output differs by"):
                    prove_groups(net, [wrong], x)
        for kept in range(len(group.values)):
            wrong = ChannelGroup(group.name, group.channels, group.sides, group.values[:kept] + group.values[kept + 1 :])
            if kept % 2:
                continue
            if "bias" in group.values[kept].layer and kind is Attention:
                continue  # a key's bias does not matter before a softmax
            with pytest.raises(ValueError, match="an output differs by"):
                prove_groups(net, [wrong], x)


def test_a_group_that_fails_the_check_is_left_alone():
    class Net(nn.Module):
        """Looks at its numbers where nobody sees it."""

        def __init__(self):
            super().__init__()
            self.first, self.second, self.last = fc(5, 6), fc(6, 7), fc(7, 4)

        def forward(self, x):
            x = torch.relu(self.first(x))
            return self.last(torch.relu(self.second(x + float(x.detach().numpy()[0] @ np.arange(6.0)))))

    torch.manual_seed(0)
    report = channel_groups(a_net(Net()), torch.randn(3, 5))
    assert sides_of(report) == {"second": "second[0] last[1]"}
    assert any("an output differs by" in one.reason for one in report.left_alone if one.layer == "first")


def test_bad_arguments():
    net, x = placed(Untraceable)
    with pytest.raises(TypeError, match="net must be of type PlacedModel"):
        channel_groups(net.model, x)
    with pytest.raises(ValueError, match="needs inputs"):
        channel_groups(net)
    with pytest.raises(ValueError, match="has no layer 'nowhere'"):
        prove_groups(net, [ChannelGroup("a", 2, (Side("nowhere", 0, np.arange(2)[:, None]),))], x)
