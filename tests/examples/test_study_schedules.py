"""Ways of letting faults in that the study alone has: nested, ordered, ending in the whole map."""

import pytest
from prepare.test_ramp import MERGED, MODEL, NET, PLAIN, live, whole

import tremap_brevitas as tm
from benchmarks.study.schedules import LsbFirst, OnRecovery


@pytest.fixture
def net():
    yield tm.PlacedModel(MODEL, NET.placement, rule=PLAIN)
    NET.clear_faults_()


def test_low_bits_enter_first(net):
    strategy, entered = LsbFirst(net, MERGED, over_steps=len(MERGED), seed=0), []
    before = live()
    assert before == set()
    for step in range(len(MERGED) + 2):
        assert strategy.done == (step >= len(MERGED))
        strategy.step()
        assert before <= live()
        entered += [bit for _, _, bit, _ in live() - before]
        before = live()
    assert before == whole()
    assert entered == sorted(entered)
    assert len(set(entered)) == 8


def test_the_next_stage_waits_for_the_loss(net):
    strategy, fractions = OnRecovery(net, MERGED, stages=4, window=2, patience=5, seed=0), []
    losses = [1.0, 1.0, 2.0, 2.0, 1.0, 1.0, 9.0, 9.0, 9.0, 9.0, 9.0, 1.0, 1.0, 1.0]
    before = live()
    for loss in losses:
        strategy.step(loss)
        assert before <= live()
        before = live()
        fractions.append(strategy.fraction)
    # Two healthy steps set the mark; means of 1.5 and 1.25 are too high until patience runs out, and so is 9 after that.
    assert fractions == [0, 0.25, 0.25, 0.25, 0.25, 0.25, 0.5, 0.5, 0.5, 0.5, 0.5, 0.75, 0.75, 1]
    assert before == whole()
    with pytest.raises(NotImplementedError, match="rows of the study run whole"):
        strategy.state_dict()
