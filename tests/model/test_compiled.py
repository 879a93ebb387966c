"""A compiled model computes what the model computes, whatever is done to its faults meanwhile."""

import pytest
import torch
from networks import DigitsNet
from torch import nn

import tremap_brevitas as tm

X = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
LABELS = torch.arange(16) % 10


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    model = tm.make_faulty(DigitsNet())
    for _ in range(3):
        model(X)
    model.load_state_dict(model.state_dict())  # ends the measuring of activation scales
    placement = tm.place(model, tm.Memory(words=3000, word_bits=32))
    return model, placement, tm.random_fault_maps(placement.memory, chips=3, fault_rate=0.05, seed=0), tm.compiled(model)


def gradients(loss, model):
    return torch.autograd.grad(loss, [p for p in model.parameters() if p.requires_grad])


@pytest.mark.slow
def test_outputs_and_gradients_under_every_kind_of_fault(network):
    model, placement, chips, run = network
    for chip, store in ((chips[0], "nearest"), (chips[1], "nearest"), (chips[0], "plain"), (chips[2], "plain")):
        tm.set_faults_(model, placement, chip, store=store)
        for training in (True, False):
            model.train(training)
            state = {k: v.clone() for k, v in model.named_buffers()}
            results = []
            for forward in (model, run):
                with torch.no_grad():  # BatchNorm moves on; both shall begin from the same
                    for key, value in model.named_buffers():
                        value.copy_(state[key])
                outputs = forward(X)
                results.append((outputs.detach(), *gradients(nn.functional.cross_entropy(outputs, LABELS), model)))
            for expected, found in zip(*results, strict=True):
                torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-4)
    model.eval()
    tm.clear_faults_(model)
    torch.testing.assert_close(run(X), model(X), rtol=1e-4, atol=1e-4)
    tm.set_faults_(model, placement, chips[0])
    codes = tm.memory_image(model, placement).codes
    with tm.using_codes(model, placement, codes):
        torch.testing.assert_close(run(X), model(X), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_another_map_compiles_nothing(network):
    model, placement, chips, run = network
    model.train()
    for chip in chips[:2]:  # the second map may be compiled for any map
        tm.set_faults_(model, placement, chip)
        run(X)
    with torch._dynamo.config.patch(error_on_recompile=True):
        ramp = tm.Ramp(model, placement, tm.merge(chips, on_conflict="majority"), over_steps=4)
        ramp.step()
        ramp.step()
        for _ in range(3):
            run(X).sum().backward()
            ramp.step()
        tm.set_faults_(model, placement, chips[2])
        torch.testing.assert_close(run(X), model(X), rtol=1e-3, atol=1e-3)
        tm.set_faults_(model, placement, chips[2], gradient="zero_fully_stuck", store="plain")
        with pytest.raises(torch._dynamo.exc.RecompileError):  # another mode does compile, so that the above could fail
            run(X)


@pytest.mark.slow
def test_in_bfloat16_only_sums_are_rounded(network):
    model, placement, chips, _ = network
    model.eval()
    tm.set_faults_(model, placement, chips[0])
    with torch.no_grad():
        found, expected = tm.compiled(model, bfloat16=True)(X), model(X)
    assert found.dtype == torch.float32
    assert float((found - expected).abs().max()) < 0.05 * float(expected.abs().max())
    assert not torch.equal(found, expected)
