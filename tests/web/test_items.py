"""Items go in and edits come out, while people work."""

import json
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, delete, func, insert, select
from starlette.testclient import TestClient

from redpencil.alignment.ends import finished_sides
from redpencil.errors import RedpencilError
from redpencil.records import (
    Comparison,
    Edit,
    EditOutcome,
    Preference,
    Response,
    instruction_of,
    read_jsonl,
    write_jsonl,
)
from redpencil.web import leases, work
from redpencil.web.app import create_app
from redpencil.web.auth import add_person
from redpencil.web.database import open_database, reading, writing
from redpencil.web.items import (
    LARGEST_IMPORTED,
    LONGEST_IMPORTED,
    ExportCount,
    ImportCount,
    RefusedRow,
    count_exports,
    export_comparisons,
    export_edits,
    import_comparisons,
    import_gold_items,
    import_responses,
    matching,
    paired,
    read_suggestions,
    too_long,
)
from redpencil.web.project import LONGEST_REASON, LONGEST_TEXT, ProjectConfig, write_project
from redpencil.web.schema import adjudication, item
from redpencil.web.security import BODY_LIMIT
from redpencil.web.work import Submission

People = Callable[..., list[int]]


def everything(engine: Engine) -> list[Any]:
    with reading(engine) as connection:
        return list(connection.execute(select(item).order_by(item.c.position)).all())


def hand_in(engine: Engine, person: int, given: Submission, now: float = 0.0) -> work.Submitted:
    task = work.next_task(engine, person, now=now)
    assert task is not None
    return work.submit(engine, person, task.assignment_id, task.version, given, now=now + 10)


def edits_of(engine: Engine) -> list[Edit]:
    with reading(engine) as connection:
        return list(export_edits(connection))


def comparisons_of(engine: Engine) -> list[Comparison]:
    with reading(engine) as connection:
        return list(export_comparisons(connection))


def test_an_import_can_be_repeated_and_grow(engine: Engine) -> None:
    rows = [Response(f"r{n}", "Q", f"Answer {n}") for n in range(1203)]
    assert import_responses(engine, rows[:1100]) == ImportCount(added=1100)
    assert import_responses(engine, iter(rows)) == ImportCount(added=103, known=1100)
    assert [row.external_id for row in everything(engine)] == [row.id for row in rows]
    assert [row.position for row in everything(engine)] == list(range(1203))


def test_a_changed_text_is_counted_and_never_overwritten(engine: Engine) -> None:
    import_responses(engine, [Response("a", "Q", "Old"), Response("b", "Q", "Same")])
    rows = [
        Response("a", "Q", "New"),
        Response("a", "Q?", "Old"),
        Response("b", "Q", "Same"),
        Response("c", "Q", " \n"),
    ]
    assert import_responses(engine, rows) == ImportCount(known=1, changed=2, empty=1)
    assert [(row.external_id, row.response) for row in everything(engine)] == [("a", "Old"), ("b", "Same")]


def test_an_id_that_stands_twice_in_one_file_gives_one_item(engine: Engine) -> None:
    rows = [Response("a", "Q", "One"), Response("a", "Q", "One"), Response("a", "Q", "Two")]
    assert import_responses(engine, rows) == ImportCount(added=1, known=1, changed=1)


def test_suggestions_come_with_the_responses_or_later(engine: Engine) -> None:
    rows = [Response("a", "Q", "One"), Response("b", "Q", "Two")]
    import_responses(engine, rows, {"a": "One!"})
    import_responses(engine, rows, {"a": "Another", "b": "Two!"})
    assert [row.suggestion for row in everything(engine)] == ["One!", "Two!"]


def test_imports_at_once_give_every_item_one_place(engine: Engine) -> None:
    rows = [Response(f"r{n}", "Q", f"Answer {n}") for n in range(600)]
    counts: list[ImportCount] = []
    threads = [threading.Thread(target=lambda: counts.append(import_responses(engine, rows))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(count.added for count in counts) == 600
    assert sum(count.known for count in counts) == 1800
    assert sorted(row.position for row in everything(engine)) == list(range(600))


def test_people_work_while_a_long_file_is_imported(engine: Engine, add_people: People) -> None:
    (ada,) = add_people(engine, "Ada")

    def rows() -> Any:
        for n in range(1500):
            if n == 1400:  # two batches are in, the third is being read
                hand_in(engine, ada, Submission("no_edit_needed"))
            yield Response(f"r{n}", "Q", f"Answer {n}")

    assert import_responses(engine, rows()) == ImportCount(added=1500)
    assert [edit.id for edit in edits_of(engine)] == ["r0"]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (Response("a", "Q", "a\0b"), "a NUL character at character 1 of response"),
        (Response("a", "Q\ud800", "b"), "half of a surrogate pair"),
        (Response("a\0", "Q", "b"), "of id"),
        (Response("a" * 501, "Q", "b"), "more than 500 characters"),
        (Response("a", "Q", "b", meta={"score": float("nan")}), "JSON cannot represent"),
    ],
)
def test_rows_that_no_database_holds_are_named(engine: Engine, row: Response, problem: str) -> None:
    with pytest.raises(RedpencilError, match=problem):
        import_responses(engine, [row])
    assert everything(engine) == []


def test_a_prompt_that_ends_with_its_input_is_shown_without_it(engine: Engine, add_people: People) -> None:
    (ada,) = add_people(engine, "Ada")
    meta = {"instruction": "Sum it up.", "input": "A long story."}
    import_responses(engine, [Response("a", "Sum it up.\n\nA long story.", "A story.", meta=meta)])
    task = work.next_task(engine, ada, now=0.0)
    assert task is not None
    assert (task.prompt, task.context) == ("Sum it up.", "A long story.")
    work.submit(engine, ada, task.assignment_id, 0, Submission("no_edit_needed"), now=1.0)
    assert edits_of(engine)[0].prompt == "Sum it up.\n\nA long story."
    assert instruction_of("Sum it up.", meta) == "Sum it up."
    assert instruction_of("Other\n\nA long story.", meta) == "Other\n\nA long story."
    assert instruction_of("Sum it up.\n\n", {"instruction": "Sum it up.", "input": ""}) == "Sum it up.\n\n"


def test_the_export_holds_what_people_said_and_what_the_response_had(
    engine: Engine, add_people: People, tmp_path: Path
) -> None:
    (ada,) = add_people(engine, "Ada")
    with writing(engine) as connection:
        write_project(connection, ProjectConfig())
    text = "\tif x:\n\t\tprint('🖍️')\n\nBye"
    rows = [
        Response("a", "Q", text, model="policy", finished=False, meta={"topic": "code"}),
        *(Response(name, "Q", "One two three four") for name in "bcd"),
    ]
    import_responses(engine, rows)
    tags = [{"start": 0, "end": 4, "tag": "unclear"}]
    hand_in(engine, ada, Submission("edited", text.replace("Bye", "Good bye"), "politer", tags, active_s=5.04))
    hand_in(engine, ada, Submission("no_edit_needed"))
    hand_in(engine, ada, Submission("cannot_be_fixed", "half a try", "nonsense"))
    hand_in(engine, ada, Submission("skipped"))
    first, second, third = edits_of(engine)
    assert first == Edit(
        "a",
        "Q",
        text,
        text.replace("Bye", "Good bye"),
        editor="Ada",
        outcome=EditOutcome.EDITED,
        meta={
            "topic": "code",
            "model": "policy",
            "finished": False,
            "kept": first.meta["kept"],
            "annotation": {"outcome": "edited", "reason": "politer", "tags": tags, "seconds": 5.0, "distance": 5 + 10},
        },
    )
    assert 0.8 < first.meta["kept"] < 1
    assert (second.outcome, second.edited, second.meta["kept"]) == (EditOutcome.UNCHANGED, second.original, 1.0)
    assert (third.outcome, third.edited) == (EditOutcome.REFUSED, third.original)
    assert third.meta["annotation"]["reason"] == "nonsense"
    with reading(engine) as connection:
        assert count_exports(connection) == ExportCount(3, 0, skipped=1, known_answers=0, adjudicated=0)
    write_jsonl(tmp_path / "edits.jsonl", edits_of(engine))
    assert list(read_jsonl(tmp_path / "edits.jsonl", Edit)) == [first, second, third]


def test_what_the_response_brought_along_is_not_taken_for_what_is_told_of_the_edit(
    engine: Engine, add_people: People
) -> None:
    (ada,) = add_people(engine, "Ada")
    own = {"kept": "k", "annotation": "a", "model": "m", "finished": "f", "topic": "code"}
    import_responses(engine, [Response("a", "Q", "One two", model="policy", finished=False, meta=own)])
    hand_in(engine, ada, Submission("no_edit_needed"))
    (edit,) = edits_of(engine)
    told = {"kept": 1.0, "annotation": edit.meta["annotation"], "model": "policy", "finished": False}
    assert edit.meta["annotation"]["outcome"] == "no_edit_needed"
    assert edit.meta == told | {f"response_{name}": own[name] for name in told} | {"topic": "code"}
    sides = [Response("b", "Q", side, model=side, meta={"annotation": "a", "first_model": "m"}) for side in ("1", "2")]
    import_comparisons(engine, sides[:1], sides[1:])
    hand_in(engine, ada, Submission("tie"))
    (row,) = comparisons_of(engine)
    assert (row.meta["first_model"], row.meta["annotation"]["reason"]) == ("1", "")
    assert (row.meta["response_first_model"], row.meta["response_annotation"]) == ("m", "a")


def test_several_editors_give_several_rows_unless_a_reviewer_decided(
    engine: Engine, add_people: People, add_responses: Callable[..., None]
) -> None:
    add_responses(engine, 2, editors_per_item=2)
    ada, ben = add_people(engine, "Ada", "Ben")
    for _ in range(2):
        hand_in(engine, ada, Submission("edited", "Adas text"))
        hand_in(engine, ben, Submission("edited", "Bens text"))
    first = everything(engine)[0]
    with writing(engine) as connection:
        connection.execute(
            insert(adjudication).values(
                item_id=first.id,
                person_id=ben,
                outcome="edited",
                edited="The answer to it is here",
                reason="both",
                merged_from=[1, 2],
                decided=1.0,
                version=1,
            )
        )
    found = edits_of(engine)
    assert [(edit.id, edit.editor, edit.edited) for edit in found] == [
        ("r0", "Ben", "The answer to it is here"),
        ("r1", "Ada", "Adas text"),
        ("r1", "Ben", "Bens text"),
    ]
    decided = {"outcome": "edited", "reason": "both", "distance": 2 + 5, "adjudicated": True}
    assert found[0].meta["annotation"] == decided
    assert found[0].meta["kept"] == pytest.approx(5 / 6, abs=1e-4)


def test_what_was_undone_is_not_exported(
    engine: Engine, add_people: People, add_responses: Callable[..., None]
) -> None:
    add_responses(engine, 1)
    (ada,) = add_people(engine, "Ada")
    done = hand_in(engine, ada, Submission("edited", "First"))
    work.undo(engine, ada, done.submission_id, now=20.0)
    assert edits_of(engine) == []
    hand_in(engine, ada, Submission("edited", "Second"), now=30.0)
    assert [edit.edited for edit in edits_of(engine)] == ["Second"]


def test_known_answers_are_not_exported(engine: Engine, add_people: People) -> None:
    (ada,) = add_people(engine, "Ada")
    with writing(engine) as connection:
        write_project(connection, ProjectConfig(known_answer_share=1.0))
    rows = [
        Edit("a", "Q", "One", "Uno"),
        Edit("b", "Q", "Two", "Two", outcome=EditOutcome.UNCHANGED),
        Edit("c", "Q", "Three", "Three", outcome=EditOutcome.REFUSED),
    ]
    assert import_gold_items(engine, rows) == ImportCount(added=3)
    assert [row.known_answer for row in everything(engine)] == [
        {"outcome": "edited", "edited": "Uno"},
        {"outcome": "no_edit_needed", "edited": None},
        {"outcome": "cannot_be_fixed", "edited": None},
    ]
    hand_in(engine, ada, Submission("edited", "Uno"))
    assert edits_of(engine) == []
    with reading(engine) as connection:
        assert count_exports(connection).known_answers == 1


def test_a_known_answer_must_not_turn_work_into_a_test(engine: Engine, add_people: People) -> None:
    (ada,) = add_people(engine, "Ada")
    import_responses(engine, [Response("a", "Q", "One"), Response("b", "Q", "Two")])
    work.next_task(engine, ada, now=0.0)
    rows = [Edit("a", "Q", "One", "Uno"), Edit("b", "Q", "Two", "Due")]
    assert import_gold_items(engine, rows) == ImportCount(known=1, changed=1)
    assert [row.known_answer for row in everything(engine)] == [None, {"outcome": "edited", "edited": "Due"}]
    assert import_gold_items(engine, [Edit("b", "Q", "Two", "Zwei")]) == ImportCount(changed=1)
    assert import_gold_items(engine, rows[1:]) == ImportCount(known=1)
    assert import_responses(engine, [Response("b", "Q", "Two")]) == ImportCount(known=1)


def test_a_known_answer_that_nobody_could_give_is_refused(engine: Engine) -> None:
    with pytest.raises(RedpencilError, match="'truncated', which people cannot choose"):
        import_gold_items(engine, [Edit("a", "Q", "One", "One", outcome=EditOutcome.TRUNCATED)])
    with pytest.raises(RedpencilError, match="a NUL character at character 1 of known answer"):
        import_gold_items(engine, [Edit("a", "Q", "One", "1\0")])
    assert everything(engine) == []


def test_an_item_that_somebody_is_just_taking_does_not_become_a_known_answer(
    postgres_url: str, add_people: People, add_responses: Callable[..., None]
) -> None:
    engine = open_database(postgres_url)
    add_responses(engine, 1)
    (ada,) = add_people(engine, "Ada")
    known = Edit("r0", "Question 0?", "The answer to it is 0", "", outcome=EditOutcome.UNCHANGED)
    counts: list[ImportCount] = []
    importing = threading.Thread(target=lambda: counts.append(import_gold_items(engine, [known])))
    with writing(engine) as connection:
        found = leases.find_item(connection, ada, ProjectConfig(), 0.0)
        assert found is not None
        importing.start()
        importing.join(timeout=0.5)
        assert importing.is_alive()
        assert leases.take(connection, ada, found, ProjectConfig(), 0.0) is not None
    importing.join()
    assert counts == [ImportCount(changed=1)]
    assert [row.known_answer for row in everything(engine)] == [None]
    engine.dispose()


def test_comparisons_are_blind_and_come_out_as_they_went_in(engine: Engine, add_people: People) -> None:
    (ada,) = add_people(engine, "Ada")
    first = [Response(f"p{n}", f"Q{n}", f"first {n}", model="old") for n in range(40)]
    second = [Response(f"p{n}", f"Q{n}", f"second {n}", model="new") for n in reversed(range(40))]
    assert import_comparisons(engine, first, second) == ImportCount(added=40)
    assert import_comparisons(engine, first, second) == ImportCount(known=40)
    shown_first = 0
    for _ in range(40):
        task = work.next_task(engine, ada, now=0.0)
        assert task is not None
        shown_first += task.response.startswith("first")
        choice = "first" if task.response.startswith("second") else "second"  # always for the second file
        work.submit(engine, ada, task.assignment_id, 0, Submission(choice, reason="nicer"), now=1.0)
    assert 1 <= shown_first <= 39
    found = comparisons_of(engine)
    assert len(found) == 40
    for n, row in enumerate(found):
        assert (row.id, row.first, row.second) == (f"p{n}", f"first {n}", f"second {n}")
        assert (row.preference, row.annotator) == (Preference.SECOND, "Ada")
        assert (row.meta["first_model"], row.meta["second_model"]) == ("old", "new")
        assert row.meta["annotation"]["reason"] == "nicer"
    assert {row.meta["annotation"]["shown_first"] for row in found} == {"first", "second"}


def test_a_comparison_keeps_which_side_was_cut_off(engine: Engine, add_people: People) -> None:
    (ada,) = add_people(engine, "Ada")
    ends = [(first, second) for first in (True, False) for second in (True, False)] * 6
    first = [Response(f"a{n}", f"Q{n}", "one", finished=end) for n, (end, _) in enumerate(ends)]
    second = [Response(f"b{n}", f"Q{n}", "two", finished=end) for n, (_, end) in enumerate(ends)]
    assert import_comparisons(engine, first, second) == ImportCount(added=24, by_prompt=24)
    for _ in ends:
        hand_in(engine, ada, Submission("first"))
    found = comparisons_of(engine)
    assert [row.id for row in found] == [row.id for row in first]
    assert [finished_sides(row) for row in found] == ends
    assert {row.meta["annotation"]["shown_first"] for row in found} == {"first", "second"}


def test_which_side_is_a_cannot_be_worked_out_and_a_file_can_be_added_again(engine: Engine) -> None:
    def pairs(name: str) -> tuple[list[Response], list[Response]]:
        return [Response(f"{name}{n}", "Q", "one") for n in range(64)], [
            Response(f"{name}{n}", "Q", "two") for n in range(64)
        ]

    import_comparisons(engine, *pairs("p"))
    sides = [row.swapped for row in everything(engine)]
    with writing(engine) as connection:
        connection.execute(delete(item))
    import_comparisons(engine, *pairs("p"))
    drawn = [row.swapped for row in everything(engine)]
    assert drawn != sides  # the same 64 once more would be one chance in 2^64
    assert 8 <= sum(drawn) <= 56
    assert [row.response for row in everything(engine)] == ["two" if side else "one" for side in drawn]
    assert import_comparisons(engine, *pairs("p")) == ImportCount(known=64)
    assert import_comparisons(engine, *reversed(pairs("p"))) == ImportCount(changed=64)
    assert [row.swapped for row in everything(engine)] == drawn


def test_a_tie_stays_a_tie_and_one_id_can_be_edited_and_compared(engine: Engine, add_people: People) -> None:
    (ada,) = add_people(engine, "Ada")
    import_responses(engine, [Response("a", "Q", "One")])
    import_comparisons(engine, [Response("a", "Q", "One")], [Response("a", "Q", "")])
    hand_in(engine, ada, Submission("no_edit_needed"))
    hand_in(engine, ada, Submission("tie"))
    assert len(edits_of(engine)) == 1
    assert [row.preference for row in comparisons_of(engine)] == [Preference.TIE]
    with reading(engine) as connection:
        assert count_exports(connection) == ExportCount(1, 1, skipped=0, known_answers=0, adjudicated=0)


@pytest.mark.parametrize(
    ("first", "second", "problem"),
    [
        (["a", "b"], ["a"], "no response of the second file has the id 'b' or its prompt .1 of 2 missing"),
        (["a"], ["a", "b", "c"], "no response of the first file has the id 'b' or its prompt .2 of 3 missing"),
        (["a", "a"], ["a"], "more than one response of the first file has the id 'a'"),
    ],
)
def test_files_that_do_not_pair_are_refused_whole(
    engine: Engine, first: list[str], second: list[str], problem: str
) -> None:
    with pytest.raises(RedpencilError, match=problem):
        import_comparisons(engine, [Response(i, "Q", "1") for i in first], [Response(i, "Q", "2") for i in second])
    with reading(engine) as connection:
        assert connection.execute(select(func.count()).select_from(item)).scalar_one() == 0


def test_pairs_with_different_prompts_are_refused(engine: Engine) -> None:
    with pytest.raises(RedpencilError, match="different prompts under the id 'a'"):
        import_comparisons(engine, [Response("a", "Q", "1")], [Response("a", "Q!", "2")])


SMILE, BELL = "\U0001f600", "\x07"
"""Twelve and six bytes in JSON of ASCII; of four bytes and one in UTF-8."""


def test_an_import_takes_less_than_a_request() -> None:
    assert 0 < LONGEST_IMPORTED < LONGEST_TEXT
    assert 0 < LARGEST_IMPORTED < BODY_LIMIT


@pytest.mark.parametrize(("letter", "size"), [("a", 1), ('"', 2), ("\n", 2), ("é", 6), (BELL, 6), (SMILE, 12)])
def test_the_limit_counts_characters_and_bytes_in_their_longest_form(letter: str, size: int) -> None:
    assert len(json.dumps(letter)) == size + 2
    most = min(LONGEST_IMPORTED, (LARGEST_IMPORTED - 2) // size)
    assert too_long(letter * most) is None
    assert too_long(letter * (most + 1)) is not None


@pytest.mark.parametrize("letter", ["a", BELL, SMILE])
def test_whatever_is_imported_can_be_edited_and_handed_in(sqlite_engine: Engine, letter: str) -> None:
    """By a client that escapes all it can, with a reason as long as it may be."""
    most = min(LONGEST_IMPORTED, (LARGEST_IMPORTED - 2) // (len(json.dumps(letter)) - 2))
    rows = [Response("fits", "Q", letter * most), Response("long", "Q", letter * (most + 1))]
    count = import_responses(sqlite_engine, rows)
    assert (count.added, [row.id for row in count.refused]) == (1, ["long"])
    client = TestClient(create_app(sqlite_engine), follow_redirects=False)
    client.post(f"/join/{add_person(sqlite_engine, 'Ann')}")
    client.headers["X-CSRF-Token"] = client.get("/api/me").json()["csrf"]
    client.headers["Content-Type"] = "application/json"
    task = client.post("/api/next").json()
    path = f"/api/assignments/{task['assignment_id']}"
    edited = "An edit " + task["response"]
    draft = {"text": edited, "version": task["version"], "active_s": 1}
    saved = client.put(f"{path}/draft", content=json.dumps(draft))
    assert saved.status_code == 200
    sent = {"text": edited, "version": saved.json()["version"], "outcome": "edited", "reason": SMILE * LONGEST_REASON}
    assert client.post(f"{path}/submit", content=json.dumps(sent)).status_code == 200


def test_a_row_that_is_refused_is_named_and_the_others_go_in(sqlite_engine: Engine) -> None:
    long = "x" * (LONGEST_IMPORTED + 1)
    rows = [Response("a", "Q", "words"), Response("b", "Q", long), Response("c", "Q", "words")]
    count = import_responses(sqlite_engine, rows, {"c": BELL * LONGEST_IMPORTED})
    # Bells: 1,500,000 times six bytes and two quotation marks.
    assert count.refused == (
        RefusedRow("b", "its response has 1,500,001 characters, of which 1,500,000 are allowed"),
        RefusedRow("c", "its suggestion has 9,000,002 bytes as JSON, of which 3,145,728 are allowed"),
    )
    (known,) = import_gold_items(sqlite_engine, [Edit("k", "Q", "words", long)]).refused
    assert (known.id, known.problem.split(" has ")[0]) == ("k", "its known answer")
    with reading(sqlite_engine) as connection:
        assert connection.scalars(select(item.c.external_id)).all() == ["a"]


def test_comparisons_send_no_text_back(sqlite_engine: Engine) -> None:
    sides = [[Response("a", "Q", letter * (LONGEST_IMPORTED + 1))] for letter in "xy"]
    assert import_comparisons(sqlite_engine, *sides).added == 1


def test_an_upload_lists_what_it_refuses(sqlite_engine: Engine) -> None:
    with writing(sqlite_engine) as connection:
        write_project(connection, ProjectConfig())
    client = TestClient(create_app(sqlite_engine), follow_redirects=False)
    client.post(f"/join/{add_person(sqlite_engine, 'Ada', 'admin')}")
    client.headers["X-CSRF-Token"] = client.get("/api/me").json()["csrf"]
    row = {"id": "b", "prompt": "Q", "response": "x" * (LONGEST_IMPORTED + 1)}
    answer = client.post("/api/import", content=json.dumps(row).encode()).json()
    assert (answer["added"], [each["id"] for each in answer["refused"]]) == (0, ["b"])
    assert "1,500,000" in answer["refused"][0]["problem"]
    assert client.get("/api/events").json()[0]["detail"]["refused"] == ["b"]


FILES = ("a.jsonl", "b.jsonl")


def rows(ids: str, text: str, prompt: str = "Q") -> list[Response]:
    return [Response(one, prompt, text) for one in ids]


def test_pairs_come_in_the_order_of_the_first_file() -> None:
    found = paired(rows("xyz", "1"), rows("zxy", "2"), FILES)
    assert [(one.id, other.id, one.response, other.response) for one, other in found] == [
        (each, each, "1", "2") for each in "xyz"
    ]


def test_the_file_that_is_told_of_is_the_one_to_be_cut() -> None:
    with pytest.raises(
        RedpencilError, match=r"no response of a.jsonl has the id 'x' or its prompt .2 of 3 missing"
    ) as caught:
        paired(rows("z", "1"), rows("zxy", "2"), FILES)
    assert caught.value.file == "b.jsonl"
    with pytest.raises(RedpencilError, match="different prompts under the id 'z'") as caught:
        paired(rows("z", "1"), rows("z", "2", "Q!"), FILES)
    assert caught.value.file == "a.jsonl"


def test_only_what_changes_something_is_a_suggestion(tmp_path: Path) -> None:
    rows = [Edit("a", "Q", "one", "1"), Edit("b", "Q", "two", "two", outcome=EditOutcome.UNCHANGED)]
    write_jsonl(tmp_path / "s.jsonl", rows)
    assert read_suggestions(tmp_path / "s.jsonl") == {"a": rows[0]}


def test_a_suggestion_belongs_to_the_very_words_that_it_edits() -> None:
    edits = {name: Edit(name, "Q", "one", "1") for name in "abc"}
    texts: dict[str, str] = {}
    responses = [Response("a", "Q", "one"), Response("b", "Q", "One"), Response("d", "Q", "one")]
    seen = [(row.id, dict(texts)) for row in matching(responses, edits, texts)]
    assert seen == [("a", {"a": "1"}), ("b", {"a": "1"}), ("d", {"a": "1"})]  # there when its row comes
    assert list(matching([Edit("c", "Q", "one", "uno")], edits, texts))
    assert texts == {"a": "1", "c": "1"}
