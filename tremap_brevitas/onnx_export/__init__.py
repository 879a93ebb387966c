"""Export a placed model: QONNX and QCDQ files, and bundles. Needs torch and Brevitas."""
