"""Scripts in processes that are forked from one which has imported the package already.

A script runs as ``python script.py`` runs it, in a process of its own: its folder, arguments, environment, output, exit code.
Only the imports of torch and Brevitas, which take longer than most scripts, are done once. What depends on how an interpreter
starts (variables that Brevitas reads when imported, ``sys.modules``, ``-m`` and ``-c``) needs a real ``python``.
"""

from __future__ import annotations

import gc
import multiprocessing
import os
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

CONTEXT = multiprocessing.get_context("forkserver")  # its server has no threads, which a fork would lose
CONTEXT.set_forkserver_preload(
    [
        *(
            "brevitas.export",
            "brevitas.nn",
            "brevitas.quant",
            "onnxruntime",
            "onnxscript",
            "scipy.optimize",
            "sklearn.datasets",
        ),
        *("onnxscript", "tabulate", "torch.onnx", "tqdm", "tremap_brevitas.cluster", "tremap_brevitas.onnx_export"),
        *("tremap_brevitas.placed.placed_model", "tremap_brevitas.prepare", "tremap_brevitas.quant", "tremap_brevitas.report"),
    ]
)
INSTALLED = [path for path in sys.path if any(Path(path).is_relative_to(root) for root in (sys.prefix, sys.base_prefix))]


def start(script, *arguments, folder=None, environment=None, said=os.devnull, complained=os.devnull):
    """Start a script; returns its process: ``exitcode``, ``is_alive``, ``join``, ``kill``.

    ``said`` and ``complained`` are the files that its output goes to.
    """
    texts = [os.fspath(script), *map(str, arguments)]
    given = dict(os.environ if environment is None else environment)
    files = os.fspath(said), os.fspath(complained)
    process = CONTEXT.Process(target=_run, args=(texts, os.fspath(folder or os.getcwd()), given, *files))
    process.start()
    return process


def run(script, *arguments, folder=None, environment=None, timeout=600):
    """Run a script to its end, as ``subprocess.run`` does with its output captured."""
    with tempfile.TemporaryDirectory() as kept:
        files = [Path(kept) / name for name in ("stdout", "stderr")]
        process = start(script, *arguments, folder=folder, environment=environment, said=files[0], complained=files[1])
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired([script, *arguments], timeout)
        said, complained = (file.read_text(encoding="utf-8", errors="replace") for file in files)
    return subprocess.CompletedProcess([script, *arguments], process.exitcode, said, complained)


def _run(texts, folder, environment, said, complained):
    """In the new process: become that script."""
    gc.freeze()  # what was there before is none of its garbage
    for number, file in ((1, said), (2, complained)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115 (until the process ends)
    sys.stderr = open(2, "w", encoding="utf-8", closefd=False, buffering=1)  # noqa: SIM115
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    sys.argv = texts
    extra = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    sys.path[:] = [os.path.dirname(os.path.abspath(texts[0])), *extra, *INSTALLED]
    runpy.run_path(texts[0], run_name="__main__")
