"""CONTRIBUTING.md names every package and module, and each package says what belongs there and what does not."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tremap_brevitas"
FOLDERS = sorted(path.parent for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE)


def test_the_table_has_a_line_for_every_package_and_module():
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`tremap_brevitas/[^|]*) \|", text, re.M)
    named = [name.removeprefix("tremap_brevitas/").rstrip("/") for row in rows for name in re.findall(r"`([^`]+)`", row)]
    modules = [path.name for path in PACKAGE.glob("*.py") if path.name != "__init__.py"]
    assert sorted(named) == sorted([*modules, *(path.name for path in FOLDERS if path.parent == PACKAGE)])


@pytest.mark.parametrize("folder", FOLDERS, ids=[str(folder.relative_to(PACKAGE)) for folder in FOLDERS])
def test_a_package_says_what_does_not_belong_there(folder):
    said = ast.get_docstring(ast.parse((folder / "__init__.py").read_text(encoding="utf-8"))) or ""
    assert "Not here: " in said
    for name in re.findall(r"``?([a-z_]+(?:/[a-z_]+)*)/``?", said.partition("Not here: ")[2]):
        assert (PACKAGE / name).is_dir(), f"{folder}: no package {name}/"
