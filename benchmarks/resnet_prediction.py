"""How well the accuracy of new chips of ResNet-20 on CIFAR-10 is predicted by the errors of its layers' outputs.

    python -m benchmarks.resnet_prediction --data cifar-10-batches-bin --weights FOLDER

A curve is made of a few chips at several rates; new chips at one rate are predicted from it. Each is prepared in two ways:
nearest codes, and compensated (``PlacedModel.compensate_``) with 512 unlabelled training images. The network is that of
``benchmarks.preparations``, trained in the output folder if it is not there; chips that are finished are kept there. Printed
are each chip, and a table as of ``benchmarks.digits_prediction``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import tremap_brevitas as tm
from benchmarks.digits_prediction import held_out_table
from benchmarks.measure import machine
from benchmarks.preparations.__main__ import STEPS
from benchmarks.preparations.work import set_up
from benchmarks.study.workbench import WORD_BITS, Workbench, accuracy_on
from benchmarks.study.worker import Setup, workbench_of
from tremap_brevitas.cluster import run_jobs
from tremap_brevitas.moments import InputMoments
from tremap_brevitas.planning import output_error
from tremap_brevitas.prepare.compensation.collect import input_moments

NETWORK, IMAGES = "resnet20", 512
WAYS = {
    "nearest codes": {"codes": "codes", "outputs": "outputs"},
    "compensated": {"codes": "codes", "outputs": "compensated outputs"},
}


@dataclass(frozen=True)
class Chip:
    """One chip: its rate of stuck cells, its number, and whether it is predicted and not in the curve."""

    rate: float
    number: int
    held_out: bool


@dataclass(frozen=True)
class Work:
    """Work of a job that measures one chip.

    Args:
        setup: What a worker must know.
    """

    setup: Setup

    def __call__(self, chip: Chip) -> dict[str, Any]:
        """Return the errors and the accuracies of a chip, prepared in each way."""
        bench = workbench_of(self.setup, NETWORK)
        bench.reset()
        net, batches, moments, healthy = _network(bench)
        chips = tm.random_fault_maps(
            net.placement.memory, chips=chip.number + 1, fault_rate=chip.rate, seed=1 if chip.held_out else 0
        )
        fault_map, accuracy = chips[chip.number], _accuracy(bench)
        proof = tm.placement.certificate(net.memory_image(), fault_map, deployment="chip_image")
        row: dict[str, Any] = {"rate": chip.rate, "held out": chip.held_out, "codes": proof.relative_error}
        row |= {"outputs": output_error(proof, moments), "healthy": healthy}
        with net.using_codes(proof.read()):
            row["nearest codes"] = accuracy(net.model)
        row["compensated outputs"] = net.compensate_(batches, fault_map=fault_map, progress=False).error
        row["compensated"] = accuracy(net.model)
        return row


@cache
def _network(bench: Workbench) -> tuple[tm.PlacedModel, tuple[Tensor, ...], InputMoments, float]:
    """The network in a memory that just holds it, the batches that it is compensated with, moments of them, its accuracy."""
    images = bench.data.images
    index = torch.randperm(len(images), generator=torch.Generator().manual_seed(0))[:IMAGES]
    net = tm.place(bench.model, tm.Memory(words=bench.net.placement.words, word_bits=WORD_BITS))
    batches = _last(images[index]).split(128)  # type: ignore[no-untyped-call]
    return net, batches, input_moments(net, batches), _accuracy(bench)(net.model)


def _accuracy(bench: Workbench) -> Callable[[nn.Module], float]:
    return accuracy_on(_last(bench.data.test_images), bench.data.test_labels)


def _last(images: Tensor) -> Tensor:
    return images.contiguous(memory_format=torch.channels_last)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 in its official binary layout")
    parser.add_argument("--weights", type=Path, required=True, help="folder with the float weights")
    parser.add_argument("--out", type=Path, default=Path("out/prediction"), help="output folder (default %(default)s)")
    parser.add_argument("--test-images", type=int, default=2500, help="test images used (default %(default)s)")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.01, 0.02, 0.04, 0.1], help="of the curve (%(default)s)")
    parser.add_argument("--chips", type=int, default=3, help="chips of the curve at each rate (default %(default)s)")
    parser.add_argument("--rate", type=float, default=0.02, help="of the new chips (default %(default)s)")
    parser.add_argument("--new", type=int, default=12, help="new chips (default %(default)s)")
    options = parser.parse_args()
    setup, baseline, known = set_up(options, {NETWORK: STEPS[NETWORK]})
    run_jobs(baseline, {NETWORK: NETWORK}, folder=setup.out / "baselines", options=known, progress="baselines")
    chips = [Chip(rate, n, held_out=False) for rate in options.rates for n in range(options.chips)]
    chips += [Chip(options.rate, n, held_out=True) for n in range(options.new)]
    results = run_jobs(Work(setup), {str(c): c for c in chips}, folder=setup.out / "chips", options=known, progress="chips")
    rows = list(results.values())
    healthy = rows[0]["healthy"]
    for row in rows:
        print(", ".join(f"{name} {value:.4f}" for name, value in row.items()))
    new = [row for row in rows if row["held out"]]
    print(f"\n{machine()}\n\nhealthy {healthy:.4f} on {options.test_images} test images; curve of {len(rows) - len(new)} chips")
    spread = {way: (np.mean([row[way] for row in new]), np.ptp([row[way] for row in new])) for way in WAYS}
    for way, (mean, width) in spread.items():
        print(f"{len(new)} new chips at {options.rate:g}, {way}: mean accuracy {mean:.4f}, {width:.4f} between best and worst")
    print(f"\n{held_out_table([(healthy, rows)], WAYS)}")


if __name__ == "__main__":
    main()
