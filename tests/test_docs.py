"""Every command of the docs page runs, in order, and prints what the page says."""

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "fault_maps.md"


def test_the_page_runs(tmp_path):
    said, checked = "", 0
    environment = {**os.environ, "PATH": f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ['PATH']}"}
    for kind, block in re.findall(r"```(\w+)\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.S):
        if kind == "text":
            for line in block.strip().splitlines():
                assert line.strip() in [x.strip() for x in said.splitlines()], (line, said)
                checked += 1
            continue
        command = ["bash", "-euo", "pipefail", "-c", block] if kind == "bash" else [sys.executable, "-c", block]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, env=environment)
        assert done.returncode == 0, done.stdout + done.stderr
        said = done.stdout
    assert checked > 12
    for name in ("growth.png", "overlap.png", "chip-0.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
