"""The study's methods: each is one registered function, which prepares the network of a row.

To add one, write a function under ``@method(NAME, scope)`` and rows that name it in ``rows.py``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import tremap_brevitas as tm
from benchmarks.study.maps import fault_maps
from benchmarks.study.schedules import LsbFirst, OnRecovery
from tremap_brevitas.placement.certificate import Deployment

if TYPE_CHECKING:
    from benchmarks.study.rows import Row
    from benchmarks.study.workbench import Workbench

NONE, BATCHNORM, CLEAN = "none", "batchnorm", "clean"
PER_CHIP, MERGED, READ_BY_MEMBERS = "per chip", "merged", "read by members"
RANDOM, RANDOM_AND_CLEAN, MERGED_AND_RANDOM, MEMBER = "random", "random, clean too", "merged + random", "member"
AT_ONCE, BY_STEP, BY_CHIP, LSB_FIRST, ON_RECOVERY = "all at once", "by step", "by chip", "lsb first", "on recovery"
GROUP: Deployment = "group_image"
CHIP: Deployment = "chip_image"

Scope = Literal["one chip", "group", "network"]


@dataclass(frozen=True)
class Task:
    """What a method is given.

    Args:
        row: The row.
        bench: Network, data and training.
        net: The network, placed in the row's memory; no faults, as it was trained.
        fault_map: What it is prepared for: a chip's map, or the group's merged one.
        members: Maps of the group.
    """

    row: Row
    bench: Workbench
    net: tm.PlacedModel
    fault_map: tm.FaultMap
    members: tuple[tm.FaultMap, ...]

    def train(self, strategy: tm.Strategy) -> float:
        """Train as the row says; returns seconds."""
        if not self.row.steps:
            return 0.0
        row = self.row
        return self.bench.train(
            steps=row.steps, lr=row.lr, seed=row.seed, strategy=strategy, title=row.name, teacher=row.teacher
        )

    def draw(self, seed: int) -> tm.FaultMap:
        """A map as the row's chips have them, of no chip."""
        return fault_maps(self.row, self.net.placement.memory, 1, seed=seed)[0]


Prepare = Callable[[Task], float]


@dataclass(frozen=True)
class Method:
    """A way of preparing a network.

    Args:
        name: As rows have it.
        scope: For whom the function prepares the network. ``"one chip"``: for the row's chip, on which alone it is evaluated.
            ``"group"``: once for all chips, under the merged map; they get one image, or an image each. ``"network"``: once,
            without regard to a chip; each gets the codes that it can hold.
        prepare: The function; returns seconds of training.
    """

    name: str
    scope: Scope
    prepare: Prepare

    def deployments(self, store: str) -> tuple[Deployment, ...]:
        """How the result is written to the chips."""
        if self.scope == "group":
            return (GROUP, CHIP)
        return (CHIP,) if self.scope == "network" and store == "nearest" else (GROUP,)


METHODS: dict[str, Method] = {}
Entry = Callable[[Task], tm.Strategy]
ENTRIES: dict[str, Entry] = {}  # ways in which faults enter


def method(name: str, scope: Scope) -> Callable[[Prepare], Prepare]:
    """Register a function as a method of the study; see [Method][benchmarks.study.methods.Method]."""

    def register(prepare: Prepare) -> Prepare:
        if name in METHODS:
            raise ValueError(f"there is a method {name!r} already: {METHODS[name].prepare.__name__}")
        METHODS[name] = Method(name, scope, prepare)
        return prepare

    return register


def entry(name: str) -> Callable[[Entry], Entry]:
    """Register a function that makes the strategy by which a map's faults enter."""

    def register(make: Entry) -> Entry:
        if name in ENTRIES:
            raise ValueError(f"there is an entry {name!r} already: {ENTRIES[name].__name__}")
        ENTRIES[name] = make
        return make

    return register


@entry(AT_ONCE)
def at_once(task: Task) -> tm.Strategy:
    return tm.AllAtOnce(task.net, task.fault_map)


@entry(BY_STEP)
def by_step(task: Task) -> tm.Strategy:
    return tm.Ramp(task.net, task.fault_map, over_steps=task.row.steps // 2, seed=task.row.seed)


@entry(BY_CHIP)
def by_chip(task: Task) -> tm.Strategy:
    return tm.Ramp(task.net, task.fault_map, over_steps=task.row.steps // 2, order="by_chip", seed=task.row.seed)


@entry(LSB_FIRST)
def lsb_first(task: Task) -> tm.Strategy:
    return LsbFirst(task.net, task.fault_map, over_steps=task.row.steps // 2, seed=task.row.seed)


@entry(ON_RECOVERY)
def on_recovery(task: Task) -> tm.Strategy:
    window, patience = task.row.steps // 20, task.row.steps // 10
    return OnRecovery(task.net, task.fault_map, stages=5, window=window, patience=patience, seed=task.row.seed)


@method(NONE, "network")
def none(task: Task) -> float:
    """Nothing is done."""
    return 0.0


@method(BATCHNORM, "network")
def batchnorm(task: Task) -> float:
    """Nothing is done before the evaluation, which measures the BatchNorm statistics of each chip."""
    return 0.0


@method(CLEAN, "network")
def clean(task: Task) -> float:
    """Train as long, in a healthy memory."""
    healthy = tm.FaultMap(task.net.placement.memory, [], [], chip="healthy")  # type: ignore[arg-type]
    return task.train(tm.AllAtOnce(task.net, healthy))


@method(PER_CHIP, "one chip")
@method(MERGED, "group")
def retrain(task: Task) -> float:
    """Train under one map."""
    return task.train(ENTRIES[task.row.entry](task))


@method(READ_BY_MEMBERS, "group")
def read_by_members(task: Task) -> float:
    """Train under what another member reads at every step."""
    assert isinstance(task.fault_map, tm.MergedFaultMap)
    return task.train(tm.ReadByMembers(task.net, task.fault_map, seed=task.row.seed))


@method(MEMBER, "network")
def member(task: Task) -> float:
    """Train under another chip of the group at every step."""
    return task.train(tm.prepare.RandomMember(task.net, task.members, seed=task.row.seed))


@method(RANDOM, "network")
def random(task: Task) -> float:
    """Train under a new random map at every step."""
    return task.train(tm.prepare.RandomMaps(task.net, task.draw, seed=task.row.seed))


@method(RANDOM_AND_CLEAN, "network")
def random_and_clean(task: Task) -> float:
    """Train with RandBET's mean of two gradients."""
    return task.train(tm.prepare.CleanAndFaulty(tm.prepare.RandomMaps(task.net, task.draw, seed=task.row.seed)))


@method(MERGED_AND_RANDOM, "group")
def merged_and_random(task: Task) -> float:
    """Train under the merged map and a new random one at every step."""
    return task.train(tm.prepare.RandomMaps(task.net, task.draw, seed=task.row.seed, known=task.fault_map))
