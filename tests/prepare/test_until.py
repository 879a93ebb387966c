import pytest
import torch
from networks import DigitsNet
from sklearn.datasets import load_digits
from torch import nn

import tremap_brevitas as tm
from tremap_brevitas.prepare import retrain_until


@pytest.fixture(scope="module")
def digits():
    images, labels = load_digits(return_X_y=True)
    return torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8) / 16, torch.tensor(labels)


def a_training(digits, seed=0):
    images, labels = digits
    torch.manual_seed(seed)
    model = tm.make_faulty(DigitsNet())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)

    def train_step(step):
        model.train()
        index = torch.arange(64 * step, 64 * step + 64) % 1200
        loss = nn.functional.cross_entropy(model(images[index]), labels[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    @torch.no_grad()
    def accuracy(model):
        assert not model.training
        return float((model(images[1200:]).argmax(1) == labels[1200:]).float().mean())

    net = tm.place(model, tm.Memory(words=2456, word_bits=32))
    (chip,) = tm.random_fault_maps(net.placement.memory, chips=1, fault_rate=0.02, seed=seed)
    return net, chip, train_step, accuracy


def test_it_stops_at_the_goal_and_says_what_that_took(digits):
    net, chip, train_step, accuracy = a_training(digits)
    strategy = tm.AllAtOnce(net, chip)
    result = retrain_until(0.8, train_step, accuracy, strategy=strategy, max_steps=200, check_every=10)
    assert result.reached
    assert 0 < result.steps < 200
    assert result.steps == strategy.steps
    assert result.seconds > 0
    assert [n for n, _ in result.history] == list(range(0, result.steps + 1, 10))
    assert [a >= 0.8 for _, a in result.history] == [False] * (len(result.history) - 1) + [True]
    assert result.accuracy == accuracy(net.model.eval()) == result.history[-1][1]


def test_a_ramp_is_judged_only_when_it_is_done(digits):
    net, chip, train_step, accuracy = a_training(digits)
    ramp = tm.Ramp(net, chip, over_steps=35)
    result = retrain_until(0.3, train_step, accuracy, strategy=ramp, max_steps=200, check_every=10)
    assert result.history[0][0] == result.steps == 40


@pytest.mark.parametrize("wrap", ["clip", "clean", "both"])
def test_a_wrapped_ramp_too(digits, wrap):
    """The accuracy looks good as long as few faults are live: nothing of that counts."""
    net, chip, _, _ = a_training(digits)
    ramp = strategy = tm.Ramp(net, chip, over_steps=35)
    if wrap != "clip":
        strategy = tm.prepare.CleanAndFaulty(strategy)
    if wrap != "clean":
        strategy = tm.prepare.ClipWeights(strategy, limit=1.0)
    result = retrain_until(
        0.9, lambda n: None, lambda model: 0.95 if ramp.fraction < 1 else 0.3, strategy=strategy, max_steps=50, check_every=10
    )
    assert (result.reached, result.history) == (False, ((40, 0.3), (50, 0.3)))


def test_bad_goals_and_strategies(digits):
    net, chip, train_step, accuracy = a_training(digits)
    strategy = tm.AllAtOnce(net, chip)
    with pytest.raises(TypeError, match="strategy must be a Strategy, got None"):
        retrain_until(0.5, train_step, accuracy, strategy=None, max_steps=1)
    with pytest.raises(ValueError, match="goal must be a number, got nan"):
        retrain_until(float("nan"), train_step, accuracy, strategy=strategy, max_steps=1)


def test_a_goal_out_of_reach(digits):
    net, chip, train_step, accuracy = a_training(digits)
    result = retrain_until(1.1, train_step, accuracy, strategy=tm.AllAtOnce(net, chip), max_steps=7, check_every=5)
    assert (result.reached, result.steps, [n for n, _ in result.history]) == (False, 7, [0, 5, 7])
    ramp = tm.Ramp(net, chip, over_steps=35)
    result = retrain_until(0.0, train_step, accuracy, strategy=ramp, max_steps=7)
    assert not result.reached  # the network asked for has all faults
    for name in ("max_steps", "check_every"):
        with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
            retrain_until(0.5, train_step, accuracy, strategy=ramp, **{"max_steps": 5, name: 0})
