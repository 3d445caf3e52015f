"""Settings that all tests share."""

import os
import tempfile

from hypothesis import settings

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
_CACHE = tempfile.TemporaryDirectory(prefix="redpencil-cache-")
os.environ["XDG_CACHE_HOME"] = _CACHE.name

# Examples come from a fixed seed, and slow machines are no failure: a red test is red again when it is repeated.
settings.register_profile("reproducible", derandomize=True, deadline=None)
settings.load_profile("reproducible")
