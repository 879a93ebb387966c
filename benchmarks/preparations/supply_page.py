"""Supply voltage and energy, for docs/study.md: two memories whose rates are published, the command's answer, and a picture."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

from click.testing import CliRunner
from tabulate import tabulate

from benchmarks.preparations.pictures import DRAWN, WITHIN
from tremap_brevitas.cli import main
from tremap_brevitas.drawing import new_figure, save_figure
from tremap_brevitas.planning.advice import Option
from tremap_brevitas.planning.supply import SupplyAdvice, SupplyPoint, advise_supply

# Bit error rates of a 65-nm SRAM: 0.23 % at 0.55 V and 1.56 % at 0.5 V, nominal 1 V (X. Sun et al., IEEE Transactions on VLSI
# Systems 25(10), 2017). A cell that is stuck at random errs for half of what is stored: twice as many are taken as stuck.
SRAM = {1.0: 0.0, 0.55: 2 * 0.0023, 0.5: 2 * 0.0156}
# Faults counted in the 1,030 block RAMs of 36 Kbit of a VC707 board, nominal 1 V (B. Salami et al., MICRO 2018, and the
# repository of its data, which has the counts): 0.54 V is the last voltage at which the board works.
VC707_CELLS = 1030 * 36 * 1024
VC707 = {1.0: 0, 0.6: 4, 0.59: 24, 0.58: 146, 0.57: 772, 0.56: 2732, 0.55: 7520, 0.54: 23706}
MEMORIES = {
    "65-nm SRAM": SRAM,
    "block RAMs of a VC707 board": {voltage: count / VC707_CELLS for voltage, count in VC707.items()},
}
BITS, CHIPS = 8, 1000
COMMAND = ("advise", "--voltages", "sram.csv", "--bits", f"{BITS}", "--chips", f"{CHIPS}")


def texts() -> dict[str, str]:
    """What stands between the markers, by name."""
    return {"supply": said(), "supply lowest": lowest()}


def table_of(memory: dict[float, float]) -> str:
    """The file that ``--voltages`` takes."""
    return "\n".join(["voltage,rate", *(f"{voltage:g},{rate:.3g}" for voltage, rate in memory.items())]) + "\n"


def said() -> str:
    """The command, and what it prints."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "sram.csv"
        file.write_text(table_of(SRAM), encoding="utf-8")
        printed = CliRunner().invoke(
            main, [str(file) if word == file.name else word for word in COMMAND], catch_exceptions=False
        )
    block = f"cat > sram.csv <<'END'\n{table_of(SRAM)}END\ntremap {' '.join(COMMAND)}"
    return f"```bash\n{block}\n```\n\n```text\n{printed.stdout.strip()}\n```"


def advice_of(memory: dict[float, float]) -> SupplyAdvice:
    """What the rows say of a memory; energy goes with the square of the voltage."""
    top = max(memory)
    points = [SupplyPoint(voltage, rate, (voltage / top) ** 2) for voltage, rate in memory.items()]
    return advise_supply(points, bits=BITS, chips=CHIPS, within=WITHIN)


def lowest() -> str:
    """The lowest of the published voltages at which each preparation is shown to hold, and the energy saved."""
    lines = []
    answers = {title: advice_of(memory) for title, memory in MEMORIES.items()}
    for name in DRAWN:
        cells = []
        for answer in answers.values():
            point = answer.lowest(name) if name in answer.preparations else None
            cells.append("" if point is None or not point.rate else f"{point.voltage:g} V, {100 * (1 - point.energy):.0f} %")
        if any(cells):
            lines.append([name, *cells])
    return tabulate(lines, ["preparation", *MEMORIES], tablefmt="github", disable_numparse=True)


def _near(point: SupplyPoint, option: Option) -> bool:
    """Whether an option's figures tell much of this voltage: of several seeds, and at no more than ten times its rate."""
    measured = option.measured
    return option.basis != "extrapolated" and measured.seeds > 1 and measured.first.rate <= 10 * point.rate


def draw_energy(path: Path) -> None:
    """Draw the difference from the healthy network against the memory's energy, a line a preparation, at published voltages."""
    canvas = new_figure(9.5, 4.2)
    panels = canvas.subplots(1, len(MEMORIES), squeeze=False)[0]
    for axes, (title, memory) in zip(panels, MEMORIES.items(), strict=True):
        answer = advice_of(memory)
        for name, colour in DRAWN.items():
            found = [(p, answer.option(place, name)) for place, p in enumerate(answer.points)]
            drawn = [(p.energy, o.measured) for p, o in found if o and _near(p, o)]
            if drawn:
                xs = [energy for energy, _ in drawn]
                ys = [one.mean for _, one in drawn]
                down = [one.mean - one.worst for _, one in drawn]
                bars = [down, [0.0] * len(down)]
                axes.errorbar(xs, ys, yerr=bars, fmt="o-", color=colour, ms=4, capsize=2, linewidth=1.3, label=name)
        axes.axhline(-WITHIN, color="#888888", linestyle=":", linewidth=1.2, label=f"{WITHIN:g} points below healthy")
        for point in answer.points:
            if point.rate:
                axes.annotate(
                    f"{point.voltage:g} V", (point.energy, 0.7), fontsize=8, ha="center", rotation=90 if len(memory) > 4 else 0
                )
        axes.set_ylim(-6, 2)
        axes.margins(x=0.08)
        axes.invert_xaxis()
        axes.set_xlabel("energy of the memory, 1 at nominal voltage")
        axes.set_title(title, fontsize=10)
        axes.grid(color="#e8e8e8")
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("points against the healthy network")
    handles = {label: handle for axes in panels for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    canvas.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, frameon=False, fontsize=9)
    save_figure(canvas, path)
