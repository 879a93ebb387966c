"""Learning from the healthy network: the loss by a plain formula, and a teacher that nothing changes."""

import math

import brevitas.nn as qnn
import pytest
import torch
from helpers import a_chip, a_net
from torch import nn

import tremap_brevitas as tm
from tremap_brevitas import quant as tq


def a_network():
    torch.manual_seed(0)
    model = nn.Sequential(
        qnn.QuantLinear(6, 8, bias=True, weight_quant=tq.FaultyInt8WeightPerTensorFixedPoint),
        nn.BatchNorm1d(8),
        nn.Dropout(0.5),
        qnn.QuantLinear(8, 3, bias=True, weight_quant=tq.FaultyInt8WeightPerTensorFixedPoint),
    )
    return a_net(model)


IMAGES, LABELS = torch.randn(5, 6, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 2, 1, 1, 0])


def softmax(row, temperature):
    powers = [math.exp(value / temperature) for value in row]
    return [p / sum(powers) for p in powers]


def by_hand(logits, said, labels, temperature, share):
    """Hinton's loss in plain Python."""
    hard = [-math.log(softmax(row, 1)[label]) for row, label in zip(logits, labels, strict=True)]
    soft = []
    for row, other in zip(logits, said, strict=True):
        pairs = zip(softmax(other, temperature), softmax(row, temperature), strict=True)
        soft.append(sum(p * (math.log(p) - math.log(q)) for p, q in pairs))
    mean = [sum(values) / len(values) for values in (hard, soft)]
    return (1 - share) * mean[0] + share * temperature**2 * mean[1]


@pytest.mark.parametrize(("temperature", "share"), [(2.0, 0.7), (1.0, 1.0), (5.0, 0.0)])
def test_the_value_is_that_of_the_formula(temperature, share):
    net = a_network()
    net.model.eval()
    said = net.model(IMAGES).tolist()
    loss = tm.TeacherLoss(net, temperature=temperature, share=share)
    net.set_faults_(a_chip(net.placement))
    logits = net.model(IMAGES)
    assert logits.tolist() != said
    expected = by_hand(logits.tolist(), said, LABELS.tolist(), temperature, share)
    # The sums are of differences of logits around 1, of which float32 keeps seven digits.
    assert loss(logits, IMAGES, LABELS).item() == pytest.approx(expected, rel=1e-5, abs=1e-7)


def test_positions_of_a_picture_count_as_samples_do():
    net = a_network()
    logits, said = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    labels = torch.randint(3, (2, 4, 5))
    loss = tm.TeacherLoss(net, forward=lambda teacher: lambda images: said)
    flat = [t.movedim(1, -1).reshape(-1, 3).tolist() for t in (logits, said)]
    assert loss(logits, None, labels).item() == pytest.approx(by_hand(*flat, labels.flatten().tolist(), 2.0, 0.7), rel=1e-5)


@pytest.mark.parametrize("faults", [False, True])
def test_the_teacher_stays_healthy_and_as_it_was_while_the_network_trains(faults):
    net = a_network()
    net.model.eval()
    healthy = net.model(IMAGES)
    if faults:
        net.set_faults_(a_chip(net.placement))
    net.model.train()
    loss = tm.TeacherLoss(net)
    assert net.model.training
    assert (net.fault_map is not None) == faults
    before = {name: value.clone() for name, value in loss.teacher.state_dict().items()}
    assert torch.equal(loss.teacher(IMAGES), healthy)
    checkpoint = {name: value.clone() for name, value in net.model.state_dict().items()}
    optimizer = torch.optim.SGD(net.model.parameters(), lr=0.5)
    strategy = tm.AllAtOnce(net, a_chip(net.placement, seed=1))
    for _ in range(3):
        optimizer.zero_grad()
        loss(net.model(IMAGES), IMAGES, LABELS).backward()
        optimizer.step()
        strategy.step()
    assert all(p.grad is not None for p in net.model.parameters() if p.ndim > 1)
    assert all(p.grad is None and not p.requires_grad for p in loss.teacher.parameters())
    assert not torch.equal(net.model[0].weight, before["0.weight"])
    assert torch.equal(loss.teacher(IMAGES), healthy)
    assert all(torch.equal(value, before[name]) for name, value in loss.teacher.state_dict().items())
    assert not loss.teacher.training
    # Nor does the teacher stand in what is saved of the network, and a checkpoint that is loaded does not reach it.
    assert net.model.state_dict().keys() == checkpoint.keys()
    net.model.load_state_dict({name: value + 1 if value.is_floating_point() else value for name, value in checkpoint.items()})
    assert torch.equal(loss.teacher(IMAGES), healthy)


class FromAPair(nn.Module):
    """Takes a dictionary."""

    def __init__(self):
        super().__init__()
        self.fc = qnn.QuantLinear(6, 3, bias=False, weight_quant=tq.FaultyInt8WeightPerTensorFixedPoint)

    def forward(self, batch):
        return self.fc(batch["left"] - batch["right"])


def test_batches_of_any_type_and_a_way_to_run_the_teacher():
    net = a_net(FromAPair())
    batch = {"left": IMAGES, "right": torch.ones(5, 6)}
    calls = []

    def counted(teacher):
        assert not teacher.training
        return lambda images: calls.append(images) or teacher(images)

    logits = net.model(batch)
    first, second = tm.TeacherLoss(net), tm.TeacherLoss(net, forward=counted)
    assert torch.equal(first(logits, batch, LABELS), second(logits, batch, LABELS))
    assert calls == [batch]


def test_what_makes_no_loss_is_refused():
    net = a_network()
    for options, message in (
        ({"temperature": 0}, "temperature must be positive and finite, got 0"),
        ({"temperature": math.nan}, "temperature must be positive and finite, got nan"),
        ({"share": 1.5}, "share must lie between 0 and 1, got 1.5"),
    ):
        with pytest.raises(ValueError, match=message):
            tm.TeacherLoss(net, **options)
    with pytest.raises(TypeError, match="net must be a PlacedModel, which tm.place makes, got Sequential"):
        tm.TeacherLoss(net.model)
    with pytest.raises(ValueError, match=r"logits have shape \(5, 2\), but the teacher's \(5, 3\)"):
        tm.TeacherLoss(net)(torch.zeros(5, 2), IMAGES, LABELS)
