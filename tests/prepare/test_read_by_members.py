"""A group's image as every member reads it, against the bit-by-bit oracle and against certificates."""

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from helpers import a_net, brevitas_codes, expected_codes
from torch import nn

import tremap_brevitas as tm
from tremap_brevitas import quant as tq


class Net(nn.Module):
    """Layers of 8 and of 4 bits; the first one's weight is not contiguous."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.conv = qnn.QuantConv2d(3, 4, 3, bias=False, weight_quant=tq.FaultyInt8WeightPerChannelFloat)
        self.fc = qnn.QuantLinear(36, 5, bias=False, weight_quant=tq.FaultyInt8WeightPerTensorFixedPoint, weight_bit_width=4)
        self.conv.to(memory_format=torch.channels_last)

    def forward(self, x):
        return self.fc(self.conv(x).relu().flatten(1))


def a_group(net, on_conflict):
    chips = tm.random_fault_maps(net.placement.memory, chips=4, fault_rate=0.2, seed=1)
    merged = tm.merge(chips, on_conflict=on_conflict)
    assert len(merged.conflicts) > 20
    return merged


@pytest.mark.parametrize("encoding", ["twos_complement", "offset_binary", "sign_magnitude"])
@pytest.mark.parametrize("store", ["nearest", "plain"])
@pytest.mark.parametrize("on_conflict", ["free", "majority"])
def test_every_member_reads_what_its_certificate_says(encoding, store, on_conflict):
    model = Net()
    net = a_net(model, encoding=encoding, rule=tm.Rule(store))
    placement = net.placement
    merged = a_group(net, on_conflict)
    wanted = {name: np.ascontiguousarray(brevitas_codes(getattr(model, name))) for name in ("conv", "fc")}
    image = expected_codes(wanted, placement, merged, store)
    net.set_faults_(merged)
    certified = net.memory_image()
    seen = set()
    strategy = tm.ReadByMembers(net, merged, seed=0)
    for _ in range(25):
        member = strategy.member
        seen.add(member)
        expected = expected_codes(image, placement, member, "plain")
        read = tm.placement.certificate(certified, member).read()
        for name in wanted:
            np.testing.assert_array_equal(net.codes(name).read_back, expected[name])
            np.testing.assert_array_equal(net.codes(name).stored, (image if store == "nearest" else wanted)[name])
            np.testing.assert_array_equal(read[name], expected[name])
        strategy.step()
    assert seen == set(merged.members)


def test_a_reused_memory_chips_without_a_name_and_a_layer_of_conflicts_alone():
    model = Net()
    whole = tm.place(model, tm.Memory(words=1000, word_bits=32))
    net = tm.place(model, tm.Memory(words=-(-whole.placement.words // 3), word_bits=32), reuse=True)
    placement = net.placement
    named = tm.random_fault_maps(placement.memory, chips=3, fault_rate=0.1, seed=1)
    merged = tm.merge([tm.FaultMap(placement.memory, c.cells, c.stuck_at) for c in named], on_conflict="free")
    strategy = tm.ReadByMembers(net, merged, seed=0)
    wanted = {name: np.ascontiguousarray(brevitas_codes(getattr(Net(), name))) for name in ("conv", "fc")}
    image = expected_codes(wanted, placement, merged)
    for _ in range(6):
        expected = expected_codes(image, placement, strategy.member, "plain")
        for name in wanted:
            np.testing.assert_array_equal(net.codes(name).read_back, expected[name])
        strategy.step()
    cell = whole.placement.cell("fc", 7, bit=3)
    sides = [tm.FaultMap(whole.placement.memory, [cell], [value], f"side {value}") for value in (0, 1)]
    merged = tm.merge(sides, on_conflict="free")
    assert len(merged) == 0
    strategy = tm.ReadByMembers(whole, merged, seed=0)
    for _ in range(6):
        bit = int(whole.codes("fc").read_back.reshape(-1)[7] < 0)
        assert bit == int(strategy.member.chip == "side 1")
        strategy.step()
    with pytest.raises(TypeError, match="merged must be a MergedFaultMap"):
        tm.ReadByMembers(whole, sides[0], seed=0)


def test_training_goes_on_where_it_was():
    model = Net()
    net = a_net(model)
    merged = a_group(net, "free")
    strategy = tm.ReadByMembers(net, merged, seed=2)
    members = []
    for step in range(12):
        if step == 5:
            saved = strategy.state_dict()
        members.append(strategy.member)
        model(torch.ones(1, 3, 5, 5)).sum().backward()
        strategy.step()
    assert torch.isfinite(model.conv.weight.grad).all()
    resumed = tm.ReadByMembers(net, merged, seed=2)
    resumed.load_state_dict(saved)
    assert [resumed.member, *(resumed.step() or resumed.member for _ in range(6))] == members[5:]
    with pytest.raises(ValueError, match="saved with another fault map"):
        tm.ReadByMembers(net, a_group(net, "majority"), seed=2).load_state_dict(saved)


def test_fully_stuck_weights_can_be_frozen():
    fc = tm.make_faulty(qnn.QuantLinear(2, 1, bias=False))
    memory = tm.Memory(words=1, word_bits=16)
    stuck = tm.FaultMap(memory, range(8), [0, 1, 0, 0, 1, 0, 0, 0], chip="a")
    other = tm.FaultMap(memory, [*range(8), 9], [0, 1, 0, 0, 1, 0, 0, 0, 1], chip="b")
    merged = tm.merge([stuck, other], on_conflict="error")
    tm.ReadByMembers(tm.place(fc, memory), merged, seed=0, rule=tm.Rule(gradient="zero_fully_stuck"))
    fc(torch.ones(1, 2)).sum().backward()
    assert (fc.weight.grad[0] != 0).tolist() == [False, True]


def test_wide_codes_are_refused():
    fc = qnn.QuantLinear(4, 4, bias=False, weight_quant=tq.FaultyInt8WeightPerTensorFloat, weight_bit_width=10)
    net = a_net(fc)
    chips = tm.random_fault_maps(net.placement.memory, chips=3, fault_rate=0.3, seed=0)
    with pytest.raises(ValueError, match="layer '': codes of 10 bits"):
        tm.ReadByMembers(net, tm.merge(chips, on_conflict="free"), seed=0)


def test_what_a_member_reads_is_never_taken_for_the_image():
    net = a_net(Net())
    merged = a_group(net, "majority")
    tm.ReadByMembers(net, merged, seed=0)
    with pytest.raises(ValueError, match=r"the model computes with what chip 'chip-\d' reads .* set the merged map"):
        net.evaluate(merged.members, lambda _: 1.0, progress=False)
    net.set_faults_(merged)
    assert net.certificate(merged).bit_exact


def test_a_step_of_several_members():
    net = a_net(Net())
    merged = a_group(net, "free")
    strategy = tm.ReadByMembers(net, merged, seed=3, members_a_step=3)
    placement = net.placement
    wanted = {name: np.ascontiguousarray(brevitas_codes(getattr(Net(), name))) for name in ("conv", "fc")}
    image = expected_codes(wanted, placement, merged)
    drawn = []
    for _ in range(10):
        members = []
        for share in strategy.passes():
            assert share == pytest.approx(1 / 3)
            members.append(strategy.member)
            expected = expected_codes(image, placement, strategy.member, "plain")
            for name in wanted:
                np.testing.assert_array_equal(net.codes(name).read_back, expected[name])
        assert len({member.chip for member in members}) == 3
        assert [strategy.member for _ in strategy.passes()] == members  # the step can be taken again
        drawn.append([member.chip for member in members])
        if len(drawn) == 4:
            saved = strategy.state_dict()
        strategy.step()
    assert len({frozenset(chips) for chips in drawn}) == 4
    resumed = tm.ReadByMembers(net, merged, seed=3, members_a_step=3)
    resumed.load_state_dict(saved)
    for members in drawn[3:]:
        assert [resumed.member.chip for _ in resumed.passes()] == members
        resumed.step()
    with pytest.raises(ValueError, match="saved with members a step: 3, which this strategy does not have"):
        tm.ReadByMembers(net, merged, seed=3).load_state_dict(saved)


def test_all_members_in_every_step_give_the_mean_of_their_gradients():
    model = Net()
    net = a_net(model)
    merged = a_group(net, "free")
    x = torch.randn(5, 3, 5, 5)

    def gradient(strategy):
        model.zero_grad()
        for share in strategy.passes():
            (share * model(x).square().mean()).backward()
        return model.fc.weight.grad.clone()

    one, seen = tm.ReadByMembers(net, merged, seed=0), {}
    while len(seen) < 4:
        seen[one.member.chip] = gradient(one)
        one.step()
    mean = gradient(tm.ReadByMembers(net, merged, seed=0, members_a_step=4))
    torch.testing.assert_close(mean, torch.stack(list(seen.values())).mean(0))


@pytest.mark.parametrize("members", [0, 5])
def test_no_member_and_more_than_there_are(members):
    net = a_net(Net())
    with pytest.raises(ValueError, match=f"members_a_step must be 1 to 4, the number of members, got {members}"):
        tm.ReadByMembers(net, a_group(net, "free"), seed=0, members_a_step=members)


def test_a_step_without_all_its_passes_is_refused():
    net = a_net(Net())
    strategy = tm.ReadByMembers(net, a_group(net, "free"), seed=0, members_a_step=2)
    for made in (0, 1):
        for _ in zip(range(made), strategy.passes(), strict=False):
            pass
        with pytest.raises(RuntimeError, match="each of 2 members, but not all were made: loop over strategy.passes"):
            strategy.step()
    assert strategy.steps == 0
    assert list(strategy.passes()) == [0.5, 0.5]
    strategy.step()
    assert strategy.steps == 1
