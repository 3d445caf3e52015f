"""What may be shown of a server's words."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from redpencil.errors import RedpencilError
from redpencil.providers.redact import message_of, one_line, reason_of, safe_address, without_key


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"type": "error", "error": {"type": "x", "message": "too long"}}', "too long"),
        ('{"error": {"message": "bad model", "code": 1}}', "bad model"),
        ('{"error": "model not found"}', "model not found"),
        ('{"object": "error", "message": "context length"}', "context length"),
        ('{"detail": "Not Found"}', "Not Found"),
        ('{"detail": [{"msg": "missing"}]}', '[{"msg": "missing"}]'),
        ("Bad gateway", "Bad gateway"),
        ("", ""),
    ],
)
def test_the_message_of_an_error_body(body: str, message: str) -> None:
    assert message_of(body) == message


def test_a_line_has_no_key_nothing_like_one_and_no_end() -> None:
    told = one_line("key abc-1 and sk-proj-12**89\nBearer xyz\tend\x1b[31m" + "x" * 1000, "abc-1")
    assert told.startswith("key [key] and [key] [key] end[31mxxx")
    assert len(told) < 320


@given(st.text("ab "), st.text("ab", min_size=8, max_size=20), st.integers(0, 20), st.integers(0, 20), st.text("ab "))
def test_no_stretch_of_a_key_is_shown_wherever_it_is_cut(
    before: str, key: str, start: int, end: int, after: str
) -> None:
    told = without_key(before + key[start:end] + after, key)
    assert not [begin for begin in range(len(key) - 7) if key[begin : begin + 8] in told]


def test_what_does_not_come_from_the_key_stays() -> None:
    key = "gsk_A1b2C3d4E5f6"
    assert without_key(f"key {key[:10]}*** and {key}, gsk_ is fine", key) == "key [key]*** and [key], gsk_ is fine"
    assert without_key("an example", "x") == "an example"  # no secret
    assert without_key("hush is it", "hush") == "[key] is it"


def test_a_reason_has_a_status_and_no_other_numbers() -> None:
    assert reason_of("HTTP 400: 199 tokens of 4096") == "HTTP 400: 0 tokens of 0"
    assert reason_of("HTTP 500: a") != reason_of("HTTP 400: a")


def test_an_address_is_shown_without_secrets() -> None:
    assert safe_address("https://user:pass@Host.org:8443/v1/?token=1#x") == "https://host.org:8443/v1"
    assert safe_address("http://[::1]:8000/v1") == "http://[::1]:8000/v1"


@pytest.mark.parametrize(
    "url",
    ["localhost:8000", "ftp://host", "http://", "http://[bad", "http://h:99999", "x", "http://a\n/", "http://a\t/"],
)
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(RedpencilError) as caught:
        safe_address(url)
    assert caught.value.field == "--base-url"
