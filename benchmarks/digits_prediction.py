"""How well an accuracy is predicted by the error of codes, and by the error of the layers' outputs, on chips never seen.

    python -m benchmarks.digits_prediction

The digits network; chips with 1e-2 to 2e-1 of their cells stuck, each prepared in three ways: nearest codes, codes patched from
moments alone (``tremap patch``), and compensated (``PlacedModel.compensate_``). Half of the chips make a resilience curve, the
other half is predicted. Beside it, what predicting the healthy network's accuracy for every chip would give.
"""

from __future__ import annotations

import argparse
import copy
import importlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from benchmarks.measure import machine

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))

from networks import DigitsNet
from training import accuracy_on, seed_everything, train

import tremap_brevitas as tm
from tremap_brevitas.patching import patch
from tremap_brevitas.planning import Point, ResilienceCurve, output_error
from tremap_brevitas.planning.resilience import ErrorOf
from tremap_brevitas.prepare.compensation.collect import input_moments

# Way of preparing, and the errors that may predict what it gives.
WAYS = {
    "nearest codes": {"codes": "codes", "outputs": "outputs"},
    "patched from moments": {"codes": "codes", "outputs": "patched outputs"},
    "compensated": {"codes": "codes", "outputs": "compensated outputs"},
}
KINDS: Mapping[str, ErrorOf] = {
    "codes": "codes",
    "outputs": "outputs",
    "patched outputs": "outputs",
    "compensated outputs": "compensated outputs",
}
HELD_OUT = "way", "within 1 point, by codes", "by outputs", "healthy for all", "mean error (points), by codes", "by outputs"


def measured(seed: int, rates: list[float], chips: int) -> tuple[float, list[dict[str, Any]]]:
    """The healthy network's accuracy, and for each chip its errors and accuracies."""
    seed_everything(seed)
    data = importlib.import_module("01_digits_fleet").digits(seed)
    accuracy = accuracy_on(data.test_images, data.test_labels)
    batches = data.images[:512].split(128)
    model = tm.make_faulty(DigitsNet())
    train(model, data.batches(64, seed=seed), steps=600, lr=0.1, title=f"seed {seed}")
    net = tm.place(model, tm.Memory(words=2_560, word_bits=32))
    image, moments, healthy = net.memory_image(), input_moments(net, batches), accuracy(model)
    rows = []
    for i, rate in enumerate(rates):
        for number, chip in enumerate(
            tm.random_fault_maps(net.placement.memory, chips=chips, fault_rate=rate, seed=1000 * seed + i)
        ):
            proof = tm.placement.certificate(image, chip, deployment="chip_image")
            own = patch(image, moments, chip)
            twin = copy.deepcopy(net)
            report = twin.compensate_(batches, fault_map=chip, progress=False)
            row: dict[str, Any] = {"rate": rate, "held out": number % 2 == 1, "compensated": accuracy(twin.model)}
            for name, codes in (("nearest codes", proof.read()), ("patched from moments", own.image.codes)):
                with net.using_codes(codes):
                    row[name] = accuracy(net.model)
            row |= {"codes": proof.relative_error, "outputs": output_error(proof, moments)}
            row |= {"patched outputs": own.error, "compensated outputs": report.error}
            rows.append(row)
    return healthy, rows


def off(healthy: float, rows: list[dict[str, Any]], way: str, error: str) -> np.ndarray[Any, np.dtype[np.float64]]:
    """How far the predictions for the chips held out are off."""
    points = [Point(row[error], row[way]) for row in rows if not row["held out"]]
    curve = ResilienceCurve([Point(0.0, healthy), *points], error_of=KINDS[error])
    return np.array([abs(row[way] - curve.predict(row[error])) for row in rows if row["held out"]])


def held_out_table(networks: list[tuple[float, list[dict[str, Any]]]], ways: Mapping[str, Mapping[str, str]]) -> str:
    """Return a table of how well the chips held out are predicted; for each network its healthy accuracy and its chips."""
    lines = []
    for way, errors in ways.items():
        by = {name: np.concatenate([off(*network, way, error) for network in networks]) for name, error in errors.items()}
        naive = [abs(row[way] - healthy) <= 0.01 for healthy, rows in networks for row in rows if row["held out"]]
        shares = [f"{100 * share:.0f} %" for share in (*((e <= 0.01).mean() for e in by.values()), np.mean(naive))]
        lines.append([way, *shares, *(f"{100 * e.mean():.2f}" for e in by.values())])
    return tabulate(lines, HELD_OUT, tablefmt="github", disable_numparse=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="networks (default %(default)s)")
    parser.add_argument("--rates", type=float, nargs="+", default=[0.01, 0.02, 0.04, 0.08, 0.13, 0.2], help="(%(default)s)")
    parser.add_argument("--chips", type=int, default=16, help="chips at each rate (default %(default)s)")
    options = parser.parse_args()
    networks = [measured(seed, options.rates, options.chips) for seed in options.seeds]
    print(f"{machine()}\n\n{len(networks)} networks, {options.chips // 2} chips held out at each of {options.rates}\n")
    print(held_out_table(networks, WAYS))
    rates = []
    for rate in options.rates:
        cells = []
        for way, errors in WAYS.items():
            held = [[row["rate"] for row in rows if row["held out"]] for _, rows in networks]
            errors_at = [off(*n, way, errors["outputs"])[np.array(h) == rate] for n, h in zip(networks, held, strict=True)]
            mean = np.mean([row[way] for _, rows in networks for row in rows if row["rate"] == rate])
            cells.append(f"{mean:.4f}; {100 * np.mean(np.concatenate(errors_at) <= 0.01):.0f} %")
        rates.append([f"{rate:g}", *cells])
    print("\nmean accuracy; share within 1 point, by outputs:\n")
    print(tabulate(rates, ["stuck cells", *WAYS], tablefmt="github", disable_numparse=True))


if __name__ == "__main__":
    main()
