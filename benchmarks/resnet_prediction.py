"""How well the accuracy of new chips of ResNet-20 on CIFAR-10 is predicted by the errors of its layers' outputs.

    python -m benchmarks.resnet_prediction --data cifar-10-batches-bin --weights FOLDER

A curve is made of a few chips at several rates; new chips at one rate are predicted from it. Each is prepared in two ways:
nearest codes, and compensated (``PlacedModel.compensate_``) with 512 unlabelled training images. The network is that of
``benchmarks.preparations``, trained in the output folder if it is not there. Printed are each chip, and a table as of
``benchmarks.digits_prediction``.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

import tremap_brevitas as tm
from benchmarks.digits_prediction import held_out_table
from benchmarks.measure import machine
from benchmarks.preparations.__main__ import STEPS
from benchmarks.preparations.work import set_up
from benchmarks.study.workbench import WORD_BITS, Workbench, accuracy_on
from benchmarks.study.worker import workbench_of
from tremap_brevitas.cluster import run_jobs
from tremap_brevitas.planning import output_error
from tremap_brevitas.prepare.compensation.collect import input_moments

NETWORK, IMAGES = "resnet20", 512
WAYS = {
    "nearest codes": {"codes": "codes", "outputs": "outputs"},
    "compensated": {"codes": "codes", "outputs": "compensated outputs"},
}


def measured(bench: Workbench, points: list[float], chips: int, rate: float, new: int) -> tuple[float, list[dict[str, Any]]]:
    """The healthy network's accuracy, and for each chip its errors and accuracies."""
    bench.reset()
    data = bench.data
    accuracy = accuracy_on(data.test_images.contiguous(memory_format=torch.channels_last), data.test_labels)
    index = torch.randperm(len(data.images), generator=torch.Generator().manual_seed(0))[:IMAGES]
    batches = data.images[index].contiguous(memory_format=torch.channels_last).split(128)  # type: ignore[no-untyped-call]
    net = tm.place(bench.model, tm.Memory(words=bench.net.placement.words, word_bits=WORD_BITS))
    start = {key: value.clone() for key, value in bench.model.state_dict().items()}
    image, moments, healthy = net.memory_image(), input_moments(net, batches), accuracy(net.model)
    maps = [
        (False, r, m) for r in points for m in tm.random_fault_maps(image.placement.memory, chips=chips, fault_rate=r, seed=0)
    ]
    maps += [(True, rate, m) for m in tm.random_fault_maps(image.placement.memory, chips=new, fault_rate=rate, seed=1)]
    rows = []
    for held_out, its_rate, chip in maps:
        begin = time.process_time()
        proof = tm.placement.certificate(image, chip, deployment="chip_image")
        with net.using_codes(proof.read()):
            nearest = accuracy(net.model)
        report = net.compensate_(batches, fault_map=chip, progress=False)
        row: dict[str, Any] = {"rate": its_rate, "held out": held_out, "codes": proof.relative_error}
        row |= {"outputs": output_error(proof, moments), "compensated outputs": report.error}
        row |= {"nearest codes": nearest, "compensated": accuracy(net.model)}
        rows.append(row)
        net.clear_faults_()
        bench.load(start)
        print(", ".join(f"{k} {v:.4f}" for k, v in row.items()), f"{time.process_time() - begin:.0f} s", sep=", ", flush=True)
    return healthy, rows


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
    healthy, rows = measured(workbench_of(setup, NETWORK), options.rates, options.chips, options.rate, options.new)
    new = [row for row in rows if row["held out"]]
    print(f"\n{machine()}\n\nhealthy {healthy:.4f} on {options.test_images} test images; curve of {len(rows) - len(new)} chips")
    spread = {way: (np.mean([row[way] for row in new]), np.ptp([row[way] for row in new])) for way in WAYS}
    for way, (mean, width) in spread.items():
        print(f"{len(new)} new chips at {options.rate:g}, {way}: mean accuracy {mean:.4f}, {width:.4f} between best and worst")
    print(f"\n{held_out_table([(healthy, rows)], WAYS)}")


if __name__ == "__main__":
    main()
