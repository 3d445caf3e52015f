"""Batch files: requests that a provider answers within a day at a lower price, and its results.

OpenAI takes JSON Lines of requests, Anthropic one JSON object with a list of them; `Client` has the format of each.
Both name a request by a `custom_id`, which is its key here, and both limit the size of a file. A file holds what
`HostedProvider` would post.
"""

import contextlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from redpencil.errors import RedpencilError
from redpencil.files import PRIVATE, followed, is_device
from redpencil.providers.base import Request, Result
from redpencil.providers.client import BatchFormat, Client
from redpencil.text import parse_json

_KEY_LENGTH: Final = 64


@dataclass(frozen=True, slots=True)
class BatchFile:
    """A file that was written, and its number of requests."""

    path: Path
    requests: int


def write_batches(
    path: Path, requests: Iterable[Request], client: Client, files: BatchFormat | None = None
) -> list[BatchFile]:
    """Write requests as batch files, each request once, and return the files.

    All requests go to `path` if they fit; else to numbered files in the same folder: `edits.json` becomes
    `edits-1.json`, `edits-2.json` and so on. The files appear only when all are written. A link stays, and the file
    that it leads to is replaced. `files` is the client's format by default.

    Raises:
        RedpencilError: if the files cannot be written, one is a device or a pipe, one request alone is larger than a
            file may be, or the folder has parts of an earlier call with more or fewer files.
    """
    files = files or client.batch_format
    parts: list[_Part] = []
    path = _replaceable(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for line in _lines(requests, client, files, path):
            if not parts or not parts[-1].takes(line):
                if parts:
                    parts[-1].close()
                parts.append(_Part(path.with_name(f"{path.name}.{len(parts) + 1}.partial"), files))
            parts[-1].add(line)
        if parts:
            parts[-1].close()
        names = [path] if len(parts) == 1 else [_numbered(path, number) for number in range(1, len(parts) + 1)]
        _refuse_stale(path, names)
        for part, target in zip(parts, map(_replaceable, names), strict=True):
            part.path.replace(target)
    except BaseException as error:
        for part in parts:
            with contextlib.suppress(OSError):  # closing writes too, and fails again on a full disk
                part.out.close()
            part.path.unlink(missing_ok=True)
        if isinstance(error, OSError):
            raise RedpencilError(
                f"cannot write it ({error.strerror})", file=path, hint="choose another path, or make room"
            ) from None
        raise
    return [BatchFile(name, part.count) for part, name in zip(parts, names, strict=True)]


def _replaceable(path: Path) -> Path:
    """The file that a batch file replaces.

    Raises:
        RedpencilError: if it is a device or a pipe: a batch may be several files, which get their names at the end.
    """
    if is_device(path):
        raise RedpencilError("it is a device or a pipe", file=path, hint="name a file, and send that")
    return followed(path)


def _refuse_stale(path: Path, names: list[Path]) -> None:
    """Refuse to write if files of an earlier call would be submitted together with these by mistake."""
    numbered = re.compile(rf"{re.escape(path.stem)}-[1-9]\d{{0,2}}{re.escape(path.suffix)}")
    present = [path, *(other for other in path.parent.iterdir() if numbered.fullmatch(other.name))]
    stale = sorted(other.name for other in present if other not in names and other.exists())
    if names and stale:
        raise RedpencilError(
            f"{', '.join(stale)} of an earlier call would look like a part of this batch",
            file=path,
            hint="move it away, or choose another --batch-out",
        )


def _numbered(path: Path, number: int) -> Path:
    return path.with_name(f"{path.stem}-{number}{path.suffix}")


def _lines(requests: Iterable[Request], client: Client, files: BatchFormat, path: Path) -> Iterator[bytes]:
    seen: set[bytes] = set()
    for request in requests:
        digest = bytes.fromhex(request.key)
        if digest in seen:
            continue
        seen.add(digest)
        line = json.dumps(client.batch_row(request.key, request.messages), ensure_ascii=False).encode()
        if len(line) + len(files.before) + len(files.after) + 1 > files.most_bytes:
            raise RedpencilError(
                f"a request of {len(line):,} bytes, but a batch file holds {files.most_bytes:,}",
                file=path,
                hint="shorten the response, or ask without batches",
            )
        yield line


class _Part:
    """A file that is being written."""

    def __init__(self, path: Path, files: BatchFormat) -> None:
        self.path, self.files, self.count, self.size = path, files, 0, len(files.before)
        path.unlink(missing_ok=True)
        self.out = os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, PRIVATE), "wb")
        self.out.write(files.before)

    def takes(self, line: bytes) -> bool:
        size = self.size + len(self.files.between) + len(line) + 1 + len(self.files.after)
        return self.count < self.files.most_requests and size <= self.files.most_bytes

    def add(self, line: bytes) -> None:
        text = (self.files.between if self.count else b"") + line + (b"" if self.files.between else b"\n")
        self.out.write(text)
        self.count += 1
        self.size += len(text)

    def close(self) -> None:
        self.out.write((b"\n" if self.files.between else b"") + self.files.after)
        self.out.close()


def read_batch_results(path: Path, client: Client) -> Iterator[tuple[str, Result]]:
    """Yield the keys and results of a results file: OpenAI's output and error files, Anthropic's results.

    Raises:
        RedpencilError: naming file and line, if the file cannot be read or a line is not a result of such a batch.
    """
    try:
        lines = path.open("rb")
    except OSError as error:
        raise RedpencilError(f"cannot read it ({error.strerror})", file=path, hint="give a results file") from None
    with lines:
        for number, raw in enumerate(lines, start=1):
            line = (raw.removeprefix(b"\xef\xbb\xbf") if number == 1 else raw).strip()
            if not line:
                continue
            try:
                row = parse_json(line)
            except (ValueError, RecursionError):
                raise _broken(path, number, "not valid JSON, not UTF-8, or an object with a key twice") from None
            key = row.get("custom_id") if isinstance(row, dict) else None
            if not isinstance(key, str) or not _is_key(key):
                raise _broken(path, number, "not the key of a request that redpencil wrote", "custom_id")
            result = client.batch_result(row)
            if result is None:
                raise _broken(path, number, f"not a result of a batch of {client.provider}")
            yield key, result


def _is_key(text: str) -> bool:
    with contextlib.suppress(ValueError):
        return len(bytes.fromhex(text)) * 2 == len(text) == _KEY_LENGTH and text == text.lower()
    return False


def _broken(path: Path, line: int, problem: str, field: str | None = None) -> RedpencilError:
    return RedpencilError(
        problem, file=path, line=line, field=field, hint="give the results file as the provider's API returned it"
    )
