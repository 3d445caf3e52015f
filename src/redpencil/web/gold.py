"""Gold items: how editors do on items whose right answer is known, without their knowledge."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, select

from redpencil.web.agreement import bits_changed, bits_expected, changes_of
from redpencil.web.project import CURRENT, IS_GOLD, read_project
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


def gold_scores(connection: Connection) -> list[GoldScore]:
    """Compute the scores of all editors who have done gold items, by name; skipped items do not count."""
    columns = (submission.c.id.label("submission_id"), submission.c.outcome, submission.c.edited)
    rows = connection.execute(
        select(person.c.id, person.c.name, item.c.id.label("item_id"), item.c.known_answer, *columns)
        .join_from(submission, item, submission.c.item_id == item.c.id)
        .join(person, submission.c.person_id == person.c.id)
        .where(CURRENT, IS_GOLD)
        .order_by(person.c.name, submission.c.id)
    ).all()
    edits = bits_changed(connection, (row.submission_id for row in rows if row.outcome == "edited"))
    known = bits_expected(connection, (row.item_id for row in rows if row.known_answer["outcome"] == "edited"))
    counts: defaultdict[tuple[int, str], Counter[str]] = defaultdict(Counter)
    for row in rows:
        compared = _compare(row, edits.get(row.submission_id), known.get(row.item_id))
        counts[row.id, row.name].update(compared)
    return [
        GoldScore(
            person_id=person_id,
            name=name,
            items=of_person["items"],
            outcome_right=of_person["outcome_right"],
            exact=of_person["exact"],
            precision=of_person["hit"] / of_person["changed"] if of_person["changed"] else None,
            recall=of_person["hit"] / of_person["expected"] if of_person["expected"] else None,
        )
        for (person_id, name), of_person in counts.items()
    ]


def gold_warnings(connection: Connection) -> tuple[str, ...]:
    """Warn if gold items are useless: they are never shown, or people can recognise them.

    They are recognisable if a larger share of them lacks a suggestion than of the other responses.
    """
    config = read_project(connection)
    counts = _count_suggestions(connection)
    gold, gold_with = counts.get(True, (0, 0))
    others, others_with = counts.get(False, (0, 0))
    warnings = []
    if gold and not config.known_answer_share:
        warnings.append(f"no editor gets the {gold:,} items with a known answer: known_answer_share is 0")
    if config.suggestions and gold and (gold - gold_with) * others > (others - others_with) * gold:
        warnings.append(
            f"{gold - gold_with:,} of {gold:,} items with a known answer have no suggestion, of the others "
            f"{others - others_with:,} of {others:,}: people could tell them apart"
        )
    return tuple(warnings)


def _count_suggestions(connection: Connection) -> dict[bool, tuple[int, int]]:
    """Count the gold and the other responses, and those of each that have a suggestion."""
    query = select(IS_GOLD, func.count(), func.count(item.c.suggestion)).where(item.c.kind == "edit")
    return {bool(gold): (total, suggested) for gold, total, suggested in connection.execute(query.group_by(IS_GOLD))}


def _compare(row: Row[*tuple[Any, ...]], edit: int | None, right_edit: int | None) -> dict[str, int]:
    """Compare a submission with the known answer; the edits are the changed words as bits, if there is an edit.

    Returns:
        Counts by name. Words count only if both have an outcome about words.
    """
    right = row.known_answer
    outcome_right = row.outcome == right["outcome"]
    exact = outcome_right and (row.outcome != "edited" or row.edited == right.get("edited"))
    counts = {"items": 1, "outcome_right": int(outcome_right), "exact": int(exact)}
    changed, expected = changes_of(row.outcome, edit), changes_of(right["outcome"], right_edit)
    if changed is None or expected is None:
        return counts
    hit = (changed & expected).bit_count()
    return counts | {"hit": hit, "changed": changed.bit_count(), "expected": expected.bit_count()}
