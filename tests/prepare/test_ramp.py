"""Ramps: nested, ordered, ending in the whole map; resuming; recovery; collapse."""

import dataclasses
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
from tremap_brevitas.prepare import ByEpoch, ByStep, OnRecovery

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
    found = set()
    for entry in faulty_slots(MODEL):
        faults = entry.proxy.fault_slot(entry.slot)
        if faults is None:
            continue
        stuck, zeros = (t.numpy().astype(np.uint8).reshape(-1) for t in faults.elementwise)
        for weight, bit in np.argwhere(np.unpackbits(stuck[:, None], axis=1, bitorder="little")):
            found.add((entry.name, int(weight), int(bit), int(not (zeros[weight] >> bit) & 1)))
    return found


def whole():
    return {
        (s.layer.name, int(w), int(b), int(v))
        for s in NET.placement.sites(MERGED.cells)
        for w, b, v in zip(s.weight, s.bit, MERGED.stuck_at[s.source], strict=True)
    }


@given(
    st.integers(1, 12), st.sampled_from(["random", "by_chip", "lsb_first"]), st.integers(0, 5), st.sampled_from([0.0, 0.3, 1.0])
)
@settings(max_examples=30)
def test_live_faults_are_nested_and_end_in_the_whole_map(steps, order, seed, start):
    ramp = tm.Ramp(NET, MERGED, schedule=ByStep(steps, start), order=order, seed=seed, rule=PLAIN)
    before = live()
    for step in range(1, steps + 3):
        ramp.step()
        now = live()
        assert before <= now
        fraction = start + (1 - start) * min(1, step / steps)
        assert ramp.live_cells == round(fraction * len(MERGED))
        before = now
    assert ramp.done
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

    bits = [bit for _, _, bit, _ in entered("lsb_first")]
    assert bits == sorted(bits)
    members = []
    for name, weight, bit, _ in entered("by_chip"):
        cell = NET.placement.cell(name, weight, bit=bit)
        members.append(next(i for i, m in enumerate(MERGED.members) if cell in m.cells))
    assert members == sorted(members)
    assert set(members) == {0, 1, 2, 3}
    assert entered("random", 1) == entered("random", 1) != entered("random", 2)


@pytest.mark.parametrize("schedule", [ByStep(7), ByEpoch(3, 2), OnRecovery(stages=3, window=2, patience=4)])
def test_resuming_goes_on_where_it_stopped(schedule):
    losses = [1.0, 1.0, 3.0, 1.0, 1.0, 0.9, 2.0, 2.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0]

    def new():
        return tm.Ramp(NET, MERGED, schedule=schedule, rule=PLAIN, collapse=tm.CollapseDetector(limit=9))

    ramp, history = new(), []
    for loss in losses:
        ramp.step(loss)
        history.append((ramp.fraction, live()))
    for stop in (1, 4, 9):
        first = new()
        for loss in losses[:stop]:
            first.step(loss)
        saved = json.loads(json.dumps(first.state_dict()))
        NET.clear_faults_()
        second = new()
        second.load_state_dict(saved)
        assert (second.fraction, live()) == history[stop - 1]
        for loss, expected in zip(losses[stop:], history[stop:], strict=True):
            second.step(loss)
            assert (second.fraction, live()) == expected


def test_recovery_waits_for_the_loss():
    ramp = tm.Ramp(NET, MERGED, schedule=OnRecovery(stages=4, tolerance=0.1, window=2, patience=5))
    fractions = []
    for loss in [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 1.0, 1.0]:
        ramp.step(loss)
        fractions.append(ramp.fraction)
    #  two healthy steps set the reference; the loss is too high until the mean of two is back at 1.1
    assert fractions[:2] == [0.0, 0.25]
    assert fractions[2:4] == [0.25, 0.25]
    assert fractions[-1] > 0.25
    stubborn = tm.Ramp(NET, MERGED, schedule=OnRecovery(stages=2, window=1, patience=3, reference=0.5))
    for _ in range(6):
        stubborn.step(9.0)
    assert stubborn.done  # patience runs out: a ramp always ends


def test_a_collapse_is_named():
    collapse = tm.CollapseDetector(limit=math.log(10), patience=3)
    ramp = tm.Ramp(NET, MERGED, over_steps=10, collapse=collapse)
    for loss in (0.3, 99.0, 0.3, 0.4, 2.6):
        ramp.step(loss)
    with pytest.raises(
        tm.CollapseError, match="training with 50 % of the faults collapsed at step 6: median loss 2.6"
    ) as error:
        ramp.step(2.6)
    assert (error.value.step, error.value.limit) == (6, math.log(10))
    assert ramp.steps == 5
    with pytest.raises(tm.CollapseError, match="the loss is nan"):
        tm.CollapseDetector(limit=1).update(math.nan)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give over_steps or schedule, and not both"),
        ({"over_steps": 3, "schedule": ByStep(3)}, "give over_steps or schedule, and not both"),
        ({"over_steps": 0}, "steps must be at least 1, got 0"),
        ({"over_steps": 3, "order": "msb"}, "order must be one of random, by_chip, lsb_first, got 'msb'"),
        ({"schedule": OnRecovery()}, "needs the loss: its schedule goes by it"),
        ({"over_steps": 3, "collapse": tm.CollapseDetector(limit=1)}, "needs the loss: collapse detection goes by it"),
    ],
)
def test_bad_ramps(options, message):
    with pytest.raises(ValueError, match=message):
        tm.Ramp(NET, MERGED, **options).step()


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
        r"schedule: \{'schedule': 'ByStep', 'steps': 3, .*'steps': 4, 'start'": tm.Ramp(NET, MERGED, over_steps=4),
        "schedule: .*'ByStep'.* here it is .*'ByEpoch'": tm.Ramp(NET, MERGED, schedule=ByEpoch(1, 3)),
        "collapse detection": tm.Ramp(NET, MERGED, over_steps=3, collapse=tm.CollapseDetector(limit=1)),
    }.items():
        with pytest.raises(ValueError, match=f"the state was saved with another {what}"):
            ramp.load_state_dict(saved)


def test_a_state_of_other_collapse_detection_is_refused():
    def a_ramp(**options):
        return tm.Ramp(NET, MERGED, over_steps=3, collapse=tm.CollapseDetector(**options))

    ramp = a_ramp(limit=1)
    ramp.step(0.5)
    saved = json.loads(json.dumps(ramp.state_dict()))
    for options, message in (({"limit": 2}, "limit: 1.0, but here it is 2.0"), ({"limit": 1, "patience": 3}, "patience: 20")):
        other = a_ramp(**options)
        with pytest.raises(ValueError, match=f"saved with another {message}"):
            other.load_state_dict(saved)
        assert other.steps == other.collapse.step == 0
    for bad in (None, {}, {"limit": 1, "patience": 20, "step": "x", "recent": []}):
        with pytest.raises(TypeError):
            tm.CollapseDetector(limit=1).load_state_dict(bad)


@pytest.mark.parametrize(
    "changes",
    [
        {"step": 1.5},
        {"step": -1},
        {"stage_step": 9},
        {"fraction": 2},
        {"fraction": None},
        {"loss": math.nan},
        {"reference": "1"},
    ],
)
def test_a_state_that_no_ramp_saves_is_refused(changes):
    ramp = tm.Ramp(NET, MERGED, over_steps=3)
    saved = ramp.state_dict()
    with pytest.raises(TypeError, match="holds what no ramp saves"):
        ramp.load_state_dict({**saved, "state": {**saved["state"], **changes}})
    with pytest.raises(TypeError, match="must hold fraction, loss, reference, stage_step, step"):
        ramp.load_state_dict({**saved, "state": {"step": 1}})
    assert ramp.fraction == 0


def test_a_schedule_of_ones_own():
    @dataclasses.dataclass(frozen=True)
    class Jump:
        at: int
        what: object = None
        needs_loss = False

        def fraction(self, state):
            return math.nan if self.at < 0 else float(state.step >= self.at)

    def a_ramp(at):
        return tm.Ramp(NET, MERGED, schedule=Jump(at, range(3)))

    saved = json.loads(json.dumps(a_ramp(2).state_dict()))
    a_ramp(2).load_state_dict(saved)
    with pytest.raises(ValueError, match=r"saved with another schedule: \{'schedule': 'Jump', 'at': 2, .* 'at': 3"):
        a_ramp(3).load_state_dict(saved)
    with pytest.raises(ValueError, match="says that nan of the faults are live at step 0"):
        a_ramp(-1)


def test_a_loss_that_is_no_number_ends_a_ramp_that_goes_by_it():
    for at in (1, 3):
        ramp = tm.Ramp(NET, MERGED, schedule=OnRecovery(stages=3, window=2, patience=5))
        for _ in range(at):
            ramp.step(1.0)
        before = ramp.state_dict()
        with pytest.raises(tm.CollapseError, match=f"collapsed at step {at + 1}: the loss, which the schedule goes by, is nan"):
            ramp.step(math.nan)
        assert ramp.state_dict() == before
    for bad in ("0.5", torch.ones(2), [1.0]):
        for take in (tm.Ramp(NET, MERGED, over_steps=3).step, tm.CollapseDetector(limit=1).update):
            with pytest.raises(TypeError, match="the loss must be one number, got "):
                take(bad)
    detector = tm.CollapseDetector(limit=2, patience=2)
    detector.update(torch.tensor(0.5, requires_grad=True))
    detector.update(np.float32(0.25))
    assert json.loads(json.dumps(detector.state_dict()))["recent"] == [0.5, 0.25]
    with pytest.raises(TypeError, match="got None"):
        detector.update(None)


def test_negative_losses_recover_too():
    ramp = tm.Ramp(NET, MERGED, schedule=OnRecovery(stages=4, window=2, patience=50))
    fractions = [ramp.step(-1.0) or ramp.fraction for _ in range(10)]
    assert fractions == [0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75, 1, 1, 1]


def test_the_loss_may_be_a_tensor():
    ramp = tm.Ramp(NET, MERGED, schedule=OnRecovery(stages=2, window=2, patience=3))
    for _ in range(3):
        ramp.step(torch.tensor(1.0, requires_grad=True) * 2)
    assert json.loads(json.dumps(ramp.state_dict()))["state"]["reference"] == 2.0


def test_by_chip_needs_members():
    with pytest.raises(ValueError, match="needs a merged fault map"):
        tm.Ramp(NET, CHIPS[0], over_steps=3, order="by_chip")
