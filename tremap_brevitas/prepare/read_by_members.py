"""Retrain for a group whose members read conflicting cells differently."""

from __future__ import annotations

from collections.abc import Iterator
from operator import index
from typing import Any

import numpy as np

from tremap_brevitas.faults import FaultMap, MergedFaultMap
from tremap_brevitas.placed.faults import locate_stuck_bits
from tremap_brevitas.placed.live import Live
from tremap_brevitas.placed.placed_model import PlacedModel
from tremap_brevitas.placed.rule import Rule
from tremap_brevitas.prepare.strategies import Drawn
from tremap_brevitas.prepare.strategy import check_net, check_state
from tremap_brevitas.proxy.image_reads import ImageReads


class ReadByMembers(Drawn):
    """Trains the group's single image, read at each step as one of the group's members reads it.

    Under a merged map alone, training never sees a conflict: a cell that no image can satisfy on all members. The chips then
    misread those weights. Here every code is stored as for the group, and then read by a member drawn at random, with the
    member's own stuck value at each conflict. The network learns to work with the codes that each member reads.

    With ``members_a_step`` above 1 a step averages the gradients of that many members, all different. Loop over ``passes()``
    between ``zero_grad`` and ``step``, and give each pass a part of the batch.

    Set the merged map when the training is over: under it the network has the codes of the image that is deployed.
    ``memory_image``, and with it evaluation and export, refuse a network that still reads as a member does.

    Args:
        net: The placed model to train; codes of 8 bits at most.
        merged: The group, with any rule for conflicts; ``"free"`` stores the trained bit.
        seed: Seed of the draws.
        members_a_step: Passes of a step, each as another member reads the image; at most the number of members.
        rule: How codes are stored; None for the rule that the model was placed with.

    Raises:
        TypeError: If ``merged`` is a single chip's map.
        ValueError: If the map is of another memory, a layer has codes of more than 8 bits, or ``members_a_step`` is out of
            range.

    Examples:
        >>> from brevitas.nn import QuantLinear
        >>> import tremap_brevitas as tm
        >>> fc, memory = tm.make_faulty(QuantLinear(4, 4, bias=False)), tm.Memory(words=4, word_bits=32)
        >>> net = tm.place(fc, memory)
        >>> merged = tm.merge(tm.random_fault_maps(memory, chips=3, fault_rate=0.3, seed=0), on_conflict="free")
        >>> strategy = tm.ReadByMembers(net, merged, seed=0)
        >>> for _ in range(3):  # … a training step each
        ...     print(strategy.member.chip)
        ...     strategy.step()
        chip-2
        chip-1
        chip-2
        >>> strategy = tm.ReadByMembers(net, merged, seed=0, members_a_step=2)
        >>> images = fc.weight.new_ones(8, 4)
        >>> for share, part in zip(strategy.passes(), images.chunk(2)):
        ...     (share * fc(part).square().mean()).backward()
        ...     print(strategy.member.chip)
        chip-2
        chip-0
        >>> net.set_faults_(merged)
    """

    def __init__(
        self,
        net: PlacedModel,
        merged: MergedFaultMap,
        *,
        seed: int,
        members_a_step: int = 1,
        rule: Rule | None = None,
    ) -> None:
        if not isinstance(merged, MergedFaultMap):
            raise TypeError(f"merged must be a MergedFaultMap, whose members read the image, got {merged!r}; see tm.merge")
        self._fault_map, self.members_a_step = merged, index(members_a_step)
        count = len(merged.members)
        if not 1 <= self.members_a_step <= count:
            raise ValueError(f"members_a_step must be 1 to {count}, the number of members, got {members_a_step}")
        self._pass = 0
        placement, rule = check_net(net).placement, net.rule_or_default(rule)
        members = ((member.chip, locate_stuck_bits(placement, member)) for member in merged.members)
        self._reads = ImageReads(locate_stuck_bits(placement, merged), members, store=rule.store, gradient=rule.gradient)
        super().__init__(net, merged.members, seed, rule, fault_map=merged)
        if self.members_a_step > 1:
            self._identity["members a step"] = self.members_a_step

    @property
    def fault_map(self) -> MergedFaultMap:
        """The group's merged map, under which every code is stored."""
        return self._fault_map

    @property
    def member(self) -> FaultMap:
        """The chip that reads the image at the next step; during a step of several, that of the present pass."""
        return self.fault_map.members[self._number()]

    def passes(self) -> Iterator[float]:
        """Return a pass of the same weight for each member drawn for the step, which reads the image meanwhile."""
        for number in range(self.members_a_step):
            if self.members_a_step > 1:
                self._pass = number
                self._set()
            yield 1 / self.members_a_step

    def step(self, loss: float | None = None) -> None:
        """Draw the members of the next step.

        Raises:
            RuntimeError: If not all passes of this step were made.
        """
        if self._pass != self.members_a_step - 1:
            raise RuntimeError(
                f"a step has a pass for each of {self.members_a_step} members, but not all were made: loop over "
                f"strategy.passes()"
            )
        self._pass = 0
        super().step(loss)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Resume from a saved state; see [Strategy][tremap_brevitas.Strategy]."""
        check_state(state, self._identity)
        self._pass = 0
        super().load_state_dict(state)

    def _number(self) -> int:
        count = len(self._fault_map.members)
        if self.members_a_step == 1:
            return self._drawn(count)
        return int(np.random.default_rng([self.seed, self.steps]).permutation(count)[self._pass])

    def _set(self) -> None:
        live = Live(self.net.placement, self.rule, lambda: self._fault_map, read_by=self.member.chip)
        self.net.apply_(self._reads.faults_of(self._number()), live, slots=self._slots())
