"""What is run: one case is one preparation of one chip, or of one group of chips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

EVALUATED = 4  # of a larger group, the first chips are evaluated
SEEDS = (0, 1, 2)
RATES = (6e-3, 1e-3, 2e-2, 1e-4, 2e-1, 1e-5, 1e-1, 4e-2, 1e-6)  # the ones that matter most first
GROUP_RATES = (6e-3, 1e-3, 2e-2)
GROUPS = (5, 20, 10, 2)
SILENCED_RATES = (2e-2, 6e-3, 1e-3, 4e-2, 1e-1)
OTHERS_RATES = (2e-2, 4e-2, 1e-1)  # of methods that others have published

UNIFORM = "uniform"

AS_THEY_LIE = "as they lie"
NEAREST = "nearest"
SILENCED = "nearest, channels of zeros silenced"
SIGNS = "nearest, sign of each channel"
BATCHNORM = "nearest, BatchNorm measured anew"
ORDER = "order"
SILENCED_ORDER = "order, channels of zeros silenced"
ORDER_COMPENSATED = "order, then compensated"
SHARED = "compensated, moments shared by all chips"
COMPENSATED = "compensated"
PLAINLY = "compensated, no factors or signs"
GPTQ = "GPTQ, BatchNorm measured anew"
QRONOS = "Qronos, BatchNorm measured anew"
RETRAINED = "200 steps"
BOTH = "compensated, then 200 steps"
LARGE_STEPS = "order, compensated, then 200 steps of 512 images"
FIRST = (COMPENSATED, NEAREST, AS_THEY_LIE, ORDER)


@dataclass(frozen=True)
class Cost:
    """What one preparation takes, beside time.

    Args:
        steps: Optimizer steps.
        images: Images without labels.
        labels: Images with labels.
    """

    steps: int = 0
    images: int = 0
    labels: int = 0


IMAGES = 512  # unlabelled, of the training images
STEPS = 200
LARGE_BATCH = 512
_TRAINING = {"steps": STEPS, "labels": STEPS * 128}
COSTS = {  # in the order of the tables; two inputs show which channels belong together
    AS_THEY_LIE: Cost(),
    NEAREST: Cost(),
    SIGNS: Cost(),
    SILENCED: Cost(images=1),
    ORDER: Cost(images=2),
    SILENCED_ORDER: Cost(images=2),
    BATCHNORM: Cost(images=IMAGES),
    GPTQ: Cost(images=IMAGES),
    QRONOS: Cost(images=IMAGES),
    PLAINLY: Cost(images=IMAGES),
    SHARED: Cost(images=IMAGES),
    COMPENSATED: Cost(images=IMAGES),
    ORDER_COMPENSATED: Cost(images=IMAGES),
    RETRAINED: Cost(**_TRAINING),
    BOTH: Cost(images=IMAGES, **_TRAINING),
    LARGE_STEPS: Cost(images=IMAGES, steps=STEPS, labels=STEPS * LARGE_BATCH),
}


@dataclass(frozen=True)
class Case:
    """One preparation.

    Args:
        network: Network of the study.
        rate: Fault rate of each chip.
        preparation: One of ``COSTS``.
        seed: Seed of maps, images and batches.
        chips: Chips in the group.
        chip: The chip that is prepared alone; None: the group is, all together.
        map: Kind of the chips' maps: ``UNIFORM``, or one of ``elsewhere.MAPS`` or ``elsewhere.BOARDS``.
    """

    network: str
    rate: float
    preparation: str
    seed: int
    chips: int = 1
    chip: int | None = 0
    map: str = UNIFORM

    @property
    def name(self) -> str:
        """Its name in the run folder, where old records know uniform maps alone."""
        return ", ".join(f"{key}={value}" for key, value in asdict(self).items() if (key, value) != ("map", UNIFORM))

    @property
    def cost(self) -> Cost:
        """What it takes."""
        return COSTS[self.preparation]


def cases(networks: Sequence[str]) -> Iterator[Case]:
    """All cases, the ones that matter most first; those that retrain last."""
    every = [case for network in networks for case in (_headline(network) if network == "resnet32" else _of(network))]
    yield from sorted(dict.fromkeys(every), key=lambda case: case.cost.steps > 0)


def _headline(network: str) -> Iterator[Case]:
    """The original paper's case: five chips at 6e-3."""
    yield from (Case(network, 6e-3, name, seed, 5, None) for name in (COMPENSATED, NEAREST) for seed in SEEDS)
    yield from (Case(network, 6e-3, name, seed) for name in (COMPENSATED, NEAREST, AS_THEY_LIE) for seed in SEEDS)
    for seed in SEEDS:
        yield Case(network, 6e-3, BOTH, seed, 5, None)
        yield from (Case(network, 6e-3, RETRAINED, seed, 5, chip) for chip in range(EVALUATED))


def _of(network: str) -> Iterator[Case]:
    narrow = network.endswith("4bit")  # of its groups two sizes at one rate, none retrained; and no GPTQ and Qronos
    yield from _alone(network, RATES, FIRST)
    yield from _groups(network, COMPENSATED, GROUPS[:2] if narrow else GROUPS, GROUP_RATES[:1] if narrow else GROUP_RATES)
    yield from _alone(network, RATES, (BATCHNORM, SIGNS, ORDER_COMPENSATED))
    yield from _alone(network, SILENCED_RATES, (SILENCED, SILENCED_ORDER))
    yield from (Case(network, rate, name, seed) for name in (SHARED, PLAINLY) for rate in OTHERS_RATES for seed in SEEDS)
    for seed in SEEDS:
        yield from (Case(network, rate, RETRAINED, seed) for rate in (2e-1, 1e-1, 2e-2, 4e-2, 6e-3))
        yield from (Case(network, rate, BOTH, seed) for rate in (2e-1, 1e-1, 4e-2))  # below, compensation alone loses nothing
    if not narrow:
        yield from (Case(network, rate, name, seed) for seed in SEEDS for name in (GPTQ, QRONOS) for rate in OTHERS_RATES)
        yield from _groups(network, NEAREST, GROUPS, GROUP_RATES)
        for seed in SEEDS:
            yield from (Case(network, 6e-3, name, seed, 20, None) for name in (ORDER_COMPENSATED, BOTH, LARGE_STEPS))
            yield from (Case(network, 6e-3, COMPENSATED, seed, 20, chip) for chip in range(EVALUATED))
            yield from (Case(network, 6e-3, RETRAINED, seed, 20, chip) for chip in range(1, EVALUATED))


def _alone(network: str, rates: Sequence[float], names: Sequence[str]) -> Iterator[Case]:
    """One chip of each seed; as they lie, chips answer at random from the highest of the groups' rates on."""
    for rate in rates:
        some = [name for name in names if name != AS_THEY_LIE or rate <= max(GROUP_RATES)]
        yield from (Case(network, rate, name, seed) for name in some for seed in SEEDS)


def _groups(network: str, name: str, sizes: Sequence[int], rates: Sequence[float]) -> Iterator[Case]:
    """Groups that share one image."""
    for chips in sizes:
        yield from (Case(network, rate, name, seed, chips, None) for rate in rates for seed in SEEDS)
