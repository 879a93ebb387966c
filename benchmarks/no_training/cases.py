"""What is run: one case is one preparation of one chip, or of one group of chips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

EVALUATED = 4  # of a larger group, the first chips are evaluated
SEEDS = (0, 1, 2)
COMPENSATED = "compensated"
PLAINLY = "compensated, no factors or signs"
NEAREST = "nearest"
SIGNS = "nearest, sign of each channel"
BATCHNORM = "nearest, BatchNorm measured anew"
GPTQ = "GPTQ, BatchNorm measured anew"
QRONOS = "Qronos, BatchNorm measured anew"
RETRAINED = "200 steps"
BOTH = "compensated, then 200 steps"


@dataclass(frozen=True)
class Case:
    """One preparation.

    Args:
        network: Network of the study.
        rate: Fault rate of each chip.
        preparation: One of ``preparations.PREPARATIONS``.
        seed: Seed of maps, images and batches.
        chips: Chips in the group.
        chip: The chip that is prepared alone; None: the group is, all together.
    """

    network: str
    rate: float
    preparation: str
    seed: int
    chips: int = 1
    chip: int | None = 0

    @property
    def name(self) -> str:
        """Its name in the run folder."""
        return ", ".join(f"{key}={value}" for key, value in asdict(self).items())


def cases(networks: Sequence[str]) -> Iterator[Case]:
    """All cases, the ones that matter most first."""
    for network in networks:
        rates = (2e-2, 4e-2, 1e-1) if network == "resnet20" else (4e-2, 1e-1)
        if network != "resnet32":
            for name in (COMPENSATED, NEAREST, PLAINLY):
                yield from (Case(network, rate, name, seed) for rate in rates for seed in SEEDS)
            yield from (Case(network, rate, RETRAINED, seed) for seed in SEEDS for rate in rates)
        if network != "resnet20-4bit":
            chips = 5 if network == "resnet32" else 20
            yield from (Case(network, 6e-3, name, seed, chips, None) for name in (COMPENSATED, NEAREST) for seed in SEEDS)
            yield from (Case(network, 6e-3, RETRAINED, 0, chips, chip) for chip in range(EVALUATED))
        if network == "resnet20":
            for name in (SIGNS, BATCHNORM):
                yield from (Case(network, rate, name, seed) for rate in rates for seed in SEEDS)
            yield from (Case(network, rate, name, 0) for name in (GPTQ, QRONOS, BOTH) for rate in rates)
            yield Case(network, 6e-3, BOTH, 0, 20, None)
