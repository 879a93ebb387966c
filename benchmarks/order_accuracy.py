"""Accuracy with nearest codes on chips with more stuck cells than any order can serve: as they lie, and in order.

    python -m benchmarks.order_accuracy
    python -m benchmarks.order_accuracy --network resnet20 --data cifar-10-batches-bin --weights FOLDER

Networks are trained in a healthy memory that just holds them: the digits network here, ResNet-20 by
``benchmarks.preparations``, whose output folder ``--trained`` names. Every chip gets the nearest codes; nothing is trained
afterwards. Each chip is measured as it lies, in the order with fewest wrong codes, in that with least error, in that with least
error weighed by the inputs' moments, and compensated: as it lies, and in the order with fewest wrong codes. What
``docs/order_accuracy.csv`` has already is not measured again.

    python -m benchmarks.order_accuracy --from-csv

Runs nothing: prints the tables of the CSV file.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from scipy import stats
from tabulate import tabulate

import tremap_brevitas as tm
from benchmarks.measure import machine
from benchmarks.trained_networks import Trained, digits, resnet20
from tremap_brevitas.order import SearchOptions, output_importance
from tremap_brevitas.prepare.compensation.collect import input_moments

CSV = Path(__file__).parents[1] / "docs" / "order_accuracy.csv"
COLUMNS = ["network", "seed", "rate", "chip", "way", "wrong_codes", "healthy", "accuracy"]
KEY = COLUMNS[:5]
AS_THEY_LIE, ORDERED = "as they lie", "in order"
WAYS = (AS_THEY_LIE, ORDERED, "least error", "weighed", "compensated as they lie", "in order, then compensated")
Row = dict[str, Any]


def order_of(way: str, trained: Trained, chip: tm.FaultMap, groups: Any, importance: Any, search: SearchOptions) -> Any:
    """The order of one chip, by what is sought; None if nothing is moved."""
    if way in (AS_THEY_LIE, "compensated as they lie"):
        return None
    options = search if ORDERED in way else replace(search, aim="error")
    importance = importance() if way == "weighed" else None
    return tm.reorder(trained.net, [chip], groups=groups, options=options, importance=importance, progress=False).orders[0]


def measured(
    trained: Trained, seed: int, rates: Sequence[float], count: int, search: SearchOptions, missing: Callable[..., bool]
) -> Iterator[Row]:
    """What each chip gives in each way that is missing, for one network."""
    groups = tm.prepare.channel_groups(trained.net, trained.images[:2]).groups
    print(f"{sum(group.channels for group in groups)} channels in {len(groups)} groups", flush=True)
    batches = list(trained.images.split(128))  # type: ignore[no-untyped-call]

    @cache
    def importance() -> Any:
        return output_importance(input_moments(trained.net, batches), trained.net.memory_image())

    healthy = trained.accuracy(trained.net.model)
    for rate in rates:
        for number in range(count):
            memory = trained.net.placement.memory
            (chip,) = tm.random_fault_maps(memory, chips=1, fault_rate=rate, seed=1000 * seed + number)
            for way in WAYS:
                if not missing(rate, number, way):
                    continue
                order = order_of(way, trained, chip, groups, importance, search)
                twin = copy.deepcopy(trained.net)
                if order is not None:
                    tm.apply_order_(twin, order)
                if "compensated" in way:
                    twin.compensate_(batches, fault_map=chip, progress=False)
                wrong = twin.certificate(chip, deployment="chip_image").weights_that_differ if order is None else order.wrong
                with twin.using(chip):
                    accuracy = trained.accuracy(twin.model)
                about = {"seed": seed, "rate": rate, "chip": number, "way": way}
                yield {**about, "wrong_codes": wrong, "healthy": healthy, "accuracy": accuracy}


def run(options: argparse.Namespace) -> None:
    """Measure what is missing, chip after chip, and write the CSV file after each."""
    torch.set_num_threads(1)
    print(machine(), flush=True)
    rows: list[dict[Any, Any]] = pd.read_csv(options.csv).to_dict("records") if options.csv.exists() else []
    done = {tuple(row[key] for key in KEY) for row in rows}
    search = SearchOptions(rounds=options.rounds, patience=options.patience)
    for seed in options.seeds if options.network == "digits" else [0]:

        def missing(rate: float, chip: int, way: str, seed: int = seed) -> bool:
            return way in options.ways and (options.network, seed, rate, chip, way) not in done

        if not any(missing(r, c, w) for r in options.rates for c in range(options.chips) for w in WAYS):
            continue
        if options.network == "digits":
            trained = digits(seed)
        else:
            trained = resnet20(options.data, options.weights, options.trained, test_images=options.test_images)
        for row in measured(trained, seed, options.rates, options.chips, search, missing):
            rows.append({"network": options.network, **row})
            frame = pd.DataFrame(rows, columns=COLUMNS)
            frame["place"] = frame.way.map(WAYS.index)
            frame = frame.sort_values(["network", "rate", "seed", "chip", "place"])
            frame[COLUMNS].to_csv(options.csv, index=False)
            rows = frame[COLUMNS].to_dict("records")


def ways_of(frame: pd.DataFrame) -> list[str]:
    """The ways that were measured, as they lie first."""
    return [way for way in WAYS if way in set(frame.way)]


def table(path: Path, network: str) -> str:
    """Mean accuracy of each way at each rate, in %."""
    frame = pd.read_csv(path)
    frame = frame[frame.network == network]
    lines = []
    for rate, part in frame.groupby("rate"):
        mean = part.groupby("way")[["accuracy", "wrong_codes"]].mean()
        wrong = f"{mean.wrong_codes[AS_THEY_LIE]:.0f} → {mean.wrong_codes[ORDERED]:.0f}"
        cells = [f"{100 * mean.accuracy[way]:.2f}" if way in mean.index else "" for way in ways_of(frame)]
        chips = part[part.way == AS_THEY_LIE]
        lines.append([f"{rate:g}", f"{len(chips)}", wrong, f"{100 * chips.healthy.mean():.2f}", *cells])
    return tabulate(lines, ["stuck cells", "chips", "wrong codes", "healthy", *ways_of(frame)], "github", disable_numparse=True)


def differences(path: Path, network: str) -> str:
    """What each way gains over the same chips as they lie, in points: mean and 95 % interval."""
    frame = pd.read_csv(path)
    frame = frame[frame.network == network]
    ways = ways_of(frame)[1:]
    pivot = frame.pivot_table("accuracy", ["rate", "seed", "chip"], "way")
    lines = []
    for rate, part in pivot.groupby("rate"):
        cells = []
        for way in ways:
            gain = 100 * (part[way] - part[AS_THEY_LIE]).dropna() if way in part else pd.Series(dtype=float)
            cells.append(interval(gain))
        lines.append([f"{rate:g}", *cells])
    return tabulate(lines, ["stuck cells", *ways], "github", disable_numparse=True)


def interval(gain: pd.Series) -> str:
    """Mean of paired differences, and Student's 95 % interval of it."""
    if len(gain) < 2:
        return ""
    half = stats.t.ppf(0.975, len(gain) - 1) * gain.sem()
    return f"{gain.mean():+.2f} ± {half:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", choices=("digits", "resnet20"), default="digits", help="(default %(default)s)")
    parser.add_argument("--data", type=Path, help="CIFAR-10 in its official binary layout, for resnet20")
    parser.add_argument("--weights", type=Path, help="folder with the float weights, for resnet20")
    parser.add_argument("--trained", type=Path, default=Path("out/no_training"), help="its folder (default %(default)s)")
    parser.add_argument("--test-images", type=int, default=2500, help="for resnet20 (default %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="networks, for digits (default %(default)s)")
    parser.add_argument("--rates", type=float, nargs="+", default=[1e-3, 6e-3, 2e-2], help="(default %(default)s)")
    parser.add_argument("--chips", type=int, default=8, help="chips a network (default %(default)s)")
    parser.add_argument("--ways", choices=WAYS, nargs="+", default=WAYS, metavar="WAY", help=f"only some of: {'; '.join(WAYS)}")
    parser.add_argument("--rounds", type=int, default=60, help="rounds of the search at most (default %(default)s)")
    parser.add_argument("--patience", type=int, default=10, help="rounds without a better order (default %(default)s)")
    parser.add_argument("--csv", type=Path, default=CSV, help="file of the rows (default: in the repository's docs)")
    parser.add_argument("--from-csv", action="store_true", help="run nothing; print the tables of the CSV file")
    options = parser.parse_args()
    if options.network == "resnet20" and not options.from_csv and None in (options.data, options.weights):
        parser.error("--network resnet20 needs --data and --weights")
    if not options.from_csv:
        run(options)
    for network in sorted(set(pd.read_csv(options.csv).network)):
        print(f"\n{network}\n\n{table(options.csv, network)}\n\n{differences(options.csv, network)}")


if __name__ == "__main__":
    main()
