"""The manifest of a bundle: its files and their digests."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypedDict

import msgspec

from tremap_brevitas.placement.certificate import Deployment
from tremap_brevitas.placement.image_file import Format
from tremap_brevitas.reading import file_digest as file_digest
from tremap_brevitas.reading import read_file, reading

KIND = "tremap bundle"
SCHEMA = 1
NAME = "manifest.json"
Form = Literal["qonnx", "qcdq"]
FORMS: tuple[Form, ...] = ("qonnx", "qcdq")
MAX_BYTES = 256 << 20


class Member(TypedDict):
    """Name and digest of a chip's map that is part of the training map."""

    chip: str
    digest: str


@dataclass(frozen=True)
class BundleLayer:
    """One layer in the manifest.

    Attributes:
        name: Dotted name of the layer.
        shape: Shape of its weight.
        bit_width: Bits of a code.
        signed: Whether codes have a sign.
        encoding: How a code is stored.
        first_word: First word of the layer.
        codes_per_word: Codes in a word.
        scale: Scale of the weight: one number, or one for each channel.
        zero_point: Zero point, likewise.
        store: ``"nearest"``, ``"plain"``, or None for a layer that no fault hit.
        initializers: Name of the initializer that holds the weight in each ONNX file, by form.
    """

    name: str
    shape: tuple[int, ...]
    bit_width: int
    signed: bool
    encoding: str
    first_word: int
    codes_per_word: int
    scale: tuple[float, ...]
    zero_point: tuple[float, ...]
    store: str | None
    initializers: Mapping[str, str]


@dataclass(frozen=True)
class Manifest:
    """Content of a bundle's ``manifest.json``.

    Attributes:
        files: SHA-256 of every other file of the folder, by name.
        onnx: Name of the ONNX file of each form, ``"qonnx"`` and ``"qcdq"``.
        placement: Name of the placement's file.
        placement_digest: Its digest.
        image: Name of the memory image.
        image_format: Its format.
        image_digest: Digest of the codes that it holds, and that the network was trained with.
        chips: Name of the table of chips.
        deployment: ``"group_image"``: one image for all chips; ``"chip_image"``: the table names one for each.
        fault_map: Digest of the fault map that the network was trained under.
        on_conflict: How its conflicts were settled; None for the map of a single chip.
        members: Name and digest of each chip's map in it.
        layers: The layers.
        probe: Name of the file with inputs and outputs, or None.
        probe_error: Largest difference between PyTorch and onnxruntime when the bundle was written, relative to the largest
            output; None if there is no QCDQ file.
        accuracy: Accuracy of the network itself, from a report; None without one.
        versions: Versions of the tools that wrote the bundle.
        accumulators: Lowest and highest sum of each layer on any chip of the table, from ``accumulator_ranges``; layers whose
            input is not quantized are left out. None without a QONNX file, and in older bundles.
        moments: Name of the file with the second moments of the layers' inputs, which ``tremap patch`` uses to choose a chip's
            own codes; None if there is none. Older versions ignore it.
        groups: Name of the file with the groups of channels, which ``tremap order`` uses to find a chip's own order; None if
            there is none. Older versions ignore it.
    """

    files: Mapping[str, str]
    onnx: Mapping[str, str]
    placement: str
    placement_digest: str
    image: str
    image_format: Format
    image_digest: str
    chips: str
    deployment: Deployment
    fault_map: str
    on_conflict: str | None
    members: tuple[Member, ...]
    layers: tuple[BundleLayer, ...]
    probe: str | None = None
    probe_error: float | None = None
    accuracy: float | None = None
    versions: Mapping[str, str] = field(default_factory=dict)
    accumulators: Mapping[str, tuple[int, int]] | None = None
    moments: str | None = None
    groups: str | None = None

    def write(self, folder: Path) -> Path:
        """Write ``manifest.json``, with a digest of itself."""
        content = {"kind": KIND, "schema": SCHEMA, **asdict(self)}
        path = folder / NAME
        text = json.dumps({**content, "digest": _digest(content)}, indent=2, sort_keys=True)
        path.write_text(text + "\n", encoding="utf-8")
        return path

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """Read ``manifest.json``.

        Raises:
            FileNotFoundError: If there is none.
            ValueError: If it is damaged, was changed, is not a manifest, or has a newer schema.
        """
        path = folder / NAME
        data = read_file(path, limit=MAX_BYTES)
        with reading(path, f"a {KIND}'s manifest"):
            content = json.loads(data)
            said = content.pop("digest")
            kind, schema = content.pop("kind"), content.pop("schema")
            digest = _digest({"kind": kind, "schema": schema, **content})
        if kind != KIND:
            raise ValueError(f"{path}: holds a {kind!r}, expected a {KIND!r}")
        if type(schema) is not int or not 1 <= schema <= SCHEMA:
            raise ValueError(f"{path}: schema {schema} of {KIND}, but this version reads 1 to {SCHEMA} only")
        if said != digest:
            raise ValueError(f"{path}: was changed: its content has digest {digest}, it says {said}")
        with reading(path, f"a {KIND}'s manifest"):
            manifest = msgspec.convert(content, cls)
            manifest._check_names()
        return manifest

    def _check_names(self) -> None:
        named = [*self.onnx.values(), self.placement, self.image, self.chips]
        named += [name for name in (self.probe, self.moments, self.groups) if name is not None]
        for name in [*self.files, *named]:
            if Path(name).name != name or name in ("", ".", "..", NAME) or "\\" in name or not name.isprintable():
                raise ValueError(f"file {name!r} is not directly in the folder")
        unlisted = [name for name in named if name not in self.files]
        if unlisted or not set(self.onnx) <= set(FORMS) or not self.onnx:
            raise ValueError(f"files without a digest: {unlisted}; ONNX files: {dict(self.onnx)}")


def written_files(folder: Path) -> dict[str, str]:
    """Return names and SHA-256 of the files that an export wrote into a folder; none without a valid manifest."""
    try:
        files = dict(Manifest.read(folder).files)
    except (FileNotFoundError, IsADirectoryError, ValueError):
        return {}
    return {**files, NAME: file_digest(folder / NAME)}


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
