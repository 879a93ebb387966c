"""Measure what things cost: run one from the top of the repository, such as ``python -m benchmarks.step``."""

import sys
from pathlib import Path

# Networks, data and the training loop are those of the examples, which are scripts and no package.
sys.path.append(str(Path(__file__).parents[1] / "examples"))
