"""A placed model knows what is live on its model, and notices when somebody else has changed it."""

import copy
from functools import partial

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from torch import nn

import tremap_brevitas as tm
from tremap_brevitas import quant as tq

QUANT = tq.FaultyInt8WeightPerTensorFixedPoint
MEMORY = tm.Memory(words=40, word_bits=32)
FIRST, SECOND = tm.random_fault_maps(MEMORY, chips=2, fault_rate=0.1, seed=0)
X = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
PLAIN = tm.Rule("plain", "zero_fully_stuck")
CHANGED = r"something other than this placed model changed its faults.*set or clear the faults again"


def a_model(features=8):
    return nn.Sequential(
        qnn.QuantLinear(features, 8, bias=False, weight_quant=QUANT),
        nn.ReLU(),
        qnn.QuantLinear(8, 5, bias=False, weight_quant=QUANT),
    ).eval()


@pytest.fixture
def net():
    return tm.place(a_model(), MEMORY)


def codes_of(net):
    return {name: net.codes(name).read_back for name in ("0", "2")}


def assert_live(net, fault_map, rule):
    """What a placed model says is live, and computes with."""
    assert net.fault_map is fault_map
    assert net.rule == rule
    fresh = tm.place(a_model(), MEMORY)
    fresh.model.load_state_dict(net.model.state_dict())
    if fault_map is not None:
        fresh.set_faults_(fault_map, rule=rule)
    for name, codes in codes_of(fresh).items():
        assert np.array_equal(net.codes(name).read_back, codes)
        assert np.array_equal(net.memory_image().codes[name], codes)
    assert torch.equal(net.model(X), fresh.model(X))


def test_what_is_live_after_every_change(net):
    assert_live(net, None, tm.Rule())
    net.set_faults_(FIRST)
    assert_live(net, FIRST, tm.Rule())
    net.set_faults_(SECOND, rule=PLAIN)
    assert_live(net, SECOND, PLAIN)
    with net.using(FIRST):
        assert_live(net, FIRST, tm.Rule())
        with net.using(None):
            assert_live(net, None, tm.Rule())
            net.set_faults_(SECOND)  # undone at the end of the block
        assert_live(net, FIRST, tm.Rule())
    assert_live(net, SECOND, PLAIN)
    net.clear_faults_()
    assert_live(net, None, tm.Rule())
    with net.using(SECOND, rule=PLAIN):
        assert_live(net, SECOND, PLAIN)
        net.clear_faults_()
    assert_live(net, None, tm.Rule())


def test_an_error_in_a_block_brings_back_what_was_live(net):
    net.set_faults_(FIRST, rule=PLAIN)
    codes = net.memory_image().codes

    def fail(block):
        with block:
            raise RuntimeError("stop")

    for block in (net.using(SECOND), net.using(None), net.using_codes(codes)):
        with pytest.raises(RuntimeError, match="stop"):
            fail(block)
        assert_live(net, FIRST, PLAIN)
    wide = tm.FaultMap(tm.Memory(words=80, word_bits=16), [1], [1], "wide")
    with pytest.raises(ValueError, match="chip 'wide' is of a memory of 80 words × 16 bits"), net.using(wide):
        pass
    assert_live(net, FIRST, PLAIN)


def test_given_codes_are_live_without_a_map(net):
    net.set_faults_(FIRST, rule=PLAIN)
    rng = np.random.default_rng(0)
    codes = {layer.name: rng.integers(-127, 128, layer.shape) for layer in net.placement.layers}
    with net.using_codes(codes):
        assert net.fault_map is None
        assert net.rule == tm.Rule()
        for name in codes:
            assert np.array_equal(net.codes(name).read_back, codes[name])
            assert np.array_equal(net.memory_image().codes[name], codes[name])
        with net.using(None):
            assert not np.array_equal(net.codes("0").read_back, codes["0"])
        assert np.array_equal(net.codes("0").read_back, codes["0"])
    assert_live(net, FIRST, PLAIN)
    for wrong, message in (
        ({"0": codes["0"]}, "'2'"),
        ({**codes, "2": codes["0"]}, "layer '2'"),
    ):
        with pytest.raises(ValueError, match=message), net.using_codes(wrong):
            pass
        assert_live(net, FIRST, PLAIN)


def test_the_rule_of_placing_holds_wherever_none_is_given():
    net = tm.place(a_model(), MEMORY, rule=PLAIN)
    assert_live(net, None, PLAIN)
    net.set_faults_(FIRST)
    assert_live(net, FIRST, PLAIN)
    net.set_faults_(FIRST, rule=tm.Rule())
    assert_live(net, FIRST, tm.Rule())
    with net.using(SECOND):
        assert_live(net, SECOND, PLAIN)
    assert_live(net, FIRST, tm.Rule())
    net.clear_faults_()
    assert_live(net, None, PLAIN)


def test_a_load_into_the_model_keeps_the_faults(net):
    net.set_faults_(FIRST, rule=PLAIN)
    net.model.load_state_dict(a_model().state_dict(), strict=True)
    assert_live(net, FIRST, PLAIN)
    net.model.train()
    net.model(X).sum().backward()
    with torch.no_grad():
        net.model[0].weight.mul_(0.5)
    net.model.eval()
    assert_live(net, FIRST, PLAIN)


def test_a_map_that_hits_only_one_layer(net):
    """The other has no faults, which is as it should be, until somebody sets some."""
    chip = tm.FaultMap(MEMORY, [net.placement.cell("2", 0, bit=7)], [1])
    net.set_faults_(chip)
    assert_live(net, chip, tm.Rule())
    tm.place(net.model, MEMORY, include="0").set_faults_(FIRST)
    for name in ("0", "2"):
        with pytest.raises(ValueError, match=f"layer '{name}': {CHANGED}"):
            net.codes(name)


def test_a_second_placed_model_with_another_placement_is_noticed(net, tmp_path):
    other = tm.place(net.model, tm.Memory(words=60, word_bits=32))
    (chip,) = tm.random_fault_maps(other.placement.memory, chips=1, fault_rate=0.1, seed=1)
    net.set_faults_(FIRST)
    other.set_faults_(chip)
    for call in (
        lambda: net.fault_map,
        lambda: net.codes("0"),
        net.memory_image,
        lambda: net.certificate(FIRST),
        lambda: net.evaluate([FIRST], lambda model: 1.0, progress=False),
        lambda: net.export_qonnx(tmp_path / "x.onnx", X),
        lambda: net.export_qcdq(tmp_path / "x.onnx", X),
        lambda: net.export(tmp_path / "x", X),
        net.state_dict,
    ):
        with pytest.raises(ValueError, match=f"layer '0': {CHANGED}"):
            call()
    assert not list(tmp_path.iterdir())
    assert other.fault_map is chip
    net.set_faults_(SECOND)
    assert_live(net, SECOND, tm.Rule())
    with pytest.raises(ValueError, match=CHANGED):
        other.codes("0")
    other.clear_faults_()
    with pytest.raises(ValueError, match=CHANGED):
        net.codes("0")
    net.clear_faults_()
    assert_live(net, None, tm.Rule())
    assert other.fault_map is None  # both are healthy


def test_layers_that_lost_their_faults_are_noticed(net):
    net.set_faults_(FIRST)
    net.model[2] = qnn.QuantLinear(8, 5, bias=False, weight_quant=QUANT)
    for call in (lambda: net.fault_map, lambda: net.codes("2"), net.memory_image):
        with pytest.raises(ValueError, match=f"layer '2': {CHANGED}"):
            call()
    assert net.codes("0").read_back.shape == (8, 8)
    net.set_faults_(FIRST)
    assert_live(net, FIRST, tm.Rule())


@pytest.mark.parametrize("features", [6, None])
def test_a_layer_of_another_shape_or_of_floats_is_refused(net, features):
    net.set_faults_(FIRST)
    net.model[2] = nn.Linear(8, 5) if features is None else qnn.QuantLinear(features, 5, bias=False, weight_quant=QUANT)
    message = (
        "layer '2' of the placement is not among the layers of the model that can hold faults: 0"
        if features is None
        else r"layer '2': shape \(5, 6\) in the model, but the placement holds \(5, 8\); place the model again"
    )
    healthy = {name: np.zeros(net.placement.layer(name).shape, dtype=int) for name in ("0", "2")}

    def using(block):
        with block:
            pass

    for call in (
        partial(net.set_faults_, SECOND),
        lambda: using(net.using(SECOND)),
        lambda: using(net.using_codes(healthy)),
        lambda: net.codes("0"),
        net.memory_image,
        lambda: tm.PlacedModel(net.model, net.placement),
        lambda: tm.AllAtOnce(net, SECOND),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    net.clear_faults_()  # which needs no placement
    assert not net.model[0].weight_quant.has_faults


def test_restore_leaves_nothing_that_a_placed_model_can_read(net):
    net.set_faults_(FIRST)
    model = tm.restore(net.model)
    for call in (
        lambda: net.fault_map,
        lambda: net.codes("0"),
        net.memory_image,
        net.clear_faults_,
        lambda: net.set_faults_(FIRST),
    ):
        with pytest.raises(ValueError, match="no weight quantizer of Sequential can hold faults; .*make_faulty"):
            call()
    tm.make_faulty(model)
    with pytest.raises(ValueError, match=f"layer '0': {CHANGED}"):
        net.codes("0")
    net.set_faults_(FIRST)
    assert_live(net, FIRST, tm.Rule())


def test_two_of_an_equal_placement_agree(net):
    for make in (lambda: tm.place(net.model, MEMORY), lambda: tm.PlacedModel(net.model, net.placement)):
        net.set_faults_(FIRST, rule=PLAIN)
        second = make()
        assert second.placement == net.placement
        assert_live(second, FIRST, PLAIN)
        assert_live(net, FIRST, PLAIN)
        second.clear_faults_()
        assert_live(second, None, tm.Rule())
        with pytest.raises(ValueError, match=CHANGED):
            net.codes("0")
    net.set_faults_(FIRST)
    with net.using_codes(net.memory_image().codes):
        assert tm.place(net.model, MEMORY).fault_map is None
    net.clear_faults_()
    assert_live(tm.place(net.model, MEMORY), None, tm.Rule())


def test_a_deepcopy_is_a_twin_with_faults_of_its_own(net):
    net.set_faults_(FIRST, rule=PLAIN)
    twin = copy.deepcopy(net)
    assert type(twin) is tm.PlacedModel
    assert twin.model is not net.model
    assert twin.placement is net.placement
    assert_live(twin, FIRST, PLAIN)
    net.set_faults_(SECOND)
    assert_live(twin, FIRST, PLAIN)
    twin.clear_faults_()
    assert_live(twin, None, tm.Rule())
    assert_live(net, SECOND, tm.Rule())
    with torch.no_grad():
        twin.model[0].weight.zero_()
    assert not codes_of(twin)["0"].any()
    assert_live(net, SECOND, tm.Rule())
    with net.using(FIRST):
        inside = copy.deepcopy(net)
    assert_live(inside, FIRST, tm.Rule())


def test_a_twin_in_a_larger_copy_shares_the_copied_model(net):
    net.set_faults_(FIRST)
    model, twin = copy.deepcopy((net.model, net))
    assert twin.model is model
    assert_live(twin, FIRST, tm.Rule())


def test_a_saved_state_goes_on_with_the_same_faults(net, tmp_path):
    for fault_map, rule in ((FIRST, PLAIN), (None, tm.Rule()), (tm.merge([FIRST, SECOND], on_conflict="majority"), tm.Rule())):
        net.clear_faults_() if fault_map is None else net.set_faults_(fault_map, rule=rule)
        torch.save(net.state_dict(), tmp_path / "state.pt")
        again = tm.place(a_model(), MEMORY)
        again.set_faults_(SECOND)
        again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True), fault_map=fault_map)
        assert_live(again, fault_map, rule)
        assert torch.equal(again.model(X), net.model(X))


def test_a_state_of_something_else_is_refused_and_changes_nothing(net):
    net.set_faults_(FIRST, rule=PLAIN)
    state = net.state_dict()
    again = tm.place(a_model(), MEMORY)
    again.set_faults_(SECOND)
    before = codes_of(again)
    elsewhere = tm.place(a_model(), tm.Memory(words=60, word_bits=32))
    for target, fault_map, message in (
        (elsewhere, FIRST, "the state was saved with another placement: '.*', but here it is '"),
        (again, SECOND, "the state was saved with another fault_map: '.*', but here it is '"),
        (again, None, "the state was saved with another fault_map: '.*', but here it is None"),
    ):
        with pytest.raises(ValueError, match=message):
            target.load_state_dict(state, fault_map=fault_map)
    net.clear_faults_()
    with pytest.raises(ValueError, match="the state was saved with another fault_map: None, but here it is '"):
        again.load_state_dict(net.state_dict(), fault_map=FIRST)
    assert again.fault_map is SECOND
    assert elsewhere.fault_map is None
    assert all(np.array_equal(codes, before[name]) for name, codes in codes_of(again).items())


def test_strategies_take_the_placed_model_and_not_the_model(net):
    for make in (
        lambda wrong: tm.AllAtOnce(wrong, FIRST),
        lambda wrong: tm.Ramp(wrong, FIRST, over_steps=2),
        lambda wrong: tm.prepare.RandomMember(wrong, [FIRST, SECOND], seed=0),
        lambda wrong: tm.prepare.RandomMaps(wrong, lambda generator: FIRST, seed=0),
        lambda wrong: tm.ReadByMembers(wrong, tm.merge([FIRST, SECOND], on_conflict="majority"), seed=0),
    ):
        for wrong in (net.model, net.placement):
            message = f"net must be a PlacedModel, which tm.place makes, got {type(wrong).__name__}"
            with pytest.raises(TypeError, match=message):
                make(wrong)
    for call in (
        lambda: tm.AllAtOnce(FIRST, net),
        lambda: tm.Ramp(FIRST, net, over_steps=2),
    ):
        with pytest.raises(TypeError, match="net must be a PlacedModel, which tm.place makes, got FaultMap"):
            call()
    assert net.fault_map is None


def test_layers_outside_the_placement_are_named(net):
    with pytest.raises(KeyError, match="no layer '1' in the placement; it has 0, 2"):
        net.codes("1")
    part = tm.place(net.model, MEMORY, include="2")
    with pytest.raises(KeyError, match="no layer '0' in the placement; it has 2"):
        part.codes("0")


def test_it_cannot_be_given_another_model_or_placement(net):
    for name in ("model", "placement", "fault_map", "rule"):
        with pytest.raises(AttributeError):
            setattr(net, name, getattr(net, name))


def test_it_says_what_is_live(net):
    assert repr(net) == "PlacedModel(Sequential, 104 weights, layers: 2; a healthy memory)"
    net.set_faults_(FIRST)
    assert repr(net) == f"PlacedModel(Sequential, 104 weights, layers: 2; {FIRST})"
    with net.using_codes(net.memory_image().codes):
        assert repr(net) == "PlacedModel(Sequential, 104 weights, layers: 2; given codes)"
    tm.place(net.model, MEMORY, include="0").set_faults_(SECOND)
    assert "104 weights" in repr(net)  # a debugger's view must not raise
