"""How editors did on items whose answer is known."""

from collections.abc import Callable

from sqlalchemy import Engine

from redpencil.records import Edit, EditOutcome, Response
from redpencil.web import items, work
from redpencil.web.database import reading, writing
from redpencil.web.gold import GoldScore, gold_scores, gold_warnings
from redpencil.web.project import ProjectConfig, write_project


def test_outcomes_and_words_are_scored(sqlite_engine: Engine, add_people: Callable[..., list[int]]) -> None:
    ada, ben = add_people(sqlite_engine, "Ada", "Ben")
    with writing(sqlite_engine) as connection:
        write_project(connection, ProjectConfig(editors_per_item=2, known_answer_share=1.0))
    original = "one two three four five"
    items.import_gold_items(
        sqlite_engine,
        [
            Edit("a", "a", original, "one 2 three 4 five"),
            Edit("b", "b", original, original, outcome=EditOutcome.UNCHANGED),
        ],
    )
    # Ada is right to the letter on a, and changes one word of b, which needs none: 3 changed, 2 of 2 wanted.
    # Ben changes one right and one wrong word of a, then says that b cannot be fixed: 2 changed, 1 of 2 wanted.
    answers = {
        ada: {"a": ("edited", "one 2 three 4 five"), "b": ("edited", "1 two three four five")},
        ben: {"a": ("edited", "one 2 three four 5"), "b": ("cannot_be_fixed", None)},
    }
    for person_id, of_person in answers.items():
        for _ in of_person:
            task = work.next_task(sqlite_engine, person_id, now=1.0)
            assert task is not None
            outcome, text = of_person[task.prompt]
            sent = work.Submission(outcome, text, "why", active_s=1.0)
            work.submit(sqlite_engine, person_id, task.assignment_id, task.version, sent, now=2.0)
    with reading(sqlite_engine) as connection:
        assert gold_scores(connection) == [
            GoldScore(ada, "Ada", items=2, outcome_right=1, exact=1, precision=2 / 3, recall=1.0),
            GoldScore(ben, "Ben", items=2, outcome_right=1, exact=0, precision=1 / 2, recall=1 / 2),
        ]


def test_nobody_is_scored_without_known_answers(
    sqlite_engine: Engine, add_people: Callable[..., list[int]], add_responses: Callable[..., None]
) -> None:
    add_responses(sqlite_engine, 1)
    (ada,) = add_people(sqlite_engine, "Ada")
    task = work.next_task(sqlite_engine, ada, now=1.0)
    assert task is not None
    work.submit(sqlite_engine, ada, task.assignment_id, task.version, work.Submission("no_edit_needed"), now=2.0)
    with reading(sqlite_engine) as connection:
        assert gold_scores(connection) == []


def test_a_known_item_shows_a_suggestion_as_others_do(
    sqlite_engine: Engine, add_people: Callable[..., list[int]]
) -> None:
    (ada,) = add_people(sqlite_engine, "Ada")
    with writing(sqlite_engine) as connection:
        write_project(connection, ProjectConfig(known_answer_share=1.0))
    edits = [
        Edit("a", "?", "one two", "1 two", meta={"suggestion": "of its own"}),
        Edit("b", "?", "one two", "1 two", meta={"suggestion": "of its own"}),
        Edit("c", "?", "one two", "1 two", meta={"suggestion": 7}),
    ]
    items.import_gold_items(sqlite_engine, edits, {"b": "of the LLM"})
    shown = []
    for _ in edits:
        task = work.next_task(sqlite_engine, ada, now=1.0)
        assert task is not None
        shown.append(task.suggestion)
        work.submit(sqlite_engine, ada, task.assignment_id, task.version, work.Submission("no_edit_needed"), now=2.0)
    assert shown == ["of its own", "of the LLM", None]


def warnings(engine: Engine, **project: object) -> tuple[str, ...]:
    with writing(engine) as connection:
        write_project(connection, ProjectConfig(**project))
        return gold_warnings(connection)


def test_known_items_that_stand_out_or_are_never_shown_are_told(sqlite_engine: Engine) -> None:
    assert warnings(sqlite_engine) == ()
    rows = [Response(f"r{n}", "?", "one two") for n in range(4)]
    items.import_responses(sqlite_engine, rows, {"r0": "1", "r1": "1"})
    assert warnings(sqlite_engine) == ()
    known = [Edit(f"k{n}", "?", "one two", "1 two") for n in range(2)]
    items.import_gold_items(sqlite_engine, known)
    hidden = "no editor gets the 2 items with a known answer: known_answer_share is 0"
    alone = "2 of 2 items with a known answer have no suggestion, of the others 2 of 4: people could tell them apart"
    assert warnings(sqlite_engine) == (hidden, alone)
    assert warnings(sqlite_engine, known_answer_share=0.1) == (alone,)
    assert warnings(sqlite_engine, known_answer_share=0.1, suggestions=False) == ()
    items.import_gold_items(sqlite_engine, known, {"k0": "1"})  # half of them, as of the others
    assert warnings(sqlite_engine, known_answer_share=0.1) == ()
