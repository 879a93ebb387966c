import brevitas.nn as qnn
import pytest
import torch
from helpers import a_chip, a_placement
from torch import nn

import tremap_brevitas as tm


def network():
    return nn.Sequential(
        qnn.QuantLinear(6, 4, bias=False, weight_quant=tm.FaultyInt8WeightPerTensorFloat),
        nn.BatchNorm1d(4, momentum=0.3),
        nn.Dropout(0.5),
    )


def test_statistics_are_those_of_the_faulty_network():
    model = network()
    placement = a_placement(model)
    tm.set_faults_(model, placement, a_chip(placement))
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
    tm.clear_faults_(model)
    healthy = torch.stack([model[0](b).mean(0) for b in batches[:4]]).mean(0)
    assert not torch.allclose(model[1].running_mean, healthy, atol=1e-3)


def test_an_error_keeps_the_old_statistics():
    model = network().eval()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(ValueError, match="no batch was given"):
        tm.reestimate_batchnorm_(model, [])
    with pytest.raises(RuntimeError):
        tm.reestimate_batchnorm_(model, [torch.randn(4, 6), torch.randn(4, 99)])
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    assert not model.training
    assert not model[1].training
    with pytest.raises(ValueError, match="Linear has no BatchNorm layer"):
        tm.reestimate_batchnorm_(nn.Linear(2, 2), [torch.randn(2, 2)])
