"""``tremap patch``: choose a chip's own codes where new stuck cells make it misread the network."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tremap_brevitas.cli.common import (
    EXISTING,
    FILE,
    NEW,
    Reading,
    json_option,
    loaded_bundle,
    map_options,
    on_terminal,
    overwrite_option,
)
from tremap_brevitas.cli.inputs import regular
from tremap_brevitas.cli.outputs import STDOUT, check_outputs, summary, to_file
from tremap_brevitas.cli.printing import print_json
from tremap_brevitas.memory_files import FORMATS

if TYPE_CHECKING:
    from tremap_brevitas.order import ChipOrder


@click.command(
    epilog="""\b
Examples:
  tremap patch group_0/ A7.npz --out A7_as_written.mem
  tremap patch group_0/ A7.log --out A7_as_written.mem --onnx A7.onnx
  tremap patch group_0/ A7.npz --orders orders.npz --out A7_as_written.mem --order-out A7_order.npz
"""
)
@click.argument("bundle", type=EXISTING)
@click.argument("chip", type=FILE)
@map_options
@click.option("--out", required=True, type=NEW, help="File of the chip's own memory image, in the bundle's format.")
@click.option("--onnx", "onnx_file", type=NEW, help="Write the network as the chip computes it to this ONNX file.")
@click.option("--form", type=click.Choice(["qcdq", "qonnx"]), default="qcdq", show_default=True, help="Form of that file.")
@click.option(
    "--sweeps", type=click.IntRange(min=1), default=1, show_default=True, help="Passes over the weights of a channel."
)
@click.option("--orders", "orders_file", type=FILE, help="File of tremap order: the chip holds the network in its order.")
@click.option("--order-out", type=NEW, help="Write the chip's order with its codes, for tremap verify --orders.")
@overwrite_option
@json_option
def patch(
    bundle: Path,
    chip: Path,
    out: Path,
    onnx_file: Path | None,
    form: Any,
    sweeps: int,
    orders_file: Path | None,
    order_out: Path | None,
    overwrite: bool,
    as_json: bool,
    **reading: Any,
) -> None:
    """Choose new codes for a chip where it would misread the network, and write its memory image.

    CHIP is its fault map with all of its stuck cells, the new one included; a log needs no geometry. Every output channel with
    a wrong code gets codes that the chip can hold and that make the channel's output least wrong; all other words stay as they
    are. Neither data nor a network is needed, but the moments that export(moments=...) keeps in a bundle. With --orders the
    chip keeps its order of channels, its keys and its spare lines, and what that leaves wrong is chosen anew; amounts and flags
    change only if a cell of theirs is stuck now. The bundle needs its groups as well.
    """
    from tremap_brevitas.placement.certificate import certificate
    from tremap_brevitas.placement.image_file import write_memory_image

    if STDOUT in (out, onnx_file, order_out) and as_json:
        raise click.UsageError("--json and a file would both write to standard output")
    if order_out is not None and orders_file is None:
        raise click.UsageError("--order-out writes the order that --orders gives; give that as well")
    reader = Reading.of(**reading)
    read = [chip] if orders_file is None else [chip, orders_file]
    check_outputs([out, onnx_file, order_out], [*read, *(bundle.iterdir() if bundle.is_dir() else ())], overwrite=overwrite)
    network = loaded_bundle(bundle)
    form_of = network.manifest.image_format
    if not FORMATS[form_of].comments and "as_written" not in out.name:
        raise click.UsageError(f"--out {out}: {form_of} has no comments, so the name must contain as_written")
    from tremap_brevitas.bundle.accumulators import beyond_accumulators
    from tremap_brevitas.bundle.apply import apply_to_onnx
    from tremap_brevitas.patching.patch import patch as patched

    moments = network.moments()
    order: ChipOrder | None = None
    if orders_file is None:
        reader.expect(network.image.placement.memory)
        faults = reader.one_map(chip)
        result = patched(network.image, moments, faults, sweeps=sweeps, progress=on_terminal())
        written = result.image
    else:
        from tremap_brevitas.bundle.in_order import KnownOrders
        from tremap_brevitas.order import check_order, patch_in_order, save_orders
        from tremap_brevitas.order.hardware.words import write_chip_words

        with regular(orders_file) as file:
            orders = KnownOrders(network, file)
        reader.expect(orders.memory)
        faults = reader.one_map(chip)
        order, result = patch_in_order(orders.of(faults), moments, faults, sweeps=sweeps, progress=on_terminal())
        written = order.image
    right = certificate(written, faults).bit_exact if order is None else not check_order(order, faults)
    if not right:  # there is no known cause; but such an image must not be written
        raise click.ClickException(f"{chip}: the chosen codes are not read back as written")
    if onnx_file is not None:
        with to_file(onnx_file) as file:
            apply_to_onnx(network, faults, file, form=form, image=result.image if order is None else None, order=order)
    with to_file(out) as file:
        if order is None:
            write_memory_image(written, file, format=form_of, fault_map=None)
        else:
            write_chip_words(order, file, format=form_of)
    if order is not None and order_out is not None:
        with to_file(order_out) as file:
            save_orders([order], file)
    beyond = beyond_accumulators(network, result.after)
    outputs = (out, onnx_file, order_out)
    if as_json:
        print_json(
            {
                "chip": result.chip,
                "weights_that_differ": [result.before.weights_that_differ, result.after.weights_that_differ],
                "error_as_written": result.error_before,
                "error_nearest": result.nearest_error,
                "error": result.error,
                "image": written.digest,
                "beyond_accumulators": {name: list(now) for name, (_, now) in beyond.items()},
                "layers": [vars(layer) for layer in result.layers],
            }
        )
    else:
        summary(result, *outputs)
        if order is not None:
            summary("the chip holds the network in its order of channels", *outputs)
            if order.hardware is not None:
                summary(f"with its keys as they were: {order.hardware}", *outputs)
        for name, (before, now) in beyond.items():
            summary(f"layer {name!r}: sums from {now[0]} to {now[1]}, the bundle says {before[0]} to {before[1]}", *outputs)
        summary(out, *outputs)
