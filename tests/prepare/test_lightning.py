"""A Lightning Trainer drives a strategy as a training loop of one's own does, and goes on from its own checkpoints."""

import warnings

import pytest
import torch
from brevitas.nn import QuantLinear
from helpers import a_net
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import tremap_brevitas as tm
from tremap_brevitas.prepare import LightningCallback, Strategy
from tremap_brevitas.quant import FaultyInt8WeightPerTensorFixedPoint

warnings.filterwarnings("ignore", module="lightning|pytorch_lightning")
lightning = pytest.importorskip("pytorch_lightning", reason="pytorch-lightning (extra lightning) is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's own, about workers and loggers

X = torch.randn(24, 6, generator=torch.Generator().manual_seed(0))
Y = X.sum(1, keepdim=True)
BATCHES = [(X[i : i + 4], Y[i : i + 4]) for i in range(0, 24, 4)]


class Module(lightning.LightningModule):
    """A small regression; notes in each step which map is live."""

    def __init__(self, model, strategy=None, fail=False):
        super().__init__()
        self.model, self.strategy, self.fail = model, strategy, fail
        self.automatic_optimization = strategy is None
        self.seen, self.validated, self.net = [], [], None

    def loss(self, batch):
        return (self.model(batch[0]) - batch[1]).square().mean()

    def training_step(self, batch, _):
        self.seen.append(live(self.net))
        if self.automatic_optimization:
            return self.loss(batch)
        optimizer = self.optimizers()
        optimizer.zero_grad()
        for share in self.strategy.passes():
            self.manual_backward(share * self.loss(batch))
        optimizer.step()
        return None

    def validation_step(self, batch, _):
        self.validated.append(live(self.net))
        if self.fail and self.seen:
            raise RuntimeError("the validation fails")

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.01, momentum=0.9)


def live(net):
    return None if net.fault_map is None else net.fault_map.digest


def made(kind="ramp"):
    """A model, its placement, and a strategy; the same at every call."""
    torch.manual_seed(1)
    quant = FaultyInt8WeightPerTensorFixedPoint
    model = nn.Sequential(
        QuantLinear(6, 5, bias=False, weight_quant=quant), nn.ReLU(), QuantLinear(5, 1, bias=False, weight_quant=quant)
    )
    net = a_net(model)
    chips = tm.random_fault_maps(net.placement.memory, chips=3, fault_rate=0.1, seed=2)
    merged = tm.merge(chips, on_conflict="majority")
    strategies = {
        "ramp": lambda: tm.Ramp(net, merged, over_steps=9),
        "members": lambda: tm.prepare.RandomMember(net, chips, seed=3),
        "reads": lambda: tm.ReadByMembers(net, merged, seed=3),
        "several": lambda: tm.ReadByMembers(net, merged, seed=3, members_a_step=3),
        "clean": lambda: tm.prepare.CleanAndFaulty(tm.prepare.RandomMember(net, chips, seed=3)),
    }
    return model, net, strategies[kind]()


def fit(module, net, *callbacks, epochs=2, path=None, folder=None, validate=False, **options):
    module.net = net
    trainer = lightning.Trainer(
        accelerator="cpu",
        max_epochs=epochs,
        callbacks=list(callbacks),
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        num_sanity_val_steps=1,
        default_root_dir=folder,
        **options,
    )
    loader = DataLoader(TensorDataset(X, Y), batch_size=4)
    trainer.fit(module, loader, loader if validate else None, ckpt_path=path)
    return trainer


def by_hand(kind, steps, every=1):
    """Weights after a loop of one's own, and the maps that were live."""
    model, net, strategy = made(kind)
    optimizer, seen = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9), []
    for step in range(steps):
        optimizer.zero_grad()
        for share in strategy.passes():
            for x, y in BATCHES[step * every % 6 : step * every % 6 + every]:
                seen.append(live(net))
                (share / every * (model(x) - y).square().mean()).backward()
        optimizer.step()
        strategy.step()
    return model.state_dict(), seen


def same(model, expected):
    return all(torch.equal(value, expected[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("kind", ["ramp", "members"])
def test_it_trains_as_a_loop_of_ones_own_does(kind, tmp_path):
    weights, seen = by_hand(kind, 12)
    assert len(set(seen)) > 2
    model, net, strategy = made(kind)
    module = Module(model)
    fit(module, net, LightningCallback(strategy), folder=tmp_path)
    assert module.seen == seen
    assert same(model, weights)
    assert strategy.steps == 12


def test_batches_whose_gradients_are_accumulated_count_as_one_step(tmp_path):
    weights, seen = by_hand("ramp", 6, every=2)
    model, net, strategy = made()
    module = Module(model)
    fit(module, net, LightningCallback(strategy), folder=tmp_path, accumulate_grad_batches=2)
    assert (strategy.steps, module.seen) == (6, seen)
    assert all(torch.allclose(value, weights[name], atol=1e-6) for name, value in model.state_dict().items())


def test_the_loss_of_the_batch_reaches_the_strategy(tmp_path):
    model, net, strategy = made()
    losses, step = [], strategy.step
    strategy.step = lambda loss=None: (losses.append(loss), step(loss))
    fit(Module(model), net, LightningCallback(strategy), folder=tmp_path, epochs=1, accumulate_grad_batches=6)
    fresh, _, _ = made()
    assert losses == [pytest.approx((fresh(BATCHES[5][0]) - BATCHES[5][1]).square().mean().item(), rel=1e-5)]


@pytest.mark.parametrize("kind", ["ramp", "reads"])
def test_validation_and_the_finished_network_have_the_whole_map(kind, tmp_path):
    model, net, strategy = made(kind)
    module, whole = Module(model), strategy.fault_map.digest
    fit(module, net, LightningCallback(strategy), folder=tmp_path, validate=True, epochs=1)
    assert set(module.validated) == {whole}
    assert len(module.validated) == 1 + 6
    if kind == "ramp":
        assert whole not in module.seen
    assert live(net) == whole
    net.memory_image()  # which ReadByMembers' own faults would refuse


def test_validate_alone_sees_what_is_live(tmp_path):
    model, net, strategy = made()
    module, callback = Module(model), LightningCallback(strategy)
    trainer = fit(module, net, callback, folder=tmp_path, epochs=1)
    net.clear_faults_()
    trainer.validate(module, DataLoader(TensorDataset(X, Y), batch_size=12), verbose=False)
    assert set(module.validated) == {None}
    assert live(net) is None


def test_faults_of_the_training_come_back_when_the_validation_fails(tmp_path):
    model, net, strategy = made()
    module = Module(model, fail=True)
    with pytest.raises(RuntimeError, match="the validation fails"):
        fit(module, net, LightningCallback(strategy), folder=tmp_path, validate=True)
    assert strategy.steps == 6
    assert live(net) not in {None, strategy.fault_map.digest}


@pytest.mark.parametrize("kind", ["ramp", "members", "reads"])
def test_a_run_that_goes_on_from_a_checkpoint_is_the_run_without_a_break(kind, tmp_path):
    weights, seen = by_hand(kind, 24)
    model, net, strategy = made(kind)
    trainer = fit(Module(model), net, LightningCallback(strategy), folder=tmp_path, epochs=1)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    model, net, strategy = made(kind)  # as in a new process
    module = Module(model)
    fit(module, net, LightningCallback(strategy), folder=tmp_path, epochs=4, path=tmp_path / "half.ckpt")
    assert module.seen == seen[6:]
    assert same(model, weights)
    assert strategy.steps == 24


def test_a_checkpoint_of_another_strategy_or_of_none_is_refused(tmp_path):
    model, net, strategy = made("members")
    trainer = fit(Module(model), net, LightningCallback(strategy), folder=tmp_path, epochs=1)
    trainer.save_checkpoint(tmp_path / "members.ckpt")
    model, net, _ = made("members")
    trainer = fit(Module(model), net, folder=tmp_path, epochs=1)
    trainer.save_checkpoint(tmp_path / "none.ckpt")
    for name, message in (("members", "saved with another strategy"), ("none", "holds no state of LightningCallback")):
        model, net, strategy = made("ramp")
        with pytest.raises(ValueError, match=message):
            fit(Module(model), net, LightningCallback(strategy), folder=tmp_path, path=tmp_path / f"{name}.ckpt")
        assert strategy.steps == 0


@pytest.mark.parametrize(
    ("kind", "message"), [("clean", "CleanAndFaulty takes 2 passes"), ("several", "ReadByMembers takes 3 passes")]
)
def test_several_passes_need_manual_optimization(tmp_path, kind, message):
    model, net, strategy = made(kind)
    with pytest.raises(ValueError, match=f"{message} a step"):
        fit(Module(model), net, LightningCallback(strategy), folder=tmp_path)
    weights, _ = by_hand(kind, 12)
    model, net, strategy = made(kind)
    fit(Module(model, strategy), net, LightningCallback(strategy), folder=tmp_path)
    assert same(model, weights)
    assert strategy.steps == 12


def test_a_strategy_of_another_model_is_refused(tmp_path):
    model, net, _ = made()
    _, _, strategy = made()
    with pytest.raises(ValueError, match="Ramp is of a Sequential that is not part of this Module"):
        fit(Module(model), net, LightningCallback(strategy), folder=tmp_path)


def test_something_else_than_a_strategy_is_refused():
    with pytest.raises(TypeError, match="strategy must be a Strategy, got 3"):
        LightningCallback(3)
    assert not issubclass(LightningCallback, Strategy)
