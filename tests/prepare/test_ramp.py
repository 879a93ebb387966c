"""Ramps: nested, ordered, ending in the whole map; resuming; collapse."""

import json
import math

import brevitas.nn as qnn
import numpy as np
import pytest
import torch
from helpers import a_net
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import tremap_brevitas as tm
from tremap_brevitas import quant as tq
from tremap_brevitas.placed.slots import faulty_slots

QUANT = tq.FaultyInt8WeightPerTensorFixedPoint
MODEL = nn.ModuleDict(
    {
        "a": qnn.QuantLinear(9, 5, bias=False, weight_quant=QUANT),
        "b": qnn.QuantLinear(5, 7, bias=False, weight_quant=QUANT),
    }
)
NET = a_net(MODEL)
PLAIN = tm.Rule("plain")
CHIPS = tm.random_fault_maps(NET.placement.memory, chips=4, fault_rate=0.05, seed=1)
MERGED = tm.merge(CHIPS, on_conflict="majority")


def live():
    """Set of (layer, weight, bit, value) that is stuck in the model now, from the masks themselves."""
    bits = set()
    for entry in faulty_slots(MODEL):
        faults = entry.proxy.fault_slot(entry.slot)
        if faults is None:
            continue
        stuck, zeros = (t.numpy().astype(np.uint8).reshape(-1) for t in faults.elementwise)
        for weight, bit in np.argwhere(np.unpackbits(stuck[:, None], axis=1, bitorder="little")):
            bits.add((entry.name, int(weight), int(bit), int(not (zeros[weight] >> bit) & 1)))
    return bits


def whole():
    return {
        (s.layer.name, int(w), int(b), int(v))
        for s in NET.placement.sites(MERGED.cells)
        for w, b, v in zip(s.weight, s.bit, MERGED.stuck_at[s.source], strict=True)
    }


@given(st.integers(1, 12), st.sampled_from(["random", "by_chip"]), st.integers(0, 5))
@settings(max_examples=30)
def test_live_faults_are_nested_and_end_in_the_whole_map(steps, order, seed):
    ramp = tm.Ramp(NET, MERGED, over_steps=steps, order=order, seed=seed, rule=PLAIN)
    before = live()
    assert before == set()
    for step in range(1, steps + 3):
        ramp.step()
        now = live()
        assert before <= now
        assert ramp.live_cells == round(min(1, step / steps) * len(MERGED)) == len(NET.fault_map)
        assert ramp.done == (step >= steps)
        before = now
    assert before == whole()


def test_orders():
    def entered(order, seed=0):
        ramp = tm.Ramp(NET, MERGED, over_steps=len(MERGED), order=order, seed=seed, rule=PLAIN)
        sequence, before = [], live()
        for _ in range(len(MERGED)):
            ramp.step()
            sequence += sorted(live() - before)
            before = live()
        return sequence

    members = []
    for name, weight, bit, _ in entered("by_chip"):
        cell = NET.placement.cell(name, weight, bit=bit)
        members.append(next(i for i, m in enumerate(MERGED.members) if cell in m.cells))
    assert members == sorted(members)
    assert set(members) == {0, 1, 2, 3}
    assert entered("random", 1) == entered("random", 1) != entered("random", 2)


def test_resuming_goes_on_where_it_stopped():
    def new():
        return tm.Ramp(NET, MERGED, over_steps=7, rule=PLAIN)

    ramp, history = new(), []
    for _ in range(9):
        ramp.step()
        history.append((ramp.fraction, live()))
    for stop in (1, 4, 8):
        first = new()
        for _ in range(stop):
            first.step()
        saved = json.loads(json.dumps(first.state_dict()))
        NET.clear_faults_()
        second = new()
        second.load_state_dict(saved)
        assert (second.fraction, live()) == history[stop - 1]
        for expected in history[stop:]:
            second.step()
            assert (second.fraction, live()) == expected


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"over_steps": 0}, ValueError, "over_steps must be at least 1, got 0"),
        ({"over_steps": 2.5}, TypeError, "over_steps must be an integer, got 2.5"),
        ({"over_steps": 3, "order": "lsb_first"}, ValueError, "order must be one of random, by_chip, got 'lsb_first'"),
        ({"over_steps": 3, "fault_map": CHIPS[0], "order": "by_chip"}, ValueError, "needs a merged fault map"),
    ],
)
def test_bad_ramps(options, error, message):
    with pytest.raises(error, match=message):
        tm.Ramp(NET, **{"fault_map": MERGED, **options})


def test_bad_rules():
    with pytest.raises(ValueError, match="store must be 'plain' or 'nearest', got 'best'"):
        tm.Rule("best")
    with pytest.raises(TypeError, match="rule must be of type Rule, got str"):
        tm.Ramp(NET, MERGED, over_steps=3, rule="plain")


def test_a_state_of_another_ramp_is_refused():
    saved = tm.Ramp(NET, MERGED, over_steps=3).state_dict()
    half = tm.place(MODEL, NET.placement.memory, include="a")
    for what, ramp in {
        "fault map": tm.Ramp(NET, CHIPS[0], over_steps=3),
        "chips": tm.Ramp(NET, tm.merge(CHIPS[::-1], on_conflict="majority"), over_steps=3),
        "placement": tm.Ramp(half, MERGED, over_steps=3),
        "store": tm.Ramp(NET, MERGED, over_steps=3, rule=PLAIN),
        "gradient": tm.Ramp(NET, MERGED, over_steps=3, rule=tm.Rule(gradient="zero_fully_stuck")),
        "order": tm.Ramp(NET, MERGED, over_steps=3, order="by_chip"),
        "seed": tm.Ramp(NET, MERGED, over_steps=3, seed=1),
        "over_steps: 3, but here it is 4": tm.Ramp(NET, MERGED, over_steps=4),
    }.items():
        with pytest.raises(ValueError, match=f"the state was saved with another {what}"):
            ramp.load_state_dict(saved)


def test_states_of_orders_and_schedules_that_are_gone_are_refused():
    ramp = tm.Ramp(NET, MERGED, over_steps=3)
    saved = ramp.state_dict()
    with pytest.raises(ValueError, match="saved with another order: 'lsb_first', but here it is 'random'"):
        ramp.load_state_dict({**saved, "of": {**saved["of"], "order": "lsb_first"}})
    of = {name: value for name, value in saved["of"].items() if name != "over_steps"}
    by_epoch = {"schedule": "ByEpoch", "epochs": 3, "steps_per_epoch": 1, "start": 0.0}
    old = {"of": {**of, "schedule": by_epoch}, "state": {"step": 2, "fraction": 0.5}, "collapse": None}
    with pytest.raises(ValueError, match="saved without its over_steps, maybe by an older version, but here it is 3"):
        ramp.load_state_dict(old)
    assert ramp.steps == 0


def test_a_collapse_is_named():
    detector = tm.prepare.CollapseDetector(limit=math.log(10), patience=3)
    for loss in (0.3, 99.0, 0.3, 0.4, 2.6):
        detector.update(loss)
    with pytest.raises(tm.prepare.CollapseError, match="training with 50 % collapsed at step 6: median loss 2.6") as error:
        detector.update(2.6, what="training with 50 %")
    assert (error.value.step, error.value.limit) == (6, math.log(10))
    with pytest.raises(tm.prepare.CollapseError, match="the loss is nan"):
        tm.prepare.CollapseDetector(limit=1).update(math.nan)
    with pytest.raises(ValueError, match="limit must be finite, got nan"):
        tm.prepare.CollapseDetector(limit=math.nan)
    with pytest.raises(ValueError, match="patience must be at least 1, got 0"):
        tm.prepare.CollapseDetector(limit=1, patience=0)


def test_a_state_of_other_collapse_detection_is_refused():
    detector = tm.prepare.CollapseDetector(limit=1)
    detector.update(0.5)
    saved = json.loads(json.dumps(detector.state_dict()))
    for options, message in (({"limit": 2}, "limit: 1.0, but here it is 2.0"), ({"limit": 1, "patience": 3}, "patience: 20")):
        other = tm.prepare.CollapseDetector(**options)
        with pytest.raises(ValueError, match=f"saved with another {message}"):
            other.load_state_dict(saved)
        assert other.step == 0
    for bad in (None, {}, {"limit": 1, "patience": 20, "step": "x", "recent": []}):
        with pytest.raises(TypeError):
            tm.prepare.CollapseDetector(limit=1).load_state_dict(bad)
    again = tm.prepare.CollapseDetector(limit=1)
    again.load_state_dict(saved)
    assert again.state_dict() == detector.state_dict()


def test_a_loss_may_be_a_tensor_of_one_element():
    detector = tm.prepare.CollapseDetector(limit=2, patience=2)
    detector.update(torch.tensor(0.5, requires_grad=True))
    detector.update(np.float32(0.25))
    assert json.loads(json.dumps(detector.state_dict()))["recent"] == [0.5, 0.25]
    for bad in (None, "0.5", torch.ones(2), [1.0]):
        with pytest.raises(TypeError, match="the loss must be one number, got "):
            detector.update(bad)
