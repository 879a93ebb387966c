"""Write a placed model to files: ONNX files, and the bundle with everything that a group of chips needs."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tremap_brevitas.faults import FaultMap
from tremap_brevitas.placed.state import PlacedState
from tremap_brevitas.placement.certificate import Deployment

if TYPE_CHECKING:
    from tremap_brevitas.bundle.manifest import Form
    from tremap_brevitas.moments import InputMoments
    from tremap_brevitas.onnx_export.call import Inputs
    from tremap_brevitas.order import ChannelGroup
    from tremap_brevitas.placement.image_file import Format
    from tremap_brevitas.report.fleet_report import FleetReport


class Exportable(PlacedState):
    """The verbs of [PlacedModel][tremap_brevitas.PlacedModel] that write files."""

    def export_qonnx(
        self, path: str | os.PathLike[str], example_input: Inputs, *, dynamo: bool = True, dynamic_batch: bool = False
    ) -> Path:
        """Write the network to a QONNX file (``Quant`` nodes, any bit width).

        The file is read again before it gets its name: every layer of the placement must be there with exactly the codes that
        the model computes with. Metadata under the key ``tremap_brevitas`` says, as JSON, which fault map, chips, placement and
        store rule made it, and which initializer belongs to which layer; a weight that is used twice stands in the file once.
        The model itself is unchanged afterwards, whether the export succeeds or fails.

        Args:
            path: File to write.
            example_input: An input, for its shape: a tensor or an array, or for a model of several inputs a tuple of them.
            dynamo: Whether to use torch's newer exporter; ``False`` for the TorchScript one.
            dynamic_batch: Whether the file takes any number of inputs at a time; else as many as ``example_input`` has.

        Returns:
            The path written.

        Raises:
            ValueError: If the file does not hold the codes, the model or an input is not in float32, or (QCDQ) codes have more
                than 8 bits; nothing is written then.
            TypeError: If an input is not a tensor, or the model returns anything but tensors.
            RuntimeError: If a layer cannot be exported (groups; a shared quantizer, or in QCDQ a bias, under ``dynamo=True``),
                or torch's exporter refuses the model. ``dynamo=False`` may then still work, and the other way round.
        """
        from tremap_brevitas.onnx_export.export import export_onnx

        return export_onnx(self, "qonnx", path, example_input, dynamo=dynamo, dynamic_batch=dynamic_batch)

    def export_qcdq(
        self, path: str | os.PathLike[str], example_input: Inputs, *, dynamo: bool = True, dynamic_batch: bool = False
    ) -> Path:
        """Write the network to a QCDQ file (``QuantizeLinear``/``DequantizeLinear``, up to 8 bits), for onnxruntime.

        The weights are integer initializers. Arguments, checks, metadata and errors are those of
        [export_qonnx][tremap_brevitas.PlacedModel.export_qonnx].
        """
        from tremap_brevitas.onnx_export.export import export_onnx

        return export_onnx(self, "qcdq", path, example_input, dynamo=dynamo, dynamic_batch=dynamic_batch)

    def export(
        self,
        folder: str | os.PathLike[str],
        example_input: Inputs,
        *,
        chips: Iterable[FaultMap] | None = None,
        report: FleetReport | None = None,
        probe: Inputs | None = None,
        deployment: Deployment = "group_image",
        memory_format: Format = "readmemh",
        onnx_forms: Sequence[Form] = ("qonnx", "qcdq"),
        dynamo: bool = True,
        dynamic_batch: bool = False,
        tolerance: float = 1e-2,
        moments: InputMoments | Iterable[Any] | None = None,
        groups: Iterable[ChannelGroup] | None = None,
        overwrite: bool = False,
        progress: bool = True,
    ) -> Path:
        """Write a bundle: one folder with everything that a group's network needs outside Python, and its checks.

        QONNX and QCDQ file, memory image, a table of the chips, the placement, a probe (inputs and the network's outputs
        for them) and a manifest with a digest of every file. The folder is checked by
        [verify_bundle][tremap_brevitas.verify_bundle] before it gets its name: the folder is written atomically.

        Args:
            folder: Folder to make.
            example_input: An input, for its shape: a tensor or an array, or for a model of several inputs a tuple of them. The
                model computes in float32, and returns a tensor or a tuple of tensors that begin with the batch.
            chips: The chips of the table; None for the members of the live map.
            report: Report of ``evaluate`` with the same deployment; its accuracies go into the table.
            probe: Inputs that are kept with the network's outputs for them, real data if possible, as many as
                ``example_input`` has or a multiple (any number with ``dynamic_batch``); None for ``example_input`` itself.
            deployment: ``"group_image"``: one memory image for all chips. ``"chip_image"``: one more for each chip, in which
                every code is the nearest that the chip can hold.
            memory_format: Format of the memory images, as in ``write_memory_image``.
            onnx_forms: Which ONNX files to write. QCDQ cannot hold codes of more than 8 bits; leave it out for them.
            dynamo: Whether to use torch's newer exporter.
            dynamic_batch: Whether the ONNX files take any number of inputs at a time.
            tolerance: Allowed difference between PyTorch's and onnxruntime's outputs for the probe, relative to the largest
                output. The codes are compared exactly; this check covers the rest of the graph. Where the two round a sum
                differently, an activation at a boundary moves to the next code.
            moments: Batches of a few hundred inputs without labels; their second moments are kept for ``tremap patch``.
            groups: Result of [channel_groups][tremap_brevitas.prepare.channel_groups]; it is kept for ``tremap order``.
            overwrite: Whether to replace an existing bundle. A folder that also holds other files is never replaced.
            progress: Whether to show a progress bar on standard error.

        Returns:
            The folder.

        Raises:
            FileExistsError: If the folder exists, and ``overwrite`` is False or it holds files that no export wrote.
            ValueError: If a chip has another memory, or two have one name; the report is about other chips or another network;
                model or inputs are not in float32, or do not begin with the batch; or onnxruntime's outputs differ too much.
                Nothing is written then.
            TypeError: If an input is not a tensor, or the model returns anything but tensors.
            RuntimeError: If a layer cannot be exported.
        """
        from tremap_brevitas.onnx_export.bundle import export_bundle
        from tremap_brevitas.prepare.compensation.collect import as_moments

        return export_bundle(
            self,
            folder,
            example_input,
            chips=chips,
            report=report,
            probe=probe,
            deployment=deployment,
            memory_format=memory_format,
            onnx_forms=onnx_forms,
            dynamo=dynamo,
            dynamic_batch=dynamic_batch,
            tolerance=tolerance,
            moments=as_moments(self, moments, progress=progress),
            groups=groups,
            overwrite=overwrite,
            progress=progress,
        )
