"""The command ``tremap``, for fault maps and bundles. Needs neither torch nor Brevitas.

A command has a file of its own name; ``maps.py`` holds the smaller commands of the group ``tremap map``, ``bundles.py``
``verify`` and ``layout``. A new one gets a file and a line here.
Not here: the work itself; a command reads its arguments, calls other packages and prints.
"""

from __future__ import annotations

import click

from tremap_brevitas.cli.exits import EXIT_CODES
from tremap_brevitas.cli.lazy import LazyGroup, Tremap

EPILOG = f"""{EXIT_CODES}
\b
From a folder of tester logs to a merged map and a checked bundle:
  tremap map convert logs/ --words 2560 --word-bits 32 --to tremap --out chips/
  tremap map info chips/
  tremap map merge chips/ --on-conflict majority --out merged.npz
  tremap map plot chips/ --kind growth --out growth.png
  tremap verify group_0/ chips/
"""

COMMANDS = {
    "advise": (
        "tremap_brevitas.cli.advise:advise",
        "Find the cheapest preparation that was measured to keep every chip within some points of the healthy network.",
    ),
    "assign": (
        "tremap_brevitas.cli.assign:assign",
        "Choose a prepared network for each chip, in another order if need be, or report that it must be retrained.",
    ),
    "group": (
        "tremap_brevitas.cli.group:group",
        "Put chips into as few groups as possible, each to be retrained once under its merged map.",
    ),
    "layout": (
        "tremap_brevitas.cli.bundles:layout",
        "Show where the weights of PLACEMENT lie in memory (a bundle or a placement file).",
    ),
    "order": (
        "tremap_brevitas.cli.order:order",
        "Find for each chip a channel order in which it reads the network exactly.",
    ),
    "patch": (
        "tremap_brevitas.cli.patch:patch",
        "Choose new codes for a chip where it would misread the network, and write its memory image.",
    ),
    "report": (
        "tremap_brevitas.cli.report:report",
        "Compare how a fleet was prepared, from a table written by ``write_csv``, as text and figures.",
    ),
    "verify": (
        "tremap_brevitas.cli.bundles:verify",
        "Verify a bundle from its files alone, and check what each chip reads.",
    ),
}

MAP_COMMANDS = {
    "convert": (
        "tremap_brevitas.cli.convert:convert",
        "Convert fault maps to another format, or between logical addresses and the physical array.",
    ),
    "diff": (
        "tremap_brevitas.cli.maps:diff",
        "Compare two maps.",
    ),
    "ecc": (
        "tremap_brevitas.cli.ecc:ecc",
        "Show which cells stay stuck behind a code that corrects one wrong bit in each word (SECDED).",
    ),
    "generate": (
        "tremap_brevitas.cli.generate:generate",
        "Generate random fault maps: uniform, clustered, whole rows and columns, nested, or fitted to measured ones.",
    ),
    "info": (
        "tremap_brevitas.cli.maps:info",
        "Show statistics of fault maps: fault rates, affected banks and columns, clustering and overlap.",
    ),
    "merge": (
        "tremap_brevitas.cli.maps:merge_",
        "Merge the fault maps of a group of chips into one map for retraining.",
    ),
    "plot": (
        "tremap_brevitas.cli.plot:plot",
        "Plot a chip's map, the overlap of a fleet, the growth of the union, or the activated faults of a bundle.",
    ),
    "repair": (
        "tremap_brevitas.cli.repair:repair",
        "Replace rows and columns by spare ones, and write the map of the remaining faults.",
    ),
}


@click.group(cls=Tremap, lazy=COMMANDS, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tremap_brevitas")
def main() -> None:
    """Work with fault maps of chips and with bundles of prepared networks."""


@main.group("map", cls=LazyGroup, lazy=MAP_COMMANDS)
def map_group() -> None:
    """Work with fault maps: info, convert, generate, merge, diff, repair, ecc, plot.

    PATHS are files, or folders of files, of any known format; - is standard input. For --out, - is standard output.
    """
