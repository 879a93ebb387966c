"""``tremap map plot``: plot fault maps."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from tremap_brevitas.cli.common import (
    EXISTING,
    GEOMETRY,
    NEW,
    PATHS,
    Reading,
    loaded_bundle,
    loaded_geometry,
    map_options,
    overwrite_option,
)
from tremap_brevitas.cli.outputs import check_outputs, summary, to_file


@click.command(
    epilog="""\b
Examples:
  tremap map plot A7.npz --out A7.png
  tremap map plot chips/ --kind overlap --out overlap.png
  tremap map plot chips/ --kind growth --out growth.png
  tremap map plot chips/ --kind activated --bundle group_0/ --out activated.png
"""
)
@PATHS
@map_options
@click.option(
    "--kind",
    type=click.Choice(["map", "overlap", "growth", "activated"]),
    help="Default: map for one chip, overlap for several.",
)
@GEOMETRY
@click.option("--bundle", type=EXISTING, help="For activated: the bundle whose image the chips hold.")
@click.option("--title", default="", help="Heading of the picture; text between $ is mathematics.")
@click.option("--out", required=True, type=NEW, help="Picture; its ending chooses the format.")
@overwrite_option
def plot(
    paths: tuple[Path, ...],
    kind: str | None,
    geometry: Path | None,
    bundle: Path | None,
    title: str,
    out: Path,
    overwrite: bool,
    **reading: Any,
) -> None:
    """Plot a chip's map, the overlap of a fleet, the growth of the union, or the activated faults of a bundle.

    With --geometry a chip's map is drawn as its physical array.
    """
    from tremap_brevitas.faults.analysis.pictures import plot_fault_map, plot_overlap, plot_union_growth

    if (kind == "activated") != (bundle is not None):
        raise click.UsageError("--kind activated needs --bundle, and only it takes one")
    reader = Reading.of(**reading)
    image = None
    if bundle is not None:
        image = loaded_bundle(bundle).image
        reader.expect(image.placement.memory)
    check_outputs([out], [*reader.files(paths), *([geometry] if geometry else [])], overwrite=overwrite)
    maps = reader.all_maps(paths)
    kind = kind or ("map" if len(maps) == 1 else "overlap")
    if kind == "map" and len(maps) != 1:
        raise click.UsageError(f"--kind map draws one chip, got {len(maps)}")
    if geometry is not None and kind != "map":
        raise click.UsageError(f"--geometry is for --kind map, got {kind}")
    with to_file(out) as file:
        if kind == "map":
            array = None if geometry is None else loaded_geometry(geometry)
            plot_fault_map(maps[0] if array is None else array.to_physical(maps[0]), file, title=title)
        elif image is not None:
            from tremap_brevitas.report.pictures import plot_activated_faults

            plot_activated_faults(image, maps, file, title=title)
        else:
            (plot_overlap if kind == "overlap" else plot_union_growth)(maps, file, title=title)
    summary(out, out)
    reader.finish()
