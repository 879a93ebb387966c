"""``tremap map ecc``: stuck cells that remain visible behind an error-correcting code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from tabulate import tabulate

from tremap_brevitas.cli.common import FILE, NEW, Reading, map_options, overwrite_option
from tremap_brevitas.cli.outputs import check_outputs, summary, to_file
from tremap_brevitas.cli.printing import echo
from tremap_brevitas.faults.array.correction import check_bits_of, corrected, rate_behind
from tremap_brevitas.printable import counted

RATES = (1e-6, 1e-5, 1e-4, 1e-3, 6e-3, 2e-2, 1e-1)


@click.command(
    epilog="""\b
Examples:
  tremap map ecc A7.npz --data-bits 32 --out A7-behind.npz
  tremap map ecc --data-bits 32
"""
)
@click.argument("path", type=FILE, required=False)
@map_options
@click.option("--data-bits", required=True, type=click.IntRange(min=1), help="Bits of data in a word, below its check bits.")
@click.option("--out", type=NEW, help="File of the map behind the code.")
@overwrite_option
def ecc(path: Path | None, data_bits: int, out: Path | None, overwrite: bool, **reading: Any) -> None:
    """Show which cells stay stuck behind a code that corrects one wrong bit in each word (SECDED).

    Words with a single stuck cell are read correctly; in the others every stuck cell of data stays, which is the worst case.
    Without a map: the rates that remain for random faults.
    """
    if (path is None) != (out is None):
        raise click.UsageError("give a map and --out together, or neither")
    if path is None or out is None:
        checks = check_bits_of(data_bits)
        rows = [(f"{rate:g}", f"{rate_behind(rate, data_bits=data_bits):.1e}") for rate in RATES]
        echo(f"random faults, {data_bits} bits of data and {checks} check bits ({100 * checks / data_bits:.0f} % more cells):")
        echo(tabulate(rows, ["stuck cells", "stuck behind the code"], tablefmt="plain", disable_numparse=True))
        return
    reader = Reading.of(**reading)
    check_outputs([out], [path], overwrite=overwrite)
    fault_map = reader.one_map(path)
    behind = corrected(fault_map, data_bits=data_bits)
    with to_file(out) as file:
        behind.save(file)
    before = f"{counted(len(fault_map), 'stuck cell')} ({fault_map.fault_rate:.1e})"
    summary(f"{before}, {len(behind)} of data left behind the code ({behind.fault_rate:.1e}): {out}", out)
