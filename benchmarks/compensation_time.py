"""How long compensation takes: a chip, the moments of the healthy network, and a further chip with them.

    taskset -c 0 python -m benchmarks.compensation_time
    taskset -c 0 python -m benchmarks.compensation_time --network resnet18 --rounds 0
    python -m benchmarks.compensation_time --device cuda

ResNet-20 or ResNet-18 (11.2 million weights) for images of 32×32 pixels, with random weights and images, one thread; what is
chosen does not matter to the time. On a busy machine, processor time is what the work takes; with a GPU, the time by the clock
counts. The last line is the most memory that the process held, or its tensors on the GPU.
"""

from __future__ import annotations

import argparse
import copy
import resource
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import brevitas.nn as qnn
import torch
from brevitas.quant import Uint8ActPerTensorFixedPoint
from torch import Tensor, nn

import tremap_brevitas as tm
from benchmarks.study.workbench import WORD_BITS, new_network
from tremap_brevitas.quant import FaultyInt8WeightPerTensorFixedPoint


class _Block(nn.Module):
    """Basic block of ResNet-18."""

    def __init__(self, inputs: int, channels: int, stride: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = _conv(inputs, channels, 3, stride), nn.BatchNorm2d(channels)
        self.conv2, self.bn2 = _conv(channels, channels, 3, 1), nn.BatchNorm2d(channels)
        self.relu1, self.relu2 = (qnn.QuantReLU(act_quant=Uint8ActPerTensorFixedPoint) for _ in range(2))
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1:
            self.shortcut = nn.Sequential(_conv(inputs, channels, 1, stride), nn.BatchNorm2d(channels))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.relu2(self.bn2(self.conv2(self.relu1(self.bn1(self.conv1(x))))) + self.shortcut(x))
        return out


def _conv(inputs: int, channels: int, size: int, stride: int) -> Any:
    options: dict[str, Any] = {"stride": stride, "padding": size // 2, "bias": False}
    return qnn.QuantConv2d(inputs, channels, size, weight_quant=FaultyInt8WeightPerTensorFixedPoint, **options)


def resnet18() -> Any:
    """ResNet-18 for images of 32×32 pixels: a first convolution of 3×3, no pooling after it."""
    layers: list[nn.Module] = [_conv(3, 64, 3, 1), nn.BatchNorm2d(64), qnn.QuantReLU(act_quant=Uint8ActPerTensorFixedPoint)]
    inputs = 64
    for channels in (64, 128, 256, 512):
        layers += [_Block(inputs, channels, 1 if channels == 64 else 2), _Block(channels, channels, 1)]
        inputs = channels
    linear = qnn.QuantLinear(512, 10, bias=True, weight_quant=FaultyInt8WeightPerTensorFixedPoint)
    model: Any = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), linear)
    return model.to(memory_format=torch.channels_last)


def timed(what: str, run: Callable[[], Any]) -> Any:
    """Run something; print the seconds of processor time and by the clock."""
    clock, processor = time.perf_counter(), time.process_time()
    result = run()
    if torch.cuda.is_available():
        torch.cuda.synchronize()  # what runs on the GPU is waited for
    used, passed = time.process_time() - processor, time.perf_counter() - clock
    print(f"{what}: {used:.1f} s of processor time, {passed:.1f} s by the clock", flush=True)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=("resnet20", "resnet18"), default="resnet20")
    parser.add_argument("--images", type=int, default=512, help="images (default %(default)s)")
    parser.add_argument("--rate", type=float, default=0.05, help="stuck cells over all cells (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="further chips; 0: no shared moments (default %(default)s)")
    parser.add_argument("--device", default="cpu", help="torch device (default %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = new_network("resnet20") if options.network == "resnet20" else resnet18()
    model.to(options.device)
    images = torch.randn(options.images, 3, 32, 32).to(options.device, memory_format=torch.channels_last)
    model(images[:64])
    words = tm.place(model.eval(), tm.Memory(words=1 << 24, word_bits=WORD_BITS)).placement.words
    net = tm.place(model, tm.Memory(words=words, word_bits=WORD_BITS))
    chips = tm.random_fault_maps(net.placement.memory, chips=options.rounds + 1, fault_rate=options.rate, seed=0)
    batches = images.split(128)  # type: ignore[no-untyped-call]

    twin = copy.deepcopy(net)
    timed("a chip", lambda: twin.compensate_(batches, fault_map=chips[0], progress=False))
    if options.rounds:
        moments = timed("moments of the healthy network", lambda: net.moments(batches, progress=False))
    for fault_map in chips[1:]:
        twin = copy.deepcopy(net)
        timed("a further chip with them", partial(twin.compensate_, moments=moments, fault_map=fault_map, progress=False))
    gpu = torch.device(options.device).type == "cuda"
    most = torch.cuda.max_memory_allocated() if gpu else 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    print(f"most memory: {most / 1024**3:.2f} GiB{' on the GPU' if gpu else ''}")


if __name__ == "__main__":
    main()
