"""Proxies, certificates and headers from the environment; what a body may take is tested in test_hosted.py."""

import importlib.util
from collections.abc import Callable
from typing import Any

import pytest

from redpencil.errors import RedpencilError
from redpencil.providers.base import Completion, Request
from redpencil.providers.hosted import HostedProvider

both = pytest.mark.parametrize("kind", ["anthropic", "openai"])
Ask = Callable[..., Request]


def refusal(client: Any, request: Request) -> RedpencilError:
    with pytest.raises(RedpencilError) as caught:
        list(HostedProvider(client).answer([request]))
    return caught.value


@both
@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("SSL_CERT_FILE", "/nope", "No such file or directory"),
        ("HTTP_PROXY", "http://user:hunter22@host:port", "a proxy's address is none"),
        ("ALL_PROXY", "gopher://user:hunter22@host:1", "a proxy's address is none"),
    ],
)
def test_an_environment_that_leads_nowhere_is_the_users_to_correct(
    stub: Any, ask: Ask, kind: str, monkeypatch: pytest.MonkeyPatch, name: str, value: str, told: str
) -> None:
    monkeypatch.setenv(name, value)
    error = refusal(stub.client(kind), ask("one"))
    assert f"no way to the network: {told}" in str(error) or f"no way to the network ({told})" in str(error)
    assert name in str(error.way_out)
    assert "hunter22" not in str(error)


@pytest.mark.skipif(importlib.util.find_spec("socksio") is not None, reason="socksio is installed, so SOCKS works")
def test_a_socks_proxy_without_its_package_is_named(stub: Any, ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "socks5://localhost:1080")
    assert "socksio" in str(refusal(stub.client("openai"), ask("one")))


@pytest.mark.parametrize(
    ("kind", "name", "value"),
    [("openai", "OPENAI_ORG_ID", "caf\u00e9"), ("anthropic", "ANTHROPIC_CUSTOM_HEADERS", "X-Team: caf\u00e9")],
)
def test_a_header_that_cannot_be_sent_is_named(
    stub: Any, ask: Ask, monkeypatch: pytest.MonkeyPatch, kind: str, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    assert "the value of the header" in str(refusal(stub.client(kind), ask("one")))


@both
@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:1/\n", "http://127.0.0.1:1/a b", "http://a\ud83d/", "http://\u0378/"]
)
def test_an_address_that_is_none_is_refused(stub: Any, ask: Ask, kind: str, url: str) -> None:
    error = refusal(type(stub.client(kind))("m", base_url=url), ask("one"))
    assert error.field == "--base-url"


@both
def test_a_good_environment_is_followed(stub: Any, ask: Ask, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")  # where nobody listens
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    ((_, result),) = HostedProvider(stub.client(kind)).answer([ask("one two")])
    assert isinstance(result, Completion)
