import brevitas.nn as qnn
import pytest
import torch
from helpers import a_chip, a_net
from torch import nn

import tremap_brevitas as tm
from tremap_brevitas import quant as tq


def network():
    return nn.Sequential(
        qnn.QuantLinear(6, 4, bias=False, weight_quant=tq.FaultyInt8WeightPerTensorFloat),
        nn.BatchNorm1d(4, momentum=0.3),
        nn.Dropout(0.5),
    )


def test_statistics_are_those_of_the_faulty_network():
    model = network()
    net = a_net(model)
    net.set_faults_(a_chip(net.placement))
    model.train()
    batches = [torch.randn(8, 6) for _ in range(5)]
    weights = model[0].weight.detach().clone()
    used = tm.reestimate_batchnorm_(model, [(b, "label") for b in batches], max_batches=4)
    assert used == 4
    outputs = [model[0](b).detach() for b in batches[:4]]
    assert torch.allclose(model[1].running_mean, torch.stack([o.mean(0) for o in outputs]).mean(0), atol=1e-6)
    assert torch.allclose(model[1].running_var, torch.stack([o.var(0) for o in outputs]).mean(0), atol=1e-5)
    assert model[1].momentum == 0.3
    assert model.training
    assert model[2].training
    assert torch.equal(model[0].weight, weights)
    net.clear_faults_()
    healthy = torch.stack([model[0](b).mean(0) for b in batches[:4]]).mean(0)
    assert not torch.allclose(model[1].running_mean, healthy, atol=1e-3)


class WithAuxiliaryHead(nn.Module):
    """The second BatchNorm layer runs in training alone, the third twice."""

    def __init__(self):
        super().__init__()
        self.first, self.auxiliary, self.twice = nn.BatchNorm1d(2), nn.BatchNorm1d(2), nn.BatchNorm1d(2)

    def forward(self, x):
        x = self.first(x)
        if self.training:
            self.auxiliary(x)
        return self.twice(self.twice(x) + 1)


def test_layers_that_see_no_batch_keep_what_they_have():
    model = WithAuxiliaryHead()
    for _ in range(9):
        model(3 * torch.randn(8, 2) + 5)
    before = {k: v.clone() for k, v in model.auxiliary.state_dict().items()}
    x = torch.randn(8, 2)
    with pytest.warns(UserWarning, match="that received no batch keep their old statistics: auxiliary$"):
        assert tm.reestimate_batchnorm_(model, [x]) == 1
    assert all(torch.equal(v, before[k]) for k, v in model.auxiliary.state_dict().items())
    torch.testing.assert_close(model.first.running_mean, x.mean(0))
    torch.testing.assert_close(model.twice.running_mean, torch.tensor([0.5, 0.5]))
    model.eval()
    model.forward = lambda x: x
    with pytest.raises(ValueError, match="no BatchNorm layer of WithAuxiliaryHead receives a batch: first, auxiliary, twice"):
        tm.reestimate_batchnorm_(model, [x])
    torch.testing.assert_close(model.first.running_mean, x.mean(0))


def test_every_sample_counts_alike():
    model = nn.Sequential(nn.BatchNorm2d(3, affine=False))  # without a single parameter
    x = torch.randn(21, 3, 4, 4)
    assert tm.reestimate_batchnorm_(model, x.split(8)) == 3
    torch.testing.assert_close(model[0].running_mean, x.mean((0, 2, 3)))
    variances = torch.stack([part.var((0, 2, 3)) for part in x.split(8)])
    torch.testing.assert_close(model[0].running_var, (torch.tensor([[8.0], [8.0], [5.0]]) * variances).sum(0) / 21)
    assert model[0].num_batches_tracked == 3


def test_no_batch_is_taken_that_is_not_used():
    batches = iter([torch.randn(8, 2) for _ in range(5)])
    model = nn.Sequential(nn.BatchNorm1d(2))
    assert tm.reestimate_batchnorm_(model, batches, max_batches=2) == 2
    assert len(list(batches)) == 3
    with pytest.raises(ValueError, match="max_batches must be at least 1, got 0"):
        tm.reestimate_batchnorm_(model, [torch.randn(8, 2)], max_batches=0)


def test_an_error_keeps_the_old_statistics():
    model = network().eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(ValueError, match="no batch was given"):
        tm.reestimate_batchnorm_(model, [])
    with pytest.raises(RuntimeError):
        tm.reestimate_batchnorm_(model, [torch.randn(4, 6), torch.randn(4, 99)])
    bad = {"of 1 sample: Expected more than 1 value": torch.randn(1, 6), "batch 1 is empty": torch.ones(0, 6)}
    for message, last in bad.items():
        with pytest.raises(ValueError, match=message):
            tm.reestimate_batchnorm_(model, [torch.randn(4, 6), last])
    assert model[1].momentum == 0.3
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not model.training
    assert not model[1].training
    with pytest.raises(ValueError, match="Linear has no BatchNorm layer"):
        tm.reestimate_batchnorm_(nn.Linear(2, 2), [torch.randn(2, 2)])
