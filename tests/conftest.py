"""Settings that all tests share."""

import json
import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import settings

from redpencil.config.compute import SamplerConfig

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
_CACHE = tempfile.TemporaryDirectory(prefix="redpencil-cache-")
os.environ["XDG_CACHE_HOME"] = _CACHE.name

# Examples come from a fixed seed, and slow machines are no failure: a red test is red again when it is repeated.
settings.register_profile("reproducible", derandomize=True, deadline=None)
settings.load_profile("reproducible")

STUB_VLLM: Final = Path(__file__).parents[1] / "benchmarks" / "stub_vllm_server.py"


class Served:
    """A stub server, which may be started again at its address."""

    def __init__(self, folder: Path, **options: str) -> None:
        self.port = 0
        self.process: subprocess.Popen[str] | None = None
        self.start(folder, **options)

    def start(self, folder: Path, pooling: str = "", **_: str) -> None:
        self.stop()
        command = [sys.executable, str(STUB_VLLM), str(folder), "--port", str(self.port), "--pooling", pooling]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None

    def reset(self, folder: Path, **options: str) -> "Served":
        """Let it be as one that was just started, without the seconds that this takes."""
        if self.process is None or self.process.poll() is not None:
            self.start(folder, **options)
        self.post("/reset", {"folder": str(folder), **options})
        return self

    def post(self, path: str, body: Any) -> None:
        request = urllib.request.Request(f"{self.url}{path}", json.dumps(body).encode())
        urllib.request.urlopen(request, timeout=30).close()

    def fault(self, **fault: Any) -> None:
        self.post("/stub", fault)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def log(self, path: str) -> list[Any]:
        with urllib.request.urlopen(f"{self.url}/log", timeout=10) as reply:
            return [row["body"] for row in json.load(reply) if row["path"].partition("?")[0] == path]

    def config(self, **options: Any) -> SamplerConfig:
        return SamplerConfig.model_validate({"url": self.url, "timeout": 20, "patience": 20, **options})


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., Served]]:
    """`serve(folder, name="policy", key="", pooling="")`: the stub as it is when it was just started."""
    with ExitStack() as stack:
        running: list[Served] = []

        def start(folder: Path, **options: str) -> Served:
            if not running:
                running.append(Served(folder, **options))
                stack.callback(running[0].stop)
            return running[0].reset(folder, **options)

        yield start
