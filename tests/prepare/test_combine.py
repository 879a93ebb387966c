from functools import partial

import brevitas.nn as qnn
import pytest
import torch
from helpers import expected_codes
from prepare.test_ramp import CHIPS, MERGED, MODEL, NET, PLAIN, QUANT, live
from prepare.test_strategies import history, sites
from torch import nn

import tremap_brevitas as tm
from tremap_brevitas.faults.merge import overlaid


def draw(seed):
    return tm.random_fault_maps(NET.placement.memory, chips=1, fault_rate=0.05, seed=seed)[0]


def test_another_map_at_every_step_repeatably():
    seen = history(tm.prepare.RandomMaps(NET, draw, seed=1, rule=PLAIN), 12)
    assert len(set(seen)) == 12
    assert seen == history(tm.prepare.RandomMaps(NET, draw, seed=1, rule=PLAIN), 12)
    assert not set(seen) & set(history(tm.prepare.RandomMaps(NET, draw, seed=2, rule=PLAIN), 12))
    middle = tm.prepare.RandomMaps(NET, draw, seed=1, rule=PLAIN)
    history(middle, 5)
    resumed = tm.prepare.RandomMaps(NET, draw, seed=1, rule=PLAIN)
    resumed.load_state_dict(middle.state_dict())
    assert history(resumed, 7) == seen[5:]


def test_a_state_of_another_rate_is_refused():
    def other(seed):
        return tm.random_fault_maps(NET.placement.memory, chips=1, fault_rate=0.06, seed=seed)[0]

    state = tm.prepare.RandomMaps(NET, draw, seed=1).state_dict()
    with pytest.raises(ValueError, match="saved with another chips"):
        tm.prepare.RandomMaps(NET, other, seed=1).load_state_dict(state)


def test_the_known_map_is_live_all_the_time():
    strategy = tm.prepare.RandomMaps(NET, draw, seed=1, known=MERGED, rule=PLAIN)
    known = sites(MERGED)
    for _ in range(4):
        assert known < live()
        strategy.step()


def test_overlaid_maps_are_the_merge_but_for_conflicts():
    first, second = tm.random_fault_maps(NET.placement.memory, chips=2, fault_rate=0.3, seed=0)
    merged = tm.merge([first, second], on_conflict="majority")
    both = overlaid(first, second)
    assert (both.cells == merged.cells).all()
    stuck = dict(zip(first.cells.tolist(), first.stuck_at.tolist(), strict=True))
    assert len(merged.conflicts)
    for cell, value, settled in zip(both.cells.tolist(), both.stuck_at, merged.stuck_at, strict=True):
        assert value == stuck.get(cell, settled)


def gradients(strategy, inputs):
    MODEL.zero_grad()
    for share in strategy.passes():
        (share * sum((layer(x) ** 2).sum() for layer, x in zip(MODEL.values(), inputs, strict=True))).backward()
    return [p.grad.clone() for p in MODEL.parameters() if p.grad is not None]


def test_the_gradient_is_the_mean_of_the_healthy_and_the_faulty_networks():
    """Loss of each network by hand, from codes that the oracle's rule gives."""
    inputs = [torch.linspace(-1, 1, 3 * layer.in_features).reshape(3, -1) for layer in MODEL.values()]
    faulty = tm.AllAtOnce(NET, CHIPS[0])
    wanted = {name: NET.codes(name).wanted for name in MODEL}
    read = expected_codes(wanted, NET.placement, CHIPS[0])
    assert any((wanted[name] != read[name]).any() for name in wanted)
    mean = gradients(tm.prepare.CleanAndFaulty(faulty, clean=0.25), inputs)
    with NET.using(CHIPS[0]):
        one = gradients(faulty, inputs)
    NET.clear_faults_()
    other = gradients(faulty, inputs)  # the strategy's passes alone set no faults
    for a, b, c in zip(mean, one, other, strict=True):
        assert not torch.equal(b, c)
        torch.testing.assert_close(a, 0.75 * b + 0.25 * c)


def test_after_an_interrupted_step_the_faults_are_back():
    strategy = tm.prepare.CleanAndFaulty(tm.AllAtOnce(NET, CHIPS[0], rule=PLAIN))
    passes = strategy.passes()
    next(passes)
    assert not live()
    passes.close()  # as when an error leaves the loop
    assert live() == sites(CHIPS[0])


def test_states_of_what_is_inside():
    inner = tm.prepare.RandomMember(NET, CHIPS, seed=4, rule=PLAIN)
    strategy = tm.prepare.ClipWeights(tm.prepare.CleanAndFaulty(inner), limit=10)
    for _ in range(3):
        strategy.step()
    resumed = tm.prepare.ClipWeights(
        tm.prepare.CleanAndFaulty(tm.prepare.RandomMember(NET, CHIPS, seed=4, rule=PLAIN)), limit=10
    )
    resumed.load_state_dict(strategy.state_dict())
    assert live() == sites(inner.fault_map)
    with pytest.raises(ValueError, match=r"saved with another limit: 10\.0, but here it is 5\.0"):
        tm.prepare.ClipWeights(inner, limit=5).load_state_dict(strategy.state_dict())
    with pytest.raises(ValueError, match=r"saved with another clean: 0\.5, but here it is 0\.1"):
        tm.prepare.CleanAndFaulty(inner, clean=0.1).load_state_dict(strategy.state_dict()["strategy"])


def test_wrappers_promise_what_is_inside():
    ramp = tm.Ramp(NET, MERGED, over_steps=2)
    around = tm.prepare.ClipWeights(tm.prepare.CleanAndFaulty(ramp), limit=1)
    assert (around.steps, around.done, around.fault_map) == (0, False, MERGED)
    around.step()
    around.step()
    assert (around.steps, around.done) == (2, True)
    for wrap in (tm.prepare.CleanAndFaulty, partial(tm.prepare.ClipWeights, limit=1)):
        with pytest.raises(TypeError, match="strategy must be a Strategy, got 'ramp'"):
            wrap("ramp")


def test_states_of_other_wrappers_are_refused():
    inner = tm.AllAtOnce(NET, MERGED)
    clip, clean = tm.prepare.ClipWeights(inner, limit=1), tm.prepare.CleanAndFaulty(inner)
    with pytest.raises(ValueError, match="saved with another strategy: 'ClipWeights', but here it is 'CleanAndFaulty'"):
        clean.load_state_dict(clip.state_dict())
    half = tm.prepare.ClipWeights(tm.AllAtOnce(tm.place(MODEL, NET.placement.memory, include="a"), MERGED), limit=1)
    with pytest.raises(ValueError, match="saved with another placement"):
        half.load_state_dict(clip.state_dict())
    with pytest.raises(TypeError, match=r"expected the result of AllAtOnce\.state_dict\(\), got None"):
        clip.load_state_dict({"of": clip.state_dict()["of"]})
    with pytest.raises(TypeError, match=r"expected the result of ClipWeights\.state_dict\(\), got \{\}"):
        clip.load_state_dict({})


def test_clipping_follows_parameters_that_were_replaced():
    model = nn.ModuleDict(
        {"a": qnn.QuantLinear(9, 5, bias=False, weight_quant=QUANT), "b": qnn.QuantLinear(5, 7, bias=False, weight_quant=QUANT)}
    )
    strategy = tm.prepare.ClipWeights(tm.AllAtOnce(tm.PlacedModel(model, NET.placement), MERGED), limit=0.01)
    state = {key: value.clone() for key, value in model.state_dict().items()}
    model.load_state_dict(state, assign=True)
    strategy.step()
    assert all(layer.weight.abs().max() <= 0.01 for layer in model.values())
    model["b"] = qnn.QuantLinear(5, 7, bias=False, weight_quant=QUANT)
    strategy.step()
    assert all(layer.weight.abs().max() <= 0.01 for layer in model.values())


def test_bad_arguments():
    inner = tm.AllAtOnce(NET, CHIPS[0])
    for clean in (0, 1, float("nan")):
        with pytest.raises(ValueError, match="clean must lie between 0 and 1"):
            tm.prepare.CleanAndFaulty(inner, clean=clean)
    with pytest.raises(ValueError, match="limit must be positive and finite, got 0"):
        tm.prepare.ClipWeights(inner, limit=0)
    other = tm.random_fault_maps(tm.Memory(words=9, word_bits=9), chips=1, fault_rate=0.1, seed=0)[0]
    with pytest.raises(ValueError, match="is of a memory of 9 words × 9 bits"):
        tm.prepare.RandomMaps(NET, lambda seed: other, seed=0)
