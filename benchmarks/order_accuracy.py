"""Accuracy with nearest codes on chips with more stuck cells than any order can serve: as they lie, and in order.

    python -m benchmarks.order_accuracy

The digits network, trained in a healthy memory that just holds it. Every chip gets the nearest codes; nothing is trained
afterwards. Printed are means over the chips: wrong codes, and accuracy as they lie, in the order with fewest wrong codes, in
that with least error, in that with least error weighed by the inputs' moments, and compensated: as they lie, and in the order
with fewest wrong codes.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import itertools
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from benchmarks.measure import machine

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

from networks import DigitsNet
from training import accuracy_on, seed_everything, train

import tremap_brevitas as tm
from tremap_brevitas.order import SearchOptions, output_importance
from tremap_brevitas.prepare.compensation.collect import input_moments

Row = dict[str, Any]


def ways(
    net: tm.PlacedModel, chip: tm.FaultMap, groups: Any, importance: Mapping[str, Any], search: SearchOptions
) -> Mapping[str, tm.order.ChipOrder]:
    """The orders of one chip, by what is sought."""
    least = SearchOptions(aim="error", rounds=search.rounds, patience=search.patience)

    def order(options: SearchOptions, importance: Mapping[str, Any] | None = None) -> tm.order.ChipOrder:
        return tm.reorder(net, [chip], groups=groups, options=options, importance=importance, progress=False).orders[0]

    return {"fewest wrong": order(search), "least error": order(least), "weighed": order(least, importance)}


def measured(seed: int, rates: Sequence[float], count: int, search: SearchOptions) -> Iterator[Row]:
    """What each chip gives, for one network."""
    seed_everything(seed)
    data = importlib.import_module("01_digits_fleet").digits(seed)
    accuracy: Callable[[Any], float] = accuracy_on(data.test_images, data.test_labels)
    model = tm.make_faulty(DigitsNet())
    train(model, data.batches(64, seed=seed), steps=600, lr=0.1, title=f"seed {seed}")
    size = tm.place(copy.deepcopy(model), tm.Memory(words=2_560, word_bits=32)).placement.words
    net = tm.place(model, tm.Memory(words=size, word_bits=32))
    groups = tm.prepare.channel_groups(net, data.images[:2]).groups
    batches = list(data.images[:512].split(128))
    importance = output_importance(input_moments(net, batches), net.memory_image())
    for rate, number in itertools.product(rates, range(count)):
        (chip,) = tm.random_fault_maps(net.placement.memory, chips=1, fault_rate=rate, seed=1000 * seed + number)
        orders = ways(net, chip, groups, importance, search)
        row: Row = {"rate": rate, "healthy": accuracy(net.model), "wrong": orders["fewest wrong"].wrong_as_it_lies}
        with net.using(chip):
            row["as it lies"] = accuracy(net.model)
        for way, order in orders.items():
            twin = copy.deepcopy(net)
            tm.apply_order_(twin, order)
            with twin.using(chip):
                row[way], row[f"wrong, {way}"] = accuracy(twin.model), order.wrong
        for way in ("as it lies", "fewest wrong"):
            twin = copy.deepcopy(net)
            if way in orders:
                tm.apply_order_(twin, orders[way])
            twin.compensate_(batches, fault_map=chip, progress=False)
            with twin.using(chip):
                row[f"compensated, {way}"] = accuracy(twin.model)
        yield row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="networks (default %(default)s)")
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 6e-3, 3e-2, 1e-1], help="(default %(default)s)")
    parser.add_argument("--chips", type=int, default=8, help="chips a network (default %(default)s)")
    parser.add_argument("--rounds", type=int, default=60, help="rounds of the search at most (default %(default)s)")
    parser.add_argument("--patience", type=int, default=10, help="rounds without a better order (default %(default)s)")
    options = parser.parse_args()
    search = SearchOptions(rounds=options.rounds, patience=options.patience)
    print(f"{machine()}; {len(options.seeds)} networks, {options.chips} chips each\n")
    every = [row for seed in options.seeds for row in measured(seed, options.rates, options.chips, search)]
    lines = []
    for rate in options.rates:
        rows = [row for row in every if row["rate"] == rate]
        mean = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        wrong = f"{mean['wrong']:.0f} → {mean['wrong, fewest wrong']:.0f}"
        keys = (
            "healthy",
            "as it lies",
            "fewest wrong",
            "least error",
            "weighed",
            "compensated, as it lies",
            "compensated, fewest wrong",
        )
        lines.append([f"{rate:g}", wrong, *(f"{mean[key]:.4f}" for key in keys)])
    titles = ["stuck cells", "wrong codes", "healthy", "as they lie", "in order", "least error", "weighed"]
    titles += ["compensated as they lie", "in order, then compensated"]
    print(tabulate(lines, titles, tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
