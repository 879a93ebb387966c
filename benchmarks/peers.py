"""Put a chip's stuck bits into ResNet-20 by this package, by the few lines a user would write, by PyTorchFI and by MRFI.

    python -m pip install -c constraints.txt --no-deps pytorchfi==0.6.0 mrfi==2.1.0
    python -m benchmarks.peers

Everyone gets the same quantized weights and the same fault map, and must give the same answers; that is checked. PyTorchFI and
MRFI know no stuck bits of a code: they are told the values of the faulty weights, which are worked out beforehand, off the
clock. Then one training step is taken where that is possible, and the stuck bits that no longer hold are counted.
"""

from __future__ import annotations

import argparse
import copy
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from networks import ResNet
from torch import Tensor, nn

import tremap_brevitas as tm
from benchmarks.measure import interleaved, machine

BATCH = 128
OWN, LINES, PYTORCHFI, MRFI = "tremap_brevitas", "a few lines", "PyTorchFI 0.6.0", "MRFI 2.1.0"


class Task:
    """A quantized ResNet-20, its twin whose float weights are the dequantized codes, and a chip.

    Args:
        fault_rate: Stuck cells over all cells.
    """

    def __init__(self, fault_rate: float) -> None:
        torch.manual_seed(0)
        self.model: Any = tm.make_faulty(ResNet(20))
        self.images, self.labels = torch.randn(BATCH, 3, 32, 32), torch.arange(BATCH) % 10
        self.model(self.images)
        self.model.load_state_dict(self.model.state_dict())  # ends the collection of activation statistics
        memory = tm.Memory(words=67_500, word_bits=32)
        self.net = tm.place(self.model, memory)
        self.placement = self.net.placement
        (self.chip,) = tm.random_fault_maps(memory, chips=1, fault_rate=fault_rate, seed=0)
        self.layers = [layer.name for layer in self.placement.layers]
        modules = dict(self.model.named_modules())
        self.scales = {name: modules[name].quant_weight().scale.item() for name in self.layers}
        image = self.net.memory_image()
        self.codes = image.codes
        certificate = tm.placement.certificate(image, self.chip)
        # What the peers are told: for each layer the weights that read differently, and their values.
        self.told = {d.layer: (d.weight, (d.read * self.scales[d.layer]).tolist()) for d in certificate.differences}
        self.wrong = certificate.weights_that_differ
        # What the few lines begin with: sa0 and sa1 masks for each layer, as a user would keep them.
        self.masks = {}
        for sites in self.placement.sites(self.chip.cells):
            sa0, sa1 = np.zeros((2, sites.layer.size), dtype=np.int64)
            stuck = self.chip.stuck_at[sites.source]
            np.bitwise_or.at(sa0, sites.weight[stuck == 0], 1 << sites.bit[stuck == 0])
            np.bitwise_or.at(sa1, sites.weight[stuck == 1], 1 << sites.bit[stuck == 1])
            self.masks[sites.layer.name] = tuple(torch.from_numpy(m).reshape(sites.layer.shape) for m in (sa0, sa1))

    def twin(self) -> Any:
        """Return the network with float weights that are the dequantized codes."""
        twin: Any = ResNet(20, weight_quant=None)
        state = {k: v for k, v in self.model.state_dict().items() if "weight_quant" not in k}
        for name in self.layers:
            state[f"{name}.weight"] = torch.from_numpy(self.codes[name].astype(np.float32)) * self.scales[name]
        twin.load_state_dict(state)
        # Brevitas' networks share modules that are default arguments; what a peer hangs on one must not reach the others.
        return copy.deepcopy(twin.eval())

    def broken(self, network: Any) -> int:
        """Count the weights that the chip would read differently from what the network now computes with."""
        if network is self.model:
            image = self.net.memory_image()
        else:
            modules = dict(network.named_modules())
            codes = {
                name: torch.round(modules[name].weight.detach() / self.scales[name]).clamp(-128, 127).to(torch.int32).numpy()
                for name in self.layers
            }
            image = tm.MemoryImage(self.placement, codes)
        return tm.placement.certificate(image, self.chip).weights_that_differ


def by_few_lines(task: Task, twin: Any) -> Any:
    """Quantize, force the bits, dequantize, overwrite."""
    modules = dict(twin.named_modules())
    for name, (sa0, sa1) in task.masks.items():
        weight, scale = modules[name].weight.data, task.scales[name]
        stored = torch.round(weight / scale).clamp(-128, 127).to(torch.int64) & 255
        read = (stored | sa1) & ~sa0
        weight.copy_(torch.where(read > 127, read - 256, read) * scale)
    return twin


def by_pytorchfi(task: Task, twin: Any, injector: Any) -> Any:
    """Declare every faulty weight; the library copies the network and overwrites them one by one."""
    numbers = [n for n, m in twin.named_modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    layer, index, value = [], [], []
    for name, (weights, values) in task.told.items():
        shape = task.placement.layer(name).shape
        for weight, told in zip(weights, values, strict=True):
            at = [int(i) for i in np.unravel_index(weight, shape)]
            layer.append(numbers.index(name))
            index.append([*at, *[None] * (4 - len(at))])
            value.append(told)
    k, dim1, dim2, dim3 = (list(column) for column in zip(*index, strict=True))
    return injector.declare_weight_fi(layer_num=layer, k=k, dim1=dim1, dim2=dim2, dim3=dim3, value=value)


def by_mrfi(task: Task, twin: Any) -> Any:
    """Give a list of positions and values for each layer; the library writes them again at every forward pass."""
    from mrfi import MRFI, EasyConfig

    config = EasyConfig(
        {
            "faultinject": [
                {
                    "type": "weight",
                    "name": ["weight"],
                    "module_fullname": [name],
                    "selector": {"method": "FixPositions", "positions": weights.tolist()},
                    "error_mode": {"method": "SetValue", "value": values},
                }
                for name, (weights, values) in task.told.items()
            ]
        }
    )
    return MRFI(twin, config)


@torch.no_grad()
def answer(network: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    """Return logits."""
    return network(images)


def trained(task: Task, network: Any) -> int:
    """Take one step of SGD; returns the weights whose stuck bits do not hold any more."""
    network.train()
    loss = nn.functional.cross_entropy(network(task.images), task.labels)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.optim.SGD(network.parameters(), lr=0.1).step()
    return task.broken(network)


def measured(fault_rate: float, rounds: int) -> list[str]:
    """Return the lines of the table for one fault rate."""
    from pytorchfi.core import fault_injection

    task = Task(fault_rate)
    task.model.eval()
    twins = {name: task.twin() for name in (LINES, PYTORCHFI, MRFI)}
    injector = fault_injection(
        twins[PYTORCHFI], BATCH, input_shape=[3, 32, 32], layer_types=[nn.Conv2d, nn.Linear], use_cuda=False
    )
    put = {
        OWN: partial(task.net.set_faults_, task.chip, rule=tm.Rule("plain")),
        LINES: partial(by_few_lines, task, twins[LINES]),
        PYTORCHFI: partial(by_pytorchfi, task, twins[PYTORCHFI], injector),
    }
    faulty: dict[str, Any] = {name: run() for name, run in put.items()}
    faulty[OWN] = task.model
    faulty[MRFI] = by_mrfi(task, twins[MRFI])
    logits = {name: answer(network, task.images) for name, network in faulty.items()}
    apart = {name: float((outputs - logits[OWN]).abs().max()) for name, outputs in logits.items()}
    fresh = iter([task.twin() for _ in range(rounds + 1)])  # MRFI hooks a network once and for all
    setting = interleaved({**put, MRFI: lambda: by_mrfi(task, next(fresh))}, rounds, warm_up=1)
    answers = interleaved({name: partial(answer, network, task.images) for name, network in faulty.items()}, rounds)
    lines = []
    for name, network in faulty.items():
        broken = "runs without gradients" if name == MRFI else f"{trained(task, network)} of {task.wrong}"
        times = " | ".join(f"{statistics.median(times_of[name]):.1f}" for times_of in (setting, answers))
        lines.append(f"| {fault_rate:g} | {name} | {times} | {apart[name]:g} | {broken} |")
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-4, 6e-3], help="fault rates (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=10, help="rounds measured (default %(default)s)")
    options = parser.parse_args()
    print(f"{machine()}\n")
    print("| rate | by | set a chip's faults, ms | answer 128 images, ms | logits differ by | free after a training step |")
    print("| --- | --- | --- | --- | --- | --- |")
    for rate in options.rates:
        print("\n".join(measured(rate, options.rounds)), flush=True)


if __name__ == "__main__":
    main()
