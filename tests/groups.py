"""Networks prepared for a group of chips, without training: what the tests of bundles and hardware flows begin with."""

from __future__ import annotations

import dataclasses

import brevitas.nn as qnn
import torch
from brevitas.quant import Uint8ActPerTensorFixedPoint
from helpers import a_net
from networks import DigitsNet, FullRangeWeight, ResNet
from torch import nn

import tremap_brevitas as tm
from tremap_brevitas.bundle.manifest import Manifest, file_digest

X = {
    "digits": torch.randn(6, 1, 8, 8, generator=torch.Generator().manual_seed(5)),
    "linear": torch.randn(6, 64, generator=torch.Generator().manual_seed(5)),
    "resnet": torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(5)),
}


BUNDLE_FILES = [
    "chips.csv",
    "model.qcdq.onnx",
    "model.qonnx.onnx",
    "placement.npz",
    "probe.npz",
    "weights_as_written.mem",
]


def signed(folder, **changes):
    """Let the manifest agree with whatever lies in the folder: a forgery that no digest gives away."""
    manifest = Manifest.read(folder)
    files = {name: file_digest(folder / name) for name in manifest.files}
    dataclasses.replace(manifest, files=files, **changes).write(folder)


def linear_network(weight_quant=FullRangeWeight):
    """Two linear layers with activations between them: the smallest digits network."""
    return nn.Sequential(
        qnn.QuantLinear(64, 32, bias=True, weight_quant=weight_quant),
        qnn.QuantReLU(act_quant=Uint8ActPerTensorFixedPoint),
        qnn.QuantLinear(32, 10, bias=True, weight_quant=weight_quant),
    )


class Group:
    """A network with the merged faults of four chips."""

    def __init__(self, network="digits", *, seed=0, on_conflict="majority", quantizer=None, fault_rate=0.02, **placing):
        torch.manual_seed(seed)
        self.x = X[network]
        make = {"digits": DigitsNet, "linear": linear_network, "resnet": ResNet}[network]
        self.model = tm.make_faulty(make()) if quantizer is None else make(weight_quant=quantizer)
        for _ in range(3):  # BatchNorm statistics and activation scales
            self.model(self.x)
        self.model.eval()
        self.net = a_net(self.model, **placing)
        self.placement = self.net.placement
        self.chips = tm.random_fault_maps(self.placement.memory, chips=4, fault_rate=fault_rate, seed=seed)
        self.merged = tm.merge(self.chips, on_conflict=on_conflict)
        self.net.set_faults_(self.merged)
        self.image = self.net.memory_image()

    def export(self, folder, **options):
        options = {"dynamo": False, **options}
        return self.net.export(folder, options.pop("example_input", self.x), **options)

    def outputs(self, codes):
        """What the model gives when it computes with these codes."""
        with torch.no_grad(), self.net.using_codes(codes):
            return self.model(self.x).numpy()

    def exact_chip(self, cells):
        """A chip whose stuck values at these cells happen to be what is stored."""
        width, words = self.placement.memory.word_bits, self.image.words()
        stuck_at = [words[c // width] >> c % width & 1 for c in cells]
        return tm.FaultMap(self.placement.memory, list(cells), stuck_at, "lucky")
