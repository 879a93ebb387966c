"""Retrain for a group whose members read conflicting cells differently."""

from __future__ import annotations

from tremap_brevitas.faults import FaultMap, MergedFaultMap
from tremap_brevitas.placed.faults import locate_stuck_bits
from tremap_brevitas.placed.live import Live
from tremap_brevitas.placed.placed_model import PlacedModel
from tremap_brevitas.placed.rule import Rule
from tremap_brevitas.prepare.strategies import Drawn
from tremap_brevitas.prepare.strategy import check_net
from tremap_brevitas.proxy.image_reads import ImageReads


class ReadByMembers(Drawn):
    """Trains the group's single image, read at each step as one of the group's members reads it.

    Under a merged map alone, training never sees a conflict: a cell that no image can satisfy on all members. The chips then
    misread those weights. Here every code is stored as for the group, and then read by a member drawn at random, with the
    member's own stuck value at each conflict. The network learns to work with the codes that each member reads.

    Set the merged map when the training is over: under it the network has the codes of the image that is deployed.
    ``memory_image``, and with it evaluation and export, refuse a network that still reads as a member does.

    Args:
        net: The placed model to train; codes of 8 bits at most.
        merged: The group, with any rule for conflicts; ``"free"`` stores the trained bit.
        seed: Seed of the draws.
        rule: How codes are stored; None for the rule that the model was placed with.

    Raises:
        TypeError: If ``merged`` is a single chip's map.
        ValueError: If the map is of another memory, or a layer has codes of more than 8 bits.

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
        >>> net.set_faults_(merged)
    """

    def __init__(
        self,
        net: PlacedModel,
        merged: MergedFaultMap,
        *,
        seed: int,
        rule: Rule | None = None,
    ) -> None:
        if not isinstance(merged, MergedFaultMap):
            raise TypeError(f"merged must be a MergedFaultMap, whose members read the image, got {merged!r}; see tm.merge")
        self._fault_map = merged
        placement, rule = check_net(net).placement, net.rule_or_default(rule)
        members = ((member.chip, locate_stuck_bits(placement, member)) for member in merged.members)
        self._reads = ImageReads(locate_stuck_bits(placement, merged), members, store=rule.store, gradient=rule.gradient)
        super().__init__(net, merged.members, seed, rule, fault_map=merged)

    @property
    def fault_map(self) -> MergedFaultMap:
        """The group's merged map, under which every code is stored."""
        return self._fault_map

    @property
    def member(self) -> FaultMap:
        """The chip that reads the image at the next step."""
        return self.fault_map.members[self._drawn(len(self.fault_map.members))]

    def _set(self) -> None:
        live = Live(self.net.placement, self.rule, lambda: self._fault_map, read_by=self.member.chip)
        self.net.apply_(self._reads.faults_of(self._drawn(len(self._reads))), live, slots=self._slots())
