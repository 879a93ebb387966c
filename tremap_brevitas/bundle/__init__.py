"""A bundle: one folder with everything that a group of chips needs, and everything needed to check it.

```text
group_0/
  model.qonnx.onnx        the network, as QONNX
  model.qcdq.onnx         the same as QCDQ, for onnxruntime
  weights_as_written.mem  the words to write into every chip
  chips.csv               every chip: bit-exact or not, largest error, accuracy
  placement.npz           which cell holds which bit of which weight
  probe.npz               inputs, and the network's outputs for them
  moments.npz             optional: second moments of each layer's inputs, to choose a chip's own codes without data
  groups.npz              optional: which channels may stand in another order, to find a chip's own order without torch
  manifest.json           layers, scales, digests of maps and of every file, versions of tools
```

This package reads and verifies bundles without torch, and writes the network that a chip computes. Not here: writing bundles,
which needs torch; see `onnx_export/`.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
