"""Retrain once for a whole group of faulty chips, on real handwritten digits: the quick start.

    python examples/01_digits_fleet.py

Trains a small quantized network on scikit-learn's digits (8×8 pixels, 10 classes), draws fault maps for a group of
chips, and prepares the group in every way there is: nothing at all, nearest-code writing, retraining for each chip,
one merged retraining with a ramp, with the faults all at once, and with conflicts as the members read them. Each way is
evaluated on every chip with that chip's own faults. Prints a table, writes it as CSV and picture, and exports the group's
network as a bundle that anyone can check. Last, the trained network itself, with no retraining, on chips with the few
stuck cells that are left after repair: on each in an order of channels of its own.
"""

from __future__ import annotations

import argparse
import copy
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from networks import DigitsNet
from sklearn.datasets import load_digits
from tqdm import tqdm
from training import Data, accuracy_on, seed_everything, train

import tremap_brevitas as tm

# Stuck cells over all cells where nothing is retrained: ten times what repair leaves of real chips, some 40 wrong codes here.
AFTER_REPAIR = 1e-3
# No worse than any other in docs/study_retraining.md where all share one image, and the better the more conflicts there are.
CHOSEN = ("nearest", "read by members")


def digits(seed: int) -> Data:
    """Return the 1,797 digits, two thirds of them for training."""
    images, labels = load_digits(return_X_y=True)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    x = torch.tensor(images, dtype=torch.float32).reshape(-1, 1, 8, 8)[order] / 8 - 1
    y = torch.tensor(labels, dtype=torch.int64)[order]
    return Data(x[:1200], y[:1200], x[1200:], y[1200:])


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chips", type=int, default=8, help="chips in the group (default %(default)s)")
    parser.add_argument(
        "--fault-rate", type=float, default=3e-2, help="stuck cells over all cells of a chip (default %(default)s)"
    )
    parser.add_argument("--steps", type=int, default=200, help="optimizer steps of one retraining (default %(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="seed of data split, weights and faults (default %(default)s)")
    parser.add_argument("--out", type=Path, default=Path("out/digits"), help="output folder (default %(default)s)")
    return parser.parse_args()


def main() -> None:
    options = parse()
    options.out.mkdir(parents=True, exist_ok=True)
    seed_everything(options.seed)
    data = digits(options.seed)
    accuracy = accuracy_on(data.test_images, data.test_labels)

    print("1. Train a quantized network in a healthy memory")
    model = tm.make_faulty(DigitsNet())
    train(model, data.batches(64, seed=options.seed), steps=600, lr=0.1, title="baseline")
    clean = accuracy(model)

    print("2. Place its weights in a memory, and draw a fault map for every chip")
    memory = tm.Memory(words=2_560, word_bits=32)
    trained = tm.place(model, memory)
    chips = tm.random_fault_maps(memory, chips=options.chips, fault_rate=options.fault_rate, seed=options.seed)
    merged = tm.merge(chips, on_conflict="majority")
    print(trained.placement)
    print(f"   {merged}")
    print(f"   fault rate of a chip {options.fault_rate:g}, of the union {merged.union_rate:.3f}")

    print("3. Prepare the group in every way, and evaluate each on every chip with its own faults")

    def retrained(fault_map: tm.FaultMap, store: Any, entry: str, title: str) -> tuple[tm.PlacedModel, float]:
        begin = time.perf_counter()
        net, rule = copy.deepcopy(trained), tm.Rule(store)
        strategy: tm.Strategy
        if entry == "ramp":
            strategy = tm.Ramp(net, fault_map, over_steps=options.steps // 2, rule=rule, seed=options.seed)
        elif entry == "read by members":
            strategy = tm.ReadByMembers(net, merged, rule=rule, seed=options.seed)
        else:
            strategy = tm.AllAtOnce(net, fault_map, rule=rule)
        batches = data.batches(64, seed=options.seed + 1)
        train(net.model, batches, steps=options.steps, lr=0.05, strategy=strategy, title=title)
        net.set_faults_(fault_map, rule=rule)
        return net, time.perf_counter() - begin

    reports = [
        trained.evaluate(chips, accuracy, name="untreated"),
        trained.evaluate(chips, accuracy, deployment="chip_image", name="nearest codes, no training"),
        trained.evaluate(
            chips,
            accuracy,
            deployment="chip_image",
            batchnorm=torch.split(data.images, 128),
            name="nearest codes, BatchNorm on each chip",
        ),
    ]
    for store in ("plain", "nearest"):
        single = []
        for chip in tqdm(chips, desc=f"per chip, {store}", unit="chip", leave=False):
            net, seconds = retrained(chip, store, "all at once", chip.chip)
            cost: Any = {"steps": options.steps, "seconds": seconds}
            single.append(net.evaluate([chip], accuracy, **cost, progress=False))
        reports.append(tm.FleetReport.join(single, name=f"per-chip retraining, {store}"))
    entries = (("plain", "all at once"), ("plain", "ramp"), ("nearest", "ramp"), ("nearest", "all at once"), CHOSEN)
    for store, entry in entries:
        name = f"merged, {entry}, {store}"
        net, seconds = retrained(merged, store, entry, name)
        cost = {"steps": options.steps, "seconds": seconds}
        reports.append(net.evaluate(chips, accuracy, name=name, **cost))
    chosen = reports[-1]
    name = f"{chosen.name}; one image a chip"
    reports.append(net.evaluate(chips, accuracy, deployment="chip_image", name=name, **cost))

    threshold = round(clean - 0.02, 3)
    table = tm.report.comparison(reports, threshold=threshold)
    print(
        f"\nclean accuracy {clean:.4f} on {len(data.test_labels)} test images; goal {threshold:.3f} on every chip\n\n{table}\n"
    )
    per_chip = next(r for r in reports if r.name == "per-chip retraining, nearest")
    print(f"Against {per_chip.name}, mean over the chips:")
    for merged_report in (r for r in reports if r.name.startswith("merged") and "nearest" in r.name):
        share = f"{merged_report.steps}/{per_chip.steps} = 1/{per_chip.steps / merged_report.steps:.0f}"
        print(f"   {100 * (merged_report.mean - per_chip.mean):+.2f} points in {share} of its steps: {merged_report.name}")
    tm.report.write_csv(reports, options.out / "fleet.csv")
    title = f"{len(chips)} chips, fault rate {options.fault_rate:g} each, union {merged.union_rate:.3f}"
    tm.report.plot_reports(reports, options.out / "fleet.png", threshold=threshold, title=title)
    merged.save(options.out / "merged.npz")
    folder = options.out / "chips"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.npz"):
        old.unlink()
    for chip in chips:
        chip.save(folder / f"{chip.chip}.npz")
    print(f"Wrote fleet.csv, fleet.png and merged.npz to {options.out}/")

    print("4. Export the group's network as a bundle, and check it from its files alone")
    bundle = net.export(options.out / "group_0", data.images[:1], report=chosen, probe=data.test_images, overwrite=True)
    print(tm.verify_bundle(bundle, chips))
    np.savez(options.out / "test_data.npz", images=data.test_images.numpy(), labels=data.test_labels.numpy())
    torch.save(net.model.state_dict(), options.out / "network.pt")
    print(f"The bundle lies in {bundle}/, the chips' fault maps in {folder}/")

    print(f"5. The trained network itself, nothing retrained, on chips with {AFTER_REPAIR:g} of their cells stuck")
    small = tm.Memory(words=trained.placement.words, word_bits=memory.word_bits)  # just holds it: no spare words
    healthy = tm.place(copy.deepcopy(trained.model), small)
    repaired = tm.random_fault_maps(small, chips=options.chips, fault_rate=AFTER_REPAIR, seed=options.seed)
    orders = tm.reorder(healthy, repaired, data.images[:2])
    print(f"   {orders.exact_as_they_lie} of {len(orders)} chips exact as they lie")
    print(f"   {orders.exact} of {len(orders)} chips exact in another order")


if __name__ == "__main__":
    main()
