"""What docs/gpu.md says of a model on a GPU: the same codes, images, certificates and files as on a CPU."""

import copy

import numpy as np
import pytest
import torch
from helpers import GPU, a_chip, a_net, needs_gpu
from networks import DigitsNet, ResNet
from torch import nn

import tremap_brevitas as tm

needs_gpu()
X = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(5))
LABELS = torch.arange(64) % 10


def a_network():
    torch.manual_seed(0)
    model = tm.make_faulty(DigitsNet())
    for _ in range(3):
        model(X)
    return a_net(model.eval())


def twins():
    """The same network on a CPU and on the GPU, and three chips."""
    net = a_network()
    other = copy.deepcopy(net)
    other.model.to(GPU)
    return net, other, tm.random_fault_maps(net.placement.memory, chips=3, fault_rate=0.02, seed=0)


def accuracy(model):
    device = next(model.parameters()).device
    with torch.no_grad():
        return float((model(X.to(device)).argmax(1).cpu() == LABELS).float().mean())


def same_codes(net, other):
    for layer in net.placement.layers:
        assert np.array_equal(net.codes(layer.name).read_back, other.codes(layer.name).read_back)


@pytest.mark.parametrize("store", ["nearest", "plain"])
def test_the_same_codes_whenever_the_model_is_moved(store):
    net, moved_before, chips = twins()
    moved_after = copy.deepcopy(net)
    for one in (net, moved_before, moved_after):
        one.set_faults_(chips[0], rule=tm.Rule(store))
    moved_after.model.to(GPU)
    for other in (moved_before, moved_after):
        same_codes(net, other)
        assert np.array_equal(net.memory_image().words(), other.memory_image().words())
        ours, theirs = net.certificate(chips[0]), other.certificate(chips[0])
        assert (ours.bit_exact, ours.relative_error) == (theirs.bit_exact, theirs.relative_error)
    with torch.no_grad():
        torch.testing.assert_close(moved_after.model(X.to(GPU)).cpu(), net.model(X), rtol=1e-2, atol=0.1)
    moved_after.model.cpu()
    same_codes(net, moved_after)


def test_a_report_of_chips():
    net, other, chips = twins()
    for one in (net, other):
        one.set_faults_(tm.merge(chips, on_conflict="majority"))
    ours, theirs = (one.evaluate(chips, accuracy, progress=False) for one in (net, other))
    for here, there in zip(ours.chips, theirs.chips, strict=True):
        assert here.bit_exact == there.bit_exact
        assert here.accuracy == pytest.approx(there.accuracy, abs=0.05)  # one image in 64 may fall on the other side


def strategies(net, chips):
    merged = tm.merge(chips, on_conflict="free")
    return {
        "all at once": tm.AllAtOnce(net, chips[0]),
        "ramp": tm.Ramp(net, merged, over_steps=3),
        "members": tm.ReadByMembers(net, merged, seed=0),
        "random member": tm.prepare.RandomMember(net, chips, seed=0),
        "clean and faulty": tm.prepare.CleanAndFaulty(tm.AllAtOnce(net, chips[0])),
    }


@pytest.mark.parametrize("name", ["all at once", "ramp", "members", "random member", "clean and faulty"])
def test_training_under_every_strategy(name):
    _, net, chips = twins()
    before = net.model.classifier.weight.detach().clone()
    loss_of = tm.TeacherLoss(net)
    strategy = strategies(net, chips)[name]
    optimizer = torch.optim.SGD(net.model.parameters(), lr=0.01)
    images, labels = X.to(GPU), LABELS.to(GPU)
    net.model.train()
    for _ in range(4):
        optimizer.zero_grad()
        for share in strategy.passes():
            (share * loss_of(net.model(images), images, labels)).backward()
        optimizer.step()
        strategy.step()
    net.model.eval()
    assert not torch.equal(net.model.classifier.weight, before)
    net.set_faults_(chips[0])
    assert net.certificate(chips[0]).bit_exact
    assert bool(torch.isfinite(net.model(images)).all())


def test_a_step_moves_the_weights_as_on_a_cpu():
    net, other, chips = twins()
    for one in (net, other):
        device = next(one.model.parameters()).device
        one.set_faults_(chips[0])
        nn.functional.cross_entropy(one.model(X.to(device)), LABELS.to(device)).backward()
    for mine, theirs in zip(net.model.parameters(), other.model.parameters(), strict=True):
        if mine.grad is not None:
            scale = float(mine.grad.abs().max()) or 1.0
            torch.testing.assert_close(theirs.grad.cpu(), mine.grad, rtol=0.05, atol=0.05 * scale)


def test_statistics_of_batchnorm():
    net, other, chips = twins()
    for one in (net, other):
        one.set_faults_(chips[0])
        tm.reestimate_batchnorm_(one.model, [X.to(next(one.model.parameters()).device)], progress=False)
    theirs = other.model.state_dict()
    for key, value in net.model.state_dict().items():
        if "running" in key:
            torch.testing.assert_close(theirs[key].cpu(), value, rtol=1e-2, atol=1e-2)


def test_an_order_of_channels_is_found_and_computes_the_same():
    net, other, chips = twins()
    found = [
        tm.reorder(one, chips[:1], groups=tm.prepare.channel_groups(one, X.to(device)).groups, progress=False)
        for one, device in ((net, "cpu"), (other, GPU))
    ]
    ours, theirs = (fleet.orders[0].orders for fleet in found)
    assert {name: list(order) for name, order in ours.items()} == {name: list(order) for name, order in theirs.items()}
    with torch.no_grad():
        before = other.model(X.to(GPU))
        tm.apply_order_(other, found[1].orders[0])
        torch.testing.assert_close(other.model(X.to(GPU)), before, rtol=1e-3, atol=1e-3)


def test_the_same_bundle(tmp_path):
    net, other, chips = twins()
    merged = tm.merge(chips, on_conflict="majority")
    for one, name in ((net, "cpu"), (other, "gpu")):
        one.set_faults_(merged)
        device = next(one.model.parameters()).device
        bundle = one.export(tmp_path / name, X[:2].to(device))
        assert tm.verify_bundle(bundle, chips).ok
    files = sorted(p.name for p in (tmp_path / "cpu").iterdir())
    assert files == sorted(p.name for p in (tmp_path / "gpu").iterdir())
    for name in files:
        assert (tmp_path / "cpu" / name).read_bytes() == (tmp_path / "gpu" / name).read_bytes(), name


@pytest.mark.parametrize("bfloat16", [False, True])
def test_compiled_it_computes_with_the_same_codes(bfloat16):
    torch.manual_seed(0)
    model = tm.make_faulty(ResNet(8)).to(GPU)
    images = torch.randn(32, 3, 32, 32, generator=torch.Generator().manual_seed(0)).to(GPU)
    for _ in range(3):
        model(images)
    model.load_state_dict(model.state_dict())  # ends the measuring of activation scales
    net = a_net(model.eval())
    net.set_faults_(a_chip(net.placement))
    run = tm.compiled(model, bfloat16=bfloat16)
    with torch.no_grad():
        wanted, outputs = model(images), run(images)
        assert float((outputs - wanted).norm() / wanted.norm()) < (0.1 if bfloat16 else 0.02)
        net.clear_faults_()
        assert float((run(images) - wanted).norm() / wanted.norm()) > 0.2  # other codes are far from that
