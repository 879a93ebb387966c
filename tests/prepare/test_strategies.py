import brevitas.nn as qnn
import pytest
from helpers import a_net
from prepare.test_ramp import CHIPS, MERGED, MODEL, NET, PLAIN, QUANT, live, whole
from torch import nn

import tremap_brevitas as tm
from tremap_brevitas import quant as tq
from tremap_brevitas.prepare import Strategy


def sites(chip):
    return {
        (s.layer.name, int(w), int(b), int(v))
        for s in NET.placement.sites(chip.cells)
        for w, b, v in zip(s.weight, s.bit, chip.stuck_at[s.source], strict=True)
    }


def test_all_at_once_is_whole_from_the_start():
    strategy = tm.AllAtOnce(NET, MERGED, rule=PLAIN)
    assert live() == whole()
    strategy.step(1.0)
    assert live() == whole()
    assert strategy.state_dict()["steps"] == 1
    with pytest.raises(ValueError, match="saved with another fault map"):
        tm.AllAtOnce(NET, CHIPS[0]).load_state_dict(strategy.state_dict())


def history(strategy, steps):
    """The maps that were live, each checked to be."""
    seen = []
    for _ in range(steps):
        assert live() == sites(strategy.fault_map)
        seen.append(strategy.fault_map)
        strategy.step()
    return seen


def test_a_random_member_at_every_step_repeatably():
    strategy = tm.prepare.RandomMember(NET, CHIPS, seed=4, rule=PLAIN)
    seen = history(strategy, 40)
    assert set(seen) == set(CHIPS)
    assert seen == history(tm.prepare.RandomMember(NET, CHIPS, seed=4, rule=PLAIN), 40)
    assert seen != history(tm.prepare.RandomMember(NET, CHIPS, seed=5, rule=PLAIN), 40)
    middle = tm.prepare.RandomMember(NET, CHIPS, seed=4, rule=PLAIN)
    history(middle, 15)
    resumed = tm.prepare.RandomMember(NET, CHIPS, seed=4, rule=PLAIN)
    resumed.load_state_dict(middle.state_dict())
    assert history(resumed, 25) == seen[15:]
    with pytest.raises(ValueError, match="saved with another seed: 4, but here it is 5"):
        tm.prepare.RandomMember(NET, CHIPS, seed=5, rule=PLAIN).load_state_dict(middle.state_dict())


def test_bad_groups():
    with pytest.raises(ValueError, match="empty group"):
        tm.prepare.RandomMember(NET, [], seed=0)
    other = nn.ModuleDict({"c": qnn.QuantLinear(3, 3, bias=False, weight_quant=tq.FaultyInt8WeightPerTensorFloat)})
    with pytest.raises(ValueError, match="layer 'c' of the placement is not among the layers"):
        tm.PlacedModel(MODEL, a_net(other).placement)
    with pytest.raises(TypeError, match="net must be a PlacedModel, which tm.place makes, got ModuleDict"):
        tm.prepare.RandomMember(MODEL, CHIPS, seed=0)


def every_strategy(net=NET, seed=0):
    def draw(number):
        return tm.random_fault_maps(NET.placement.memory, chips=1, fault_rate=0.05, seed=number)[0]

    return [
        tm.AllAtOnce(net, MERGED, rule=PLAIN),
        tm.Ramp(net, MERGED, over_steps=2, seed=seed, rule=PLAIN),
        tm.prepare.RandomMember(net, MERGED.members, seed=seed, rule=PLAIN),
        tm.prepare.RandomMaps(net, draw, seed=seed, rule=PLAIN),
        tm.ReadByMembers(net, MERGED, seed=seed, rule=PLAIN),
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
            with pytest.raises(TypeError, match=f"expected the result of {name}"):
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
    strategy = every_strategy(tm.PlacedModel(model, NET.placement))[which]
    model["b"] = qnn.QuantLinear(5, 7, bias=False, weight_quant=QUANT)
    strategy.step()
    assert model["b"].weight_quant.has_faults
    NET.clear_faults_()


def test_a_draw_that_failed_can_be_repeated():
    def maps(fail_at):
        calls = 0

        def draw(seed):
            nonlocal calls
            calls += 1
            if calls == fail_at:
                raise OSError("the share is away")
            return tm.random_fault_maps(NET.placement.memory, chips=1, fault_rate=0.05, seed=seed)[0]

        strategy, seen = tm.prepare.RandomMaps(NET, draw, seed=0), []
        while strategy.steps < 4:
            try:
                strategy.step()
            except OSError:
                continue
            seen.append(strategy.net.fault_map.digest)
        return seen

    assert maps(None) == maps(4)
