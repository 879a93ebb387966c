"""Run many independent jobs, such as groups to retrain or chips to evaluate, on this machine or a Ray cluster, resumably.

Here: engines and run folders. Not here: what the jobs do; this package knows nothing of networks and fault maps.
"""

import lazy_loader as _lazy

__getattr__, __dir__, __all__ = _lazy.attach_stub(__name__, __file__)
