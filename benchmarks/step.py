"""Time a whole training step and an evaluation of ResNet-20, eager and compiled; interleaved medians in one run.

    python -m benchmarks.step

Prints Markdown tables. "plain Brevitas" is the same network without the plugin, given the same means.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from networks import ResNet
from torch import Tensor, nn

import tremap_brevitas as tm
from benchmarks.measure import interleaved, machine

BATCH = 128
TESTED = 500


def network(*, faults: bool) -> nn.Module:
    """Return ResNet-20 whose activation scales are measured, with faults at 6e-3 and nearest codes, or plain Brevitas."""
    torch.manual_seed(0)
    model: Any = ResNet(20)
    model(torch.randn(32, 3, 32, 32))
    model.load_state_dict(model.state_dict())
    if faults:
        memory = tm.Memory(words=67_200, word_bits=32)
        (chip,) = tm.random_fault_maps(memory, chips=1, fault_rate=6e-3, seed=0)
        tm.place(tm.make_faulty(model), memory).set_faults_(chip)
    channels_last: nn.Module = model.to(memory_format=torch.channels_last)
    return channels_last


def variants(*, training: bool) -> dict[str, Callable[[], object]]:
    """Return the networks, each with a function that takes one step, or answers for one batch."""
    timed: dict[str, Callable[[], object]] = {}
    for name, faults in (("plain Brevitas", False), ("faults, nearest", True)):
        for how, fast, half in (("", False, False), (", compiled", True, False), (", compiled, bfloat16", True, True)):
            model = network(faults=faults).train(training)
            run: Callable[[Tensor], Tensor] = tm.compiled(model, bfloat16=half) if fast else model
            optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9)
            timed[name + how] = partial(_step if training else _answer, run, optimizer)
    return timed


def _step(run: Callable[[Tensor], Tensor], optimizer: torch.optim.Optimizer) -> None:
    images = torch.randn(BATCH, 3, 32, 32).contiguous(memory_format=torch.channels_last)
    loss = nn.functional.cross_entropy(run(images), torch.arange(BATCH) % 10)
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


@torch.no_grad()
def _answer(run: Callable[[Tensor], Tensor], _: torch.optim.Optimizer) -> Tensor:
    return run(torch.randn(TESTED, 3, 32, 32).contiguous(memory_format=torch.channels_last))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15, help="rounds measured (default %(default)s)")
    options = parser.parse_args()
    print(f"{machine()}\n")
    for title, training in ((f"training step, batch {BATCH}", True), (f"evaluation of {TESTED} images", False)):
        begin = time.perf_counter()
        times = interleaved(variants(training=training), options.rounds)
        print(f"| ResNet-20, {title} | median ms | times the first |\n| --- | --- | --- |")
        first = next(iter(times.values()))
        for name, rounds in times.items():
            ratio = statistics.median(a / b for a, b in zip(rounds, first, strict=True))
            print(f"| {name} | {statistics.median(rounds):.1f} | {ratio:.2f} |")
        print(f"\n{time.perf_counter() - begin:.0f} s in all, compiling included.\n", flush=True)


if __name__ == "__main__":
    main()
