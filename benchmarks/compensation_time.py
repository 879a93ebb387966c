"""How long compensation takes: a chip, the moments of the healthy network, and a further chip with them.

    taskset -c 0 python -m benchmarks.compensation_time

ResNet-20 for CIFAR-10 with random weights and images, one thread; what is chosen does not matter to the time.
"""

from __future__ import annotations

import argparse
import copy
import time

import torch

import tremap_brevitas as tm
from benchmarks.study.workbench import WORD_BITS, new_network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=512, help="images (default %(default)s)")
    parser.add_argument("--rate", type=float, default=0.05, help="stuck cells over all cells (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="further chips (default %(default)s)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, images = new_network("resnet20"), torch.randn(options.images, 3, 32, 32)
    model(images[:64])
    net = tm.place(model.eval(), tm.Memory(words=80_000, word_bits=WORD_BITS))
    chips = tm.random_fault_maps(net.placement.memory, chips=options.rounds + 1, fault_rate=options.rate, seed=0)
    batches = images.split(128)  # type: ignore[no-untyped-call]

    begin = time.perf_counter()
    copy.deepcopy(net).compensate_(batches, fault_map=chips[0], progress=False)
    print(f"a chip: {time.perf_counter() - begin:.1f} s")
    begin = time.perf_counter()
    moments = net.moments(batches, progress=False)
    print(f"moments of the healthy network: {time.perf_counter() - begin:.1f} s")
    for fault_map in chips[1:]:
        twin = copy.deepcopy(net)
        begin = time.perf_counter()
        twin.compensate_(moments=moments, fault_map=fault_map, progress=False)
        print(f"a further chip with them: {time.perf_counter() - begin:.2f} s")


if __name__ == "__main__":
    main()
