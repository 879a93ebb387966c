"""Write a bundle."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, get_args

import numpy as np
from torch import Tensor, nn
from tqdm import tqdm

from tremap_brevitas.bundle.accumulators import accumulator_ranges
from tremap_brevitas.bundle.chips import BundleChip, write_chips
from tremap_brevitas.bundle.extras import GROUPS, MOMENTS
from tremap_brevitas.bundle.manifest import FORMS, BundleLayer, Form, Manifest, file_digest, written_files
from tremap_brevitas.bundle.probe import write_probe
from tremap_brevitas.bundle.verify import verify_bundle
from tremap_brevitas.faults import FaultMap
from tremap_brevitas.files import atomic_folder
from tremap_brevitas.moments import InputMoments
from tremap_brevitas.onnx_export.call import Inputs, as_inputs, check_batch, outputs_of
from tremap_brevitas.onnx_export.export import OnnxExport, Written
from tremap_brevitas.onnx_files.verify import output_errors
from tremap_brevitas.onnx_files.weights import onnx_weights
from tremap_brevitas.order import ChannelGroup, check_groups, save_groups
from tremap_brevitas.placed.state import PlacedState
from tremap_brevitas.placement import MemoryImage, Placement
from tremap_brevitas.placement.certificate import Certificate, Deployment, certificate
from tremap_brevitas.placement.image_file import Format, write_memory_image
from tremap_brevitas.printable import counted
from tremap_brevitas.report.fleet_report import FleetReport

ENDINGS = {"readmemh": "mem", "amd_mif": "mif", "coe": "coe", "altera_mif": "mif", "intel_hex": "hex", "raw": "bin"}
TOOLS = ("tremap_brevitas", "brevitas", "torch", "numpy", "onnx", "onnxruntime", "onnxscript", "onnxoptimizer")


def export_bundle(
    net: PlacedState,
    folder: str | os.PathLike[str],
    example_input: Inputs,
    *,
    chips: Iterable[FaultMap] | None = None,
    report: FleetReport | None = None,
    probe: Inputs | None = None,
    deployment: Deployment = "group_image",
    memory_format: Format = "readmemh",
    onnx_forms: Sequence[Form] = FORMS,
    dynamo: bool = True,
    dynamic_batch: bool = False,
    tolerance: float = 1e-2,
    moments: InputMoments | None = None,
    groups: Iterable[ChannelGroup] | None = None,
    overwrite: bool = False,
    progress: bool = True,
) -> Path:
    """Write a bundle; see ``PlacedModel.export``."""
    if report is not None and report.batchnorm:
        raise ValueError(
            f"the report {report.name!r} was measured with BatchNorm statistics of each chip, but a bundle holds one network "
            f"for all; evaluate without batchnorm, or export each chip's own network after reestimate_batchnorm_"
        )
    inputs, probed = _inputs(example_input, probe, dynamic_batch)
    onnx_export = OnnxExport(net, inputs, onnx_forms, dynamo=dynamo, dynamic_batch=dynamic_batch)
    probed = tuple(x.cpu() for x in probed)
    check_batch(inputs, onnx_export.outputs)
    image, placement, fault_map = onnx_export.image, net.placement, onnx_export.fault_map
    fleet = list(onnx_export.members if chips is None else chips)
    _check_arguments(fleet, memory_format, onnx_forms)
    if moments is not None and moments.image != image.digest:
        raise ValueError(f"moments belong to an image of digest {moments.image}, but the network's is {image.digest} now")
    channels = None if groups is None else _groups(groups, placement)
    proofs = [
        onnx_export.certificate
        if chip is fault_map and deployment == "group_image"
        else certificate(image, chip, deployment=deployment)
        for chip in fleet
    ]
    accuracies = _accuracies(report, proofs)
    ending = ENDINGS[memory_format]
    parts = len(onnx_forms) + (len(fleet) if deployment == "chip_image" else 0) + 2
    bar = tqdm(total=parts, desc="exporting", unit="part", leave=False, disable=not progress)
    with bar, atomic_folder(folder, overwrite=overwrite, wrote=written_files) as draft:
        written = {}
        for form in FORMS:
            if form in onnx_forms:
                written[form] = onnx_export.write(form, draft / f"model.{form}.onnx")
                bar.update()
        group = f"weights_as_written.{ending}"
        write_memory_image(image, draft / group, format=memory_format, fault_map=None)
        images = [group] * len(fleet)
        if deployment == "chip_image":
            images = [f"weights_as_written_chip_{i:04}.{ending}" for i in range(len(fleet))]
            for proof, name in zip(proofs, images, strict=True):
                own = MemoryImage(placement, proof.read())  # the nearest code that the chip can hold, for every code
                write_memory_image(own, draft / name, format=memory_format, fault_map=None)
                bar.update()
        members = {m.digest for m in onnx_export.members}
        rows = tuple(
            BundleChip(
                replace(proof.result, accuracy=accuracies.get(proof.chip)),
                digest=fault_map.digest,
                faults=len(fault_map),
                member=fault_map.digest in members,
                image=name,
            )
            for fault_map, proof, name in zip(fleet, proofs, images, strict=True)
        )
        write_chips(rows, draft / "chips.csv")
        placement.save(draft / "placement.npz")
        if moments is not None:
            moments.save(draft / MOMENTS)
        if channels is not None:
            save_groups(channels, draft / GROUPS)
        error = _write_probe(onnx_export.net.model, probed, draft, written.get("qcdq"), tolerance, dynamic_batch)
        layers = _layers(written, placement)
        manifest = Manifest(
            files={path.name: file_digest(path) for path in sorted(draft.iterdir())},
            onnx={form: file.path.name for form, file in written.items()},
            placement="placement.npz",
            placement_digest=placement.digest,
            image=group,
            image_format=memory_format,
            image_digest=image.digest,
            chips="chips.csv",
            deployment=deployment,
            fault_map=fault_map.digest,
            on_conflict=fault_map.on_conflict,
            members=tuple({"chip": m.chip, "digest": m.digest} for m in onnx_export.members),
            layers=layers,
            probe="probe.npz",
            probe_error=error,
            accuracy=None if report is None else float(report.nominal),
            versions={**_versions(), "python": platform.python_version()},
            accumulators=_accumulators(written.get("qonnx"), layers, image, proofs),
            moments=None if moments is None else MOMENTS,
            groups=None if channels is None else GROUPS,
        )
        manifest.write(draft)
        bar.update()
        verification = verify_bundle(draft, fleet, progress=progress)
        bar.update()
        if not verification.ok:  # there is no known cause; but such a bundle must not be written
            raise ValueError(f"{folder}: the new bundle fails its verification: {'; '.join(verification.problems)}")
    return Path(folder)


def _check_arguments(fleet: Sequence[FaultMap], memory_format: str, onnx_forms: Sequence[str]) -> None:
    names = [chip.chip for chip in fleet]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"two chips are called {twice!r}; the table of chips needs a name for each")
    if memory_format not in get_args(Format):
        raise ValueError(f"memory_format must be one of {', '.join(get_args(Format))}, got {memory_format!r}")
    if not onnx_forms or not set(onnx_forms) <= set(FORMS):
        raise ValueError(f"onnx_forms must be some of {', '.join(FORMS)}, got {onnx_forms!r}")


def _groups(groups: Iterable[ChannelGroup], placement: Placement) -> tuple[ChannelGroup, ...]:
    channels = tuple(groups)
    for group in channels:
        if not isinstance(group, ChannelGroup):
            raise TypeError(
                f"groups must be groups of channels, as tm.prepare.channel_groups finds them, got {type(group).__name__}"
            )
    if not channels:
        raise ValueError("groups is empty: no channel of the network may stand in another order; leave it out")
    check_groups(channels, placement)
    return channels


def _accuracies(report: FleetReport | None, proofs: Sequence[Certificate]) -> dict[str, float]:
    if report is None:
        return {}
    by_chip = {proof.chip: proof for proof in proofs}
    for result in report.chips:
        proof = by_chip.get(result.chip)
        if proof is None:
            raise ValueError(f"the report {report.name!r} is about chip {result.chip!r}, which is not among chips")
        if replace(result, accuracy=None) != proof.result:
            raise ValueError(
                f"the report {report.name!r} is of another network or deployment: on chip {result.chip!r} it says {result}; "
                f"here {proof.result}"
            )
    return dict(zip((result.chip for result in report.chips), report.accuracies, strict=True))


def _inputs(example_input: Inputs, probe: Inputs | None, dynamic_batch: bool) -> tuple[tuple[Tensor, ...], tuple[Tensor, ...]]:
    """Return the inputs of the export and of the probe, which must match."""
    inputs = as_inputs(example_input, "example_input")
    if probe is None:
        return inputs, inputs
    probed = tuple(x.to(like.device) for x, like in zip(as_inputs(probe, "probe"), inputs, strict=False))
    shapes = [[(tuple(x.shape[1:]), x.dtype) for x in several] for several in (inputs, as_inputs(probe, "probe"))]
    if shapes[0] != shapes[1]:
        said = (", ".join(f"{tuple(x.shape)} {x.dtype}" for x in several) for several in (probed, inputs))
        raise ValueError("probe has inputs {}, but example_input has {}; only their number may differ".format(*said))
    size, count = len(inputs[0]), len(probed[0])
    if not count or (count % size and not dynamic_batch):
        raise ValueError(
            f"probe has {counted(count, 'input')}, but example_input has {size}, and the files take that number at a time: "
            f"give a multiple of it, or dynamic_batch=True"
        )
    return inputs, probed


def _write_probe(
    model: nn.Module, probe: tuple[Tensor, ...], draft: Path, qcdq: Written | None, tolerance: float, dynamic_batch: bool
) -> float | None:
    given, expected = ([x.detach().cpu().numpy() for x in several] for several in (probe, outputs_of(model, probe)))
    write_probe(draft / "probe.npz", given, expected)
    if qcdq is None:
        return None
    error = output_errors(qcdq.path, given, expected).max()
    if dynamic_batch:  # another number of inputs than the graph was made with
        twice = [[np.concatenate([x, x]) for x in several] for several in (given, expected)]
        error = max(error, output_errors(qcdq.path, *twice).max())
    if not error <= tolerance:
        raise ValueError(
            f"onnxruntime's output of the QCDQ file differs from PyTorch's by {error:.3g} of the largest; the tolerance is "
            f"{tolerance:.3g}"
        )
    return float(error)


def _layers(written: Mapping[Form, Written], placement: Placement) -> tuple[BundleLayer, ...]:
    first = next(iter(written.values()))
    weights = {w.initializer: w for w in onnx_weights(first.graph)}
    layers = []
    for layer in placement.layers:
        weight = weights[first.about["layers"][layer.name]]
        layers.append(
            BundleLayer(
                **layer.description(),
                signed=layer.signed,
                scale=_numbers(weight.scale),
                zero_point=_numbers(weight.zero_point),
                store=first.about["store"][layer.name],
                initializers={form: file.about["layers"][layer.name] for form, file in written.items()},
            )
        )
    return tuple(layers)


def _accumulators(
    qonnx: Written | None, layers: Sequence[BundleLayer], image: MemoryImage, proofs: Sequence[Certificate]
) -> dict[str, tuple[int, int]] | None:
    if qonnx is None:
        return None
    names = {layer.name: layer.initializers["qonnx"] for layer in layers if not any(layer.zero_point)}
    return accumulator_ranges(qonnx.graph, names, image, proofs)


def _numbers(values: Any) -> tuple[float, ...]:
    return tuple(float(v) for v in np.asarray(values).reshape(-1))


def _versions() -> dict[str, str]:
    versions = {}
    for tool in TOOLS:
        try:
            versions[tool] = version(tool)
        except PackageNotFoundError:
            versions[tool] = "unknown"
    return versions
