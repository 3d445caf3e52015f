"""Import of items, export of edits and comparisons, and the listing of items, all while people work.

An item is identified by its id and never overwritten, so a file can be imported again after it has grown. Rows are
imported in batches, so that a person who saves a draft does not wait for a long file.
"""

import json
import secrets
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from itertools import groupby, islice
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, Text, cast, exists, func, insert, select, update

from redpencil.alignment.ends import unfinished_sides
from redpencil.errors import RedpencilError
from redpencil.evaluation.matching import by_prompt, match_rows
from redpencil.records import Comparison, Edit, EditOutcome, JsonlFile, Preference, Response, instruction_of, merge_meta
from redpencil.text import escape_half_pairs, unstorable
from redpencil.web.browser_text import measure
from redpencil.web.database import lock_out_others, writing
from redpencil.web.project import CURRENT, DECIDED, DISPUTED, IS_GOLD, LONGEST_TEXT, call_untitled
from redpencil.web.schema import adjudication, assignment, item, person, submission
from redpencil.web.security import BODY_LIMIT

LONGEST_IMPORTED: Final = LONGEST_TEXT * 3 // 4
"""Characters."""
LARGEST_IMPORTED: Final = BODY_LIMIT * 3 // 4
"""Bytes of JSON in ASCII."""
_LONGEST_ESCAPE: Final = len(json.dumps("\U0001f58d")) - 2


def too_long(text: str) -> str | None:
    """The reason why a text is too long to be submitted, as the end of a sentence; None if it is not."""
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
    """Match the rows of two files by id, or by prompt where the ids differ, in the order of the first.

    Args:
        first: the rows of the one.
        second: the rows of the other.
        files: the names of both in errors.

    Raises:
        RedpencilError: if the files do not answer the same prompts.
    """
    return match_rows(first, second, (f"response of {files[0]}", f"response of {files[1]}"), files)


_BATCH: Final = 500
_LONGEST_ID: Final = 500
_IMPORT_LOCK: Final = 0x696D_706F_7274
"""The advisory lock of PostgreSQL for the assignment of positions."""
_TEXTS: Final = ("prompt", "context", "response", "second")
_OWN_META: Final = frozenset({"kept", "annotation"})
"""The keys that the `meta` of an exported edit always has."""

EXPORTED: Final[Mapping[str, EditOutcome]] = {
    "edited": EditOutcome.EDITED,
    "no_edit_needed": EditOutcome.UNCHANGED,
    "cannot_be_fixed": EditOutcome.REFUSED,
}
"""The outcomes in edits.jsonl for those of people; a skipped item gives no row."""
OTHER_SIDE: Final = {"first": "second", "second": "first", "tie": "tie"}
"""Preferences after the sides of a pair are swapped."""


@dataclass(frozen=True, slots=True)
class RefusedRow:
    """A row that was left out because it is too long to be submitted."""

    id: str
    problem: str


@dataclass(frozen=True, slots=True)
class ImportCount:
    """Counts of imported rows. `known` rows are there already; `changed` rows have the id of an item with a different
    text and were left out; `empty` rows have no response to edit; `refused` rows are too long. `by_prompt` pairs were
    matched by prompt, as their ids differ.
    """

    added: int = 0
    known: int = 0
    changed: int = 0
    empty: int = 0
    refused: tuple[RefusedRow, ...] = ()
    by_prompt: int = 0

    def __add__(self, other: "ImportCount") -> "ImportCount":
        return ImportCount(*(getattr(self, each.name) + getattr(other, each.name) for each in fields(ImportCount)))


@dataclass(frozen=True, slots=True)
class ExportCount:
    """Counts of current submissions by kind. Skipped items and gold items (`known_answers`) are not exported."""

    edits: int
    comparisons: int
    skipped: int
    known_answers: int
    adjudicated: int


def import_responses(
    engine: Engine, rows: Iterable[Response], suggestions: Mapping[str, str] | None = None
) -> ImportCount:
    """Add responses to edit; `suggestions` are an LLM's edits by id, also for existing items without one.

    Raises:
        RedpencilError: if a text cannot be stored; the batches before it are imported.
    """
    by_id = {} if suggestions is None else suggestions  # the rows may fill it as they come
    return _import(engine, "edit", (_response_values(row, by_id.get(row.id)) for row in rows))


def import_gold_items(
    engine: Engine, edits: Iterable[Edit], suggestions: Mapping[str, str] | None = None
) -> ImportCount:
    """Add gold items: responses whose best edit is known. An existing item becomes one if it has no assignment yet.

    The suggestion of a gold item, without which it would be recognisable among items with suggestions, comes from
    `suggestions` by its id, or else from the text `suggestion` in its `meta`.

    Raises:
        RedpencilError: as `import_responses`, or if people cannot choose an outcome.
    """
    by_id = {} if suggestions is None else suggestions  # the rows may fill it as they come
    return _import(engine, "edit", (_gold_values(edit, by_id.get(edit.id)) for edit in edits))


def import_comparisons(
    engine: Engine,
    first: Iterable[Response],
    second: Iterable[Response],
    files: tuple[str, str] = ("the first file", "the second file"),
) -> ImportCount:
    """Add pairs of responses to compare, matched by `paired`; the response shown as A is drawn when a pair is added.

    A project with only comparisons and no title of its own gets the title Comparisons.

    Raises:
        RedpencilError: as `import_responses`, or if the files do not answer the same prompts.
    """
    pairs = paired(first, second, files)
    count = replace(_import(engine, "compare", (_pair_values(*pair) for pair in pairs)), by_prompt=by_prompt(pairs))
    with writing(engine) as connection:
        if count.added and not connection.scalar(select(exists().where(item.c.kind == "edit"))):
            call_untitled(connection, "Comparisons")
    return count


def export_edits(connection: Connection) -> Iterator[Edit]:
    """Export the edits of people in the order of the items.

    An item with a reviewer's decision gives one row for the decision; other items give a row for each current
    submission, all with the id of the item. Outcomes are mapped by `EXPORTED`, and `edited` is the original unless the
    outcome is EDITED. `meta` also gets `model` of the response, `kept` and

    - `annotation`: the person's own `outcome`, `reason` and `tags` (spans of the original), `seconds` of work and
      `distance` in characters; `adjudicated` if a reviewer decided.

    Keys of the response's own `meta` with one of these names get the prefix `response_`.

    Skipped items and gold items are left out; `count_exports` counts them.
    """
    reviewer = person.alias()
    of_item = ("id", "external_id", "prompt", "response", "model", "meta")
    query: Select[Any] = (  # one statement sees the submissions and the decisions of one moment
        select(
            *(item.c[name].label(f"item_{name}") for name in of_item),
            submission,
            person.c.name,
            *(adjudication.c[name].label(f"decided_{name}") for name in ("outcome", "edited", "reason")),
            reviewer.c.name.label("decided_by"),
        )
        .join_from(item, submission, submission.c.item_id == item.c.id)
        .join(person, person.c.id == submission.c.person_id)
        .outerjoin(adjudication, adjudication.c.item_id == item.c.id)
        .outerjoin(reviewer, reviewer.c.id == adjudication.c.person_id)
        .where(item.c.kind == "edit", ~IS_GOLD, CURRENT)
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
    """Export the preferences of people; `first` and `second` are those of the two files, in whatever order they were
    shown.

    `meta` gets `first_model`, `second_model` and `annotation`: `reason`, `seconds` and `shown_first`. Keys that it had
    under these names get the prefix `response_`.
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
        preference = Preference(OTHER_SIDE[row.outcome] if row.swapped else row.outcome)
        if row.swapped:
            sides, models = sides[::-1], models[::-1]
        shown_first = "second" if row.swapped else "first"
        annotation = {"reason": row.reason, "seconds": round(row.seconds, 1), "shown_first": shown_first}
        named = {key: model for key, model in zip(("first_model", "second_model"), models, strict=True) if model}
        meta = merge_meta(row.meta, named | {"annotation": annotation})
        yield Comparison(row.external_id, row.prompt, *sides, preference, annotator=row.name, meta=meta)


def count_exports(connection: Connection) -> ExportCount:
    """Count the current submissions of each kind, and the items that reviewers decided."""
    groups = (item.c.kind, submission.c.outcome, IS_GOLD)
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


def _edited(row: Row[Any]) -> Edit:
    """Export one person's submission."""
    annotation = {"outcome": row.outcome, "reason": row.reason, "tags": row.tags}
    annotation |= {"seconds": round(row.seconds, 1), "distance": row.distance}
    return _edit(row, row.name, row.outcome, row.edited, row.kept, annotation)


def _decided(row: Row[Any]) -> Edit:
    """Export a reviewer's decision."""
    outcome, edited = row.decided_outcome, row.decided_edited
    measured = measure(row.item_response, edited if outcome == "edited" else row.item_response)
    annotation = {"outcome": outcome, "reason": row.decided_reason, "distance": measured.distance, "adjudicated": True}
    return _edit(row, row.decided_by, outcome, edited, measured.kept, annotation)


def _edit(
    row: Row[Any], editor: str, outcome: str, edited: str | None, kept: float, annotation: Mapping[str, Any]
) -> Edit:
    model = {"model": row.item_model} if row.item_model else {}
    meta = merge_meta(row.item_meta, {**model, "kept": round(kept, 4), "annotation": annotation}, _OWN_META)
    text = edited if outcome == "edited" and edited is not None else row.item_response
    texts = (row.item_prompt, row.item_response, text)
    return Edit(row.item_external_id, *texts, editor=editor, outcome=EXPORTED[outcome], meta=meta)


def _response_values(row: Response, suggestion: str | None) -> dict[str, Any]:
    meta = merge_meta(row.meta, {} if row.finished else {"finished": False})
    return _values(row.id, row.prompt, row.response, meta) | {"model": row.model, "suggestion": suggestion}


def _gold_values(edit: Edit, suggestion: str | None) -> dict[str, Any]:
    in_meta = edit.meta.get("suggestion")
    if suggestion is None and isinstance(in_meta, str):
        suggestion = in_meta
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
    """The columns of a pair in the order of the files; `_import_batch` draws the sides."""
    meta = merge_meta(first.meta, unfinished_sides(first.finished, second.finished))
    values = _values(first.id, first.prompt, first.response, meta)
    return values | {"second": second.response, "model": first.model, "second_model": second.model}


def _swapped(row: Mapping[str, Any]) -> dict[str, Any]:
    """Swap the sides of a pair."""
    sides = {"response": row["second"], "second": row["response"], "model": row["second_model"]}
    return {**row, **sides, "second_model": row["model"], "swapped": 1 - row["swapped"]}


def _values(external_id: str, prompt: str, response: str, meta: Mapping[str, Any]) -> dict[str, Any]:
    context = meta.get("input")
    return {
        "external_id": external_id,
        "prompt": prompt,
        "context": context if isinstance(context, str) else "",
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
            if kind == "edit" and (problem := _too_long(row)):
                refused.append(RefusedRow(row["external_id"], problem))
            else:
                fitting.append(row)
        with writing(engine) as connection:
            _import_batch(connection, kind, fitting, counts)
    return ImportCount(**counts, refused=tuple(refused))


def _import_batch(connection: Connection, kind: str, rows: list[dict[str, Any]], counts: dict[str, int]) -> None:
    """Add rows at the next positions, under a lock that keeps other imports out."""
    lock_out_others(connection, _IMPORT_LOCK)
    ids = item.c.external_id.in_([row["external_id"] for row in rows])
    existing = connection.execute(select(item).where(item.c.kind == kind, ids)).mappings()
    known: dict[str, dict[str, Any]] = {row["external_id"]: dict(row) for row in existing}
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
    """Add the suggestion or known answer that an item lacks; False if the answer is too late or differs."""
    if "id" not in before:
        return before["known_answer"] == row["known_answer"] or row["known_answer"] is None
    change = update(item).where(item.c.id == before["id"])
    if row["suggestion"] is not None and before["suggestion"] is None:
        connection.execute(change.values(suggestion=row["suggestion"]))
    if row["known_answer"] is None or row["known_answer"] == before["known_answer"]:
        return True
    if before["known_answer"] is not None:
        return False
    connection.execute(select(item.c.id).where(item.c.id == before["id"]).with_for_update(key_share=True))
    # A separate statement sees commits made while this one waited for the lock.
    if connection.execute(select(exists().where(assignment.c.item_id == before["id"]))).scalar_one():
        return False
    connection.execute(change.values(known_answer=row["known_answer"]))
    return True


def _too_long(row: Mapping[str, Any]) -> str | None:
    """The reason why a text that people may see or should write is too long to be submitted; None if none is."""
    answer = row["known_answer"] or {}
    texts = {"response": row["response"], "suggestion": row["suggestion"], "known answer": answer.get("edited")}
    problems = (f"its {name} {problem}" for name, text in texts.items() if text and (problem := too_long(text)))
    return next(problems, None)


def _check(row: Mapping[str, Any]) -> None:
    """Refuse a row that no database can store."""
    external_id = row["external_id"]
    problem = None
    if len(external_id) > _LONGEST_ID:
        problem = f"has an id of more than {_LONGEST_ID} characters"
    texts = {name: row[name] for name in ("external_id", *_TEXTS, "suggestion", "model", "second_model")}
    texts["known answer"] = (row["known_answer"] or {}).get("edited")
    for name, content in texts.items():
        if content is not None and (bad := unstorable(content)):
            problem = f"holds {bad} of {name.removeprefix('external_')}, which cannot be stored"
    try:
        json.dumps([row["meta"], row["known_answer"]], allow_nan=False)
    except (TypeError, ValueError) as error:
        problem = f"has metadata that JSON cannot represent ({error})"
    if problem is not None:
        name = escape_half_pairs(external_id[:80])
        raise RedpencilError(f"the row {name!r} {problem}", field="id", hint="correct the row, then import again")


RowT = TypeVar("RowT", Response, Edit)


def read_suggestions(path: Path) -> dict[str, Edit]:
    """Read the edits of a file that change something, by id."""
    return {edit.id: edit for edit in JsonlFile(path, Edit) if edit.outcome is EditOutcome.EDITED}


def matching(rows: Iterable[RowT], edits: Mapping[str, Edit], texts: dict[str, str]) -> Iterator[RowT]:
    """Pass rows through; before each row, put its suggestion into `texts` if an edit has exactly its text."""
    for row in rows:
        edit = edits.get(row.id)
        if edit is not None and edit.original == (row.original if isinstance(row, Edit) else row.response):
            texts[row.id] = edit.edited
        yield row


PAGE: Final = 50
"""Items on one page."""


@dataclass(frozen=True, slots=True)
class Listed:
    """An item with its submissions in order, skipped ones included and undone ones left out.

    `kept` is the share of the words that each submission kept, `decided` the outcome of a reviewer's decision. `known`
    marks a gold item. An item has a page of its own if `open` is true.
    """

    item_id: int
    external_id: str
    kind: str
    prompt: str
    outcomes: tuple[str, ...]
    kept: tuple[float, ...]
    tags: tuple[str, ...]
    decided: str | None
    known: bool
    open: bool


@dataclass(frozen=True, slots=True)
class ListedPage:
    """A page of items in the order of their import; `more` says whether there is a next page."""

    items: tuple[Listed, ...]
    more: bool


def list_items(
    connection: Connection,
    *,
    person: int | None = None,
    outcome: str | None = None,
    tag: str | None = None,
    id: str | None = None,
    page: int = 1,
) -> ListedPage:
    """List a page of items. None does not filter; all conditions on a submission apply to the same submission.

    A filter by person leaves out responses that wait for a decision: the reviewer who decides must not learn whose text
    is whose.

    Args:
        person: id of the person who handed something in for the item.
        outcome: the outcome of a submission.
        tag: the name of a tag on a changed span.
        id: a part of the item's id; case does not matter.
        page: which page, from 1.
    """
    conditions: list[ColumnElement[bool]] = []
    of_submission: list[ColumnElement[bool]] = []
    if person is not None:
        of_submission.append(submission.c.person_id == person)
        conditions.append(~DISPUTED | DECIDED)
    if outcome is not None:
        of_submission.append(submission.c.outcome == outcome)
    if tag is not None:
        # The driver writes JSON as Python does, on both databases.
        of_submission.append(cast(submission.c.tags, Text).contains(f'"tag": {json.dumps(tag)}}}', autoescape=True))
    if of_submission:
        here = submission.c.item_id == item.c.id
        conditions.append(exists().where(here, submission.c.undone.is_(None), *of_submission).correlate(item))
    if id is not None:
        conditions.append(item.c.external_id.icontains(id, autoescape=True))
    query = (
        select(item, adjudication.c.outcome.label("decided"))
        .join(adjudication, adjudication.c.item_id == item.c.id, isouter=True)
        .where(*conditions)
        .order_by(item.c.position, item.c.id)
        .limit(PAGE + 1)
        .offset(PAGE * (page - 1))
    )
    rows = connection.execute(query).all()
    submissions = _submissions(connection, [row.id for row in rows[:PAGE]])
    return ListedPage(tuple(_listed(row, submissions[row.id]) for row in rows[:PAGE]), more=len(rows) > PAGE)


def _submissions(connection: Connection, ids: list[int]) -> dict[int, list[Row[Any]]]:
    query = select(submission).where(submission.c.item_id.in_(ids), submission.c.undone.is_(None))
    by_item: dict[int, list[Row[Any]]] = defaultdict(list)
    for row in connection.execute(query.order_by(submission.c.id)):
        by_item[row.item_id].append(row)
    return by_item


def _listed(row: Row[Any], submissions: list[Row[Any]]) -> Listed:
    judged = [one for one in submissions if one.outcome != "skipped"]
    return Listed(
        item_id=row.id,
        external_id=row.external_id,
        kind=row.kind,
        prompt=instruction_of(row.prompt, row.meta),
        outcomes=tuple(one.outcome for one in submissions),
        kept=tuple(one.kept for one in submissions),
        tags=tuple(sorted({tag["tag"] for one in submissions for tag in one.tags})),
        decided=row.decided,
        known=row.known_answer is not None,
        open=row.kind == "edit" and bool(judged),
    )
