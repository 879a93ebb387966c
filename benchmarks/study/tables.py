"""Make the tables of docs/study_retraining.md, each from the rows that it needs; what was not run shows as a dash."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from benchmarks.study import methods
from benchmarks.study.grouping import grouping_table
from benchmarks.study.methods import CHIP, GROUP
from benchmarks.study.prediction import prediction_table
from benchmarks.study.results import Figure, Results
from benchmarks.study.rows import RATES
from tremap_brevitas.placement.certificate import Deployment

BOTH = ((GROUP, "one image for all"), (CHIP, "one image a chip"))
NEVER_SEEN = {  # name, steps, and passes of a step
    methods.NONE: ("no training", 0, 1),
    methods.CLEAN: ("trained on in a healthy memory", 200, 1),
    methods.MERGED: ("merged (5 other chips)", 200, 1),
    methods.RANDOM: ("random maps", 200, 1),
    methods.RANDOM_AND_CLEAN: ("random maps, clean and faulty passes (RandBET)", 100, 2),
    methods.MERGED_AND_RANDOM: ("merged and random maps", 200, 1),
}
GOAL = 0.86
READ_BY_MEMBERS: list[tuple[str, dict[str, Any]]] = [
    ("merged, nearest, read by members", {"method": methods.READ_BY_MEMBERS}),
    ("merged, nearest, majority, read by members", {"method": methods.READ_BY_MEMBERS, "on_conflict": "majority"}),
    ("merged, nearest, read by members, healthy network as teacher", {"method": methods.READ_BY_MEMBERS, "teacher": True}),
]


def markdown(heading: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Format a Markdown table; rows of which nothing was run are left out."""
    kept = [row for row in rows if _was_run(row)]
    if not kept:
        return "Not run yet."
    lines = [heading, ["---"] * len(heading), *kept]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def _was_run(row: Sequence[object]) -> bool:
    figures = [cell for cell in row if isinstance(cell, Figure)]
    return not figures or any(figures)


def _worst(figure: Figure) -> str:
    return figure.percent(float(figure.values.min())) if figure else "–"


def fleet_table(results: Results, network: str, chips: int, extra: Sequence[tuple[str, dict[str, Any]]]) -> str:
    """Compare every way of preparing a group, on the chips' own maps, with retraining the very same chips one by one."""
    reference = results.per_chip(network=network)
    rows = []

    def add(name: str, figure: Figure, steps: object) -> None:
        also = reference.on(figure)
        rows.append((name, figure, figure - reference, _worst(figure.on(reference)), _worst(also), steps))

    def single(name: str, steps: object = 200 * chips, **fields: Any) -> None:
        add(f"per-chip retraining, {name}", results.per_chip(network=network, **fields), steps)

    def group(name: str, deployment: Deployment, **fields: Any) -> None:
        steps = fields.get("steps", 200)
        add(name, results.accuracy(deployment, **{"network": network, "chips": chips, **fields}), steps)

    add("written as is, no training", results.untrained(network=network, chips=chips, store="plain"), 0)
    add("nearest codes, no training", results.untrained(network=network, chips=chips), 0)
    batchnorm = results.accuracy(CHIP, network=network, method=methods.BATCHNORM, steps=0)
    add("nearest codes, BatchNorm re-estimated on each chip", batchnorm, 0)
    single("plain (as before TRE-Map)", store="plain")
    single("nearest")
    few = 200 // chips
    add(f"per-chip retraining, nearest, {few} steps each", results.per_chip(network=network, steps=few), 200)
    single("nearest, BatchNorm re-estimated", recalibrated=True)
    single("nearest, healthy network as teacher", teacher=True)
    group("merged, plain, ramp by step (as TRE-Map)", GROUP, store="plain", entry=methods.BY_STEP)
    for deployment, what in BOTH:
        group(f"merged, nearest; {what}", deployment)
    for method, where in (
        (methods.CLEAN, "in a healthy memory"),
        (methods.RANDOM, "under random maps"),
        (methods.MEMBER, "under a random member"),
    ):
        group(f"trained {where}, then nearest; one image a chip", CHIP, method=method)
    for name, fields in extra:
        for deployment, what in BOTH:
            group(f"{name}; {what}", deployment, **fields)
    heading = (
        "preparation",
        "accuracy on the chips (%)",
        "against per chip (points)",
        "worst of the chips compared",
        "the same chips, per chip",
        f"steps for {chips} chips",
    )
    runs = results.runs_with(network=network, chips=chips)
    note = (
        f"Clean network: {results.nominal(network=network, chips=chips, method=methods.NONE, steps=0)}. " if len(runs) else ""
    )
    if len(runs):
        note += f"Union {100 * runs.union_rate.mean():.2f} % of the cells, {runs.conflicts.mean():.0f} conflicts. "
    return f"{note}Per-chip retraining: {reference}.\n\n{markdown(heading, rows)}"


def headline(results: Results) -> str:
    """Compare the methods on ResNet-32, K = 5, 6e-3."""
    extra: list[tuple[str, dict[str, Any]]] = [
        *READ_BY_MEMBERS,
        ("merged, nearest, BatchNorm re-estimated", {"recalibrated": True}),
        ("merged, nearest, 100 steps", {"steps": 100}),
        ("merged, nearest, healthy network as teacher", {"teacher": True}),
    ]
    return fleet_table(results, "resnet32", 5, extra)


def large_group(results: Results) -> str:
    """Compare the methods on ResNet-20, K = 20, 6e-3."""
    extra: list[tuple[str, dict[str, Any]]] = [
        *READ_BY_MEMBERS,
        ("merged, nearest, majority", {"on_conflict": "majority"}),
        ("merged, nearest, BatchNorm re-estimated", {"recalibrated": True}),
        (
            "trained under a random member, then nearest, BatchNorm re-estimated",
            {"method": methods.MEMBER, "recalibrated": True},
        ),
        ("merged, nearest, 400 steps", {"steps": 400}),
        (
            "merged, nearest, read by members, teacher, 400 steps",
            {"method": methods.READ_BY_MEMBERS, "teacher": True, "steps": 400},
        ),
        ("merged, nearest, healthy network as teacher", {"teacher": True}),
    ]
    return fleet_table(results, "resnet20", 20, extra)


def grid(results: Results) -> str:
    """Compare numbers of chips and fault rates, ResNet-20."""
    rows = []
    for rate in RATES:
        single, none = results.per_chip(rate=rate), results.untrained(rate=rate)
        for chips in (2, 5, 10, 20):
            runs = results.runs_with(rate=rate, chips=chips)
            if not len(runs):
                continue
            fixed = (f"{rate:g}", chips, f"{100 * runs.union_rate.mean():.2f} %", f"{runs.conflicts.mean():.0f}", none, single)
            figures = [results.accuracy(deployment, rate=rate, chips=chips) for deployment in (GROUP, CHIP)]
            rows.append((*fixed, *figures, f"{chips}×", *(figure - single for figure in figures)))
    heading = ("rate", "chips", "union", "conflicts", "nearest, no training", "per chip", "merged, one image")
    compared = ("one image against per chip (points)", "image a chip against per chip")
    return markdown((*heading, "merged, image a chip", "fewer steps", *compared), rows)


def collapse(results: Results) -> str:
    """Compare the strategies by which faults enter, plain and nearest, on the union of twenty chips."""
    rows = []
    for entry in methods.ENTRIES:
        cells: list[Figure] = []
        for store in ("plain", "nearest"):
            fields: dict[str, Any] = {"chips": 20, "entry": entry, "store": store}
            cells += [results.nominal(**fields), results.accuracy(CHIP, **fields)]
        rows.append((entry, *cells))
    heading = ("faults enter", "plain, on the union", "plain, chips", "nearest, on the union", "nearest, chips")
    return markdown(heading, rows)


def no_training(results: Results) -> str:
    """Compare nearest codes alone, 8 and 4 bits, with BatchNorm statistics and with retraining a chip."""
    rows = []
    for network, bits in (("resnet20", 8), ("resnet20-4bit", 4)):
        for rate in (1e-3, 6e-3, 2e-2, 4e-2, 1e-1):
            fields: dict[str, Any] = {"network": network, "rate": rate}
            clean = results.nominal(method=methods.NONE, steps=0, **fields)
            batchnorm = results.accuracy(CHIP, method=methods.BATCHNORM, steps=0, **fields)
            trained = results.per_chip(**fields)
            untrained = results.untrained(store="plain", **fields), results.untrained(**fields)
            rows.append((bits, f"{rate:g}", clean, *untrained, batchnorm, trained, trained - batchnorm))
    heading = ("bits", "rate", "clean", "as is", "nearest", "nearest, BatchNorm re-estimated", "retrained 200 steps")
    return markdown((*heading, "retraining against BatchNorm (points)"), rows)


def never_seen(results: Results) -> str:
    """Compare methods on chips outside the group, 2e-2, each with an image of its own."""
    rows = []
    for method, (name, steps, passes) in NEVER_SEEN.items():
        fields: dict[str, Any] = {"method": method, "steps": steps, "rate": 2e-2, "unseen": 10}
        unseen = results.accuracy(CHIP, member=False, **fields)
        good = f"{100 * (unseen.values >= GOAL).mean():.0f} %"
        rows.append((name, steps * passes, unseen, _worst(unseen), good, results.accuracy(CHIP, **fields)))
    return markdown(("preparation", "passes", "chips never seen", "worst", f"yield at {100 * GOAL:.0f} %", "members"), rows)


def patterns(results: Results) -> str:
    """Compare uniform with clustered maps, and small memories that are reused."""
    rows = []
    cases: list[tuple[str, dict[str, Any]]] = [
        ("uniform", {}),
        ("clustered", {"pattern": "clustered"}),
        ("uniform, memory loaded 4 times", {"reuse": 4}),
        ("uniform, memory loaded 16 times", {"reuse": 16}),
    ]
    for name, fields in cases:
        untrained = results.untrained(store="plain", **fields), results.untrained(**fields)
        single = results.per_chip(**fields)
        merged = [results.accuracy(deployment, **fields) for deployment in (GROUP, CHIP)]
        rows.append((name, *untrained, single, *merged, *(figure - single for figure in merged)))
    heading = ("faults", "as is", "nearest, no training", "per chip", "merged, one image", "merged, image a chip")
    return markdown((*heading, "one image against per chip (points)", "image a chip against per chip"), rows)


def baselines(results: Results) -> str:
    """Show the networks before any fault."""
    rows = [
        (network["network"], network["steps"], f"{100 * network['float32']:.2f}", f"{100 * network['bfloat16']:.2f}")
        for network in results.baselines.to_dict("records")
    ]
    return markdown(("network", "steps of quantization-aware training", "float32 (%)", "compiled, bfloat16 (%)"), rows)


def learning_rate(results: Results) -> str:
    """Compare learning rates, with one seed."""
    rows = []
    for lr in (0.005, 0.01, 0.02, 0.04):
        merged = [results.accuracy(deployment, lr=lr, seed=0) for deployment in (GROUP, CHIP)]
        rows.append((lr, results.per_chip(lr=lr, seed=0).on(results.per_chip(lr=0.01, seed=0)), *merged))
    return markdown(("highest learning rate", "per chip", "merged, one image", "merged, image a chip"), rows)


TABLES: dict[str, Callable[[Results], str]] = {
    "baselines": baselines,
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
