"""The numbers of the dashboard against a small project worked out by hand, and its pages."""

import time
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree

import pytest
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from redpencil.records import Edit, Response
from redpencil.web import work
from redpencil.web.agreement import Agreement, Alpha, Measures, Period
from redpencil.web.app import create_app
from redpencil.web.auth import add_person, list_people, revoke
from redpencil.web.dashboard import (
    DAY_S,
    HOUR_S,
    Pace,
    PreferenceCount,
    Progress,
    _agreement,
    preference_counts,
    progress,
)
from redpencil.web.database import open_database, reading, writing
from redpencil.web.items import import_comparisons, import_gold_items
from redpencil.web.project import ProjectConfig, write_project
from redpencil.web.review import decide
from redpencil.web.schema import item

NOW = 20 * DAY_S + 10.5 * HOUR_S
HOSTILE = '</script><img src=x onerror="alert(1)">'

Hand = Callable[[int, str, str | None, float, float], int]


@pytest.fixture
def hand_in(engine: Engine) -> Hand:
    """`hand_in(person, outcome, text, seconds, at)` does the person's next item and gives the submission's id."""

    def do(person_id: int, outcome: str, text: str | None, seconds: float, at: float) -> int:
        task = work.next_task(engine, person_id, now=at - seconds)
        assert task is not None
        sent = work.Submission(outcome, text, "why", active_s=seconds)
        return work.submit(engine, person_id, task.assignment_id, task.version, sent, now=at).submission_id

    return do


def of(engine: Engine, now: float = NOW) -> Progress:
    with reading(engine) as connection:
        return progress(connection, now)


def test_an_empty_project(engine: Engine) -> None:
    found = of(engine)
    assert (found.items.total, found.items.done, found.people, found.outcomes) == (0, 0, (), {})
    assert (found.pace.left, found.pace.per_day, found.pace.days_left) == (0, 0.0, None)
    assert (found.median_seconds, found.mean_kept, found.agreement.overall.words.value) == (None, None, None)
    assert "agreement" not in found.charts


def test_every_number(
    engine: Engine, hand_in: Hand, add_people: Callable[..., list[int]], add_responses: Callable[..., None]
) -> None:
    add_responses(engine, 5, title="Facts", editors_per_item=2, lease_s=86400)
    ada, ben, cid = add_people(engine, "Ada", "Ben", "Cid")
    # The response is "The answer to it is <n>": six words.
    hand_in(ada, "edited", "The answer is 0", 10, NOW - 3 * DAY_S)  # 4 of 6 words kept
    hand_in(ben, "edited", "The answer is 0", 50, NOW - 2 * HOUR_S)  # the same
    hand_in(ada, "no_edit_needed", None, 100, NOW - HOUR_S)
    hand_in(ben, "cannot_be_fixed", None, 2000, NOW - 60)
    hand_in(ben, "skipped", None, 5, NOW - 50)
    taken_back = hand_in(ada, "no_edit_needed", None, 7, NOW - 40)
    work.undo(engine, ada, taken_back, now=NOW - 30)
    found = of(engine)

    assert (found.title, found.editors_per_item) == ("Facts", 2)
    assert (found.items.total, found.items.done, found.items.started, found.items.waiting) == (5, 2, 0, 3)
    assert found.items.open == 1  # Ada's, since she took it back
    # Wanted are 5 * 2 submissions, 4 are there: 6 left. 1 three days ago and 3 today, on two days, make 2 a day.
    assert found.pace == Pace(left=6, per_day=2, days_left=3)
    assert found.outcomes == {"edited": 2, "no_edit_needed": 1, "cannot_be_fixed": 1, "skipped": 1}
    assert found.median_seconds == 75
    assert found.mean_kept == pytest.approx(4 / 6)
    assert [each.count for each in found.kept] == [0, 0, 0, 0, 0, 0, 2, 0, 0, 0]
    assert [each.count for each in found.seconds] == [1, 0, 1, 1, 0, 0, 0, 1]
    assert (found.disputed, found.settled) == (1, 0)
    assert found.agreement.overall.words.value == 1.0

    people = {each.name: each for each in found.people}
    assert [each.name for each in found.people] == ["Ada", "Ben", "Cid"]
    assert (people["Ben"].done, people["Ben"].skipped, people["Ben"].skipped_share) == (2, 1, 1 / 3)
    assert (people["Ada"].taken_back, people["Ada"].last_seen) == (1, NOW - 40)
    assert (people["Ada"].median_seconds, people["Ada"].kept) == (55, pytest.approx(4 / 6))
    assert people["Ada"].outcomes == {"edited": 1, "no_edit_needed": 1}
    assert (people["Cid"].done, people["Cid"].kept, people["Cid"].last_seen) == (0, None, None)
    assert cid == people["Cid"].id


def test_hours_and_days_are_those_of_the_clock(
    engine: Engine, hand_in: Hand, add_people: Callable[..., list[int]], add_responses: Callable[..., None]
) -> None:
    add_responses(engine, 5)
    (ada,) = add_people(engine, "Ada")
    for at in (NOW - 40 * DAY_S, NOW - DAY_S, NOW - 10.6 * HOUR_S, NOW - 10.4 * HOUR_S, NOW):
        hand_in(ada, "no_edit_needed", None, 1, at)
    found = of(engine)
    # NOW is half past ten: 10.4 hours ago it was just after midnight, 10.6 hours ago just before it.
    assert [each.count for each in found.by_day][-3:] == [0, 2, 2]
    assert len(found.by_day) == 30
    assert sum(each.count for each in found.by_day) == 4
    assert len(found.by_hour) == 24
    assert found.by_hour[-1].count == 1
    assert found.by_hour[-11].start == 20 * DAY_S
    assert (found.by_hour[-11].count, found.by_hour[-12].count) == (1, 1)
    # The last seven days only: four submissions on two days with work.
    assert found.pace.per_day == 2
    assert found.pace.days_left is None


def test_one_day_foretells_nothing_and_known_answers_are_no_progress(
    engine: Engine, hand_in: Hand, add_people: Callable[..., list[int]], add_responses: Callable[..., None]
) -> None:
    add_responses(engine, 9)
    (ada,) = add_people(engine, "Ada")
    hand_in(ada, "no_edit_needed", None, 1, NOW - HOUR_S)
    hand_in(ada, "no_edit_needed", None, 1, NOW)
    assert of(engine).pace == Pace(left=7, per_day=2, days_left=None)
    import_gold_items(engine, [Edit("k", "Q", "six", "6")])
    with writing(engine) as connection:
        write_project(connection, ProjectConfig(known_answer_share=1.0))
    hand_in(ada, "edited", "6", 1, NOW + DAY_S)
    assert of(engine, NOW + DAY_S).pace == Pace(left=7, per_day=2, days_left=None)
    hand_in(ada, "no_edit_needed", None, 1, NOW + DAY_S)
    assert of(engine, NOW + DAY_S).pace == Pace(left=6, per_day=1.5, days_left=4)


def test_what_a_reviewer_decided_is_done(
    engine: Engine, hand_in: Hand, add_people: Callable[..., list[int]], add_responses: Callable[..., None]
) -> None:
    add_responses(engine, 1, editors_per_item=3)
    ada, ben, rita = add_people(engine, "Ada", "Ben", "Rita")
    hand_in(ada, "no_edit_needed", None, 1, NOW)
    hand_in(ben, "cannot_be_fixed", None, 1, NOW)
    before = of(engine)
    assert (before.items.done, before.items.started, before.pace.left, before.disputed) == (0, 1, 1, 1)
    decide(engine, rita, 1, 2, None, "no_edit_needed", "fine", now=NOW)
    after = of(engine)
    assert (after.items.done, after.items.started, after.pace.left) == (1, 0, 0)
    assert (after.disputed, after.settled) == (0, 1)


def test_people_who_were_revoked_stay_with_what_they_did(
    engine: Engine, hand_in: Hand, add_responses: Callable[..., None]
) -> None:
    add_responses(engine, 2)
    for name in ("Ada", "Ben"):
        add_person(engine, name)
    with reading(engine) as connection:
        ids = {each.name: each.id for each in list_people(connection)}
    hand_in(ids["Ada"], "no_edit_needed", None, 1, NOW)
    for person_id in ids.values():
        revoke(engine, person_id)
    found = of(engine)
    assert [(each.name, each.revoked) for each in found.people] == [("Ada", True)]


@pytest.fixture
def client(tmp_path: Path, add_responses: Callable[..., None]) -> TestClient:
    """An admin's client, in a project whose every text is hostile and on whose first item two people differ."""
    engine = open_database(tmp_path / "hostile.db")
    add_responses(engine, 3)
    with writing(engine) as connection:
        write_project(connection, ProjectConfig(title=HOSTILE, guidelines=HOSTILE, tags=(HOSTILE,), editors_per_item=2))
    client = TestClient(create_app(engine))
    client.post(f"/join/{add_person(engine, HOSTILE, 'admin')}")
    add_person(engine, "Ben")
    for person_id, text in ((1, f"The answer {HOSTILE}"), (2, f"{HOSTILE} is 0")):
        task = work.next_task(engine, person_id, now=1.0)
        assert task is not None
        sent = work.Submission("edited", text, HOSTILE, active_s=1.0)
        work.submit(engine, person_id, task.assignment_id, task.version, sent, now=2.0)
    return client


@pytest.mark.parametrize("page", ["/dashboard", "/disputes", "/disputes/1", "/people", "/project"])
def test_pages_let_no_markup_through_and_obey_the_content_policy(client: TestClient, page: str) -> None:
    answer = client.get(page)
    assert answer.status_code == 200
    assert "<img" not in answer.text
    assert "onerror=&#34;alert(1)&#34;" in answer.text or "onerror=" not in answer.text
    assert " style=" not in answer.text
    assert "<script>" not in answer.text
    assert client.get(page.replace("/disputes/1", "/disputes/99")).status_code == (
        404 if page == "/disputes/1" else 200
    )


def test_the_api_serves_the_same(client: TestClient) -> None:
    found = client.get("/api/progress").json()
    assert (found["items"]["total"], found["disputed"]) == (3, 1)
    assert found["agreement"]["pairs"][0]["second"] == "Ben" or found["agreement"]["pairs"][0]["first"] == "Ben"
    assert client.get("/api/agreement").json() == found["agreement"]
    assert client.get("/api/disputes").json()[0]["item_id"] == 1
    shown = client.get("/api/disputes/1").json()
    assert shown["version"] == 2
    assert shown["places"][0]["alternatives"][0]["original"]


@pytest.mark.parametrize("role", ["admin", "reviewer"])
def test_a_project_of_comparisons_shows_nothing_of_edits(tmp_path: Path, role: str) -> None:
    engine = open_database(tmp_path / "judged.db")
    import_comparisons(engine, [Response("a", "Q", "1", "ours")], [Response("a", "Q", "2", "theirs")])
    client = TestClient(create_app(engine))
    client.post(f"/join/{add_person(engine, 'Rita', role)}")
    task = work.next_task(engine, 1, now=1.0)
    assert task is not None
    ours = "first" if task.response == "1" else "second"
    work.submit(engine, 1, task.assignment_id, task.version, work.Submission(ours, active_s=1.0), now=2.0)
    page = client.get("/dashboard").text
    assert "<h1>Comparisons</h1>" in page
    for edits in ("Words kept", "Agreement on words", "words that is kept", "edits.jsonl", "is better<"):
        assert edits not in page
    assert "comparisons.jsonl" in page
    tally = "the first file (ours) and the second file (theirs)</th><td>1</td><td>0</td><td>0</td>"
    assert (tally in page) == (role == "admin")
    import_gold_items(engine, [Edit("k", "Q", "six", "6")])
    assert "Words kept" in client.get("/dashboard").text


def test_people_at_one_item_are_counted(tmp_path: Path, add_responses: Callable[..., None]) -> None:
    engine = open_database(tmp_path / "edits.db")
    add_responses(engine, 1, editors_per_item=3)
    client = TestClient(create_app(engine))
    client.post(f"/join/{add_person(engine, 'Rita', 'admin')}")
    assert "<dt>To be settled</dt><dd>0 <small>" in client.get("/dashboard").text
    for name in ("Ada", "Ben"):
        add_person(engine, name)
    for person_id in (2, 3):
        assert work.next_task(engine, person_id, now=time.time()) is not None
    found = of(engine, time.time()).items
    assert (found.open, found.at_work) == (1, 2)
    assert "<dd>2 <small>people at 1 item</small></dd>" in client.get("/dashboard").text


def test_the_tally_is_of_files_and_not_of_sides(engine: Engine) -> None:
    first, second = ([Response(str(n), "Q", text, text) for n in range(40)] for text in ("ours", "theirs"))
    import_comparisons(engine, first, second)
    add_person(engine, "ana")
    for n in range(38):  # ours is better 30 times, theirs 5 times, 2 ties, one is skipped
        task = work.next_task(engine, 1, now=float(n))
        assert task is not None
        ours = "first" if task.response == "ours" else "second"
        other = {"first": "second", "second": "first"}[ours]
        outcome = ours if n < 30 else other if n < 35 else "tie" if n < 37 else "skipped"
        work.submit(engine, 1, task.assignment_id, task.version, work.Submission(outcome, active_s=0.0), now=n + 0.5)
    with reading(engine) as connection:
        assert {row.swapped for row in connection.execute(select(item.c.swapped))} == {0, 1}
        (found,) = preference_counts(connection)
    assert found == PreferenceCount("ours", "theirs", 30, 5, 2)
    assert found.names == ("the first file (ours)", "the second file (theirs)")
    assert PreferenceCount("", "", 1, 1, 0).names == ("the first file", "the second file")


def measures(words: Alpha) -> Measures:
    none = Alpha(None, None, None, None, 0, 0)
    return Measures(words=words, outcome=none, preference=none)


def test_agreement_over_time_has_intervals_and_leaves_out_days_without_a_value() -> None:
    known, unknown, negative = (
        Alpha(0.5, 0.25, 0.75, None, 9, 9),
        Alpha(None, None, None, None, 0, 0),
        Alpha(-0.25, None, None, None, 3, 3),
    )
    days = [Period(f"2026-11-{day}", measures(of)) for day, of in (("01", known), ("02", unknown), ("03", negative))]
    chart = _agreement(Agreement(measures(known), (), "day", tuple(days)))
    assert chart is not None
    root = ElementTree.fromstring(chart.svg)
    assert len([path for path in root.iter("path") if path.attrib.get("fill") == "var(--series-0)"]) == 2
    assert len([path for path in root.iter("path") if "V" in path.attrib["d"]]) == 1
    assert chart.description.endswith("words changed: 1 Nov: 0.50, 3 Nov: -0.25.")
    assert "\N{MINUS SIGN}0.5" in [text.text for text in root.iter("text")]
    assert _agreement(Agreement(measures(unknown), (), "day", tuple(days[1:2]))) is None


def test_charts_say_their_numbers_and_use_no_style(engine: Engine) -> None:
    for chart in of(engine).charts.values():
        assert " style=" not in chart.svg
        assert ElementTree.fromstring(chart.svg).tag == "svg"
        assert chart.description.endswith("nothing yet.")
