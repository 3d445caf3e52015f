"""Where editors differ about a response, a reviewer decides, place by place.

Comparisons are not settled: each person's preference is a judgement of its own and is exported as such.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from sqlalchemy import ColumnElement, Connection, Engine, Row, Select, func, insert, select, update

from redpencil.errors import RedpencilError
from redpencil.web.database import reading, writing
from redpencil.web.errors import NotFound, Refused, Stale
from redpencil.web.events import record_event
from redpencil.web.items import question_of
from redpencil.web.merging import Place, places_between
from redpencil.web.schema import adjudication, item, submission

DECISIONS = ("edited", "no_edit_needed", "cannot_be_fixed")
_CURRENT = submission.c.undone.is_(None) & (submission.c.outcome != "skipped")


@dataclass(frozen=True, slots=True)
class Voice:
    """One editor's current submission, by number instead of name, so that the text decides."""

    editor: int
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
    """An item that at least two people have judged differently. `decided` is when a reviewer settled it."""

    item_id: int
    external_id: str
    prompt: str
    outcomes: tuple[str, ...]
    kept: tuple[float, ...]
    last_submitted: float
    decided: float | None


@dataclass(frozen=True, slots=True)
class Decision:
    """What a reviewer made of an item."""

    outcome: str
    edited: str | None
    reason: str
    decided: float


@dataclass(frozen=True, slots=True)
class DisputeDetail:
    """All that a reviewer needs in order to decide.

    `version` grows with every submission, undo and decision on the item, and goes back with the decision. `after` is
    what all editors kept after the last place.
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
    """A decision that is safe in the database, and the next dispute, if there is one."""

    version: int
    next_item_id: int | None


def disputes(connection: Connection) -> list[Dispute]:
    """What waits for a decision, in the order in which the items were added."""
    return list(_differing(connection, settled=False))


def settled_disputes(connection: Connection) -> list[Dispute]:
    """What has been decided, the newest decision first."""
    return sorted(_differing(connection, settled=True), key=lambda dispute: -(dispute.decided or 0))


def _differing(connection: Connection, *, settled: bool) -> Iterator[Dispute]:
    rows = connection.execute(
        _in_dispute(
            settled,
            item.c.external_id,
            item.c.prompt,
            item.c.meta,
            submission.c.outcome,
            submission.c.kept,
            submission.c.submitted,
            adjudication.c.decided,
        )
        .join(submission, submission.c.item_id == item.c.id)
        .where(_CURRENT)
        .order_by(submission.c.id)
    )
    for _, group in groupby(rows, key=lambda row: row.id):
        judged = list(group)
        yield Dispute(
            item_id=judged[0].id,
            external_id=judged[0].external_id,
            prompt=question_of(judged[0].prompt, judged[0].meta),
            outcomes=tuple(row.outcome for row in judged),
            kept=tuple(row.kept for row in judged),
            last_submitted=max(row.submitted for row in judged),
            decided=judged[0].decided,
        )


def _in_dispute(settled: bool, *columns: ColumnElement[Any]) -> Select[Any]:
    """Responses without a known answer that at least two people have judged differently, in the order of the items."""
    differing = (
        select(submission.c.item_id)
        .where(_CURRENT)
        .group_by(submission.c.item_id)
        .having(
            (func.count(submission.c.outcome.distinct()) > 1)
            | (func.count(func.coalesce(submission.c.edited, "").distinct()) > 1)
        )
    )
    return (
        select(item.c.id, *columns)
        .select_from(item)
        .join(adjudication, adjudication.c.item_id == item.c.id, isouter=True)
        .where(item.c.kind == "edit", item.c.known_answer.is_(None), item.c.id.in_(differing))
        .where(adjudication.c.id.is_not(None) if settled else adjudication.c.id.is_(None))
        .order_by(item.c.position, item.c.id)
    )


def next_dispute(connection: Connection, after: int | None = None) -> int | None:
    """The item of the next dispute after that of item `after`, going round at the end; None where no other is left."""
    waiting = list(connection.scalars(_in_dispute(False)))
    start = waiting.index(after) + 1 if after in waiting else 0
    others = [item_id for item_id in waiting[start:] + waiting[:start] if item_id != after]
    return others[0] if others else None


def dispute(connection: Connection, item_id: int) -> DisputeDetail:
    """A response with all its current edits, disputed or not.

    Raises:
        NotFound: if there is no such response, or nobody has judged it.
    """
    row = connection.execute(_response(item_id)).one_or_none()
    voices = () if row is None else _voices(connection, item_id)
    if row is None or not voices:
        raise NotFound("there is no such response, or nobody has judged it", way_out="go back to the list")
    decision = connection.execute(select(adjudication).where(adjudication.c.item_id == item_id)).one_or_none()
    texts = {voice.editor: text for voice in voices if (text := _text_of(voice, row.response)) is not None}
    places, after = places_between(row.response, texts)
    return DisputeDetail(
        item_id=row.id,
        external_id=row.external_id,
        prompt=question_of(row.prompt, row.meta),
        context=row.context,
        original=row.response,
        version=_version(connection, item_id, decision),
        voices=voices,
        places=places,
        after=after,
        decision=None
        if decision is None
        else Decision(decision.outcome, decision.edited, decision.reason, decision.decided),
        next_item_id=next_dispute(connection, item_id),
    )


def _response(item_id: int) -> Select[Any]:
    return select(item).where(item.c.id == item_id, item.c.kind == "edit")


def _voices(connection: Connection, item_id: int) -> tuple[Voice, ...]:
    rows = connection.execute(
        select(submission).where(submission.c.item_id == item_id, _CURRENT).order_by(submission.c.id)
    )
    return tuple(
        Voice(
            editor=number,
            submission_id=row.id,
            outcome=row.outcome,
            edited=row.edited,
            reason=row.reason,
            tags=tuple(row.tags),
            kept=row.kept,
            distance=row.distance,
            seconds=row.seconds,
        )
        for number, row in enumerate(rows, start=1)
    )


def _text_of(voice: Voice, original: str) -> str | None:
    if voice.outcome == "edited":
        return voice.edited
    return original if voice.outcome == "no_edit_needed" else None


def _version(connection: Connection, item_id: int, decision: Row[Any] | None) -> int:
    """Submissions ever made, undone and decided: whatever happens to the item, the number grows."""
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
    """Settle a response, or settle it anew.

    Args:
        engine: the database.
        person_id: the reviewer.
        item_id: what is decided.
        version: that of the `DisputeDetail` which the reviewer saw.
        text: the edited text, where the outcome is `edited`.
        outcome: one of `DECISIONS`.
        reason: why, in the reviewer's words.
        merged_from: the submissions whose hunks were taken.
        now: the time.

    Raises:
        Stale: if somebody submitted, took back or decided meanwhile.
        Refused: if the outcome does not fit, or the text is missing or unchanged.
        NotFound: as `dispute`.
    """
    with writing(engine) as connection:
        row = connection.execute(_response(item_id).with_for_update()).one_or_none()
        if row is None:
            raise NotFound("there is no such response", way_out="go back to the list")
        before = connection.execute(select(adjudication).where(adjudication.c.item_id == item_id)).one_or_none()
        current = _version(connection, item_id, before)
        if version != current:
            held = row.response if before is None or before.edited is None else before.edited
            raise Stale(
                "somebody submitted or decided on this item meanwhile", text=held, version=current, reason="changed"
            )
        _check(row, text, outcome, merged_from, [voice.submission_id for voice in _voices(connection, item_id)])
        number = 1 if before is None else before.version + 1
        values = {
            "person_id": person_id,
            "outcome": outcome,
            "edited": text if outcome == "edited" else None,
            "reason": reason,
            "merged_from": list(merged_from),
            "decided": now,
            "version": number,
        }
        if before is None:
            connection.execute(insert(adjudication).values(item_id=item_id, **values))
        else:
            connection.execute(update(adjudication).where(adjudication.c.item_id == item_id).values(**values))
        detail = {"outcome": outcome, "merged_from": list(merged_from)}
        record_event(connection, "decided", at=now, person_id=person_id, item_id=item_id, detail=detail)
    with reading(engine) as connection:
        return Decided(current + 1, next_dispute(connection, item_id))


def _check(row: Row[Any], text: str | None, outcome: str, merged_from: Sequence[int], current: Sequence[int]) -> None:
    problem: RedpencilError | None = None
    if not current:
        problem = NotFound("nobody has judged this response", way_out="go back to the list")
    elif outcome not in DECISIONS:
        problem = Refused(
            f"no such outcome: {outcome!r}", field="outcome", way_out=f"choose one of {', '.join(DECISIONS)}"
        )
    elif outcome == "edited" and (text is None or not text.strip()):
        problem = Refused("an edit needs a text", field="text", way_out="write the text, or choose another outcome")
    elif outcome == "edited" and text == row.response:
        problem = Refused(
            "the text is the original", field="text", way_out="change it, or choose that no edit is needed"
        )
    elif not set(merged_from) <= set(current):
        problem = Refused("some of the submissions are not current", field="merged_from", way_out="load the page anew")
    if problem is not None:
        raise problem
