"""Tests on several versions of Python and Brevitas: ``nox -l`` lists the sessions; those without their Python are skipped."""

from __future__ import annotations

import re
from pathlib import Path

import nox

nox.options.default_venv_backend = "venv"
nox.options.error_on_missing_interpreters = False
nox.options.sessions = ["torch_free", "whole"]

TORCH_FREE = [
    *("tests/faults/array/test_repair.py", "tests/faults/test_memory.py"),
    *(f"tests/faults/formats/test_{name}.py" for name in ("logs", "sources", "stated_memory", "voltages")),
    *("tests/faults/random/test_structured.py", "tests/faults/random/test_uniform.py"),
    *("tests/placement/test_activated.py", "tests/placement/test_draw.py"),
    *("tests/placement/test_image.py", "tests/placement/test_placement.py"),
    *("tests/planning/test_library.py", "tests/planning/test_resilience.py"),
    *("tests/report", "tests/test_archive.py"),
    *(f"tremap_brevitas/{part}" for part in ("faults", "placement", "planning", "report", "memory_files", "cli", "codes.py")),
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
    session.run("pytest", "-q", "-n", "2", "--noconftest", *TORCH_FREE, *session.posargs, env={"PYTHONPATH": ".", "CI": "true"})


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
