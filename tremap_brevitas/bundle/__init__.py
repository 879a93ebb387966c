"""A bundle: one folder with everything that a group of chips needs, and everything needed to check it.

```text
group_0/
  model.qonnx.onnx        the network, as QONNX
  model.qcdq.onnx         the same as QCDQ, for onnxruntime
  weights_as_written.mem  the words to write into every chip
  chips.csv               every chip: bit-exact or not, and how well it does
  placement.npz           which cell holds which bit of which weight
  probe.npz               an input, and what the network makes of it
  moments.npz             if asked for: what goes into each layer, to choose a chip's own codes without data
  groups.npz              if asked for: which channels may stand in another order, to find a chip's own order without torch
  manifest.json           layers, scales, digests of maps and of every file, versions of tools
```

Read, verified and written for a chip without torch; writing one is `onnx_export/bundle.py`'s work.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
