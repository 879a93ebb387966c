import brevitas.nn as qnn
import pytest
from helpers import a_placement
from retrain.test_ramp import CHIPS, MERGED, MODEL, PLACEMENT, QUANT, live, whole
from torch import nn

import tremap_brevitas as tm
from tremap_brevitas import quant as tq
from tremap_brevitas.prepare import Strategy


def sites(chip):
    return {
        (s.layer.name, int(w), int(b), int(v))
        for s in PLACEMENT.sites(chip.cells)
        for w, b, v in zip(s.weight, s.bit, chip.stuck_at[s.source], strict=True)
    }


def test_all_at_once_is_whole_from_the_start():
    strategy = tm.AllAtOnce(MODEL, PLACEMENT, MERGED, store="plain")
    assert live() == whole()
    strategy.step(1.0)
    assert live() == whole()
    assert strategy.state_dict()["steps"] == 1
    with pytest.raises(ValueError, match="saved with another fault map"):
        tm.AllAtOnce(MODEL, PLACEMENT, CHIPS[0]).load_state_dict(strategy.state_dict())


def history(strategy, steps):
    """The maps that were live, each checked to be."""
    seen = []
    for _ in range(steps):
        assert live() == sites(strategy.fault_map)
        seen.append(strategy.fault_map)
        strategy.step()
    return seen


def test_a_random_member_at_every_step_repeatably():
    strategy = tm.RandomMember(MODEL, PLACEMENT, CHIPS, seed=4, store="plain")
    seen = history(strategy, 40)
    assert set(seen) == set(CHIPS)
    assert seen == history(tm.RandomMember(MODEL, PLACEMENT, CHIPS, seed=4, store="plain"), 40)
    assert seen != history(tm.RandomMember(MODEL, PLACEMENT, CHIPS, seed=5, store="plain"), 40)
    middle = tm.RandomMember(MODEL, PLACEMENT, CHIPS, seed=4, store="plain")
    history(middle, 15)
    resumed = tm.RandomMember(MODEL, PLACEMENT, CHIPS, seed=4, store="plain")
    resumed.load_state_dict(middle.state_dict())
    assert history(resumed, 25) == seen[15:]
    with pytest.raises(ValueError, match="saved with another seed: 4, but here it is 5"):
        tm.RandomMember(MODEL, PLACEMENT, CHIPS, seed=5, store="plain").load_state_dict(middle.state_dict())


def test_bad_groups():
    with pytest.raises(ValueError, match="empty group"):
        tm.RandomMember(MODEL, PLACEMENT, [], seed=0)
    other = nn.ModuleDict({"c": qnn.QuantLinear(3, 3, bias=False, weight_quant=tq.FaultyInt8WeightPerTensorFloat)})
    with pytest.raises(ValueError, match="layer 'c' of the placement is not among the layers"):
        tm.RandomMember(MODEL, a_placement(other), CHIPS, seed=0)


def every_strategy(model=MODEL, seed=0):
    def draw(number):
        return tm.random_fault_maps(PLACEMENT.memory, chips=1, fault_rate=0.05, seed=number)[0]

    return [
        tm.AllAtOnce(model, PLACEMENT, MERGED, store="plain"),
        tm.Ramp(model, PLACEMENT, MERGED, over_steps=2, seed=seed, store="plain"),
        tm.RandomMember(model, PLACEMENT, MERGED.members, seed=seed, store="plain"),
        tm.RandomMaps(model, PLACEMENT, draw, seed=seed, store="plain"),
        tm.ReadByMembers(model, PLACEMENT, MERGED, seed=seed, store="plain"),
    ]


def test_a_strategys_promises():
    for strategy in every_strategy():
        assert isinstance(strategy, Strategy)
        assert list(strategy.passes()) == [1.0]
        assert isinstance(strategy.fault_map, tm.FaultMap)
        strategy.step()
        strategy.step()
        assert (strategy.steps, strategy.done) == (2, True)


def test_states_of_other_strategies_and_of_none_are_refused():
    strategies = every_strategy()
    for one in strategies:
        name = type(one).__name__
        for other in strategies:
            if other is not one:
                with pytest.raises(ValueError, match=f"saved with another strategy: '{type(other).__name__}', but here it is"):
                    one.load_state_dict(other.state_dict())
        saved = one.state_dict()
        for bad in (None, {}, {**saved, "of": 3}):
            with pytest.raises(TypeError, match=f"expected what {name}"):
                one.load_state_dict(bad)
        with pytest.raises(ValueError, match="saved without its placement, maybe by an older version"):
            one.load_state_dict({**saved, "of": {k: v for k, v in saved["of"].items() if k != "placement"}})
        if "steps" in saved:
            for steps in (-1, 2.5, "3", None, True):
                with pytest.raises(TypeError, match="the state's 'steps' must be a number of steps"):
                    one.load_state_dict({**saved, "steps": steps})
        assert one.steps == 0
    for seed in (None, 1.5):
        with pytest.raises(TypeError, match="seed must be an integer"):
            every_strategy(seed=seed)


@pytest.mark.parametrize("which", range(5))
def test_a_layer_that_was_replaced_gets_its_faults(which):
    model = nn.ModuleDict(MODEL.items())
    strategy = every_strategy(model)[which]
    model["b"] = qnn.QuantLinear(5, 7, bias=False, weight_quant=QUANT)
    strategy.step()
    assert model["b"].weight_quant.has_faults
    tm.clear_faults_(MODEL)
