from .engine import Engine, InProcess, JobError, RayEngine
from .folder import RunFolder
from .jobs import run_jobs

__all__ = ["Engine", "InProcess", "JobError", "RayEngine", "RunFolder", "run_jobs"]
