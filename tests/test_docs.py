"""Every command of the docs pages runs, in order, and prints what the page says."""

import os
import re
import subprocess
import sysconfig
from pathlib import Path

import forked
import pytest

DOCS = Path(__file__).parents[1] / "docs"


def run_page(name, folder):
    """Run the blocks of a page; returns how many lines of output were checked. A block that begins with a name is kept."""
    said, checked = "", 0
    environment = {
        **os.environ,
        "PATH": f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": f"{DOCS.parent}{os.pathsep}{folder}",  # this checkout, whatever is installed
    }
    for kind, block in re.findall(r"```(\w+)\n(.*?)```", (DOCS / name).read_text(encoding="utf-8"), re.S):
        if kind == "text":
            for line in block.strip().splitlines():
                assert line.strip() in [x.strip() for x in said.splitlines()], (line, said)
                checked += 1
            continue
        if kind == "python":
            named = re.match(r"# (\w+\.py)\n", block)
            script = folder / (named[1] if named else "block.py")
            script.write_text(block, encoding="utf-8")
            done = forked.run(script, folder=folder, environment=environment, timeout=300)
        else:
            command = ["bash", "-euo", "pipefail", "-c", block]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        said = done.stdout
    return checked


def test_fault_maps(tmp_path):
    assert run_page("fault_maps.md", tmp_path) > 12
    for name in ("growth.png", "overlap.png", "chip-0.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_export(tmp_path):
    assert run_page("export.md", tmp_path) == 4


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "quick_start",
        "concepts",
        "my_model",
        "reproducibility",
        "errors",
        "faq",
        "order",
        "layout",
        "gpu",
        "training",
        "study_supply",
    ],
)
def test_page(name, tmp_path):
    if name == "training":
        pytest.importorskip("pytorch_lightning", reason="pytorch-lightning (extra lightning) is not installed")
        pytest.importorskip("tensorboard", reason="tensorboard (extra test) is not installed")
    page = (DOCS / f"{name}.md").read_text(encoding="utf-8")
    expected = sum(len(block.strip().splitlines()) for block in re.findall(r"```text\n(.*?)```", page, re.S))
    assert run_page(f"{name}.md", tmp_path) == expected > 0


@pytest.mark.slow
def test_the_commands_of_the_study(tmp_path):
    assert run_page("study.md", tmp_path) == 0  # they run; what they print is not on the page


def test_the_quick_start_installs_as_the_readme_does():
    install = re.findall(r"python -m pip install .*", (DOCS / "quick_start.md").read_text(encoding="utf-8"))
    readme = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    assert install
    assert [line for line in install if line not in readme] == []


@pytest.mark.slow(20)
def test_scaling(tmp_path):
    pytest.importorskip("ray", reason="Ray (extra cluster) is not installed")
    assert run_page("scaling.md", tmp_path) >= 5
    assert (tmp_path / "new.csv").read_text().count("exact") > 100
