"""The tables of docs/study.md, each from the rows that it needs; what was not run shows as a dash."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np
from grouping import grouping_table
from prediction import prediction_table
from results import Mean, Result, having, nominal, over_seeds, worst
from rows import RATES

from tremap_brevitas.fleet.certify import Deployment

ENTRIES = ("all at once", "by step", "by chip", "lsb first", "on recovery")
GROUP: Deployment = "group_image"
CHIP: Deployment = "chip_image"
NEVER_SEEN = {
    "none": "no training",
    "clean": "trained on in a healthy memory",
    "merged": "merged (5 other chips)",
    "random": "random maps",
    "random, clean too": "random maps, clean and faulty passes (RandBET)",
    "merged + random": "merged and random maps",
}
READ_BY_MEMBERS: list[tuple[str, dict[str, object]]] = [
    ("merged, nearest, read by members", {"method": "read by members"}),
    ("merged, nearest, majority, read by members", {"method": "read by members", "on_conflict": "majority"}),
    ("merged, nearest, read by members, healthy network as teacher", {"method": "read by members", "teacher": True}),
]


def markdown(heading: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table; rows of which nothing was run are left out."""
    kept = [row for row in rows if _was_run(row)]
    if not kept:
        return "Not run yet."
    lines = [heading, ["---"] * len(heading), *kept]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _was_run(row: Sequence[object]) -> bool:
    means = [cell for cell in row if isinstance(cell, Mean)]
    return not means or any(mean.values for mean in means)


def fleet_table(results: Sequence[Result], network: str, chips: int, extra: Sequence[tuple[str, dict[str, object]]]) -> str:
    """Every way of preparing a group, on the chips' own maps; differences are against per-chip retraining."""

    def of(**fields: object) -> list[Result]:
        return having(results, **{"network": network, "chips": chips, **fields})

    def single(**fields: object) -> list[Result]:
        return having(results, network=network, method="per chip", **fields)

    reference = over_seeds(single())
    rows = []

    def add(name: str, found: list[Result], deployment: Deployment, steps: int | str) -> None:
        accuracy = over_seeds(found, deployment)
        if not accuracy.values:
            return
        same = [s for s in sorted({r.row.seed for r in found}) if s in {r.row.seed for r in single()}]
        paired = [
            over_seeds([r for r in found if r.row.seed == s], deployment).mean
            - over_seeds([r for r in single() if r.row.seed == s]).mean
            for s in same
        ]
        less = f"{100 * statistics.fmean(paired):+.2f}" if paired else "–"
        rows.append((name, accuracy, f"{100 * worst(found, deployment):.2f}", less, steps))

    add("written as is, no training", of(method="none", store="plain", steps=0), GROUP, 0)
    add("nearest codes, no training", of(method="none", steps=0), CHIP, 0)
    add("per-chip retraining, plain (as before TRE-Map)", single(store="plain"), GROUP, 200 * chips)
    batchnorm = having(results, network=network, method="batchnorm", steps=0)
    add("nearest codes, BatchNorm re-estimated on each chip", batchnorm, CHIP, 0)
    add("per-chip retraining, nearest", single(), GROUP, 200 * chips)
    few = 200 // chips
    add(f"per-chip retraining, nearest, {few} steps each", single(steps=few), GROUP, 200)
    add("per-chip retraining, nearest, BatchNorm re-estimated", single(recalibrated=True), GROUP, 200 * chips)
    add("per-chip retraining, nearest, healthy network as teacher", single(teacher=True), GROUP, 200 * chips)
    add("merged, plain, ramp by step (as TRE-Map)", of(store="plain", entry="by step"), GROUP, 200)
    add("merged, nearest; one image for all", of(), GROUP, 200)
    add("merged, nearest; one image a chip", of(), CHIP, 200)
    for method, what in (
        ("clean", "in a healthy memory"),
        ("random", "under random maps"),
        ("member", "under a random member"),
    ):
        add(f"trained {what}, then nearest; one image a chip", of(method=method), CHIP, 200)
    for name, fields in extra:
        for deployment, what in ((GROUP, "one image for all"), (CHIP, "one image a chip")):
            add(f"{name}; {what}", of(**fields), deployment, str(fields.get("steps", 200)))
    note = f"Clean network: {nominal(of(method='none', steps=0))}. " if of(method="none", steps=0) else ""
    union = [r.run for r in of()]
    if union:
        note += (
            f"Union {100 * statistics.fmean(u['union_rate'] for u in union):.2f} % of the cells, "
            f"{statistics.fmean(u['conflicts'] for u in union):.0f} conflicts. Per-chip retraining: {reference} on "
            f"{len({r.row.chip for r in single()})} chips of each seed."
        )
    heading = (
        "preparation",
        "accuracy on the chips (%)",
        "worst chip",
        "against per chip (points)",
        f"steps for {chips} chips",
    )
    return f"{note}\n\n{markdown(heading, rows)}"


def headline(results: Sequence[Result]) -> str:
    """ResNet-32, K = 5, 6e-3."""
    extra: list[tuple[str, dict[str, object]]] = [
        *READ_BY_MEMBERS,
        ("merged, nearest, 100 steps", {"steps": 100}),
        ("merged, nearest, healthy network as teacher", {"teacher": True}),
    ]
    return fleet_table(results, "resnet32", 5, extra)


def large_group(results: Sequence[Result]) -> str:
    """ResNet-20, K = 20, 6e-3."""
    extra: list[tuple[str, dict[str, object]]] = [
        *READ_BY_MEMBERS,
        ("merged, nearest, majority", {"on_conflict": "majority"}),
        ("merged, nearest, 400 steps", {"steps": 400}),
        (
            "merged, nearest, read by members, teacher, 400 steps",
            {"method": "read by members", "teacher": True, "steps": 400},
        ),
        ("merged, nearest, healthy network as teacher", {"teacher": True}),
    ]
    return fleet_table(results, "resnet20", 20, extra)


def grid(results: Sequence[Result]) -> str:
    """Numbers of chips and rates, ResNet-20."""
    rows = []
    for rate in RATES:
        single = over_seeds(having(results, method="per chip", rate=rate))
        none = over_seeds(having(results, method="none", rate=rate, steps=0), CHIP)
        for chips in (2, 5, 10, 20):
            found = having(results, rate=rate, chips=chips)
            if not found:
                continue
            union, conflicts = (statistics.fmean(r.run[k] for r in found) for k in ("union_rate", "conflicts"))
            cells = (over_seeds(found, GROUP), over_seeds(found, CHIP))
            below = ", ".join(
                f"{100 * (cell.mean - single.mean):+.2f}" if cell.values and single.values else "–" for cell in cells
            )
            fixed = (f"{rate:g}", chips, f"{100 * union:.2f} %", f"{conflicts:.0f}", none, single)
            rows.append((*fixed, *cells, f"{chips}×", below))
    heading = ("rate", "chips", "union", "conflicts", "nearest, no training", "per chip", "merged, one image")
    return markdown((*heading, "merged, image a chip", "fewer steps", "against per chip (points)"), rows)


def collapse(results: Sequence[Result]) -> str:
    """Entries of the faults, plain and nearest, on the union of twenty chips."""
    rows = []
    for entry in ENTRIES:
        cells: list[Mean] = []
        for store in ("plain", "nearest"):
            found = having(results, chips=20, entry=entry, store=store)
            cells += [nominal(found), over_seeds(found, CHIP)]
        rows.append((entry, *cells))
    heading = ("faults enter", "plain, on the union", "plain, chips", "nearest, on the union", "nearest, chips")
    return markdown(heading, rows)


def no_training(results: Sequence[Result]) -> str:
    """Nearest codes alone, 8 and 4 bits; BatchNorm; and what retraining a chip adds."""
    rows = []
    for network, bits in (("resnet20", 8), ("resnet20-4bit", 4)):
        for rate in (1e-3, 6e-3, 2e-2, 4e-2, 1e-1):
            fields = {"network": network, "rate": rate, "steps": 0}
            plain = over_seeds(having(results, method="none", store="plain", **fields), GROUP)
            nearest = having(results, method="none", **fields)
            batchnorm = over_seeds(having(results, method="batchnorm", **fields))
            trained = over_seeds(having(results, method="per chip", network=network, rate=rate))
            rows.append((bits, f"{rate:g}", nominal(nearest), plain, over_seeds(nearest, CHIP), batchnorm, trained))
    heading = ("bits", "rate", "clean", "as is", "nearest", "nearest, BatchNorm re-estimated", "retrained 200 steps")
    return markdown(heading, rows)


def never_seen(results: Sequence[Result]) -> str:
    """Chips outside the group, 2e-2, each with an image of its own."""
    rows = []
    for method, name in NEVER_SEEN.items():
        found = [r for r in results if r.row.method == method and r.row.unseen]
        if found:
            unseen = [a for r in found for a in r.accuracies(CHIP, member=False)]
            share = f"{100 * np.mean(np.array(unseen) >= 0.86):.0f} %"
            rows.append(
                (name, over_seeds(found, CHIP, member=False), f"{100 * min(unseen):.2f}", share, over_seeds(found, CHIP))
            )
    heading = ("preparation", "10 chips never seen", "worst", "yield at 86 %", "5 members")
    return markdown(heading, rows)


def patterns(results: Sequence[Result]) -> str:
    """Uniform against clustered maps, and small memories that are reused."""
    rows = []
    cases: list[tuple[str, dict[str, object]]] = [
        ("uniform", {}),
        ("clustered", {"pattern": "clustered"}),
        ("uniform, memory loaded 4 times", {"reuse": 4}),
        ("uniform, memory loaded 16 times", {"reuse": 16}),
    ]
    for name, fields in cases:
        plain = over_seeds(having(results, method="none", store="plain", steps=0, **fields), GROUP)
        none = over_seeds(having(results, method="none", steps=0, **fields), CHIP)
        single = over_seeds([r for r in having(results, method="per chip", **fields) if r.row.chip < 2])
        found = having(results, **fields)
        rows.append((name, plain, none, single, over_seeds(found, GROUP), over_seeds(found, CHIP)))
    heading = ("faults", "as is", "nearest, no training", "per chip (2 chips)", "merged, one image", "merged, image a chip")
    return markdown(heading, rows)


def baseline_table(baselines: Mapping[str, Mapping[str, float]]) -> str:
    """The networks before any fault."""
    rows = [
        (name, found["steps"], f"{100 * found['float32']:.2f}", f"{100 * found['bfloat16']:.2f}")
        for name, found in baselines.items()
    ]
    return markdown(("network", "steps of quantization-aware training", "float32 (%)", "compiled, bfloat16 (%)"), rows)


def learning_rate(results: Sequence[Result]) -> str:
    """Learning rates, one seed."""
    rows = []
    for lr in (0.005, 0.01, 0.02, 0.04):
        single = [r for r in having(results, method="per chip", lr=lr, seed=0) if r.row.chip < 2]
        found = having(results, lr=lr, seed=0)
        rows.append((lr, over_seeds(single), over_seeds(found, GROUP), over_seeds(found, CHIP)))
    return markdown(("highest learning rate", "per chip (2 chips)", "merged, one image", "merged, image a chip"), rows)


TABLES: dict[str, Callable[[Sequence[Result]], str]] = {
    "headline": headline,
    "large group": large_group,
    "grid": grid,
    "collapse": collapse,
    "no training": no_training,
    "never seen": never_seen,
    "patterns": patterns,
    "learning rate": learning_rate,
    "prediction": prediction_table,
    "grouping": grouping_table,
}
