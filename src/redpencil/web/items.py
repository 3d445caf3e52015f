"""Items go in and edits come out, while people work.

An item is known by its id and never overwritten: a file may be imported again, whole or longer. Rows go in by the
batch, so that nobody who saves a draft waits for a long file.
"""

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row, Select, exists, func, insert, select, text, update

from redpencil.errors import RedpencilError
from redpencil.records import Comparison, Edit, EditOutcome, Preference, Response
from redpencil.web.database import writing
from redpencil.web.schema import adjudication, assignment, item, person, submission
from redpencil.web.texts import measure, unstorable

_BATCH: Final = 500
_LONGEST_ID: Final = 500
_IMPORT_LOCK: Final = 0x696D_706F_7274
"""The advisory lock of PostgreSQL under which positions are given."""
_TEXTS: Final = ("prompt", "context", "response", "second")

OUTCOMES: Final[Mapping[str, EditOutcome]] = {
    "edited": EditOutcome.EDITED,
    "no_edit_needed": EditOutcome.UNCHANGED,
    "cannot_be_fixed": EditOutcome.REFUSED,
}
"""What a person's outcome becomes in edits.jsonl; an item that was skipped gives no row."""


@dataclass(frozen=True, slots=True)
class ImportCount:
    """What an import did. `changed` rows have the id of an item with another text and were left out; `empty` ones hold
    no response, so there is nothing to edit.
    """

    added: int = 0
    known: int = 0
    changed: int = 0
    empty: int = 0


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


def import_known_answers(engine: Engine, edits: Iterable[Edit]) -> ImportCount:
    """Add responses whose best edit is known. An item that is there already becomes one if nobody has worked on it.

    Raises:
        RedpencilError: as `import_responses`, or if an outcome is none that a person can have.
    """
    return _import(engine, "edit", map(_known_values, edits))


def import_comparisons(engine: Engine, first: Iterable[Response], second: Iterable[Response]) -> ImportCount:
    """Add pairs of responses to compare, matched by id; which one is shown as A depends on the id alone.

    Raises:
        RedpencilError: as `import_responses`, or if the files do not answer the same prompts.
    """
    others = {row.id: row for row in second}
    pairs = []
    for row in first:
        other = others.pop(row.id, None)
        if other is None or other.prompt != row.prompt:
            problem = "is missing in the second file" if other is None else "has another prompt in the second file"
            raise RedpencilError(f"the id {row.id!r} {problem}", field="id", way_out="answer the same prompts in both")
        pairs.append((row, other))
    if others:
        raise RedpencilError(
            f"the id {min(others)!r} is missing in the first file, or twice in it",
            field="id",
            way_out="answer the same prompts in both",
        )
    return _import(engine, "compare", (_pair_values(*pair) for pair in pairs))


def question_of(prompt: str, meta: Mapping[str, Any]) -> str:
    """The prompt without the input that pages fold, where it ends with it."""
    instruction, given = meta.get("instruction"), meta.get("input")
    whole = isinstance(instruction, str) and bool(given) and prompt == f"{instruction}\n\n{given}"
    return str(instruction) if whole else prompt


def export_edits(connection: Connection) -> Iterator[Edit]:
    """What people made of the responses, in order of the items.

    An item that a reviewer has decided about gives one row, by that decision; others give a row for each current
    submission, all with the id of the item. Outcomes become those of `OUTCOMES`, and `edited` is the original unless
    it is EDITED. `meta` also gets `model` of the response, `kept` and

    - `annotation`: the person's own `outcome`, `reason` and `tags` (spans of the original), `seconds` of work and
      `distance` in characters; `adjudicated` where a reviewer decided.

    Skipped items and known-answer items are left out; `count_exports` counts them.
    """
    query: Select[Any] = (
        select(
            *(
                item.c[name].label(f"item_{name}")
                for name in ("id", "external_id", "prompt", "response", "model", "meta")
            ),
            submission,
            person.c.name,
        )
        .join_from(item, submission, submission.c.item_id == item.c.id)
        .join(person, person.c.id == submission.c.person_id)
        .where(item.c.kind == "edit", item.c.known_answer.is_(None), _CURRENT)
        .order_by(item.c.position, submission.c.id)
    )
    decisions = {
        row.item_id: row
        for row in connection.execute(
            select(adjudication, person.c.name).join(person, person.c.id == adjudication.c.person_id)
        )
    }
    rows = connection.execute(query, execution_options={"yield_per": 200})
    for item_id, group in groupby(rows, key=lambda row: row.item_id):
        decision = decisions.get(item_id)
        for row in group:
            yield _edit(row, decision)
            if decision is not None:
                break


def export_comparisons(connection: Connection) -> Iterator[Comparison]:
    """Which response people prefer; `first` and `second` are those of the two files, however they were shown.

    `meta` gets `first_model`, `second_model` and `annotation`: `reason`, `seconds` and which one was `shown_first`.
    """
    query = (
        select(item, submission.c.outcome, submission.c.reason, submission.c.seconds, person.c.name)
        .join_from(item, submission, submission.c.item_id == item.c.id)
        .join(person, person.c.id == submission.c.person_id)
        .where(item.c.kind == "compare", _CURRENT)
        .order_by(item.c.position, submission.c.id)
    )
    for row in connection.execute(query, execution_options={"yield_per": 200}):
        sides, models = (row.response, row.second), (row.model, row.second_model or "")
        preference = Preference(row.outcome)
        if row.swapped:
            sides, models = sides[::-1], models[::-1]
            preference = _OTHER[preference]
        meta = dict(row.meta)
        meta.update({key: model for key, model in zip(("first_model", "second_model"), models, strict=True) if model})
        shown = "second" if row.swapped else "first"
        meta["annotation"] = {"reason": row.reason, "seconds": round(row.seconds, 1), "shown_first": shown}
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


_CURRENT: Final = submission.c.undone.is_(None) & (submission.c.outcome != "skipped")
_OTHER: Final = {
    Preference.FIRST: Preference.SECOND,
    Preference.SECOND: Preference.FIRST,
    Preference.TIE: Preference.TIE,
}


def _edit(row: Row[Any], decision: Row[Any] | None) -> Edit:
    by = row if decision is None else decision
    original = row.item_response
    edited = by.edited if by.outcome == "edited" else original
    meta = dict(row.item_meta)
    if row.item_model:
        meta["model"] = row.item_model
    annotation: dict[str, Any] = {"outcome": by.outcome, "reason": by.reason}
    if decision is None:
        meta["kept"] = round(row.kept, 4)
        annotation |= {"tags": row.tags, "seconds": round(row.seconds, 1), "distance": row.distance}
    else:
        measured = measure(original, edited)
        meta["kept"] = round(measured.kept, 4)
        annotation |= {"distance": measured.distance, "adjudicated": True}
    meta["annotation"] = annotation
    return Edit(
        row.item_external_id, row.item_prompt, original, edited, editor=by.name, outcome=OUTCOMES[by.outcome], meta=meta
    )


def _response_values(row: Response, suggestion: str | None) -> dict[str, Any]:
    meta = dict(row.meta)
    if not row.finished:
        meta["finished"] = False
    return _values(row.id, row.prompt, row.response, meta) | {"model": row.model, "suggestion": suggestion}


def _known_values(edit: Edit) -> dict[str, Any]:
    outcome = next((name for name, outcome in OUTCOMES.items() if outcome is edit.outcome), None)
    if outcome is None:
        raise RedpencilError(
            f"the known answer of {edit.id!r} has the outcome {edit.outcome.value!r}, which people cannot choose",
            field="outcome",
            way_out=f"give rows with one of the outcomes {', '.join(o.value for o in OUTCOMES.values())}",
        )
    answer = {"outcome": outcome, "edited": edit.edited if outcome == "edited" else None}
    values = _values(edit.id, edit.prompt, edit.original, edit.meta)
    return values | {"model": str(edit.meta.get("model", "")), "known_answer": answer}


def _pair_values(first: Response, second: Response) -> dict[str, Any]:
    swapped = hashlib.sha256(f"side {first.id}".encode()).digest()[0] % 2
    a, b = (second, first) if swapped else (first, second)
    values = _values(first.id, first.prompt, a.response, first.meta)
    return values | {"second": b.response, "model": a.model, "second_model": b.model, "swapped": swapped}


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
    rows = iter(rows)
    while batch := list(islice(rows, _BATCH)):
        filled = [row | {"kind": kind} for row in batch if kind == "compare" or row["response"].strip()]
        counts["empty"] += len(batch) - len(filled)
        for row in filled:
            _check(row)
        with writing(engine) as connection:
            _import_batch(connection, kind, filled, counts)
    return ImportCount(**counts)


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
    nobody = ~exists().where(assignment.c.item_id == before["id"])
    if before["known_answer"] is not None:
        return False
    return connection.execute(here.where(nobody).values(known_answer=row["known_answer"])).rowcount == 1


def _check(row: Mapping[str, Any]) -> None:
    """Refuse what no database can hold."""
    external_id = row["external_id"]
    problem = None
    if len(external_id) > _LONGEST_ID:
        problem = f"has an id of more than {_LONGEST_ID} characters"
    for name in ("external_id", *_TEXTS, "suggestion", "model", "second_model"):
        if row[name] is not None and (bad := unstorable(row[name])):
            problem = f"holds {bad} of {name.removeprefix('external_')}, which cannot be kept"
    try:
        json.dumps([row["meta"], row["known_answer"]], allow_nan=False)
    except (TypeError, ValueError) as error:
        problem = f"has meta data that JSON does not hold ({error})"
    if problem is not None:
        shown = external_id[:80].encode("utf-8", "backslashreplace").decode()
        raise RedpencilError(f"the row {shown!r} {problem}", field="id", way_out="correct the row, then import again")
