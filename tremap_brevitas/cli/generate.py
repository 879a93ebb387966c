"""``tremap map generate``: write random fault maps."""

from __future__ import annotations

from pathlib import Path

import click

from tremap_brevitas.cli.common import EXISTING, NEW_FOLDER, Number, Reading, overwrite_option, with_bar
from tremap_brevitas.cli.outputs import check_outputs, filled_folder
from tremap_brevitas.cli.printing import echo
from tremap_brevitas.faults.fault_map import FaultMap
from tremap_brevitas.faults.memory import Memory
from tremap_brevitas.faults.random.fitted import fit_fault_model
from tremap_brevitas.faults.random.structured import clustered_fault_maps, line_fault_maps, nested_fault_maps
from tremap_brevitas.faults.random.uniform import random_fault_maps
from tremap_brevitas.printable import counted

DRAWN = ("uniform", "clustered", "lines", "nested")
KINDS = {  # the kinds that an option applies to; an option that is not here applies to all
    "rates": DRAWN,
    "sa1_share": DRAWN,
    "cluster_size": ("clustered",),
    "spread": ("clustered",),
    "rows": ("lines",),
    "columns": ("lines",),
    "like": ("like",),
}


@click.command(
    epilog="""\b
Examples:
  tremap map generate --words 65536 --word-bits 32 --chips 100 --rate 6e-3 --out chips/
  tremap map generate --words 65536 --word-bits 32 --kind clustered --cluster-size 20 --chips 100 --rate 1e-4 --out chips/
  tremap map generate --words 65536 --word-bits 32 --kind lines --columns 2 --chips 100 --rate 1e-5 --out chips/
  tremap map generate --words 65536 --word-bits 32 --kind nested --rate 1e-4 --rate 1e-3 --chips 10 --out chips/
  tremap map generate --words 65536 --word-bits 32 --banks 64 --kind like --like measured/ --chips 100 --out chips/
"""
)
@click.option("--words", required=True, type=click.IntRange(min=1))
@click.option("--word-bits", required=True, type=click.IntRange(min=1))
@click.option("--banks", type=click.IntRange(min=1), default=1, show_default=True)
@click.option("--chips", type=click.IntRange(1, 1_000_000), default=1, show_default=True, help="Number of chips.")
@click.option(
    "--kind", type=click.Choice(["uniform", "clustered", "lines", "nested", "like"]), default="uniform", show_default=True
)
@click.option("--rate", "rates", multiple=True, type=Number(0, 1), help="Stuck cells over all cells; several for nested.")
@click.option("--sa1-share", type=Number(0, 1), default=0.5, show_default=True, help="Share stuck at 1.")
@click.option("--cluster-size", type=Number(min=1), default=10.0, show_default=True, help="Mean faults of a cluster.")
@click.option(
    "--spread", nargs=2, type=click.IntRange(min=0), default=(4, 2), show_default=True, help="Its extent, ROWS COLUMNS."
)
@click.option("--rows", type=click.IntRange(min=0), default=0, show_default=True, help="For lines: stuck rows of a chip.")
@click.option("--columns", type=click.IntRange(min=0), default=0, show_default=True, help="For lines: stuck columns.")
@click.option("--like", type=EXISTING, help="Map or folder of maps whose statistics are to be matched.")
@click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True)
@click.option("--out", required=True, type=NEW_FOLDER, help="Folder for the maps.")
@overwrite_option
def generate(
    words: int,
    word_bits: int,
    banks: int,
    chips: int,
    kind: str,
    rates: tuple[float, ...],
    sa1_share: float,
    cluster_size: float,
    spread: tuple[int, int],
    rows: int,
    columns: int,
    like: Path | None,
    seed: int,
    out: Path,
    overwrite: bool,
) -> None:
    """Generate random fault maps: uniform, clustered, whole rows and columns, nested, or fitted to measured ones."""
    _check_options(kind)
    if kind == "like" and like is None:
        raise click.UsageError("--kind like needs --like, the measured maps to imitate")
    if (kind == "lines") != bool(rows or columns):
        raise click.UsageError("--rows and --columns are for --kind lines, which needs one of them")
    if kind not in ("like", "lines") and not rates:
        raise click.UsageError(f"--kind {kind} needs --rate")
    if kind in ("uniform", "clustered", "lines") and len(rates) > 1:
        raise click.UsageError(f"--kind {kind} takes one --rate, got {len(rates)}")
    try:
        memory = Memory(words=words, word_bits=word_bits, banks=banks)
        if kind == "uniform":
            maps = random_fault_maps(memory, chips=chips, fault_rate=rates[0], sa1_share=sa1_share, seed=seed)
        elif kind == "clustered":
            maps = clustered_fault_maps(
                memory,
                chips=chips,
                fault_rate=rates[0],
                cluster_size=cluster_size,
                spread=spread,
                sa1_share=sa1_share,
                seed=seed,
            )
        elif kind == "lines":
            rate = rates[0] if rates else 0.0
            maps = line_fault_maps(
                memory, chips=chips, rows=rows, columns=columns, fault_rate=rate, sa1_share=sa1_share, seed=seed
            )
        elif kind == "nested":
            drawn = nested_fault_maps(memory, chips=chips, fault_rates=sorted(rates), sa1_share=sa1_share, seed=seed)
            maps = [
                FaultMap(m.memory, m.cells, m.stuck_at, f"{m.chip}-{rate:g}", m.metadata)
                for chip in drawn
                for rate, m in zip(sorted(rates), chip, strict=True)
            ]
        else:
            reader = Reading(None, None, {}, True)
            model = fit_fault_model([chip for _, chip in reader.maps([like] if like else [])])
            echo(model)
            maps = model.draw(memory, chips=chips, seed=seed)
    except ValueError as error:
        raise click.ClickException(str(error)) from None
    names = [chip.chip for chip in maps]
    if len(set(names)) != len(names):
        raise click.UsageError(f"two maps would be called {max(names, key=names.count)!r}; give rates that differ more")
    check_outputs([out], [like] if like else [], overwrite=overwrite)
    with filled_folder(out, command="tremap map generate", overwrite=overwrite, parents=True) as draft:
        for chip in with_bar(maps, "maps", "map"):
            chip.save(draft / f"{chip.chip}.npz")
    echo(f"{counted(len(maps), 'map')} of {memory} written to {out}/")


def _check_options(kind: str) -> None:
    context = click.get_current_context()
    for option in context.command.params:
        kinds = KINDS.get(str(option.name))
        given = context.get_parameter_source(str(option.name)) is not click.core.ParameterSource.DEFAULT
        if given and kinds is not None and kind not in kinds:
            raise click.UsageError(f"{option.opts[0]} does not apply to --kind {kind}, only to --kind {' or '.join(kinds)}")
