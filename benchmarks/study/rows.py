"""List what the study runs: one row is one preparation of one group of chips (or of one of its chips)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from benchmarks.study import methods

Pattern = Literal["uniform", "clustered"]

NETWORKS = ("resnet20", "resnet20-4bit", "resnet32")
SEEDS = (0, 1, 2)
RATES = (1e-3, 6e-3, 2e-2)


@dataclass(frozen=True)
class Row:
    """One run.

    Args:
        network: Network of the study.
        method: How the network is prepared: a name in ``methods.METHODS``.
        store: Rule by which codes are stored, in training and afterwards.
        entry: How faults enter: a name in ``methods.ENTRIES``.
        chips: Chips in the group.
        rate: Fault rate of each chip.
        steps: Optimizer steps.
        seed: Seed of the fault maps, and of the batches.
        chip: For ``"per chip"``: which one.
        pattern: How faults lie in the memory.
        reuse: How many times the memory is loaded for one network.
        on_conflict: Rule of the merge.
        unseen: Chips outside the group that are evaluated too.
        lr: Highest learning rate.
        recalibrated: Whether BatchNorm statistics are measured anew after training: a group's under the union, else each
            chip's under its own.
        teacher: Whether the healthy network's outputs are learned from, beside the labels.
    """

    network: str = "resnet20"
    method: str = methods.MERGED
    store: Literal["nearest", "plain"] = "nearest"
    entry: str = methods.AT_ONCE
    chips: int = 5
    rate: float = 6e-3
    steps: int = 200
    seed: int = 0
    chip: int = 0
    pattern: Pattern = "uniform"
    reuse: int = 1
    on_conflict: Literal["free", "majority"] = "free"
    unseen: int = 0
    lr: float = 0.02
    teacher: bool = False
    recalibrated: bool = False

    def __post_init__(self) -> None:
        for field, value, known in (("method", self.method, methods.METHODS), ("entry", self.entry, methods.ENTRIES)):
            if value not in known:
                raise ValueError(f"{field} must be one of {', '.join(known)}, got {value!r}")

    @property
    def name(self) -> str:
        """Return the name of the row: all that differs from the defaults."""
        default = asdict(Row())
        return ", ".join(f"{k}={v}" for k, v in asdict(self).items() if v != default[k]) or "default"

    def fields(self) -> dict[str, Any]:
        """Return all fields, for a table."""
        return asdict(self)


def per_chip(row: Row, chips: int) -> Iterator[Row]:
    """Return rows for the first chips of a group, each retrained by itself; they are the same in a smaller group."""
    for chip in range(chips):
        yield replace(row, method=methods.PER_CHIP, chips=5, chip=chip, on_conflict="free", entry=methods.AT_ONCE)


def untrained(row: Row) -> Iterator[Row]:
    """Return rows for a group that is not trained at all: as is, and with nearest codes."""
    for store in ("plain", "nearest"):
        yield replace(row, method=methods.NONE, store=store, steps=0)


def headline() -> Iterator[Row]:
    """Return rows for ResNet-32, five chips at 6e-3: the paper's case."""
    for seed in SEEDS:
        row = Row(network="resnet32", seed=seed)
        yield row
        yield from untrained(row)
        yield from per_chip(row, 5)
    for seed in SEEDS:
        row = Row(network="resnet32", seed=seed)
        yield replace(row, store="plain", entry=methods.BY_STEP)
        yield from per_chip(replace(row, store="plain"), 5 if seed == 0 else 1)
        yield replace(row, steps=100)


def learning_rate() -> Iterator[Row]:
    """Return rows that show which learning rate serves per-chip and which merged retraining, with one seed."""
    for seed in SEEDS[:1]:
        for lr in (0.005, 0.01, 0.02, 0.04):
            row = Row(seed=seed, lr=lr)
            yield row
            yield from per_chip(row, 2)


def image_a_chip() -> Iterator[Row]:
    """Return rows of one training for all chips where each gets an image of its own, so that no union is needed."""
    for seed in SEEDS:
        for method in (methods.MEMBER, methods.RANDOM, methods.CLEAN):
            yield Row(chips=20, seed=seed, method=method)
            yield Row(network="resnet32", seed=seed, method=method)


def equal_cost() -> Iterator[Row]:
    """Return rows that retrain every chip with no more steps in all than one merged retraining; and BatchNorm alone."""
    for seed in SEEDS:
        yield from per_chip(Row(seed=seed, steps=10), 5)
        yield Row(seed=seed, method=methods.BATCHNORM, steps=0)
        yield from per_chip(Row(network="resnet32", seed=seed, steps=40), 5)
        yield Row(network="resnet32", seed=seed, method=methods.BATCHNORM, steps=0)


def recalibrated() -> Iterator[Row]:
    """Return rows with BatchNorm re-estimated after the training."""
    for seed in SEEDS:
        for row in (Row(network="resnet32", seed=seed, recalibrated=True), Row(chips=20, seed=seed, recalibrated=True)):
            yield row
            yield from per_chip(row, 1)
        yield Row(chips=20, seed=seed, method=methods.MEMBER, recalibrated=True)


def teacher() -> Iterator[Row]:
    """Return rows with the healthy network as a teacher: with one seed, and together with what else helps one image."""
    for seed in SEEDS[:1]:
        yield Row(network="resnet32", seed=seed, teacher=True)
        yield Row(chips=20, seed=seed, teacher=True)
        yield from per_chip(Row(network="resnet32", seed=seed, teacher=True), 2)
    for seed in SEEDS:
        row = Row(seed=seed, method=methods.READ_BY_MEMBERS, teacher=True)
        yield replace(row, network="resnet32")
        yield replace(row, chips=20)
        yield replace(row, chips=20, steps=400)


def large_group() -> Iterator[Row]:
    """Return rows for ResNet-20, twenty chips at 6e-3."""
    for seed in SEEDS:
        row = Row(chips=20, seed=seed)
        yield row
        yield from untrained(row)
        yield from per_chip(row, 5)


def large_group_options() -> Iterator[Row]:
    """Return rows with conflicts settled by majority, or as every member reads them; and twice the steps."""
    for seed in SEEDS:
        for on_conflict in ("free", "majority"):
            row = Row(seed=seed, method=methods.READ_BY_MEMBERS, on_conflict=on_conflict)
            yield replace(row, chips=20)
            yield replace(row, network="resnet32")
        yield Row(chips=20, seed=seed, on_conflict="majority")
        yield Row(chips=20, seed=seed, steps=400)


def grid() -> Iterator[Row]:
    """Return rows for ResNet-20 at several numbers of chips and fault rates."""
    for seed in SEEDS:
        for rate in RATES:
            for chips in (5, 20, 10, 2):
                yield Row(chips=chips, rate=rate, seed=seed)
            yield from untrained(Row(rate=rate, seed=seed))
            yield from per_chip(Row(rate=rate, seed=seed), 5 if rate == 6e-3 else 2)


def collapse() -> Iterator[Row]:
    """Return rows that compare all faults at once with every ramp, on one union."""
    for seed in SEEDS:
        for store in ("plain", "nearest"):
            for entry in methods.ENTRIES:
                yield Row(chips=20, seed=seed, store=store, entry=entry)


def no_training() -> Iterator[Row]:
    """Return rows with nearest codes alone, at the rates of fault-aware quantization (FAQ), 8 and 4 bits."""
    for seed in SEEDS:
        for network in ("resnet20", "resnet20-4bit"):
            for rate in (1e-3, 6e-3, 2e-2, 4e-2, 1e-1):
                yield from untrained(Row(network=network, rate=rate, seed=seed))
                yield Row(network=network, rate=rate, seed=seed, method=methods.BATCHNORM, steps=0)


def trained_at_high_rates() -> Iterator[Row]:
    """Return rows that show where retraining starts to matter: one chip at high rates, 8 and 4 bits."""
    for seed in SEEDS:
        for network in ("resnet20", "resnet20-4bit"):
            for rate in (6e-3, 4e-2, 1e-1):
                yield from per_chip(Row(network=network, rate=rate, seed=seed), 1)


def never_seen() -> Iterator[Row]:
    """Return rows that evaluate chips outside the group."""
    for seed in SEEDS:
        for method in (
            methods.NONE,
            methods.CLEAN,
            methods.MERGED,
            methods.RANDOM,
            methods.RANDOM_AND_CLEAN,
            methods.MERGED_AND_RANDOM,
        ):
            # A step of clean and faulty passes costs two: half as many, so that all rows cost the same.
            steps = {methods.NONE: 0, methods.RANDOM_AND_CLEAN: 100}.get(method, 200)
            yield Row(method=method, seed=seed, steps=steps, rate=2e-2, unseen=10)


def clustered() -> Iterator[Row]:
    """Return rows with clustered maps of the same rate as uniform ones."""
    for seed in SEEDS:
        row = Row(seed=seed, pattern="clustered")
        yield row
        yield from untrained(row)
        yield from per_chip(row, 2)


def small_memory() -> Iterator[Row]:
    """Return rows with a memory that is loaded once, 4 times, 16 times for one network."""
    for seed in SEEDS:
        for reuse in (4, 16):
            row = Row(seed=seed, reuse=reuse)
            yield row
            yield from untrained(row)
            yield from per_chip(row, 2)


def resilience() -> Iterator[Row]:
    """Return rows with budgets of steps under maps of every severity: points of the resilience curve."""
    for seed in (10,):
        for steps in (0, 25, 50, 100, 200):
            for rate in (6e-3, 2e-2, 4e-2, 7e-2, 1e-1, 1.5e-1):
                yield Row(method=methods.NONE if steps == 0 else methods.PER_CHIP, rate=rate, seed=seed, steps=steps, chips=5)


TABLES = {
    "headline": headline,
    "learning rate": learning_rate,
    "image a chip": image_a_chip,
    "equal cost": equal_cost,
    "recalibrated": recalibrated,
    "teacher": teacher,
    "large group": large_group,
    "resilience": resilience,
    "collapse": collapse,
    "never seen": never_seen,
    "grid": grid,
    "no training": no_training,
    "small memory": small_memory,
    "clustered": clustered,
    "high rates": trained_at_high_rates,
    "large group options": large_group_options,
}


def all_rows() -> list[Row]:
    """Return every row once, the most important tables first."""
    return list(dict.fromkeys(row for table in TABLES.values() for row in table()))
