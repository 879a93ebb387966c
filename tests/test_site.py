"""The site: every public name is described, every reference leads somewhere, every page is in the menu."""

import os
import re
import subprocess
import sys
import zlib
from pathlib import Path
from types import ModuleType

import pytest

import tremap_brevitas as tm

ROOT = Path(__file__).parents[1]
SITE = ROOT / "docs/site"


@pytest.fixture(scope="module")
def reference():
    pytest.importorskip("mkdocs", reason="MkDocs (extra docs) is not installed")
    pytest.importorskip("griffe", reason="griffe (extra docs) is not installed")
    sys.path.insert(0, str(SITE))
    try:
        import reference
    finally:
        sys.path.remove(str(SITE))
    return reference


def test_every_reference_in_a_docstring_has_a_target(reference):
    package, missing, seen = reference.package(), [], 0
    for path in sorted((ROOT / "tremap_brevitas").rglob("*.py")):
        for name in re.findall(r"\]\[tremap_brevitas\.([\w.]+)\]", path.read_text(encoding="utf-8")):
            seen += 1
            try:
                target = package[name]
                if target.is_alias:
                    target.final_target  # noqa: B018 (raises where it leads nowhere)
            except Exception:
                if not any(base_has(package, name)):
                    missing.append((str(path.relative_to(ROOT)), name))
    assert missing == []
    assert seen > 20


def test_every_package_of_the_reference_is_an_attribute_of_the_root(reference):
    packages = {n for n in tm.__all__ if isinstance(getattr(tm, n), ModuleType)}
    assert packages == {n for n in reference.PACKAGES if "." not in n} - {"tremap_brevitas"}


def base_has(package, name):
    """Whether a base class of the object has the member."""
    owner, _, member = name.rpartition(".")
    try:
        owned = package[owner]
        yield from (member in base.members for base in owned.mro())
    except Exception:
        yield False


def test_public_names_are_those_of_the_packages(reference):
    import importlib

    for name in reference.PACKAGES:
        module = importlib.import_module("tremap_brevitas" if name == "tremap_brevitas" else f"tremap_brevitas.{name}")
        names = reference.public_names(name)
        assert names, name
        if hasattr(module, "__all__"):
            assert sorted(names) == sorted(n for n in module.__all__ if not isinstance(getattr(module, n), ModuleType)), name


@pytest.mark.slow(40)
def test_the_site_builds_with_its_tour_executed_and_describes_every_public_name(reference, tmp_path):
    environment = {**os.environ, "EXECUTE_TOUR": "true", "MPLBACKEND": "Agg", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, env=environment)
    assert done.returncode == 0, done.stderr
    tour = (tmp_path / "tour" / "index.html").read_text(encoding="utf-8")
    assert "/group_0: 7 files unchanged" in tour
    assert tour.count('src="data:image/png;base64,') == 3  # though MPLBACKEND names a backend that shows nothing
    inventory = (tmp_path / "objects.inv").read_bytes().split(b"\n", 4)[4]
    described = {line.split(" ")[0] for line in zlib.decompress(inventory).decode().splitlines()}
    for name in reference.PACKAGES:
        for public, defined in reference.public_names(name).items():
            path = f"tremap_brevitas.{public}" if name == "tremap_brevitas" else f"tremap_brevitas.{name}.{public}"
            assert {path, defined} & described, path
