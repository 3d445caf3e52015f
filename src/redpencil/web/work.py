"""Work of people on items: claim, draft, submit, undo, release. No step loses, doubles or overwrites a text.

Each change is one short transaction under the locks of `redpencil.web.leases`; texts are compared before it begins.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from sqlalchemy import Connection, Engine, Row, func, insert, select, update

from redpencil.alignment.words import Block
from redpencil.records import instruction_of
from redpencil.text import unstorable
from redpencil.web import leases
from redpencil.web.browser_text import Measured, measure, restore_line_ends
from redpencil.web.database import reading, record_event, writing
from redpencil.web.errors import Forbidden, NotFound, Refused, Stale, StaleReason
from redpencil.web.project import (
    DECIDED,
    IS_GOLD,
    LONGEST_REASON,
    MOST_TAGS,
    OUTCOMES,
    WITHDRAWN,
    ProjectConfig,
    read_project,
)
from redpencil.web.schema import adjudication, assignment, item, submission


@dataclass(frozen=True, slots=True)
class ValidSubmission:
    """A submission that fits the project; `edited` has the line ends of the original, and is None if nothing was
    edited.
    """

    outcome: str
    edited: str | None
    reason: str
    tags: list[dict[str, Any]]
    measured: Measured


def validate_submission(
    kind: str,
    original: str,
    config: ProjectConfig,
    outcome: str,
    text: str | None,
    reason: str,
    tags: Sequence[Mapping[str, Any]] = (),
    *,
    limits: bool = True,
) -> ValidSubmission:
    """Check a submission against the project and measure it. The limits of the project do not apply to reviewers.

    Raises:
        Refused: naming the invalid field.
    """
    if text is not None:
        check_text(text)
    _check_outcome(outcome, kind)
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
    return ValidSubmission(outcome, edited, reason, _checked_tags(tags, original, config), measured)


def check_text(text: str, field: str = "text") -> None:
    """Refuse a text that no database can store.

    Raises:
        Refused: naming the character and the field.
    """
    if problem := unstorable(text):
        raise Refused(f"the {field} holds {problem}, which cannot be stored", field=field, hint="remove it")


def _check_outcome(outcome: str, kind: str) -> None:
    if outcome not in OUTCOMES[kind]:
        choices = ", ".join(OUTCOMES[kind])
        raise Refused(f"{outcome!r} is not an outcome of this item", field="outcome", hint=f"choose one of: {choices}")


def _check_reason(reason: str, outcome: str, config: ProjectConfig) -> None:
    if not reason and outcome in config.reason_required_for:
        raise Refused("a reason is needed for this outcome", field="reason", hint="say in a few words why")
    if len(reason) > LONGEST_REASON:
        raise Refused(f"the reason has more than {LONGEST_REASON:,} characters", field="reason", hint="shorten it")
    check_text(reason, "reason")


def _check_limits(measured: Measured, config: ProjectConfig) -> None:
    problem = None
    if measured.kept < config.kept_hard:
        asked = f"this project asks for at least {config.kept_hard:.0%}"
        problem = f"the edit keeps {measured.kept:.0%} of the words; {asked}"
    elif config.distance_hard is not None and measured.distance > config.distance_hard:
        problem = f"the edit changes {measured.distance:,} characters; this project allows {config.distance_hard:,}"
    if problem is not None:
        raise Refused(problem, field="text", hint="change less, or say that the response cannot be fixed")


def _checked_tags(tags: Sequence[Mapping[str, Any]], original: str, config: ProjectConfig) -> list[dict[str, Any]]:
    if len(tags) > MOST_TAGS:
        raise Refused(f"more than {MOST_TAGS:,} tags", field="tags", hint="tag fewer spans")
    checked = []
    for tag in tags:
        start, end, name = tag.get("start"), tag.get("end"), tag.get("tag")
        if name not in config.tags:
            names = ", ".join(config.tags) or "none"
            raise Refused(f"{name!r} is not a tag of this project", field="tags", hint=f"choose one of: {names}")
        if not isinstance(start, int) or not isinstance(end, int) or not 0 <= start <= end <= len(original):
            raise Refused(
                f"a tag from {start} to {end} lies outside of the response", field="tags", hint="tag a changed span"
            )
        checked.append({"start": start, "end": end, "tag": name})
    return checked


AssignmentStatus = Literal["yours", "free", "taken", "done"]
"""The person holds the item, could take it up again, lost it to others or to a decision, or has submitted it."""


def assignment_status(connection: Connection, row: Row[Any], config: ProjectConfig, now: float) -> AssignmentStatus:
    """The status of an assignment, a row of `leases.WITH_ITEM`; without a lock it may change at once."""
    if row.state in ("done", "skipped"):
        return "done"
    if leases.lease_from(connection, row, config, now) is None:
        return "taken"
    return "yours" if row.state == "open" and row.lease_until > now else "free"


State = Literal["open", "done", "skipped", "released"]


@dataclass(frozen=True, slots=True)
class Marks:
    """The choices of a person in addition to the text; they are checked against the project only on submission.

    Args:
        outcome: one of `redpencil.web.project.OUTCOMES` for the kind of the item, or None if none is chosen yet.
        reason: the reason in the person's words.
        tags: {"start", "end", "tag"} with offsets in characters of the original response.
    """

    outcome: str | None = None
    reason: str = ""
    tags: Sequence[Mapping[str, Any]] = ()


NO_MARKS: Final = Marks()


@dataclass(frozen=True, slots=True)
class Task:
    """An item as one person works on it.

    `draft` is the text to show: the person's last draft, or the response if there is none yet; `draft_outcome`,
    `draft_reason` and `draft_tags` are its `Marks`. The page sends `version` back with the next draft or submission.
    `prompt` is the question without the `context`. `lease_left_s` is for pages whose clock is wrong; if it is 0,
    `standing` says whether the person may continue.
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
    standing: AssignmentStatus = "yours"


_AS_STORED: Final = ("kind", "context", "response", "second", "version", "lease_until", "opened", "active_s", "state")
_DRAFT: Final = ("draft_saved", "draft_outcome", "draft_reason", "draft_tags")


def task_from(row: Row[Any], config: ProjectConfig, now: float) -> Task:
    """Build the task from a row of `leases.WITH_ITEM`."""
    return Task(
        assignment_id=row.id,
        prompt=instruction_of(row.prompt, row.meta),
        suggestion=row.suggestion if config.suggestions else None,
        draft=shown_text(row),
        lease_left_s=max(0.0, row.lease_until - now),
        **{name: getattr(row, name) for name in _AS_STORED + _DRAFT},
    )


def shown_text(row: Row[Any]) -> str:
    """The text that the person continues with."""
    if row.draft_saved is not None:
        return str(row.draft)
    return str(row.response) if row.kind == "edit" else ""


def draft_values(text: str, marks: Marks, kind: str, now: float) -> dict[str, Any]:
    """The columns of a draft.

    Raises:
        Refused: if the reason cannot be stored, or the outcome belongs to the other kind of item.
    """
    check_text(marks.reason, "reason")
    if marks.outcome is not None:
        _check_outcome(marks.outcome, kind)
    return {"draft": text, "draft_saved": now} | marks_values(marks)


def marks_values(marks: "Marks | ValidSubmission | Row[Any]") -> dict[str, Any]:
    """The columns of the choices of a draft or a submission."""
    tags = [dict(tag) for tag in marks.tags]
    return {"draft_outcome": marks.outcome, "draft_reason": marks.reason, "draft_tags": tags}


HISTORY_PAGE: Final = 100
"""Submissions on one page of a person's history."""


@dataclass(frozen=True, slots=True)
class Saved:
    """A draft that is safe in the database. If no lease is left, other people work on the item."""

    version: int
    saved_at: float
    lease_until: float
    lease_left_s: float


@dataclass(frozen=True, slots=True)
class Submission:
    """A submission as a page sends it, with the choices of `Marks`.

    `text` is the text in the page, stored as the draft; it is the edit if the outcome is `edited`. `active_s` are the
    seconds of work on this assignment in total, as the page counts them.
    """

    outcome: str
    text: str | None = None
    reason: str = ""
    tags: Sequence[Mapping[str, Any]] = ()
    active_s: float | None = None


@dataclass(frozen=True, slots=True)
class Submitted:
    """A submission that is safe in the database, with the server's own diff: `blocks` turn `original` into `edited`,
    whose line ends are restored.
    """

    submission_id: int
    kept: float
    distance: int
    blocks: tuple[Block, ...]
    original: str
    edited: str


@dataclass(frozen=True, slots=True)
class Done:
    """A line of a person's history. `undone` is the time of the undo; once `decided` it cannot be undone."""

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
    """Get the person's open item, or a new one with room for one more editor; None if there is none."""
    while True:
        with writing(engine) as connection:
            leases.lock_person(connection, person_id)
            config = read_project(connection)
            assignment_id: int | None = leases.own_open(connection, person_id)
            if assignment_id is not None:
                if not leases.resume(connection, person_id, assignment_id, config, now):
                    continue
            else:
                item_id = leases.find_item(connection, person_id, config, now)
                if item_id is None:
                    return None
                assignment_id = leases.take(connection, person_id, item_id, config, now)
                if assignment_id is None:
                    continue
            return task_from(leases.own_assignment(connection, person_id, assignment_id), config, now)


def task_of(engine: Engine, person_id: int, assignment_id: int, *, now: float) -> Task:
    """Get one assignment without changing it.

    Raises:
        NotFound, Forbidden: if it does not exist or belongs to another person.
    """
    with reading(engine) as connection:
        config = read_project(connection)
        row = leases.own_assignment(connection, person_id, assignment_id)
        return replace(task_from(row, config, now), standing=assignment_status(connection, row, config, now))


def response_of(engine: Engine, person_id: int, assignment_id: int) -> str:
    """The response of an assignment.

    Raises:
        NotFound, Forbidden: as `task_of`.
    """
    with reading(engine) as connection:
        return str(leases.own_assignment(connection, person_id, assignment_id).response)


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
    """Save a draft with its marks, and renew the lease unless others have taken the place.

    Sending the same draft again is harmless, so a page may repeat a request that got no answer.

    Raises:
        Stale: if another tab was faster, or the item was submitted or released.
        NotFound, Forbidden, Refused
    """
    check_text(text)
    with writing(engine) as connection:
        row = leases.locked_assignment(connection, person_id, assignment_id)
        draft = draft_values(text, marks, row.kind, now)
        columns = draft.keys() - {"draft_saved"}
        same = row.draft_saved is not None and all(getattr(row, name) == draft[name] for name in columns)
        _check_version(row, version, same=same)
        lease_until = leases.lease_from(connection, row, read_project(connection), now)
        values: dict[str, Any] = {"active_s": _active(row, active_s, now)}
        if not same:
            values |= draft | {"version": row.version + 1}
        if lease_until is not None:
            values |= {"lease_until": lease_until, "state": "open"}
        leases.change_assignment(connection, row.id, values)
        until = row.lease_until if lease_until is None else lease_until
        return Saved(row.version + (not same), row.draft_saved if same else now, until, max(0.0, until - now))


def submit(
    engine: Engine, person_id: int, assignment_id: int, version: int, sent: Submission, *, now: float
) -> Submitted:
    """Submit an item. Sending the same again gives the same answer and no second submission.

    Raises:
        Stale: as `save_draft`; also if others have taken the place since the lease ran out, or a reviewer has settled
            the item; the submission is stored as a draft then.
        Refused: for a hard limit, a missing reason, an invalid outcome or tag.
        NotFound, Forbidden
    """
    with reading(engine) as connection:
        config = read_project(connection)
        row = leases.own_assignment(connection, person_id, assignment_id)
    valid = validate_submission(row.kind, row.response, config, sent.outcome, sent.text, sent.reason, sent.tags)
    with writing(engine) as connection:
        row = leases.locked_assignment(connection, person_id, assignment_id)
        again = _sent_before(connection, row, version, valid)
        if again is not None:
            return _submitted(again, valid, row.response)
        # The page's last draft may overtake its submission; a submission that another tab undid is not repeated.
        overtaken = row.version == version + 1 and row.draft_saved is not None and row.draft == sent.text
        _check_version(row, version, same=overtaken)
        draft = {} if sent.text is None else {"draft": sent.text, "draft_saved": now}
        active_s = _active(row, sent.active_s, now)
        in_time = leases.lease_from(connection, row, config, now) is not None
        if in_time:
            submission_id = _insert(connection, row, version, valid, active_s or max(0.0, now - row.opened), now)
            state = "skipped" if valid.outcome == "skipped" else "done"
        else:
            state = "released"
        values = {"state": state, "version": row.version + 1, "active_s": active_s}
        leases.change_assignment(connection, row.id, draft | marks_values(valid) | values)
    if not in_time:
        raise Stale(
            "others have taken this item since, or a reviewer has settled it; your text is kept as a draft",
            text=shown_text(row) if sent.text is None else sent.text,
            version=row.version + 1,
            reason="taken",
        )
    return _submitted(submission_id, valid, row.response)


def undo(engine: Engine, person_id: int, submission_id: int, *, now: float) -> Task:
    """Undo a submission and open its item again; doing so twice is harmless.

    Raises:
        Stale: if it was undone already and the item submitted again.
        Refused: if a reviewer has decided about the item since, or others have taken an item that was skipped.
        NotFound, Forbidden
    """
    with writing(engine) as connection:
        query = select(submission).where(submission.c.id == submission_id)
        sent = connection.execute(query).first()
        if sent is None:
            raise NotFound(f"there is no submission {submission_id}")
        if sent.person_id != person_id:
            raise Forbidden(f"submission {submission_id} belongs to another person")
        row = leases.locked_assignment(connection, person_id, sent.assignment_id)
        sent = connection.execute(query).one()  # it may have been undone until now
        config = read_project(connection)
        if sent.undone is None:
            _take_back(connection, row, sent, config, now)
        elif row.state in ("done", "skipped"):
            raise Stale(
                "this submission was undone already, and the item submitted again",
                text=shown_text(row),
                version=row.version,
                reason="done",
            )
        return task_from(leases.own_assignment(connection, person_id, row.id), config, now)


def release(engine: Engine, person_id: int, assignment_id: int, *, now: float) -> None:
    """Give an item back to the others; the draft stays in case the person gets it again.

    Raises:
        Stale: if it is submitted. NotFound, Forbidden
    """
    with writing(engine) as connection:
        row = leases.locked_assignment(connection, person_id, assignment_id)
        _check_version(row, row.version, same=False)
        if row.state == "open":
            values = {"state": "released", "lease_until": now, "version": row.version + 1}
            leases.change_assignment(connection, row.id, values)
            record_event(connection, "release", at=now, person_id=person_id, item_id=row.item_id)


def peek_kind(engine: Engine, person_id: int) -> Literal["edit", "compare"]:
    """The kind of the person's open item, or the likely kind of the next one; changes nothing."""
    with reading(engine) as connection:
        open_id = leases.own_open(connection, person_id)
        of_open = select(item.c.kind).join_from(assignment, item).where(assignment.c.id == open_id)
        of_next = select(item.c.kind).order_by(item.c.done, item.c.position).limit(1)
        kind = connection.execute(of_next if open_id is None else of_open).scalar()
        return "compare" if kind == "compare" else "edit"


def history(engine: Engine, person_id: int, *, before: int | None = None, limit: int = HISTORY_PAGE) -> list[Done]:
    """List the person's submissions, the newest first; `before` is the last submission of the page before."""
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


def _submitted(submission_id: int, valid: ValidSubmission, response: str) -> Submitted:
    measured, edited = valid.measured, response if valid.edited is None else valid.edited
    return Submitted(submission_id, measured.kept, measured.distance, measured.blocks, response, edited)


_SUBMITTED: Final[tuple[str, StaleReason]] = ("this item was submitted already", "done")


def _check_version(row: Row[Any], version: int, *, same: bool) -> None:
    """Refuse a request that would overwrite the work of another tab; the `same` draft overwrites nothing."""
    reason: StaleReason
    if row.state in ("done", "skipped"):
        problem, reason = _SUBMITTED
    elif row.version == version or (row.state == "open" and same):
        return
    elif row.state == "released":
        problem, reason = "this item was given back", "released"
    else:
        problem, reason = "another tab or window has saved a different text since", "changed"
    raise Stale(problem, text=shown_text(row), version=row.version, reason=reason)


def _sent_before(connection: Connection, row: Row[Any], version: int, valid: ValidSubmission) -> int | None:
    """The id of the current submission if it equals the one that is sent now, because its answer was lost."""
    if row.state not in ("done", "skipped"):
        return None
    query = select(submission).where(submission.c.assignment_id == row.id, submission.c.undone.is_(None))
    sent = connection.execute(query).one()
    same = (version, valid.outcome, valid.edited, valid.reason, valid.tags)
    return int(sent.id) if same == (sent.version, sent.outcome, sent.edited, sent.reason, sent.tags) else None


def _insert(
    connection: Connection, row: Row[Any], version: int, valid: ValidSubmission, seconds: float, now: float
) -> int:
    """Store the submission and count it."""
    values = {
        "assignment_id": row.id,
        "item_id": row.item_id,
        "person_id": row.person_id,
        "version": version,
        **{name: getattr(valid, name) for name in ("outcome", "edited", "reason", "tags")},
        "kept": valid.measured.kept,
        "distance": valid.measured.distance,
        "seconds": seconds,
        "submitted": now,
    }
    submission_id = connection.execute(insert(submission).values(values).returning(submission.c.id)).scalar_one()
    if valid.outcome != "skipped":
        connection.execute(update(item).where(item.c.id == row.item_id).values(done=item.c.done + 1))
    detail = {"submission": submission_id, "outcome": valid.outcome}
    record_event(connection, "submit", at=now, person_id=row.person_id, item_id=row.item_id, detail=detail)
    return int(submission_id)


def _take_back(connection: Connection, row: Row[Any], sent: Row[Any], config: ProjectConfig, now: float) -> None:
    decided = select(adjudication.c.id).where(adjudication.c.item_id == row.item_id)
    if connection.execute(decided).first() is not None:
        raise Refused("a reviewer has decided about this item, so it cannot be undone")
    skipped = sent.outcome == "skipped"
    if skipped and leases.lease_from(connection, row, config, now) is None:
        raise Refused("others have taken this item since you skipped it")
    connection.execute(update(submission).where(submission.c.id == sent.id).values(undone=now))
    if not skipped:
        connection.execute(update(item).where(item.c.id == row.item_id).values(done=item.c.done - 1))
    values = {"state": "open", "lease_until": now + config.lease_s, "version": row.version + 1}
    leases.change_assignment(connection, row.id, values | marks_values(sent))
    detail = {"submission": sent.id}
    record_event(connection, "undo", at=now, person_id=row.person_id, item_id=row.item_id, detail=detail)


def _active(row: Row[Any], active_s: float | None, now: float) -> float:
    """Seconds of work so far, as counted by the page; never fewer than before, nor more than since opening."""
    if active_s is None or not math.isfinite(active_s):
        return float(row.active_s)
    return max(float(row.active_s), min(active_s, now - float(row.opened)))


@dataclass(frozen=True, slots=True)
class Draft:
    """A draft of an edit that is not submitted. `standing` is never `done`."""

    assignment_id: int
    prompt: str
    text: str
    version: int
    standing: AssignmentStatus
    lease_until: float
    saved_at: float


def drafts(engine: Engine, person_id: int, *, now: float, limit: int = 200) -> list[Draft]:
    """List the person's unsubmitted drafts that differ from the response or have a reason, the latest first."""
    query = (
        leases.WITH_ITEM.where(
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
        return [
            Draft(
                assignment_id=row.id,
                prompt=instruction_of(row.prompt, row.meta),
                text=row.draft,
                version=row.version,
                standing=assignment_status(connection, row, config, now),
                lease_until=row.lease_until,
                saved_at=row.draft_saved,
            )
            for row in connection.execute(query).all()
        ]


def take_up(engine: Engine, person_id: int, assignment_id: int, *, now: float) -> Task:
    """Continue an assignment that was given back or whose lease ran out; an open one gets a new lease.

    Raises:
        Stale: if others have taken the place, or the item was submitted.
        NotFound, Forbidden
    """
    with writing(engine) as connection:
        row = leases.locked_assignment(connection, person_id, assignment_id)
        is_submitted = row.state in ("done", "skipped")
        lease_until = None if is_submitted else leases.lease_from(connection, row, read_project(connection), now)
        if lease_until is not None:
            leases.change_assignment(connection, row.id, {"state": "open", "lease_until": lease_until})
    task = task_of(engine, person_id, assignment_id, now=now)
    if lease_until is None:
        problem, reason = _SUBMITTED if is_submitted else ("others have taken this item; your text is kept", "taken")
        raise Stale(problem, text=task.draft, version=task.version, reason=reason)
    return task


@dataclass(frozen=True, slots=True)
class OwnProgress:
    """The number of items that a person has done, and about how many are left; other people may take some of those."""

    done: int
    left: int


def own_progress(engine: Engine, person_id: int) -> OwnProgress:
    """Count the items of a person. Gold items count like the others, so that the numbers do not reveal them."""
    with reading(engine) as connection:
        config = read_project(connection)
        open_items = ~IS_GOLD & (item.c.done < config.editors_per_item) & ~DECIDED & ~WITHDRAWN
        if config.known_answer_share:
            open_items |= IS_GOLD
        own = select(func.count()).select_from(assignment).where(assignment.c.person_id == person_id)
        done = connection.execute(own.where(assignment.c.state == "done")).scalar_one()
        total = connection.execute(select(func.count()).select_from(item).where(open_items)).scalar_one()
        finished = own.join(item).where(open_items, assignment.c.state.in_(("done", "skipped")))
        return OwnProgress(done, total - connection.execute(finished).scalar_one())
