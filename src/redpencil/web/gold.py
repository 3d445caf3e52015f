"""Gold items: how editors do on items whose right answer is known, without their knowledge."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from redpencil.web.agreement import Judgement, changes_of
from redpencil.web.project import CURRENT, read_project
from redpencil.web.schema import item, person, submission


@dataclass(frozen=True, slots=True)
class GoldScore:
    """The scores of one editor on gold items.

    Args:
        person_id: id of the editor.
        name: name of the editor.
        items: number of gold items done.
        outcome_right: number of those with the right outcome or preference.
        exact: number of those that match exactly: the outcome and, for an edit, the text.
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
    """The comparison of one submission with the known answer. Words count only if both have an outcome about words."""

    outcome_right: bool
    exact: bool
    hit: int = 0
    changed: int = 0
    expected: int = 0


def gold_scores(connection: Connection) -> list[GoldScore]:
    """Compute the scores of all editors who have done gold items, by name; skipped items do not count."""
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
        submitted = Judgement(row.name, row.outcome, row.edited, row.submitted)
        answers[row.id, row.name].append(_compare(row.kind, row.response, submitted, right))
    return [_score(person_id, name, of_person) for (person_id, name), of_person in answers.items()]


def gold_warnings(connection: Connection) -> tuple[str, ...]:
    """Warn if gold items are useless: they are never shown, or people can recognise them.

    They are recognisable if a larger share of them lacks a suggestion than of the other responses.
    """
    config = read_project(connection)
    gold, gold_with = _count_suggestions(connection, gold=True)
    others, others_with = _count_suggestions(connection, gold=False)
    warnings = []
    if gold and not config.known_answer_share:
        warnings.append(f"no editor gets the {gold:,} items with a known answer: known_answer_share is 0")
    if config.suggestions and gold and (gold - gold_with) * others > (others - others_with) * gold:
        warnings.append(
            f"{gold - gold_with:,} of {gold:,} items with a known answer have no suggestion, of the others "
            f"{others - others_with:,} of {others:,}: people could tell them apart"
        )
    return tuple(warnings)


def _count_suggestions(connection: Connection, *, gold: bool) -> tuple[int, int]:
    """Count the gold or the other responses, and those of them that have a suggestion."""
    which = item.c.known_answer.is_not(None) if gold else item.c.known_answer.is_(None)
    query = select(func.count(), func.count(item.c.suggestion)).where(item.c.kind == "edit", which)
    total, suggested = connection.execute(query).one()
    return int(total), int(suggested)


def _compare(kind: str, original: str, submitted: Judgement, right: Judgement) -> _Answer:
    outcome_right = submitted.outcome == right.outcome
    exact = outcome_right and (submitted.outcome != "edited" or submitted.edited == right.edited)
    if kind == "compare":
        return _Answer(outcome_right, exact)
    changed, expected = changes_of(original, submitted), changes_of(original, right)
    if changed is None or expected is None:
        return _Answer(outcome_right, exact)
    return _Answer(outcome_right, exact, len(changed & expected), len(changed), len(expected))


def _score(person_id: int, name: str, answers: Sequence[_Answer]) -> GoldScore:
    hit = sum(answer.hit for answer in answers)
    changed = sum(answer.changed for answer in answers)
    expected = sum(answer.expected for answer in answers)
    return GoldScore(
        person_id=person_id,
        name=name,
        items=len(answers),
        outcome_right=sum(answer.outcome_right for answer in answers),
        exact=sum(answer.exact for answer in answers),
        precision=hit / changed if changed else None,
        recall=hit / expected if expected else None,
    )
