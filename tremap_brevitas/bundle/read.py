"""Read a bundle and check its files. Needs neither torch nor Brevitas."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tremap_brevitas.bundle.chips import BundleChip, read_chips
from tremap_brevitas.bundle.extras import read_groups, read_moments
from tremap_brevitas.bundle.manifest import NAME, BundleLayer, Manifest
from tremap_brevitas.bundle.probe import read_probe
from tremap_brevitas.faults import FaultMap
from tremap_brevitas.moments import InputMoments
from tremap_brevitas.onnx_files.verify import code_difference, output_errors
from tremap_brevitas.onnx_files.weights import load_onnx, metadata_of, onnx_weights
from tremap_brevitas.placement import MemoryImage, Placement
from tremap_brevitas.placement.certificate import Certificate, certificate, certificate_of
from tremap_brevitas.placement.image_file import read_memory_image
from tremap_brevitas.printable import counted
from tremap_brevitas.reading import check_regular, file_digest, reading

if TYPE_CHECKING:
    from tremap_brevitas.order import ChannelGroup

ROUNDING = 1e-6  # of the largest output: a few times the difference of float32 sums in another order


@dataclass(frozen=True, eq=False, repr=False)
class Bundle:
    """A checked bundle: its files are complete, unchanged and consistent. Made by ``Bundle.load``.

    Attributes:
        folder: Its folder.
        manifest: Its manifest.
        image: The codes that the network was trained with.
        chips: The table of chips.
    """

    folder: Path
    manifest: Manifest
    image: MemoryImage
    chips: tuple[BundleChip, ...]

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Bundle:
        """Read a bundle.

        Raises:
            ValueError: If anything in it is damaged or contradicts something else; lists all problems.
            FileNotFoundError: If there is no such folder, or no manifest in it.
        """
        bundle, problems, _ = examine(folder)
        if bundle is None or problems:
            raise ValueError(f"{folder}: the bundle is not what was exported:\n  " + "\n  ".join(problems))
        return bundle

    def moments(self) -> InputMoments:
        """Return the second moments of the layers' inputs; each layer's are read on first use.

        Raises:
            ValueError: If the bundle has none, or they are damaged or of another network.
        """
        if self.manifest.moments is None:
            raise ValueError(
                f"{self.folder}: has no moments of its layers' inputs; export it with moments=, a few hundred inputs"
            )
        return read_moments(self.folder / self.manifest.moments, self.image)

    def groups(self) -> tuple[ChannelGroup, ...]:
        """Return the groups of channels that may be reordered.

        Raises:
            ValueError: If the bundle has none, or they are damaged or of another network.
        """
        if self.manifest.groups is None:
            raise ValueError(
                f"{self.folder}: has no groups of channels; export it with groups=tm.prepare.channel_groups(net, x), "
                "x being two inputs"
            )
        return read_groups(self.folder / self.manifest.groups, self.image.placement)

    def image_file(self, fault_map: FaultMap) -> Path:
        """Return the file for a chip: its own, by its map's digest, in a ``"chip_image"`` bundle; else the group's."""
        own = next((row.image for row in self.chips if row.digest == fault_map.digest), self.manifest.image)
        return self.folder / own

    def certificate(self, fault_map: FaultMap) -> Certificate:
        """Compare what a chip reads of its image in the bundle with the integers in the ONNX files.

        Args:
            fault_map: Any chip's own fault map.

        Raises:
            ValueError: If the map is of another memory.
        """
        file = self.image_file(fault_map)
        if file.name == self.manifest.image:
            return certificate(self.image, fault_map)
        written = read_image(file, self.manifest, self.image.placement)
        return certificate_of(fault_map.chip, self.image, certificate(written, fault_map).read())

    def __repr__(self) -> str:
        return f"Bundle({str(self.folder)!r}, {self.image}, {counted(len(self.chips), 'chip')})"


def read_image(path: Path, manifest: Manifest, placement: Placement) -> MemoryImage:
    """Decode one of the bundle's memory images.

    Raises:
        ValueError: If it is not of the format that the manifest says, or not of the placement's size.
    """
    check_regular(path)
    with reading(path, f"a memory image in {manifest.image_format}"):
        words = read_memory_image(path, format=manifest.image_format, word_bits=placement.memory.word_bits)
        return MemoryImage.from_words(placement, words)


def examine(folder: str | os.PathLike[str]) -> tuple[Bundle | None, list[str], Measured]:
    """Check a bundle's files one by one, and against each other.

    Returns:
        The bundle, or None if manifest, image, placement or table cannot be read; a sentence for each problem; and
        measurements made on the way.

    Raises:
        FileNotFoundError: If there is no such folder, or no manifest in it.
    """
    root = Path(folder)
    if not root.is_dir():
        raise FileNotFoundError(f"{root}: no such folder")
    if not (root / NAME).is_file():
        raise FileNotFoundError(f"{root}: no {NAME} in it, so it is not a bundle")
    measured = Measured()
    try:
        manifest = Manifest.read(root)
    except ValueError as error:
        return None, [relative(error, root)], measured
    problems = _check_digests(root, manifest)
    measured.files = len(manifest.files) + 1
    measured.unlisted = tuple(sorted(p.name for p in root.iterdir() if p.name not in {*manifest.files, NAME}))
    try:
        placement = Placement.load(root / manifest.placement)
        problems += _check_placement(manifest, placement)
        image = read_image(root / manifest.image, manifest, placement)
        if image.digest != manifest.image_digest:
            problems.append(f"{manifest.image}: holds codes of digest {image.digest}, expected {manifest.image_digest}")
        chips = read_chips(root / manifest.chips)
        members = {m["digest"] for m in manifest.members}
        for row in chips:
            if row.member != (row.digest in members):
                said = "a member" if row.member else "no member"
                problems.append(f"{manifest.chips}: says that chip {row.chip!r} is {said} of the group; {NAME} says otherwise")
            if row.image not in manifest.files:
                problems.append(
                    f"{manifest.chips}: chip {row.chip!r} is to get {row.image!r}, which is not a file of the bundle"
                )
    except (OSError, ValueError) as error:
        problems.append(relative(error, root))
        return None, problems, measured
    for name, read in (
        (manifest.moments, lambda path: read_moments(path, image)),
        (manifest.groups, lambda path: read_groups(path, placement)),
    ):
        if name is not None:
            try:
                read(root / name)
            except (OSError, ValueError) as error:
                problems.append(relative(error, root))
    for form, name in manifest.onnx.items():
        try:
            check_regular(root / name)
            with reading(root / name, "an ONNX file"):
                problems += _check_onnx(root / name, form, manifest, image)
        except (OSError, ValueError) as error:
            problems.append(relative(error, root))
    if manifest.probe is not None and "qcdq" in manifest.onnx and not problems:
        try:
            arrays = read_probe(root / manifest.probe)
            with reading(root / manifest.onnx["qcdq"], f"a network that takes {manifest.probe}"):
                errors = output_errors(root / manifest.onnx["qcdq"], *arrays)
        except (OSError, ValueError) as error:
            problems.append(relative(error, root))
        else:
            measured.output_error, measured.inputs = float(errors.max()), len(errors)
            measured.inputs_equal = int((errors <= ROUNDING).sum())
            allowed = max(ROUNDING, 2 * (manifest.probe_error or 0.0))
            if not measured.output_error <= allowed:
                problems.append(
                    f"{manifest.onnx['qcdq']}: outputs for {manifest.probe} differ by {measured.output_error:.3g} of the "
                    f"largest, expected at most {allowed:.3g}"
                )
    return Bundle(root, manifest, image, chips), problems, measured


@dataclass
class Measured:
    """Measurements made while a bundle is checked."""

    files: int = 0
    unlisted: tuple[str, ...] = ()
    output_error: float | None = None
    inputs: int = 0
    inputs_equal: int = 0


def _check_digests(root: Path, manifest: Manifest) -> list[str]:
    there: dict[str, str] = {}
    problems = []
    for path in sorted(root.iterdir()):
        if path.is_file() and path.name != NAME:
            try:
                there[path.name] = file_digest(path)
            except OSError as error:
                problems.append(relative(error, root))
    for name, digest in manifest.files.items():
        actual = there.get(name)
        if actual == digest:
            continue
        elsewhere = next((other for other, d in there.items() if d == digest), None)
        whose = next((other for other, d in manifest.files.items() if d == actual), None)
        if actual is None and os.path.lexists(root / name):
            problems.append(f"{name}: is not a file that can be read")
        elif actual is None:
            problems.append(f"{name}: missing" + (f"; {elsewhere} has its content" if elsewhere else ""))
        elif whose is not None:
            problems.append(f"{name}: has the content of {whose}" + (f", and {elsewhere} has its own" if elsewhere else ""))
        else:
            problems.append(f"{name}: damaged or replaced: SHA-256 is {actual}, expected {digest}")
    return problems


def _check_placement(manifest: Manifest, placement: Placement) -> list[str]:
    problems = []
    if placement.digest != manifest.placement_digest:
        problems.append(f"{manifest.placement}: digest {placement.digest}, expected {manifest.placement_digest}")
    placed: list[dict[str, Any]] = [{**layer.description(), "signed": layer.signed} for layer in placement.layers]
    said = [{**{key: getattr(layer, key) for key in placed[0]}, "shape": list(layer.shape)} for layer in manifest.layers]
    if placed != said:
        problems.append(f"{manifest.placement}: its layers are not those of {NAME}")
    return problems


def _check_onnx(path: Path, form: str, manifest: Manifest, image: MemoryImage) -> list[str]:
    graph = load_onnx(path)
    weights = {w.initializer: w for w in onnx_weights(graph)}
    problems = []
    about = metadata_of(graph)
    expected = {"fault_map": manifest.fault_map, "placement": manifest.placement_digest, "image": manifest.image_digest}
    if about is None:
        problems.append(f"{path.name}: was not written by tremap_brevitas")
    else:
        for key, digest in expected.items():
            if about.get(key) != digest:
                problems.append(f"{path.name}: made for {key} {about.get(key)}, the bundle's is {digest}")
    for layer in manifest.layers:
        where = f"{path.name}: layer {layer.name!r}"
        weight = weights.get(layer.initializers.get(form, ""))
        if weight is None:
            problems.append(f"{where}: no quantized weight {layer.initializers.get(form)!r} in it; it has {', '.join(weights)}")
            continue
        codes = image.codes.get(layer.name)
        if codes is None or weight.codes.shape != codes.shape:
            shape = None if codes is None else codes.shape
            problems.append(f"{where}: shape {weight.codes.shape} in the file, {shape} in the image")
        elif not np.array_equal(weight.codes, codes):
            problems.append(f"{where}: {code_difference(image.placement.layer(layer.name), weight, codes)}")
        if form == "qonnx" and weight.bit_width != layer.bit_width:
            problems.append(f"{where}: {counted(weight.bit_width, 'bit')} in the file, expected {layer.bit_width}")
        problems += [f"{where}: {text}" for text in _check_scale(layer, weight.scale, weight.zero_point)]
    return problems


def _check_scale(layer: BundleLayer, scale: NDArray[Any], zero_point: NDArray[Any]) -> list[str]:
    problems = []
    for what, numbers, expected in (("scale", scale, layer.scale), ("zero point", zero_point, layer.zero_point)):
        values = np.asarray(numbers, dtype=np.float64).reshape(-1)
        # One number for all channels may be written once, or once a channel.
        if not len(expected) or (len(values) != len(expected) and 1 not in (len(values), len(expected))):
            problems.append(f"{len(values)} numbers as {what}, expected {len(expected)}")
            continue
        size = max(len(values), len(expected))
        values, wanted = np.resize(values, size), np.resize(np.asarray(expected), size)
        if not np.array_equal(values, wanted):
            at = int(np.argmax(values != wanted))
            problems.append(f"{what} [{at}] is {values[at]:.9g}, expected {wanted[at]:.9g}")
    return problems


def relative(error: Exception, root: Path) -> str:
    """Return the text of an error without the bundle's folder."""
    if isinstance(error, FileNotFoundError):
        return f"{Path(str(error.filename)).name}: missing" if error.filename else str(error)
    return str(error).replace(f"{root}{os.sep}", "")
