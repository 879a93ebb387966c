"""The ways to prepare a network for a fault map: registered functions, one a name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from brevitas.graph.gpfq import gpfq_mode
from brevitas.graph.gptq import gptq_mode
from brevitas.graph.qronos import Qronos
from torch import Tensor

import tremap_brevitas as tm
from benchmarks.preparations import cases
from benchmarks.preparations.cases import IMAGES, STEPS, Case
from benchmarks.study.workbench import Workbench
from tremap_brevitas.order import ChannelGroup, SearchOptions

LR = 0.02  # highest learning rate of a retraining, as in the study
LARGE_LR = 0.2  # that of steps of many images
MEMBERS = 4  # of a group, in one such step

Prepare = Callable[[Workbench, tm.PlacedModel, tm.FaultMap, Case], None]
METHODS: dict[str, Prepare] = {}


def preparation(name: str) -> Callable[[Prepare], Prepare]:
    """Register a way to prepare a network."""

    def register(prepare: Prepare) -> Prepare:
        METHODS[name] = prepare
        return prepare

    return register


def images_of(bench: Workbench, case: Case) -> tuple[Tensor, ...]:
    """Batches of unlabelled training images, without augmentation."""
    index = torch.randperm(len(bench.data.images), generator=torch.Generator().manual_seed(case.seed))[:IMAGES]
    return bench.data.images[index].contiguous(memory_format=torch.channels_last).split(128)  # type: ignore[no-untyped-call]


@preparation(cases.AS_THEY_LIE)
def as_they_lie(bench: Workbench, net: tm.PlacedModel, fault_map: tm.FaultMap, case: Case) -> None:
    """The codes of the healthy network, written without a look at the chip."""
    net.set_faults_(fault_map)  # by the rule that the network was placed with


@preparation(cases.NEAREST)
def nearest(bench: Workbench, net: tm.PlacedModel, fault_map: tm.FaultMap, case: Case) -> None:
    """Nearest codes, nothing else."""
    net.set_faults_(fault_map)


@preparation(cases.SILENCED)
def nearest_with_silenced_channels(bench: Workbench, net: tm.PlacedModel, fault_map: tm.FaultMap, case: Case) -> None:
    """Nearest codes, in a network whose channels of zeros are silenced."""
    tm.prepare.silence_dead_channels_(net, images_of(bench, case)[0][:1])
    net.set_faults_(fault_map)


@preparation(cases.SIGNS)
@torch.no_grad()
def nearest_with_signs(bench: Workbench, net: tm.PlacedModel, fault_map: tm.FaultMap, case: Case) -> None:
    """Each channel, or its negative, whichever's nearest codes are closer: WEBCRAFT's rule (arXiv 2512.18459)."""
    net.set_faults_(fault_map)
    modules: dict[str, Any] = dict(net.model.named_modules())

    def errors(layer: str) -> Tensor:
        codes = net.codes(layer)
        wrong = torch.from_numpy(codes.read_back.astype("int64") - codes.wanted.astype("int64"))
        return (wrong**2).flatten(1).sum(1)

    for name, module in modules.items():
        if not name.rpartition(".")[2].startswith("conv"):
            continue
        norm = modules[name.replace("conv", "bn")]  # the names of ``examples/networks.py``
        before = errors(name)
        module.weight.neg_()
        turned = errors(name) < before
        module.weight[~turned] = -module.weight[~turned]
        norm.running_mean[turned] = -norm.running_mean[turned]
        norm.weight[turned] = -norm.weight[turned]


@preparation(cases.BATCHNORM)
def batchnorm(bench: Workbench, net: tm.PlacedModel, fault_map: tm.FaultMap, case: Case) -> None:
    """Nearest codes, and the statistics of every BatchNorm on the same images."""
    net.set_faults_(fault_map)
    tm.reestimate_batchnorm_(net.model, images_of(bench, case))


def _by_layers(mode: Any, bench: Workbench, net: tm.PlacedModel, fault_map: tm.FaultMap, case: Case) -> None:
    """Run one of Brevitas' own algorithms, which quantize a network layer by layer, with the faults set."""
    net.set_faults_(fault_map)
    net.model.eval()
    batches = images_of(bench, case)
    with torch.no_grad(), mode(net.model, use_quant_activations=True) as run:
        for _ in range(run.num_layers):
            for batch in batches:
                run.model(batch)
            run.update()
    for module in net.model.modules():
        module._buffers.pop("weight_orig", None)  # Brevitas leaves the weights of before there
    tm.reestimate_batchnorm_(net.model, batches)


@preparation(cases.GPTQ)
def gptq(bench: Workbench, net: tm.PlacedModel, fault_map: tm.FaultMap, case: Case) -> None:
    """Brevitas' GPTQ."""
    _by_layers(gptq_mode, bench, net, fault_map, case)


@preparation(cases.QRONOS)
def qronos(bench: Workbench, net: tm.PlacedModel, fault_map: tm.FaultMap, case: Case) -> None:
    """Brevitas' Qronos."""
    _by_layers(partial(gpfq_mode, algorithm_impl=Qronos), bench, net, fault_map, case)


@preparation(cases.PLAINLY)
def compensated_plainly(bench: Workbench, net: tm.PlacedModel, fault_map: tm.FaultMap, case: Case) -> None:
    """Compensation for flows that take no factors."""
    net.compensate_(images_of(bench, case), fault_map=fault_map, factors=False, signs=False, progress=False)


@preparation(cases.COMPENSATED)
def compensated(bench: Workbench, net: tm.PlacedModel, fault_map: tm.FaultMap, case: Case) -> None:
    """Compensation as it comes."""
    net.compensate_(images_of(bench, case), fault_map=fault_map, progress=False)


@preparation(cases.SHARED)
def compensated_from_shared_moments(bench: Workbench, net: tm.PlacedModel, fault_map: tm.FaultMap, case: Case) -> None:
    """Compensation by the healthy network's moments; their time, which a fleet pays once, counts here."""
    moments = net.moments(images_of(bench, case), progress=False)
    net.compensate_(moments=moments, fault_map=fault_map, progress=False)


@preparation(cases.ORDER)
def in_order(bench: Workbench, net: tm.PlacedModel, fault_map: tm.FaultMap, case: Case) -> None:
    """The order of channels in which the chip is exact; where none is found, the one with the least error of nearest codes."""
    best = order_of(bench, net, fault_map, SearchOptions())
    if not best.exact:
        best = order_of(bench, net, fault_map, SearchOptions(aim="error"))
    tm.apply_order_(net, best)
    net.set_faults_(fault_map)


@preparation(cases.SILENCED_ORDER)
def in_order_with_silenced_channels(bench: Workbench, net: tm.PlacedModel, fault_map: tm.FaultMap, case: Case) -> None:
    """An order of a network whose channels of zeros are silenced."""
    tm.prepare.silence_dead_channels_(net, images_of(bench, case)[0][:1])
    in_order(bench, net, fault_map, case)


def order_of(bench: Workbench, net: tm.PlacedModel, fault_map: tm.FaultMap, options: SearchOptions) -> tm.order.ChipOrder:
    """The best order that is found for one map."""
    return tm.reorder(net, [fault_map], groups=_groups(bench), options=options, progress=False).orders[0]


def _groups(bench: Workbench) -> tuple[ChannelGroup, ...]:
    """The groups of channels of a network: found and proved once, whatever the number of chips."""
    if bench.name not in _GROUPS:
        _GROUPS[bench.name] = tuple(tm.prepare.channel_groups(bench.net, bench.data.images[:2]).groups)
    return _GROUPS[bench.name]


_GROUPS: dict[str, tuple[ChannelGroup, ...]] = {}


@preparation(cases.ORDER_COMPENSATED)
def in_order_then_compensated(bench: Workbench, net: tm.PlacedModel, fault_map: tm.FaultMap, case: Case) -> None:
    """The order first, then compensation of what is still wrong."""
    in_order(bench, net, fault_map, case)
    compensated(bench, net, fault_map, case)


@preparation(cases.RETRAINED)
def retrained(bench: Workbench, net: tm.PlacedModel, fault_map: tm.FaultMap, case: Case) -> None:
    """Quantization-aware retraining under the faults, with labels, as the study's rows."""
    bench.train(steps=STEPS, lr=LR, seed=case.seed, strategy=tm.AllAtOnce(net, fault_map), title=case.name)


@preparation(cases.BOTH)
def compensated_then_retrained(bench: Workbench, net: tm.PlacedModel, fault_map: tm.FaultMap, case: Case) -> None:
    """Both, with the healthy network as teacher beside the labels; a group is read by its members."""
    compensated(bench, net, fault_map, case)
    if isinstance(fault_map, tm.MergedFaultMap):
        strategy: tm.Strategy = tm.ReadByMembers(net, fault_map, seed=case.seed)
    else:
        strategy = tm.AllAtOnce(net, fault_map)
    bench.train(steps=STEPS, lr=LR, seed=case.seed, strategy=strategy, title=case.name, teacher=True)


@preparation(cases.LARGE_STEPS)
def in_order_compensated_then_retrained(bench: Workbench, net: tm.PlacedModel, fault_map: tm.FaultMap, case: Case) -> None:
    """All three, with steps of many images; a group's image is read by several members in each."""
    in_order(bench, net, fault_map, case)
    net.compensate_(images_of(bench, case), fault_map=fault_map, sweeps=3, progress=False)
    strategy: tm.Strategy = tm.AllAtOnce(net, fault_map)
    parts = 1
    if isinstance(fault_map, tm.MergedFaultMap):
        parts = min(MEMBERS, len(fault_map.members))
        strategy = tm.ReadByMembers(net, fault_map, seed=case.seed, members_a_step=parts)
    options: dict[str, Any] = {"images": cases.LARGE_BATCH, "parts": parts, "teacher": True, "title": case.name}
    bench.train(steps=STEPS, lr=LARGE_LR, seed=case.seed, strategy=strategy, **options)
