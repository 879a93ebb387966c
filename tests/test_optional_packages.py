"""Optional packages are optional: every module can be imported, and a fleet placed, without them."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]

BLOCKED = [
    *("matplotlib", "sklearn", "ray", "hls4ml", "pandas", "qonnx", "openvino", "mkdocs", "griffe"),
    *("lightning", "pytorch_lightning"),
]

PROGRAM = f"""
import sys
for name in {BLOCKED}:
    sys.modules[name] = None
import importlib, pkgutil
import tremap_brevitas as tm
for module in pkgutil.walk_packages(tm.__path__, "tremap_brevitas."):
    importlib.import_module(module.name)
for name in tm.__all__:
    getattr(tm, name)
from brevitas.nn import QuantLinear
net = tm.place(tm.make_faulty(QuantLinear(16, 4, bias=False)), tm.Memory(words=16, word_bits=32))
chips = tm.random_fault_maps(net.placement.memory, chips=2, fault_rate=0.05, seed=0)
net.set_faults_(tm.merge(chips, on_conflict="free"))
print(net.evaluate(chips, lambda model: 1.0, progress=False).mean)
try:
    tm.report.plot_reports([], "x.png", threshold=0.5)
except (ImportError, ValueError) as error:
    print(type(error).__name__)
try:
    tm.prepare.LightningCallback(tm.AllAtOnce(net, chips[0]))
except ImportError as error:
    print(error)
"""


def test_without_optional_packages(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], cwd=tmp_path, env={"PYTHONPATH": str(ROOT), "PATH": ""}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "1.0"
    assert lines[-1] == 'needs lightning or pytorch-lightning: pip install "tremap_brevitas[lightning]"'
