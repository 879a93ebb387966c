"""Save the finished jobs of a long run, one file for each job, so that the run can be resumed."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from filelock import FileLock, Timeout

from tremap_brevitas.files import atomic_file

_logger = logging.getLogger(__name__)

KIND = "tremap run"
SCHEMA = 1


class RunFolder:
    """The folder of a run, used in a ``with`` block by one process at a time.

    Each finished job is a file of its own, written atomically. After a crash the next process continues with the jobs
    that are not finished. The operating system releases the lock of a process that dies.

    Args:
        path: The folder; made if it is not there.
        options: Everything that the results depend on, in a form that JSON can store. A folder with other options is refused.

    Raises:
        ValueError: If the folder holds another run: says which option differs, with both values.
        BlockingIOError: If another process is working in it.
        OSError: If it cannot be written to.

    Examples:
        >>> import tempfile
        >>> with RunFolder(tempfile.mkdtemp(), options={"steps": 200}) as folder:
        ...     folder.put("chip-0", {"accuracy": 0.9})
        ...     folder.get("chip-0"), folder.get("chip-1")
        ({'accuracy': 0.9}, None)
    """

    def __init__(self, path: str | os.PathLike[str], *, options: Mapping[str, Any] | None = None) -> None:
        self.path = Path(path)
        self.options = json.loads(json.dumps(dict(options or {})))
        self._lock: FileLock | None = None

    def __enter__(self) -> RunFolder:
        (self.path / "done").mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path / "lock", timeout=0)
        try:
            lock.acquire()
        except Timeout:
            raise BlockingIOError(f"{self.path}: another process is working in this run folder") from None
        self._lock = lock
        try:
            self._check_options()
        except BaseException:
            lock.release()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._lock is not None:
            self._lock.release()
        self._lock = None

    def get(self, job: str) -> Any:
        """Return the result of a finished job; None if it is not finished.

        A damaged record is logged as a warning and moved aside, so that the job counts as not finished.
        """
        path = self._file(job)
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content["job"] != job or content["digest"] != _digest(content["result"]):
                raise ValueError("its content and its digest do not agree")
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            aside = path.with_suffix(".damaged")
            os.replace(path, aside)
            _logger.warning("%s: damaged record of job %r (%s); moved to %s, to be run again", path, job, error, aside.name)
            return None
        return content["result"]

    def put(self, job: str, result: Any) -> None:
        """Save the result of a job.

        Raises:
            TypeError: If JSON cannot hold it, or it is None, which stands for a job that is not finished.
            OSError: If it cannot be written (a full disk, a folder that is read-only); finished jobs stay as they are.
        """
        if self._lock is None:
            raise RuntimeError(f"{self.path}: use the run folder in a with block")
        if result is None:
            raise TypeError(f"job {job!r}: its result is None, which a run folder cannot tell from a job that is not finished")
        result = json.loads(json.dumps(result))
        content = {"job": job, "digest": _digest(result), "result": result}
        with atomic_file(self._file(job)) as draft:
            draft.write_text(json.dumps(content), encoding="utf-8")

    def _file(self, job: str) -> Path:
        # Readable as far as possible, and always inside the folder; the digest tells apart names that become equal.
        plain = re.sub(r"[^A-Za-z0-9_.-]+", "_", job)[:60].lstrip(".")
        return self.path / "done" / f"{plain}-{hashlib.sha256(job.encode()).hexdigest()[:12]}.json"

    def _check_options(self) -> None:
        path = self.path / "run.json"
        if not path.exists():
            with atomic_file(path) as draft:
                draft.write_text(json.dumps({"kind": KIND, "schema": SCHEMA, "options": self.options}), encoding="utf-8")
            return
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            kind, schema, before = content["kind"], content["schema"], dict(content["options"])
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ValueError(f"{path}: damaged ({error}); the results beside it may be of any run") from None
        if kind != KIND or schema != SCHEMA:
            raise ValueError(f"{path}: holds a {kind!r} of schema {schema}, expected a {KIND!r} of schema {SCHEMA}")
        for name in sorted({*before, *self.options}):
            if before.get(name) != self.options.get(name):
                raise ValueError(
                    f"{self.path}: holds a run with {name}={before.get(name)!r}, but here it is {self.options.get(name)!r}"
                )


def _digest(result: Any) -> str:
    return hashlib.sha256(json.dumps(result, sort_keys=True).encode()).hexdigest()
