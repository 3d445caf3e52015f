"""People's work on items: claim, draft, submit, undo, release. Nothing is lost, doubled or overwritten here.

Each change is one short transaction, under the locks of `redpencil.web.leases`; texts are compared before it begins.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from sqlalchemy import Connection, Engine, Row, func, insert, select, update

from redpencil.alignment.words import Block
from redpencil.web import leases
from redpencil.web.database import reading, record_event, writing
from redpencil.web.errors import Forbidden, NotFound, Refused, Stale, StaleReason
from redpencil.web.items import question_of
from redpencil.web.project import DECIDED, LONGEST_REASON, MOST_TAGS, OUTCOMES, ProjectConfig, read_project
from redpencil.web.schema import adjudication, assignment, item, submission
from redpencil.web.text import Measured, measure, restore_line_ends, unstorable


@dataclass(frozen=True, slots=True)
class Judged:
    """What goes into the database; `edited` has the line ends of the original, and is None unless it was edited."""

    outcome: str
    edited: str | None
    reason: str
    tags: list[dict[str, Any]]
    measured: Measured


def judge(
    kind: str,
    original: str,
    config: ProjectConfig,
    outcome: str,
    text: str | None,
    reason: str,
    tags: Sequence[Mapping[str, Any]] = (),
    *,
    limits: bool = True,
) -> Judged:
    """Check a submission against the project and measure it; a reviewer's decision is not held to its `limits`.

    Raises:
        Refused: naming the field that does not fit.
    """
    if text is not None:
        check_text(text)
    if outcome not in OUTCOMES[kind]:
        choices = ", ".join(OUTCOMES[kind])
        raise Refused(f"{outcome!r} is no outcome of this item", field="outcome", hint=f"choose one of: {choices}")
    reason = reason.strip()
    _check_reason(reason, outcome, config)
    edited = None
    if outcome == "edited":
        if text is None:
            raise Refused("the edited text is missing", field="text", hint="send the text")
        edited = restore_line_ends(original, text)
        if edited == original:
            raise Refused(
                "the text is the same as the response",
                field="outcome",
                hint="edit the text, or choose that no edit is needed",
            )
    measured = measure(original, original if edited is None else edited)
    if edited is not None and limits:
        _check_limits(measured, config)
    return Judged(outcome, edited, reason, _checked_tags(tags, original, config), measured)


def check_text(text: str, field: str = "text") -> None:
    """Refuse what no database holds.

    Raises:
        Refused: naming the character and the field.
    """
    if problem := unstorable(text):
        raise Refused(f"the {field} holds {problem}, which cannot be kept", field=field, hint="take it out")


def _check_reason(reason: str, outcome: str, config: ProjectConfig) -> None:
    if not reason and outcome in config.reason_required_for:
        raise Refused("a reason is needed for this outcome", field="reason", hint="say in a few words why")
    if len(reason) > LONGEST_REASON:
        raise Refused(f"the reason has more than {LONGEST_REASON:,} characters", field="reason", hint="shorten it")
    check_text(reason, "reason")


def _check_limits(measured: Measured, config: ProjectConfig) -> None:
    if measured.kept < config.kept_hard:
        raise Refused(
            f"the edit keeps {measured.kept:.0%} of the words; this project asks for at least {config.kept_hard:.0%}",
            field="text",
            hint="change less, or say that the response cannot be fixed",
        )
    if config.distance_hard is not None and measured.distance > config.distance_hard:
        raise Refused(
            f"the edit changes {measured.distance:,} characters; this project allows {config.distance_hard:,}",
            field="text",
            hint="change less, or say that the response cannot be fixed",
        )


def _checked_tags(tags: Sequence[Mapping[str, Any]], original: str, config: ProjectConfig) -> list[dict[str, Any]]:
    if len(tags) > MOST_TAGS:
        raise Refused(f"more than {MOST_TAGS:,} tags", field="tags", hint="tag fewer spans")
    checked = []
    for tag in tags:
        start, end, name = tag.get("start"), tag.get("end"), tag.get("tag")
        if name not in config.tags:
            names = ", ".join(config.tags) or "none"
            raise Refused(f"{name!r} is no tag of this project", field="tags", hint=f"choose one of: {names}")
        if not isinstance(start, int) or not isinstance(end, int) or not 0 <= start <= end <= len(original):
            raise Refused(
                f"a tag from {start} to {end} lies outside of the response", field="tags", hint="tag a changed span"
            )
        checked.append({"start": start, "end": end, "tag": name})
    return checked


Standing = Literal["yours", "free", "taken", "done"]
"""The person holds it, could take it up again, lost it to others or to a reviewer's decision, or has handed it in."""

HELD: Final = select(assignment, item.c.known_answer.is_not(None).label("known")).join_from(assignment, item)
"""Assignments with what `standing_of` has to know of their items."""


def standing_of(connection: Connection, row: Row[Any], config: ProjectConfig, now: float) -> Standing:
    """How an assignment, a row of `HELD`, stands; without a lock this can be past a moment later."""
    if row.state in ("done", "skipped"):
        return "done"
    if leases.lease_from(connection, row, config, now) is None:
        return "taken"
    return "yours" if row.state == "open" and row.lease_until > now else "free"


State = Literal["open", "done", "skipped", "released"]


@dataclass(frozen=True, slots=True)
class Marks:
    """What a person has chosen beside the text so far; the project is asked about it only when it is handed in.

    Args:
        outcome: one of `redpencil.web.project.OUTCOMES` for the kind of the item, or None as long as none is chosen.
        reason: why, in the person's words.
        tags: {"start", "end", "tag"} with offsets in characters of the original response.
    """

    outcome: str | None = None
    reason: str = ""
    tags: Sequence[Mapping[str, Any]] = ()


NO_MARKS: Final = Marks()


@dataclass(frozen=True, slots=True)
class Task:
    """An item as one person works on it.

    `draft` is the text to show: the person's last draft, or the response where there is none yet; `draft_outcome`,
    `draft_reason` and `draft_tags` are the `Marks` that go with it. `version` goes back with the next draft or submit.
    `prompt` is the question without the `context`. `lease_left_s` is for pages whose clock is wrong; where it is 0,
    `standing` says whether the person may go on.
    """

    assignment_id: int
    kind: Literal["edit", "compare"]
    prompt: str
    context: str
    response: str
    second: str | None
    suggestion: str | None
    version: int
    draft: str
    lease_until: float
    opened: float
    active_s: float
    state: State = "open"
    draft_saved: float | None = None
    draft_outcome: str | None = None
    draft_reason: str = ""
    draft_tags: Sequence[Mapping[str, Any]] = ()
    lease_left_s: float = 0.0
    standing: Standing = "yours"


def task_from(row: Row[Any], config: ProjectConfig, now: float) -> Task:
    """The task of a row of `redpencil.web.leases.whole_assignment`."""
    return Task(
        assignment_id=row.id,
        kind=row.kind,
        prompt=question_of(row.prompt, row.meta),
        context=row.context,
        response=row.response,
        second=row.second,
        suggestion=row.suggestion if config.suggestions else None,
        version=row.version,
        draft=shown_text(row),
        lease_until=row.lease_until,
        opened=row.opened,
        active_s=row.active_s,
        state=row.state,
        draft_saved=row.draft_saved,
        draft_outcome=row.draft_outcome,
        draft_reason=row.draft_reason,
        draft_tags=row.draft_tags,
        lease_left_s=max(0.0, row.lease_until - now),
    )


def shown_text(row: Row[Any]) -> str:
    """The text that the person goes on with."""
    if row.draft_saved is not None:
        return str(row.draft)
    return str(row.response) if row.kind == "edit" else ""


def draft_values(text: str, marks: Marks, kind: str, now: float) -> dict[str, Any]:
    """The columns of a draft.

    Raises:
        Refused: if no database holds the reason, or the outcome is one of the other kind.
    """
    check_text(marks.reason, "reason")
    if marks.outcome is not None and marks.outcome not in OUTCOMES[kind]:
        choices = ", ".join(OUTCOMES[kind])
        raise Refused(f"{marks.outcome!r} is no outcome of this item", field="outcome", hint=f"choose of: {choices}")
    return {"draft": text, "draft_saved": now} | marks_values(marks.outcome, marks.reason, marks.tags)


def marks_values(outcome: str | None, reason: str, tags: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The columns of what was chosen beside the text."""
    return {"draft_outcome": outcome, "draft_reason": reason, "draft_tags": [dict(tag) for tag in tags]}


def holds_draft(row: Row[Any], values: Mapping[str, Any]) -> bool:
    """Whether an assignment has this very draft already."""
    names = ("draft", "draft_outcome", "draft_reason", "draft_tags")
    return row.draft_saved is not None and all(getattr(row, name) == values[name] for name in names)


HISTORY_PAGE: Final = 100
"""Lines of a person's history on one page."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A draft that is safe in the database. Where no lease is left, other people are on the item."""

    version: int
    saved_at: float
    lease_until: float
    lease_left_s: float


@dataclass(frozen=True, slots=True)
class Submission:
    """What a person hands in.

    Args:
        outcome: one of `redpencil.web.project.OUTCOMES` for the kind of the item.
        text: the text in the page, kept as the draft; it is the edit where the outcome is `edited`.
        reason: why, in the person's words.
        tags: {"start", "end", "tag"} with offsets in characters of the original response.
        active_s: seconds of work on this assignment in all, as the page counts them.
    """

    outcome: str
    text: str | None = None
    reason: str = ""
    tags: Sequence[Mapping[str, Any]] = ()
    active_s: float | None = None


@dataclass(frozen=True, slots=True)
class Submitted:
    """A submission that is safe in the database, with the server's own diff; `blocks` lead from the response, the
    `original`, to `edited`, which has its line ends again.
    """

    submission_id: int
    kept: float
    distance: int
    blocks: tuple[Block, ...]
    original: str
    edited: str


@dataclass(frozen=True, slots=True)
class Done:
    """A line of a person's history; `undone` is when it was taken back. What is `decided` can be taken back no more."""

    submission_id: int
    assignment_id: int
    kind: str
    prompt: str
    outcome: str
    kept: float
    distance: int
    seconds: float
    submitted: float
    undone: float | None
    decided: bool


def next_task(engine: Engine, person_id: int, *, now: float) -> Task | None:
    """The person's open item, else a new one that has room for one more editor; None where there is none."""
    while True:
        with writing(engine) as connection:
            leases.lock_person(connection, person_id)
            config = read_project(connection)
            mine: int | None = leases.own_open(connection, person_id)
            if mine is not None:
                if not leases.resume(connection, person_id, mine, config, now):
                    continue
            else:
                found = leases.find_item(connection, person_id, config, now)
                if found is None:
                    return None
                mine = leases.take(connection, person_id, found, config, now)
                if mine is None:
                    continue
            return task_from(leases.whole_assignment(connection, person_id, mine), config, now)


def task_of(engine: Engine, person_id: int, assignment_id: int, *, now: float) -> Task:
    """One assignment as it stands; nothing is changed.

    Raises:
        NotFound, Forbidden: if it does not exist or is somebody else's.
    """
    with reading(engine) as connection:
        config = read_project(connection)
        task = task_from(leases.whole_assignment(connection, person_id, assignment_id), config, now)
        row = connection.execute(HELD.where(assignment.c.id == assignment_id)).one()
        return replace(task, standing=standing_of(connection, row, config, now))


def response_of(engine: Engine, person_id: int, assignment_id: int) -> str:
    """The response of an assignment.

    Raises:
        NotFound, Forbidden: as `task_of`.
    """
    with reading(engine) as connection:
        return str(leases.whole_assignment(connection, person_id, assignment_id).response)


def save_draft(
    engine: Engine,
    person_id: int,
    assignment_id: int,
    text: str,
    version: int,
    active_s: float,
    marks: Marks = NO_MARKS,
    *,
    now: float,
) -> Saved:
    """Keep a draft with its marks, and renew the lease where nobody else has taken the place.

    Sending the same draft again is harmless, so a page may repeat what was not answered.

    Raises:
        Stale: if another tab was faster, or the item is submitted or released.
        NotFound, Forbidden, Refused
    """
    check_text(text)
    with writing(engine) as connection:
        row = leases.locked_assignment(connection, person_id, assignment_id)
        draft = draft_values(text, marks, row.kind, now)
        same = holds_draft(row, draft)
        _check_version(connection, row, version, same=same)
        lease_until = leases.lease_from(connection, row, read_project(connection), now)
        values: dict[str, Any] = {"active_s": _active(row, active_s, now)}
        if not same:
            values |= draft | {"version": row.version + 1}
        if lease_until is not None:
            values |= {"lease_until": lease_until, "state": "open"}
        connection.execute(update(assignment).where(assignment.c.id == row.id).values(**values))
        until = row.lease_until if lease_until is None else lease_until
        return Saved(row.version + (not same), row.draft_saved if same else now, until, max(0.0, until - now))


def submit(
    engine: Engine, person_id: int, assignment_id: int, version: int, given: Submission, *, now: float
) -> Submitted:
    """Hand in an item. Sending the same again gives the same answer and no second submission.

    Raises:
        Stale: as `save_draft`; also if others have taken the place since the lease ran out, or a reviewer has settled
            the item, with all that was sent kept as draft.
        Refused: for a hard limit, a missing reason, an outcome or tag that does not fit.
        NotFound, Forbidden
    """
    with reading(engine) as connection:
        config = read_project(connection)
        whole = leases.whole_assignment(connection, person_id, assignment_id)
    judged = judge(whole.kind, whole.response, config, given.outcome, given.text, given.reason, given.tags)
    with writing(engine) as connection:
        row = leases.locked_assignment(connection, person_id, assignment_id)
        again = _sent_before(connection, row, version, judged)
        if again is not None:
            return _submitted(again, judged, whole.response)
        # The page's own last draft may overtake its submit; what another tab undid is not handed in again.
        overtaken = row.version == version + 1 and row.draft_saved is not None and row.draft == given.text
        _check_version(connection, row, version, same=overtaken)
        draft = {} if given.text is None else {"draft": given.text, "draft_saved": now}
        draft |= marks_values(judged.outcome, judged.reason, judged.tags)
        active_s = _active(row, given.active_s, now)
        in_time = leases.lease_from(connection, row, config, now) is not None
        if in_time:
            submission_id = _insert(connection, row, version, judged, active_s or max(0.0, now - row.opened), now)
            state = "skipped" if judged.outcome == "skipped" else "done"
        else:
            state = "released"
        values = draft | {"state": state, "version": row.version + 1, "active_s": active_s}
        connection.execute(update(assignment).where(assignment.c.id == row.id).values(**values))
    if not in_time:
        raise Stale(
            "others have taken this item since, or a reviewer has settled it; your text is kept as a draft",
            text=shown_text(whole) if given.text is None else given.text,
            version=row.version + 1,
            reason="taken",
        )
    return _submitted(submission_id, judged, whole.response)


def undo(engine: Engine, person_id: int, submission_id: int, *, now: float) -> Task:
    """Take a submission back and go on with its text; doing so twice is harmless.

    Raises:
        Stale: if it was taken back already and the item handed in anew.
        Refused: if a reviewer has decided about the item since, or others have taken an item that was skipped.
        NotFound, Forbidden
    """
    with writing(engine) as connection:
        query = select(submission.c.assignment_id, submission.c.person_id).where(submission.c.id == submission_id)
        found = connection.execute(query).first()
        if found is None:
            raise NotFound(f"there is no submission {submission_id}")
        if found.person_id != person_id:
            raise Forbidden(f"submission {submission_id} is somebody else's")
        row = leases.locked_assignment(connection, person_id, found.assignment_id)
        here = submission.c.id == submission_id
        sent = connection.execute(select(submission).where(here)).one()
        config = read_project(connection)
        if sent.undone is None:
            _take_back(connection, row, sent, config, now)
        elif row.state in ("done", "skipped"):
            raise Stale(
                "this submission was taken back already, and the item handed in anew",
                text=shown_text(leases.whole_assignment(connection, person_id, row.id)),
                version=row.version,
                reason="done",
            )
        return task_from(leases.whole_assignment(connection, person_id, row.id), config, now)


def release(engine: Engine, person_id: int, assignment_id: int, *, now: float) -> None:
    """Give an item back to the others; the draft stays, in case it comes around again.

    Raises:
        Stale: if it is submitted. NotFound, Forbidden
    """
    with writing(engine) as connection:
        row = leases.locked_assignment(connection, person_id, assignment_id)
        _check_version(connection, row, row.version, same=False)
        if row.state == "open":
            values = {"state": "released", "lease_until": now, "version": row.version + 1}
            connection.execute(update(assignment).where(assignment.c.id == row.id).values(**values))
            record_event(connection, "release", at=now, person_id=person_id, item_id=row.item_id)


def peek_kind(engine: Engine, person_id: int) -> Literal["edit", "compare"]:
    """The kind of the person's open item, or what the next one is likely to be; nothing is changed."""
    with reading(engine) as connection:
        mine = leases.own_open(connection, person_id)
        open_one = select(item.c.kind).join_from(assignment, item).where(assignment.c.id == mine)
        any_one = select(item.c.kind).order_by(item.c.done, item.c.position).limit(1)
        kind = connection.execute(any_one if mine is None else open_one).scalar()
        return "compare" if kind == "compare" else "edit"


def history(engine: Engine, person_id: int, *, before: int | None = None, limit: int = HISTORY_PAGE) -> list[Done]:
    """What the person has handed in, the newest first; `before` is the submission that the last page ended with."""
    columns = ("outcome", "kept", "distance", "seconds", "submitted", "undone")
    query = (
        select(
            submission.c.id.label("submission_id"),
            submission.c.assignment_id,
            item.c.kind,
            item.c.prompt,
            DECIDED.label("decided"),
            *(submission.c[name] for name in columns),
        )
        .join_from(submission, item)
        .where(submission.c.person_id == person_id)
        .order_by(submission.c.id.desc())
        .limit(limit)
    )
    if before is not None:
        query = query.where(submission.c.id < before)
    with reading(engine) as connection:
        return [Done(**row) for row in connection.execute(query).mappings()]


def _submitted(submission_id: int, judged: Judged, response: str) -> Submitted:
    measured, edited = judged.measured, response if judged.edited is None else judged.edited
    return Submitted(submission_id, measured.kept, measured.distance, measured.blocks, response, edited)


def _check_version(connection: Connection, row: Row[Any], version: int, *, same: bool) -> None:
    """Let nothing pass that would overwrite what another tab did; the `same` draft overwrites nothing."""
    reason: StaleReason
    if row.state in ("done", "skipped"):
        problem, reason = "this item is handed in already", "done"
    elif row.version == version or (row.state == "open" and same):
        return
    elif row.state == "released":
        problem, reason = "this item was given back", "released"
    else:
        problem, reason = "another tab or window has saved another text since", "changed"
    held = shown_text(leases.whole_assignment(connection, row.person_id, row.id))
    raise Stale(problem, text=held, version=row.version, reason=reason)


def _sent_before(connection: Connection, row: Row[Any], version: int, judged: Judged) -> int | None:
    """The current submission, where it is the very one that is sent now: its answer got lost on the way."""
    if row.state not in ("done", "skipped"):
        return None
    query = select(submission).where(submission.c.assignment_id == row.id, submission.c.undone.is_(None))
    sent = connection.execute(query).one()
    same = (version, judged.outcome, judged.edited, judged.reason, judged.tags)
    return int(sent.id) if same == (sent.version, sent.outcome, sent.edited, sent.reason, sent.tags) else None


def _insert(connection: Connection, row: Row[Any], version: int, judged: Judged, seconds: float, now: float) -> int:
    """Write the submission down and count it."""
    values = {
        "assignment_id": row.id,
        "item_id": row.item_id,
        "person_id": row.person_id,
        "version": version,
        "outcome": judged.outcome,
        "edited": judged.edited,
        "reason": judged.reason,
        "tags": judged.tags,
        "kept": judged.measured.kept,
        "distance": judged.measured.distance,
        "seconds": seconds,
        "submitted": now,
    }
    submission_id = connection.execute(insert(submission).values(values).returning(submission.c.id)).scalar_one()
    if judged.outcome != "skipped":
        connection.execute(update(item).where(item.c.id == row.item_id).values(done=item.c.done + 1))
    detail = {"submission": submission_id, "outcome": judged.outcome}
    record_event(connection, "submit", at=now, person_id=row.person_id, item_id=row.item_id, detail=detail)
    return int(submission_id)


def _take_back(connection: Connection, row: Row[Any], sent: Row[Any], config: ProjectConfig, now: float) -> None:
    decided = select(adjudication.c.id).where(adjudication.c.item_id == row.item_id)
    if connection.execute(decided).first() is not None:
        raise Refused("a reviewer has decided about this item, so it stays as it is")
    skipped = sent.outcome == "skipped"
    if skipped and leases.lease_from(connection, row, config, now) is None:
        raise Refused("others have taken this item since you skipped it")
    connection.execute(update(submission).where(submission.c.id == sent.id).values(undone=now))
    if not skipped:
        connection.execute(update(item).where(item.c.id == row.item_id).values(done=item.c.done - 1))
    values = {"state": "open", "lease_until": now + config.lease_s, "version": row.version + 1}
    values |= marks_values(sent.outcome, sent.reason, sent.tags)
    connection.execute(update(assignment).where(assignment.c.id == row.id).values(**values))
    detail = {"submission": sent.id}
    record_event(connection, "undo", at=now, person_id=row.person_id, item_id=row.item_id, detail=detail)


def _active(row: Row[Any], given: float | None, now: float) -> float:
    """Seconds of work so far: what the page says, which grows and is no longer than the item has been open."""
    if given is None or not math.isfinite(given):
        return float(row.active_s)
    return max(float(row.active_s), min(given, now - float(row.opened)))


@dataclass(frozen=True, slots=True)
class Draft:
    """An edit that was saved and not handed in. `standing` is never `done`."""

    assignment_id: int
    prompt: str
    text: str
    version: int
    standing: Standing
    lease_until: float
    saved_at: float


def drafts(engine: Engine, person_id: int, *, now: float, limit: int = 200) -> list[Draft]:
    """The person's drafts that are not handed in and differ from the response or give a reason, the latest first."""
    query = (
        HELD.add_columns(item.c.prompt, item.c.meta)
        .where(
            assignment.c.person_id == person_id,
            assignment.c.state.in_(("open", "released")),
            assignment.c.draft_saved.is_not(None),
            item.c.kind == "edit",
            (assignment.c.draft != item.c.response) | (assignment.c.draft_reason != ""),
        )
        .order_by(assignment.c.draft_saved.desc(), assignment.c.id.desc())
        .limit(limit)
    )
    with reading(engine) as connection:
        config = read_project(connection)
        return [_draft(row, standing_of(connection, row, config, now)) for row in connection.execute(query).all()]


def take_up(engine: Engine, person_id: int, assignment_id: int, *, now: float) -> Task:
    """Go on with an assignment that was given back or whose lease ran out; one that is held anyway is held anew.

    Raises:
        Stale: if others have taken the place, or the item is handed in.
        NotFound, Forbidden
    """
    with writing(engine) as connection:
        row = leases.locked_assignment(connection, person_id, assignment_id)
        handed_in = row.state in ("done", "skipped")
        lease_until = None if handed_in else leases.lease_from(connection, row, read_project(connection), now)
        if lease_until is not None:
            values = {"state": "open", "lease_until": lease_until}
            connection.execute(update(assignment).where(assignment.c.id == assignment_id).values(**values))
    task = task_of(engine, person_id, assignment_id, now=now)
    if lease_until is None:
        problem = "this item is handed in already" if handed_in else "others have taken this item; your text is kept"
        raise Stale(problem, text=task.draft, version=task.version, reason="done" if handed_in else "taken")
    return task


def _draft(row: Row[Any], standing: Standing) -> Draft:
    return Draft(
        assignment_id=row.id,
        prompt=question_of(row.prompt, row.meta),
        text=row.draft,
        version=row.version,
        standing=standing,
        lease_until=row.lease_until,
        saved_at=row.draft_saved,
    )


@dataclass(frozen=True, slots=True)
class Tally:
    """How many items a person has done, and about how many they could still get; others can take those before them."""

    done: int
    left: int


def tally(engine: Engine, person_id: int) -> Tally:
    """How far a person is.

    Items with a known answer count like all others, done or not, so that the figures do not tell them apart.
    """
    with reading(engine) as connection:
        config = read_project(connection)
        here = (assignment.c.person_id == person_id) & (assignment.c.state == "done")
        done = connection.execute(select(func.count()).select_from(assignment).where(here)).scalar_one()
        return Tally(done, _left(connection, person_id, config))


def _left(connection: Connection, person_id: int, config: ProjectConfig) -> int:
    wanted = item.c.known_answer.is_(None) & (item.c.done < config.editors_per_item) & ~DECIDED
    if config.known_answer_share:
        wanted |= item.c.known_answer.is_not(None)
    through = (assignment.c.person_id == person_id) & assignment.c.state.in_(("done", "skipped"))
    everybody = select(func.count()).select_from(item).where(wanted)
    mine = select(func.count()).select_from(assignment).join(item).where(wanted, through)
    return int(connection.execute(everybody).scalar_one() - connection.execute(mine).scalar_one())
