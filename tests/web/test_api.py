"""The API: an editor's work over HTTP, and who may do what."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from starlette.testclient import TestClient

from redpencil.records import Comparison, Edit, Preference, Response, read_jsonl
from redpencil.web.api import OPERATIONS
from redpencil.web.app import create_app
from redpencil.web.database import writing
from redpencil.web.items import import_comparisons, import_known_answers, import_responses
from redpencil.web.people import Role, add_person
from redpencil.web.project import ProjectConfig, write_project

SignIn = Callable[[str, str], TestClient]
SMILE = "\U0001f600"
TEXT = f"The cat{SMILE} sat on a mat.\n\n\tif x:\n\t\treturn  1\n"


@pytest.fixture
def sign_in(engine: Engine) -> SignIn:
    """Add a person and sign them in, to a project of four items; the client sends their CSRF token along."""
    import_responses(engine, [Response(f"r{i}", f"Question {i}", TEXT, model="secret-model") for i in range(4)])
    app = create_app(engine)

    def join(name: str, role: str) -> TestClient:
        client = TestClient(app, raise_server_exceptions=False)
        client.post(f"/join/{add_person(engine, name, role)}", follow_redirects=False)
        client.headers["X-CSRF-Token"] = client.get("/api/me").json()["csrf"]
        return client

    return join


def configure(engine: Engine, **changes: Any) -> None:
    with writing(engine) as connection:
        write_project(connection, ProjectConfig(**changes))


def test_a_task_is_taken_drafted_handed_in_and_taken_back(sign_in: SignIn) -> None:
    ann = sign_in("Ann", "editor")
    task = ann.post("/api/next").json()
    assert (task["external_id"], task["prompt"], task["response"]) == ("r0", "Question 0", TEXT)
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
    assert [row["external_id"] for row in ann.get("/api/history").json()] == ["r0"]
    back = ann.post(f"/api/submissions/{done['submission_id']}/undo").json()
    assert (back["assignment_id"], back["draft"]) == (task["assignment_id"], draft)
    assert ann.post(f"{path}/release").status_code == 204


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
    import_responses(engine, [Response("a0", "Q", f"one {SMILE}\r\ntwo {SMILE}\r\nthree\r\n")])
    ann = sign_in("Ann", "editor")
    task = ann.post("/api/next").json()
    while task["external_id"] != "a0":
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


def test_people_are_invited_renewed_and_revoked(sign_in: SignIn, engine: Engine) -> None:
    eve = sign_in("Eve", "admin")
    made = eve.post("/api/people", json={"name": "Ann", "role": "reviewer"}).json()
    assert made["person"]["role"] == "reviewer"
    path = made["link"].removeprefix("http://testserver")
    ann = TestClient(create_app(engine), follow_redirects=False)
    assert ann.post(path).status_code == 303
    assert ann.get("/api/me").json()["name"] == "Ann"
    renewed = eve.post(f"/api/people/{made['person']['id']}/invite").json()
    assert renewed["link"] != made["link"]
    assert ann.get("/api/me").status_code == 401
    assert ann.post(path).status_code == 403
    assert ann.post(renewed["link"].removeprefix("http://testserver")).status_code == 303
    assert eve.post(f"/api/people/{made['person']['id']}/revoke").json()["revoked"] is not None
    assert ann.get("/api/me").status_code == 401
    assert [person["name"] for person in eve.get("/api/people").json()] == ["Eve", "Ann"]
    assert eve.post("/api/people", json={"name": "Ann"}).json()["field"] == "name"
    me = eve.get("/api/me").json()["id"]
    assert eve.post(f"/api/people/{me}/revoke").status_code == 422
    actions = [event["action"] for event in eve.get("/api/events", params={"limit": 6}).json()]
    assert actions == ["revoked", "joined", "refused a link", "renewed invite", "joined", "invited"]
    newest = eve.get("/api/events").json()[0]["id"]
    assert eve.get("/api/events", params={"before": newest}).json()[0]["action"] == "joined"
    for wrong in ("-1", "x", "\u0663", "9" * 30):
        assert eve.get("/api/events", params={"before": wrong}).status_code == 422


def test_links_lead_to_the_address_that_people_use(engine: Engine) -> None:
    client = TestClient(create_app(engine, base_url="https://edits.example.org/"), base_url="https://testserver")
    client.post(f"/join/{add_person(engine, 'Eve', 'admin')}", follow_redirects=False)
    csrf = client.get("/api/me").json()["csrf"]
    made = client.post("/api/people", json={"name": "Ann"}, headers={"X-CSRF-Token": csrf}).json()
    assert made["link"].startswith("https://edits.example.org/join/")


def test_the_project_is_changed_and_the_log_says_what(sign_in: SignIn) -> None:
    eve = sign_in("Eve", "admin")
    config = eve.get("/api/project").json()
    changed = eve.put("/api/project", json=config | {"title": "Poems", "editors_per_item": 3})
    assert changed.status_code == 200
    assert eve.get("/api/project").json() == config | {"title": "Poems", "editors_per_item": 3}
    event = eve.get("/api/events").json()[0]
    assert (event["action"], event["detail"]["fields"]) == ("changed project", ["title", "editors_per_item"])
    for wrong, field in (({"titel": "x"}, "titel"), ({"kept_soft": 2}, "kept_soft"), ({"title": ""}, "title")):
        answer = eve.put("/api/project", json=config | wrong)
        assert (answer.status_code, answer.json()["field"]) == (422, field)


def test_items_come_in_and_edits_go_out_while_people_work(sign_in: SignIn, tmp_path: Path) -> None:
    ann, eve = sign_in("Ann", "editor"), sign_in("Eve", "reviewer")
    task = ann.post("/api/next").json()
    rows = b"".join(
        json.dumps({"id": name, "prompt": prompt, "response": text}).encode() + b"\n"
        for name, prompt, text in (("r0", "Question 0", TEXT), ("r1", "Question 1", "another"), ("new", "Q", "words"))
    )
    assert eve.post("/api/import", content=rows).json() == {"added": 1, "known": 1, "changed": 1, "empty": 0}
    suggestions = json.dumps({"id": "more", "prompt": "Q", "original": "some words", "edited": "a word"})
    more = json.dumps({"id": "more", "prompt": "Q", "response": "some words"})
    files = {"responses": ("../../etc/passwd", more), "suggestions": ("x", suggestions)}
    assert eve.post("/api/import", files=files).json()["added"] == 1
    sides = {side: json.dumps({"id": "c", "prompt": "Q", "response": side}) for side in ("first", "second")}
    assert eve.post("/api/import", files={side: ("c", row) for side, row in sides.items()}).json()["added"] == 1
    known = json.dumps({"id": "k", "prompt": "Q", "original": "some words", "edited": "a word"})
    assert eve.post("/api/import", files={"known": ("k", known)}).json()["added"] == 1
    body = {"version": task["version"], "text": TEXT + "more", "outcome": "edited"}
    assert ann.post(f"/api/assignments/{task['assignment_id']}/submit", json=body).status_code == 200
    answer = eve.get("/api/export/edits")
    assert answer.headers["content-disposition"] == 'attachment; filename="edits.jsonl"'
    (tmp_path / "edits.jsonl").write_bytes(answer.content)
    edits = list(read_jsonl(tmp_path / "edits.jsonl", Edit))
    assert [(edit.id, edit.original, edit.edited) for edit in edits] == [("r0", TEXT, TEXT + "more")]
    actions = [event for event in sign_in("Sue", "admin").get("/api/events").json() if event["action"] == "imported"]
    assert [event["detail"]["added"] for event in actions] == [1, 1, 1, 1]
    assert eve.get("/api/export/comparisons").content == b""


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b'{"id": "1", "prompt": "Q"}\n', "response"),
        (b'{"id": "1", "prompt"\n', "responses, line 1: not valid JSON"),
        (b'{"id": "1", "prompt": "Q", "response": "a"}\n{"id": "\xff"}\n', "responses, line 2: not valid UTF-8"),
        (b"", "no Response row"),
    ],
)
def test_a_wrong_upload_says_where(sign_in: SignIn, content: bytes, problem: str) -> None:
    answer = sign_in("Eve", "reviewer").post("/api/import", content=content)
    assert answer.status_code == 422
    assert problem in answer.json()["error"] + str(answer.json()["field"])
    assert "/tmp" not in answer.text


def test_disputes_progress_and_agreement_are_for_reviewers(sign_in: SignIn, engine: Engine) -> None:
    configure(engine, editors_per_item=2)
    for name, text in (("Ann", "The dog."), ("Bob", "The cow.")):
        editor = sign_in(name, "editor")
        task = editor.post("/api/next").json()
        body = {"version": task["version"], "text": text, "outcome": "edited"}
        editor.post(f"/api/assignments/{task['assignment_id']}/submit", json=body)
    eve = sign_in("Eve", "reviewer")
    disputes = eve.get("/api/disputes").json()
    assert [dispute["external_id"] for dispute in disputes] == ["r0"]
    path = f"/api/disputes/{disputes[0]['item_id']}"
    version = eve.get(path).json()["version"]
    decision = {"version": version, "outcome": "edited", "text": "The dog.", "reason": "", "merged_from": [1]}
    assert eve.post(path, json=decision | {"version": version + 5}).status_code == 409
    assert eve.post(path, json=decision).status_code == 200
    assert eve.get("/api/disputes").json() == []
    assert eve.get("/api/progress").status_code == 200
    assert eve.get("/api/agreement").status_code == 200


EXPECTED_ROLES = {
    "editor": {
        *("GET /api/me", "POST /api/next", "GET /api/assignments/{id:int}", "PUT /api/assignments/{id:int}/draft"),
        *("POST /api/assignments/{id:int}/submit", "POST /api/assignments/{id:int}/release"),
        *("POST /api/submissions/{id:int}/undo", "GET /api/history", "POST /api/diff", "POST /api/preview"),
    },
    "reviewer": {
        *("GET /api/progress", "GET /api/agreement", "GET /api/disputes", "GET /api/disputes/{id:int}"),
        *("POST /api/disputes/{id:int}", "GET /api/export/edits", "GET /api/export/comparisons", "POST /api/import"),
    },
    "admin": {
        *("GET /api/project", "PUT /api/project", "GET /api/people", "POST /api/people", "GET /api/events"),
        *("POST /api/people/{id:int}/revoke", "POST /api/people/{id:int}/invite"),
    },
}


def test_every_operation_is_open_to_whom_it_should_and_to_nobody_else(sign_in: SignIn) -> None:
    listed = {f"{operation.method} {operation.path}" for operation in OPERATIONS}
    assert listed == set().union(*EXPECTED_ROLES.values())
    allowed: set[str] = set()
    for role in Role:
        allowed |= EXPECTED_ROLES[role]
        client = sign_in(role, role)
        for operation in OPERATIONS:
            path = operation.path.replace("{id:int}", "999999")
            status = client.request(operation.method, path, json={}).status_code
            opened = f"{operation.method} {operation.path}" in allowed
            assert (status != 403) == opened, (role, operation.path, status)
            assert status < 500


def test_nobody_gets_anywhere_without_a_session_or_a_token(sign_in: SignIn, engine: Engine) -> None:
    stranger = TestClient(create_app(engine))
    forger = sign_in("Eve", "admin")
    del forger.headers["X-CSRF-Token"]
    for operation in OPERATIONS:
        path = operation.path.replace("{id:int}", "1")
        assert stranger.request(operation.method, path, json={}).status_code == 401
        if operation.changes:
            for token in (None, b"", b"x" * 64, b"\xc3\xa9"):
                headers = {} if token is None else {b"X-CSRF-Token": token}
                answer = forger.request(operation.method, path, json={}, headers=headers)
                assert answer.status_code == 403
                assert "CSRF" in answer.json()["error"]


def test_known_answers_look_like_any_other_item(sign_in: SignIn, engine: Engine) -> None:
    import_known_answers(engine, [Edit("k", "Known question", "some words", "a word")])
    configure(engine, known_answer_share=1.0)
    task = sign_in("Ann", "editor").post("/api/next").json()
    other = sign_in("Bob", "editor").post("/api/next").json()
    assert task.keys() == other.keys()
    assert "a word" not in json.dumps(task)
    assert Comparison.__name__ not in json.dumps(task)
