"""What admins do over HTTP: settings that nobody overwrites unseen, names and roles, links that lead here."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from redpencil.records import Response
from redpencil.web import items, work
from redpencil.web.app import create_app
from redpencil.web.auth import add_person, list_people, remember_address
from redpencil.web.database import reading, writing
from redpencil.web.items import PAGE, list_items
from redpencil.web.project import ProjectConfig, write_project
from redpencil.web.review import decide, dispute
from redpencil.web.work import Submission


def admin(engine: Engine, base_url: str | None = None) -> TestClient:
    client = TestClient(create_app(engine, base_url=base_url), base_url=base_url or "http://127.0.0.1:8008")
    client.post(f"/join/{add_person(engine, 'Ann', 'admin')}", follow_redirects=False)
    client.headers["X-CSRF-Token"] = client.get("/api/me").json()["csrf"]
    return client


def test_settings_that_somebody_else_changed_meanwhile_are_not_overwritten(engine: Engine) -> None:
    client = admin(engine)
    seen = client.get("/api/project").json()
    first = client.put("/api/project", json=seen | {"title": "Facts"})
    assert first.status_code == 200
    assert first.json()["title"] == "Facts"
    late = client.put("/api/project", json=seen | {"editors_per_item": 2})
    assert late.status_code == 409
    assert "the settings have changed" in late.json()["error"]
    assert client.get("/api/project").json() == first.json()
    again = client.put("/api/project", json=first.json() | {"editors_per_item": 2})
    assert (again.status_code, again.json()["title"], again.json()["editors_per_item"]) == (200, "Facts", 2)
    assert client.put("/api/project", json={"title": "Anew"}).json()["editors_per_item"] == 1  # a script replaces all


def test_names_and_roles_change(engine: Engine) -> None:
    client = admin(engine)
    add_person(engine, "Ben")
    answer = client.put("/api/people/2", json={"role": "reviewer"})
    assert (answer.status_code, answer.json()["name"], answer.json()["role"]) == (200, "Ben", "reviewer")
    assert client.put("/api/people/2", json={"name": "Benno"}).json()["name"] == "Benno"
    for path, body, status in (
        ("/api/people/1", {"role": "editor"}, 422),
        ("/api/people/2", {"name": "Ann"}, 422),
        ("/api/people/2", {"role": "king"}, 422),
        ("/api/people/9", {"name": "Eve"}, 404),
    ):
        assert client.put(path, json=body).status_code == status
    with reading(engine) as connection:
        assert [(each.name, each.role.value) for each in list_people(connection)] == [
            ("Ann", "admin"),
            ("Benno", "reviewer"),
        ]
    client.put("/api/people/2", json={"role": "admin"})
    client.put("/api/people/1", json={"role": "editor"})
    assert client.get("/api/people").status_code == 403  # counts from the next request on


@pytest.mark.parametrize(
    ("base_url", "started", "host", "link"),
    [
        (None, "http://127.0.0.1:8008", "127.0.0.1:8008", "http://127.0.0.1:8008"),
        (None, "http://127.0.0.1:8008", "192.0.2.7:8008", "http://192.0.2.7:8008"),
        (None, "http://127.0.0.1:8008", "evil.example", None),
        (None, None, "some.name", "http://some.name"),
        ("https://edits.example.org", "https://edits.example.org", "evil.example", "https://edits.example.org"),
    ],
)
def test_links_lead_here(
    sqlite_engine: Engine, base_url: str | None, started: str | None, host: str, link: str | None
) -> None:
    if started is not None:
        with writing(sqlite_engine) as connection:
            remember_address(connection, started)
    client = admin(sqlite_engine, base_url)
    answer = client.post("/api/people", json={"name": "Ben"}, headers={"Host": host})
    if link is None:
        assert answer.status_code == 422
        assert "--base-url" in answer.json()["hint"]
        assert client.post("/api/people/1/invite", headers={"Host": host}).status_code == 422
        assert [each["name"] for each in client.get("/api/people").json()] == ["Ann"]  # and Ann is still signed in
    else:
        assert answer.json()["link"].startswith(f"{link}/join/")


TAG = 'r"ü\\d%_'
WORK: dict[str, dict[str, Submission]] = {
    "same": {"Ada": Submission("no_edit_needed"), "Ben": Submission("no_edit_needed")},
    "differ": {"Ada": Submission("edited", "One 2.", tags=[{"start": 3, "end": 7, "tag": TAG}])},
    "one_": {"Ben": Submission("cannot_be_fixed", reason="no")},
    "skip": {"Ada": Submission("skipped")},
    "none": {},
}
WORK["differ"]["Ben"] = Submission("no_edit_needed")


@pytest.fixture
def people(engine: Engine, add_people: Callable[..., list[int]]) -> dict[str, int]:
    """Two editors and what they did, and a pair to compare."""
    with writing(engine) as connection:
        write_project(connection, ProjectConfig(editors_per_item=2, tags=(TAG, "d%_")))
    ids = dict(zip(("Ada", "Ben"), add_people(engine, "Ada", "Ben"), strict=True))
    for name, by in WORK.items():
        items.import_responses(engine, [Response(name, f"Prompt {name}", "One two.")])
        for person, given in by.items():
            submit(engine, ids[person], given)
    items.import_comparisons(engine, [Response("pair", "Q", "A")], [Response("pair", "Q", "B")])
    return ids


def submit(engine: Engine, person: int, given: Submission) -> None:
    """Hand the newest item in, and give back what comes before."""
    back = []
    while True:
        task = work.next_task(engine, person, now=1.0)
        assert task is not None
        newest = work.task_of(engine, person, task.assignment_id, now=1.0)
        with reading(engine) as connection:
            last = list_items(connection).items[-1]
        if newest.prompt == last.prompt:
            break
        back.append(task.assignment_id)
        work.release(engine, person, task.assignment_id, now=1.0)
    work.submit(engine, person, task.assignment_id, task.version, given, now=2.0)


def found(engine: Engine, **asked: Any) -> list[str]:
    with reading(engine) as connection:
        return [one.external_id for one in list_items(connection, **asked).items]


@pytest.mark.usefixtures("people")
def test_everything_is_listed_in_order_with_what_was_found(engine: Engine) -> None:
    with reading(engine) as connection:
        listed = list_items(connection)
    assert [one.external_id for one in listed.items] == [*WORK, "pair"]
    assert not listed.more
    by_id = {one.external_id: one for one in listed.items}
    assert by_id["differ"].outcomes == ("edited", "no_edit_needed")
    assert by_id["differ"].kept == (pytest.approx(2 / 3), 1.0)
    assert by_id["differ"].tags == (TAG,)
    assert [one.external_id for one in listed.items if one.open] == ["same", "differ", "one_"]
    assert by_id["skip"].outcomes == ("skipped",)
    assert by_id["pair"].kind == "compare"


@pytest.mark.usefixtures("people")
@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ({"outcome": "no_edit_needed"}, ["same", "differ"]),
        ({"outcome": "skipped"}, ["skip"]),
        ({"outcome": "tie"}, []),
        ({"tag": TAG}, ["differ"]),
        ({"tag": "d%_"}, []),
        ({"id": "ONE_"}, ["one_"]),
        ({"id": "_"}, ["one_"]),
        ({"id": "%"}, []),
        ({"outcome": "no_edit_needed", "tag": TAG}, []),
    ],
)
def test_what_is_asked_for(engine: Engine, asked: Any, names: list[str]) -> None:
    assert found(engine, **asked) == names


def test_whose_edit_waits_for_a_decision_is_not_told(engine: Engine, people: Mapping[str, int]) -> None:
    ada, ben = people["Ada"], people["Ben"]
    assert found(engine, person=ada) == ["same", "skip"]
    assert found(engine, person=ben) == ["same", "one_"]
    with reading(engine) as connection:
        version = dispute(connection, 2).version
    decide(engine, ben, 2, version, None, "no_edit_needed", now=3.0)
    assert found(engine, person=ada) == ["same", "differ", "skip"]
    assert found(engine, person=ada, outcome="no_edit_needed") == ["same"], "the outcome is theirs, not another's"
    assert found(engine, person=999) == []


def test_pages(sqlite_engine: Engine) -> None:
    items.import_responses(sqlite_engine, [Response(f"r{n}", "?", "One two.") for n in range(PAGE + 1)])
    with reading(sqlite_engine) as connection:
        first, second = (list_items(connection, page=page) for page in (1, 2))
    assert (len(first.items), first.more) == (PAGE, True)
    assert ([one.external_id for one in second.items], second.more) == ([f"r{PAGE}"], False)


@pytest.mark.usefixtures("people")
def test_an_address_is_read(engine: Engine) -> None:
    client = admin(engine)
    blank = client.get("/api/items?person=&outcome=&id=&tag=&page=").json()
    assert [one["external_id"] for one in blank["items"]] == [*WORK, "pair"]
    chosen = client.get("/api/items?person=1&outcome=no_edit_needed&id=SA&page=1").json()
    assert [one["external_id"] for one in chosen["items"]] == ["same"]
    assert client.get("/api/items?page=2147483647").json()["items"] == []
    wrongs = ("person=x", "page=-1", "page=1_0", "person=%D9%A3", "person=99999999999", "page=4294967295")
    for wrong in wrongs:
        answer = client.get(f"/api/items?{wrong}")
        assert (answer.status_code, answer.json()["error"]) == (422, f"{wrong.split('=')[0]} is not a whole number.")
    for wrong in ("id=a%00", "tag=%00"):
        answer = client.get(f"/api/items?{wrong}")
        assert answer.status_code == 422
        assert "holds a NUL character" in answer.json()["error"]
    assert client.get("/items?person=x").status_code == 422
