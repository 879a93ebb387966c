"""What a release says of itself is one thing in all its places."""

import re
from pathlib import Path

import pytest

import tremap_brevitas as tm
from tremap_brevitas.core.versions import TESTED, check_brevitas

tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has no tomllib")

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_one_version():
    assert "version" in PROJECT["project"]["dynamic"]
    assert re.findall(r"(?m)^version: (.*)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8")) == [tm.__version__]


def test_the_range_of_brevitas_is_the_tested_one():
    (declared,) = [d for d in PROJECT["project"]["dependencies"] if d.startswith("brevitas")]
    assert declared == f"brevitas>={TESTED[0]},<={TESTED[-1]}"


def test_another_brevitas_is_warned_of():
    with pytest.warns(UserWarning, match=r"brevitas 0\.99\.0 was not tested.*0\.13\.4"):
        check_brevitas("0.99.0")
