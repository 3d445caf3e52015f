"""The API: an editor's work over HTTP, and who may do what."""

import json
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, select
from starlette.testclient import TestClient

from redpencil.records import Edit, Preference, Response
from redpencil.web.app import create_app, openapi_document
from redpencil.web.auth import Role
from redpencil.web.database import reading, writing
from redpencil.web.items import import_comparisons, import_gold_items, import_responses
from redpencil.web.project import ProjectConfig, write_project
from redpencil.web.schema import assignment, item

SignIn = Callable[[str, str], TestClient]
SMILE = "\U0001f600"
TEXT = f"The cat{SMILE} sat on a mat.\n\n\tif x:\n\t\treturn  1\n"
"""Of the four responses of the fixture `sign_in`."""


def configure(engine: Engine, **changes: Any) -> None:
    with writing(engine) as connection:
        write_project(connection, ProjectConfig(**changes))


def test_a_task_is_taken_drafted_handed_in_and_taken_back(sign_in: SignIn) -> None:
    ann = sign_in("Ann", "editor")
    task = ann.post("/api/next").json()
    assert (task["prompt"], task["response"]) == ("Question 0", TEXT)
    assert "secret-model" not in json.dumps(task)
    assert ann.post("/api/next").json()["assignment_id"] == task["assignment_id"]
    path = f"/api/assignments/{task['assignment_id']}"
    draft = TEXT.replace("cat", "dog")
    saved = ann.put(f"{path}/draft", json={"text": draft, "version": task["version"], "active_s": 3.5}).json()
    assert saved["version"] == task["version"] + 1
    assert abs(saved["saved_at"] - time.time()) < 60
    assert ann.get(path).json()["draft"] == draft
    done = ann.post(f"{path}/submit", json={"version": saved["version"], "text": draft, "outcome": "edited"}).json()
    # " cat" is units 3 to 7. After it comes the emoji, which is one character and two units.
    assert done["blocks"][1] == {"kind": "replace", "original": [3, 7], "edited": [3, 7]}
    assert done["blocks"][2]["original"] == [7, len(TEXT) + 1]
    assert done["distance"] == len(" cat") + len(" dog")
    # The cat (emoji) sat on a mat . if x : return 1 (newline): 14 words.
    assert done["kept"] == pytest.approx(13 / 14)
    assert [row["prompt"] for row in ann.get("/api/history").json()] == ["Question 0"]
    back = ann.post(f"/api/submissions/{done['submission_id']}/undo").json()
    assert (back["assignment_id"], back["draft"]) == (task["assignment_id"], draft)
    assert ann.post(f"{path}/release").status_code == 204


def test_a_draft_that_was_given_back_is_listed_and_taken_up_unless_others_have_it(sign_in: SignIn) -> None:
    ann, bob = sign_in("Ann", "editor"), sign_in("Bob", "editor")
    task = ann.post("/api/next").json()
    path = f"/api/assignments/{task['assignment_id']}"
    ann.put(f"{path}/draft", json={"text": "mine", "version": task["version"], "active_s": 1})
    assert [(one["text"], one["standing"]) for one in ann.get("/api/drafts").json()] == [("mine", "yours")]
    ann.post(f"{path}/release")
    assert ann.get(path).json()["standing"] == "free"
    again = ann.post(f"{path}/take-up").json()
    assert (again["draft"], again["standing"], again["state"]) == ("mine", "yours", "open")
    ann.post(f"{path}/release")
    assert bob.post("/api/next").json()["prompt"] == task["prompt"]
    late = ann.post(f"{path}/take-up")
    assert (late.status_code, late.json()["reason"], late.json()["text"]) == (409, "taken", "mine")
    assert [(one["text"], one["standing"]) for one in ann.get("/api/drafts").json()] == [("mine", "taken")]
    assert bob.get("/api/drafts").json() == []
    assert bob.post(f"{path}/take-up").status_code == 403


def test_there_is_an_end_to_the_work(sign_in: SignIn) -> None:
    ann = sign_in("Ann", "editor")
    for _ in range(4):
        task = ann.post("/api/next").json()
        body = {"version": task["version"], "outcome": "no_edit_needed"}
        assert ann.post(f"/api/assignments/{task['assignment_id']}/submit", json=body).status_code == 200
    assert ann.post("/api/next").status_code == 204


def test_a_stale_draft_is_refused_with_the_text_of_the_server(sign_in: SignIn) -> None:
    ann = sign_in("Ann", "editor")
    task = ann.post("/api/next").json()
    path = f"/api/assignments/{task['assignment_id']}"
    first = {"text": "first tab", "version": task["version"], "active_s": 1}
    assert ann.put(f"{path}/draft", json=first).status_code == 200
    late = ann.put(f"{path}/draft", json=first | {"text": "second tab"})
    assert late.status_code == 409
    answer = late.json()
    assert (answer["text"], answer["version"], answer["reason"]) == ("first tab", task["version"] + 1, "changed")
    assert answer["error"]
    submitted = ann.post(f"{path}/submit", json={"version": 0, "text": "second tab", "outcome": "edited"})
    assert submitted.status_code == 409
    assert ann.get(path).json()["draft"] == "first tab"


def test_limits_and_missing_reasons_name_their_field(sign_in: SignIn, engine: Engine) -> None:
    configure(engine, kept_hard=0.5, kept_soft=0.6)
    ann = sign_in("Ann", "editor")
    task = ann.post("/api/next").json()
    path = f"/api/assignments/{task['assignment_id']}/submit"
    for body, field in (
        ({"text": "All is new here", "outcome": "edited"}, "text"),
        ({"outcome": "cannot_be_fixed"}, "reason"),
        ({"outcome": "edited"}, "text"),
        ({"outcome": "no_edit_needed", "tags": [{"start": 0, "end": 3, "tag": "unheard of"}]}, "tags"),
        ({"outcome": "no_edit_needed", "tags": [{"start": 0, "end": "x", "tag": "rude"}]}, "tags.0.end"),
        ({"preference": "first"}, "outcome"),
        ({"outcome": "edited", "text": "a\0b"}, "text"),
        ({"outcome": "great"}, "outcome"),
        ({"outcome": "skipped", "colour": "red"}, "colour"),
    ):
        answer = ann.post(path, json={"version": task["version"]} | body)
        assert answer.status_code == 422, body
        assert answer.json()["field"] == field, body
        assert answer.json()["error"]
    for body in ({}, {"outcome": "skipped", "preference": "tie"}):
        assert "either" in ann.post(path, json={"version": task["version"]} | body).json()["error"]


def test_tags_count_characters_in_the_database(sign_in: SignIn) -> None:
    ann, eve = sign_in("Ann", "editor"), sign_in("Eve", "admin")
    task = ann.post("/api/next").json()
    tags = [{"start": 9, "end": 13, "tag": "rude"}]  # " sat": the emoji in units 7 and 8
    body = {"version": task["version"], "outcome": "edited", "text": TEXT.replace("sat", "lay"), "tags": tags}
    assert ann.post(f"/api/assignments/{task['assignment_id']}/submit", json=body).status_code == 200
    row = json.loads(eve.get("/api/export/edits").text)
    assert row["edited"] == TEXT.replace("sat", "lay")
    tag = next(tag for tag in _walk(row) if isinstance(tag, dict) and tag.get("tag") == "rude")
    assert TEXT[tag["start"] : tag["end"]] == " sat"


def _walk(value: object) -> Iterator[object]:
    yield value
    for part in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _walk(part)


def test_line_ends_of_windows_come_back_though_a_textarea_has_none(sign_in: SignIn, engine: Engine) -> None:
    import_responses(engine, [Response("a0", "Lines", f"one {SMILE}\r\ntwo {SMILE}\r\nthree\r\n")])
    ann = sign_in("Ann", "editor")
    task = ann.post("/api/next").json()
    while task["prompt"] != "Lines":
        ann.post(f"/api/assignments/{task['assignment_id']}/submit", json={"version": 0, "outcome": "skipped"})
        task = ann.post("/api/next").json()
    body = {"version": task["version"], "outcome": "edited", "text": f"one {SMILE}\n2 {SMILE}\nthree\n"}
    done = ann.post(f"/api/assignments/{task['assignment_id']}/submit", json=body).json()
    assert done["distance"] == len("\r\ntwo") + len("\r\n2")
    assert done["blocks"][-1]["edited"][1] == len(f"one {SMILE}\r\n2 {SMILE}\r\nthree\r\n") + 2


def test_two_responses_are_compared_blind(sign_in: SignIn, engine: Engine) -> None:
    pair = [Response("c", "Which?", text, model=text) for text in ("one", "two")]
    import_comparisons(engine, pair[:1], pair[1:])
    ann, eve = sign_in("Ann", "editor"), sign_in("Eve", "reviewer")
    task = ann.post("/api/next").json()
    while task["kind"] != "compare":
        ann.post(f"/api/assignments/{task['assignment_id']}/submit", json={"version": 0, "outcome": "skipped"})
        task = ann.post("/api/next").json()
    assert {task["response"], task["second"]} == {"one", "two"}
    body = {"version": task["version"], "preference": "first", "reason": "shorter"}
    assert ann.post(f"/api/assignments/{task['assignment_id']}/submit", json=body).status_code == 200
    row = json.loads(eve.get("/api/export/comparisons").text)
    better = row["first"] if row["preference"] == Preference.FIRST else row["second"]
    assert better == task["response"]


def test_another_persons_task_and_submission_are_out_of_reach(sign_in: SignIn) -> None:
    ann, bob = sign_in("Ann", "editor"), sign_in("Bob", "admin")
    task = ann.post("/api/next").json()
    path = f"/api/assignments/{task['assignment_id']}"
    draft = {"text": "mine now", "version": task["version"], "active_s": 0}
    sent = {"version": task["version"], "outcome": "no_edit_needed"}
    refused = [
        bob.get(path),
        bob.put(f"{path}/draft", json=draft),
        bob.post(f"{path}/submit", json=sent),
        bob.post(f"{path}/release"),
    ]
    submission = ann.post(f"{path}/submit", json=sent).json()["submission_id"]
    refused.append(bob.post(f"/api/submissions/{submission}/undo"))
    assert [answer.status_code for answer in refused] == [403] * 5
    assert not any("Question" in answer.text or "cat" in answer.text for answer in refused)
    assert bob.get("/api/history").json() == []
    assert ann.get(path).json()["state"] == "done"


@pytest.mark.parametrize("number", ["0", "999999", str(2**31), str(2**63), "9" * 400])
def test_what_is_not_there_is_not_found(sign_in: SignIn, number: str) -> None:
    eve = sign_in("Eve", "admin")
    draft = {"text": "x", "version": 0, "active_s": 0}
    decision = {"version": 0, "outcome": "edited", "text": "x"}
    for answer in (
        eve.get(f"/api/assignments/{number}"),
        eve.put(f"/api/assignments/{number}/draft", json=draft),
        eve.post(f"/api/submissions/{number}/undo"),
        eve.get(f"/api/disputes/{number}"),
        eve.post(f"/api/disputes/{number}", json=decision),
        eve.post(f"/api/people/{number}/revoke"),
        eve.post(f"/api/people/{number}/invite"),
    ):
        assert answer.status_code == 404
        assert answer.json()["error"]


def test_texts_are_compared_in_units_of_javascript(sign_in: SignIn) -> None:
    ann = sign_in("Ann", "editor")
    answer = ann.post("/api/diff", json={"original": f"{SMILE} a b", "edited": f"{SMILE} a c"}).json()
    assert answer == {
        "blocks": [
            {"kind": "equal", "original": [0, 4], "edited": [0, 4]},
            {"kind": "replace", "original": [4, 6], "edited": [4, 6]},
        ],
        "kept": 2 / 3,
        "distance": 4,
    }


def test_a_preview_runs_nothing(sign_in: SignIn) -> None:
    ann = sign_in("Ann", "editor")
    text = "*hi* <script>alert(1)</script> [x](http://e.org) ![i](http://e.org/i.png) [j](javascript:alert(1))"
    html = ann.post("/api/preview", json={"text": text}).json()["html"]
    assert "<em>hi</em> &lt;script&gt;" in html
    assert "<img" not in html
    assert "javascript" not in html.replace("[j](javascript:alert(1))", "")
    assert '<a href="http://e.org" rel="noopener noreferrer nofollow" target="_blank">x</a> (http://e.org)' in html


EXPECTED_ROLES = {
    "editor": {
        *("GET /api/me", "POST /api/next", "GET /api/assignments/{id}", "PUT /api/assignments/{id}/draft"),
        *("POST /api/assignments/{id}/submit", "POST /api/assignments/{id}/release"),
        *("POST /api/submissions/{id}/undo", "GET /api/history", "POST /api/diff", "POST /api/preview"),
        *("GET /api/drafts", "POST /api/assignments/{id}/take-up", "GET /api/tally"),
    },
    "reviewer": {
        *("GET /api/progress", "GET /api/agreement", "GET /api/disputes", "GET /api/disputes/{id}"),
        *("POST /api/disputes/{id}", "GET /api/export/edits", "GET /api/export/comparisons", "POST /api/import"),
        "GET /api/items",
    },
    "admin": {
        *("GET /api/project", "PUT /api/project", "GET /api/people", "POST /api/people", "GET /api/events"),
        *("POST /api/people/{id}/revoke", "POST /api/people/{id}/invite"),
        "PUT /api/people/{id}",
    },
}


@pytest.fixture
def operations(engine: Engine) -> list[str]:
    """Method and path of each operation of the API."""
    paths = openapi_document(create_app(engine), cookie="session")["paths"]
    return [f"{method.upper()} {path}" for path, described in paths.items() for method in described]


def test_every_operation_is_open_to_whom_it_should_and_to_nobody_else(sign_in: SignIn, operations: list[str]) -> None:
    assert set(operations) == set().union(*EXPECTED_ROLES.values())
    allowed: set[str] = set()
    for role in Role:
        allowed |= EXPECTED_ROLES[role]
        client = sign_in(role, role)
        for operation in operations:
            method, path = operation.split()
            status = client.request(method, path.replace("{id}", "999999"), json={}).status_code
            assert (status != 403) == (operation in allowed), (role, operation, status)
            assert status < 500


def test_nobody_gets_anywhere_without_a_session_or_a_token(
    sign_in: SignIn, engine: Engine, operations: list[str]
) -> None:
    stranger = TestClient(create_app(engine))
    forger = sign_in("Eve", "admin")
    del forger.headers["X-CSRF-Token"]
    for operation in operations:
        method, path = operation.replace("{id}", "1").split()
        assert stranger.request(method, path, json={}).status_code == 401
        if method != "GET":
            for token in (None, b"", b"x" * 64, b"\xc3\xa9"):
                headers = {} if token is None else {b"X-CSRF-Token": token}
                answer = forger.request(method, path, json={}, headers=headers)
                assert answer.status_code == 403
                assert "CSRF" in answer.json()["error"]


def test_an_item_whose_answer_is_known_looks_like_any_other(sign_in: SignIn, engine: Engine) -> None:
    """Of two tasks that two people have for the first time, one is known; nothing but their own words differs."""
    import_gold_items(engine, [Edit("k", "Question 0", TEXT, "a word", meta={"model": "secret-model"})])
    ann, bob = sign_in("Ann", "editor"), sign_in("Bob", "editor")
    ordinary = ann.post("/api/next").json()
    configure(engine, known_answer_share=1.0)
    known = bob.post("/api/next").json()
    with reading(engine) as connection:
        drawn = select(item.c.external_id).join(assignment).order_by(assignment.c.id)
        assert connection.execute(drawn).scalars().all() == ["r0", "k"]
    clocks = ("lease_until", "lease_left_s", "opened")
    assert known.keys() == ordinary.keys()
    assert {name: value for name, value in known.items() if name not in (*clocks, "assignment_id")} == {
        name: value for name, value in ordinary.items() if name not in (*clocks, "assignment_id")
    }
    assert not {"item_id", "external_id", "known_answer"} & known.keys()
    for client, task in ((ann, ordinary), (bob, known)):
        path = f"/api/assignments/{task['assignment_id']}"
        client.put(f"{path}/draft", json={"text": "a draft", "version": 0, "active_s": 1})
    seen = [[client.get(path).json() for path in ("/api/drafts", "/api/history")] for client in (ann, bob)]
    names = [[sorted(row) for rows in answers for row in rows] for answers in seen]
    assert names[0] == names[1]
    assert not {"item_id", "external_id"} & set(names[0][0])
