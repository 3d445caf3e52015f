"""Known-answer items: how each editor did where the right answer is known, and nobody was told that it is."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from redpencil.web.agreement import Judgement, changes_of
from redpencil.web.project import CURRENT, read_project
from redpencil.web.schema import item, person, submission


@dataclass(frozen=True, slots=True)
class KnownScore:
    """One editor on the known-answer items that they have done.

    Args:
        person_id: who.
        name: of the editor.
        items: known-answer items done.
        outcome_right: how many of them have the right outcome or preference.
        exact: how many are right to the letter: the outcome and, where it is an edit, the text.
        precision: of the words that the editor changed, the share that should have been changed; None without any.
        recall: of the words that should have been changed, the share that the editor changed; None without any.
    """

    person_id: int
    name: str
    items: int
    outcome_right: int
    exact: int
    precision: float | None
    recall: float | None


@dataclass(frozen=True, slots=True)
class _Answer:
    """One submission beside the known answer. Words are counted where both sides say something of words."""

    outcome_right: bool
    exact: bool
    hit: int = 0
    changed: int = 0
    wanted: int = 0


def known_scores(connection: Connection) -> list[KnownScore]:
    """The scores of all editors who have done known-answer items, by name; skipped items do not count."""
    rows = connection.execute(
        select(
            person.c.id,
            person.c.name,
            item.c.kind,
            item.c.response,
            item.c.known_answer,
            submission.c.outcome,
            submission.c.edited,
            submission.c.submitted,
        )
        .join_from(submission, item, submission.c.item_id == item.c.id)
        .join(person, submission.c.person_id == person.c.id)
        .where(CURRENT, item.c.known_answer.is_not(None))
        .order_by(person.c.name, submission.c.id)
    )
    answers: defaultdict[tuple[int, str], list[_Answer]] = defaultdict(list)
    for row in rows:
        right = Judgement("", row.known_answer["outcome"], row.known_answer.get("edited"), row.submitted)
        given = Judgement(row.name, row.outcome, row.edited, row.submitted)
        answers[row.id, row.name].append(_compare(row.kind, row.response, given, right))
    return [_score(person_id, name, of_person) for (person_id, name), of_person in answers.items()]


def known_warnings(connection: Connection) -> tuple[str, ...]:
    """What keeps known-answer items from doing their work: nobody gets them, or people can tell them from the others.

    They stand out where more of them lack a suggestion than of the other responses.
    """
    config = read_project(connection)
    known, known_with = _suggested(connection, known=True)
    others, others_with = _suggested(connection, known=False)
    warnings = []
    if known and not config.known_answer_share:
        warnings.append(f"nobody gets the {known:,} items with a known answer: known_answer_share is 0")
    if config.suggestions and known and (known - known_with) * others > (others - others_with) * known:
        warnings.append(
            f"{known - known_with:,} of {known:,} items with a known answer have no suggestion, of the others "
            f"{others - others_with:,} of {others:,}: people could tell them apart"
        )
    return tuple(warnings)


def _suggested(connection: Connection, *, known: bool) -> tuple[int, int]:
    """How many responses there are with or without a known answer, and how many of them have a suggestion."""
    which = item.c.known_answer.is_not(None) if known else item.c.known_answer.is_(None)
    query = select(func.count(), func.count(item.c.suggestion)).where(item.c.kind == "edit", which)
    every, suggested = connection.execute(query).one()
    return int(every), int(suggested)


def _compare(kind: str, original: str, given: Judgement, right: Judgement) -> _Answer:
    outcome_right = given.outcome == right.outcome
    exact = outcome_right and (given.outcome != "edited" or given.edited == right.edited)
    if kind == "compare":
        return _Answer(outcome_right, exact)
    changed, wanted = changes_of(original, given), changes_of(original, right)
    if changed is None or wanted is None:
        return _Answer(outcome_right, exact)
    return _Answer(outcome_right, exact, len(changed & wanted), len(changed), len(wanted))


def _score(person_id: int, name: str, answers: Iterable[_Answer]) -> KnownScore:
    answers = list(answers)
    hit, changed, wanted = (sum(getattr(answer, each) for answer in answers) for each in ("hit", "changed", "wanted"))
    return KnownScore(
        person_id=person_id,
        name=name,
        items=len(answers),
        outcome_right=sum(answer.outcome_right for answer in answers),
        exact=sum(answer.exact for answer in answers),
        precision=hit / changed if changed else None,
        recall=hit / wanted if wanted else None,
    )
