"""Settings that all tests share."""

import json
import os
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import settings

from redpencil.config import SamplerConfig

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# Examples come from a fixed seed, and slow machines are no failure: a red test is red again when it is repeated.
settings.register_profile("reproducible", derandomize=True, deadline=None)
settings.load_profile("reproducible")

STUB_VLLM: Final = Path(__file__).parents[1] / "benchmarks" / "stub_vllm_server.py"


class Served:
    """A stub server, which may be started again at its address."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.stack, self.folder, self.port = stack, folder, 0
        self.start()

    def start(self) -> None:
        command = [sys.executable, str(STUB_VLLM), str(self.folder), "--port", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.stack.callback(self.stop)
        assert self.process.stdout is not None
        self.port = int(self.process.stdout.readline())

    def stop(self) -> None:
        self.process.kill()
        self.process.communicate()

    def reset(self, folder: Path, **options: str) -> "Served":
        """Let it be as one that was just started, without the seconds that this takes."""
        self.folder = folder
        if self.process.poll() is not None:
            self.start()
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
                running.append(Served(stack, folder))
            return running[0].reset(folder, **options)

        yield start
