"""Batch files, written and read back."""

import json
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from redpencil.errors import RedpencilError
from redpencil.providers.anthropic_client import AnthropicClient
from redpencil.providers.base import Completion, Failure, Message, Request, StopReason, Usage
from redpencil.providers.batches import BatchFile, read_batch_results, write_batches
from redpencil.providers.client import BatchFormat
from redpencil.providers.hosted import HostedProvider
from redpencil.providers.openai_client import OpenAIClient

Ask = Callable[..., Request]
KEY = "0f" * 32
ANTHROPIC, OPENAI = AnthropicClient("claude-x"), OpenAIClient("gpt-x")


def _small(files: BatchFormat, most_requests: int = 10, most_bytes: int = 10**6) -> BatchFormat:
    return BatchFormat(most_requests, most_bytes, files.before, files.between, files.after)


def _rows(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".json":
        rows: list[dict[str, Any]] = json.loads(path.read_bytes())["requests"]
        return rows
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_an_anthropic_file_is_one_object_with_keys_and_bodies(tmp_path: Path, ask: Ask) -> None:
    requests = [ask("one \u00e9", ANTHROPIC), ask("two", ANTHROPIC), ask("three", ANTHROPIC)]
    path = tmp_path / "new" / "edits.json"
    assert write_batches(path, requests, ANTHROPIC) == [BatchFile(path, 3)]
    assert json.loads(path.read_bytes()) == {
        "requests": [{"custom_id": request.key, "params": ANTHROPIC.body(request.messages)} for request in requests]
    }
    assert len(requests[0].key) == 64  # as many as Anthropic allows


def test_an_openai_file_has_a_line_for_each_request(tmp_path: Path, ask: Ask) -> None:
    requests = [ask("one\u2028two \u00e9", OPENAI), ask("three", OPENAI)]
    path = tmp_path / "edits.jsonl"
    assert write_batches(path, requests, OPENAI) == [BatchFile(path, 2)]
    assert [json.loads(line) for line in path.read_bytes().splitlines()] == [
        {
            "custom_id": request.key,
            "method": "POST",
            "url": "/v1/chat/completions",
            "body": OPENAI.body(request.messages),
        }
        for request in requests
    ]


def test_the_limits_are_those_of_the_providers() -> None:
    assert (OPENAI.batch_format.most_requests, OPENAI.batch_format.most_bytes) == (50_000, 200_000_000)
    assert (ANTHROPIC.batch_format.most_requests, ANTHROPIC.batch_format.most_bytes) == (100_000, 256_000_000)


@pytest.mark.parametrize(
    ("client", "files", "name"),
    [(ANTHROPIC, ANTHROPIC.batch_format, "e.json"), (OPENAI, OPENAI.batch_format, "e.jsonl")],
)
def test_many_requests_are_numbered_parts(tmp_path: Path, ask: Ask, client: Any, files: BatchFormat, name: str) -> None:
    requests = [ask(f"word {number}", client) for number in range(7)]
    parts = write_batches(tmp_path / name, iter(requests), client, _small(files, most_requests=3))
    stem, end = name.split(".")
    assert [(part.path.name, part.requests) for part in parts] == [
        (f"{stem}-1.{end}", 3),
        (f"{stem}-2.{end}", 3),
        (f"{stem}-3.{end}", 1),
    ]
    assert [row["custom_id"] for part in parts for row in _rows(part.path)] == [request.key for request in requests]
    assert {path.name for path in tmp_path.iterdir()} == {part.path.name for part in parts}


@pytest.mark.parametrize(("client", "files"), [(ANTHROPIC, ANTHROPIC.batch_format), (OPENAI, OPENAI.batch_format)])
def test_no_part_is_larger_than_allowed_and_none_smaller_than_it_could_be(
    tmp_path: Path, ask: Ask, client: Any, files: BatchFormat
) -> None:
    requests = [ask(f"word {number}", client) for number in range(6)]
    (whole,) = write_batches(tmp_path / "two.json", requests[:2], client)
    exact = whole.path.stat().st_size
    for most, wanted in ((exact, [2, 2, 2]), (exact - 1, [1] * 6)):
        folder = tmp_path / str(most)
        parts = write_batches(folder / "e.json", requests, client, _small(files, most_bytes=most))
        assert [part.requests for part in parts] == wanted
        assert max(part.path.stat().st_size for part in parts) <= most


def test_nobody_else_reads_the_texts_that_are_to_be_sent(tmp_path: Path, ask: Ask) -> None:
    before = os.umask(0)
    try:
        (file,) = write_batches(tmp_path / "batch.json", [ask("a letter")], ANTHROPIC)
    finally:
        os.umask(before)
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


def test_a_link_stays_and_its_file_is_written_for_its_owner_alone(tmp_path: Path, ask: Ask) -> None:
    (tmp_path / "elsewhere").mkdir()
    old, link = tmp_path / "elsewhere" / "old.jsonl", tmp_path / "e.jsonl"
    old.touch(0o644)
    link.symlink_to(old)
    assert write_batches(link, [ask("one", OPENAI)], OPENAI) == [BatchFile(old, 1)]
    assert link.is_symlink()
    assert len(_rows(old)) == 1
    assert stat.S_IMODE(old.stat().st_mode) == 0o600
    assert list(old.parent.iterdir()) == [old]


@pytest.mark.parametrize("number", [1, 3])
def test_a_pipe_is_not_replaced(tmp_path: Path, ask: Ask, number: int) -> None:
    """Nor is a device: `--batch-out /dev/null` of an administrator would have made a file of it."""
    requests = [ask(str(each), OPENAI) for each in range(number)]
    pipe = tmp_path / ("e.jsonl" if number == 1 else "e-2.jsonl")
    os.mkfifo(pipe)
    with pytest.raises(RedpencilError, match="it is a device or a pipe"):
        write_batches(tmp_path / "e.jsonl", requests, OPENAI, _small(OPENAI.batch_format, most_requests=1))
    assert pipe.is_fifo()
    assert [path for path in tmp_path.iterdir() if path != pipe and not path.name.startswith("e-1")] == []


def test_what_comes_twice_is_asked_once(tmp_path: Path, ask: Ask) -> None:
    requests = [ask("one", OPENAI), ask("two", OPENAI), ask("one", OPENAI)]
    assert [part.requests for part in write_batches(tmp_path / "e.jsonl", requests, OPENAI)] == [2]


def test_nothing_to_ask_writes_nothing(tmp_path: Path) -> None:
    assert write_batches(tmp_path / "e.jsonl", [], OPENAI) == []
    assert list(tmp_path.iterdir()) == []


def test_a_request_that_no_file_can_hold_is_refused_and_nothing_is_left(tmp_path: Path, ask: Ask) -> None:
    requests = [ask("one", OPENAI), ask("x" * 1000, OPENAI)]
    with pytest.raises(RedpencilError, match="a batch file holds 900"):
        write_batches(tmp_path / "e.jsonl", requests, OPENAI, _small(OPENAI.batch_format, most_bytes=900))
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_told(tmp_path: Path, ask: Ask) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(RedpencilError, match="cannot write it"):
        write_batches(tmp_path / "file" / "e.jsonl", [ask("one", OPENAI)], OPENAI)


@pytest.mark.parametrize("kind", ["anthropic", "openai"])
def test_a_body_of_a_file_posted_by_hand_gets_the_answer_that_the_live_client_gets(
    tmp_path: Path, stub: Any, ask: Ask, kind: str
) -> None:
    client = stub.client(kind, temperature=0.5)
    primed = ask("The quick brown fox jumps.", client)
    request = Request(primed.key, (Message("system", "Be kind."), *primed.messages, Message("assistant", "Here: ")))
    ((_, live),) = HostedProvider(client).answer([request])
    sent = stub.last()
    (part,) = write_batches(tmp_path / ("e.json" if kind == "anthropic" else "e.jsonl"), [request], client)
    (row,) = _rows(part.path)
    body = row.get("params") or row["body"]
    assert body == sent
    answer = stub.post("/v1/messages" if kind == "anthropic" else row["url"], body)
    result = (
        {"result": {"type": "succeeded", "message": answer}}
        if kind == "anthropic"
        else {"id": "batch_req_1", "response": {"status_code": 200, "request_id": "r", "body": answer}, "error": None}
    )
    results = tmp_path / "results.jsonl"
    results.write_text(json.dumps({"custom_id": row["custom_id"], **result}) + "\n")
    assert list(read_batch_results(results, client)) == [(request.key, live)]


def _results(tmp_path: Path, *rows: Any) -> Path:
    path = tmp_path / "results.jsonl"
    lines = [row if isinstance(row, str) else json.dumps({"custom_id": KEY} | row) for row in rows]
    path.write_text("\ufeff" + "\n\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_anthropics_results(tmp_path: Path) -> None:
    message = {
        "content": [{"type": "text", "text": "a\ud83d"}],
        "stop_reason": "max_tokens",
        "usage": {"input_tokens": 3, "output_tokens": 2},
    }
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": "too\nlong"}}
    path = _results(
        tmp_path,
        {"result": {"type": "succeeded", "message": message}},
        {"result": {"type": "errored", "error": error}},
        {"result": {"type": "canceled"}},
        {"result": {"type": "expired"}},
        {"result": {"type": "succeeded", "message": {}}},
    )
    assert list(read_batch_results(path, ANTHROPIC)) == [
        (KEY, Completion("a\ufffd", StopReason.LENGTH, Usage(3, 2))),
        (KEY, Failure("errored in the batch: too long")),
        (KEY, Failure("canceled in the batch")),
        (KEY, Failure("expired in the batch")),
        (KEY, Failure("the body of the answer is broken: it has no list 'content'")),
    ]


def test_openais_output_and_error_files(tmp_path: Path) -> None:
    body = {"choices": [{"message": {"content": "edited"}, "finish_reason": "stop"}]}
    refused = {"error": {"message": "context length exceeded", "code": "x"}}
    path = _results(
        tmp_path,
        {"response": {"status_code": 200, "body": body}, "error": None},
        {"response": {"status_code": 400, "body": refused}, "error": None},
        {"response": None, "error": {"code": "batch_expired", "message": "Not executed in time."}},
        {"response": None, "error": {"code": None, "message": "expired"}},
        {"response": None, "error": {}},
        {"response": {"status_code": 200, "body": {"choices": []}}},
    )
    assert list(read_batch_results(path, OPENAI)) == [
        (KEY, Completion("edited")),
        (KEY, Failure("HTTP 400: context length exceeded")),
        (KEY, Failure("batch_expired: Not executed in time.")),
        (KEY, Failure("expired")),
        (KEY, Failure("failed in the batch")),
        (KEY, Failure("the body of the answer is broken: it has no message in 'choices'")),
    ]


GOOD = {"response": {"status_code": 500, "body": None}}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ('{"custom_id": "', "not valid JSON"),
        ("[" * 100_000, "not valid JSON"),
        ("[]", "not the key"),
        ('{"custom_id": 7}', "not the key"),
        (json.dumps({"custom_id": "request-1", **GOOD}), "not the key"),
        (json.dumps({"custom_id": "0F" * 32, **GOOD}), "not the key"),
        (json.dumps({"custom_id": KEY}), "not a result of a batch of openai"),
        (json.dumps({"custom_id": KEY, "result": {"type": "expired"}}), "not a result of a batch of openai"),
        (json.dumps({"custom_id": KEY, "response": {"status_code": "200"}}), "not a result of a batch of openai"),
    ],
)
def test_a_broken_line_is_told_with_file_and_line(tmp_path: Path, line: str, told: str) -> None:
    path = _results(tmp_path, GOOD, line)
    found = read_batch_results(path, OPENAI)
    assert isinstance(next(found)[1], Failure)
    with pytest.raises(RedpencilError, match=told) as caught:
        next(found)
    assert (caught.value.file, caught.value.line) == (str(path), 3)


def test_bytes_that_are_no_utf_8_are_told_with_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(b'{"custom_id": "\xff"}\n')
    with pytest.raises(RedpencilError, match="UTF-8") as caught:
        list(read_batch_results(path, ANTHROPIC))
    assert caught.value.line == 1


def test_a_missing_results_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(RedpencilError, match="cannot read it"):
        list(read_batch_results(tmp_path / "none.jsonl", ANTHROPIC))


def test_parts_of_an_earlier_call_are_not_left_beside_new_ones(tmp_path: Path, ask: Ask) -> None:
    requests = [ask(f"word {number}", OPENAI) for number in range(7)]
    path = tmp_path / "e.jsonl"

    def write(count: int) -> list[str]:
        return [
            part.path.name for part in write_batches(path, requests[:count], OPENAI, _small(OPENAI.batch_format, 3))
        ]

    assert write(7) == ["e-1.jsonl", "e-2.jsonl", "e-3.jsonl"]
    before = {other.name: other.read_bytes() for other in tmp_path.iterdir()}
    for fewer, stale in ((6, "e-3.jsonl"), (3, "e-1.jsonl, e-2.jsonl, e-3.jsonl")):
        with pytest.raises(RedpencilError, match=f"{stale} of an earlier call"):
            write(fewer)
        assert {other.name: other.read_bytes() for other in tmp_path.iterdir()} == before
    assert write(7) == ["e-1.jsonl", "e-2.jsonl", "e-3.jsonl"]
    for name in before:
        (tmp_path / name).unlink()
    (tmp_path / "e-2026.jsonl").touch()  # no part of any
    assert write(3) == write(2) == ["e.jsonl"]
    with pytest.raises(RedpencilError, match=r"e\.jsonl of an earlier call"):
        write(7)


@pytest.mark.parametrize("most", [1000, 100_000])  # of which the first does not even fit while it is written
def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, ask: Ask, most: int) -> None:
    resource = pytest.importorskip("resource", reason="no limits on this system")
    requests = [ask(f"word {number} {'x' * 1000}", OPENAI) for number in range(100)]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        with pytest.raises(RedpencilError, match="cannot write it"):
            write_batches(tmp_path / "e.jsonl", requests, OPENAI)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(tmp_path.iterdir()) == []
