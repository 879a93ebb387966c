"""Prepare chips without any training: choose codes so that each layer's output is least wrong.

    python examples/03_no_training.py

Trains a small quantized network on scikit-learn's digits once, in a healthy memory. Then chips with more and more stuck cells
are prepared from a few hundred images without their labels, no step of training: their codes as they are, the nearest codes,
codes compensated from the moments of the healthy network, which all chips share, and compensated for the inputs as each chip
gives them. The last rows give one memory image to a whole group of chips.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import time
from pathlib import Path
from typing import Any

from networks import DigitsNet
from tabulate import tabulate
from training import accuracy_on, seed_everything, train

import tremap_brevitas as tm
from tremap_brevitas.prepare import prepare_fleet

digits = importlib.import_module("01_digits_fleet").digits


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rates", type=float, nargs="+", default=[0.03, 0.1, 0.2], help="stuck cells over all (%(default)s)")
    parser.add_argument("--chips", type=int, default=8, help="chips at each rate (default %(default)s)")
    parser.add_argument("--images", type=int, default=512, help="images, without labels (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of data split, weights and faults (default %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("out/no_training"), help="output folder (default %(default)s)")
    return parser.parse_args()


def main() -> None:
    options = parse()
    seed_everything(options.seed)
    data = digits(options.seed)
    accuracy = accuracy_on(data.test_images, data.test_labels)
    batches = data.images[: options.images].split(128)

    model = tm.make_faulty(DigitsNet())
    train(model, data.batches(64, seed=options.seed), steps=600, lr=0.1, title="the only training, in a healthy memory")
    net = tm.place(model, tm.Memory(words=2_560, word_bits=32))
    print(f"healthy network: {accuracy(model):.4f} on {len(data.test_labels)} test images\n")

    begin = time.perf_counter()
    moments = net.moments(batches, progress=False)
    print(f"moments of the healthy network, once for all chips: {time.perf_counter() - begin:.2f} s\n")

    reports: list[tm.FleetReport] = []
    rows: list[tuple[Any, ...]] = []
    for rate in options.rates:
        chips = tm.random_fault_maps(net.placement.memory, chips=options.chips, fault_rate=rate, seed=options.seed)
        untreated = net.evaluate(chips, accuracy, name=f"{rate:g}: as they are", progress=False)
        nearest = net.evaluate(chips, accuracy, deployment="chip_image", name=f"{rate:g}: nearest", progress=False)
        single, seconds = [], 0.0
        for chip in chips:
            twin = copy.deepcopy(net)
            seconds += twin.compensate_(batches, fault_map=chip, progress=False).seconds / len(chips)
            single.append(twin.evaluate([chip], accuracy, progress=False))
        compensated = tm.FleetReport.join(single, name=f"{rate:g}: compensated", seconds=seconds)
        fleet = prepare_fleet(net, chips, moments, evaluate=accuracy, name=f"{rate:g}: shared moments", progress=False)
        assert fleet.report is not None
        reports += [untreated, nearest, fleet.report, compensated]
        means = untreated.mean, nearest.mean, fleet.report.mean, compensated.mean, compensated.worst
        rows.append((f"{rate:g}", *means, fleet.report.seconds / len(chips), seconds))
    heads = ["stuck cells", "as they are", "nearest codes", "shared moments", "compensated", "worst of them"]
    heads += ["seconds a chip: shared", "compensated"]
    print(f"mean over {options.chips} chips, each prepared by itself:")
    digits_of = ("", ".4f", ".4f", ".4f", ".4f", ".4f", ".2f", ".2f")
    print(tabulate(rows, heads, tablefmt="plain", floatfmt=digits_of, disable_numparse=[0]))

    rate = options.rates[0]
    chips = tm.random_fault_maps(net.placement.memory, chips=options.chips, fault_rate=rate, seed=options.seed)
    merged = tm.merge(chips, on_conflict="free")
    group = copy.deepcopy(net)
    report = group.compensate_(batches, fault_map=merged, progress=False)
    one_image = group.evaluate(chips, accuracy, name=f"{rate:g}: one image for all, compensated", progress=False)
    reports.append(one_image)
    print(f"\none image for all {len(chips)} chips at {rate:g}, a union of {merged.union_rate:.3f} of the cells:")
    print(report)
    print(f"on the chips: mean {one_image.mean:.4f}, worst {one_image.worst:.4f}")
    options.out.mkdir(parents=True, exist_ok=True)
    tm.report.write_csv(reports, options.out / "fleet.csv")
    bundle = group.export(options.out / "group", data.images[:1], report=one_image, probe=data.test_images, overwrite=True)
    print(f"\n{tm.verify_bundle(bundle, chips)}")


if __name__ == "__main__":
    main()
