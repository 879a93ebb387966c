"""Verify a bundle from its files alone. Needs neither torch nor Brevitas."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from tremap_brevitas.bundle.chips import BundleChip
from tremap_brevitas.bundle.in_order import certificates_in_order
from tremap_brevitas.bundle.read import Bundle, Measured, examine, relative
from tremap_brevitas.faults import FaultMap
from tremap_brevitas.faults.fault_map import check_memory
from tremap_brevitas.placement.certificate import Certificate
from tremap_brevitas.placement.layer import parameter_of
from tremap_brevitas.printable import counted

if TYPE_CHECKING:
    from tremap_brevitas.bundle.in_order import Orders


@dataclass(frozen=True, eq=False)
class BundleReport:
    """Result of [verify_bundle][tremap_brevitas.verify_bundle].

    Attributes:
        folder: The bundle.
        problems: Problems of the bundle, one sentence each, with the name of the file; empty if there is none.
        certificates: For each chip, the weights that it reads differently from what the ONNX files hold. Empty if the
            bundle could not be read.
        files: Number of files checked.
        unlisted: Names in the folder that the manifest does not list; these files were not checked.
        output_error: Largest difference between the outputs of onnxruntime and PyTorch for the bundle's probe, relative to
            the largest output; None if it was not run.
        inputs: Number of inputs of the probe.
        inputs_equal: How many of them gave the same output up to float32's rounding (1e-6). For others the two may have rounded
            a sum differently, which moves an activation at a boundary to the next code.
        codes: Number of codes that image and ONNX files agree on.
        in_order: Whether each chip holds the network in an order of its own; certificates are in the network's own order then,
            too.
    """

    folder: str
    problems: tuple[str, ...]
    certificates: tuple[Certificate, ...]
    files: int = 0
    unlisted: tuple[str, ...] = ()
    output_error: float | None = None
    inputs: int = 0
    inputs_equal: int = 0
    codes: int = 0
    in_order: bool = False

    @property
    def ok(self) -> bool:
        """Whether the files are complete, unchanged, and hold the same network. Does not cover the chips."""
        return not self.problems

    @property
    def bit_exact(self) -> bool:
        """Whether ``ok`` holds and every chip computes exactly that network."""
        return self.ok and all(c.bit_exact for c in self.certificates)

    def __str__(self) -> str:
        lines = [f"{self.folder}: NOT what was exported", *(f"  {p}" for p in self.problems)]
        if self.ok:
            lines = [
                f"{self.folder}: {counted(self.files, 'file')} unchanged, {counted(self.codes, 'code')} equal in image and ONNX"
            ]
            if self.output_error is not None:
                rest = "" if self.inputs_equal == self.inputs else f", and within {self.output_error:.1e} for the rest"
                equal = f"{self.inputs_equal} of {counted(self.inputs, 'input')}"
                lines.append(f"  onnxruntime gives PyTorch's outputs for {equal}{rest}")
        if self.unlisted:
            lines.append(f"  not checked, since the manifest does not list it: {', '.join(self.unlisted)}")
        where = ", in its order" if self.in_order else ""
        return "\n".join([*lines, *(f"  chip {c.chip!r}{where}: {_verdict(c)}" for c in self.certificates)])


def verify_bundle(
    bundle: str | os.PathLike[str] | Bundle,
    chips: Iterable[FaultMap],
    *,
    orders: Orders | None = None,
    progress: bool = True,
) -> BundleReport:
    """Verify a bundle from its files alone, without torch and Brevitas, and check what each chip reads.

    Every file is compared with its digest, the words of the memory image are decoded and compared with the integers in the
    ONNX files, scales and zero points with the manifest, and the QCDQ file's outputs (in onnxruntime) with the network's.
    Then each chip's stuck cells are applied to the image; only what they change can be read differently.

    With ``orders`` a chip gets the words of the network in its own order. They are written, read back through its stuck cells,
    put back into the network's order, and compared with the integers in the ONNX files, code by code.

    Args:
        bundle: The folder, or a bundle that was loaded before; then only the chips are checked.
        chips: Fault maps of any chips, members of the group or not.
        orders: An order for each of these chips, from [reorder][tremap_brevitas.reorder] or ``tremap order``, or their file.
            The bundle needs its groups of channels then.
        progress: Whether to show a progress bar on standard error.

    Returns:
        A report of all problems. It prints as text.

    Raises:
        FileNotFoundError: If there is no such folder, or it has no manifest; or no file of orders.
        ValueError: If a chip's map is of another memory; or the orders are damaged, of another network, or lack a chip; or the
            bundle has no groups of channels.
    """
    chips = list(chips)
    if isinstance(bundle, Bundle):
        codes = bundle.image.placement.weights
        if orders is not None:
            proofs, problems = certificates_in_order(bundle, chips, orders, progress=progress)
            return BundleReport(str(bundle.folder), tuple(problems), tuple(proofs), codes=codes, in_order=True)
        certificates = tuple(bundle.certificate(fault_map) for fault_map in _with_bar(chips, progress))
        return BundleReport(str(bundle.folder), (), certificates, codes=codes)
    return report_on(Path(bundle), examine(bundle), chips, orders, progress=progress)


def report_on(
    folder: Path,
    examined: tuple[Bundle | None, list[str], Measured],
    chips: Sequence[FaultMap],
    orders: Orders | None = None,
    *,
    progress: bool,
) -> BundleReport:
    """Report on a checked bundle and on chips."""
    bundle, problems, measured = examined
    problems = list(problems)
    certificates: list[Certificate] = []
    if bundle is not None and orders is not None:
        if not problems:  # otherwise its groups may be damaged, too
            certificates, more = certificates_in_order(bundle, chips, orders, progress=progress)
            problems += more
    elif bundle is not None:
        rows = {row.digest: row for row in bundle.chips}
        for fault_map in _with_bar(chips, progress):
            check_memory(fault_map, bundle.image.placement.memory, whose="the image's")
            try:
                proof = bundle.certificate(fault_map)
            except (OSError, ValueError) as error:  # its own image cannot be read
                problems.append(relative(error, folder))
            else:
                certificates.append(proof)
                problems += _contradictions(bundle.manifest.chips, rows.get(fault_map.digest), proof)
    return BundleReport(
        str(folder),
        tuple(problems),
        tuple(certificates),
        files=measured.files,
        unlisted=measured.unlisted,
        output_error=measured.output_error,
        inputs=measured.inputs,
        inputs_equal=measured.inputs_equal,
        codes=0 if bundle is None else bundle.image.placement.weights,
        in_order=orders is not None,
    )


def _with_bar(chips: Sequence[FaultMap], progress: bool) -> Iterable[FaultMap]:
    bar: Iterable[FaultMap] = tqdm(chips, desc="chips", unit="chip", leave=False, disable=not progress)
    return bar


def _contradictions(table: str, row: BundleChip | None, proof: Certificate) -> list[str]:
    """Check whether the table agrees with a chip's certificate."""
    if row is None or replace(row.result, chip=proof.chip, accuracy=None) == proof.result:
        return []
    return [f"{table}: says of chip {row.chip!r}: {row.result}; its certificate says: {proof.result}"]


def _verdict(proof: Certificate) -> str:
    if proof.bit_exact:
        return "bit-exact"
    first = proof.differences[0]
    index = np.unravel_index(first.weight[0], proof.image.codes[first.layer].shape)
    return (
        f"{proof.result}; the first is {parameter_of(first.layer, tuple(index))}, which reads {first.read[0]}, trained "
        f"{first.trained[0]}"
    )
