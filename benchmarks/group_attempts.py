"""Ways to bring one image for twenty chips closer to the healthy network: ResNet-20, 6e-3 of each chip's cells stuck.

    python -m benchmarks.group_attempts --data cifar-10-batches-bin --weights FOLDER

Every way is measured on all test images and the first four chips of each seed's group: the points that a chip loses, and the
divergence of its outputs from the healthy network's, which moves less by chance. The network is that of
``benchmarks.preparations``, trained in the output folder if it is not there. Every finished attempt is a record there; the rows
go into docs/group_attempts.csv, beside those that are there, and the table into docs/compensation.md.

    python -m benchmarks.group_attempts --from-csv

Steps of 2,048 images are for a GPU (``--device cuda``); it takes the same run folder, with the trained network in it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
import torch
from tabulate import tabulate
from torch import Tensor, nn

import tremap_brevitas as tm
from benchmarks.preparations.cases import COMPENSATED, EVALUATED, SEEDS, STEPS, Case
from benchmarks.preparations.maps import chips_of
from benchmarks.preparations.methods import LR, images_of, order_of
from benchmarks.preparations.page import fill
from benchmarks.study.job import placed
from benchmarks.study.rows import Row
from benchmarks.study.workbench import BATCH, EVALUATION_BATCH, Workbench
from benchmarks.study.worker import Setup, workbench_of
from tremap_brevitas.cluster import run_jobs
from tremap_brevitas.files import atomic_file
from tremap_brevitas.order import SearchOptions
from tremap_brevitas.planning.evidence import half_interval

NETWORK, RATE, CHIPS = "resnet20", 6e-3, 20
DOCS = Path(__file__).parents[1] / "docs"
CSV = DOCS / "group_attempts.csv"


@dataclass(frozen=True)
class Attempt:
    """One way.

    Args:
        order: Whether the channels are put in the order first in which the union's nearest codes are least wrong.
        sweeps: Sweeps of the compensation.
        shared: Whether it goes by the healthy network's moments.
        lr: Highest learning rate of ``STEPS`` steps after it, with the healthy network as teacher; 0 for no training.
        images: Images of a step.
        members: Members that read the image in one step, each for its part of the images.
        trained: What is trained: the group's image after compensation, each chip by itself from the nearest codes, with labels
            alone, as in the study, or the healthy network once more.
    """

    order: bool = False
    sweeps: int = 2
    shared: bool = False
    lr: float = 0.0
    images: int = BATCH
    members: int = 1
    trained: Literal["image", "each chip", "healthy network"] = "image"


LARGE = "2,048 images and four members"
ORDERED = "an order before it, three sweeps, then 200 steps"
ALONE, HEALTHY = "each chip by itself, 200 steps", "healthy network, 200 steps more of 512 images, 0.2"
ATTEMPTS = {  # those that train come last
    "compensated": Attempt(),
    "moments of the healthy network": Attempt(shared=True),
    "three sweeps": Attempt(sweeps=3),
    "an order before it": Attempt(order=True),
    "an order before it, three sweeps": Attempt(order=True, sweeps=3),
    "compensated, then 200 steps, highest rate 0.02": Attempt(lr=0.02),
    "compensated, then 200 steps, highest rate 0.05": Attempt(lr=0.05),
    f"{ORDERED}, 0.05": Attempt(order=True, sweeps=3, lr=0.05),
    f"{ORDERED}, 0.2": Attempt(order=True, sweeps=3, lr=0.2),
    f"{ORDERED} of 512 images and four members, 0.2": Attempt(order=True, sweeps=3, lr=0.2, images=512, members=4),
    f"{ORDERED} of {LARGE}, 0.1": Attempt(order=True, sweeps=3, lr=0.1, images=2048, members=4),
    f"{ORDERED} of {LARGE}, 0.4": Attempt(order=True, sweeps=3, lr=0.4, images=2048, members=4),
    ALONE: Attempt(lr=LR, trained="each chip"),
    HEALTHY: Attempt(lr=0.2, images=512, trained="healthy network"),
}


@dataclass(frozen=True)
class Work:
    """Work of a job that makes an attempt.

    Args:
        setup: The network and the data.
        network: Name of the network.
        chips: Chips of the group.
    """

    setup: Setup
    network: str = NETWORK
    chips: int = CHIPS

    def __call__(self, job: tuple[str, int]) -> dict[str, Any]:
        """Make it; returns its time and, for each chip, the divergence and the points against the healthy network.

        Where each chip is trained by itself, the time is that of one chip.
        """
        name, seed = job
        torch.manual_seed(seed)
        bench = workbench_of(self.setup, self.network)
        bench.reset()
        net = placed(Row(network=self.network, chips=self.chips, rate=RATE, seed=seed, store="nearest"), bench)
        chips = chips_of(Case(self.network, RATE, COMPENSATED, seed, self.chips, None), net.placement.memory, self.chips)
        merged = tm.merge(chips, on_conflict="free")
        measure, attempt = Measure(bench), ATTEMPTS[name]
        begin = time.process_time()
        if attempt.trained == "image":
            prepare_(bench, net, merged, attempt, seed)
            seconds = time.process_time() - begin
            net.set_faults_(merged)
            results = measure.on(net, chips[:EVALUATED])
        else:
            results = train_alone(bench, net, chips[:EVALUATED], attempt, seed, measure)
            seconds = (time.process_time() - begin) / len(results)
        return {"seconds": round(seconds, 1), "device": device_name(bench.device), "chips": results}


def train_alone(
    bench: Workbench, net: tm.PlacedModel, chips: list[tm.FaultMap], attempt: Attempt, seed: int, measure: Measure
) -> list[dict[str, float]]:
    """Train each chip by itself, or the healthy network once; returns the figures of each."""
    healthy = attempt.trained == "healthy network"
    if healthy:
        chips = tm.random_fault_maps(net.placement.memory, chips=1, fault_rate=0.0, seed=0)
    results = []
    for chip in chips:
        bench.reset()
        options: dict[str, Any] = {"lr": attempt.lr, "images": attempt.images, "teacher": healthy}
        bench.train(steps=STEPS, seed=seed, strategy=tm.AllAtOnce(net, chip), title=chip.chip, **options)
        net.set_faults_(chip)
        results += measure.on(net, [chip])
    return results


def device_name(device: str) -> str:
    """Name of the GPU, or "core" for a processor."""
    return torch.cuda.get_device_name(device) if torch.device(device).type == "cuda" else "core"


def prepare_(bench: Workbench, net: tm.PlacedModel, merged: tm.MergedFaultMap, attempt: Attempt, seed: int) -> None:
    """Prepare the network for the group."""
    images = images_of(bench, Case(bench.name, RATE, COMPENSATED, seed))
    if attempt.order:
        tm.apply_order_(net, order_of(bench, net, merged, SearchOptions(aim="error")))
    inputs: dict[str, Any] = {"moments": net.moments(images, progress=False)} if attempt.shared else {"batches": images}
    net.compensate_(**inputs, fault_map=merged, sweeps=attempt.sweeps, progress=False)
    if attempt.lr:
        strategy = tm.ReadByMembers(net, merged, seed=seed, members_a_step=attempt.members)
        batches: dict[str, Any] = {"images": attempt.images, "parts": attempt.members}
        bench.train(steps=STEPS, lr=attempt.lr, seed=seed, strategy=strategy, title="200 steps", teacher=True, **batches)


class Measure:
    """Compares a network with what it is now."""

    def __init__(self, bench: Workbench) -> None:
        self.images, self.labels = bench.data.test_images, bench.data.test_labels
        self.forward: Callable[[Tensor], Tensor] = bench.forward
        bench.model.eval()
        self.healthy = self._logits()
        self._divergences: list[float] = []

    def on(self, net: tm.PlacedModel, chips: list[tm.FaultMap]) -> list[dict[str, float]]:
        """Divergence and points of every chip, with the codes that it reads."""
        self._divergences.clear()
        report = net.evaluate(chips, self._accuracy, progress=False)
        nominal, *others = self._divergences
        divergences = [nominal if chip.bit_exact else others.pop(0) for chip in report.chips]
        healthy = self._right(self.healthy)
        return [
            {"divergence": float(f"{divergence:.4g}"), "points": round(100 * (accuracy - healthy), 3)}
            for divergence, accuracy in zip(divergences, report.accuracies, strict=True)
        ]

    def _accuracy(self, model: nn.Module) -> float:
        model.eval()
        logits = self._logits()
        wanted = self.healthy.log_softmax(1)
        self._divergences.append(float((wanted.exp() * (wanted - logits.log_softmax(1))).sum(1).mean()))
        return self._right(logits)

    def _right(self, logits: Tensor) -> float:
        return float((logits.argmax(1) == self.labels).float().mean())

    @torch.no_grad()
    def _logits(self) -> Tensor:
        return torch.cat([self.forward(batch) for batch in self.images.split(EVALUATION_BATCH)])  # type: ignore[no-untyped-call]


def rows_of(results: dict[tuple[str, int], dict[str, Any]]) -> pd.DataFrame:
    """One line a chip."""
    return pd.DataFrame(
        [
            {"attempt": name, "seed": seed, "chip": chip, **figures, "seconds": result["seconds"], "device": result["device"]}
            for (name, seed), result in results.items()
            for chip, figures in enumerate(result["chips"])
        ]
    )


def merged(old: pd.DataFrame, new: pd.DataFrame) -> pd.DataFrame:
    """Old rows and new ones, which replace them, in the order of the table."""
    every = pd.concat([old, new]).drop_duplicates(["attempt", "seed", "chip"], keep="last")
    place = every.attempt.map({name: place for place, name in enumerate(ATTEMPTS)})
    return every.assign(place=place).sort_values(["place", "seed", "chip"]).drop(columns="place").reset_index(drop=True)


def table(frame: pd.DataFrame) -> str:
    """Means over the chips, with half of the 95 % interval over the groups, and the worst chip."""
    alone = frame[frame.attempt == ALONE].set_index(["seed", "chip"]).points
    lines = []
    for name, part in frame.groupby("attempt", sort=False):
        pairs = part.set_index(["seed", "chip"]).points - alone
        apart = [] if name in (ALONE, HEALTHY) else [pairs.dropna().groupby("seed").mean()]
        groups = part.seed.nunique()
        line = [name, f"{groups} × {len(part) // groups}", f"{part.divergence.mean():.4f}"]
        line += [_figure(part.groupby("seed").points.mean()), f"{part.points.min():+.2f}", *map(_figure, apart or [()])]
        device = "" if part.device.iloc[0] == "core" else f" ({part.device.iloc[0]})"
        lines.append([*line, f"{part.seconds.median():.0f}{device}"])
    heads = ["attempt", "groups × chips", "divergence", "points", "worst chip", "against each by itself", "seconds"]
    return tabulate(lines, heads, tablefmt="github", disable_numparse=True)


def _figure(means: Iterable[float]) -> str:
    """The mean of the groups' means, with half of the interval; empty for no group."""
    values = list(means)
    interval = f" ± {half_interval(values):.2f}" if len(values) > 1 else ""
    return f"{sum(values) / len(values):+.2f}{interval}" if values else ""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="CIFAR-10 in its official binary layout")
    parser.add_argument("--weights", type=Path, help="folder with the float weights")
    parser.add_argument("--out", type=Path, default=Path("out/group_attempts"), help="output folder (default %(default)s)")
    parser.add_argument("--test-images", type=int, default=10_000, help="test images used (default %(default)s)")
    parser.add_argument(
        "--attempts", nargs="+", choices=ATTEMPTS, default=list(ATTEMPTS), metavar="NAME", help="(default: all)"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=list(SEEDS), help="groups (default %(default)s)")
    parser.add_argument("--device", default="cpu", help="torch device (default %(default)s)")
    parser.add_argument("--from-csv", action="store_true", help="run nothing; make the page's table from the CSV file")
    options = parser.parse_args()
    if not options.from_csv and (options.data is None or options.weights is None):
        parser.error("--data and --weights are needed, unless --from-csv")
    return options


def run(options: argparse.Namespace) -> dict[tuple[str, int], dict[str, Any]]:
    """Make the attempts that have no record yet; returns the results of all that were asked for."""
    from benchmarks.preparations.__main__ import STEPS as BASELINES
    from benchmarks.preparations.work import set_up

    setup, baseline, measured = set_up(options, BASELINES, device=options.device)
    run_jobs(baseline, {NETWORK: NETWORK}, folder=setup.out / "baselines", options=measured, progress="baselines")
    jobs = {f"{name}; seed {seed}": (name, seed) for name in options.attempts for seed in options.seeds}
    results = run_jobs(Work(setup), jobs, folder=setup.out / "attempts", options=measured, progress="attempts")
    return {jobs[key]: result for key, result in results.items()}


def main() -> None:
    options = parse()
    frame = pd.read_csv(CSV) if CSV.exists() else pd.DataFrame(columns=["attempt", "seed", "chip"])
    if not options.from_csv:
        frame = merged(frame, rows_of(run(options)))
        with atomic_file(CSV) as draft:
            frame.to_csv(draft, index=False)
    fill(DOCS / "compensation.md", {"group attempts": table(frame)})
    print(table(frame))


if __name__ == "__main__":
    main()
