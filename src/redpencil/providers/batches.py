"""Batch files: requests that a provider answers within a day at a lower price, and its results.

OpenAI takes JSON Lines of requests, Anthropic one JSON object with a list of them. Both name a request by a
`custom_id`, for which its key serves, and both limit how much a file holds. What stands in a file is what
`HostedProvider` would post.
"""

import contextlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final

from redpencil.errors import RedpencilError
from redpencil.providers.base import Failure, Request, Result
from redpencil.providers.hosted import Client, MalformedAnswerError
from redpencil.providers.redact import message_of, one_line

_KEY_LENGTH: Final = 64


@dataclass(frozen=True, slots=True)
class BatchFormat:
    """How a provider's files look, and how much one may hold. Sizes are in bytes."""

    most_requests: int
    most_bytes: int
    before: bytes
    between: bytes
    after: bytes


OPENAI_FILES: Final = BatchFormat(50_000, 200_000_000, b"", b"", b"")
ANTHROPIC_FILES: Final = BatchFormat(100_000, 256_000_000, b'{"requests": [\n', b",\n", b"]}\n")
"""Of https://platform.openai.com/docs/api-reference/batch/create and
https://platform.claude.com/docs/en/build-with-claude/batch-processing."""


@dataclass(frozen=True, slots=True)
class BatchFile:
    """A file that was written, and how many requests it holds."""

    path: Path
    requests: int


def write_batches(
    path: Path, requests: Iterable[Request], client: Client, files: BatchFormat | None = None
) -> list[BatchFile]:
    """Write requests as batch files and tell which; each request once, whatever comes twice.

    All requests of one run go to `path` if they fit; else to numbered files beside it: `edits.json` becomes
    `edits-1.json`, `edits-2.json` and so on. The files appear only when all are written.

    Raises:
        RedpencilError: if the files cannot be written, one request alone is larger than a file may be, or parts of an
            earlier call with more or fewer files are there.
    """
    files = files or (ANTHROPIC_FILES if _is_anthropic(client) else OPENAI_FILES)
    parts: list[_Part] = []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for line in _lines(requests, client, files, path):
            if not parts or not parts[-1].takes(line, files):
                if parts:
                    parts[-1].close(files)
                parts.append(_Part.open(path.with_name(f"{path.name}.{len(parts) + 1}.partial"), files))
            parts[-1].add(line, files)
        if parts:
            parts[-1].close(files)
        names = [path] if len(parts) == 1 else [_numbered(path, number) for number in range(1, len(parts) + 1)]
        _refuse_stale(path, names)
        for part, name in zip(parts, names, strict=True):
            part.path.replace(name)
    except BaseException as error:
        for part in parts:
            with contextlib.suppress(OSError):  # what does not fit on the disk does not fit while closing either
                part.out.close()
            part.path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise RedpencilError(
                f"cannot write it ({error.strerror})", file=path, hint="choose another path, or make room"
            ) from None
        raise
    return [BatchFile(name, part.count) for part, name in zip(parts, names, strict=True)]


def _refuse_stale(path: Path, names: list[Path]) -> None:
    """Refuse to write beside files of an earlier call that somebody would submit together with these."""
    numbered = re.compile(rf"{re.escape(path.stem)}-[1-9]\d{{0,2}}{re.escape(path.suffix)}")
    beside = [path, *(other for other in path.parent.iterdir() if numbered.fullmatch(other.name))]
    stale = sorted(other.name for other in beside if other not in names and other.exists())
    if names and stale:
        raise RedpencilError(
            f"{', '.join(stale)} of an earlier call would look like a part of this batch",
            file=path,
            hint="move it away, or choose another --batch-out",
        )


def _is_anthropic(client: Client) -> bool:
    return str(client.identity["provider"]) == "anthropic"


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}-{number}{path.suffix}")


def _lines(requests: Iterable[Request], client: Client, files: BatchFormat, path: Path) -> Iterator[bytes]:
    """Each request as a line."""
    seen: set[bytes] = set()
    for request in requests:
        digest = bytes.fromhex(request.key)
        if digest in seen:
            continue
        seen.add(digest)
        body = client.body(request.messages)
        row: dict[str, Any] = {"custom_id": request.key}
        if _is_anthropic(client):
            row |= {"params": body}
        else:
            row |= {"method": "POST", "url": "/v1/chat/completions", "body": body}
        line = json.dumps(row, ensure_ascii=False).encode()
        if len(line) + len(files.before) + len(files.after) + 1 > files.most_bytes:
            raise RedpencilError(
                f"a request of {len(line):,} bytes, but a batch file holds {files.most_bytes:,}",
                file=path,
                hint="shorten the response, or ask without batches",
            )
        yield line


@dataclass(slots=True)
class _Part:
    """A file that is being written."""

    path: Path
    out: BinaryIO
    count: int = 0
    size: int = 0

    @classmethod
    def open(cls, path: Path, files: BatchFormat) -> "_Part":
        out = path.open("wb")
        out.write(files.before)
        return cls(path, out, size=len(files.before))

    def takes(self, line: bytes, files: BatchFormat) -> bool:
        size = self.size + len(files.between) + len(line) + 1 + len(files.after)
        return self.count < files.most_requests and size <= files.most_bytes

    def add(self, line: bytes, files: BatchFormat) -> None:
        text = (files.between if self.count else b"") + line + (b"" if files.between else b"\n")
        self.out.write(text)
        self.count += 1
        self.size += len(text)

    def close(self, files: BatchFormat) -> None:
        self.out.write((b"\n" if files.between else b"") + files.after)
        self.out.close()


def read_batch_results(path: Path, client: Client) -> Iterator[tuple[str, Result]]:
    """Stream the keys and results of a results file: OpenAI's output and error files, Anthropic's results.

    Raises:
        RedpencilError: naming file and line, if the file cannot be read or a line is no result of such a batch.
    """
    try:
        lines = path.open("rb")
    except OSError as error:
        raise RedpencilError(f"cannot read it ({error.strerror})", file=path, hint="give a results file") from None
    read = _anthropic_result if _is_anthropic(client) else _openai_result
    with lines:
        for number, raw in enumerate(lines, start=1):
            line = (raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw).strip()
            if not line:
                continue
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                raise _broken(path, number, "not valid JSON, or not UTF-8") from None
            key = row.get("custom_id") if isinstance(row, dict) else None
            if not isinstance(key, str) or not _is_key(key):
                raise _broken(path, number, "no key of a request that redpencil wrote", "custom_id")
            result = read(row, client)
            if result is None:
                raise _broken(path, number, f"no result as {client.identity['provider']} gives them")
            yield key, result


def _is_key(text: str) -> bool:
    with contextlib.suppress(ValueError):
        return len(bytes.fromhex(text)) * 2 == len(text) == _KEY_LENGTH and text == text.lower()
    return False


def _broken(path: Path, line: int, problem: str, field: str | None = None) -> RedpencilError:
    return RedpencilError(
        problem, file=path, line=line, field=field, hint="give the results file as the provider's API gave it"
    )


def _openai_result(row: dict[str, Any], client: Client) -> Result | None:
    response, error = row.get("response"), row.get("error")
    if isinstance(response, dict) and isinstance(response.get("status_code"), int):
        if response["status_code"] == 200:
            return _completion(client, response.get("body"))
        told = message_of(json.dumps(response.get("body")))
        return Failure(one_line(f"HTTP {response['status_code']}: {told}"))
    if isinstance(error, dict):
        parts = [str(error[name]) for name in ("code", "message") if error.get(name) is not None]
        return Failure(one_line(": ".join(parts) or "failed in the batch"))
    return None


def _anthropic_result(row: dict[str, Any], client: Client) -> Result | None:
    result = row.get("result")
    kind = result.get("type") if isinstance(result, dict) else None
    if not isinstance(result, dict) or kind not in ("succeeded", "errored", "canceled", "expired"):
        return None
    if kind == "succeeded":
        return _completion(client, result.get("message"))
    told = f": {message_of(json.dumps(result.get('error')))}" if kind == "errored" else ""
    return Failure(one_line(f"{kind} in the batch{told}"))


def _completion(client: Client, body: object) -> Result:
    try:
        return client.completion(body)
    except MalformedAnswerError as error:
        return Failure(one_line(f"the body of the answer is broken: {error}"))
