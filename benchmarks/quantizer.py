"""Measure what the faults cost: weight quantizers, a training step, switching a map; interleaved medians in one run.

    python -m benchmarks.quantizer

Prints a Markdown table. Every variant is timed in turn, round after round, so that a machine that speeds up or slows
down does so for all of them; a ratio is the median of the ratios within a round.
"""

from __future__ import annotations

import argparse
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import brevitas.nn as qnn
import torch
from networks import FullRangeWeight, ResNet
from torch import Tensor, nn

import tremap_brevitas as tm
from benchmarks.measure import interleaved, machine
from tremap_brevitas.placed.faults import faults_by_layer, locate_stuck_bits
from tremap_brevitas.placed.live import Live
from tremap_brevitas.placed.slots import checked_slots, faulty_slots

PLAIN, NEAREST = tm.Rule("plain"), tm.Rule("nearest")


class Wrapper(nn.Module):
    """The few lines one would write by hand: stuck bits applied to what the plain quantizer yields."""

    def __init__(self, layer: nn.Module, stuck: Tensor, zeros: Tensor) -> None:
        super().__init__()
        self.layer, self.stuck, self.zeros = layer, stuck, zeros

    def forward(self) -> Tensor:
        quant = self.layer.quant_weight()  # type: ignore[operator]
        codes = torch.round(quant.value / quant.scale).to(torch.int32)
        read = (((codes | self.stuck) & ~self.zeros) & 255).to(torch.int32)
        read = read - 256 * (read > 127)
        value: Tensor = quant.value + (read * quant.scale - quant.value).detach()
        return value


def table(title: str, times: dict[str, list[float]], base: str) -> None:
    print(f"\n| {title} | median ms | times the first |\n| --- | --- | --- |")
    for name, values in times.items():
        ratio = statistics.median(v / b for v, b in zip(values, times[base], strict=True))
        print(f"| {name} | {statistics.median(values):.2f} | {ratio:.3f} |")


def prepared(rate: float) -> tuple[tm.PlacedModel, tm.FaultMap]:
    torch.manual_seed(0)
    network: Any = ResNet(20)
    model = tm.make_faulty(network.to(memory_format=torch.channels_last))
    memory = tm.Memory(words=100_000, word_bits=32)
    return tm.place(model, memory), tm.random_fault_maps(memory, chips=1, fault_rate=rate, seed=0)[0]


def quantized(layer: Any) -> Tensor:
    value: Tensor = layer.quant_weight().value
    return value


def forward(weights: list[Callable[[], Tensor]]) -> None:
    for weight in weights:
        weight()


def forward_and_backward(weights: list[Callable[[], Tensor]]) -> None:
    for weight in weights:
        value: Any = weight()
        value.backward(value.detach())


def quantizers(rate: float, rounds: int) -> None:
    variants: dict[str, list[Callable[[], Tensor]]] = {}
    for name, rule in (
        ("plain Brevitas", None),
        ("faulty quantizer, no faults set", None),
        ('faults, store="plain"', PLAIN),
        ('faults, store="nearest"', NEAREST),
        ("wrapper written by hand", None),
    ):
        net, chip = prepared(rate)
        layers: list[Any] = [entry.module for entry in faulty_slots(net.model)]
        if rule is not None:
            net.set_faults_(chip, rule=rule)
        if name.startswith(("plain", "wrapper")):
            tm.restore(net.model)
        if name.startswith("wrapper"):
            masks = [torch.zeros((2, *layer.weight.shape), dtype=torch.int32) for layer in layers]
            variants[name] = [Wrapper(layer, m[0], m[1]) for layer, m in zip(layers, masks, strict=True)]
        else:
            variants[name] = [partial(quantized, layer) for layer in layers]
    for title, run in (("forward", forward), ("forward + backward", forward_and_backward)):
        times = interleaved({name: partial(run, weights) for name, weights in variants.items()}, rounds)
        table(f"weight quantizers of ResNet-20, {title}", times, "plain Brevitas")


def training_step(rate: float, rounds: int) -> None:
    images = torch.randn(128, 3, 32, 32).to(memory_format=torch.channels_last)
    labels = torch.randint(10, (128,))

    def step(model: Any, optimizer: torch.optim.Optimizer) -> None:
        optimizer.zero_grad()
        loss: Any = nn.functional.cross_entropy(model(images), labels)
        loss.backward()
        optimizer.step()

    runs = {}
    for name, rule in (("plain Brevitas", None), ('faults, store="plain"', PLAIN), ('faults, store="nearest"', NEAREST)):
        net, chip = prepared(rate)
        if rule is None:
            tm.restore(net.model)
        else:
            net.set_faults_(chip, rule=rule)
        runs[name] = partial(step, net.model, torch.optim.SGD(net.model.parameters(), lr=1e-4))
    table("training step of ResNet-20, batch 128", interleaved(runs, rounds), "plain Brevitas")


class Large(nn.Module):
    """Layers with the weights of ResNet-18 for ImageNet: 11.7 million."""

    def __init__(self) -> None:
        super().__init__()
        shapes = [(64, 3, 7)] + [(64, 64, 3)] * 4
        for narrow, wide in ((64, 128), (128, 256), (256, 512)):
            shapes += [
                (wide, narrow, 3),
                (wide, wide, 3),
                (wide, narrow, 1),
                (wide, wide, 3),
                (wide, wide, 3),
            ]
        self.layers = nn.ModuleList([qnn.QuantConv2d(i, o, k, bias=False, weight_quant=FullRangeWeight) for o, i, k in shapes])
        self.layers.append(qnn.QuantLinear(512, 1000, bias=False, weight_quant=FullRangeWeight))


def switching(rate: float, rounds: int) -> None:
    model = tm.make_faulty(Large())
    memory = tm.Memory(words=3_000_000, word_bits=32)
    net = tm.place(model, memory)
    chips = tm.random_fault_maps(memory, chips=2, fault_rate=rate, seed=0)
    millions = net.placement.weights / 1e6
    slots = checked_slots(model, net.placement)
    located_by_chip = {chip.chip: locate_stuck_bits(net.placement, chip) for chip in chips}
    turn = 0

    def switch(rule: tm.Rule, located_before: bool) -> None:
        nonlocal turn
        turn += 1
        chip = chips[turn % 2]
        if located_before:
            net.apply_(faults_by_layer(located_by_chip[chip.chip], rule), Live(net.placement, rule, lambda: chip), slots=slots)
        else:
            net.set_faults_(chip, rule=rule)

    runs = {
        'set_faults_, store="plain"': lambda: switch(PLAIN, False),
        'set_faults_, store="nearest"': lambda: switch(NEAREST, False),
        'as in a ramp (cells located before), store="plain"': lambda: switch(PLAIN, True),
        'as in a ramp (cells located before), store="nearest"': lambda: switch(NEAREST, True),
    }
    print(
        f"\n| switching the map, {millions:.1f} million weights, {len(chips[0])} faults | ms per million weights |\n"
        "| --- | --- |"
    )
    for name, values in interleaved(runs, rounds).items():
        print(f"| {name} | {statistics.median(values) / millions:.2f} |")
    print(f"\n| masks of {millions:.1f} million weights | bytes a weight | shared tables, MB |\n| --- | --- | --- |")
    for rule in (PLAIN, NEAREST):
        net.set_faults_(chips[0], rule=rule)
        layers: Any = model.layers
        for layer in layers:
            layer.quant_weight()
        kept: dict[int, Tensor] = {}
        shared: dict[int, Tensor] = {}
        for entry in faulty_slots(model):
            faults = entry.proxy.fault_slot(entry.slot)
            kept.update({t.untyped_storage().data_ptr(): t for t in faults.elementwise})
            shared.update({t.untyped_storage().data_ptr(): t for t in faults.shared})
            for t in entry.proxy.tensor_quant.int_quant.stuck_at.tensors:
                if t.untyped_storage().data_ptr() not in shared:
                    kept[t.untyped_storage().data_ptr()] = t
        size = [sum(t.untyped_storage().nbytes() for t in group.values()) for group in (kept, shared)]
        print(f'| store="{rule.store}" | {size[0] / net.placement.weights:.2f} | {size[1] / 1e6:.2f} |')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fault-rate", type=float, default=6e-3)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(f"{machine()}, fault rate {options.fault_rate:g}")
    quantizers(options.fault_rate, options.rounds)
    training_step(options.fault_rate, max(5, options.rounds // 5))
    switching(options.fault_rate, max(5, options.rounds // 5))


if __name__ == "__main__":
    main()
