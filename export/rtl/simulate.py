"""Read a bundle's image through a memory with stuck cells, in Verilog, and compare every word with the ONNX integers.

    python export/rtl/simulate.py out/digits/group_0 out/digits/chips/*.npz
    python export/rtl/simulate.py out/digits/group_0 out/digits/chips/*.npz --orders orders.npz

For each chip: its stuck cells and the bundle's image go as files into ``weight_memory.sv``, Icarus Verilog writes every word
and reads it back, and what it read is decoded and compared with the integers in the ONNX files. With the orders of ``tremap
order`` each chip gets the words of the network in its own order, and what was read is put back into the network's order before
it is compared. Where an order has hardware (scrambled addresses, rotated words, inverted words), the chip gets the words that
its cells must hold, flags, amounts and keys, and ``remapped_reader.sv`` finds the network's words again. Ends with 1 if a
simulation does not read what the chip's certificate says.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

import tremap_brevitas as tm
from tremap_brevitas.bundle.in_order import KnownOrders
from tremap_brevitas.bundle.read import read_image
from tremap_brevitas.onnx_files import load_onnx, onnx_weights
from tremap_brevitas.order import ChipOrder, Hardware, HardwareSetting, read_in_order, write_chip_words
from tremap_brevitas.placement import read_memory_image, write_memory_image

HERE = Path(__file__).parent
MEMORY, READER = HERE / "weight_memory.sv", HERE / "remapped_reader.sv"


def compile_memory(memory: tm.Memory, tiles: int, folder: Path, hardware: Hardware | None = None) -> Path:
    """Compile memory and test bench for one geometry.

    Args:
        memory: The placement's memory.
        tiles: How often it is filled.
        folder: Where the program goes.
        hardware: What lies between words and cells; None for nothing.

    Raises:
        RuntimeError: If Icarus Verilog is not installed, or does not take the sources.
    """
    if shutil.which("iverilog") is None:
        raise RuntimeError("needs Icarus Verilog (Debian and Ubuntu: apt-get install iverilog)")
    program = folder / "tb"
    sizes = {"WORDS": memory.words, "WORD_BITS": memory.word_bits, "TILES": tiles}
    bench, sources = "weight_memory_tb", [MEMORY]
    if hardware is not None:
        bench, sources = "remapped_memory_tb", [MEMORY, READER]
        sizes |= {"SCRAMBLE": hardware.scramble, "ROTATE": hardware.rotate, "INVERT": hardware.invert}
        sizes |= {"AMOUNT_BITS": max(1, hardware.amount_bits(memory))}
    command = ["iverilog", "-g2012", "-Wall", "-s", bench, "-o", str(program)]
    command += [f"-P{bench}.{name}={value}" for name, value in sizes.items()]
    compiled = subprocess.run([*command, *map(str, [*sources, HERE / f"{bench}.sv"])], capture_output=True, text=True)
    if compiled.returncode:
        raise RuntimeError(f"iverilog failed:\n{compiled.stdout}{compiled.stderr}")
    return program


def write_masks(chip: tm.FaultMap, folder: Path) -> dict[str, Path]:
    """Write a chip's stuck cells as two ``$readmemh`` files, in which only words with a stuck cell appear."""
    paths = {}
    for value in (0, 1):
        masks: dict[int, int] = {}
        for cell in chip.cells[chip.stuck_at == value].tolist():
            word, bit = divmod(cell, chip.memory.word_bits)
            masks[word] = masks.get(word, 0) | 1 << bit
        path = paths[f"sa{value}"] = folder / f"sa{value}.mem"
        lines = [f"// cells stuck at {value}: chip {chip.chip!a}, digest {chip.digest}"]
        lines += [f"@{word:x} {mask:0{-(-chip.memory.word_bits // 4)}x}" for word, mask in masks.items()]
        path.write_text("\n".join([*lines, ""]))
    return paths


def words_read(
    program: Path, image: Path, chip: tm.FaultMap, folder: Path, setting: HardwareSetting | None = None
) -> list[int]:
    """Let the compiled memory of one chip read an image back.

    Args:
        program: What ``compile_memory`` returned.
        image: What is written into the cells.
        chip: The stuck cells.
        folder: Where files go.
        setting: How the chip's hardware is set: its keys. Flags and amounts are in the image.

    Raises:
        RuntimeError: If the simulation fails.
    """
    files = {"image": image, **write_masks(chip, folder), "out": folder / "read.mem"}
    if setting is not None and len(setting.keys):
        files["keys"] = folder / "keys.mem"
        files["keys"].write_text("".join(f"{key:x}\n" for key in setting.keys.tolist()))
    command = ["vvp", "-N", str(program), *(f"+{name}={path}" for name, path in files.items())]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode or "FATAL" in run.stdout or "ERROR" in run.stdout + run.stderr:
        raise RuntimeError(f"the simulation failed:\n{run.stdout}{run.stderr}")
    return read_memory_image(files["out"], format="readmemh", word_bits=(chip if setting is None else setting).memory.word_bits)


def read_by_chip(order: ChipOrder, chip: tm.FaultMap, program: Path, folder: Path) -> dict[str, NDArray[Any]]:
    """Codes that a chip gives back, put into the network's own order: its words in its order, its hardware as it is set."""
    chip = order.left_by_spares(chip)
    image = write_chip_words(order, folder / "image_as_written.mem", format="readmemh")
    words = words_read(program, image, chip, folder, order.hardware)
    return read_in_order(words, order.network.placement, order.groups, order.orders)


def main(arguments: list[str] | None = None) -> int:
    """Simulate every chip; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path, help="folder of a bundle")
    parser.add_argument("chips", type=Path, nargs="+", help="fault maps of chips (.npz)")
    parser.add_argument("--orders", type=Path, help="file of tremap order: each chip holds the network in its own order")
    options = parser.parse_args(arguments)
    bundle = tm.Bundle.load(options.bundle)
    placement = bundle.image.placement
    # The integers as a stranger finds them in the file; the bundle was checked to have the same in its image.
    form = next(iter(bundle.manifest.onnx))
    weights = {w.initializer: w.codes for w in onnx_weights(load_onnx(bundle.folder / bundle.manifest.onnx[form]))}
    trained = {layer.name: weights[layer.initializers[form]] for layer in bundle.manifest.layers}
    orders = None if options.orders is None else KnownOrders(bundle, options.orders)
    bad = 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        hardware = None if orders is None else orders.hardware
        program = compile_memory(placement.memory, placement.tiles, folder, hardware)
        for path in tqdm(options.chips, unit="chip", leave=False):
            chip = tm.FaultMap.load(path)
            order = None if orders is None else orders.of(chip)
            if order is not None:
                read = read_by_chip(order, chip, program, folder)
            else:
                image = bundle.image_file(chip)
                if bundle.manifest.image_format != "readmemh":  # what the test bench reads
                    written = read_image(image, bundle.manifest, placement)
                    image = write_memory_image(written, folder / "image.mem", format="readmemh", fault_map=None)
                read = dict(tm.MemoryImage.from_words(placement, words_read(program, image, chip, folder)).codes)
            wrong = sum(int((read[layer] != trained[layer]).sum()) for layer in trained)
            claimed = bundle.certificate(chip).read() if order is None else order.codes_read
            agrees = all(np.array_equal(read[layer], codes) for layer, codes in claimed.items())
            bad += not agrees
            verdict = "all equal to the ONNX integers" if wrong == 0 else f"{wrong} differ from the ONNX integers"
            says = f"its certificate{'' if order is None else ' in its order'} says"
            agreed = f"as {says}" if agrees else f"{says} OTHERWISE: {bundle.certificate(chip) if order is None else order}"
            tqdm.write(f"chip {chip.chip!r}: {placement.weights} codes read, {verdict}, {agreed}", file=sys.stdout)
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
