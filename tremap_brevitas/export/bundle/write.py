"""Writing a bundle."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor, nn

from tremap_brevitas.export.bundle.chips import BundleChip, write_chips
from tremap_brevitas.export.bundle.manifest import FORMS, BundleLayer, Form, Manifest, file_digest, written_files
from tremap_brevitas.export.bundle.probe import write_probe
from tremap_brevitas.export.bundle.verify import verify_bundle
from tremap_brevitas.export.memory_image import Format, write_memory_image
from tremap_brevitas.export.onnx_export import export_qcdq, export_qonnx
from tremap_brevitas.export.verify import output_errors
from tremap_brevitas.export.weights import load_onnx, onnx_metadata, onnx_weights
from tremap_brevitas.faults import FaultMap, MergedFaultMap
from tremap_brevitas.files import whole_folder
from tremap_brevitas.fleet.certify import Certificate, Deployment, certificate
from tremap_brevitas.fleet.report import FleetReport
from tremap_brevitas.model import memory_image
from tremap_brevitas.model.modes import evaluation_mode
from tremap_brevitas.placement import MemoryImage, Placement

ENDINGS = {"readmemh": "mem", "amd_mif": "mif", "coe": "coe", "altera_mif": "mif", "intel_hex": "hex", "raw": "bin"}
TOOLS = ("tremap_brevitas", "brevitas", "torch", "numpy", "onnx", "onnxruntime", "onnxscript", "onnxoptimizer")


def export_bundle(
    model: nn.Module,
    example_input: Tensor,
    folder: str | os.PathLike[str],
    *,
    placement: Placement,
    fault_map: FaultMap,
    chips: Iterable[FaultMap] | None = None,
    report: FleetReport | None = None,
    probe: Tensor | None = None,
    deployment: Deployment = "group_image",
    memory_format: Format = "readmemh",
    onnx_forms: Sequence[Form] = FORMS,
    dynamo: bool = True,
    tolerance: float = 1e-2,
    overwrite: bool = False,
) -> Path:
    """Write one folder with all that a group's network leaves Python with, and all that is needed to check it.

    QONNX and QCDQ file, memory image, a table of the chips, the placement, a probe (inputs and the network's outputs
    for them) and a manifest with a digest of every file. The folder is checked by
    [verify_bundle][tremap_brevitas.verify_bundle] before it gets its name, and appears whole or not at all.

    Args:
        model: The model, with the faults of ``fault_map`` set.
        example_input: An input, for its shape.
        folder: Folder to make.
        placement: Where the codes lie.
        fault_map: The map that the model was trained under.
        chips: The chips of the table; None for the members of ``fault_map``.
        report: What ``evaluate_fleet`` found with the same deployment; its accuracies go into the table.
        probe: Inputs that are kept with the network's outputs for them, real data if possible, as many as
            ``example_input`` has or a multiple; None for ``example_input`` itself.
        deployment: ``"group_image"``: one memory image for all chips. ``"chip_image"``: one more for each chip, in which every
            code is the nearest that the chip can hold.
        memory_format: Format of the memory images, as in ``write_memory_image``.
        onnx_forms: Which ONNX files to write. QCDQ cannot hold codes of more than 8 bits; leave it out for them.
        dynamo: Whether to use torch's newer exporter.
        tolerance: Allowed difference between PyTorch's and onnxruntime's outputs for the probe, relative to the largest. The
            codes are compared exactly; this catches a graph that is wrong elsewhere. Where the two round a sum differently, an
            activation at a boundary moves to the next code.
        overwrite: Whether to replace an existing bundle. A folder that holds anything else besides is left alone.

    Returns:
        The folder.

    Raises:
        FileExistsError: If the folder exists, and ``overwrite`` is False or it holds what no export wrote.
        ValueError: If the model's codes do not satisfy ``fault_map``; a chip has another memory, or two have one name; the
            report is about other chips or another network; or onnxruntime's output is too far off. Nothing is written then.
        RuntimeError: If a layer cannot be exported.
    """
    fleet = list(_members(fault_map) if chips is None else chips)
    _check_arguments(fleet, memory_format, onnx_forms)
    image = memory_image(model, placement)
    proofs = [certificate(image, chip, deployment=deployment) for chip in fleet]
    accuracies = _accuracies(report, proofs)
    ending = ENDINGS[memory_format]
    with whole_folder(folder, overwrite=overwrite, wrote=written_files) as draft:
        options: dict[str, Any] = {"placement": placement, "fault_map": fault_map, "dynamo": dynamo}
        onnx: dict[str, str] = {form: f"model.{form}.onnx" for form in FORMS if form in onnx_forms}
        for form, name in onnx.items():
            (export_qonnx if form == "qonnx" else export_qcdq)(model, example_input, draft / name, **options)
        group = f"weights_as_written.{ending}"
        write_memory_image(image, draft / group, format=memory_format, faults=None)
        images = [group] * len(fleet)
        if deployment == "chip_image":
            images = [f"weights_as_written_chip_{i:04}.{ending}" for i in range(len(fleet))]
            for chip, name in zip(fleet, images, strict=True):
                write_memory_image(_chip_image(image, chip), draft / name, format=memory_format, faults=None)
        members = {m.digest for m in _members(fault_map)}
        rows = tuple(
            BundleChip(
                chip=chip.chip,
                digest=chip.digest,
                faults=len(chip),
                member=chip.digest in members,
                bit_exact=proof.bit_exact,
                weights_that_differ=proof.weights_that_differ,
                worst_error=proof.worst_error,
                accuracy=accuracies.get(chip.chip),
                image=name,
            )
            for chip, proof, name in zip(fleet, proofs, images, strict=True)
        )
        write_chips(rows, draft / "chips.csv")
        placement.save(draft / "placement.npz")
        error = _write_probe(model, example_input if probe is None else probe, draft, onnx.get("qcdq"), tolerance)
        manifest = Manifest(
            files={path.name: file_digest(path) for path in sorted(draft.iterdir())},
            onnx=onnx,
            placement="placement.npz",
            placement_digest=placement.digest,
            image=group,
            image_format=memory_format,
            image_digest=image.digest,
            chips="chips.csv",
            deployment=deployment,
            fault_map=fault_map.digest,
            on_conflict=fault_map.on_conflict if isinstance(fault_map, MergedFaultMap) else None,
            members=tuple({"chip": m.chip, "digest": m.digest} for m in _members(fault_map)),
            layers=_layers(draft, onnx, placement),
            probe="probe.npz",
            probe_error=error,
            accuracy=None if report is None else float(report.nominal),
            versions={**_versions(), "python": platform.python_version()},
        )
        manifest.write(draft)
        found = verify_bundle(draft, fleet)
        if not found.ok:  # nothing that we know of; then it must not leave
            raise ValueError(f"{folder}: what was written does not verify: {'; '.join(found.problems)}")
    return Path(folder)


def _members(fault_map: FaultMap) -> tuple[FaultMap, ...]:
    return fault_map.members if isinstance(fault_map, MergedFaultMap) else (fault_map,)


def _check_arguments(fleet: Sequence[FaultMap], memory_format: str, onnx_forms: Sequence[str]) -> None:
    names = [chip.chip for chip in fleet]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"two chips are called {twice!r}; the table of chips needs a name for each")
    if memory_format not in get_args(Format):
        raise ValueError(f"memory_format must be one of {', '.join(get_args(Format))}, got {memory_format!r}")
    if not onnx_forms or not set(onnx_forms) <= set(FORMS):
        raise ValueError(f"onnx_forms must be some of {', '.join(FORMS)}, got {onnx_forms!r}")


def _accuracies(report: FleetReport | None, proofs: Sequence[Certificate]) -> dict[str, float]:
    if report is None:
        return {}
    found = {proof.chip: proof for proof in proofs}
    for result in report.chips:
        proof = found.get(result.chip)
        if proof is None:
            raise ValueError(f"the report {report.name!r} is about chip {result.chip!r}, which is none of chips")
        if (result.weights_that_differ, result.worst_error) != (proof.weights_that_differ, proof.worst_error):
            raise ValueError(
                f"the report {report.name!r} is of another network or deployment: on chip {result.chip!r} it counts "
                f"{result.weights_that_differ} weights that differ, here {proof.weights_that_differ} do"
            )
    return {result.chip: result.accuracy for result in report.chips}


def _chip_image(image: MemoryImage, chip: FaultMap) -> MemoryImage:
    """The nearest code that a chip can hold, for every code."""
    return MemoryImage(image.placement, certificate(image, chip, deployment="chip_image").read())


def _write_probe(model: nn.Module, probe: Tensor, draft: Path, qcdq: str | None, tolerance: float) -> float | None:
    with evaluation_mode(model), torch.no_grad():
        outputs = model(probe)
    outputs = getattr(outputs, "value", outputs)
    inputs, expected = probe.detach().cpu().numpy(), outputs.detach().cpu().numpy()
    write_probe(draft / "probe.npz", inputs, expected)
    if qcdq is None:
        return None
    error = output_errors(draft / qcdq, inputs, expected).max()
    if not error <= tolerance:
        raise ValueError(
            f"onnxruntime's output of the QCDQ file differs from PyTorch's by {error:.3g} of the largest, allowed are "
            f"{tolerance:.3g}"
        )
    return float(error)


def _layers(draft: Path, onnx: dict[str, str], placement: Placement) -> tuple[BundleLayer, ...]:
    form, name = next(iter(onnx.items()))
    weights = {w.initializer: w for w in onnx_weights(load_onnx(draft / name))}
    about = {form: onnx_metadata(draft / name) for form, name in onnx.items()}
    layers = []
    for layer in placement.layers:
        weight = weights[about[form]["layers"][layer.name]]
        layers.append(
            BundleLayer(
                **layer.description(),
                signed=layer.signed,
                scale=_numbers(weight.scale),
                zero_point=_numbers(weight.zero_point),
                store=about[form]["store"][layer.name],
                initializers={key: said["layers"][layer.name] for key, said in about.items()},
            )
        )
    return tuple(layers)


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(float(v) for v in np.asarray(values).reshape(-1))


def _versions() -> dict[str, str]:
    found = {}
    for tool in TOOLS:
        try:
            found[tool] = version(tool)
        except PackageNotFoundError:
            found[tool] = "unknown"
    return found
