"""The command ``tremap``, for fault maps and bundles. Needs neither torch nor Brevitas.

A command has a file of its own name; ``maps.py`` holds the group ``tremap map`` and its smaller commands, ``bundles.py``
``verify`` and ``layout``. A new one gets a file and a line here.
"""

from __future__ import annotations

import click

from tremap_brevitas.cli.assign import assign
from tremap_brevitas.cli.bundles import layout, verify
from tremap_brevitas.cli.exits import EXIT_CODES, OneLineErrors
from tremap_brevitas.cli.group import group
from tremap_brevitas.cli.maps import map_group
from tremap_brevitas.cli.order import order
from tremap_brevitas.cli.patch import patch
from tremap_brevitas.cli.report import report

EPILOG = f"""{EXIT_CODES}
\b
From a folder of tester logs to a merged map and a checked bundle:
  tremap map convert logs/ --words 2560 --word-bits 32 --to tremap --out chips/
  tremap map info chips/
  tremap map merge chips/ --on-conflict majority --out merged.npz
  tremap map plot chips/ --kind growth --out growth.png
  tremap verify group_0/ chips/
"""


@click.group(cls=OneLineErrors, epilog=EPILOG, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="tremap_brevitas")
def main() -> None:
    """Work with fault maps of chips and with bundles of prepared networks."""


main.add_command(map_group)
main.add_command(group)
main.add_command(assign)
main.add_command(order)
main.add_command(patch)
main.add_command(report)
main.add_command(verify)
main.add_command(layout)
