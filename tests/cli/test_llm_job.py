"""The run of a provider job; the tests of `edit` and `judge` run it against a stub server."""

from pathlib import Path

import pytest

from redpencil.cli.llm_job import Failures
from redpencil.providers.job import NEVER_ASKED


def failures(*problems: str) -> Failures:
    found = Failures()
    for problem in problems:
        found.add(problem)
    return found


def test_failures_are_told_by_their_reasons_the_most_frequent_first(capsys: pytest.CaptureFixture[str]) -> None:
    found = failures("HTTP 500: 3 are down", "HTTP 400: 12 tokens", "HTTP 500: 4 are down", NEVER_ASKED)
    assert found.problems == {"HTTP 500: 3 are down": 2, "HTTP 400: 12 tokens": 1}
    assert (found.summary(), found.never_asked) == ("2 HTTP 500 (3 are down), 1 HTTP 400 (12 tokens)", 1)
    found.say(batch=False)
    told = capsys.readouterr().err
    assert "3 failed: 2 HTTP 500" in told
    assert "will be refused again until the model, the template or the parameters change" in told
    many = failures(*(f"reason {letter}" for letter in "abcdefg"))
    assert many.summary().endswith(", 2 for other reasons")


def test_a_status_that_passes_is_not_a_refusal() -> None:
    assert not failures("HTTP 429: slow down", "HTTP 503: x").refused
    assert failures("HTTP 422: x").refused


@pytest.mark.parametrize(
    ("problems", "told", "hint"),
    [
        ((NEVER_ASKED,), "none of the 7 pairs was asked about", "higher --max-cost"),
        (("HTTP 500: x",), r"no pair got an answer \(1 HTTP 500 \(x\)\)", "run the same command again"),
        (("HTTP 400: x",), r"no pair got an answer", "change the request"),
    ],
)
def test_a_file_without_an_answer_is_an_error_with_a_hint(problems: tuple[str, ...], told: str, hint: str) -> None:
    with pytest.raises(Exception, match=told) as caught:
        raise failures(*problems).no_answer_error(Path("out"), "pair", 7)
    assert hint in str(caught.value)


def test_a_schema_that_may_have_been_refused_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    found = Failures(sent_schema=True)
    found.add("HTTP 400: response_format is not supported")
    assert "--no-schema" in str(found.no_answer_error(Path("out"), "pair", 1))
    found.say(batch=False)
    assert "--no-schema" in capsys.readouterr().err
    assert "--no-schema" not in str(failures("HTTP 400: x").no_answer_error(Path("out"), "pair", 1))
    key = Failures(sent_schema=True)
    key.add("HTTP 401: no such key")
    assert "--no-schema" not in str(key.no_answer_error(Path("out"), "pair", 1))
