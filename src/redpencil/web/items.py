"""Items go in and edits come out, while people work.

An item is known by its id and never overwritten: a file may be imported again, whole or longer. Rows go in by the
batch, so that nobody who saves a draft waits for a long file.
"""

import json
import secrets
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, Row, Select, exists, func, insert, select, text, update

from redpencil.errors import RedpencilError
from redpencil.records import (
    Comparison,
    Edit,
    EditOutcome,
    JsonlFile,
    Preference,
    Response,
    instruction_of,
    merge_meta,
)
from redpencil.web.bodies import LONGEST_TEXT
from redpencil.web.database import writing
from redpencil.web.project import CURRENT, call_untitled
from redpencil.web.schema import adjudication, assignment, item, person, submission
from redpencil.web.security import BODY_LIMIT
from redpencil.web.text import measure, unstorable

LONGEST_IMPORTED: Final = LONGEST_TEXT * 3 // 4
"""Characters."""
LARGEST_IMPORTED: Final = BODY_LIMIT * 3 // 4
"""Bytes of JSON in ASCII."""
_LONGEST_ESCAPE: Final = len(json.dumps("\U0001f58d")) - 2


def too_long(text: str) -> str | None:
    """Why a text could not be handed in, as the end of a sentence about it; None where it could."""
    if len(text) > LONGEST_IMPORTED:
        return f"has {len(text):,} characters, of which {LONGEST_IMPORTED:,} are allowed"
    if len(text) * _LONGEST_ESCAPE + 2 <= LARGEST_IMPORTED:
        return None
    size = len(json.dumps(text))
    return (
        None if size <= LARGEST_IMPORTED else f"has {size:,} bytes as JSON, of which {LARGEST_IMPORTED:,} are allowed"
    )


def paired(
    first: Iterable[Response], second: Iterable[Response], files: tuple[str, str]
) -> list[tuple[Response, Response]]:
    """The rows of both files, matched by id, in the order of the first; `files` are what errors call the two.

    Raises:
        RedpencilError: if the files do not answer the same prompts.
    """
    here: dict[str, Response] = {}
    for row in first:
        if row.id in here:
            raise RedpencilError(
                f"the id {row.id!r} is there twice", file=files[0], field="id", hint="leave one of the rows out"
            )
        here[row.id] = row
    others = {row.id: row for row in second}
    _refuse_more(files[0], [one for one in here if one not in others], files[1])
    _refuse_more(files[1], [one for one in others if one not in here], files[0])
    pairs = [(row, others[row.id]) for row in here.values()]
    for row, other in pairs:
        if row.prompt != other.prompt:
            raise RedpencilError(
                f"the id {row.id!r} has another prompt than in {files[0]}",
                file=files[1],
                field="id",
                hint="answer the same prompts in both",
            )
    return pairs


def _refuse_more(file: str, ids: list[str], other: str) -> None:
    """Refuse a file that has ids which the other one lacks."""
    if ids:
        counted = "an id" if len(ids) == 1 else f"{len(ids):,} ids"
        example = repr(ids[0]) if len(ids) == 1 else f"such as {ids[0]!r}"
        raise RedpencilError(
            f"has {counted} that {other} lacks, {example}",
            file=file,
            field="id",
            hint="cut both to the same prompts",
        )


_BATCH: Final = 500
_LONGEST_ID: Final = 500
_IMPORT_LOCK: Final = 0x696D_706F_7274
"""The advisory lock of PostgreSQL under which positions are given."""
_TEXTS: Final = ("prompt", "context", "response", "second")
_TOLD: Final = frozenset({"kept", "annotation"})
"""What the `meta` of an exported edit always tells of it."""

EXPORTED: Final[Mapping[str, EditOutcome]] = {
    "edited": EditOutcome.EDITED,
    "no_edit_needed": EditOutcome.UNCHANGED,
    "cannot_be_fixed": EditOutcome.REFUSED,
}
"""What a person's outcome becomes in edits.jsonl; an item that was skipped gives no row."""


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that was left out, as it could not be handed in again, and why."""

    id: str
    problem: str


@dataclass(frozen=True, slots=True)
class ImportCount:
    """What an import did. `changed` rows have the id of an item with another text and were left out; `empty` ones hold
    no response, so there is nothing to edit; `refused` ones are too long.
    """

    added: int = 0
    known: int = 0
    changed: int = 0
    empty: int = 0
    refused: tuple[RefusedRow, ...] = ()


@dataclass(frozen=True, slots=True)
class ExportCount:
    """Current submissions by what becomes of them. Skipped items and known-answer items are not exported."""

    edits: int
    comparisons: int
    skipped: int
    known_answers: int
    adjudicated: int


def import_responses(
    engine: Engine, rows: Iterable[Response], suggestions: Mapping[str, str] | None = None
) -> ImportCount:
    """Add responses to edit; `suggestions` are an LLM's edits by id, also for items that lack one so far.

    Raises:
        RedpencilError: if a text cannot be kept; the batches before it are in.
    """
    given = {} if suggestions is None else suggestions
    return _import(engine, "edit", (_response_values(row, given.get(row.id)) for row in rows))


def import_known_answers(
    engine: Engine, edits: Iterable[Edit], suggestions: Mapping[str, str] | None = None
) -> ImportCount:
    """Add responses whose best edit is known. An item that is there already becomes one if nobody has worked on it.

    Its suggestion, without which it would stand out among items that have one, is that of `suggestions` by its id, or
    else the text `suggestion` of its `meta`.

    Raises:
        RedpencilError: as `import_responses`, or if an outcome is none that a person can have.
    """
    given = {} if suggestions is None else suggestions
    return _import(engine, "edit", (_known_values(edit, given.get(edit.id)) for edit in edits))


def import_comparisons(
    engine: Engine,
    first: Iterable[Response],
    second: Iterable[Response],
    files: tuple[str, str] = ("the first file", "the second file"),
) -> ImportCount:
    """Add pairs of responses to compare, matched by id; which one is shown as A is drawn when a pair is added.

    A project that has nothing else and no title of its own is called Comparisons from then on.

    Raises:
        RedpencilError: as `import_responses`, or if the files do not answer the same prompts.
    """
    count = _import(engine, "compare", (_pair_values(*pair) for pair in paired(first, second, files)))
    with writing(engine) as connection:
        if count.added and not connection.scalar(select(exists().where(item.c.kind == "edit"))):
            call_untitled(connection, "Comparisons")
    return count


def question_of(prompt: str, meta: Mapping[str, Any]) -> str:
    """The prompt without the input that pages fold, where it ends with it."""
    return instruction_of(prompt, meta)


def export_edits(connection: Connection) -> Iterator[Edit]:
    """What people made of the responses, in order of the items.

    An item that a reviewer has decided about gives one row, by that decision; others give a row for each current
    submission, all with the id of the item. Outcomes become those of `EXPORTED`, and `edited` is the original unless
    it is EDITED. `meta` also gets `model` of the response, `kept` and

    - `annotation`: the person's own `outcome`, `reason` and `tags` (spans of the original), `seconds` of work and
      `distance` in characters; `adjudicated` where a reviewer decided.

    What the response's own `meta` has under one of these names goes on under `response_` and the name.

    Skipped items and known-answer items are left out; `count_exports` counts them.
    """
    reviewer = person.alias()
    query: Select[Any] = (  # one statement sees the submissions and the decisions of one moment
        select(
            *(
                item.c[name].label(f"item_{name}")
                for name in ("id", "external_id", "prompt", "response", "model", "meta")
            ),
            submission,
            person.c.name,
            *(adjudication.c[name].label(f"decided_{name}") for name in ("outcome", "edited", "reason")),
            reviewer.c.name.label("decided_by"),
        )
        .join_from(item, submission, submission.c.item_id == item.c.id)
        .join(person, person.c.id == submission.c.person_id)
        .outerjoin(adjudication, adjudication.c.item_id == item.c.id)
        .outerjoin(reviewer, reviewer.c.id == adjudication.c.person_id)
        .where(item.c.kind == "edit", item.c.known_answer.is_(None), CURRENT)
        .order_by(item.c.position, submission.c.id)
    )
    rows = connection.execute(query, execution_options={"yield_per": 200})
    for _, group in groupby(rows, key=lambda row: row.item_id):
        for row in group:
            if row.decided_by is not None:
                yield _decided(row)
                break
            yield _edited(row)


def export_comparisons(connection: Connection) -> Iterator[Comparison]:
    """Which response people prefer; `first` and `second` are those of the two files, however they were shown.

    `meta` gets `first_model`, `second_model` and `annotation`: `reason`, `seconds` and which one was `shown_first`.
    What it had under these names goes on under `response_` and the name.
    """
    query = (
        select(item, submission.c.outcome, submission.c.reason, submission.c.seconds, person.c.name)
        .join_from(item, submission, submission.c.item_id == item.c.id)
        .join(person, person.c.id == submission.c.person_id)
        .where(item.c.kind == "compare", CURRENT)
        .order_by(item.c.position, submission.c.id)
    )
    for row in connection.execute(query, execution_options={"yield_per": 200}):
        sides, models = (row.response, row.second), (row.model, row.second_model or "")
        preference = Preference(row.outcome)
        if row.swapped:
            sides, models = sides[::-1], models[::-1]
            preference = _OTHER[preference]
        shown = "second" if row.swapped else "first"
        annotation = {"reason": row.reason, "seconds": round(row.seconds, 1), "shown_first": shown}
        named = {key: model for key, model in zip(("first_model", "second_model"), models, strict=True) if model}
        meta = merge_meta(row.meta, named | {"annotation": annotation})
        yield Comparison(row.external_id, row.prompt, *sides, preference, annotator=row.name, meta=meta)


def count_exports(connection: Connection) -> ExportCount:
    """How many current submissions there are of each sort, and how many items reviewers decided."""
    known = item.c.known_answer.is_not(None)
    groups = (item.c.kind, submission.c.outcome, known)
    query = select(*groups, func.count()).join_from(item, submission, submission.c.item_id == item.c.id)
    counts: Counter[tuple[str, bool, bool]] = Counter()
    for kind, outcome, gold, count in connection.execute(query.where(submission.c.undone.is_(None)).group_by(*groups)):
        counts[kind, outcome == "skipped", bool(gold)] += count
    return ExportCount(
        edits=counts["edit", False, False],
        comparisons=counts["compare", False, False],
        skipped=sum(count for (_, skip, _), count in counts.items() if skip),
        known_answers=counts["edit", False, True],
        adjudicated=connection.execute(select(func.count()).select_from(adjudication)).scalar_one(),
    )


_OTHER: Final = {
    Preference.FIRST: Preference.SECOND,
    Preference.SECOND: Preference.FIRST,
    Preference.TIE: Preference.TIE,
}


def _edited(row: Row[Any]) -> Edit:
    """What one person made of a response."""
    annotation = {"outcome": row.outcome, "reason": row.reason, "tags": row.tags}
    annotation |= {"seconds": round(row.seconds, 1), "distance": row.distance}
    return _edit(row, row.name, row.outcome, row.edited, row.kept, annotation)


def _decided(row: Row[Any]) -> Edit:
    """What a reviewer made of it."""
    outcome, edited = row.decided_outcome, row.decided_edited
    measured = measure(row.item_response, edited if outcome == "edited" else row.item_response)
    annotation = {"outcome": outcome, "reason": row.decided_reason, "distance": measured.distance, "adjudicated": True}
    return _edit(row, row.decided_by, outcome, edited, measured.kept, annotation)


def _edit(
    row: Row[Any], editor: str, outcome: str, edited: str | None, kept: float, annotation: Mapping[str, Any]
) -> Edit:
    model = {"model": row.item_model} if row.item_model else {}
    meta = merge_meta(row.item_meta, {**model, "kept": round(kept, 4), "annotation": annotation}, _TOLD)
    text = edited if outcome == "edited" and edited is not None else row.item_response
    return Edit(
        row.item_external_id,
        row.item_prompt,
        row.item_response,
        text,
        editor=editor,
        outcome=EXPORTED[outcome],
        meta=meta,
    )


def _response_values(row: Response, suggestion: str | None) -> dict[str, Any]:
    meta = merge_meta(row.meta, {} if row.finished else {"finished": False})
    return _values(row.id, row.prompt, row.response, meta) | {"model": row.model, "suggestion": suggestion}


def _known_values(edit: Edit, suggestion: str | None) -> dict[str, Any]:
    own = edit.meta.get("suggestion")
    if suggestion is None and isinstance(own, str):
        suggestion = own
    outcome = next((name for name, outcome in EXPORTED.items() if outcome is edit.outcome), None)
    if outcome is None:
        raise RedpencilError(
            f"the known answer of {edit.id!r} has the outcome {edit.outcome.value!r}, which people cannot choose",
            field="outcome",
            hint=f"give rows with one of the outcomes {', '.join(o.value for o in EXPORTED.values())}",
        )
    answer = {"outcome": outcome, "edited": edit.edited if outcome == "edited" else None}
    values = _values(edit.id, edit.prompt, edit.original, edit.meta)
    return values | {"model": str(edit.meta.get("model", "")), "suggestion": suggestion, "known_answer": answer}


def _pair_values(first: Response, second: Response) -> dict[str, Any]:
    """The pair as it came; its sides are drawn where it is added."""
    values = _values(first.id, first.prompt, first.response, first.meta)
    return values | {"second": second.response, "model": first.model, "second_model": second.model}


def _swapped(row: Mapping[str, Any]) -> dict[str, Any]:
    """A pair with its sides changed."""
    sides = {"response": row["second"], "second": row["response"], "model": row["second_model"]}
    return {**row, **sides, "second_model": row["model"], "swapped": 1 - row["swapped"]}


def _values(external_id: str, prompt: str, response: str, meta: Mapping[str, Any]) -> dict[str, Any]:
    given = meta.get("input")
    return {
        "external_id": external_id,
        "prompt": prompt,
        "context": given if isinstance(given, str) else "",
        "response": response,
        "second": None,
        "model": "",
        "second_model": None,
        "swapped": 0,
        "suggestion": None,
        "known_answer": None,
        "meta": dict(meta),
    }


def _import(engine: Engine, kind: str, rows: Iterable[dict[str, Any]]) -> ImportCount:
    counts = dict.fromkeys(("added", "known", "changed", "empty"), 0)
    refused: list[RefusedRow] = []
    rows = iter(rows)
    while batch := list(islice(rows, _BATCH)):
        filled = [row | {"kind": kind} for row in batch if kind == "compare" or row["response"].strip()]
        counts["empty"] += len(batch) - len(filled)
        fitting = []
        for row in filled:
            _check(row)
            problem = _too_long(row) if kind == "edit" else None
            if problem is None:
                fitting.append(row)
            else:
                refused.append(RefusedRow(row["external_id"], problem))
        with writing(engine) as connection:
            _import_batch(connection, kind, fitting, counts)
    return ImportCount(**counts, refused=tuple(refused))


def _import_batch(connection: Connection, kind: str, rows: list[dict[str, Any]], counts: dict[str, int]) -> None:
    """Whoever gives positions does so alone."""
    if connection.dialect.name == "postgresql":
        connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _IMPORT_LOCK})
    here = item.c.external_id.in_([row["external_id"] for row in rows])
    found = connection.execute(select(item).where(item.c.kind == kind, here)).mappings()
    known: dict[str, dict[str, Any]] = {row["external_id"]: dict(row) for row in found}
    position = connection.execute(select(func.coalesce(func.max(item.c.position), -1))).scalar_one()
    now, added = time.time(), []
    for row in rows:
        before = known.get(row["external_id"])
        if kind == "compare" and (secrets.randbelow(2) if before is None else before["swapped"]):
            row = _swapped(row)
        if before is None:
            position += 1
            added.append(row | {"position": position, "added": now})
            known[row["external_id"]] = added[-1]
            counts["added"] += 1
        elif any(before[name] != row[name] for name in _TEXTS) or not _complete(connection, before, row):
            counts["changed"] += 1
        else:
            counts["known"] += 1
    if added:
        connection.execute(insert(item), added)


def _complete(connection: Connection, before: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    """Give a known item what it lacks; False where a known answer comes too late or differs from the one there is."""
    if "id" not in before:
        return before["known_answer"] == row["known_answer"] or row["known_answer"] is None
    here = update(item).where(item.c.id == before["id"])
    if row["suggestion"] is not None and before["suggestion"] is None:
        connection.execute(here.values(suggestion=row["suggestion"]))
    if row["known_answer"] is None or row["known_answer"] == before["known_answer"]:
        return True
    if before["known_answer"] is not None:
        return False
    connection.execute(select(item.c.id).where(item.c.id == before["id"]).with_for_update(key_share=True))
    # A statement of its own sees what was committed while this one waited for the lock.
    if connection.execute(select(exists().where(assignment.c.item_id == before["id"]))).scalar_one():
        return False
    connection.execute(here.values(known_answer=row["known_answer"]))
    return True


def _too_long(row: Mapping[str, Any]) -> str | None:
    """Why people could not hand in one of the texts that they may be sent, or are to come to."""
    answer = row["known_answer"] or {}
    texts = {"response": row["response"], "suggestion": row["suggestion"], "known answer": answer.get("edited")}
    problems = (f"its {name} {problem}" for name, text in texts.items() if text and (problem := too_long(text)))
    return next(problems, None)


def _check(row: Mapping[str, Any]) -> None:
    """Refuse what no database can hold."""
    external_id = row["external_id"]
    problem = None
    if len(external_id) > _LONGEST_ID:
        problem = f"has an id of more than {_LONGEST_ID} characters"
    texts = {name: row[name] for name in ("external_id", *_TEXTS, "suggestion", "model", "second_model")}
    texts["known answer"] = (row["known_answer"] or {}).get("edited")
    for name, content in texts.items():
        if content is not None and (bad := unstorable(content)):
            problem = f"holds {bad} of {name.removeprefix('external_')}, which cannot be kept"
    try:
        json.dumps([row["meta"], row["known_answer"]], allow_nan=False)
    except (TypeError, ValueError) as error:
        problem = f"has meta data that JSON does not hold ({error})"
    if problem is not None:
        shown = external_id[:80].encode("utf-8", "backslashreplace").decode()
        raise RedpencilError(f"the row {shown!r} {problem}", field="id", hint="correct the row, then import again")


Suggested = TypeVar("Suggested", Response, Edit)


def read_suggestions(path: Path) -> dict[str, Edit]:
    """The edits of a file that change something, by id."""
    return {edit.id: edit for edit in JsonlFile(path, Edit) if edit.outcome is EditOutcome.EDITED}


def matching(rows: Iterable[Suggested], edits: Mapping[str, Edit], texts: dict[str, str]) -> Iterator[Suggested]:
    """The rows, as they come; before each its suggestion goes into `texts`, if there is one of this very text."""
    for row in rows:
        edit = edits.get(row.id)
        if edit is not None and edit.original == (row.original if isinstance(row, Edit) else row.response):
            texts[row.id] = edit.edited
        yield row
