"""What the README shows runs as it stands; what it names is there."""

import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from types import ModuleType

import pytest

import tremap_brevitas as tm
from tremap_brevitas import quant as tq

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_call_site_runs(capsys, monkeypatch, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    assert len(blocks) == 3
    assert len(blocks[1].splitlines()) == 10  # from the model to a certified bundle
    code = "\n".join(blocks)
    names: dict[str, object] = {}
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), names)
    report = names["report"]
    assert report.mean > 0.85
    assert len(report.chips) == 5
    printed = capsys.readouterr().out
    assert "group_0: 7 files unchanged, 3552 codes equal in image and ONNX" in printed
    assert (tmp_path / "chip_0.onnx").exists()
    comment = re.search(r"print\(net.placement.weights_at\(4711\)\[0\]\)  # (.*)", code)
    assert comment is not None
    assert printed.splitlines()[0] == comment.group(1)


def test_it_is_short():
    assert len(README.splitlines()) <= 150


def test_setting_up_is_two_commands():
    part = re.split(r"(?im)^#+\s*set up and run\s*$", README)[1]
    block = re.search(r"```[^\n]*\n(.*?)```", part, re.S)
    assert block is not None
    assert len(block.group(1).strip().splitlines()) == 2


def test_every_file_and_name_that_the_readme_mentions_exists():
    root = Path(__file__).parents[1]
    paths = re.findall(r"\]\(([\w/.]+)\)", README) + re.findall(
        r"`((?:tremap_brevitas|examples|benchmarks|tests|export)/[\w/.]*)`", README
    )
    assert len(paths) > 10
    assert [p for p in paths if not (root / p).exists()] == []
    assert [n for n in set(re.findall(r"\btm\.(\w+)", README)) if not hasattr(tm, n)] == []


def test_the_public_names_are_these():
    """A change here changes what users import: say so in CHANGELOG.md."""
    assert sorted(tm.__all__) == tm.__all__
    expected = """
        AllAtOnce Bundle Certificate FaultMap FleetReport Memory MemoryImage MergedFaultMap PlacedModel Placement Ramp
        ReadByMembers Rule Strategy TeacherLoss apply_order_ apply_to_onnx compiled make_faulty merge place random_fault_maps
        read_fault_map read_fault_maps reestimate_batchnorm_ reorder restore retrain_until verify_bundle verify_onnx
        write_fault_map
    """
    assert [n for n in tm.__all__ if not isinstance(getattr(tm, n), ModuleType)] == expected.split()
    assert len([n for n in tq.__all__ if n.startswith("Faulty")]) == 27


@pytest.mark.slow
def test_every_package_with_public_names_is_an_attribute():
    """Without an import of its own, and with no more of torch than the package itself needs."""
    program = """
        import sys
        import tremap_brevitas as tm
        print(len(sys.modules))
        free = [tm.bundle, tm.codes, tm.faults, tm.memory_files, tm.moments, tm.onnx_files, tm.order, tm.patching]
        free += [tm.placement, tm.planning, tm.prepare, tm.report]
        names = [tm.bundle.BundleReport, tm.onnx_files.OnnxReport, tm.order.ChipOrder, tm.placement.certificate]
        names += [tm.report.comparison, tm.report.write_csv]
        print(*(m for m in ("torch", "brevitas") if m in sys.modules))
        print(tm.placement.certificate.__name__, tm.prepare.RandomMaps.__name__, tm.quant.faulty.__name__)
        tm.cluster.LocalCores
    """
    out = subprocess.run(
        [sys.executable, "-c", dedent(program)], cwd=Path(__file__).parents[1], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    assert int(out[0]) < 200  # a bare interpreter has about 40
    assert out[1] == ""
    assert out[2] == "certificate RandomMaps faulty"
