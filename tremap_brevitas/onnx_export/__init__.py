"""Export a placed model: QONNX and QCDQ files, and bundles. Needs torch and Brevitas.

Not here: reading and verifying these files without torch; see ``onnx_files/`` and ``bundle/``.
"""
