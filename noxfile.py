"""Tests on several versions of Python and Brevitas: ``nox -l`` lists the sessions; those without their Python are skipped."""

from __future__ import annotations

import re
from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["torch_free", "whole"]

TORCH_FREE = [
    *(f"tests/bundle/test_{name}.py" for name in ("chips", "golden")),
    *(f"tests/cli/test_{name}.py" for name in ("advise", "exits", "files", "lazy", "maps", "options")),
    *("tests/faults/analysis", "tests/faults/array"),
    *(f"tests/faults/formats/test_{name}.py" for name in ("logs", "sources", "stated_memory", "voltages")),
    *(f"tests/faults/random/test_{name}.py" for name in ("structured", "uniform")),
    *(f"tests/faults/test_{name}.py" for name in ("fault_map", "memory", "merge")),
    *("tests/moments/test_moments_file.py", "tests/onnx_files/test_layer_inputs.py", "tests/order/hardware"),
    *(
        f"tests/order/test_{name}.py"
        for name in ("channel_groups", "fleet_orders", "patch_in_order", "solve", "values_in_order")
    ),
    *(f"tests/placement/test_{name}.py" for name in ("activated", "draw", "image", "packed", "placement", "stuck_bits")),
    *(f"tests/planning/test_{name}.py" for name in ("advice", "assign_in_order", "group", "library", "resilience")),
    *("tests/report", "tests/test_archive.py", "tests/test_atomic_files.py", "tests/test_damaged_files.py"),
    *(f"tremap_brevitas/{part}" for part in ("bundle", "faults", "moments", "onnx_files", "order", "patching", "placement")),
    *(f"tremap_brevitas/{part}" for part in ("planning", "report", "memory_files", "cli", "codes.py")),
]
"""Tests and examples in docstrings that need neither torch nor Brevitas."""

LIGHT = ["numpy", "scipy", "click", "lazy_loader", "msgspec", "bincopy", "filelock", "tabulate", "tqdm", "onnx", "onnxruntime"]
TOOLS = ["greenlet", "matplotlib", "hypothesis", "pytest", "pytest-xdist"]


@nox.session(python=["3.10", "3.11", "3.12", "3.13"])
def torch_free(session: nox.Session) -> None:
    """Fault maps, placements, planning and reports, without torch and Brevitas installed. CI: tests have no deadlines."""
    session.install("-c", "constraints.txt", *LIGHT, *TOOLS)
    _run_torch_free(session)


@nox.session(python=["3.11"])
def oldest(session: nox.Session) -> None:
    """The same with the oldest versions that pyproject.toml allows."""
    least = dict(re.findall(r'"([\w-]+)>=([\d.]+)', Path("pyproject.toml").read_text(encoding="utf-8")))
    session.install(*(f"{name}=={least[name]}" for name in [*LIGHT, "greenlet", "matplotlib"]), *TOOLS)
    _run_torch_free(session)


def _run_torch_free(session: nox.Session) -> None:
    session.install("--no-deps", ".")
    environment = {"PYTHONPATH": str(Path.cwd()), "CI": "true"}  # also for commands that tests start in other folders
    session.run("pytest", "-q", "-n", "2", "--noconftest", *TORCH_FREE, *session.posargs, env=environment)


@nox.session(python=["3.11"])
def whole(session: nox.Session) -> None:
    """Every fast test, with the pinned versions."""
    session.install("-c", "constraints.txt", "-e", ".[test]")
    session.run("pytest", "-q", *session.posargs)


@nox.session(python=["3.11"])
@nox.parametrize("brevitas", ["0.13.3", "0.13.4"])
def brevitas(session: nox.Session, brevitas: str) -> None:
    """The tests of the private seams, on each version of Brevitas that pyproject.toml allows."""
    session.install("-c", "constraints.txt", "-e", ".[test]")
    session.install("--no-deps", f"brevitas=={brevitas}")
    session.run("pytest", "-q", "tests/quant", "tests/proxy", "tests/onnx_export", "tests/test_biases.py", *session.posargs)


@nox.session(python=["3.11"])
def site(session: nox.Session) -> None:
    """The documentation site; a broken link or reference is an error."""
    session.install("-c", "constraints.txt", "-e", ".[docs,examples]")
    session.run("mkdocs", "build", "--strict")
