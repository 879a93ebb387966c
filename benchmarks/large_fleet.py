"""Time large fleets: assigning chips to a library of images, grouping, and measuring chips against the naive loop.

    taskset -c 0 python -m benchmarks.large_fleet

Prints a Markdown table. Images have the size of a ResNet-18; chips are measured with the digits network of the examples.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
from networks import ResNet

import tremap_brevitas as tm
from benchmarks.measure import machine
from tremap_brevitas.placement import LayerCodes, linear_placement
from tremap_brevitas.planning import Point, Prepared, ResilienceCurve, assign
from tremap_brevitas.planning.group import group_chips

WIDTHS = [(64, 3, 7), *[(64, 64, 3)] * 4, (128, 64, 3), *[(128, 128, 3)] * 3, (256, 128, 3), *[(256, 256, 3)] * 3]
WIDTHS += [(512, 256, 3), *[(512, 512, 3)] * 3]
MEMORY = tm.Memory(words=3_000_000, word_bits=32)


def library(images: int) -> list[Prepared]:
    """Return images of a ResNet-18's size, with codes as trained networks have them."""
    layers = [LayerCodes(f"conv{i}", (o, n, k, k), 8, "twos_complement") for i, (o, n, k) in enumerate(WIDTHS)]
    placement = linear_placement([*layers, LayerCodes("fc", (1000, 512), 8, "twos_complement")], MEMORY)
    rng = np.random.default_rng(0)
    prepared = []
    for index in range(images):
        codes = {
            layer.name: np.clip(np.rint(rng.normal(0, 20, layer.shape)), -128, 127).astype(int) for layer in placement.layers
        }
        prepared.append(Prepared(f"image {index}", tm.MemoryImage(placement, codes), 0.9))
    return prepared


def chips(rate: float, count: int) -> Iterator[tm.FaultMap]:
    """Yield chips one by one, as they would be read from files."""
    for index in range(count):
        yield tm.random_fault_maps(MEMORY, chips=1, fault_rate=rate, seed=index)[0]


def seconds(action: Callable[[], object]) -> float:
    """Return the seconds that one call takes."""
    begin = time.perf_counter()
    action()
    return time.perf_counter() - begin


def assignment(counts: list[int], rates: list[float], images: int) -> None:
    print(
        f"| assigning chips to {images} images of 11.7 million codes | faults a chip | seconds | ms a chip |\n"
        + "|"
        + " --- |" * 4
    )
    curve = ResilienceCurve([Point(0, 0.9), Point(1, 0.5)])
    shelf = library(images)
    list(assign(chips(1e-5, 1), shelf, goal=0.8, curve=curve))  # packs the images' bits
    for rate in rates:
        for count in counts:
            fleet = list(chips(rate, count))
            took = seconds(lambda fleet=fleet: list(assign(fleet, shelf, goal=0.8, curve=curve)))  # type: ignore[misc]
            print(f"| {count} chips at {rate:g} | {len(fleet[0])} | {took:.1f} | {1e3 * took / count:.2f} |", flush=True)
    print(f"\nMost memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GiB.\n")


def grouping() -> None:
    print("| grouping for a union of 5 %, 2.1 million cells | groups | seconds |\n| --- | --- | --- |")
    memory = tm.Memory(words=67_000, word_bits=32)
    for count, rate in ((100, 6e-3), (200, 6e-3), (400, 6e-3), (200, 1e-3)):
        fleet = tm.random_fault_maps(memory, chips=count, fault_rate=rate, seed=0)
        begin = time.perf_counter()
        groups = group_chips(fleet, limit=0.05 * memory.cells)
        print(f"| {count} chips at {rate:g} | {len(groups)} | {time.perf_counter() - begin:.2f} |", flush=True)


def evaluation(count: int, rounds: int) -> None:
    torch.manual_seed(0)
    model = tm.make_faulty(ResNet(20))
    images = torch.randn(500, 3, 32, 32)
    model(images)
    model.load_state_dict(model.state_dict())
    model.eval()
    memory = tm.Memory(words=67_200, word_bits=32)
    net = tm.place(model, memory)
    fleet = tm.random_fault_maps(memory, chips=count, fault_rate=2e-5, seed=0)
    merged = tm.merge(fleet, on_conflict="free")

    @torch.no_grad()
    def eager(network: torch.nn.Module) -> float:
        return float(network(images).argmax(1).float().mean())

    run = tm.compiled(model, bfloat16=True)

    @torch.no_grad()
    def compiled(_: torch.nn.Module) -> float:
        return float(run(images).argmax(1).float().mean())

    def naive() -> None:
        for chip in fleet:
            with net.using(chip):
                eager(model)

    print(f"\n| {count} chips, ResNet-20, 500 images each | seconds | naive loop over it |\n| --- | --- | --- |")
    slow = statistics.median(seconds(naive) for _ in range(rounds))
    print(f"| naive loop: set the chip's faults, run the network | {slow:.1f} | 1.0 |")
    for name, fault_map, accuracy in (
        ("evaluate, members, conflicts free", merged, eager),
        ("evaluate, no member, none exact", None, eager),
        ("the same, compiled in bfloat16", None, compiled),
    ):
        with net.using(fault_map):
            report = net.evaluate(fleet, accuracy, progress=False)
            times = [
                seconds(lambda a=accuracy: net.evaluate(fleet, a, progress=False))  # type: ignore[misc]
                for _ in range(rounds)
            ]
        took = statistics.median(times)
        print(f"| {name} ({report.bit_exact} exact) | {took:.1f} | {slow / took:.1f} |", flush=True)


def prefixes(count: int) -> None:
    """Measure how much of the network lies before the first layer that a chip reads differently: reusing it could save that."""
    model = tm.make_faulty(ResNet(20)).eval()
    work: dict[str, int] = {}

    def note(name: str) -> Callable[[torch.nn.Module, object, torch.Tensor], None]:
        def hook(module: torch.nn.Module, _: object, output: torch.Tensor) -> None:
            weight: torch.Tensor = module.weight  # type: ignore[assignment]
            work[name] = weight.numel() * (output[0, 0].numel() if output.dim() == 4 else 1)

        return hook

    for name, module in model.named_modules():
        if isinstance(module, (torch.nn.Conv2d, torch.nn.Linear)):
            module.register_forward_hook(note(name))
    model(torch.randn(1, 3, 32, 32))
    memory = tm.Memory(words=67_200, word_bits=32)
    image = tm.place(model, memory).memory_image()
    names = [layer.name for layer in image.placement.layers]
    before = np.cumsum([0, *(work[name] for name in names)]) / sum(work.values())
    print(f"\n| {count} chips, ResNet-20, not retrained | exact | multiplications before the first difference |")
    print("| --- | --- | --- |")
    for rate in (1e-6, 1e-5, 1e-4, 6e-3):
        fleet = tm.random_fault_maps(memory, chips=count, fault_rate=rate, seed=0)
        certificates = [tm.placement.certificate(image, chip) for chip in fleet]
        shares = [before[min(names.index(d.layer) for d in c.differences)] for c in certificates if not c.bit_exact]
        print(f"| {rate:g} | {sum(c.bit_exact for c in certificates)} | {100 * float(np.mean(shares)):.0f} % |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chips", type=int, nargs="+", default=[1000, 10_000], help="chips to assign (default: 1000 10000)")
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-5, 1e-4], help="their fault rates (default: 1e-5 1e-4)")
    parser.add_argument("--images", type=int, default=20, help="images of the library (default %(default)s)")
    parser.add_argument("--evaluated", type=int, default=100, help="chips to measure (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="repetitions of a measurement (default %(default)s)")
    options = parser.parse_args()
    print(f"{machine()}\n")
    assignment(options.chips, options.rates, options.images)
    grouping()
    evaluation(options.evaluated, options.rounds)
    prefixes(options.evaluated)


if __name__ == "__main__":
    main()
