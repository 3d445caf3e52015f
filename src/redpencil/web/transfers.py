"""Import and export while people work.

An export is written to a temporary file first, so that a slow reader holds no snapshot of the database open. An upload
is a JSONL body of its own or parts of a form; the names that it gives its files are never used.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from sqlalchemy import Connection
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import StreamingResponse

from redpencil.errors import RedpencilError
from redpencil.records import Edit, JsonlFile, Record, Response, to_row
from redpencil.web.auth import REVIEWERS
from redpencil.web.database import reading, record_event, writing
from redpencil.web.gold import known_warnings
from redpencil.web.items import (
    ImportCount,
    RefusedRow,
    export_comparisons,
    export_edits,
    import_comparisons,
    import_known_answers,
    import_responses,
    matching,
    read_suggestions,
)
from redpencil.web.operations import Call, Operation
from redpencil.web.security import UPLOAD_LIMIT, limited

JSONL = "application/x-ndjson"
PARTS = ("responses", "suggestions", "known", "first", "second")
"""The files that an upload may have: responses, edits whose answer is known, suggested edits of either, and the two
sides of a comparison. All that are sent are brought in."""
_CHUNK = 1 << 16


@dataclass(frozen=True, slots=True)
class Upload:
    """The files of an upload, in a temporary folder, each named like its part."""

    folder: Path

    def part(self, name: str) -> Path | None:
        """Where a file lies; None where it was not sent."""
        path = self.folder / name
        return path if path.exists() else None

    def discard(self) -> None:
        """Throw the files away."""
        shutil.rmtree(self.folder)


@dataclass(frozen=True, slots=True)
class ImportAnswer:
    """What became of the rows of an upload; texts that are already known are never overwritten. `refused` rows are too
    long to be handed in; `warnings` are sentences about items with a known answer that people may tell from others.
    """

    added: int
    known: int
    changed: int
    empty: int
    refused: tuple[RefusedRow, ...]
    warnings: tuple[str, ...]


async def receive_upload(request: Request) -> Upload:
    """Store what is uploaded, a form's files or a body of JSONL, as the part `responses`.

    Raises:
        HTTPException: if it is too large, or has parts of another name.
    """
    request = limited(request, UPLOAD_LIMIT)
    folder = Path(tempfile.mkdtemp(prefix="redpencil-upload-"))
    try:
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            await _store_form(request, folder)
        else:
            with (folder / "responses").open("wb") as out:
                async for chunk in request.stream():
                    await run_in_threadpool(out.write, chunk)
    except BaseException:
        shutil.rmtree(folder)
        raise
    return Upload(folder)


async def _store_form(request: Request, folder: Path) -> None:
    async with request.form(max_files=len(PARTS), max_fields=5) as form:
        for name, part in form.multi_items():
            if not isinstance(part, UploadFile):
                continue
            if name not in PARTS:
                raise HTTPException(422, f"An upload has the parts {', '.join(PARTS)}.")
            if part.size:
                if (folder / name).exists():
                    raise HTTPException(422, f"The part {name} is there twice; send one file for each part.")
                with (folder / name).open("wb") as out:
                    await run_in_threadpool(shutil.copyfileobj, part.file, out)


def _import(call: Call) -> ImportAnswer:
    upload: Upload = call.body
    try:
        count = _import_parts(call, upload)
    except RedpencilError as error:  # it names a temporary file, which means nothing to anybody
        part = Path(error.file).name if error.file else None
        where = f"{part}, line {error.line}: " if part and error.line else f"{part}: " if part else ""
        raise RedpencilError(where + error.problem, field=error.field, hint=error.hint) from None
    finally:
        upload.discard()
    detail = asdict(count) | {"refused": [row.id for row in count.refused]}
    with writing(call.engine) as connection:
        record_event(connection, "imported", at=call.now, person_id=call.person.id, detail=detail)
        warnings = known_warnings(connection)
    return ImportAnswer(count.added, count.known, count.changed, count.empty, count.refused, warnings)


def _import_parts(call: Call, upload: Upload) -> ImportCount:
    """Bring in every part, known answers first: an item that somebody has begun cannot become one."""
    responses, suggestions, known, first, second = map(upload.part, PARTS)
    _check_parts(upload)
    edits = {} if suggestions is None else read_suggestions(suggestions)
    texts: dict[str, str] = {}
    counts = []
    if known is not None:
        counts.append(import_known_answers(call.engine, matching(JsonlFile(known, Edit), edits, texts), texts))
    if responses is not None:
        counts.append(import_responses(call.engine, matching(JsonlFile(responses, Response), edits, texts), texts))
    if first is not None and second is not None:
        counts.append(import_comparisons(call.engine, JsonlFile(first, Response), JsonlFile(second, Response)))
    return ImportCount(
        added=sum(count.added for count in counts),
        known=sum(count.known for count in counts),
        changed=sum(count.changed for count in counts),
        empty=sum(count.empty for count in counts),
        refused=tuple(row for count in counts for row in count.refused),
    )


def _check_parts(upload: Upload) -> None:
    """Refuse an upload of which something would be left over, before any of it is brought in."""
    sent = {name for name in PARTS if upload.part(name) is not None}
    problem = None
    if not sent:
        problem = "the upload holds no rows"
    elif len(sent & {"first", "second"}) == 1:
        problem = "a comparison has two sides, and one is missing"
    elif "suggestions" in sent and not sent & {"responses", "known"}:
        problem = "suggestions belong to responses"
    if problem is not None:
        hint = "send `responses` or `known`, with or without `suggestions`, or both `first` and `second`"
        raise RedpencilError(problem, hint=hint)


def _export(rows: Callable[[Connection], Iterable[Record]], name: str) -> Callable[[Call], StreamingResponse]:
    def perform(call: Call) -> StreamingResponse:
        content = tempfile.TemporaryFile()  # noqa: SIM115 - the answer closes it when it is sent
        with reading(call.engine) as connection:
            for row in rows(connection):
                content.write((json.dumps(to_row(row), ensure_ascii=False) + "\n").encode())
        headers = {
            "Content-Disposition": f'attachment; filename="{name}"',
            "Content-Length": str(content.tell()),
        }
        content.seek(0)
        return StreamingResponse(_chunks(content), media_type=JSONL, headers=headers)

    return perform


def _chunks(content: IO[bytes]) -> Iterator[bytes]:
    with content:
        while chunk := content.read(_CHUNK):
            yield chunk


TRANSFER_OPERATIONS: tuple[Operation, ...] = (
    Operation(
        "GET",
        "/api/export/edits",
        _export(export_edits, "edits.jsonl"),
        "All edits as JSONL",
        REVIEWERS,
        download=JSONL,
    ),
    Operation(
        "GET",
        "/api/export/comparisons",
        _export(export_comparisons, "comparisons.jsonl"),
        "All comparisons as JSONL",
        REVIEWERS,
        download=JSONL,
    ),
    Operation(
        "POST",
        "/api/import",
        _import,
        f"Add items: a body of JSONL responses, or a form with the files {', '.join(PARTS)}",
        REVIEWERS,
        answer=ImportAnswer,
        errors=(413, 422),
        upload=JSONL,
        receive=receive_upload,
    ),
)
