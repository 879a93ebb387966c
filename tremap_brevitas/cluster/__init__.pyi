from .engine import Engine, InProcess, JobError, RayEngine
from .folder import RunFolder
from .jobs import run_jobs
from .local import LocalCores

__all__ = ["Engine", "InProcess", "JobError", "LocalCores", "RayEngine", "RunFolder", "run_jobs"]
