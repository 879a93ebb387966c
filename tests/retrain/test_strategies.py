import brevitas.nn as qnn
import pytest
from helpers import a_placement
from retrain.test_ramp import CHIPS, MERGED, MODEL, PLACEMENT, live, whole
from torch import nn

import tremap_brevitas as tm


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
    other = nn.ModuleDict({"c": qnn.QuantLinear(3, 3, bias=False, weight_quant=tm.FaultyInt8WeightPerTensorFloat)})
    with pytest.raises(ValueError, match="layer 'c' of the placement is not among the layers"):
        tm.RandomMember(MODEL, a_placement(other), CHIPS, seed=0)
