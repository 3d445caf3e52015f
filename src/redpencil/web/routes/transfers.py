"""Import and export while people work.

An export is written to a temporary file first, so that a slow reader holds no snapshot of the database open. An upload
is a JSONL body or the parts of a form; the file names that a form gives are never used.
"""

import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Set
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Annotated

from fastapi import APIRouter, Depends, HTTPException
from sqlalchemy import Engine
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import StreamingResponse

from redpencil.errors import RedpencilError
from redpencil.records import Edit, JsonlFile, Record, Response, to_row
from redpencil.text import json_line
from redpencil.web.auth import REVIEWERS, Guard, Reviewer
from redpencil.web.database import reading, record_event, writing
from redpencil.web.gold import gold_warnings
from redpencil.web.items import (
    ImportCount,
    RefusedRow,
    export_comparisons,
    export_edits,
    import_comparisons,
    import_gold_items,
    import_responses,
    matching,
    read_suggestions,
)
from redpencil.web.routes.models import ALWAYS, Responses, refusals
from redpencil.web.security import UPLOAD_LIMIT, limited

JSONL = "application/x-ndjson"
PARTS = ("responses", "suggestions", "known", "first", "second")
"""The files that an upload may have: responses, gold items, suggested edits of either, and the two sides of a
comparison. All that are sent are imported."""
_CHUNK = 1 << 16
_DOWNLOAD: Responses = {200: {"content": {JSONL: {"schema": {"type": "string"}}}}}
Upload = Mapping[str, Path]
"""The files of an upload, in a temporary folder, by the names of their parts."""
router = APIRouter(prefix="/api", tags=["reviewers and admins"], responses=ALWAYS)


@dataclass(frozen=True, slots=True)
class ImportAnswer:
    """The number of uploaded rows by their fate; texts that are there already are never overwritten.

    `refused` rows are too long to be submitted; `warnings` are sentences about gold items that people may tell from
    others; `by_prompt` pairs have different ids in the two files.
    """

    added: int
    known: int
    changed: int
    empty: int
    refused: tuple[RefusedRow, ...]
    warnings: tuple[str, ...]
    by_prompt: int


async def receive_upload(request: Request, _: Reviewer) -> AsyncIterator[Upload]:
    """Store an upload, the files of a form or a JSONL body as the part `responses`, until the request is answered.

    Raises:
        HTTPException: if it is too large, or has parts with other names.
        DeniedError: if the person was revoked while the upload arrived.
    """
    folder = Path(tempfile.mkdtemp(prefix="redpencil-upload-"))
    try:
        body = limited(request, UPLOAD_LIMIT)
        if request.headers.get("content-type", "").startswith("multipart/form-data"):
            await _store_form(body, folder)
        else:
            with (folder / "responses").open("wb") as out:
                async for chunk in body.stream():
                    await run_in_threadpool(out.write, chunk)
        await run_in_threadpool(Guard(REVIEWERS), request)
        yield {path.name: path for path in folder.iterdir()}
    finally:
        shutil.rmtree(folder)


async def _store_form(request: Request, folder: Path) -> None:
    async with request.form(max_files=len(PARTS), max_fields=5) as form:
        for name, part in form.multi_items():
            if not isinstance(part, UploadFile):
                continue
            if name not in PARTS:
                raise HTTPException(422, f"An upload has the parts {', '.join(PARTS)}.")
            if part.size:
                if (folder / name).exists():
                    raise HTTPException(422, f"The part {name} was sent twice; send one file for each part.")
                with (folder / name).open("wb") as out:
                    await run_in_threadpool(shutil.copyfileobj, part.file, out)


@router.post(
    "/import",
    responses=refusals(400, 413),
    openapi_extra={
        "requestBody": {"required": True, "content": {JSONL: {"schema": {"type": "string", "format": "binary"}}}}
    },
)
def import_items(upload: Annotated[Upload, Depends(receive_upload)], visitor: Reviewer) -> ImportAnswer:
    """Add items: a body of JSONL responses, or a form with the files responses, suggestions, known, first, second."""
    try:
        count = _import_parts(visitor.engine, upload)
    except RedpencilError as error:  # names a temporary file, which means nothing to the person who sent it
        part = Path(error.file).name if error.file else None
        where = f"{part}, line {error.line}: " if part and error.line else f"{part}: " if part else ""
        raise RedpencilError(where + error.problem, field=error.field, hint=error.hint) from None
    detail = asdict(count) | {"refused": [row.id for row in count.refused]}
    with writing(visitor.engine) as connection:
        record_event(connection, "imported", at=time.time(), person_id=visitor.person.id, detail=detail)
        warnings = gold_warnings(connection)
    return ImportAnswer(count.added, count.known, count.changed, count.empty, count.refused, warnings, count.by_prompt)


def _import_parts(engine: Engine, upload: Upload) -> ImportCount:
    """Import every part, gold items first: an item that a person has begun cannot become one."""
    responses, suggestions, known, first, second = map(upload.get, PARTS)
    _check_parts(upload.keys())
    edits = {} if suggestions is None else read_suggestions(suggestions)
    texts: dict[str, str] = {}
    counts = []
    if known is not None:
        counts.append(import_gold_items(engine, matching(JsonlFile(known, Edit), edits, texts), texts))
    if responses is not None:
        counts.append(import_responses(engine, matching(JsonlFile(responses, Response), edits, texts), texts))
    if first is not None and second is not None:
        counts.append(import_comparisons(engine, JsonlFile(first, Response), JsonlFile(second, Response)))
    return sum(counts, start=ImportCount())


def _check_parts(sent: Set[str]) -> None:
    """Refuse an upload with parts that would be ignored, before any of it is imported."""
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


@router.get("/export/edits", response_class=StreamingResponse, responses=_DOWNLOAD)
def export_edits_file(visitor: Reviewer) -> StreamingResponse:
    """Download all edits as JSONL."""
    with reading(visitor.engine) as connection:
        return _download(export_edits(connection), "edits.jsonl")


@router.get("/export/comparisons", response_class=StreamingResponse, responses=_DOWNLOAD)
def export_comparisons_file(visitor: Reviewer) -> StreamingResponse:
    """Download all comparisons as JSONL."""
    with reading(visitor.engine) as connection:
        return _download(export_comparisons(connection), "comparisons.jsonl")


def _download(rows: Iterable[Record], name: str) -> StreamingResponse:
    content = tempfile.TemporaryFile()  # noqa: SIM115 - `_chunks` closes it after sending
    for row in rows:
        content.write(json_line(to_row(row)))
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Content-Length": str(content.tell())}
    content.seek(0)
    return StreamingResponse(_chunks(content), media_type=JSONL, headers=headers)


def _chunks(content: IO[bytes]) -> Iterator[bytes]:
    with content:
        while chunk := content.read(_CHUNK):
            yield chunk
