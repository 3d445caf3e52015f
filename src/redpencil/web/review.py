"""Disputes: if editors differ about a response, a reviewer decides, place by place, without knowing their names.

Comparisons are not settled: each person's preference is a judgement of its own and is exported as such.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import Any, Final

from sqlalchemy import Connection, Engine, Row, Select, func, insert, select, tuple_, update

from redpencil.alignment.words import diff_words
from redpencil.records import instruction_of
from redpencil.web.database import reading, record_event, writing
from redpencil.web.errors import NotFound, Refused, Stale
from redpencil.web.project import CURRENT, DECIDED, DECISIONS, DISPUTED, read_project
from redpencil.web.schema import adjudication, item, person, submission
from redpencil.web.work import validate_submission


@dataclass(frozen=True, slots=True)
class Hunk:
    """A stretch of the original, in characters, and its replacement; an insertion has `start == end`."""

    start: int
    end: int
    text: str


@dataclass(frozen=True, slots=True)
class Alternative:
    """One text for a place, and the letters of the editors who chose it. `original` marks the unchanged text."""

    text: str
    editors: tuple[str, ...]
    original: bool


@dataclass(frozen=True, slots=True)
class Place:
    """A stretch of the original that at least one editor changed; the original is the first alternative.

    `before` is the text that all editors kept between the previous place and this one.
    """

    before: str
    start: int
    end: int
    alternatives: tuple[Alternative, ...]


def hunks_of(original: str, edited: str) -> tuple[Hunk, ...]:
    """Split an edit into hunks."""
    return tuple(
        Hunk(*block.original, edited[slice(*block.edited)])
        for block in diff_words(original, edited)
        if block.kind != "equal"
    )


def merge(original: str, chosen: Iterable[Hunk]) -> str:
    """Apply hunks, in any order, to the original.

    Raises:
        ValueError: if two hunks overlap, or one lies outside of the original.
    """
    ordered = sorted(chosen, key=lambda hunk: (hunk.start, hunk.end))
    for before, after in pairwise(ordered):
        if after.start < before.end:
            raise ValueError(f"the hunks at {before.start} and {after.start} overlap")
    parts, reached = [], 0
    for hunk in ordered:
        if not 0 <= hunk.start <= hunk.end <= len(original):
            raise ValueError(f"the hunk from {hunk.start} to {hunk.end} lies outside of the original")
        parts += [original[reached : hunk.start], hunk.text]
        reached = hunk.end
    return "".join([*parts, original[reached:]])


def places_between(original: str, edits: Mapping[str, str]) -> tuple[tuple[Place, ...], str]:
    """Find the places where at least one edit differs from the original, and the text after the last place.

    Args:
        original: the text that was edited.
        edits: the edited texts, by the editors' letters.
    """
    hunks = [(hunk, editor) for editor, edited in edits.items() for hunk in hunks_of(original, edited)]
    places, reached = [], 0
    for start, end, members in _overlapping(hunks):
        texts: dict[str, list[str]] = {original[start:end]: []}
        for editor in edits:
            moved = [Hunk(hunk.start - start, hunk.end - start, hunk.text) for hunk, by in members if by == editor]
            texts.setdefault(merge(original[start:end], moved), []).append(editor)
        alternatives = tuple(
            Alternative(text, tuple(editors), number == 0) for number, (text, editors) in enumerate(texts.items())
        )
        places.append(Place(original[reached:start], start, end, alternatives))
        reached = end
    return tuple(places), original[reached:]


def _overlapping(hunks: Iterable[tuple[Hunk, str]]) -> list[tuple[int, int, list[tuple[Hunk, str]]]]:
    """Group hunks that cover one stretch of the original; an insertion belongs to the hunk that it touches."""
    groups: list[tuple[int, int, list[tuple[Hunk, str]]]] = []
    for hunk, editor in sorted(hunks, key=lambda pair: (pair[0].start, pair[0].end)):
        start, end, members = groups[-1] if groups else (-1, -1, [])
        touches = hunk.start == end and (hunk.start == hunk.end or start == end)
        if hunk.start < end or touches:
            groups[-1] = start, max(end, hunk.end), [*members, (hunk, editor)]
        else:
            groups.append((hunk.start, hunk.end, [(hunk, editor)]))
    return groups


MOST_LISTED = 100
"""The most disputes in one list."""


@dataclass(frozen=True, slots=True)
class Voice:
    """One editor's current submission, with a letter instead of the name, so that the text decides.

    Letters are assigned anew for each response, and not in the order of the submissions, so a letter does not mean the
    same person everywhere. `name` is never set before the decision.
    """

    editor: str
    name: str | None
    submission_id: int
    outcome: str
    edited: str | None
    reason: str
    tags: tuple[Mapping[str, Any], ...]
    kept: float
    distance: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Dispute:
    """An item that at least two people have judged differently. `decided` is the time of a reviewer's decision."""

    item_id: int
    external_id: str
    prompt: str
    outcomes: tuple[str, ...]
    kept: tuple[float, ...]
    last_submitted: float
    decided: float | None


@dataclass(frozen=True, slots=True)
class Decision:
    """A reviewer's decision about an item."""

    outcome: str
    edited: str | None
    reason: str
    decided: float


@dataclass(frozen=True, slots=True)
class DisputeDetail:
    """A response with its current edits, as a reviewer needs them to decide.

    `version` grows with every submission, undo and decision on the item, and is sent back with the decision. `after` is
    the text that all editors kept after the last place.
    """

    item_id: int
    external_id: str
    prompt: str
    context: str
    original: str
    version: int
    voices: tuple[Voice, ...]
    places: tuple[Place, ...]
    after: str
    decision: Decision | None
    next_item_id: int | None


@dataclass(frozen=True, slots=True)
class Decided:
    """A decision that is safe in the database, and the next dispute if there is one."""

    version: int
    next_item_id: int | None


def disputes(connection: Connection, *, limit: int = MOST_LISTED, offset: int = 0) -> list[Dispute]:
    """List the disputes that wait for a decision, in the order of the items, after `offset` others."""
    return _listed(connection, _in_dispute(False).limit(limit).offset(offset))


def settled_disputes(connection: Connection, *, limit: int = MOST_LISTED) -> list[Dispute]:
    """List the disputes that were decided, the newest decision first."""
    newest = _in_dispute(True).order_by(None).order_by(adjudication.c.decided.desc(), item.c.id)
    return sorted(_listed(connection, newest.limit(limit)), key=lambda dispute: -(dispute.decided or 0))


def count_disputes(connection: Connection, *, settled: bool) -> int:
    """Count the disputes that were decided, or that wait."""
    return connection.execute(select(func.count()).select_from(_in_dispute(settled).subquery())).scalar_one()


def _listed(connection: Connection, chosen: Select[Any]) -> list[Dispute]:
    rows = connection.execute(
        select(
            *(item.c[name] for name in ("id", "external_id", "prompt", "meta")),
            *(submission.c[name] for name in ("outcome", "kept", "submitted")),
            adjudication.c.decided,
        )
        .join_from(item, submission, submission.c.item_id == item.c.id)
        .join(adjudication, adjudication.c.item_id == item.c.id, isouter=True)
        .where(item.c.id.in_(chosen), CURRENT)
        .order_by(item.c.position, item.c.id, submission.c.id)
    )
    judged = [list(group) for _, group in groupby(rows, key=lambda row: row.id)]
    return [
        Dispute(
            item_id=group[0].id,
            external_id=group[0].external_id,
            prompt=instruction_of(group[0].prompt, group[0].meta),
            outcomes=tuple(row.outcome for row in group),
            kept=tuple(row.kept for row in group),
            last_submitted=max(row.submitted for row in group),
            decided=group[0].decided,
        )
        for group in judged
    ]


def _in_dispute(settled: bool) -> Select[Any]:
    """Select the responses that were or are in dispute, in order."""
    return (
        select(item.c.id)
        .join(adjudication, adjudication.c.item_id == item.c.id, isouter=True)
        .where(DISPUTED, DECIDED if settled else ~DECIDED)
        .order_by(item.c.position, item.c.id)
    )


def next_dispute(connection: Connection, after: int | None = None) -> int | None:
    """The item of the next dispute after item `after`, starting over at the end; None if no other is left."""
    others = _in_dispute(False).limit(1)
    if after is None:
        first: int | None = connection.scalar(others)
        return first
    others = others.where(item.c.id != after)
    place = connection.scalar(select(item.c.position).where(item.c.id == after))
    later = others.where(tuple_(item.c.position, item.c.id) > (place, after))
    item_id: int | None = connection.scalar(later) or connection.scalar(others)
    return item_id


def dispute(connection: Connection, item_id: int, *, names: bool = False) -> DisputeDetail:
    """Get a response with all its current edits, disputed or not; `names` asks for the editors' names if it is decided.

    Raises:
        NotFound: if the response does not exist or has no submissions.
    """
    # The version is read first: if a submission arrives meanwhile, the version must be the one before it, so that a
    # decision made without that submission is refused.
    made = _decision(connection, item_id)
    version = _version(connection, item_id, made)
    row = connection.execute(_response(item_id)).one_or_none()
    voices = () if row is None else _voices(connection, item_id, names=names and made is not None)
    if row is None or not voices:
        raise NotFound("there is no such response, or it has no submissions", hint="go back to the list")
    texts = {voice.editor: text for voice in voices if (text := _text_of(voice, row.response)) is not None}
    places, after = places_between(row.response, texts)
    return DisputeDetail(
        item_id=row.id,
        external_id=row.external_id,
        prompt=instruction_of(row.prompt, row.meta),
        context=row.context,
        original=row.response,
        version=version,
        voices=voices,
        places=places,
        after=after,
        decision=None if made is None else Decision(made.outcome, made.edited, made.reason, made.decided),
        next_item_id=next_dispute(connection, item_id),
    )


def _decision(connection: Connection, item_id: int) -> Row[Any] | None:
    return connection.execute(select(adjudication).where(adjudication.c.item_id == item_id)).one_or_none()


def _response(item_id: int) -> Select[Any]:
    return select(item).where(item.c.id == item_id, item.c.kind == "edit")


_AS_SUBMITTED: Final = ("outcome", "edited", "reason", "kept", "distance", "seconds")


def _voices(connection: Connection, item_id: int, *, names: bool) -> tuple[Voice, ...]:
    rows = connection.execute(
        select(submission, person.c.name)
        .join(person, person.c.id == submission.c.person_id)
        .where(submission.c.item_id == item_id, CURRENT)
    )
    shuffled = sorted(rows, key=lambda row: hashlib.sha256(f"voice {row.id}".encode()).digest())
    return tuple(
        Voice(
            editor=_letter(number),
            name=row.name if names else None,
            submission_id=row.id,
            tags=tuple(row.tags),
            **{name: getattr(row, name) for name in _AS_SUBMITTED},
        )
        for number, row in enumerate(shuffled)
    )


def _letter(number: int) -> str:
    """A to Z, then AA, AB and so on."""
    before, last = divmod(number, 26)
    return (_letter(before - 1) if before else "") + chr(ord("A") + last)


def _text_of(voice: Voice, original: str) -> str | None:
    if voice.outcome == "edited":
        return voice.edited
    return original if voice.outcome == "no_edit_needed" else None


def _version(connection: Connection, item_id: int, decision: Row[Any] | None) -> int:
    """The number of submissions, undos and decisions so far, which grows with every change to the item."""
    made, undone = connection.execute(
        select(func.count(), func.count(submission.c.undone)).where(submission.c.item_id == item_id)
    ).one()
    return int(made) + int(undone) + (0 if decision is None else int(decision.version))


def decide(
    engine: Engine,
    person_id: int,
    item_id: int,
    version: int,
    text: str | None,
    outcome: str,
    reason: str = "",
    merged_from: Sequence[int] = (),
    *,
    now: float,
) -> Decided:
    """Settle a response, for the first time or again.

    Args:
        person_id: the reviewer.
        item_id: id of the response.
        version: the version of the `DisputeDetail` that the reviewer saw.
        text: the edited text if the outcome is `edited`, with the line ends of the original or of a page.
        outcome: one of `DECISIONS`.
        reason: the reason in the reviewer's words, which the project may require as it does from editors.
        merged_from: the submissions whose hunks were used.

    Raises:
        Stale: if a submission, undo or decision was made in the meantime.
        Refused: if the outcome is invalid, the text or the reason is missing, or the text is unchanged. The limits of
            the project apply only to editors.
        NotFound: as `dispute`.
    """
    with reading(engine) as connection:
        row = connection.execute(_response(item_id)).one_or_none()
        config = read_project(connection)
        current_ones = _current_submissions(connection, item_id)
    if row is None or not current_ones:
        raise NotFound("there is no such response, or it has no submissions", hint="go back to the list")
    _check(text, outcome)
    valid = validate_submission("edit", row.response, config, outcome, text, reason, limits=False)
    with writing(engine) as connection:
        connection.execute(select(item.c.id).where(item.c.id == item_id).with_for_update())
        before = _decision(connection, item_id)
        current = _version(connection, item_id, before)
        if version != current:
            raise Stale(
                "a submission or decision on this item was made in the meantime",
                text=row.response if before is None or before.edited is None else before.edited,
                version=current,
                reason="changed",
            )
        if not set(merged_from) <= set(_current_submissions(connection, item_id)):
            raise Refused("some of the submissions are not current", field="merged_from", hint="reload the page")
        detail = {"outcome": outcome, "merged_from": list(merged_from)}
        values = detail | {"person_id": person_id, "edited": valid.edited, "reason": valid.reason, "decided": now}
        if before is None:
            connection.execute(insert(adjudication).values(item_id=item_id, version=1, **values))
        else:
            change = update(adjudication).where(adjudication.c.item_id == item_id)
            connection.execute(change.values(version=before.version + 1, **values))
        record_event(connection, "decided", at=now, person_id=person_id, item_id=item_id, detail=detail)
    with reading(engine) as connection:
        return Decided(current + 1, next_dispute(connection, item_id))


def _current_submissions(connection: Connection, item_id: int) -> Sequence[int]:
    return connection.scalars(select(submission.c.id).where(submission.c.item_id == item_id, CURRENT)).all()


def _check(text: str | None, outcome: str) -> None:
    """Refuse outcomes that editors may choose but reviewers may not, and an edit without a text."""
    if outcome not in DECISIONS:
        raise Refused(f"no such outcome: {outcome!r}", field="outcome", hint=f"choose one of {', '.join(DECISIONS)}")
    if outcome == "edited" and (text is None or not text.strip()):
        raise Refused("an edit needs a text", field="text", hint="write the text, or choose another outcome")
