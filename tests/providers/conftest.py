"""The stub server as a process of its own, and clients of the real SDKs that ask it."""

import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from redpencil.providers.anthropic_client import AnthropicClient
from redpencil.providers.base import Message, Request, request_key
from redpencil.providers.openai_client import OpenAIClient

SERVER = Path(__file__).parents[2] / "benchmarks" / "stub_llm_server.py"
KEY = "sk-live-0123456789-secret"
Client = AnthropicClient | OpenAIClient


@dataclass(frozen=True)
class Stub:
    """A running stub server."""

    process: subprocess.Popen[str]
    address: str

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.address}{path}", timeout=10) as reply:
            return json.load(reply)

    def stats(self) -> dict[str, int]:
        return self.get("/stats")

    def last(self) -> Any:
        return self.get("/last")

    def post(self, path: str, body: Any) -> Any:
        request = urllib.request.Request(f"{self.address}{path}", json.dumps(body).encode(), {"x-api-key": KEY})
        with urllib.request.urlopen(request, timeout=10) as reply:
            return json.load(reply)

    def client(self, kind: str, model: str = "stub-1", **options: Any) -> Client:
        if kind == "anthropic":
            return AnthropicClient(model, base_url=self.address, **options)
        return OpenAIClient(model, base_url=f"{self.address}/v1", **options)


StartStub = Callable[..., Stub]


@pytest.fixture(scope="module")
def start_stub() -> Iterator[StartStub]:
    """Start a stub with the given flags; it stops with the module."""
    with ExitStack() as stack:

        def start(*flags: str) -> Stub:
            command = [sys.executable, str(SERVER), *flags]
            process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
            stack.callback(process.terminate)
            assert process.stdout is not None
            return Stub(process, f"http://127.0.0.1:{json.loads(process.stdout.readline())['port']}")

        yield start


@pytest.fixture(scope="module")
def stub(start_stub: StartStub) -> Stub:
    """A stub without faults, except those that prompts order."""
    return start_stub("--retry-after-s", "0.3")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keys that the SDKs find, and nothing else that would lead them elsewhere."""
    for name in ("ANTHROPIC_BASE_URL", "OPENAI_BASE_URL", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name in ("SSL_CERT_FILE", "SSL_CERT_DIR", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "ANTHROPIC_CUSTOM_HEADERS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("ANTHROPIC_API_KEY", KEY)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """A twentieth of a second, where nobody says how long to wait."""
    for place in ("openai._base_client.INITIAL_RETRY_DELAY", "anthropic._base_client.INITIAL_RETRY_DELAY"):
        monkeypatch.setattr(place, 0.05)
    for name in ("_PAUSE_S", "_BROKEN_PAUSE_S"):
        monkeypatch.setattr(f"redpencil.providers.hosted.{name}", 0.05)


@pytest.fixture
def key() -> str:
    """The API key that no text may show."""
    return KEY


@pytest.fixture
def ask() -> Callable[..., Request]:
    """A request about one response, which may hold orders for the stub."""

    def make(response: str, client: Client | None = None) -> Request:
        messages = (Message("user", f"Question: why?\n\nResponse: {response}\n\nPlease make minimal changes to it."),)
        return Request(request_key({} if client is None else client.identity, messages), messages)

    return make
